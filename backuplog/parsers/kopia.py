"""What ``kopia snapshot create`` prints: progress and a closing line, or with ``--json`` the snapshot's manifest.

The formats are those of ``cli_progress.go`` and ``command_snapshot_create.go`` in
https://github.com/kopia/kopia/tree/master/cli and of https://github.com/kopia/kopia/blob/master/snapshot/manifest.go.
Of a manifest 64 KiB are read; the longest that kopia prints has 10 errors and a description of 1,024 characters.
"""

import re
from datetime import datetime
from typing import Any, Final

import attrs

from backuplog.normalise import as_time

from .tool import (
    MAX_JSON_BYTES,
    FailedItems,
    LineParser,
    Tool,
    Work,
    any_line,
    as_array,
    as_count,
    as_object,
    as_seconds,
    as_size,
    as_text,
    read_json,
    told,
)

_LINES: Final = any_line(
    rb"Snapshotting (?P<begin>[^\n@]{1,255}@)[^\n:]{1,255}:",
    rb" [-*|/\\] \d+ hashing, (?P<progress>\d+ hashed \([^)\n]*\), \d+ cached \([^)\n]*\)), ",
    rb"Created(?: partial)? snapshot with root \S+ and ID (?P<created>\S+(?: in \S*s(?=\n|\Z)|(?=\n)))",
    rb" ?(?P<unsaved>Not saving snapshot) because ",
    rb"(?:ERROR |kopia: error: )?Found (?P<fatal>\d+) fatal error\(s\) while snapshotting ",
    rb"(?:WARN )?Ignored (?P<ignored>\d+) error\(s\) while snapshotting ",
    rb" ?(?:! )?(?:Error|Ignored error) when processing \"(?P<failed>[^\n]+?)\": ",
    rb'(?P<manifest>\{)(?:\s{0,80}"id":|\n\Z)',
    # How none of these begins: most of them begin in several ways, and a line that is tried for all takes 0.1 us.
    unless=rb"[^ !CEFIkNSW{]",
)
_PROGRESS: Final = re.compile(rb"(\d+) hashed \(([\d.]+) (\w+)\), (\d+) cached \(([\d.]+) (\w+)\)")


def _sum(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else as_count(first + second)


def _figures(said: LineParser) -> dict[str, Any]:
    snapshot_id, _, took = (said.text("created", 300) or "").partition(" in ")
    progress = _PROGRESS.fullmatch(said.last.get("progress", b""))
    hashed, hashed_size, hashed_unit, cached, cached_size, cached_unit = progress.groups() if progress else (b"",) * 6
    return {
        "files_unmodified": as_count(cached),
        "total_files_processed": _sum(as_count(hashed), as_count(cached)),
        "total_bytes_processed": _sum(as_size(hashed_size, hashed_unit), as_size(cached_size, cached_unit)),
        "duration": as_seconds(took.encode()),
        "snapshot_id": snapshot_id[:255] or None,
        "has_snapshot": True if snapshot_id else False if "unsaved" in said.last else None,
        "warnings": said.count("ignored"),
        "errors": said.count("fatal"),
        "approximate": True if {hashed_unit, cached_unit} - {b"", b"B"} else None,
    }


def _time(value: object) -> datetime | None:
    try:
        return as_time(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _manifest_figures(manifest: dict[str, Any]) -> dict[str, Any]:
    summary = as_object(as_object(manifest.get("rootEntry")).get("summ"))
    start, end = _time(manifest.get("startTime")), _time(manifest.get("endTime"))
    failed = FailedItems()
    for error in as_array(summary.get("errors")):
        if isinstance(path := as_object(error).get("path"), str):
            failed.add(path)
    return {
        "files_unmodified": as_count(as_object(manifest.get("stats")).get("cachedFiles")),
        "total_files_processed": as_count(summary.get("files")),
        "total_bytes_processed": as_count(summary.get("size")),
        "duration": (end - start).total_seconds() if start and end and start <= end else None,
        "snapshot_id": as_text(manifest["id"], longest=255),
        "has_snapshot": True,
        "warnings": as_count(summary.get("numIgnoredErrors", 0)) if summary else None,
        "errors": as_count(summary.get("numFailed")),
        "failed_items": failed.items or None,
    }


@attrs.define
class _Kopia:
    """Reads text, and the last manifest, which may go on in the next block."""

    work: Work
    text: LineParser = attrs.field(
        init=False,
        default=attrs.Factory(lambda self: LineParser(_LINES, _figures, self.work, first="begin"), takes_self=True),
    )
    manifest: bytearray = attrs.field(factory=bytearray)

    def feed(self, block: bytes) -> None:
        start = None
        self.work.pass_over(block)
        for match in self.work.lines(_LINES, block):
            if match.lastgroup == "manifest":
                start = match.start() + 1
            else:
                self.text.take(match)
        if start is not None:
            self.manifest[:] = block[start : start + MAX_JSON_BYTES]
        elif self.manifest:
            self.manifest += block[1 : 1 + MAX_JSON_BYTES - len(self.manifest)]

    def figures(self) -> dict[str, Any]:
        manifest = read_json(bytes(self.manifest))
        is_one = isinstance(manifest.get("id"), str) and isinstance(manifest.get("source"), dict)
        return told(_manifest_figures(manifest), "json") if is_one else self.text.figures()


KOPIA: Final = Tool(
    name="kopia",
    mark=re.compile(
        rb"\n(?:Snapshotting [^\n@]{1,255}@[^\n:]{1,255}:|Created(?: partial)? snapshot with root \S+ and ID "
        rb"| [-*|/\\] \d+ hashing, \d+ hashed \("
        rb'|\{\s{0,80}"id":\s{0,80}"\w{1,255}",\s{0,80}"source":\s{0,80}\{\s{0,80}"host":)'
    ),
    beginning=rb'Snapshotting |Created | [-*|/\\] \d|\{\s{0,80}"id"',
    parser=_Kopia,
)
"""kopia.

What it hashed may be new or changed; what it found cached is unmodified. Its manifest counts only hashed files as
``fileCount``: those of the snapshot are in the summary of its root. What it has uploaded is left out: while it prints
progress, some of that is still to come.
"""
