"""How templates write figures, times and what agents say: their filters. Pure."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from backuplog.display import age, clock, cut, duration, exact, mark, number, short, size, tone, visible
from backuplog.normalise import as_time


def iso(time: datetime) -> str:
    """Return a time as the attribute ``datetime`` has it."""
    return time.astimezone(UTC).isoformat()


def local_time(text: str) -> str:
    """Return an RFC 3339 time as an input of type ``datetime-local`` has it; other text as it is."""
    try:
        return as_time(text).replace(tzinfo=None).isoformat(timespec="seconds")
    except ValueError:
        return text


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    each.__name__: each
    for each in (number, size, clock, duration, age, exact, iso, local_time, short, tone, mark, visible, cut)
}
"""The filters by their names in templates."""
