"""What pgBackRest logs at the level ``info``, with or without times.

The format is that of https://github.com/pgbackrest/pgbackrest/blob/main/src/command/backup/backup.c.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line, as_count, as_seconds, as_size

_LINES: Final = any_line(
    rb"(?:.{24})?P\d\d(?:   INFO: (?:"
    rb"backup command begin (?P<begin>\d[\w.]*):"
    rb"|new backup label = (?P<label>\d{8}-\d{6}F(?:_\d{8}-\d{6}[DI])?)(?=\n)"
    rb"|(?P<size>(?:full|diff|incr) backup size = [^\n]+)(?=\n)"
    rb"|backup command end: (?P<end>completed successfully(?: \(\d+ms\))?|aborted with |terminated )"
    rb")|   WARN: (?P<warning>.)|  ERROR: (?P<error>\[\d+\]): )",
    # Those that go to the standard error have no time.
    rb"WARN: (?P<warning_alone>.)",
    rb"ERROR: (?P<error_alone>\[\d+\]): ",
)
_SIZE: Final = re.compile(rb"(full|diff|incr) backup size = ([\d.]+)([KMGTP]?)B(?:, file total = (\d+))?")
_TOOK: Final = re.compile(rb"\((\d+ms)\)")


def _figures(said: LineParser) -> dict[str, Any]:
    last, times = said.last, said.times
    end = last.get("end", b"")
    is_saved = end.startswith(b"completed") and "label" in last
    kind, number, unit, total = size.groups() if (size := _SIZE.fullmatch(last.get("size", b""))) else (b"",) * 4
    added = as_size(number, unit and unit + b"i")
    warnings, errors = times["warning"] + times["warning_alone"], times["error"] + times["error_alone"]
    return {
        "data_added": added,
        "total_files_processed": as_count(total),
        "total_bytes_processed": added if kind == b"full" else None,
        "duration": as_seconds(took[1]) if (took := _TOOK.search(end)) else None,
        "snapshot_id": said.text("label", 255) if is_saved else None,
        "has_snapshot": is_saved if end else None,
        "warnings": warnings if end else warnings or None,
        "errors": errors if end else errors or None,
        "tool_version": said.text("begin", 50),
        "approximate": True if added and unit else None,
    }


PGBACKREST: Final = Tool(
    name="pgbackrest",
    mark=re.compile(rb"\n(?:[\d-]{10} [\d:.]{12} )?P\d\d +INFO: [a-z-]{1,40} command (?:begin \d|end: )"),
    beginning=rb"(?:[\d-]{10} [\d:.]{12} )?P\d\d ",
    parser=partial(LineParser, _LINES, _figures, first="begin"),
)
"""pgBackRest.

``data_added`` is the size of what was copied, in units of 1,024; for a full backup, that is the size of the source too.
A label is printed before the backup is complete: it is a snapshot's once the command has completed.
"""
