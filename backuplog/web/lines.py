"""A few lines of a log as they are shown, and the line at which a log opens."""

import re
from typing import Final

import attrs

from backuplog.change import StoredRun
from backuplog.chunk import DROPPED, border
from backuplog.log import pieces_of
from backuplog.store import Store

from .index import LineIndex
from .terminal import show, show_written

BLOCK: Final = 64
"""How many lines the script asks for at once. They begin at the first line, or a multiple of so many behind it."""

LINE_BYTES: Final = 8_192
"""How much of a line is read, in bytes: its beginning, and its end where that is all that is left of it."""

MOST_CHARACTERS: Final = 2_048
"""How much of a line is shown, in characters."""

FAILING_BYTES: Final = 262_144
"""How far back from its end a log is searched for the line at which to open it, in bytes."""

# What a line says that tells of an error, as whole words: no part of a name of a file, no count of none.
_FAILING: Final = re.compile(
    rb"(?<![\w/.-])(?<!\b0 )(?<!\bno )"
    rb"(?:error|fatal|failed|failure|panic|critical|exception|traceback|aborted|[a-z]+error)(?![\w/-])(?!\.\w)",
    re.IGNORECASE,
)
# A colour before a word is no part of it.
_COLOUR: Final = re.compile(rb"\x1b\[[0-9;]{0,64}m")
_DROPPED: Final = re.compile(re.escape(DROPPED.strip()).replace(rb"bytes", rb"(?:\d+\ )?bytes"))


@attrs.frozen(kw_only=True)
class Line:
    """A line of a log, as much of it as is read.

    Attributes:
        number: Its number, from 1.
        size: How long it is without its end, in bytes.
        head: Its beginning.
        tail: Its end, if that is not in ``head``.
    """

    number: int
    size: int
    head: bytes = attrs.field(repr=False)
    tail: bytes = attrs.field(default=b"", repr=False)


@attrs.frozen(kw_only=True)
class ShownLine:
    """A line of a log as the page shows it.

    Attributes:
        number: Its number, from 1.
        html: What is shown of it, escaped.
        is_overwritten: Whether a terminal would have shown something else of it before.
        size: How long it is, in bytes, if it is cut; None if all of it is shown.
        is_gap: Whether it stands for what was dropped from the log.
    """

    number: int
    html: str
    is_overwritten: bool
    size: int | None
    is_gap: bool


def read_lines(store: Store, stored: StoredRun, index: LineIndex, first: int, count: int) -> list[Line]:
    """Read some lines of a log, however long they are. Of each, no more than its beginning and its end are read.

    Args:
        store: The store to use.
        stored: The run whose log it is.
        index: Where its lines begin.
        first: The number of the first line to read, 1 or more.
        count: How many lines to read; there are fewer at the end of the log.

    Raises:
        LogReplaced: The log is another by now.
        CorruptLog: The log is damaged.
        StoreError: The store failed.
    """
    lines: list[Line] = []
    number, stop = first, min(first + count, index.lines + 1)
    while number < stop:
        position, before = index.before(number)
        end, after = index.after(position) or (index.size + (not index.ends_line), index.lines + 1)
        # Of the lines between two that the index names, only the last goes on beyond the spacing.
        read = _read(store, stored, position, min(end, position + index.spacing + LINE_BYTES))
        parts = read.split(b"\n", after - before)[: after - before]
        for at, part in enumerate(parts, before):
            is_last = at == after - 1
            size = end - 1 - position if is_last else len(part)
            if first <= at < stop:
                tail = b""
                if size > LINE_BYTES:
                    start = max(0, size - LINE_BYTES)
                    tail = _read(store, stored, position + start, position + size) if is_last else part[start:]
                lines.append(Line(number=at, size=size, head=part[:LINE_BYTES], tail=tail))
            position += size + 1
        number = after
    return lines


def shown_line(line: Line, *, longest: int = MOST_CHARACTERS, as_written: bool = False) -> ShownLine:
    """Return what is shown of a line.

    Args:
        line: The line.
        longest: The most characters to show.
        as_written: Whether to show what was overwritten, and control characters, rather than what they do.
    """
    data, is_overwritten, is_cut = line.head, False, line.size > len(line.head)
    overwriting = line.tail.find(b"\r", 0, len(line.tail.rstrip(b"\r")))
    if overwriting >= 0 and not as_written:
        data, is_overwritten, is_cut = line.tail[overwriting + 1 :], True, False
    elif is_cut:
        data = data[: border(data, len(data) - 1)]
    shown = (show_written if as_written else show)(data.decode("utf-8", "replace"), longest)
    return ShownLine(
        number=line.number,
        html=shown.html,
        is_overwritten=is_overwritten or shown.overwritten > 0,
        size=line.size if is_cut or shown.is_cut else None,
        is_gap=_DROPPED.fullmatch(line.head) is not None,
    )


def failing_line(store: Store, stored: StoredRun, index: LineIndex) -> int | None:
    """Return the number of the last line that tells of an error, among the last 256 KiB; None if none does.

    It tells of one if it has a word such as ``error``, ``Fatal``, ``failed`` or ``ValueError`` that is no part of a
    file's name, and not behind ``no`` or ``0``.

    Raises:
        LogReplaced: The log is another by now.
        CorruptLog: The log is damaged.
        StoreError: The store failed.
    """
    end = _read(store, stored, max(0, index.size - FAILING_BYTES), index.size)
    at = last_failing(end)
    return None if at is None else index.breaks - end.count(b"\n", at) + 1


def last_failing(end: bytes) -> int | None:
    """Return where the last word is that tells of an error; None if there is none."""
    if b"\x1b" in end:
        end = _COLOUR.sub(lambda colour: b" " * len(colour[0]), end)
    stop = len(end)
    while stop > 0:  # From the end, a part of it at a time: it is mostly near.
        start = end.rfind(b"\n", 0, max(0, stop - 4_096)) + 1
        if places := [found.start() for found in _FAILING.finditer(end, start, stop)]:
            return places[-1]
        stop = start
    return None


def _read(store: Store, stored: StoredRun, start: int, stop: int) -> bytes:
    stop = min(stop, stored.run.log_bytes)
    return b"".join(pieces_of(store, stored, start, stop))
