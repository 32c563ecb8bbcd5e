"""What restic 0.9 to 0.19 prints, as text and with ``--json``.

Sources: https://restic.readthedocs.io/en/v0.18.1/075_scripting.html for the lines of JSON, and ``internal/ui`` of
restic at the tags v0.9.6 to v0.19.1 for the wording of text and the fields of each version.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from backuplog.normalise import MAX_DURATION_SECONDS

from .tool import DECODING, FailedItems, Tool, Work, as_count, as_size, read_json

__all__ = ["RESTIC"]

# What the short formats of journalctl put before a line: a time, a host, a process.
_JOURNAL: Final = (
    rb"(?:[A-Z][a-z]{2} [ \d]\d [\d:]{8}|\d{4}-\d\d-\d\dT[\d:.,+Z-]{8,24}) [^\s\[]{1,64} [^\s\[]{1,64}\[\d{1,10}\]: "
)
_JOURNAL_LINE: Final = re.compile(rb"\n" + _JOURNAL)

# Names of files that other tools list may look like a line of restic. So each of these begins a log, ends it, or is
# several lines or the whole of a long one.
_MARK: Final = re.compile(
    rb"\n(?:" + _JOURNAL + rb")?(?:"
    rb'\{"message_type":"(?:(?:status|verbose_status|error)","|summary",[^\n]*"(?:total_duration|num_errors)":)'
    rb"|repository [0-9a-f]{8} opened |restic \d[\w.+-]* [^\n]*compiled |unable to open cache: |created new cache in "
    rb"|(?:open|lock) repository\n|load index(?:es| files)\n|start (?:scan|backup) on \[|scan finished in \d"
    rb"|using parent snapshot [0-9a-f]{8}|no parent snapshot found, |using temporary cache in "
    rb"|create exclusive lock for repository\n|unable to create lock in backend: |repo already locked, waiting "
    rb"|restoring <?[Ss]napshot [0-9a-f]{8} of "
    rb"|Dirs: +\d+ new, +\d+ changed, +\d+ unmodified\n(?:(?:Data|Tree) Blobs: +\d+ new\n)*"
    rb"(?:Added|Would add) to the repo[^\n]*\n\nprocessed \d"
    rb"|processed \d+ files, [^\n]*\n(?:snapshot [0-9a-f]{8} saved|skipped creating snapshot)\n"
    rb'|(?:Warning: at least one source file could not be read|\{"message_type":"exit_error","[^\n]*'
    rb"|Fatal: (?:unable to save snapshot|nothing to backup|all \w{6} directories|There were \d+ errors)[^\n]*)\n*\Z)"
)

# Where a line of interest may begin. It asks most lines for two letters, those of JSON for the 19th: 64 MiB take 40 ms,
# and up to 240 ms if the pattern below is tried at each line.
_BEGINNING: Final = re.compile(rb"\n[FDAWTpsen{](?:[adhiknor]|\".{16}[urx])", re.DOTALL)
# The last group that took part tells what the line says. A number at the end of the log may have lost digits.
_LINE: Final = re.compile(
    rb"\n(?:(?:"
    rb"(?P<kind>Files|Dirs): +(?P<new>\d{1,20}) new, +(?P<changed>\d{1,20}) changed, "
    rb"+(?P<unmodified>\d{1,20}) unmodified"
    rb"|(?P<verb>Added|Would add) to the repo(?:sitory)?: (?P<data_added>[\d.]{1,20} \w{1,3}) {0,9}"
    rb"(?:\((?P<data_added_packed>[\d.]{1,20} \w{1,3}) {1,9}stored\))?"
    rb"|processed (?P<total_files_processed>\d{1,20}) files, (?P<total_bytes_processed>[\d.]{1,20} \w{1,3}) in "
    rb"(?:(?P<duration>\d{1,20}(?::\d\d){1,2})(?=\n)|[\d:]*\Z)"
    rb"|(?P<saving>snapshot (?P<snapshot_id>[0-9a-f]{8,64}) saved|skipped creating snapshot)"
    rb"|(?:Fatal: )?There were (?P<restore_errors>\d{1,20}) errors"
    rb"|(?P<undamaged>no errors were found)"
    rb") {0,9}(?=\n|\Z)"
    rb"|error: (?P<error>[^\n]*)"
    rb"|(?P<warning>Warning: )"
    rb"|Fatal: (?P<unsaved>unable to save snapshot|nothing to backup|all \w{6} directories/files do not exist)"
    rb"|Fatal: (?P<damaged>repository contains errors)"
    rb'|(?P<json>\{"message_type":"(?:summary|error|exit_error)"[^\n]*)'
    rb")"
)
# The summary of a backup as most versions print it, which line by line takes five times as long.
_BACKUP: Final = re.compile(
    rb"\nFiles: +(\d{1,18}) new, +(\d{1,18}) changed, +(\d{1,18}) unmodified"
    rb"\nDirs: +(\d{1,18}) new, +(\d{1,18}) changed, +(\d{1,18}) unmodified"
    rb"(?:\n(?:Data|Tree) Blobs: +\d{1,18} new){0,2}"
    rb"\nAdded to the repo(?:sitory)?: ([\d.]{1,20} \w{1,3}) {0,9}(?:\(([\d.]{1,20} \w{1,3}) {1,9}stored\))? {0,9}"
    rb"\n\nprocessed (\d{1,18}) files, ([\d.]{1,20} \w{1,3}) in (\d{1,18}(?::\d\d){1,2})"
    rb"\nsnapshot (?!0+ )([0-9a-f]{8,64}) saved(?=\n|\Z)"
)
# os.PathError of Go: an operation, a path, a reason. Some versions say the operation in words first.
_UNREAD: Final = re.compile(
    rb"(?:\A|: )(?:openat|open|lstat|stat|read|readdirent|readdir|readlink|fdopendir|CreateFile|GetFileAttributesEx"
    rb"|FindFirstFile) (?P<item>[^\n]+): [^\n]"
)
_TOOL_VERSION: Final = re.compile(rb"\nrestic (\d[\w.+-]{0,49}) [^\n]*compiled ")
# What comes before the first file is short; looking for it takes 0.7 ns a byte, and reading all else as much.
_OPENING_BYTES: Final = 16_384
_CLOSE_BYTES: Final = 4_096
_MISSING: Final = b" does not exist, skipping\n"
_SNAPSHOT_ID: Final = re.compile(r"(?!0+$)[0-9a-f]{8,64}")

_CHANGES: Final = ("new", "changed", "unmodified")
_COUNTS: Final = {kind: [f"{kind.decode().lower()}_{change}" for change in _CHANGES] for kind in (b"Files", b"Dirs")}
_COUNTED: Final = tuple(f"{kind}_{change}" for kind in ("files", "dirs") for change in _CHANGES)
_FIGURES: Final = (
    *_COUNTED,
    *("data_added", "data_added_packed", "total_files_processed", "total_bytes_processed"),
)
_SUMMARY: Final = 5  # lines that cost as much as one of a summary
_NO_ERRORS: Final = {"errors": 0, "warnings": 0}


class _Restic:
    """Reads the output of restic.

    If there are several summaries, the last one counts: a run has one snapshot, and names of files that pretend to be a
    summary come before the true one. Errors, warnings and files that could not be read are those of the whole log.

    Errors are the lines that say so of a file, as in the count of restic's own progress; for ``check`` and ``restore``
    the number that restic sums up with, if it does. Warnings are what is called so, and sources that do not exist.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._in_journal: bool | None = None
        self._lines: dict[str, Any] = {}  # of a summary in text that has not ended
        self._summary: dict[str, Any] = {}
        self._told: Counter[str] = Counter()  # lines, by what they say
        self._unread = FailedItems()
        self._tool_version: str | None = None

    def feed(self, block: bytes) -> None:
        is_first = self._in_journal is None
        if is_first:
            self._in_journal = _JOURNAL_LINE.match(block) is not None
        if self._in_journal:
            block = _JOURNAL_LINE.sub(b"\n", block)
        end = 0
        for start, stop in _stretches(block):
            at = start
            while beginning := _BEGINNING.search(block, at, stop):
                self._work.spend(1)
                at = beginning.start() + 1  # Of a short line, it may have matched the next as well.
                if backup := _BACKUP.match(block, beginning.start()):
                    self._read_backup(backup)
                    at = end = backup.end()
                elif line := _LINE.match(block, beginning.start()):
                    summary = self._summary
                    self._read(line)
                    if self._summary is not summary:
                        end = line.end()
        # Up to 0.14, -vv prints names as they are, with their newlines. No file comes after a summary that is none.
        if self._summary and (block.find(b", saved in ", end) >= 0 or block.find(b"\nunchanged ", end) >= 0):
            self._summary = {}
        # What comes before the first file stands in the first block, or behind the summary of another backup.
        if is_first or end:
            self._read_opening(block)

    def _read_opening(self, block: bytes) -> None:
        at = block.find(b"\nrestic ", 0, _OPENING_BYTES)
        if at >= 0 and (version := _TOOL_VERSION.search(block, at, _OPENING_BYTES)):
            self._tool_version = version[1].decode()
        at = block.find(_MISSING, 0, _OPENING_BYTES)
        while at >= 0:
            self._told["warning"] += 1
            self._unread.add(block[block.rfind(b"\n", 0, at) + 1 : at])
            at = block.find(_MISSING, at + 1, _OPENING_BYTES)

    def _read(self, line: re.Match[bytes]) -> None:
        says = line.lastgroup or ""
        self._told[says] += 1
        match says:
            case "json":
                self._read_json(line["json"])
            case "error":
                if unread := _UNREAD.search(line["error"]):
                    self._unread.add(unread["item"])
            case "restore_errors":
                self._told["error"] += as_count(line["restore_errors"]) or 0
            case "unsaved":
                self._summary = {"has_snapshot": False}
            case "unmodified" | "data_added" | "data_added_packed" | "total_bytes_processed" | "duration" | "saving":
                self._work.spend(_SUMMARY)
                self._read_summary(says, line)
            case _:
                pass

    def _read_backup(self, backup: re.Match[bytes]) -> None:
        self._work.spend(6 * _SUMMARY)
        *counts, added, packed, files, size, duration, snapshot_id = backup.groups()
        self._lines = {}
        self._summary = {
            **_NO_ERRORS,
            **dict(zip(_COUNTED, map(int, counts), strict=True)),
            "format": "text",
            "total_files_processed": int(files),
            "duration": _seconds(duration),
            "snapshot_id": snapshot_id.decode(),
            "has_snapshot": True,
        }
        _add_size(self._summary, "data_added", added)
        _add_size(self._summary, "data_added_packed", packed)
        _add_size(self._summary, "total_bytes_processed", size)

    def _read_summary(self, says: str, line: re.Match[bytes]) -> None:
        if says == "unmodified":
            kind, *counts = line.group("kind", *_CHANGES)
            if kind == b"Files":
                self._lines = {}
            self._lines.update(zip(_COUNTS[kind], map(as_count, counts), strict=True))
        elif says == "saving":
            # "restic copy" says it of each copy, without a summary.
            if self._summary.get("format") == "text" and "has_snapshot" not in self._summary:
                self._summary |= _snapshot(line["snapshot_id"] and line["snapshot_id"].decode())
        elif line["verb"]:
            _add_size(self._lines, "data_added", line["data_added"])
            _add_size(self._lines, "data_added_packed", line["data_added_packed"])
            if line["verb"] == b"Would add":
                self._lines |= {**_snapshot(None), "dry_run": True}
        else:
            summary: dict[str, Any] = {**_NO_ERRORS, **self._lines, "format": "text"}
            summary["total_files_processed"] = as_count(line["total_files_processed"])
            summary["duration"] = _seconds(line["duration"])
            _add_size(summary, "total_bytes_processed", line["total_bytes_processed"])
            self._summary, self._lines = summary, {}

    def _read_json(self, raw: bytes) -> None:
        self._work.spend(DECODING)
        document = read_json(raw)
        match document.get("message_type"):
            case "summary":
                self._read_json_summary(document)
            case "error":
                if document.get("during") in ("scan", "archival") and isinstance(item := document.get("item"), str):
                    self._told["error"] += 1
                    self._unread.add(item)
            case "exit_error":
                if isinstance(message := document.get("message"), str):
                    line = _LINE.match(b"\n" + message.encode("utf-8", "replace"))
                    # That a repository is damaged is no news: the summary before it told the number of errors.
                    if line and (line["warning"] or line["unsaved"] or line["restore_errors"]):
                        self._read(line)
            case _:
                pass

    def _read_json_summary(self, document: dict[str, Any]) -> None:
        if isinstance(errors := document.get("num_errors"), int):
            self._told["error"] += as_count(errors) or 0
            self._told["undamaged"] += 1
        elif "total_duration" in document:
            is_dry_run = document.get("dry_run")
            self._summary = {
                **_NO_ERRORS,
                **{name: as_count(count) for name in _FIGURES if type(count := document.get(name)) is int},
                "duration": _seconds(document["total_duration"]),
                **_snapshot(None if is_dry_run else document.get("snapshot_id")),
                "dry_run": True if is_dry_run is True else None,
                "format": "json",
            }

    def figures(self) -> dict[str, Any]:
        told = self._told
        figures: dict[str, Any] = {
            "errors": 0 if "undamaged" in told else None,
            **self._summary,
            "failed_items": self._unread.items or None,
            "tool_version": self._tool_version,
        }
        for kind, name in (("error", "errors"), ("warning", "warnings")):
            if count := told.get(kind):
                figures[name] = as_count(count)
        if "damaged" in told:
            figures["errors"] = None  # lines of many kinds tell what is damaged, and hints are among them
        figures = {name: figure for name, figure in figures.items() if figure is not None}
        return {"format": "json" if "json" in told else "text", **figures} if figures else {}


def _stretches(block: bytes) -> Iterator[tuple[int, int]]:
    """Return where each stretch that may hold lines of interest begins and ends.

    Most such lines hold a colon, and those that do not are close to one that does, or to an end of the log. Few files
    have one in their names: in a list of the others, looking for it takes a thirtieth of the time.
    """
    start, stop = 0, _CLOSE_BYTES
    while stop < len(block):
        colon = block.find(b":", stop)
        if colon < 0:
            colon = len(block)
        if colon - stop > 2 * _CLOSE_BYTES:
            yield start, stop
            start = colon - _CLOSE_BYTES
        stop = colon + _CLOSE_BYTES
    yield start, len(block)


def _add_size(figures: dict[str, Any], name: str, text: bytes | None) -> None:
    """Add a size that a line tells, if it tells one, and whether it is rounded."""
    if text:
        number, unit = text.split()
        figures[name] = as_size(number, unit)
        if unit != b"B":
            figures["approximate"] = True


def _seconds(duration: object) -> float | None:
    """Return a duration such as 2.5 or 1:02:33 in seconds; None for what is none, such as 292 years."""
    if isinstance(duration, bytes):
        seconds = 0.0
        for part in duration.split(b":"):
            seconds = 60 * seconds + int(part)
    elif isinstance(duration, int | float) and not isinstance(duration, bool):
        seconds = duration
    else:
        return None
    return float(seconds) if 0 <= seconds <= MAX_DURATION_SECONDS else None


def _snapshot(snapshot_id: object) -> dict[str, Any]:
    """Return what an id says, which stands for no snapshot if it is none, zeros or ``[null]``."""
    if isinstance(snapshot_id, str) and _SNAPSHOT_ID.fullmatch(snapshot_id):
        return {"snapshot_id": snapshot_id, "has_snapshot": True}
    return {"has_snapshot": False}


RESTIC: Final = Tool(
    name="restic",
    mark=_MARK,
    beginning=rb"(?:" + _JOURNAL + rb")?"
    rb'(?:\{"message_type":"|repo|rest|unable to |using |create|open repo|lock repo|load index|start |scan finished'
    rb"|no parent |Dirs: |processed \d|Warning: at least|Fatal: )",
    parser=_Restic,
)
"""restic (https://restic.net)."""
