"""The statistics that duplicity prints at the end of a backup.

The format is that of https://gitlab.com/duplicity/duplicity/-/blob/main/duplicity/stats.py, in English.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line

_LINES: Final = any_line(
    rb"-{10,20}(?P<header>\[) Backup Statistics \]-",
    rb"ElapsedTime (?P<elapsed>\d+\.\d+) \(",
    rb"SourceFiles (?P<source>\d+)(?=\n)",
    rb"SourceFileSize (?P<size>\d+) \(",
    rb"NewFiles (?P<new>\d+)(?=\n)",
    rb"ChangedFiles (?P<changed>\d+)(?=\n)",
    rb"RawDeltaSize (?P<delta>\d+) \(",
    rb"TotalDestinationSizeChange (?P<written>\d+) \(",
    rb"Errors (?P<errors>\d+)(?=\n)",
    rb"Error accessing possibly locked file (?P<failed>[^\n]+)(?=\n)",
)


def _figures(said: LineParser) -> dict[str, Any]:
    written = said.count("written")
    return {
        "files_new": said.count("new"),
        "files_changed": said.count("changed"),
        # A dry run reads everything and writes nothing; no backup is of 0 bytes.
        "data_added": said.count("delta") if written else None,
        "total_files_processed": said.count("source"),
        "total_bytes_processed": said.count("size"),
        "data_added_packed": written,
        "duration": said.seconds("elapsed"),
        "has_snapshot": None if written is None else written > 0,
        "errors": said.count("errors"),
    }


DUPLICITY: Final = Tool(
    name="duplicity",
    mark=re.compile(rb"\n-{10,20}\[ Backup Statistics \]-"),
    beginning=rb"-{10,20}\[",
    parser=partial(LineParser, _LINES, _figures, first="header"),
)
"""duplicity.

Its numbers of files, and the size of its source, include folders. ``data_added`` is the size of new files and of
differences, ``data_added_packed`` that of the volumes that it wrote.
"""
