"""What dar prints at the end of a backup or a test.

The format is that of ``display_saving_stats`` and its like in
https://github.com/Edrusb/DAR/blob/master/src/dar_suite/dar.cpp, in English.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line

_LINES: Final = any_line(
    rb" (?P<unsaved>\d+) inode\(s\) failed to be saved",
    rb" (?P<changed>\d+) inode\(s\) changed at the moment of the backup and could not be saved properly",
    rb" (?P<unread>\d+) item\(s\) with error",
    rb"(?:Error while saving|Cannot read directory contents:) (?P<failed>[^\n]+?) ?: ",
)


def _figures(said: LineParser) -> dict[str, Any]:
    unsaved = said.count("unsaved")
    return {
        "warnings": said.count("changed"),
        "errors": said.count("unread") if unsaved is None else unsaved,
    }


DAR: Final = Tool(
    name="dar",
    mark=re.compile(rb"\n \d{1,19} (?:inode\(s\) saved|item\(s\) treated)\n"),
    beginning=rb" \d{1,19} i",
    parser=partial(LineParser, _LINES, _figures),
)
"""dar.

It counts inodes, folders among them, and neither new and changed ones apart nor bytes. Errors are what could not be
saved, warnings what changed while it was read.
"""
