"""JSON that agents send, decoded at a cost that its sender cannot choose."""

import json
import re
from typing import Any, Final, NoReturn

from .errors import FieldError, InvalidTaskResult, PayloadTooLarge

MAX_VALUES: Final = 200_000
"""The most values that a document may hold, as its commas and opening brackets count them. 64 MiB could hold 20 million
empty lists, which take 13 s and 1.7 GiB."""

# A value takes two bytes or more, with what divides it from the next: a shorter document needs no counting.
_FEW_CHARACTERS: Final = 2 * MAX_VALUES
_OUTER_LEVELS: Final = 2  # a batch and its results, or a result and its members
_BLANK: Final = re.compile(r"[ \t\n\r]*+")
# Up to the next mark outside of strings, or over the next string.
_TOKEN: Final = re.compile(r'[^"\[\]{},]*+(?:([\[{])|([\]}])|(,)|"[^"\\]*+(?:\\.[^"\\]*+)*+")', re.DOTALL)


def decode_json(document: bytes | str, *, max_items: int | None = None) -> object:
    """Decode one JSON document.

    Args:
        document: The document; bytes are UTF-8.
        max_items: The most items if it is an array; None for no limit but that of all values.

    Raises:
        InvalidTaskResult: It is not one JSON document, or holds more than ``MAX_VALUES`` values.
        PayloadTooLarge: It has more than ``max_items`` items.
    """
    text = _text_of(document)
    try:
        if len(text) <= _FEW_CHARACTERS:
            decoded: Any = _decoder.decode(text)
        else:
            decoded = _Walk(text, max_items).document()
    except json.JSONDecodeError as error:
        refuse(f"must be one JSON document: {error.msg} at character {error.pos:,}")
    except RecursionError:
        refuse("is nested too deeply")
    except InvalidTaskResult:
        raise
    except ValueError:  # CPython converts no integer of more than 4,300 digits.
        refuse("holds a number of too many digits")
    if max_items is not None and isinstance(decoded, list):
        require_few_items(len(decoded), max_items)  # pyright: ignore[reportUnknownArgumentType]
    return decoded  # pyright: ignore[reportUnknownVariableType]


def _text_of(document: bytes | str) -> str:
    if not isinstance(document, str):
        try:
            document = str(document, "utf-8")
        except UnicodeDecodeError as error:
            refuse(f"must be JSON in UTF-8: the byte at {error.start:,} is not ({error.reason})")
    if document.startswith("\ufeff"):
        refuse("must not begin with a byte order mark")
    if _after_blanks(document, 0) == len(document):
        refuse("must be a JSON object, but the document is empty")
    return document


class _Walk:
    """A walk through the outer levels of a long document: what lies deeper is counted before it is built."""

    def __init__(self, text: str, max_items: int | None) -> None:
        self._text = text
        self._max_items = max_items
        self._left = MAX_VALUES

    def document(self) -> object:
        """Decode it all."""
        decoded, end = self._value(_after_blanks(self._text, 0), level=0)
        end = _after_blanks(self._text, end)
        if end != len(self._text):
            raise json.JSONDecodeError("Extra data", self._text, end)
        return decoded

    def _value(self, start: int, *, level: int) -> tuple[Any, int]:
        """Decode the value at a position, and return it and where it ends."""
        mark = self._text[start : start + 1]
        self._spend(1)
        if mark == "{" and level < _OUTER_LEVELS:
            return self._members(start, level)
        if mark == "[" and level == 0:
            return self._items(start, level)
        if mark and mark in "[{":
            self._spend(_count_values(self._text, start, self._left))
        return _decoder.raw_decode(self._text, start)

    def _members(self, start: int, level: int) -> tuple[dict[str, Any], int]:
        found: dict[str, Any] = {}
        text, end = self._text, _after_blanks(self._text, start + 1)
        if text[end : end + 1] == "}":
            return found, end + 1
        while True:
            if text[end : end + 1] != '"':
                raise json.JSONDecodeError("Expecting property name enclosed in double quotes", text, end)
            name, end = _decoder.raw_decode(text, end)
            end = _after_blanks(text, end)
            if text[end : end + 1] != ":":
                raise json.JSONDecodeError("Expecting ':' delimiter", text, end)
            found[name], end = self._value(_after_blanks(text, end + 1), level=level + 1)
            end, is_last = self._after_value(end, "}")
            if is_last:
                return found, end

    def _items(self, start: int, level: int) -> tuple[list[Any], int]:
        found: list[Any] = []
        end = _after_blanks(self._text, start + 1)
        if self._text[end : end + 1] == "]":
            return found, end + 1
        while True:
            item, end = self._value(end, level=level + 1)
            found.append(item)
            if self._max_items is not None:
                require_few_items(len(found), self._max_items)
            end, is_last = self._after_value(end, "]")
            if is_last:
                return found, end

    def _after_value(self, end: int, closing: str) -> tuple[int, bool]:
        """Return where what follows a value begins, and whether the value was the last."""
        end = _after_blanks(self._text, end)
        mark = self._text[end : end + 1]
        if mark == closing:
            return end + 1, True
        if mark != ",":
            raise json.JSONDecodeError("Expecting ',' delimiter", self._text, end)
        return _after_blanks(self._text, end + 1), False

    def _spend(self, values: int) -> None:
        self._left -= values
        if self._left < 0:
            refuse(f"holds more than {MAX_VALUES:,} values")


def _count_values(text: str, start: int, most: int) -> int:
    """Count the values in an array or object, and stop after the most that it may have.

    Where the document is malformed, it counts up to there, and decoding gets no further.
    """
    depth = values = 0
    for token in _TOKEN.finditer(text, start):
        opening, closing, comma = token.groups()
        depth += bool(opening) - bool(closing)
        values += bool(opening or comma)
        if depth <= 0 or values > most:
            break
    return values


def _after_blanks(text: str, start: int) -> int:
    match = _BLANK.match(text, start)
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


# Made once: json.loads() with an option makes one at each call, for 2 us.
_decoder: Final = json.JSONDecoder(parse_constant=_refuse_constant)
