"""What the parsers of all tools share: their shape, and numbers and names that a log holds."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final, Protocol, cast

import attrs

from backuplog.decode import REFUSALS, decode_quickly
from backuplog.normalise import MAX_COUNT, MAX_DURATION_SECONDS, MAX_FAILED_ITEM_CHARACTERS, MAX_FAILED_ITEMS


class Parser(Protocol):
    """Reads the output of one tool, a block of lines at a time. Whatever the lines hold, nothing is raised but this.

    Raises:
        TooMuchWork: There are too many of them. The log then tells nothing.
    """

    def feed(self, block: bytes) -> None:
        """Read some lines.

        Args:
            block: A newline, and whole lines, of 256 KiB together at most, without escape sequences of a terminal and
                with newlines for carriage returns. To find lines of interest, search once for a pattern that begins
                with the newline: that takes 0.7 ns a byte, and ``^`` ten times as long.
        """
        ...

    def figures(self) -> dict[str, Any]:
        """Return the fields of ``RunStats`` that the lines so far tell; what they do not tell is left out."""
        ...


class TooMuchWork(Exception):
    """A log holds so many lines of interest that reading on would cost too much."""


@attrs.define
class Work:
    """Bounds what it costs to read the logs of a request: to about 2 s, for a million lines of interest.

    Attributes:
        left: How many lines of interest may come.
    """

    left: int = 1_000_000

    def lines(self, pattern: re.Pattern[bytes], block: bytes) -> Iterator[re.Match[bytes]]:
        """Return the lines that a pattern finds in a block, and count them.

        Args:
            pattern: Finds a line of interest.
            block: The block.

        Raises:
            TooMuchWork: There were too many.
        """
        for match in pattern.finditer(block):
            self.spend(1)
            yield match

    def pass_over(self, block: bytes) -> None:
        """Count the lines of a block by a parser for which those that say nothing cost up to 0.3 us each.

        Counting takes 0.4 ns a byte, as much as finding lines of interest.

        Args:
            block: The block.

        Raises:
            TooMuchWork: There were too many: 32 million.
        """
        self.spend(block.count(b"\n") // _PASSED_OVER)

    def spend(self, lines: int) -> None:
        """Count something that costs as much as some lines.

        Args:
            lines: How many lines.

        Raises:
            TooMuchWork: There was too much.
        """
        self.left -= lines
        if self.left < 0:
            raise TooMuchWork


_PASSED_OVER: Final = 32
DECODING: Final = 10
"""How many lines cost as much as decoding a line of JSON."""


@attrs.frozen(kw_only=True, eq=False)
class Tool:
    """A tool whose output can be read.

    Attributes:
        name: Its name, such as ``restic``.
        mark: Finds a line that this tool prints and no other does. It begins with the newline before the line.
        beginning: A pattern of how such a line begins, behind the newline; the mark is tried nowhere else.
        parser: Makes a parser, which counts what it costs.
    """

    name: str
    mark: re.Pattern[bytes]
    beginning: bytes = b""
    parser: Callable[[Work], Parser]


def as_count(digits: object) -> int | None:
    """Return a count; None for what is no whole number from 0 to 2^63 - 1."""
    if type(digits) is int:  # the most often
        return digits if 0 <= digits <= MAX_COUNT else None
    # A tuple: with unions, this takes twice as long, and reading a log of 2 KiB a tenth longer.
    if isinstance(digits, (bytes, str)):
        if len(digits) > 19:  # noqa: PLR2004 - more digits are more than 2^63
            return None
        try:
            digits = int(digits)
        except ValueError:
            return None
    elif isinstance(digits, float):
        if not digits.is_integer():
            return None
        digits = int(digits)
    return digits if type(digits) is int and 0 <= digits <= MAX_COUNT else None


_UNITS: Final = {
    (letter + suffix).encode(): base ** (power + 1)
    for power, letter in enumerate(("K", "M", "G", "T", "P", "E"))
    for suffix, base in (("iB", 1024), ("B", 1000), ("i", 1024))
} | {b"B": 1, b"kB": 1000, b"": 1}


def as_size(number: bytes, unit: bytes) -> int | None:
    """Return how many bytes a size such as ``3.370 MiB`` or ``1.62 kB`` is, rounded; None for what is none."""
    factor = _UNITS.get(unit)
    try:
        size = float(number) * (factor or 0)
    except ValueError:
        return None
    return round(size) if factor and 0 <= size <= MAX_COUNT else None


_SECONDS: Final = {
    b"y": 365 * 86_400.0, b"w": 7 * 86_400.0, b"d": 86_400.0, b"h": 3_600.0, b"m": 60.0, b"s": 1.0, b"ms": 1e-3,
    "µs".encode(): 1e-6, b"ns": 1e-9, b"": 1.0,
}  # fmt: skip
_DURATION: Final = re.compile(rb"([\d.]{1,30})([a-z\xc2\xb5]*)")


def as_seconds(time: object) -> float | None:
    """Return how many seconds a number is, or a time such as ``1h2m3.5s``; None for what is none, or 292 years."""
    if isinstance(time, bool) or not isinstance(time, bytes | int | float):
        return None
    try:
        if isinstance(time, bytes):
            parts = [float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(time[:100])]
            time = round(sum(parts), 9) if parts else -1
        return float(time) if 0 <= time <= MAX_DURATION_SECONDS else None
    except (KeyError, ValueError):
        return None


MAX_JSON_BYTES: Final = 65_536
"""How much JSON is decoded at once: decoded, it takes 30 times as much memory. An error of restic names a path of up to
4,096 bytes twice, with up to 6 characters a byte."""


def as_object(value: object) -> dict[str, Any]:
    """Return an object that JSON was decoded to; for anything else, an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_array(value: object) -> list[object]:
    """Return an array that JSON was decoded to; for anything else, an empty one."""
    return cast("list[object]", value) if isinstance(value, list) else []


def read_json(raw: bytes) -> dict[str, Any]:
    """Return the object that JSON begins with; an empty one if there is none, or more than 64 KiB of it."""
    with suppress(*REFUSALS):  # It is malformed, or more follows.
        return as_object(decode_quickly(raw if len(raw) <= MAX_JSON_BYTES else b""))
    try:
        value, _ = _DECODER.raw_decode(raw[:MAX_JSON_BYTES].decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return {}
    return as_object(value)


_DECODER: Final = json.JSONDecoder()


def as_text(raw: bytes | str, *, longest: int = MAX_FAILED_ITEM_CHARACTERS) -> str:
    """Return text as it can be stored, cut: U+FFFD stands for what is not UTF-8, NUL or half a character."""
    if isinstance(raw, bytes):  # A pattern would take 100 us for a name of 1,024 NUL, and 10 s for 64 MiB of them.
        return raw[: 4 * longest].decode("utf-8", "replace")[:longest].replace("\0", "\ufffd")
    return _SURROGATES.sub("\ufffd", raw[:longest].replace("\0", "\ufffd"))


_SURROGATES: Final = re.compile("[\ud800-\udfff]")


@attrs.define
class FailedItems:
    """The first files or folders that could not be read, and each only once.

    Attributes:
        items: Their names, in order.
    """

    items: list[str] = attrs.field(factory=list[str])

    def add(self, name: bytes | str) -> None:
        """Add a name, if there is room."""
        if len(self.items) < MAX_FAILED_ITEMS and (item := as_text(name)) and item not in self.items:
            self.items.append(item)


def any_line(*patterns: bytes, unless: bytes = b"") -> re.Pattern[bytes]:
    """Return a pattern that finds each line of interest in one pass.

    Args:
        patterns: Of a line's beginning each. It has one group: the figure, by its name. It matches no line whose figure
            is cut off by the end of the log.
        unless: Of the beginnings of most other lines, which are refused without trying the rest.
    """
    return re.compile(b"\n" + (b"(?!%b)" % unless if unless else b"") + b"(?:" + b"|".join(patterns) + b")")


_MAX_FIGURE_BYTES: Final = 4 * MAX_FAILED_ITEM_CHARACTERS


@attrs.define
class LineParser:
    """A parser of text: it knows the last figure of each name, how often each was printed, and what failed.

    Attributes:
        lines: What ``any_line`` returns. A figure whose name begins with ``failed`` is a file or a folder.
        read: Turns what was found into fields of ``RunStats``; those that are None are left out.
        work: What it costs.
        first: The name with which figures begin anew, so that those of two runs are never mixed.
        last: The last figure of each name.
        times: How many figures of each name there were.
        failed: What failed.
    """

    lines: re.Pattern[bytes]
    read: Callable[["LineParser"], dict[str, Any]]
    work: Work
    first: str | None = None
    last: dict[str, bytes] = attrs.field(factory=dict[str, bytes], init=False)
    times: Counter[str] = attrs.field(factory=Counter[str], init=False)
    failed: FailedItems = attrs.field(factory=FailedItems, init=False)

    def feed(self, block: bytes) -> None:
        """Read some lines."""
        for match in self.work.lines(self.lines, block):
            self.take(match)

    def take(self, match: re.Match[bytes]) -> None:
        """Take note of a line."""
        name = match.lastgroup or ""
        figure = match[name][:_MAX_FIGURE_BYTES]
        self.times[name] += 1
        if name.startswith("failed"):
            self.failed.add(figure)
            return
        if name == self.first:
            self.last.clear()
        self.last[name] = figure

    def count(self, name: str) -> int | None:
        """Return the last figure of a name as a count."""
        return as_count(self.last.get(name))

    def seconds(self, name: str) -> float | None:
        """Return the last figure of a name as a time."""
        return as_seconds(self.last.get(name, b""))

    def text(self, name: str, longest: int) -> str | None:
        """Return the last figure of a name as text."""
        return as_text(self.last[name], longest=longest) if name in self.last else None

    def figures(self) -> dict[str, Any]:
        """Return what the lines so far tell."""
        return told({"failed_items": self.failed.items or None, **self.read(self)}, "text")


def told(figures: Mapping[str, Any], form: str) -> dict[str, Any]:
    """Return the figures that are not None, and the format that they are in, if there are any."""
    known = {name: value for name, value in figures.items() if value is not None}
    return {**known, "format": form} if known else {}
