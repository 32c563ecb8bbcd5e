"""What rsync prints with ``--stats`` or ``-v``.

The format is that of ``output_summary`` in https://github.com/RsyncProject/rsync/blob/master/main.c, from 3.0 on. With
``-h`` sizes are rounded to units that may be powers of 1,000 or of 1,024: those are left out, as nobody can tell which.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line, as_count

_LINES: Final = any_line(
    rb"Number of files: (?P<files>\d[\d.,]*(?: \([^)\n]*\))?)(?=\n)",
    rb"Number of created files: (?P<created>\d[\d.,]*(?: \([^)\n]*\))?)(?=\n)",
    rb"Total file size: (?P<size>\d[\d.,]*) bytes",
    rb"Literal data: (?P<literal>\d[\d.,]*) bytes",
    rb"total size is (?P<total>\d[\d.,]*)  speedup is [\d.,]+(?=\n|\Z)",
    rb"total size is [^\n]* \((?P<dry_run>DRY RUN)\)",
    rb'rsync: (?:\[\w+\] )?(?:send_files failed to open|opendir|link_stat|read errors mapping) "(?P<failed>[^\n]+)"',
    rb'file has vanished: "(?P<failed_vanished>[^\n]+)"',
    rb"rsync (?:error|warning): [^\n]* \[\w+=(?P<version>\d[\w.]*)\]",
    rb"rsync: (?P<error>.)",
)
# A word is tried from its beginning only: each of its letters would have the rest of a long one read again.
_DETAIL: Final = re.compile(rb"\b(\w++): (\d[\d.,]*)")


def _number(text: bytes | None) -> int | None:
    """Return a number, whose thousands are set apart by commas, or points where a comma is the decimal point."""
    return None if text is None else as_count(text.replace(b",", b"").replace(b".", b""))


def _kind(text: bytes | None, kind: bytes) -> int | None:
    """Return how many of ``350 (reg: 282, dir: 66)`` are of a kind. Up to 3.0 rsync told only how many there are."""
    number, _, details = (text or b"").partition(b" ")
    if details:
        return _number(dict(_DETAIL.findall(details)).get(kind, b"0"))
    return 0 if number == b"0" else None


def _figures(said: LineParser) -> dict[str, Any]:
    last, times = said.last, said.times
    return {
        "files_new": _kind(last.get("created"), b"reg"),
        "dirs_new": _kind(last.get("created"), b"dir"),
        "data_added": _number(last.get("literal")),
        "total_files_processed": _kind(last.get("files"), b"reg"),
        "total_bytes_processed": _number(last.get("size") or last.get("total")),
        "has_snapshot": False if "dry_run" in last else None,
        "dry_run": True if "dry_run" in last else None,
        "warnings": times["failed_vanished"] or None,
        "errors": times["failed"] + times["error"] or None,
        "tool_version": said.text("version", 50),
    }


RSYNC: Final = Tool(
    name="rsync",
    mark=re.compile(
        rb"\n(?:(?:sending|receiving) incremental file list\n|Number of created files: \d"
        rb"|Number of (?:regular )?files transferred: \d|sent [\d.,KMGTP]+ bytes  received |rsync: "
        rb"|rsync (?:error|warning): )"
    ),
    beginning=rb"sending |receiving |Number of |sent |rsync",
    parser=partial(LineParser, _LINES, _figures, first="files"),
)
"""rsync.

Files are regular files, as other tools count them: ``Number of files: 350 (reg: 282, dir: 66, link: 2)`` are 282. Their
size includes the targets of symbolic links. ``data_added`` is the literal data: what the target did not have and was
sent. The size of transferred files counts whole files of which a part was sent, and vanished ones. How many changed
rsync does not tell: what it transferred is new or changed.
"""
