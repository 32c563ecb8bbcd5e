"""What is expected of a policy, and what is overdue."""

import re
import subprocess
import sys
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import takewhile
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

import backuplog
from backuplog.model import LogState, RunStats
from backuplog.overdue import Expectation, Overdue, overdue_of

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
POLICY, AGENT, OTHER = UUID(int=1), UUID(int=2), UUID(int=3)
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


def a_run(start: datetime, took: timedelta = MINUTE, **fields: Any) -> backuplog.BackupRun:
    """Give a successful run; one that is active has no end."""
    values: dict[str, Any] = {
        "id": UUID(int=9),
        "tenant_id": UUID(int=0),
        "agent_id": AGENT,
        "policy_id": POLICY,
        "task_type": "backup",
        "status": "success",
        "start_time": start,
        "end_time": start + took,
        "duration_seconds": took.total_seconds(),
        "error_message": None,
        "snapshot_id": None,
        "received_at": start + took,
        "updated_at": start + took,
        "log_state": LogState.NONE,
        "log_bytes": 0,
        "log_sha256": None,
    }
    return backuplog.BackupRun(**{**values, **fields})


def daily(**fields: Any) -> Expectation:
    """Expect a run a day, with an hour of grace."""
    return Expectation(**{"policy_id": POLICY, "interval": DAY, "grace": HOUR, **fields})


def at_half_past_two(**fields: Any) -> Expectation:
    """Expect a run at 02:30 in Berlin, with an hour of grace."""
    cron = {"cron": "30 2 * * *", "time_zone": "Europe/Berlin"}
    return Expectation(**{"policy_id": POLICY, "grace": HOUR, **cron, **fields})


def only(*found: Any) -> Overdue | None:
    """Give what is overdue of one expectation."""
    late = overdue_of([found[0]], found[1], found[2])
    assert len(late) <= 1
    return late[0] if late else None


def test_an_interval_is_counted_from_the_end_of_the_last_run() -> None:
    """A run is overdue once more than interval and grace have passed since the last one ended."""
    run = a_run(NOW - 2 * DAY, took=5 * HOUR)
    due = NOW - DAY + 6 * HOUR
    assert only(daily(), [run], due) is None
    late = only(daily(), [run], due + timedelta(seconds=1))
    assert late == Overdue(
        expectation=daily(), last_reported=run, expected_at=due - HOUR, due_at=due, late_seconds=1.0, is_running=False
    )


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        ({"status": "success"}, True),
        ({"status": "warning"}, True),
        ({"stats": RunStats(dry_run=False)}, True),
        ({"stats": RunStats(dry_run=True)}, False),
        *(({"status": word}, False) for word in ("failed", "cancelled", "lost", "running", "pending", "odd")),
        ({"task_type": "check"}, False),
        ({"policy_id": OTHER}, False),
        ({"agent_id": OTHER}, True),
    ],
)
def test_what_counts_as_reported(fields: dict[str, Any], *, counts: bool) -> None:
    """A success or a warning of the policy and the type counts, of any agent; nothing else does."""
    late = only(daily(since=NOW - 9 * DAY), [a_run(NOW - HOUR, **fields)], NOW)
    assert (late is None) == counts


def test_the_run_of_another_agent_does_not_count_where_one_is_named() -> None:
    """An expectation of one agent is met by its runs only."""
    assert only(daily(agent_id=AGENT), [a_run(NOW - HOUR)], NOW) is None
    late = only(daily(agent_id=AGENT), [a_run(NOW - HOUR, agent_id=OTHER)], NOW)
    assert late is not None
    assert late.last_reported is None


@pytest.mark.parametrize("make", [daily, at_half_past_two])
def test_a_policy_that_never_ran(make: Any) -> None:
    """It is overdue at once, or an interval or a time after what is expected since."""
    late = only(make(), [], NOW)
    assert late is not None
    assert (late.expected_at, late.due_at, late.late_seconds) == (None, None, None)
    assert only(make(since=NOW), [], NOW) is None
    assert only(make(since=NOW + 400 * DAY), [], NOW) is None
    late = only(make(since=NOW - 2 * DAY), [], NOW)
    assert late is not None
    assert late.due_at is not None
    assert NOW - 2 * DAY < late.due_at < NOW


def test_since_may_be_the_very_time_of_a_cron_line() -> None:
    """A run is expected at that time already."""
    slot = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    late = only(at_half_past_two(since=slot), [], NOW)
    assert late is not None
    assert late.expected_at == slot


def test_the_worst_comes_first() -> None:
    """What never ran and has no beginning comes first, then what is latest."""
    policies = [UUID(int=number) for number in range(1, 5)]
    expected = [daily(policy_id=policy) for policy in policies]
    ages = {policies[0]: 3, policies[1]: 9, policies[3]: 1}
    runs = [a_run(NOW - age * DAY, policy_id=policy) for policy, age in ages.items()]
    late = overdue_of(expected, iter(runs), NOW)
    assert [each.expectation.policy_id for each in late] == [policies[2], policies[1], policies[0]]


@pytest.mark.parametrize(("began", "is_running"), [(HOUR, True), (9 * DAY, False)])
def test_a_run_that_is_running_is_not_reported_yet(began: timedelta, *, is_running: bool) -> None:
    """It is overdue all the same, which says that a run is on; one from before the last report is none."""
    active = a_run(NOW - began, status="running", end_time=None)
    late = only(daily(), [active, a_run(NOW - 3 * DAY)], NOW)
    assert late is not None
    assert late.is_running == is_running


def test_a_long_run_meets_the_time_at_which_it_began() -> None:
    """A run of 02:30 that ends at 09:00 is reported then, and only the grace keeps it from being overdue before."""
    slot = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    before, run = a_run(slot - DAY), a_run(slot, took=timedelta(hours=6, minutes=30))
    active = a_run(slot, status="running", end_time=None)
    patient = at_half_past_two(grace=8 * HOUR)
    assert only(patient, [before, active], slot + 6 * HOUR) is None
    late = only(at_half_past_two(), [before, active], slot + 6 * HOUR)
    assert late is not None
    assert (late.expected_at, late.is_running, late.late_seconds) == (slot, True, 5 * 3600.0)
    assert only(patient, [before, run], slot + 7 * HOUR) is None
    assert only(patient, [run, before], slot + DAY + 8 * HOUR) is None
    assert only(patient, [run, before], slot + DAY + 8 * HOUR + MINUTE) is not None


def test_of_runs_that_overlap_the_right_one_counts() -> None:
    """For an interval that is the one which ended last, for a cron line the one which began last."""
    long, short = a_run(NOW - 9 * HOUR, took=8 * HOUR), a_run(NOW - 8 * HOUR, took=HOUR, id=UUID(int=8))
    for runs in ([long, short], [short, long]):
        late = only(daily(), runs, NOW + 2 * DAY)
        assert late is not None
        assert late.last_reported == long
        late = only(at_half_past_two(), runs, NOW + 2 * DAY)
        assert late is not None
        assert late.last_reported == short


@pytest.mark.parametrize(("early", "counts"), [(MINUTE, True), (5 * MINUTE, True), (6 * MINUTE, False)])
def test_a_clock_that_is_behind_is_borne(early: timedelta, *, counts: bool) -> None:
    """A run that began up to five minutes before its time counts for it."""
    slot = datetime(2026, 11, 24, 1, 30, tzinfo=UTC)
    assert (only(at_half_past_two(), [a_run(slot - early)], NOW) is None) == counts


@pytest.mark.parametrize("make", [daily, at_half_past_two])
def test_a_clock_that_is_ahead_hides_nothing(make: Any) -> None:
    """A run counts when it was received, if its agent says that it was in the future."""
    received = NOW - 9 * DAY
    run = a_run(NOW + 9_000 * DAY, received_at=received, updated_at=received)
    late = only(make(), [run], NOW)
    assert late is not None
    assert late.due_at is not None
    assert late.due_at < NOW - 7 * DAY


def test_an_old_run_costs_no_more_than_a_new_one() -> None:
    """The first missing minute of 21 years is found without the others."""
    run = a_run(datetime(2005, 1, 1, tzinfo=UTC))
    late = overdue_of([Expectation(policy_id=POLICY, cron="* * * * *")] * 500, [run], NOW)
    assert {each.expected_at for each in late} == {datetime(2005, 1, 1, 0, 6, tzinfo=UTC)}


def slots(line: str, since: datetime, until: datetime, zone: str = "Europe/Berlin") -> list[str]:
    """List the times at which a line is due, each asked for after a run at the one before."""
    found = list[str]()
    while late := only(Expectation(policy_id=POLICY, cron=line, time_zone=zone, since=since), [], until):
        assert late.expected_at is not None
        found.append(f"{late.expected_at:%d %H:%M}")
        since = late.expected_at + timedelta(seconds=1)
    return found


def test_each_day_has_one_time_when_clocks_change() -> None:
    """02:30 is once a day: 03:00 where it does not exist, and the first where it comes twice."""
    spring, autumn = datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)
    assert slots("30 2 * * *", spring, spring + 3 * DAY) == ["28 01:30", "29 01:00", "30 00:30"]
    assert slots("30 2 * * *", autumn, autumn + 3 * DAY) == ["24 00:30", "25 00:30", "26 01:30"]


@pytest.mark.parametrize("day", [datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)])
def test_an_hourly_job_is_due_each_hour_when_clocks_change(day: datetime) -> None:
    """No hour is left out, and none is due twice."""
    assert slots("0 * * * *", day, day + 6 * HOUR + MINUTE) == [f"{day:%d} {hour:02}:00" for hour in range(7)]


def test_a_run_in_the_second_of_two_hours_met_the_first() -> None:
    """What began at 02:15 for the second time is not asked for the 02:30 before it."""
    run = a_run(datetime(2026, 10, 25, 1, 10, tzinfo=UTC))
    late = only(at_half_past_two(), [run], datetime(2026, 10, 26, 12, tzinfo=UTC))
    assert late is not None
    assert late.expected_at == datetime(2026, 10, 26, 1, 30, tzinfo=UTC)


@cache
def named_on(line: str, day: datetime) -> frozenset[datetime]:
    """Give the times on the wall that a line names near a day, where no clock changes."""
    return frozenset(takewhile(lambda wall: wall < day + 4 * DAY, CronSim(line, day - 2 * DAY)))


def plain_slot(line: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    """Look at each minute of two days, and at those that the clock left out."""
    follows_the_wall = line.startswith("*") or line.split()[1].startswith("*")
    moment = after.replace(second=0, microsecond=0)
    fires = named_on(line, datetime(after.year, after.month, after.day))  # noqa: DTZ001
    for _ in range(2 * 1440):
        before, moment = moment.astimezone(zone), moment + MINUTE
        local = moment.astimezone(zone)
        wall = local.replace(tzinfo=None, fold=0)
        named = {wall} if follows_the_wall or not local.fold else set()
        skipped = before.replace(tzinfo=None, fold=0) + MINUTE
        while not follows_the_wall and skipped < wall:
            named.add(skipped)
            skipped += MINUTE
        if named & fires:
            return moment
    return None


CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("Europe/Berlin", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 3, 8, 7, tzinfo=UTC)),
    ("America/New_York", datetime(2026, 11, 1, 6, tzinfo=UTC)),
    ("America/Nuuk", datetime(2026, 3, 29, 1, tzinfo=UTC)),
    ("America/Nuuk", datetime(2026, 10, 25, 1, tzinfo=UTC)),
    ("America/Havana", datetime(2026, 11, 1, 5, tzinfo=UTC)),
]


@settings(max_examples=50)
@given(
    st.sampled_from(CHANGES),
    st.sampled_from(["0", "30", "15,45", "*/20"]),
    st.sampled_from(["*", "2", "1-3", "0", "23", "*/2"]),
    st.sampled_from(["*", "6", "0"]),
    st.integers(-300, 180),
)
def test_times_are_those_of_a_clock_on_the_wall(
    change: tuple[str, datetime], minute: str, hour: str, weekday: str, offset: int
) -> None:
    """Around a change of clocks, the next time is that which one finds by looking at each minute."""
    zone, moment = change
    line, after = f"{minute} {hour} * * {weekday}", moment + timedelta(minutes=offset, seconds=1)
    want = plain_slot(line, after, ZoneInfo(zone))
    late = only(Expectation(policy_id=POLICY, cron=line, time_zone=zone, since=after), [], after + 400 * DAY)
    assert late is not None
    assert want is None or late.expected_at == want


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"interval": timedelta(0)}, ["interval"]),
        ({"interval": timedelta.max}, ["interval"]),
        ({"interval": 5}, ["interval"]),
        ({"interval": None}, ["interval", "cron"]),
        ({"cron": "0 0 * * *"}, ["interval", "cron"]),
        ({"grace": -HOUR, "time_zone": "Mars/Olympus", "policy_id": "x"}, ["policy_id", "time_zone", "grace"]),
        *(({"time_zone": zone}, ["time_zone"]) for zone in ("", "America", "../etc/passwd", "a\0b", 5, "x" * 300)),
        ({"since": datetime(2026, 1, 1)}, ["since"]),  # noqa: DTZ001
        ({"task_type": " ", "agent_id": 5}, ["agent_id", "task_type"]),
    ],
)
def test_bad_fields_are_named(fields: dict[str, Any], names: list[str]) -> None:
    """Every field that is wrong is named."""
    with pytest.raises(backuplog.InvalidQuery) as refused:
        daily(**fields)
    assert [error.path for error in refused.value.errors] == names


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0 0 30 2 *", "day-of-month"),
        ("* * */20 * 1L", "names a day that no year has"),
        ("0 30 2 * * *", "seconds are not supported"),
        ("@daily", "five fields"),
        ("61 * * * *", "bad minute"),
        ("*/0 * * * *", "bad minute"),
        ("0 0 * * 1L/2", "bad day-of-week"),
        ("1," * 200 + "1 * * * *", "255 characters"),
        (5, "cron line"),
    ],
)
def test_a_line_that_is_never_due_is_refused(line: Any, message: str) -> None:
    """It is no cron line, or names no time: the error says which."""
    with pytest.raises(backuplog.InvalidQuery, match=f"cron: .*{re.escape(message)}"):
        Expectation(policy_id=POLICY, cron=line)


@given(st.lists(st.text("0123456789*/-,L#W", min_size=1, max_size=5), min_size=5, max_size=5))
def test_any_line_is_taken_or_refused(fields: list[str]) -> None:
    """Whatever is written, it is a line that is due some time, or an error that says what is wrong."""
    with suppress(backuplog.InvalidQuery):
        expected = Expectation(policy_id=POLICY, cron="  ".join(fields), since=NOW - 60 * 366 * DAY)
        assert len(overdue_of([expected], [], NOW)) == 1


def test_a_time_without_a_zone_is_refused() -> None:
    """``now`` must be a moment."""
    with (
        backuplog.open_store("sqlite://") as store,
        pytest.raises(backuplog.InvalidQuery, match="now: must be"),
    ):
        backuplog.find_overdue(store, [], now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_a_missing_extra_is_named() -> None:
    """Intervals need no cron; a line without it says what to install."""
    program = f"""
import sys; sys.modules["cronsim"] = None
from datetime import timedelta
from backuplog import Expectation
Expectation(policy_id="{POLICY}", interval=timedelta(1))
try:
    Expectation(policy_id="{POLICY}", cron="0 0 * * *")
except ModuleNotFoundError as missing:
    print(missing, missing.name)
"""
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "A cron line needs cronsim: pip install 'backuplog[cron]' cronsim\n"
