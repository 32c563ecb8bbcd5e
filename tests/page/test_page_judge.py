"""Whether everything has a recent good backup."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog
from backuplog.overdue import Expectation, find_overdue
from backuplog.web.judge import Answer, Kind, judge

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
DAY = timedelta(days=1)
Judge = Callable[..., tuple[list[Kind], Answer]]


@pytest.fixture
def report(store: backuplog.Store, agent_id: UUID) -> Callable[..., UUID]:
    """Give what reports a run that ended so many hours ago, and returns its policy."""

    def ingest(hours: float, **fields: Any) -> UUID:
        ended = NOW - timedelta(hours=hours)
        given: dict[str, Any] = {"policy_id": uuid4(), "task_type": "backup", "status": "success", **fields}
        agent = given.pop("agent", agent_id)
        result = backuplog.TaskResult(task_id=uuid4(), duration_seconds=60, end_time=ended, **given)
        backuplog.ingest_task_result(store, agent, result, received_at=ended)
        return UUID(str(given["policy_id"]))

    return ingest


@pytest.fixture
def judged(store: backuplog.Store) -> Judge:
    """Give what judges the store at noon."""

    def ask(*expected: Expectation) -> tuple[list[Kind], Answer]:
        overdue = find_overdue(store, expected, now=NOW)
        return judge(backuplog.latest_runs(store, now=NOW), {}, expected, overdue, since=NOW - DAY)

    return ask


@pytest.mark.parametrize("status", ["success", "warning"])
def test_a_recent_backup_is_good(report: Callable[..., UUID], judged: Judge, status: str) -> None:
    """A backup of the last day that made a snapshot is enough for a yes, even one with warnings."""
    report(23, status=status)
    kinds, answer = judged()
    assert answer.is_yes
    assert answer.judged == 1
    assert not kinds[0].is_late


def test_an_old_backup_is_not(report: Callable[..., UUID], judged: Judge, agent_id: UUID) -> None:
    """A backup of which the last good run is too old is late, whatever came after it."""
    policy = report(25)
    report(1, policy_id=policy, status="failed")
    kinds, answer = judged()
    assert not answer.is_yes
    assert answer.late == ((policy, "backup", agent_id),)
    assert kinds[0].is_late


def test_a_failure_after_a_recent_backup_is_no_lack(report: Callable[..., UUID], judged: Judge) -> None:
    """A last run that failed does not make the backup before it older."""
    policy = report(3)
    report(1, policy_id=policy, status="failed")
    kinds, answer = judged()
    assert answer.is_yes
    assert kinds[0].is_failing


def test_other_tasks_are_not_judged_by_their_age(report: Callable[..., UUID], judged: Judge) -> None:
    """A check that ran a month ago is no lack of a backup, and no backup either."""
    report(24 * 30, task_type="check")
    assert judged()[1] == Answer(judged=0, late=())
    assert not judged()[1].is_yes


def test_a_dry_run_is_no_backup(report: Callable[..., UUID], judged: Judge) -> None:
    """What has only ever run dry has no backup."""
    report(1, stats=backuplog.RunStats(dry_run=True))
    assert len(judged()[1].late) == 1


def test_an_expectation_takes_the_place_of_the_age(report: Callable[..., UUID], judged: Judge) -> None:
    """What is expected once a week is not late after three days, and what is expected hourly is after two hours."""
    weekly, hourly = report(72), report(2)
    expected = [
        Expectation(policy_id=weekly, task_type="backup", interval=timedelta(days=7)),
        Expectation(policy_id=hourly, task_type="backup", interval=timedelta(hours=1)),
    ]
    kinds, answer = judged(*expected)
    assert answer == Answer(judged=2, late=((hourly, "backup", None),))
    assert [kind.latest.policy_id for kind in kinds if kind.is_late] == [hourly]


def test_what_never_ran_is_late(judged: Judge) -> None:
    """A backup that is expected and has no run at all is counted, although it has no row."""
    policy = uuid4()
    kinds, answer = judged(Expectation(policy_id=policy, task_type="backup", interval=DAY))
    assert kinds == []
    assert answer == Answer(judged=1, late=((policy, "backup", None),))


def test_an_expectation_of_any_agent_counts_once(
    store: backuplog.Store, report: Callable[..., UUID], judged: Judge
) -> None:
    """Where a run of any agent will do, the agents of a policy are one backup, not several."""
    other = backuplog.register_agent(store, uuid4()).id
    policy = report(100)
    report(1, policy_id=policy, agent=other)
    kinds, answer = judged(Expectation(policy_id=policy, task_type="backup", interval=DAY))
    assert answer == Answer(judged=1, late=())
    assert not any(kind.is_late for kind in kinds)


def test_what_is_wrong_comes_first(report: Callable[..., UUID], judged: Judge) -> None:
    """Kinds that are late stand before those that fail, and those before all others."""
    good, late = report(1), report(50)
    failing = report(2)
    report(1, policy_id=failing, status="lost")
    assert [kind.latest.policy_id for kind in judged()[0]] == [late, failing, good]
