"""Which runs are overdue: what is expected of a policy, and what has been reported of it."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Final
from uuid import UUID

import attrs

from .errors import FieldError, InvalidInput, InvalidQuery, StoreError
from .model import BackupRun, RunQuery, refusing_with
from .normalise import (
    ACTIVE_STATUSES,
    MAX_DURATION_SECONDS,
    REPORTED_STATUSES,
    as_optional_time,
    as_optional_uuid,
    as_task_type,
    as_uuid,
)
from .query import newest_runs
from .report import moment
from .row import GROUP_COLUMNS
from .store import Store, require_store

CLOCK_TOLERANCE: Final = timedelta(minutes=5)
"""How far an agent's clock may be behind: a run that began so long before its time still counts for it."""

_LONGEST: Final = timedelta(seconds=MAX_DURATION_SECONDS)
_MAX_LINE_CHARACTERS: Final = 255
_FIELDS: Final = 5
_EARLIEST: Final = datetime(1, 1, 2, tzinfo=UTC)  # A zone may be a day ahead of UTC.


def _as_grace(value: timedelta) -> timedelta:
    if not isinstance(value, timedelta) or not timedelta(0) <= value <= _LONGEST:
        raise ValueError("must be a timedelta from 0 to 292 years, such as timedelta(hours=2)")
    return value


def _as_optional_interval(value: timedelta | None) -> timedelta | None:
    if value is not None and (not isinstance(value, timedelta) or not timedelta(0) < value <= _LONGEST):
        raise ValueError("must be a timedelta of more than 0 and at most 292 years, such as timedelta(days=1)")
    return value


def _as_time_zone(value: str) -> str:
    try:
        zone_of(value)
    except (LookupError, OSError, TypeError, ValueError):
        raise ValueError(
            "must be the IANA name of a time zone, such as Europe/Berlin; if this one exists, pip install tzdata"
        ) from None
    return value


def zone_of(name: str) -> tzinfo:
    """Return the time zone of an IANA name; ``UTC`` is known also where no time zones are installed."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - 2 % of all to import

    return ZoneInfo(name)


def _as_optional_cron(value: str | None) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > _MAX_LINE_CHARACTERS:
        raise ValueError(f"must be a cron line of at most {_MAX_LINE_CHARACTERS} characters, such as 30 2 * * *")
    fields = value.split()
    if len(fields) != _FIELDS:
        raise ValueError(
            "must have five fields: minute, hour, day of month, month and day of week, such as 30 2 * * *, "
            f"not {len(fields)}; seconds are not supported"
        )
    sim, error = _cronsim()
    try:
        # Any start will do: a line that names a day which exists does so every 40 years.
        fires = next(sim(value, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except error as refusal:
        raise ValueError(f"is no cron line such as 30 2 * * *: {str(refusal).lower()}") from None
    if fires is None:
        raise ValueError("names a day that no year has, so it would never be due")
    return " ".join(fields)


def _cronsim() -> tuple[Any, type[Exception]]:
    try:
        from cronsim import CronSim, CronSimError  # noqa: PLC0415 - whoever uses intervals needs no cron
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(
            f"A cron line needs {missing.name}: pip install 'backuplog[cron]'", name=missing.name
        ) from missing
    return CronSim, CronSimError


@refusing_with(InvalidQuery)
@attrs.frozen(kw_only=True)
class Expectation:
    """How often a policy should report a run, by an interval or by a cron line.

    A cron line is one of Debian's cron, with five fields, in the time zone. When clocks go forward, a time that does
    not exist is the first moment after the gap; when they go back, a time that comes twice is the first of the two.
    Lines whose minute or hour begins with a star follow the clock on the wall, in both hours that have the same name.
    Cron lines need the extra ``cron``.

    Attributes:
        policy_id: The policy.
        agent_id: The agent that should run it; None if a run of any agent will do.
        task_type: The type of task.
        interval: How long after the end of the last reported run the next is expected: more than 0.
        cron: When runs are expected to start, such as ``30 2 * * *``. Give this or the interval, not both.
        time_zone: The IANA name of the time zone of the cron line, such as ``Europe/Berlin``.
        grace: How much later than expected a run may be reported, 0 or more. It has to cover how long a run takes.
        since: From when on runs are expected, in UTC. A policy that never ran is overdue at once without it.

    Raises:
        InvalidQuery: Fields are malformed, or both or neither of ``interval`` and ``cron`` are given; the error names
            each of them. A cron line must have five fields and name a time that exists.
        ModuleNotFoundError: There is a cron line, and the extra ``cron`` is not installed.
    """

    policy_id: UUID = attrs.field(converter=as_uuid)
    agent_id: UUID | None = attrs.field(default=None, converter=as_optional_uuid)
    task_type: str = attrs.field(default="backup", converter=as_task_type)
    interval: timedelta | None = attrs.field(default=None, converter=_as_optional_interval)
    cron: str | None = attrs.field(default=None, converter=_as_optional_cron)
    time_zone: str = attrs.field(default="UTC", converter=_as_time_zone)
    grace: timedelta = attrs.field(default=timedelta(0), converter=_as_grace)
    since: datetime | None = attrs.field(default=None, converter=as_optional_time)

    def __attrs_post_init__(self) -> None:
        """Refuse what has no schedule, or two."""
        if (self.interval is None) == (self.cron is None):
            raise InvalidQuery([FieldError(name, "give an interval or a cron line") for name in ("interval", "cron")])


@attrs.frozen(kw_only=True)
class Overdue:
    """A run that was expected and has not been reported in time.

    Attributes:
        expectation: What was expected.
        last_reported: The last run that was reported; None if there was none.
        expected_at: When the first of the missing runs was expected, in UTC; None if the policy never ran and has no
            ``since``.
        due_at: When it should have been reported at the latest, in UTC: ``expected_at`` and the grace. None likewise.
        late_seconds: How long ago that was, in seconds; None likewise.
        is_running: Whether a run is pending or running that began after the last reported one.
    """

    expectation: Expectation
    last_reported: BackupRun | None
    expected_at: datetime | None
    due_at: datetime | None
    late_seconds: float | None
    is_running: bool


def expectations_now(expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]]) -> list[Expectation]:
    """Return what is expected, by calling the function where one is given.

    Raises:
        StoreError: The function makes a malformed expectation, which whoever asks has not written.
    """
    try:
        return list(expectations() if callable(expectations) else expectations)
    except InvalidInput as error:
        raise StoreError(f"what is expected cannot be read: {error}") from error


def find_overdue(store: Store, expectations: Iterable[Expectation], *, now: datetime | None = None) -> list[Overdue]:
    """Find the policies of which no run was reported when one was expected.

    A run counts as reported with the status ``success`` or ``warning``, unless it was a dry run. The cost grows with
    the number of different triples of policy, agent and task type, not of runs.

    Args:
        store: The store to use.
        expectations: What is expected.
        now: The time for which to answer; by default the present.

    Returns:
        Those that are overdue, the worst first: those that never ran and have no ``since``, then by how late they are.

    Raises:
        InvalidQuery: ``now`` has no time zone.
        StoreError: The store failed.
    """
    require_store(store)
    now = moment(now)
    query = RunQuery(status=(*REPORTED_STATUSES, *ACTIVE_STATUSES))
    return overdue_of(expectations, newest_runs(store, query, (*GROUP_COLUMNS, "status")), now)


def overdue_of(expectations: Iterable[Expectation], runs: Iterable[BackupRun], now: datetime) -> list[Overdue]:
    """Find the expectations that are not met.

    A run counts as reported with the status ``success`` or ``warning``, unless it was a dry run. A cron line is met by
    a run that began at its time, up to five minutes before it or at any time after it, however long it took. An
    interval is counted from the end of the last reported run. No run counts as later than its result was received, so
    that a clock which is ahead hides nothing.

    The cost grows with the number of runs, and not with how long ago the last one was. Runs are read once, and kept
    only as long as they are the last.

    Args:
        expectations: What is expected.
        runs: Runs of a tenant in any order, the last reported one of each agent, policy and type among them. Those that
            are active only tell whether one is running.
        now: The time for which to answer.

    Returns:
        Those that are overdue, the worst first: those that never ran and have no ``since``, then by how late they are.
    """
    expected = list(expectations)
    last, active = _last_of(expected, runs)
    found = [_judged(each, last.get(at), active.get(at), now) for at, each in enumerate(expected)]
    return sorted(filter(None, found), key=lambda late: (late.late_seconds is not None, -(late.late_seconds or 0)))


_Place = tuple[UUID, str, UUID | None]


def _last_of(
    expected: list[Expectation], runs: Iterable[BackupRun]
) -> tuple[dict[int, BackupRun], dict[int, BackupRun]]:
    """Find the last reported and the last active run for each expectation, by its place in the list."""
    places: defaultdict[_Place, list[int]] = defaultdict(list)
    for at, each in enumerate(expected):
        places[each.policy_id, each.task_type, each.agent_id].append(at)
    last, active = dict[int, BackupRun](), dict[int, BackupRun]()
    for run in runs:
        is_reported = run.status in REPORTED_STATUSES and not run.is_dry_run
        if not (is_reported or run.is_active):
            continue
        kept = last if is_reported else active
        for agent_id in (run.agent_id, None):
            for at in places.get((run.policy_id, run.task_type, agent_id), ()):
                if at not in kept or _rank(expected[at], run) > _rank(expected[at], kept[at]):
                    kept[at] = run
    return last, active


def _rank(expectation: Expectation, run: BackupRun) -> tuple[datetime, UUID]:
    return (run.ended_at if expectation.cron is None else run.began_at), run.id


def _judged(
    expectation: Expectation, last: BackupRun | None, active: BackupRun | None, now: datetime
) -> Overdue | None:
    """Return what is overdue; None if nothing is."""
    expected_at = _expected_after(expectation, last, now)
    is_unknown = last is None and expectation.since is None
    if not is_unknown and (expected_at is None or now - expected_at <= expectation.grace):
        return None
    due_at = None if expected_at is None else expected_at + expectation.grace
    return Overdue(
        expectation=expectation,
        last_reported=last,
        expected_at=expected_at,
        due_at=due_at,
        late_seconds=None if due_at is None else (now - due_at).total_seconds(),
        is_running=active is not None and (last is None or active.began_at > last.began_at),
    )


def _expected_after(expectation: Expectation, last: BackupRun | None, now: datetime) -> datetime | None:
    """Return when the first run that is missing was expected; None if that is still to come, or unknown."""
    if expectation.interval is not None:
        start = expectation.since if last is None else last.ended_at
        return start + expectation.interval if start and now - start > expectation.interval else None
    if last is not None:
        start = last.began_at + CLOCK_TOLERANCE
    elif expectation.since is not None:
        # A run at that very moment is expected too.
        start = max(expectation.since, _EARLIEST) - timedelta.resolution
    else:
        return None
    return _next_slot(expectation, start) if start < now else None


def _next_slot(expectation: Expectation, after: datetime) -> datetime | None:
    """Return the first time of a cron line after a moment; None if it is beyond year 9999."""
    # cronsim 2.8 is not asked to go backwards: in America/Nuuk, whose clocks change at midnight, it may never end. What
    # it says first is too early where it begins in an hour that comes for the second time.
    slots: Iterator[datetime] = _cronsim()[0](expectation.cron, after.astimezone(zone_of(expectation.time_zone)))
    try:
        return next(slot for slot in (each.astimezone(UTC) for each in slots) if slot > after)
    except OverflowError:
        return None
