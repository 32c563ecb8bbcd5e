"""The options that say which runs are meant, and the types of options: times, lengths of time, sizes."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeVar

import click

from backuplog.model import RunQuery
from backuplog.normalise import MAX_DURATION_SECONDS, STATUSES, as_time
from backuplog.parsers.tool import as_size

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])

_LENGTH: Final = re.compile(r"(\d{1,9})(s|m|h|d|w)", re.ASCII)
_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", re.ASCII)
_SECONDS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class LengthOfTime(click.ParamType[timedelta]):
    """A length of time: a number and a unit, such as 90s, 30m, 12h, 7d or 4w."""

    name = "length"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read it."""
        if isinstance(value, timedelta):
            return value
        try:
            return length_of_time(value)
        except ValueError as refusal:
            self.fail(str(refusal), param, ctx)


class Moment(click.ParamType[datetime]):
    """A time: RFC 3339 with a zone, a day in UTC, or how long ago it was, such as 7d."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it."""
        if isinstance(value, datetime):
            return value
        try:
            if _LENGTH.fullmatch(value):
                return datetime.now(UTC) - length_of_time(value)
            return as_time(f"{value}T00:00:00Z" if re.fullmatch(r"\d{4}-\d\d-\d\d", value) else value)
        except ValueError:
            self.fail("must be like 2026-11-24, 2026-11-24T03:00:00Z, or an age like 7d or 12h", param, ctx)


class Size(click.ParamType[int]):
    """A size: a number, and a unit unless it is of bytes, such as 10GiB or 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value)
        size = as_size(match[1].encode(), match[2].encode()) if match else None
        if size is None:
            self.fail("must be a size such as 10GiB, 500MB or a number of bytes", param, ctx)
        return size


def length_of_time(text: str) -> timedelta:
    """Read a length of time.

    Raises:
        ValueError: It is none.
    """
    match = _LENGTH.fullmatch(text)
    if match is None:
        raise ValueError("must be a number and a unit: 90s, 30m, 12h, 7d or 4w")
    seconds = int(match[1]) * _SECONDS[match[2]]
    if seconds > MAX_DURATION_SECONDS:
        raise ValueError("must be shorter, at most 292 years")
    return timedelta(seconds=seconds)


def _statuses(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    return [status for status in sorted(STATUSES) if status.startswith(incomplete)]


_KINDS: Final = (
    click.option("--agent", "agent_id", type=click.UUID, help="Only runs of this agent."),
    click.option("--policy", "policy_id", type=click.UUID, help="Only runs of this policy."),
    click.option("--task-type", metavar="TYPE", help="Only runs of this type, such as backup or check."),
    click.option(
        "--since", type=Moment(), help="Only runs that started then or later: a time, a day, or an age like 7d."
    ),
    click.option("--until", type=Moment(), help="Only runs that started before."),
)
_RUNS: Final = (
    *_KINDS,
    click.option(
        "--status", multiple=True, shell_complete=_statuses, help="Only runs of this status. May be repeated."
    ),
    click.option("--snapshot", "snapshot_id", metavar="ID", help="Only the runs that made this snapshot."),
)


def kind_options(command: _Decorated) -> _Decorated:
    """Add the filters of reports on the newest runs."""
    for option in reversed(_KINDS):
        command = option(command)
    return command


def run_options(command: _Decorated) -> _Decorated:
    """Add the filters of runs."""
    for option in reversed(_RUNS):
        command = option(command)
    return command


def query_of(**filters: Any) -> RunQuery:
    """Return the query of the filters that were given."""
    return RunQuery(**{name: value for name, value in filters.items() if value not in (None, ())})
