"""What rclone logs, as text or with ``--use-json-log``, and shows with ``--progress``.

The formats are those of ``stats.go`` in https://github.com/rclone/rclone/tree/master/fs/accounting, in which sizes had
other units up to 1.57 (``1.5M / 2 MBytes``, ``1.5Mi / 2 MiByte``), all of them powers of 1,024, and of
https://rclone.org/rc/#core-stats. A record of more than 64 KiB is not read.
"""

import re
from typing import Any, Final

import attrs

from .tool import (
    DECODING,
    MAX_JSON_BYTES,
    FailedItems,
    Tool,
    Work,
    any_line,
    as_count,
    as_object,
    as_seconds,
    as_size,
    as_text,
    read_json,
    told,
)

_OF_TOTAL: Final = rb"i?B? / \d[\d.]* ?[kKMGTPE]?i?B(?:yte)?s?, "
_LINES: Final = any_line(
    rb"Transferred:[ \t]+(?P<size>\d[\d.]* ?[kKMGTPE]?)" + _OF_TOTAL,
    rb"Errors: +(?P<errors>\d+)(?: \(|\n)",
    rb"Elapsed time: +(?P<elapsed>\w*\.?\d+s)(?=\n|\Z)",
    # A time stands before it, such as 2026/11/24 04:24:03.
    rb".{20}(?:INFO  : +(?P<size_alone>\d[\d.]* ?[kKMGTPE]?)"
    + _OF_TOTAL
    + rb"|ERROR : (?:(?P<attempt>Attempt \d+/\d+ )failed with "
    + rb"|(?P<failed>[^\n]+?): (?:Failed to copy: |failed to open directory |error reading source dir))"
    + rb'|NOTICE: [^\n]*(?P<dry_run> as --dry-run)|DEBUG : rclone: (?P<version>Version "v\d[^"\n]*" starting ))',
    rb'(?P<record>\{(?:"time":"[^"\n]{20,40}",)?"level":"(?:error"|debug","msg":"Version |'
    rb'(?:notice|warning)","msg":"[^"\n]* as --dry-run|(?:info|notice|warning)","msg":"(?:\\nTransferred:'
    rb"| *\d[\d.]* ?[kKMGTPE]?i?B / ))[^\n]*\})(?=\n|\Z)",
    # Each file that was copied or compared has a line. Refusing these first takes 0.6 of the time.
    unless=rb"2.{19}(?:INFO  : [^ \d]|DEBUG : [^r])"
    rb'|\{"time":".{11}\d[^"]{8,28}+","level":"(?:info|debug)","msg":"[^\\ \dV]',
)
_FAILED: Final = re.compile(r"Failed to copy: |failed to open directory |error reading source dir")
_ATTEMPT: Final = re.compile(r"Attempt (\d+)/(?!\1 )\d+ ")
_VERSION: Final = re.compile(r'Version "v(\d[^"]*?)(?:-DEV)?" starting ')
_DRY_RUN: Final = " as --dry-run"


@attrs.define
class _Rclone:
    """Reads lines, those of JSON among them. Of statistics the last count, whatever form they have."""

    work: Work
    stats: dict[str, Any] = attrs.field(factory=dict[str, Any])
    form: str = "text"
    version: str | None = None
    is_dry_run: bool = False
    failed: FailedItems = attrs.field(factory=FailedItems)

    def feed(self, block: bytes) -> None:
        for line in self.work.lines(_LINES, block):
            name = line.lastgroup or ""
            figure = line[name][:MAX_JSON_BYTES]
            match name:
                case "size" | "size_alone":
                    self._begin(figure)
                case "errors":
                    self.stats["errors"] = as_count(figure)
                case "elapsed":
                    # It comes last, and no errors are not printed.
                    self.stats = {"errors": 0 if self.stats else None, **self.stats, "duration": as_seconds(figure)}
                case "record":
                    self.work.spend(DECODING)
                    self._read_record(read_json(figure))
                case "failed":
                    self.failed.add(figure)
                case _:
                    self._read_message(as_text(figure))

    def _begin(self, size: bytes) -> None:
        number = size.rstrip(b"kKMGTPE ")
        unit = size[len(number) :].strip().upper()
        self.stats = {"data_added": as_size(number, unit and unit + b"i"), "approximate": True if unit else None}
        self.form = "text"

    def _read_record(self, record: dict[str, Any]) -> None:
        if stats := as_object(record.get("stats")):
            self.stats = {
                "data_added": as_count(stats.get("bytes")),
                "errors": as_count(stats.get("errors")),
                "duration": as_seconds(stats.get("elapsedTime")),
            }
            self.form = "json"
        name, message = record.get("object"), record.get("msg")
        if isinstance(message, str):
            self._read_message(message)
            if isinstance(name, str) and _FAILED.match(message):
                self.failed.add(name)

    def _read_message(self, message: str) -> None:
        if _ATTEMPT.match(message):
            self.failed.items.clear()  # What has failed is tried again.
        elif version := _VERSION.match(message):
            self.version = version[1]
        elif _DRY_RUN in message:
            self.is_dry_run = True

    def figures(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "failed_items": self.failed.items or None,
            "tool_version": self.version and as_text(self.version, longest=50),
        }
        if self.is_dry_run:
            found |= {"data_added": None, "approximate": None, "has_snapshot": False, "dry_run": True}
        return told({**self.stats, **found}, self.form)


RCLONE: Final = Tool(
    name="rclone",
    mark=re.compile(
        rb"\n(?:[\d/]{10} [\d:.]{8,15} (?:DEBUG |INFO  |NOTICE|ERROR |CRITICAL): "
        rb"|Transferred:[ \t]+\d[\d.]* ?[kKMGTPE]?"
        + _OF_TOTAL
        + rb'|\{"(?:level|time)":"[^\n]*"source":"[a-z0-9_/]{1,80}\.go:\d)'
    ),
    beginning=rb'[\d/]{10} [\d:.]{8,15} [DINEC]|Transferred:|\{"(?:level|time)":"[^\n]*"source":"',
    parser=_Rclone,
)
"""rclone.

``data_added`` is what was transferred, except in a dry run, which counts what it would transfer. How many files are new
or have changed, how many the source has and what their size is it does not tell: it counts those that it transferred,
and those that it compared.
"""
