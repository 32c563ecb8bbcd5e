"""How people are shown figures, times and what agents say. Pure. Needs humanize, as do the extras that use it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import humanize

from backuplog.normalise import ACTIVE_STATUSES, FAILED_STATUSES

UNKNOWN: Final = "—"
"""What stands where a figure is unknown, which is not the same as 0."""

_TONES: Final[Mapping[str, str]] = {
    "success": "success",
    "warning": "warning",
    "cancelled": "cancelled",
    **dict.fromkeys(FAILED_STATUSES, "failed"),
    **dict.fromkeys(ACTIVE_STATUSES, "running"),
}
MARKS: Final[Mapping[str, str]] = {
    "success": "+",
    "warning": "!",
    "failed": "x",
    "cancelled": "-",
    "running": "…",
    "other": "?",
}
"""The mark of each tone."""
_MINUTE: Final = 60

# Control characters but for tab and line feed, what turns the direction of text, and lone surrogates.
_UNSEEN: Final = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def number(value: float | None) -> str:
    """Return a number with separators between thousands."""
    return UNKNOWN if value is None else humanize.intcomma(value)


def size(value: float | None) -> str:
    """Return a number of bytes, as in 1.5 GiB."""
    return UNKNOWN if value is None else humanize.naturalsize(value, binary=True)


def duration(seconds: float | None) -> str:
    """Return a number of seconds, as in 5 minutes."""
    if seconds is None:
        return UNKNOWN
    return humanize.naturaldelta(timedelta(seconds=seconds), minimum_unit="seconds" if seconds >= 1 else "milliseconds")


def clock(seconds: float | None) -> str:
    """Return a number of seconds as a column has room for: 1.25 s, or 2:05:00."""
    if seconds is None:
        return UNKNOWN
    return f"{seconds:.2f} s" if seconds < _MINUTE else str(timedelta(seconds=round(seconds)))


def age(time: datetime, now: datetime) -> str:
    """Return how long ago something was, as in 3 hours ago, or how far ahead it is."""
    # humanize turns times with a zone into local ones, which fails in year 1.
    return humanize.naturaltime(
        time.astimezone(UTC).replace(tzinfo=None), when=now.astimezone(UTC).replace(tzinfo=None)
    )


def exact(time: datetime) -> str:
    """Return a time to the second."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'seconds')} UTC"


def short(key: UUID) -> str:
    """Return the first eight digits of an id, which are enough for people to tell it from others."""
    return str(key)[:8]


def tone(status: str) -> str:
    """Return the style of a status: one of six words, whatever an agent sends."""
    return _TONES.get(status, "other")


def mark(status: str) -> str:
    """Return the mark of a status, so that colour is not all that tells it."""
    return MARKS[tone(status)]


def visible(text: str) -> str:
    """Return text in which what is not seen, or turns the direction of what is, is written as an escape."""
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def cut(text: str, longest: int = 80) -> str:
    """Return the beginning of a text, made visible, with a mark that there is more of it."""
    return visible(text if len(text) <= longest else f"{text[: longest - 1]}…")
