"""Figures read from the logs of backup tools. Each tool has a file of its own."""

import functools
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import msgspec

from backuplog.model import RunStats
from backuplog.unchecked import normal_forms, unchecked_stats

from .borg import BORG
from .dar import DAR
from .duplicity import DUPLICITY
from .kopia import KOPIA
from .pgbackrest import PGBACKREST
from .rclone import RCLONE
from .rdiff_backup import RDIFF_BACKUP
from .restic import RESTIC
from .rsync import RSYNC
from .tar import TAR
from .tool import Parser, Tool, TooMuchWork, Work

__all__ = ["TOOLS", "Parser", "Tool", "Work", "parse_log"]

TOOLS: Final[tuple[Tool, ...]] = (
    RESTIC,
    BORG,
    DAR,
    DUPLICITY,
    KOPIA,
    PGBACKREST,
    RCLONE,
    RDIFF_BACKUP,
    RSYNC,
    TAR,
)
"""The tools whose logs are understood."""

ENTRY_POINT_GROUP: Final = "backuplog.parsers"

_logger: Final = logging.getLogger("backuplog")

_NO_BACKUPS: Final = frozenset({"check", "forget", "prune", "restore"})
_BLOCK_BYTES: Final = 262_144
# 2 MiB, which a tool that shows itself at the end of its log reads.
_MOST_UNREAD: Final = 8
# A tool shows itself at the beginning of its log or at the end.
_WINDOW_BYTES: Final = 16_384
# A log of a terminal has some on each line. Taking out each of those that 64 MiB can hold would take 5 s: those of a
# block that has more, one in ten bytes, stay.
_MOST_ESCAPES: Final = _BLOCK_BYTES // 10
_NEWLINE: Final = 0x0A
# https://ecma-international.org/publications-and-standards/standards/ecma-48/: CSI and OSC sequences, and two bytes.
# It begins with the one byte that is searched for: 0.4 ns a byte of log, and 24 where a group comes first.
_CSI: Final = rb"\[[0-?]*+[ -/]*+[@-~]"
_ESCAPE: Final = re.compile(rb"\x1b(?:%b(?:\x1b%b)*+|\][^\x07\x1b]*+(?:\x07|\x1b\\)|[@-Z\\-_])" % (_CSI, _CSI))
# What stands between the escape sequences of a block takes more memory than it, before it is joined.
_PART: Final = re.compile(rb".{0,65536}(?:\n|\Z)|.{1,65536}", re.DOTALL)
# The cursor goes to column 1, as it does for a carriage return: rclone draws its progress so.
_COLUMN_1: Final = b"\x1b[1G"


def find_tools() -> tuple[Tool, ...]:
    """Return the tools whose logs are understood, and those that installed packages add.

    A package adds one by an entry point of the group ``backuplog.parsers`` that names a ``Tool``.
    """
    from importlib.metadata import entry_points  # noqa: PLC0415 - as in store.py

    return TOOLS + tuple(point.load() for point in entry_points(group=ENTRY_POINT_GROUP))


def is_backup(task_type: str | None) -> bool:
    """Return whether a task of a type may make a snapshot. Its figures depend on nothing else of the type."""
    return task_type not in _NO_BACKUPS


def parse_log(
    log: bytes | str | Iterable[bytes | str],
    *,
    task_type: str | None = None,
    tools: Sequence[Tool] = TOOLS,
    work: Work | None = None,
) -> RunStats | None:
    """Read the figures of a run from its log.

    The log is read once, in time linear in its length and with less than 8 MiB of memory. Nothing that it holds raises.

    Args:
        log: What the tool printed, whole or in pieces, such as ``iter_log`` returns.
        task_type: The type of the task, if it is known. What a ``check``, ``forget``, ``prune`` or ``restore`` says of
            snapshots is not taken for a snapshot of its own.
        tools: The tools to look for.
        work: Bounds what it costs to read several logs, which then share it. A log that costs more tells nothing.

    Returns:
        The figures; None if the log tells none, or its tool is not known.
    """
    if not tools:
        return None
    reader = LogReader(tools, task_type=task_type, work=work or Work())
    for piece in [log] if isinstance(log, bytes | str) else log:
        if isinstance(piece, bytes):
            reader.feed(piece)
            continue
        for start in range(0, len(piece), _BLOCK_BYTES):
            reader.feed(piece[start : start + _BLOCK_BYTES].encode("utf-8", "surrogatepass"))
    return reader.stats()


class LogReader:
    """Reads a log piece by piece."""

    def __init__(self, tools: Sequence[Tool], *, task_type: str | None, work: Work) -> None:
        """Begin with no tool known.

        Args:
            tools: The tools to look for.
            task_type: The type of the task, if it is known.
            work: Bounds what it costs.
        """
        self._tools = tools
        self._work = work
        self._task_type = task_type
        self._tool: Tool | None = None
        self._parser: Parser | None = None
        self._is_new = True
        self._unread: list[bytes] = []  # the last blocks of a tool that is not known yet
        self._rest: bytes | bytearray = b""  # lines that make no block yet

    def feed(self, piece: bytes) -> None:
        """Read a piece, which may end anywhere in a line.

        Args:
            piece: The next bytes of the log.
        """
        if self._rest and len(self._rest) + len(piece) < _BLOCK_BYTES:
            # Many short pieces are put together in place; one short log is never copied.
            self._rest = self._rest if isinstance(self._rest, bytearray) else bytearray(self._rest)
            self._rest += piece
            return
        data = bytes(self._rest) + piece if self._rest else piece
        start = 0
        while len(data) - start >= _BLOCK_BYTES:
            limit = start + _BLOCK_BYTES
            end = max(data.rfind(b"\n", start, limit), data.rfind(b"\r", start, limit)) + 1
            # A line of more than a block is cut: no tool says figures on such a one.
            stop = end if end > start else limit
            self._take(_block(data, start, stop))
            start = stop
        self._rest = data[start:]

    def _take(self, block: bytes) -> None:
        try:
            if self._parser is not None:
                self._parser.feed(_plain(block))
                return
            self._unread = [*self._unread[1 - _MOST_UNREAD :], block]
            if self._is_new:
                self._is_new = False
                self._look_for_a_tool(_plain(block[:_WINDOW_BYTES]))
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        """Let a log tell nothing because its parser has failed: no result is refused for that."""
        if not isinstance(error, TooMuchWork):
            name = self._tool and self._tool.name
            _logger.error("The parser of %s failed: the log tells no figures", name, exc_info=error)
        self._tools, self._tool, self._parser, self._unread = (), None, None, []

    def _look_for_a_tool(self, window: bytes) -> None:
        """Find the tool whose mark comes first, and let it read all that is unread."""
        self._tool = _first_tool(tuple(self._tools), window, self._work)
        if self._tool:
            self._parser = self._tool.parser(self._work)
            for block in self._unread:
                self._parser.feed(_plain(block))
            self._unread = []

    def stats(self) -> RunStats | None:
        """Return the figures of all that was read; None if it tells none."""
        if self._rest:
            self._take(_block(bytes(self._rest), 0, len(self._rest)))
            self._rest = b""
        try:
            if self._parser is None and sum(map(len, self._unread)) > _WINDOW_BYTES:  # Else all was searched.
                end = b"".join(block[-_WINDOW_BYTES:] for block in self._unread)[-_WINDOW_BYTES:]
                self._look_for_a_tool(_plain(end))
            if self._tool is not None and self._parser is not None:
                return _as_stats(self._tool, self._parser.figures(), self._task_type)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._give_up(error)
        return None


def _first_tool(tools: tuple[Tool, ...], window: bytes, work: Work) -> Tool | None:
    """Return the tool whose mark comes first."""
    at, beginning = 0, _any_beginning(tools)
    while line := beginning.search(window, at):
        work.spend(1)
        at = line.start()
        for tool in tools:
            if tool.mark.match(window, at):
                return tool
        at += 1
    return None


@functools.lru_cache(maxsize=32)
def _any_beginning(tools: tuple[Tool, ...]) -> re.Pattern[bytes]:
    # One search for all takes half the time of one for the mark of each, and none where the first line is one.
    return re.compile(b"\n(?=%b)" % b"|".join(tool.beginning for tool in tools))


def _as_stats(tool: Tool, figures: dict[str, Any], task_type: str | None) -> RunStats | None:
    if not is_backup(task_type):
        figures = {name: value for name, value in figures.items() if name not in ("snapshot_id", "has_snapshot")}
    if not figures:
        return None
    named: dict[str, Any] = {"tool": tool.name, **figures}
    try:
        return unchecked_stats(*msgspec.structs.astuple(msgspec.convert(named, _Figures)))
    except msgspec.ValidationError:
        return RunStats(**named)  # which brings them into their normal form, or says what is wrong


_FORMS: Final = normal_forms(is_storable=False)
# Checked like this, figures take a sixth of the time of RunStats.
_Figures: Final = msgspec.defstruct(
    "Figures",
    [(field.name, _FORMS[field.name], field.default) for field in attrs.fields(RunStats)],
    forbid_unknown_fields=True,
)


def _block(data: bytes, start: int, stop: int) -> bytes:
    """Return lines behind a newline. It is there already, unless they are the first: prepending one copies them."""
    return data[start - 1 : stop] if start and data[start - 1] == _NEWLINE else b"\n" + data[start:stop]


def _plain(block: bytes) -> bytes:
    """Return lines as a parser wants them: without escape sequences, and with newlines for carriage returns."""
    if b"\x1b" in block and block.count(b"\x1b") <= _MOST_ESCAPES:
        block = block.replace(_COLUMN_1, b"\r")
        block = b"".join(_ESCAPE.sub(b"", part[0]) for part in _PART.finditer(block))
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return block
