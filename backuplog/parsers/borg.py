"""The output of borg 1 and borg 2, as borg prints it or as borgmatic passes it on.

Sources of the formats, besides logs of borg 1.2.4, 1.4.5 and 2.0.0b5 and of borgmatic 2.1.10:

* https://borgbackup.readthedocs.io/en/stable/internals/frontends.html: ``--json`` and ``--log-json``
* https://borgbackup.readthedocs.io/en/stable/usage/create.html: ``--stats``, and the letters of ``--list``
* https://github.com/borgbackup/borg: ``Archive.__str__``, ``Statistics.__str__``, ``BackupOSError``,
  ``format_timedelta`` and ``json_print``
* https://github.com/borgmatic-collective/borgmatic: ``borgmatic/actions/create.py``

The figures are those of the last archive that was made; "All archives" and ``cache`` tell of the repository. The
deduplicated size of borg 1 is after compression, that of borg 2 before it. What borg 2 calls "Added", "Modified" and
"Unchanged files" is left out, since it compares with a cache and not with the archive before: it says "Added files:
289" where that archive held 277 of them. Text does not tell which lines are warnings; ``--log-json`` does.
"""

import re
from itertools import islice
from typing import Any, Final

from backuplog.normalise import MAX_DURATION_SECONDS

from .tool import DECODING, FailedItems, Tool, Work, as_count, as_size, read_json

__all__ = ["BORG", "BorgParser"]

# Longer lines are passed over. The longest message about a path holds its 4,096 bytes twice, each as \udcxx, and
# decoding so much takes 2 MiB at most.
_MAX_LINE_BYTES: Final = 65_536
_MOST_LINES: Final = 50  # of a message; the longest is that of --stats, 12 lines

# What borg was doing when the system refused it a file.
_READING: Final = frozenset(
    b"open,open_root,dir_open,read,stat,fstat,scandir,readlink,flags,"
    b"extended stat,extended stat (ACLs),extended stat (xattrs)".split(b",")
)
_EXCEPTION: Final = re.compile(rb"[\w.]+Error")
_FIELDS: Final = {
    b"nfiles": "total_files_processed",
    b"original_size": "total_bytes_processed",
    b"compressed_size": "data_compressed",
    b"deduplicated_size": "data_added",
}
_SIZES: Final = {
    b"This archive": ("total_bytes_processed", "data_compressed", "data_added"),
    b"Original size": ("total_bytes_processed",),
    b"Deduplicated size": ("data_added",),
}
_SECONDS: Final = {b"days": 86_400, b"hours": 3_600, b"minutes": 60, b"seconds": 1}

_MARK: Final = re.compile(
    rb"\n(?:Archive fingerprint: [0-9a-f]{64}\n|Creating archive (?:at \"|\"|\(dry run; )|Borg: \d[^\n]*  Python: "
    rb"|borgbackup version \d|terminating with [a-z]+ status, rc \d|Ignoring --stats\. It is not supported when using -"
    rb'|    "archive": \{\n|    "dry_run": true,\n    "encryption": \{\n|(?:\[\{|\{)"archive": \{"'
    rb'|\{"type": "(?:log_message", "time|file_status", "status)": '
    rb"|[AMUCE] (?=[^\n]++\nd )([^\n]+)/[^\n/]++\nd \1\n"  # of --list, which names a folder after what is in it
    rb"|[^\n{ ][^\n ][^\n]*: (?:(?:%s): \[Errno \d+\] |Creating archive \(dry run; ))"
    % b"|".join(map(re.escape, sorted(_READING)))
)
# Most lines are those of --list: a letter and a blank, or in JSON, the letter as a string 34 bytes into the line.
# Refusing these first takes 1.1 ns a byte, and 2.1 ns without.
_LINE: Final = re.compile(
    rb'\n(?![^E ] )(?!\{(?s:.{33})"[^E]")'
    rb'(?:\{"type": "(?:file_status", "status": "E|log_message", [^\n]*"(?:levelname": "(?:WARNING|ERROR|CRITICAL)'
    rb'|name": "borg\.output\.s(?:tats|how-version)))"|(?:\[\{|\{)"archive": '
    rb'|    (?:    ){0,2}"(?:archives?|cache|dry_run|encryption|repository|id|duration|nfiles|[a-z]{8,12}_size)": '
    rb"|E [^\n]|Archive fingerprint: |Hostname: |Duration: |Number of files: |(?:Original|Deduplicated) size: "
    rb"|This archive: |Borg: |borgbackup version |Creating archive \(dry run; |Ignoring --stats\. "
    rb"|[^\n{ ][^\n ][^\n]*: (?:\[Errno |Borg |Creating archive \(dry run; )"
    rb")[^\n]*"
)
_MEMBER: Final = re.compile(
    rb'"(?:(archives?|cache|dry_run|encryption|repository)": [\[{t]'
    rb'|(id|duration|nfiles|(?:original|compressed|deduplicated)_size)": "?([0-9a-f.+-]{1,64})(?=[",}\n]))'
)
_ID: Final = re.compile(rb"[0-9a-f]{64}")
_SIZE: Final = re.compile(rb"(?<![\d.])(\d[\d.]{0,19}+) ([A-Za-z]{0,2}B)\b")
_DRY_RUN: Final = re.compile(rb"(?:.*: )?Creating archive \(dry run; |Ignoring --stats\. ")
_VERSION: Final = re.compile(rb"(?:Borg: |borgbackup version |.*: Borg )(\d+\.\d[\w.+-]{0,29})")


class BorgParser:
    """Reads what borg prints."""

    def __init__(self, work: Work) -> None:
        """Begin with nothing known.

        Args:
            work: Counts what it costs.
        """
        self._work = work
        self._made: dict[str, Any] = {}  # of the last archive that was made
        self._read: dict[str, Any] = {}  # of what is being read about: that archive, or another
        self._section = b""  # of a JSON document
        self._format = "text"  # of the lines around one
        self._levels = {"WARNING": 0, "ERROR": 0, "CRITICAL": 0}
        self._failed = FailedItems()
        self._version: str | None = None

    def feed(self, block: bytes) -> None:
        """Read some lines.

        Args:
            block: A newline, and whole lines. Text that does not end with a newline was cut off, and is not read.
        """
        self._work.pass_over(block)
        for match in self._work.lines(_LINE, block):
            line = block[match.start() + 1 : match.end() + 1]
            if line.startswith((b" ", b"[", b'{"archive"')):
                self._read_document(line)
            elif len(line) > _MAX_LINE_BYTES:
                continue
            elif line.startswith(b"{"):
                self._work.spend(DECODING)
                self._read_message(line)
            elif line.startswith(b"E ") and line.endswith(b"\n"):
                self._failed.add(line[2:-1])
            elif line.endswith(b"\n"):
                self._read_text(line[:-1])

    def figures(self) -> dict[str, Any]:
        """Return what the lines so far tell."""
        figures = {name: value for name, value in self._made.items() if value is not None}
        if self._format == "log-json":
            figures |= {"warnings": self._levels["WARNING"], "errors": self._levels["ERROR"] + self._levels["CRITICAL"]}
        if self._failed.items:
            figures["failed_items"] = tuple(self._failed.items)
        if self._version is not None:
            figures["tool_version"] = self._version
        return {"format": self._format, **figures} if figures else {}

    def _read_document(self, text: bytes) -> None:
        """Read a line of a document of ``--json``, or all of one that borgmatic printed on a line."""
        for match in self._work.lines(_MEMBER, text):
            section, key, value = match.groups()
            if section is not None:
                self._section = section
                if section == b"dry_run":
                    self._made = self._read = {"format": "json", "has_snapshot": False, "dry_run": True}
                elif section.startswith(b"archive") or "snapshot_id" in self._read:
                    self._read = {"format": "json"}
            elif key == b"id":
                if self._section == b"archive":
                    self._name_archive(value)
                    self._keep_archive()
            elif key == b"duration":
                self._read["duration"] = _seconds(value + b" seconds")
            else:
                self._read[_FIELDS[key]] = as_count(value)

    def _read_message(self, line: bytes) -> None:
        """Read a line of ``--log-json``."""
        entry = read_json(line)
        if not entry:
            return
        self._format = "log-json"
        path, level, message = (entry.get(name) for name in ("path", "levelname", "message"))
        if isinstance(path, str):
            self._failed.add(path)
        if isinstance(level, str) and level in self._levels:
            self._levels[level] += 1
        if isinstance(message, str):
            text = message.encode("utf-8", "surrogatepass")
            # A name can hold newlines, and then the message is no lines of text.
            for each in [text] if _refused(text) else text.split(b"\n", _MOST_LINES)[:_MOST_LINES]:
                self._work.spend(1)
                self._read_text(each)

    def _read_text(self, line: bytes) -> None:
        """Read a line of text."""
        name, _, value = line.partition(b": ")
        if name == b"Archive fingerprint":
            self._read = {"format": self._format}
            self._name_archive(value)
        elif name == b"Hostname":  # This is what "borg info" says of an archive.
            self._read = {}
        elif name == b"Duration":
            self._read["duration"] = _seconds(value)
            self._keep_archive()
        elif name == b"Number of files":
            self._read["total_files_processed"] = as_count(value)
        elif sizes := _SIZES.get(name):
            self._read_sizes(value, sizes)
        elif _DRY_RUN.match(line):
            self._made = {"has_snapshot": False, "dry_run": True}
        elif version := _VERSION.match(line):
            self._version = version[1].decode()
        elif refused := _refused(line):
            self._failed.add(refused)

    def _name_archive(self, id_: bytes) -> None:
        if _ID.fullmatch(id_):
            self._read |= {"snapshot_id": id_.decode(), "has_snapshot": True}

    def _keep_archive(self) -> None:
        if "snapshot_id" in self._read:
            self._made = self._read

    def _read_sizes(self, text: bytes, fields: tuple[str, ...]) -> None:
        sizes = [size.groups() for size in islice(_SIZE.finditer(text), len(fields) + 1)]
        if len(sizes) == len(fields):
            for field, (number, unit) in zip(fields, sizes, strict=True):
                self._read[field] = as_size(number, unit)
                if unit != b"B":
                    self._read["approximate"] = True
        if "data_added" in fields:  # That was the last of an archive.
            self._read = {}


def _seconds(text: bytes) -> float | None:
    """Return how long a duration such as ``1 hours 2 minutes 3.45 seconds`` is; None for what is none."""
    words = text.split()
    try:
        spans = [float(number) * _SECONDS[unit] for number, unit in zip(words[::2], words[1::2], strict=True)]
    except (KeyError, ValueError):
        return None
    return sum(spans) if spans and 0 <= sum(spans) <= MAX_DURATION_SECONDS else None


def _refused(message: bytes) -> bytes | None:
    """Return the path that a message says could not be read; None if it says another thing."""
    subject, _, reason = message.rpartition(b": [Errno ")
    if b", next: retry: " in reason:
        return None
    path, _, doing = subject.rpartition(b": ")
    if path and doing in _READING:
        return None if _EXCEPTION.fullmatch(path) else path
    # Of a path that was given to it, borg says no more than the system does, with the name in it.
    name = reason.partition(b": ")[2][1:-1]
    return subject if name and (subject == name or subject.endswith(b"/" + name)) else None


BORG: Final = Tool(
    name="borg",
    mark=_MARK,
    beginning=rb'Archive finger|Creating arch|Borg: |borgbackup |terminating with |Ignoring --|    "(?:archive|dry_run)'
    rb'|\[?\{"(?:archive": |type": "[lf])|[AMUCE] (?=[^\n]++\nd )'
    rb"|[^\n]*: (?:\[Errno |Creating archive \(dry run; )",
    parser=BorgParser,
)
"""borg, also when borgmatic runs it."""
