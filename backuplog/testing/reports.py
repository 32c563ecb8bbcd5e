"""Reports: newest runs of groups, and sums, against the same in plain Python."""

import math
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import AgentNotFound, BackupRun, Expectation, InvalidQuery, RunQuery, Store
from backuplog.backend import GROUP_COLUMNS, READABLE_STATES

from .common import FEW, NOON, payload, walk
from .contract import Contract

_STATUSES = ("success", "success", "success", "warning", "failed", "cancelled", "running", "lost", "odd")
_ACTIVE = ("running", "pending")
_KIND = [*GROUP_COLUMNS]
_GROUPS = [*([name] for name in _KIND), ["status"], ["task_type", "agent_id"], _KIND, [*_KIND, "status"]]
_BY: Any = st.sampled_from(_GROUPS)


class ReportContract(Contract):
    """Reports: newest runs of groups, and sums, against the same in plain Python."""

    def test_the_newest_of_each_group_are_those_that_a_list_shows_first(self) -> None:
        """Whatever the filters, the grouping and the limit, each group has its first runs of the filtered list."""
        with self._known() as (store, agent_id):
            runs, query = _history(store, agent_id, count=150)

            @FEW
            @given(query=query, by=_BY, limit=st.integers(1, 4))
            def check(query: RunQuery, by: Any, limit: int) -> None:
                groups = _grouped(_matching(runs, query), lambda run: tuple(getattr(run, column) for column in by))
                expected = [run for group in groups.values() for run in group[:limit]]
                newest = store.backend.list_newest(query, by, limit=limit)
                assert sorted(newest, key=_place) == sorted(expected, key=_place)

            check()
            assert store.for_tenant(uuid4()).backend.list_newest(RunQuery(), GROUP_COLUMNS) == []

    def test_a_summary_says_what_a_list_adds_up_to(self) -> None:
        """Whatever the filters and the grouping, counts, sums and rates are those of the runs that a list shows."""
        with self._known() as (store, agent_id):
            runs, query = _history(store, agent_id, count=150)

            @FEW
            @given(query=query, group_by=st.sampled_from(["agent", "policy", "task_type", "status", "day", "week"]))
            def check(query: RunQuery, group_by: Any) -> None:
                _check_summary(store, _matching(runs, query), query, group_by)

            check()
            assert backuplog.summarize_runs(store.for_tenant(uuid4()), group_by="status") == []

    def test_reports_are_right_over_ten_thousand_runs(self) -> None:
        """Both reports equal the same figures computed in plain Python."""
        with self._known() as (store, agent_id):
            runs, _ = _history(store, agent_id, count=10_000)
            for group_by in ("agent", "policy", "task_type", "status", "day", "week"):
                _check_summary(store, runs, RunQuery(), group_by)
            _check_latest(store, runs, RunQuery())

    def test_the_latest_runs_are_told_apart(self) -> None:
        """Last run, last success, its age and the failures since are those of each policy, agent and task type."""
        with self._known() as (store, agent_id):
            runs, query = _history(store, agent_id, count=150)

            @FEW
            @given(query=query)
            def check(query: RunQuery) -> None:
                query = attrs.evolve(query, status=(), snapshot_id=None)
                _check_latest(store, _matching(runs, query), query)

            check()
            assert backuplog.latest_runs(store.for_tenant(uuid4())) == []

    def test_what_is_overdue_is_what_nobody_reported(self) -> None:
        """A policy is overdue if its last success or warning is too old, whatever failed, runs or was dry since."""
        with self._known() as (store, agent_id):
            policies = [uuid4() for _ in range(5)]
            times = [("success", 30), ("warning", 5), ("failed", 2), ("success", 50), ("running", 1)]
            for policy_id, (status, hours) in zip(policies, times, strict=True):
                start = (NOON - timedelta(hours=hours)).isoformat()
                sent = payload(policyId=str(policy_id), status=status, startTime=start, endTime=start)
                backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON)
            start = (NOON - timedelta(hours=3)).isoformat()
            dry = payload(policyId=str(policies[3]), stats={"dryRun": True}, startTime=start, endTime=start)
            backuplog.ingest_task_result(store, agent_id, dry, received_at=NOON)
            expected = [
                Expectation(policy_id=policy_id, interval=timedelta(days=1), grace=timedelta(hours=1))
                for policy_id in policies
            ]
            late = backuplog.find_overdue(store, expected, now=NOON)
            found = {overdue.expectation.policy_id: overdue for overdue in late}
            assert found.keys() == set(policies) - {policies[1]}
            assert [found[policies[index]].late_seconds for index in (0, 2, 3, 4)] == [5 * 3600, None, 25 * 3600, None]
            assert [found[policies[index]].is_running for index in (0, 2, 3, 4)] == [False, False, False, True]
            assert backuplog.find_overdue(store.for_tenant(uuid4()), [], now=NOON) == []

    def test_a_run_unlike_those_before_it_is_found(self) -> None:
        """The newest run of each policy is compared with those before it, of its own agent, policy and type."""
        with self._known() as (store, agent_id):
            policies = [str(uuid4()), str(uuid4())]
            sent = [
                payload(
                    policyId=policy_id,
                    durationSeconds=100 + number,
                    stats={"dataAdded": 10**9 + number},
                    startTime=(NOON - timedelta(days=number)).isoformat(),
                )
                for policy_id in policies
                for number in range(1, 9)
            ]
            sent.append(payload(policyId=policies[0], stats={"dataAdded": 10}, startTime=NOON.isoformat()))
            backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
            found = backuplog.find_anomalies(store)
            assert [(str(anomaly.run.policy_id), anomaly.figure) for anomaly in found] == [
                (policies[0], "data_added"),
                (policies[0], "duration_seconds"),
            ]
            assert [(anomaly.value, anomaly.compared, anomaly.score < 0) for anomaly in found] == [
                (10, 8, True),
                (12.5, 8, True),
            ]
            assert backuplog.find_anomalies(store, RunQuery(policy_id=UUID(policies[1]))) == []
            assert backuplog.find_anomalies(store, minimum_runs=9) == []
            assert len(backuplog.find_anomalies(store, compared=3, minimum_runs=3)) == 2
            with pytest.raises(InvalidQuery, match="compared"):
                backuplog.find_anomalies(store, compared=5)
            with pytest.raises(InvalidQuery, match="makes no sense in this report"):
                backuplog.find_anomalies(store, RunQuery(status="success"))

    def test_a_dry_run_is_no_success(self) -> None:
        """Dry runs are listed as last runs, however many there are, and hide no run that did something."""
        with self._known() as (store, agent_id):
            policy = str(uuid4())
            real = payload(policyId=policy, startTime="2026-11-01T00:00:00Z")
            dry = [
                payload(policyId=policy, startTime=f"2026-11-02T00:00:{number:02}Z", stats={"dryRun": True})
                for number in range(5)
            ]
            never = payload(stats={"dryRun": True}, startTime="2026-11-02T00:00:00Z")
            backuplog.ingest_task_results(store, [(agent_id, sent) for sent in (real, *dry, never)])
            latest = {str(entry.policy_id): entry for entry in backuplog.latest_runs(store, now=NOON)}
            entry, other = latest[policy], latest[never["policyId"]]
            assert str(entry.last_run.id) == dry[-1]["taskId"]
            assert entry.last_success == entry.last_reported == backuplog.get_run(store, real["taskId"])
            assert (other.last_success, other.last_reported, other.age_seconds) == (None, None, None)
            assert backuplog.last_successes(store) == [entry.last_success]

    def test_sums_beyond_64_bits_are_exact(self) -> None:
        """Figures as large as any that an agent may send are added up without an overflow or a rounding."""
        with self._known() as (store, agent_id):
            sent = [
                payload(policyId=str(UUID(int=1)), stats={"dataAdded": 2**63 - number, "totalBytesProcessed": number})
                for number in range(1, 6)
            ]
            backuplog.ingest_task_results(store, [(agent_id, result) for result in [*sent, payload()]])
            [summary, _] = backuplog.summarize_runs(store, group_by="policy")
            assert (summary.data_added, summary.total_bytes_processed) == (5 * 2**63 - 15, 15)

    def test_reports_refuse_what_makes_no_sense(self) -> None:
        """A filter that a report cannot have, a grouping that there is not, and an unknown agent are errors."""
        with self._known() as (store, agent_id):
            for query in (RunQuery(status="failed"), RunQuery(snapshot_id="s"), RunQuery(cursor="c")):
                with pytest.raises(InvalidQuery, match="makes no sense in this report"):
                    backuplog.latest_runs(store, query)
            with pytest.raises(InvalidQuery, match="query: must be a RunQuery"):
                backuplog.latest_runs(store, agent_id)  # type: ignore[arg-type]
            with pytest.raises(InvalidQuery, match="must be one of agent, policy"):
                backuplog.summarize_runs(store, group_by="month")  # type: ignore[arg-type]
            with pytest.raises(InvalidQuery, match="now"):
                backuplog.latest_runs(store, now=NOON.replace(tzinfo=None))
            reports: list[Callable[[Store, RunQuery], object]] = [
                backuplog.latest_runs,
                partial(backuplog.summarize_runs, group_by="day"),
            ]
            for report in reports:
                assert report(store, RunQuery(agent_id=agent_id)) == []
                with pytest.raises(AgentNotFound):
                    report(store, RunQuery(agent_id=uuid4()))


def _history(store: Store, agent_id: UUID, *, count: int) -> tuple[list[BackupRun], st.SearchStrategy[RunQuery]]:
    """Store random runs, newest first in what is returned, and say how to ask for some of them."""
    source = random.Random(count)  # noqa: S311 - the same at each run
    agents = [agent_id, *(backuplog.register_agent(store, uuid4()).id for _ in range(2))]
    policies = [uuid4() for _ in range(4)]
    sent = [
        payload(
            policyId=str(source.choice(policies)),
            status=source.choice(_STATUSES),
            taskType=source.choice(["backup", "backup", "check"]),
            durationSeconds=source.choice([0, 1.5, 3600, 1e6]),
            snapshotId=source.choice([None, "s1", "s2"]),
            startTime=(NOON - timedelta(hours=source.randrange(-9, 24 * 20))).isoformat(),
            endTime=source.choice([None, NOON.isoformat()]),
            stats=source.choice(
                [None, {"dataAdded": source.randrange(2**62)}, {"totalBytesProcessed": 7}, {"dryRun": True}]
            ),
            log=source.choice([None, "", "x" * source.randrange(200)]),
        )
        for _ in range(count)
    ]
    results = [(source.choice(agents), result) for result in sent]
    backuplog.ingest_task_results(store, results, received_at=NOON)
    for _, result in results[:20]:
        backuplog.expire_log(store, result["taskId"])
    hour = st.none() | st.integers(0, 24 * 20).map(lambda hours: NOON - timedelta(hours=hours))
    query = st.builds(
        RunQuery,
        agent_id=st.sampled_from([None, None, *agents]),
        policy_id=st.sampled_from([None, None, *policies]),
        status=st.just(()) | st.lists(st.sampled_from(_STATUSES), max_size=3),
        task_type=st.sampled_from([None, None, "backup", "check"]),
        snapshot_id=st.sampled_from([None, None, "s1"]),
        since=hour,
        until=hour,
    )
    return walk(store, RunQuery(limit=1000)), query


def _matching(runs: Sequence[BackupRun], query: RunQuery) -> list[BackupRun]:
    return [
        run
        for run in runs
        if query.agent_id in (None, run.agent_id)
        and query.policy_id in (None, run.policy_id)
        and (not query.status or run.status in query.status)
        and query.task_type in (None, run.task_type)
        and query.snapshot_id in (None, run.snapshot_id)
        and (query.since is None or run.start_time >= query.since)
        and (query.until is None or run.start_time < query.until)
    ]


def _grouped(runs: Sequence[BackupRun], key: Callable[[BackupRun], Any]) -> dict[Any, list[BackupRun]]:
    groups = defaultdict[Any, list[BackupRun]](list)
    for run in runs:
        groups[key(run)].append(run)
    return groups


def _place(run: BackupRun) -> Any:
    return run.start_time, run.id.bytes


def _check_summary(store: Store, runs: Sequence[BackupRun], query: RunQuery, group_by: Any) -> None:
    key: dict[str, Callable[[BackupRun], Any]] = {
        "agent": lambda run: run.agent_id,
        "policy": lambda run: run.policy_id,
        "task_type": lambda run: run.task_type,
        "status": lambda run: run.status,
        "day": lambda run: run.start_time.date(),
        "week": lambda run: run.start_time.date() - timedelta(run.start_time.weekday()),
    }
    groups = _grouped(runs, key[group_by])
    summaries = backuplog.summarize_runs(store, query, group_by=group_by)
    assert [summary.key for summary in summaries] == sorted(groups, key=str)
    for summary in summaries:
        group = groups[summary.key]
        ended = [run for run in group if run.status not in _ACTIVE]
        successes = sum(run.status == "success" for run in group)
        assert (summary.runs, sum(summary.by_status.values())) == (len(group), len(group))
        assert summary.by_status.get("success", 0) == successes
        assert summary.success_rate == (successes / len(ended) if ended else None)
        assert math.isclose(summary.duration_seconds, sum(run.duration_seconds for run in ended), rel_tol=1e-9)
        for figure in ("data_added", "total_bytes_processed"):
            known = [value for run in group if (value := getattr(run.stats, figure, None)) is not None]
            assert getattr(summary, figure) == (sum(known) if known else None)
        assert summary.log_bytes == sum(run.log_bytes for run in group if run.log_state in READABLE_STATES)


def _check_latest(store: Store, runs: Sequence[BackupRun], query: RunQuery) -> None:
    groups = _grouped(runs, lambda run: (run.policy_id, run.agent_id, run.task_type))
    latest = backuplog.latest_runs(store, query, now=NOON)
    assert [(entry.policy_id, entry.agent_id, entry.task_type) for entry in latest] == sorted(groups)
    for entry in latest:
        group = groups[entry.policy_id, entry.agent_id, entry.task_type]
        by_begin = sorted(group, key=lambda run: run.began_at, reverse=True)  # as they stand where clocks are right
        real = [run for run in by_begin if not run.is_dry_run]
        reported = next((run for run in real if run.status in ("success", "warning")), None)
        success = next((run for run in real if run.status == "success"), None)
        failed = [run for run in group if run.status in ("failed", "lost")]
        assert (entry.last_run, entry.last_reported, entry.last_success) == (by_begin[0], reported, success)
        assert entry.age_seconds == (None if success is None else (NOON - success.ended_at).total_seconds())
        since = [run for run in failed if reported is None or run.start_time > reported.began_at]
        assert entry.consecutive_failures == len(since)
