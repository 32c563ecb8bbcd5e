"""The statistics that rdiff-backup prints with ``--print-statistics``.

The format is that of https://github.com/rdiff-backup/rdiff-backup/blob/master/src/rdiff_backup/statistics.py.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line

_LINES: Final = any_line(
    rb"-{10,20}(?P<header>\[) Session statistics \]-",
    rb"ElapsedTime (?P<elapsed>\d+\.\d+) \(",
    rb"SourceFiles (?P<source>\d+)(?=\n)",
    rb"SourceFileSize (?P<size>\d+) \(",
    rb"NewFiles (?P<new>\d+)(?=\n)",
    rb"ChangedFiles (?P<changed>\d+)(?=\n)",
    rb"Errors (?P<errors>\d+)(?=\n)",
    rb"WARNING: (?:List|Update)Error:? '?(?P<failed>[^\n]+?)'? (?:\[Errno |Updated |File )",
)


def _figures(said: LineParser) -> dict[str, Any]:
    return {
        "files_new": said.count("new"),
        "files_changed": said.count("changed"),
        "total_files_processed": said.count("source"),
        "total_bytes_processed": said.count("size"),
        "duration": said.seconds("elapsed"),
        "errors": said.count("errors"),
    }


RDIFF_BACKUP: Final = Tool(
    name="rdiff-backup",
    mark=re.compile(rb"\n-{10,20}\[ Session statistics \]-"),
    beginning=rb"-{10,20}\[",
    parser=partial(LineParser, _LINES, _figures, first="header"),
)
"""rdiff-backup.

Its numbers of files include folders. How much it has added it does not tell: ``TotalDestinationSizeChange`` is what was
added less what was removed, and may be negative.
"""
