"""Turning what people and agents write into the one form that is stored.

Each function takes one value and returns its normal form, or raises ``ValueError`` saying what is expected. Both
databases can hold every value that passes, and give it back equal: no NUL and no lone surrogate in short text,
UTC microseconds, finite doubles.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, TypeVar
from uuid import UUID

import msgspec

from .errors import FieldError, InvalidInput, StoreError

ACTIVE_STATUSES: Final = frozenset({"pending", "running"})
"""The statuses of a task that has not ended; every other status is final."""

LOST: Final = "lost"
"""The status of a task that was active and not heard of for too long: whatever comes of it after all replaces it."""

STATUSES: Final = ACTIVE_STATUSES | {"success", "warning", "failed", "cancelled", LOST}
"""The canonical words; an agent may use others."""

REPORTED_STATUSES: Final = ("success", "warning")
"""The statuses of a run that did its work, if perhaps not all of it."""

FAILED_STATUSES: Final = ("failed", LOST)
"""The statuses of a run that did not, or of which nobody knows."""

STATUS_SYNONYMS: Final = {
    "succeeded": "success",
    "ok": "success",
    "completed": "success",
    "partial": "warning",
    "failure": "failed",
    "error": "failed",
    "canceled": "cancelled",
    "in_progress": "running",
    "started": "running",
    "queued": "pending",
}
"""What agents say, and the word that is stored for it."""

MAX_STATUSES: Final = 50
MAX_LIMIT: Final = 1000
MIN_LOG_CAP: Final = 4096
MAX_ERROR_CHARACTERS: Final = 65_536
MAX_COUNT: Final = 2**63 - 1
MAX_FAILED_ITEMS: Final = 100
MAX_FAILED_ITEM_CHARACTERS: Final = 1024
# The longest time.Duration of Go (2^63 - 1 ns, 292 years): what restic 0.18 really prints when its clock is not set.
MAX_DURATION_SECONDS: Final = 9_223_372_036.854775807

# https://www.rfc-editor.org/rfc/rfc3339#section-5.6
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:(\d\d)(?:\.\d{1,30})?(?:[Zz]|[+-]\d\d:\d\d)", re.ASCII)
# https://www.rfc-editor.org/rfc/rfc9562#section-4; other programs print braces, or the digits alone.
_HYPHENED: Final = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
_UUID: Final = re.compile(rf"{_HYPHENED}|urn:uuid:{_HYPHENED}|\{{{_HYPHENED}\}}|[0-9a-fA-F]{{32}}")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")

_Given = TypeVar("_Given")
_Normal = TypeVar("_Normal")


def argument(name: str, normalise: Callable[[_Given], _Normal], value: _Given, error: type[InvalidInput]) -> _Normal:
    """Return the normal form of a caller's argument.

    Args:
        name: What the argument is called.
        normalise: One of the functions below.
        value: What the caller gave.
        error: The error to raise.

    Raises:
        InvalidInput: The value has no normal form; the error names the argument.
    """
    try:
        return normalise(value)
    except ValueError as refusal:
        raise error([FieldError(name, str(refusal))]) from None


def option(name: str, normalise: Callable[[_Given], _Normal], value: _Given) -> _Normal:
    """Return the normal form of an option of a store.

    Args:
        name: What the option is called.
        normalise: A function that returns the normal form, or raises a ``ValueError`` that says what is wrong.
        value: What the caller gave.

    Raises:
        StoreError: The value has no normal form; the error names the option.
    """
    try:
        return normalise(value)
    except ValueError as refusal:
        raise StoreError(f"{name} {refusal}") from None


def as_uuid(value: UUID | str) -> UUID:
    """Return the UUID that a value is or spells: in 36 characters, as a URN, in braces, or in 32 digits."""
    if isinstance(value, UUID):
        return value
    if isinstance(value, str):
        try:
            return msgspec.convert(value, UUID)  # 0.4 us of the 3 that the standard library takes
        except (msgspec.ValidationError, ValueError):
            # UUID() alone takes hyphens anywhere, and half a brace.
            if _UUID.fullmatch(value):
                return UUID(value)
    raise ValueError(f"must be a UUID, such as 01234567-89ab-cdef-0123-456789abcdef, not {_kind(value)}")


def as_optional_uuid(value: UUID | str | None) -> UUID | None:
    """Return the UUID, or None for None."""
    return None if value is None else as_uuid(value)


def as_time(value: datetime | str) -> datetime:
    """Return a moment in UTC, cut to microseconds, from a datetime with a zone or RFC 3339 text."""
    try:
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return value.astimezone(UTC)
        match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
        if match and match[1] == "60":  # A leap second is the first moment of the next minute.
            return as_time(f"{match.string[:17]}59{match.string[19:]}") + timedelta(seconds=1)
        if match:
            return datetime.fromisoformat(match.string.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # It looks like a time, and there is no such moment.
    raise ValueError(f"must be an RFC 3339 time with a zone, such as 2026-11-24T02:00:00Z, not {_kind(value)}")


def as_optional_time(value: datetime | str | None) -> datetime | None:
    """Return the moment, or None for None."""
    return None if value is None else as_time(value)


def as_reported_time(value: datetime | str | None) -> datetime | None:
    """Return the moment an agent reports, or None for None and for any moment of year 1, Go's zero time."""
    if value is None or (isinstance(value, str) and value.startswith("0001-") and _RFC3339.fullmatch(value)):
        return None
    if isinstance(value, datetime) and value.year == 1:
        return None
    return as_time(value)


def as_duration(value: float) -> float:
    """Return a number of seconds: finite, not negative and no longer than 292 years.

    Args:
        value: The number.

    Raises:
        ValueError: It is none of these.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number of seconds, not {_kind(value)}")  # noqa: TRY004 - one kind of error
    if not 0 <= value <= MAX_DURATION_SECONDS:  # which no NaN is
        raise ValueError(f"must be a finite number of seconds from 0 to {MAX_DURATION_SECONDS:.0f}")
    return float(value) + 0.0  # turns -0.0 into 0.0


def as_status(value: str) -> str:
    """Return a status of 1 to 50 characters in lower case, known synonyms by their one canonical word."""
    status = _text(value, longest=50).strip().lower()
    if not 1 <= len(status) <= 50:  # noqa: PLR2004 - the seed's varchar(50)
        raise ValueError("must be 1 to 50 characters that are not all blank")
    return STATUS_SYNONYMS.get(status, status)


def as_statuses(value: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return the statuses to look for, one or several, in canonical words without doubles."""
    if value is None:
        return ()
    if not isinstance(value, Iterable):
        raise ValueError(f"must be a status or several, not {_kind(value)}")  # noqa: TRY004 - one kind of error
    words = [value] if isinstance(value, str) else list(value)
    if len(words) > MAX_STATUSES:
        raise ValueError(f"must be at most {MAX_STATUSES} statuses, not {len(words)}")
    return tuple(sorted({as_status(word) for word in words}))


def as_task_type(value: str) -> str:
    """Return a task type (backup, check, prune, ...) of 1 to 50 characters, as it is written."""
    text = _text(value, longest=50)
    if not text.strip():
        raise ValueError("must be 1 to 50 characters that are not all blank")
    return text


def as_optional_task_type(value: str | None) -> str | None:
    """Return the task type, or None for None."""
    return None if value is None else as_task_type(value)


def as_snapshot_id(value: str | None) -> str | None:
    """Return a snapshot id of at most 255 characters; an empty one is none."""
    return None if value is None else _text(value, longest=255) or None


def as_error_message(value: str | None) -> str | None:
    """Return an error message of at most 65,536 characters; an empty one is none. Longer output belongs in the log."""
    return None if value is None else _text(value, longest=MAX_ERROR_CHARACTERS) or None


def as_hostname(value: str | None) -> str | None:
    """Return a hostname of at most 253 characters (RFC 1035), as it is written; an empty one is none."""
    return None if value is None else _text(value, longest=253) or None


def as_log(value: str | bytes | None) -> str | bytes | None:
    """Return the log as it is: any text, any bytes, or None for no log."""
    if value is None or isinstance(value, (str, bytes)):
        return value
    raise ValueError(f"must be a string or bytes, not {_kind(value)}")


def as_limit(value: int) -> int:
    """Return a number of runs from 1 to 1,000."""
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_LIMIT:
        raise ValueError(f"must be a whole number from 1 to {MAX_LIMIT:,}")
    return value


def as_index(value: int | None) -> int | None:
    """Return a whole number that counts bytes as in a slice, or None for None."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise ValueError(f"must be a whole number, not {_kind(value)}")
    return value


def as_log_cap(value: int) -> int:
    """Return the length in bytes, 4,096 or more, from which on a log is cut."""
    if isinstance(value, bool) or not isinstance(value, int) or value < MIN_LOG_CAP:
        raise ValueError(f"must be a whole number of bytes, {MIN_LOG_CAP:,} or more")
    return value


def as_count(value: float | None) -> int | None:
    """Return a count or a number of bytes, 0 or more and less than 2^63, or None for None."""
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():  # JSON has one kind of number: 5.0 is whole.
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_COUNT:
        raise ValueError("must be a whole number, 0 or more")
    return value


def as_optional_duration(value: float | None) -> float | None:
    """Return the number of seconds, or None for None."""
    return None if value is None else as_duration(value)


def as_optional_word(value: str | None) -> str | None:
    """Return a word of at most 50 characters, as it is written; an empty one is none."""
    return None if value is None else _text(value, longest=50) or None


def as_failed_items(value: Sequence[str] | None) -> tuple[str, ...]:
    """Return the first 100 items, each cut to 1,024 characters.

    They are names of files, which may hold anything: what cannot be stored is shown as U+FFFD.
    """
    if value is None:
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError(f"must be an array of strings, not {_kind(value)}")  # noqa: TRY004 - one kind of error
    items: list[str] = []
    for item in value:
        if not isinstance(item, str):
            raise ValueError(f"must be an array of strings, not of {_kind(item)}")  # noqa: TRY004 - one kind of error
        if len(items) < MAX_FAILED_ITEMS:
            items.append(_UNSTORABLE.sub("\ufffd", item[:MAX_FAILED_ITEM_CHARACTERS]))
    return tuple(items)


def as_step(value: str | None) -> str | None:
    """Return what a task is doing, in at most 255 characters; an empty text is none."""
    return None if value is None else _text(value, longest=255) or None


def as_optional_flag(value: bool | None) -> bool | None:  # noqa: FBT001 - a converter takes its value by position
    """Return a boolean that is one, or None for None."""
    return None if value is None else as_flag(value)


def as_flag(value: bool) -> bool:  # noqa: FBT001 - a converter takes its value by position
    """Return a boolean that is one."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {_kind(value)}")  # noqa: TRY004 - one kind of error
    return value


def as_percent(value: float | None) -> float | None:
    """Return a number from 0 to 100, or None for None."""
    percent = None if value is None else as_duration(value)
    if percent is not None and percent > 100:  # noqa: PLR2004
        raise ValueError("must be a number from 0 to 100")
    return percent


def as_sha256(value: bytes | str | None) -> bytes | None:
    """Return the 32 bytes of a SHA-256, given as they are or in 64 hex digits, or None for None."""
    try:
        digest = bytes.fromhex(value) if isinstance(value, str) else value
    except ValueError:
        digest = b""
    if digest is not None and not (isinstance(digest, bytes) and len(digest) == 32):  # noqa: PLR2004
        raise ValueError("must be a SHA-256 in 64 hex digits")
    return digest


def as_cursor(value: str | None) -> str | None:
    """Return a cursor as it is; what it says is checked where it is used."""
    if value is None or isinstance(value, str):
        return value
    raise ValueError(f"must be the next_cursor of a page, not {_kind(value)}")


def _text(value: str, *, longest: int) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {_kind(value)}")  # noqa: TRY004 - one kind of error
    if len(value) > longest:
        raise ValueError(f"must be at most {longest:,} characters")
    # PostgreSQL refuses NUL in text, and neither database can encode a lone surrogate.
    if "\0" in value or (not value.isascii() and _has_surrogate(value)):
        raise ValueError("must not hold NUL characters or lone surrogates")
    return value


def _has_surrogate(value: str) -> bool:
    try:
        value.encode()  # To look at each of 65,536 characters takes 2.7 ms, fifty times as long.
    except UnicodeEncodeError:
        return True
    return False


def _kind(value: object) -> str:
    """Name what a value is, in JSON's words where there are any, without repeating it."""
    if value is None:
        return "null"
    kinds: dict[type, str] = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "this string",
        list: "an array",
        dict: "an object",
    }
    return kinds.get(type(value), f"a {type(value).__name__}")
