"""Reports: the newest runs of every policy, and what many runs come to."""

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Final, Literal, TypeAlias, get_args
from uuid import UUID

import attrs

from .agent import require_agent
from .errors import FieldError, InvalidQuery
from .model import BackupRun, RunQuery
from .normalise import ACTIVE_STATUSES, FAILED_STATUSES, REPORTED_STATUSES, argument, as_time
from .query import newest_run, newest_runs, require_query
from .row import GROUP_COLUMNS, SummaryColumn, Tally
from .store import Store, require_store

GroupBy: TypeAlias = Literal["agent", "policy", "task_type", "status", "day", "week"]
"""What the runs of a group have in common in ``summarize_runs``."""

_COLUMNS: Final[dict[GroupBy, SummaryColumn]] = {
    "agent": "agent_id",
    "policy": "policy_id",
    "task_type": "task_type",
    "status": "status",
    "day": "day",
    "week": "day",
}


@attrs.frozen(kw_only=True)
class LatestRun:
    """The newest runs of one task type of a policy on an agent.

    Attributes:
        agent_id: The agent.
        policy_id: The policy.
        task_type: The type of task.
        last_run: The run that began last, whatever became of it.
        last_reported: The last run with status ``success`` or ``warning`` that was no dry run; None if there is none.
        last_success: The last run with status ``success`` that was no dry run; None if there is none.
        age_seconds: Seconds since the last success ended; None if there is none.
        consecutive_failures: How many runs that started after ``last_reported`` failed or were lost; all that did if
            it is None.
    """

    agent_id: UUID
    policy_id: UUID
    task_type: str
    last_run: BackupRun
    last_reported: BackupRun | None
    last_success: BackupRun | None
    age_seconds: float | None
    consecutive_failures: int


@attrs.frozen(kw_only=True)
class RunSummary:
    """What the runs of a group come to.

    Attributes:
        key: What they have in common: an agent's or a policy's id, a task type, a status, a day in UTC, or the Monday
            with which a week begins.
        runs: How many runs there are.
        by_status: How many there are of each status.
        success_rate: The share of those that have ended which have the status ``success``, from 0 to 1; None if none
            has ended.
        duration_seconds: How long those that have ended took together, in seconds.
        data_added: Bytes that they added to repositories; None if none of them says.
        total_bytes_processed: Bytes that they processed; None if none of them says.
        log_bytes: Bytes of their logs that are stored.
    """

    key: UUID | str | date
    runs: int
    by_status: Mapping[str, int]
    success_rate: float | None
    duration_seconds: float
    data_added: int | None
    total_bytes_processed: int | None
    log_bytes: int


def latest_runs(store: Store, query: RunQuery | None = None, *, now: datetime | None = None) -> list[LatestRun]:
    """List the last run and the last success of every policy, on each agent and for each type of task.

    The cost grows with the number of these, not of runs.

    Args:
        store: The store to use.
        query: Which runs to look at; by default all of the tenant's. It takes no ``status``, ``snapshot_id`` or
            ``cursor``; its ``limit`` does not matter.
        now: The time to measure ages at; by default the present.

    Returns:
        One report for each policy, agent and task type that has a run, in this order.

    Raises:
        InvalidQuery: The query has a filter that makes no sense here, or ``now`` has no time zone.
        AgentNotFound: The query names an agent that this tenant does not have.
        StoreError: The store failed.
    """
    query = report_query(store, query, refused=("status", "snapshot_id", "cursor"))
    now = moment(now)
    kinds: dict[tuple[UUID, UUID, str], dict[str, BackupRun]] = {}
    for run in newest_runs(store, query, (*GROUP_COLUMNS, "status"), with_dry_runs=True):
        kinds.setdefault(kind_of(run), {})[run.status] = run
    if not kinds and query.agent_id is not None:
        require_agent(store, query.agent_id)
    latest: list[LatestRun] = []
    for policy_id, agent_id, task_type in sorted(kinds):
        # A query is made for the few kinds that need one: for each it would take a tenth of all the time.
        kind = partial(attrs.evolve, query, policy_id=policy_id, agent_id=agent_id, task_type=task_type)
        by_status = kinds[policy_id, agent_id, task_type]
        last_run = max(by_status.values(), key=place_of)
        reported = _reported(store, kind, by_status)
        last_reported = max(reported, key=place_of, default=None)
        success = next((run for run in reported if run.status == "success"), None)
        latest.append(
            LatestRun(
                agent_id=agent_id,
                policy_id=policy_id,
                task_type=task_type,
                last_run=last_run,
                last_reported=last_reported,
                last_success=success,
                age_seconds=None if success is None else (now - success.ended_at).total_seconds(),
                consecutive_failures=_failures_since(store, kind, query.since, last_run, last_reported),
            )
        )
    return latest


def _reported(store: Store, kind: Callable[..., RunQuery], by_status: Mapping[str, BackupRun]) -> list[BackupRun]:
    """Return the last run of each status that counts as reported, of one kind; dry runs are none."""
    newest = [by_status[status] for status in REPORTED_STATUSES if status in by_status]
    real = (newest_run(store, kind(status=run.status)) if run.is_dry_run else run for run in newest)
    return [run for run in real if run is not None]


def _failures_since(
    store: Store,
    kind: Callable[..., RunQuery],
    since: datetime | None,
    last: BackupRun,
    reported: BackupRun | None,
) -> int:
    if reported and reported.began_at >= last.start_time:  # as in most kinds
        return 0
    since = reported.began_at + timedelta.resolution if reported else since
    return store.call(store.backend.count_runs, kind(status=FAILED_STATUSES, since=since))


def summarize_runs(store: Store, query: RunQuery | None = None, *, group_by: GroupBy) -> list[RunSummary]:
    """Count runs and add up what they took, in one query of the database. Dry runs count like any other.

    Args:
        store: The store to use.
        query: Which runs to count; by default all of the tenant's. It takes no ``cursor``, and its ``limit`` does not
            matter. Give ``since``: all that match are read.
        group_by: ``agent``, ``policy``, ``task_type``, ``status``, ``day`` or ``week``. Days are those in UTC on which
            runs started; weeks begin on Monday.

    Returns:
        One summary for each group that has a run, by its key, ascending.

    Raises:
        InvalidQuery: ``group_by`` is none of these words, or the query has a cursor.
        AgentNotFound: The query names an agent that this tenant does not have.
        StoreError: The store failed.
    """
    if group_by not in get_args(GroupBy):
        raise InvalidQuery([FieldError("group_by", f"must be one of {', '.join(get_args(GroupBy))}")])
    query = report_query(store, query, refused=("cursor",))
    tallies = store.call(store.backend.summarize_runs, query, _COLUMNS[group_by])
    if not tallies and query.agent_id is not None:
        require_agent(store, query.agent_id)
    groups: dict[UUID | str | date, list[Tally]] = {}
    for tally in tallies:
        key = _monday(tally.key) if group_by == "week" and isinstance(tally.key, date) else tally.key
        groups.setdefault(key, []).append(tally)
    return [_summary(key, groups[key]) for key in sorted(groups, key=str)]


def _monday(day: date) -> date:
    # The first week of year 1 begins on a Monday, so that no date is out of range.
    return day - timedelta(days=day.weekday())


def _summary(key: UUID | str | date, tallies: list[Tally]) -> RunSummary:
    by_status = Counter[str]()
    for tally in tallies:
        by_status[tally.status] += tally.runs
    ended = sum(runs for status, runs in by_status.items() if status not in ACTIVE_STATUSES)
    added = [tally.data_added for tally in tallies if tally.data_added is not None]
    processed = [tally.total_bytes_processed for tally in tallies if tally.total_bytes_processed is not None]
    return RunSummary(
        key=key,
        runs=by_status.total(),
        by_status=dict(sorted(by_status.items())),
        success_rate=by_status["success"] / ended if ended else None,
        duration_seconds=sum(tally.duration_seconds for tally in tallies if tally.status not in ACTIVE_STATUSES),
        data_added=sum(added) if added else None,
        total_bytes_processed=sum(processed) if processed else None,
        log_bytes=sum(tally.log_bytes for tally in tallies),
    )


def report_query(store: Store, query: RunQuery | None, *, refused: tuple[str, ...]) -> RunQuery:
    """Return the query of a report, which has none of the filters that make no sense in it."""
    require_store(store)
    query = require_query(query)
    given = [name for name in refused if getattr(query, name)]
    errors = [FieldError(name, "makes no sense in this report: leave it out") for name in given]
    if errors:
        raise InvalidQuery(errors)
    return query


def moment(now: datetime | None) -> datetime:
    """Return the time that a report is made at."""
    return datetime.now(UTC) if now is None else argument("now", as_time, now, InvalidQuery)


def place_of(run: BackupRun) -> tuple[datetime, datetime, UUID]:
    """Return by what runs are compared to find the one that began last."""
    return run.began_at, run.start_time, run.id


def kind_of(run: BackupRun) -> tuple[UUID, UUID, str]:
    """Return what a run has in common with those that it is compared with."""
    return run.policy_id, run.agent_id, run.task_type
