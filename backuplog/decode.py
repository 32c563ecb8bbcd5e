"""JSON that agents send, decoded at a cost that its sender cannot choose."""

import json
import re
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Final, NoReturn

import msgspec

from .errors import FieldError, InvalidTaskResult, PayloadTooLarge

MAX_VALUES: Final = 200_000
"""The most values that a document may hold, as its commas and opening brackets count them. 64 MiB could hold 20 million
empty lists, which take 13 s and 1.7 GiB."""
MAX_NESTED_BYTES: Final = 16_777_216
"""The longest array or object inside of a result: 200,000 names of files."""

# A value takes two bytes or more, with what divides it from the next: a shorter document needs no counting.
_FEW_BYTES: Final = 2 * MAX_VALUES
# What a text with escapes costs beyond others, 6 us: 200,000 members with two such texts took 2.5 s.
_ESCAPED_VALUES: Final = 4
_OUTER_LEVELS: Final = 2  # a batch and its results, or a result and its members
_BLANK: Final = re.compile(rb"[ \t\n\r]*+")
# Up to the next mark outside of strings, and over it.
_MARK: Final = re.compile(rb'(?:[^"\[\]{},]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+(?:([\[{])|([\]}])|(,))', re.DOTALL)
_LONGEST_NUMBER: Final = 100_000
_SCALAR: Final = re.compile(rb'[^\s,"\[\]{}]{0,%d}+' % _LONGEST_NUMBER)
_SIMPLE_STRING: Final = re.compile(rb'"[^"\\\x00-\x1f]{0,1000}+"')
_FIRST_PIECE_BYTES: Final = 1_024
# Memory is touched anew for longer ones: 8 MiB then take 1.16 times as long.
_PIECE_BYTES: Final = 65_536
_LONGEST_TEXT: Final = 1_048_576
_LONGEST_ESCAPE: Final = 6
_LOW_SURROGATE: Final = re.compile(rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}")


def decode_json(document: bytes | str, *, max_items: int | None = None) -> object:
    """Decode one JSON document.

    The ``log`` of a long document is bytes, its text in UTF-8: as text it could take four times as much memory. Of any
    other text of more than 1 MiB, which no field takes, there is only the beginning.

    Args:
        document: The document; bytes are UTF-8.
        max_items: The most items if it is an array; None for no limit but that of all values.

    Raises:
        InvalidTaskResult: It is not one JSON document, or holds more than ``MAX_VALUES`` values.
        PayloadTooLarge: It has more than ``max_items`` items, or these hold more than ``MAX_VALUES`` values.
    """
    # In text that is given as such a lone surrogate is a character like any other.
    surrogates = "strict" if isinstance(document, bytes) else "surrogatepass"
    data = document if isinstance(document, bytes) else document.encode("utf-8", surrogates)
    try:
        # Of a long one the values are counted before they are built; nothing is refused at once.
        decoded: Any = decode_quickly(data if len(data) <= _FEW_BYTES else b"")
    except REFUSALS:
        decoded = _decode_exactly(data, surrogates, max_items)
    if max_items is not None and isinstance(decoded, list):
        require_few_items(len(decoded), max_items)  # pyright: ignore[reportUnknownArgumentType]
    return decoded  # pyright: ignore[reportUnknownVariableType]


def _decode_exactly(data: bytes, surrogates: str, max_items: int | None) -> object:
    """Decode a document as the standard library does, or say why it cannot be decoded."""
    if data.startswith(b"\xef\xbb\xbf"):
        refuse("must not begin with a byte order mark")
    if _after_blanks(data, 0) == len(data):
        refuse("must be a JSON object, but the document is empty")
    walk = _Walk(data, surrogates, max_items)
    try:
        return walk.short_document() if len(data) <= _FEW_BYTES else walk.document()
    except RecursionError:
        refuse("is nested too deeply")
    except InvalidTaskResult:
        raise
    except ValueError:  # CPython converts no integer of more than 4,300 digits.
        refuse("holds a number of too many digits")


class _Walk:
    """A walk through the outer levels of a document: what lies deeper is counted before it is built."""

    def __init__(self, data: bytes, surrogates: str, max_items: int | None) -> None:
        self._data = data
        self._surrogates = surrogates
        self._max_items = max_items
        self._left = MAX_VALUES

    def short_document(self) -> object:
        """Decode a document that is too short to cost much."""
        text = self._text(0, len(self._data))
        try:
            return _decoder.decode(text)
        except json.JSONDecodeError as error:
            self._refuse(error.msg, self._size(text[: error.pos]))

    def document(self) -> object:
        """Decode a document of any length."""
        decoded, end = self._value(_after_blanks(self._data, 0), level=0)
        end = _after_blanks(self._data, end)
        if end != len(self._data):
            self._refuse("Extra data", end)
        return decoded

    def _value(self, start: int, *, level: int, is_log: bool = False) -> tuple[Any, int]:
        """Decode the value at a position, and return it and where it ends."""
        mark = self._data[start : start + 1]
        self._spend(1)
        if mark == b"{" and level < _OUTER_LEVELS:
            return self._members(start, level)
        if mark == b"[" and level == 0:
            return self._items(start, level)
        if mark == b'"':
            return self._string(start, is_log=is_log)
        end = self._end_of_nested(start) if mark in (b"[", b"{") else self._end_of_scalar(start)
        text = self._text(start, end)
        try:
            value, size = _decoder.raw_decode(text)
        except json.JSONDecodeError as error:
            self._refuse(error.msg, start + self._size(text[: error.pos]))
        return value, start + self._size(text[:size])

    def _members(self, start: int, level: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        data, end = self._data, _after_blanks(self._data, start + 1)
        if data[end : end + 1] == b"}":
            return found, end + 1
        while True:
            if data[end : end + 1] != b'"':
                self._refuse("Expecting property name enclosed in double quotes", end)
            name, end = self._string(end)
            end = _after_blanks(data, end)
            if data[end : end + 1] != b":":
                self._refuse("Expecting ':' delimiter", end)
            found[name], end = self._value(_after_blanks(data, end + 1), level=level + 1, is_log=name == "log")
            end, is_last = self._after_value(end, b"}")
            if is_last:
                return found, end

    def _items(self, start: int, level: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        end = _after_blanks(self._data, start + 1)
        if self._data[end : end + 1] == b"]":
            return found, end + 1
        while True:
            item, end = self._value(end, level=level + 1)
            found.append(item)
            if self._max_items is not None:
                require_few_items(len(found), self._max_items)
            end, is_last = self._after_value(end, b"]")
            if is_last:
                return found, end

    def _after_value(self, end: int, closing: bytes) -> tuple[int, bool]:
        """Return where what follows a value begins, and whether the value was the last."""
        end = _after_blanks(self._data, end)
        mark = self._data[end : end + 1]
        if mark == closing:
            return end + 1, True
        if mark != b",":
            self._refuse("Expecting ',' delimiter", end)
        return _after_blanks(self._data, end + 1), False

    def _string(self, start: int, *, is_log: bool = False) -> tuple[Any, int]:
        """Decode a string, a piece at a time."""
        data = self._data
        if simple := _SIMPLE_STRING.match(data, start):
            return self._text(start + 1, simple.end() - 1), simple.end()
        self._spend(_ESCAPED_VALUES)
        whole: list[str] = []
        log = BytesIO()
        begin, size = start + 1, _FIRST_PIECE_BYTES
        while True:
            end = _border(data, begin, begin + size) if begin + size < len(data) else len(data)
            # Of a string that ends in its first piece, as most do, the quick way would decode each twice.
            quick = None if begin == start + 1 else self._piece_quickly(begin, end)
            piece, stop = quick or self._piece_exactly(start, begin, end)
            if is_log:
                log.write(piece.encode("utf-8", "surrogatepass"))
            elif begin - start <= _LONGEST_TEXT:
                whole.append(piece)
            if stop is not None:
                return log.getvalue() if is_log else "".join(whole), stop
            begin, size = end, min(2 * size, _PIECE_BYTES)

    def _piece_quickly(self, begin: int, end: int) -> tuple[str, int | None] | None:
        """Decode a piece of a string in 0.4 of the time of ``_piece_exactly``; None where that has to do it."""
        goes_on = end < len(self._data)
        quoted = b"".join((b'"', memoryview(self._data)[begin:end], b'"' if goes_on else b""))
        try:
            return decode_quickly(quoted), None if goes_on else end
        except REFUSALS as refusal:
            # Only a whole string can be decoded, so that what says where it ends need not be trusted.
            trailing = _TRAILING.search(str(refusal))
        if trailing is None:
            return None
        length = int(trailing[1])
        try:
            return decode_quickly(quoted[:length]), begin + length - 1
        except REFUSALS:
            return None

    def _piece_exactly(self, start: int, begin: int, end: int) -> tuple[str, int | None]:
        """Decode a piece of a string as the standard library does, or say why it cannot be decoded.

        Args:
            start: Where the string begins.
            begin: Where the piece begins.
            end: Where it ends, if the string does not end before.

        Returns:
            The piece, and where what follows the string begins if it ends in the piece.
        """
        text = self._text(begin, end)
        # Where the string goes on, the piece gets an end of its own. A string that ends in it has its own before.
        closing = '"' if end < len(self._data) else ""
        try:
            piece, length = _decoder.raw_decode(f'"{text}{closing}')
        except json.JSONDecodeError as error:
            self._refuse(error.msg, begin + self._size(text[: error.pos - 1]) if error.pos else start)
        return piece, begin + self._size(text[: length - 1]) if length <= len(text) + 1 else None

    def _end_of_nested(self, start: int) -> int:
        """Find the end of an array or object. Where it has none, decoding the rest of the document will say why."""
        stop = min(len(self._data), start + MAX_NESTED_BYTES)
        values, end = count_values(self._data, start, stop, self._left)
        self._spend(values)
        if end is None and stop < len(self._data):
            refuse(f"holds an array or object that does not end within {MAX_NESTED_BYTES:,} bytes, at byte {start:,}")
        return end or stop

    def _end_of_scalar(self, start: int) -> int:
        end = _end_of(_SCALAR, self._data, start)
        if end - start == _LONGEST_NUMBER:
            refuse("holds a number of too many digits")
        return end

    def _text(self, start: int, stop: int) -> str:
        try:
            return self._data[start:stop].decode("utf-8", self._surrogates)
        except UnicodeDecodeError as error:
            refuse(f"must be JSON in UTF-8: the byte at {start + error.start:,} is not ({error.reason})")

    def _size(self, text: str) -> int:
        """Return how many bytes of the document a text takes."""
        return len(text.encode("utf-8", self._surrogates))

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0 and self._max_items is not None:
            raise _too_many_values()
        if self._left < 0:
            refuse(f"holds more than {MAX_VALUES:,} values")

    def _refuse(self, message: str, position: int) -> NoReturn:
        refuse(f"must be one JSON document: {message} at byte {position:,}")


def count_values(data: bytes, start: int, stop: int, most: int) -> tuple[int, int | None]:
    """Count the values in an array or object, and stop soon after the most that it may have.

    Returns:
        How many there are, and where it ends; None if it does not end before ``stop``, or if counting stopped before.
    """
    depth = values = 0
    end = start
    while mark := _MARK.match(data, end, stop):
        end = mark.end()
        opening, closing, comma = mark.groups()
        depth += bool(opening) - bool(closing)
        values += bool(opening or comma)
        if depth <= 0:
            return values, end
        if values > most:
            break
    return values, None


def require_few_values(lines: Sequence[bytes]) -> None:
    """Refuse documents that hold more than ``MAX_VALUES`` values together.

    Raises:
        PayloadTooLarge: They do.
    """
    # Most marks are in logs, which takes longer to find out.
    if sum(line.count(mark) for line in lines for mark in (b",", b"[", b"{")) <= MAX_VALUES:
        return
    left = MAX_VALUES
    for line in lines:
        left -= count_values(line, 0, len(line), left)[0]
        if left < 0:
            raise _too_many_values()


def _too_many_values() -> PayloadTooLarge:
    return PayloadTooLarge(f"a batch holds at most {MAX_VALUES:,} values: send fewer results at a time")


def _border(data: bytes, start: int, near: int) -> int:
    """Find where the inside of a string can be cut, near a position, and neither an escape nor a character is."""
    first = near - 3  # Where more bytes continue a character, decoding says so.
    while 0x80 <= data[near] < 0xC0 and near > first:  # noqa: PLR2004 - a byte that begins no character of UTF-8
        near -= 1
    escape = data.rfind(b"\\", max(start, near - _LONGEST_ESCAPE), near)
    if escape >= 0:
        run = data[start : escape + 1]
        is_escaping = (len(run) - len(run.rstrip(b"\\"))) % 2
        size = _LONGEST_ESCAPE if data[escape + 1 : escape + 2] == b"u" else 2
        near = escape if is_escaping and escape + size > near else near
    # The second half of a character beyond U+FFFF stays with the first.
    return near + _LONGEST_ESCAPE if _LOW_SURROGATE.match(data, near) else near


def _after_blanks(data: bytes, start: int) -> int:
    return _end_of(_BLANK, data, start)


def _end_of(pattern: re.Pattern[bytes], data: bytes, start: int) -> int:
    match = pattern.match(data, start)
    return match.end() if match else start


def require_few_items(count: int, most: int) -> None:
    """Refuse a batch of more than so many results.

    Raises:
        PayloadTooLarge: It has more.
    """
    if count > most:
        raise PayloadTooLarge(f"a batch holds at most {most:,} results")


def refuse(message: str) -> NoReturn:
    """Refuse a whole document.

    Raises:
        InvalidTaskResult: Always.
    """
    raise InvalidTaskResult([FieldError("$", message)])


def _refuse_constant(name: str) -> NoReturn:
    refuse(f"must be JSON, which has no {name}")


# By itself it would take 16 us for 1e308, which is 1 s for 400 KB of them.
decode_quickly: Final = msgspec.json.Decoder(float_hook=float).decode
"""What it decodes it decodes as the standard library does; it refuses more, such as lone surrogates."""
REFUSALS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What it raises then."""
_TRAILING: Final = re.compile(r"trailing characters \(byte (\d+)\)")
# Made once: json.loads() with an option makes one at each call, for 2 us.
_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)
