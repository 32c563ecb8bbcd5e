r"""Finding lines in a part of a log: those that match, and those around them. Pure.

A line ends with ``\n``. What is longer than 64 KiB with its end counts as several lines of 64 KiB, counted from where
it begins, so that what is held of a log has a limit.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import attrs

from .chunk import as_bytes
from .model import BackupRun

LINE_BYTES: Final = 65_536
"""The most bytes of one line, with its end."""

CONTEXT_BYTES: Final = 16_384
"""How far the context of a line reaches on either side, in bytes."""

EXCERPT_BYTES: Final = 1_024
"""The most bytes of a line that are shown."""

MAX_TEXT_BYTES: Final = 1_024
"""The longest text to find, in bytes: no longer than the context, which is there behind each line that is searched."""


@attrs.frozen(kw_only=True)
class LogMatch:
    """A line of a log that matches.

    Attributes:
        run: The run whose log it is.
        line_number: The number of the line, from 1.
        offset: Where the first match in the line begins, in bytes of log, as ``read_log`` counts them.
        size: How many bytes match.
        line: The line without its end. Of one longer than 1 KiB, 1 KiB around the beginning of the match.
        line_offset: Where ``line`` begins, in bytes of log.
        before: The lines before it, as many as were asked for, each cut to 1 KiB. They reach back 16 KiB at most.
        after: The lines after it, likewise.
    """

    run: BackupRun
    line_number: int
    offset: int
    size: int
    line: bytes = attrs.field(repr=False)
    line_offset: int
    before: tuple[bytes, ...] = attrs.field(repr=False)
    after: tuple[bytes, ...] = attrs.field(repr=False)


class Found(NamedTuple):
    """A line that matches, as positions in the part of the log.

    Attributes:
        start: Where the line begins.
        stop: Where the next one begins.
        match: Where the first match in it begins.
        size: How many bytes match.
    """

    start: int
    stop: int
    match: int
    size: int


Find: TypeAlias = Callable[[bytes, int, int], Iterator[Found]]
"""Finds the lines that match in a part of a log, from where the first one begins to where the last one stops."""


def as_sought(value: object) -> bytes | None:
    """Return a text as the bytes to find, None for a pattern."""
    if isinstance(value, re.Pattern):
        if isinstance(value.pattern, bytes):
            return None
        raise ValueError('must be a pattern of bytes, such as re.compile(rb"Fatal: .*"), because logs are bytes')
    if not isinstance(value, str | bytes):
        raise ValueError("must be text, or a compiled pattern of bytes")  # noqa: TRY004 - one kind of error
    text = as_bytes(value)
    if not 0 < len(text) <= MAX_TEXT_BYTES:
        raise ValueError(f"must have 1 to {MAX_TEXT_BYTES:,} bytes in UTF-8")
    if b"\n" in text:
        raise ValueError("must not hold line breaks, because each line is searched by itself")
    return text


def finder(text: str | bytes | re.Pattern[bytes], *, ignore_case: bool) -> tuple[Find, int]:
    """Return what finds the lines that match, and a number that tells it from what finds others.

    Args:
        text: What to find, which ``as_sought`` has accepted.
        ignore_case: Whether the case of ASCII letters is ignored.
    """
    if isinstance(text, re.Pattern):
        pattern = re.compile(text.pattern, text.flags | re.IGNORECASE) if ignore_case else text
        return partial(find_pattern, pattern), zlib.crc32(repr((pattern.pattern, pattern.flags)).encode())
    sought = as_bytes(text).lower() if ignore_case else as_bytes(text)
    return partial(find_text, sought, ignore_case), zlib.crc32(repr((sought, ignore_case)).encode())


def line_start(part: bytes, known: int, position: int) -> int:
    """Return where the line begins that holds the byte at a position, or that would begin there.

    Args:
        part: A part of a log.
        known: Where some line begins, at or before the position.
        position: The position.
    """
    start = part.rfind(b"\n", known, position) + 1 or known
    return position - (position - start) % LINE_BYTES


def find_text(text: bytes, ignore_case: bool, part: bytes, start: int, stop: int) -> Iterator[Found]:  # noqa: FBT001
    """Find the lines that hold a text, or in which it begins and goes on behind the 64 KiB of a line.

    Args:
        text: The text, without line ends; in lower case if the case is ignored.
        ignore_case: Whether the case of ASCII letters is ignored.
        part: A part of a log. It goes on behind ``stop`` by the text's length, or ends there.
        start: Where the first line begins.
        stop: Where the last line stops.
    """
    haystack = part.lower() if ignore_case else part
    while (match := haystack.find(text, start, stop - 1 + len(text))) >= 0:
        line = line_start(part, start, match)
        start = part.find(b"\n", match, line + LINE_BYTES) + 1 or min(line + LINE_BYTES, stop)
        yield Found(line, start, match, len(text))


def find_pattern(pattern: re.Pattern[bytes], part: bytes, start: int, stop: int) -> Iterator[Found]:
    """Find the lines in which a pattern is found, each looked at by itself and without its end.

    Args:
        pattern: The pattern.
        part: A part of a log.
        start: Where the first line begins.
        stop: Where the last line stops.
    """
    search = pattern.search
    while start < stop:
        # A block of whole lines is not longer than the longest one, so that each of its pieces is a line.
        end = stop if stop - start <= LINE_BYTES else line_start(part, start, start + LINE_BYTES)
        for line in part[start:end].removesuffix(b"\n").split(b"\n"):
            following = start + len(line) + 1
            if found := search(line):
                yield Found(start, min(following, end), start + found.start(), len(found[0]))
            start = following
        start = end


def match_of(run: BackupRun, part: bytes, found: Found, *, base: int, line_number: int, context_lines: int) -> LogMatch:
    """Return what to tell of a line that matches.

    Args:
        run: The run whose log it is.
        part: A part of the log, with 16 KiB on either side of the line unless the log begins or ends there.
        found: The line.
        base: Where the part begins in the log.
        line_number: The number of the line.
        context_lines: How many lines to show before and after it.
    """
    stop = found.stop - part.endswith(b"\n", found.start, found.stop)
    shown = max(found.start, min(found.match - EXCERPT_BYTES // 2, stop - EXCERPT_BYTES))
    before, after = list[bytes](), list[bytes]()
    if context_lines and found.start:
        text = part[max(0, found.start - CONTEXT_BYTES) : found.start]
        before = text.removesuffix(b"\n").rsplit(b"\n", context_lines)[-context_lines:]
    if context_lines and found.stop < len(part):
        text = part[found.stop : found.stop + CONTEXT_BYTES]
        after = text.removesuffix(b"\n").split(b"\n", context_lines)[:context_lines]
    return LogMatch(
        run=run,
        line_number=line_number,
        offset=base + found.match,
        size=found.size,
        line=part[shown : min(stop, shown + EXCERPT_BYTES)],
        line_offset=base + shown,
        before=tuple(line[:EXCERPT_BYTES] for line in before),
        after=tuple(line[:EXCERPT_BYTES] for line in after),
    )
