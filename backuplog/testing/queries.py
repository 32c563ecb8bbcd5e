"""Lists, pages, totals and last successes."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import (
    RunQuery,
)

from .common import FEW, payload, walk
from .contract import Contract


class QueryContract(Contract):
    """Lists, pages, totals and last successes."""

    def test_queries_answer_as_a_plain_list_would(self) -> None:
        """Every filter and every combination selects, orders and counts as the same filter on a list."""
        with self._known() as (store, agent_id):
            agents = [agent_id, backuplog.register_agent(store, uuid4()).id]
            policies = [uuid4(), uuid4()]
            statuses = ["success", "failed", "warning"]
            for number in range(60):
                sent = payload(
                    policyId=str(policies[number % 2]),
                    status=statuses[number % 3],
                    taskType=["backup", "check"][number // 2 % 2],
                    snapshotId=f"s{number % 5}",
                    startTime=f"2026-11-24T0{number % 7}:00:00Z",
                )
                backuplog.ingest_task_result(store, agents[number % 4 // 2], sent)
            runs = backuplog.query_runs(store, RunQuery(limit=1000)).runs
            assert list(runs) == sorted(runs, key=lambda run: (run.start_time, run.id.bytes), reverse=True)
            assert len(runs) == 60
            hour = st.none() | st.integers(0, 7).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC))

            @FEW
            @given(
                agent=st.sampled_from([None, *agents]),
                policy=st.sampled_from([None, *policies]),
                status=st.lists(st.sampled_from(statuses), max_size=3),
                task_type=st.sampled_from([None, "backup", "check"]),
                snapshot=st.sampled_from([None, "s1", "absent"]),
                since=hour,
                until=hour,
            )
            def check(
                agent: Any, policy: Any, status: Any, task_type: Any, snapshot: Any, since: Any, until: Any
            ) -> None:
                query = RunQuery(
                    agent_id=agent,
                    policy_id=policy,
                    status=status,
                    task_type=task_type,
                    snapshot_id=snapshot,
                    since=since,
                    until=until,
                    limit=7,
                )
                expected = [
                    run
                    for run in runs
                    if agent in (None, run.agent_id)
                    and policy in (None, run.policy_id)
                    and (not status or run.status in status)
                    and task_type in (None, run.task_type)
                    and snapshot in (None, run.snapshot_id)
                    and (since is None or run.start_time >= since)
                    and (until is None or run.start_time < until)
                ]
                assert walk(store, query) == expected
                assert backuplog.query_runs(store, query).total == len(expected)

            check()

    def test_several_rare_statuses_are_listed_as_one(self) -> None:
        """Runs of several statuses, without an agent or a policy, come in one order, page by page, and are counted."""
        with self._known() as (store, agent_id):
            statuses = ["running", "success", "pending", "failed", "running", "odd"]
            sent = [
                payload(status=status, startTime=f"2026-11-24T0{number % 5}:00:00Z")
                for number, status in enumerate(statuses * 5)
            ]
            backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
            for wanted in (
                ("running", "pending"),
                ("running", "pending", "odd"),
                ("failed", "success"),
                ("odd", "none"),
            ):
                query = RunQuery(status=wanted, limit=4)
                listed = walk(store, query)
                everything = walk(store, RunQuery(limit=1000))
                assert listed == [run for run in everything if run.status in wanted]
                assert backuplog.query_runs(store, query).total == len(listed)

    def test_pages_skip_and_repeat_nothing_while_runs_arrive(self) -> None:
        """A walk over pages sees each run that was there exactly once, whatever is inserted meanwhile."""
        with self._known() as (store, agent_id):
            time = "2026-11-24T01:00:00Z"  # all at once: only the id keeps them apart
            old = [payload(startTime=time) for _ in range(25)]
            backuplog.ingest_task_results(store, [(agent_id, sent) for sent in old])
            seen: list[UUID] = []
            cursor = None
            while True:
                page = backuplog.query_runs(store, RunQuery(limit=4, cursor=cursor, agent_id=agent_id))
                seen += [run.id for run in page.runs]
                backuplog.ingest_task_result(store, agent_id, payload(startTime=time))
                if page.next_cursor is None:
                    break
                cursor = page.next_cursor
            assert len(seen) == len(set(seen))
            assert {UUID(sent["taskId"]) for sent in old} <= set(seen)

    def test_the_total_can_be_left_out(self) -> None:
        """A query without a total says None, never a number that is not true."""
        with self._known() as (store, _):
            assert backuplog.query_runs(store, RunQuery(with_total=False)).total is None
            assert backuplog.query_runs(store).total == 0

    def test_a_page_is_as_long_as_its_limit(self) -> None:
        """A page has at most ``limit`` runs, its total counts all, and only the last has no next one."""
        with self._known() as (store, agent_id):
            backuplog.ingest_task_results(store, [(agent_id, payload()) for _ in range(6)])
            first = backuplog.query_runs(store, RunQuery(limit=3))
            assert (len(first.runs), first.total, first.limit) == (3, 6, 3)
            last = backuplog.query_runs(store, RunQuery(limit=3, cursor=first.next_cursor))
            assert (len(last.runs), last.total, last.next_cursor) == (3, 6, None)

    def test_the_last_success_of_each_policy_is_the_newest(self) -> None:
        """Each policy with a success is listed once, with the run that a list would show first; ties go by id."""
        with self._known() as (store, agent_id):
            policies = [str(uuid4()) for _ in range(6)]
            start = "2026-11-24T02:00:00Z"
            results = [
                payload(policyId=policies[number % 5], status=status, startTime=start.replace("02", f"{hour:02}", 1))
                for number in range(10)
                for hour, status in enumerate(("success", "success", "failed", "running"), start=number % 3)
                if number % 5 != 4 or status != "success"
            ]
            results.append(payload(policyId=policies[0], startTime="2026-11-24T20:00:00Z"))
            results.append(payload(policyId=policies[0], startTime="2026-11-24T20:00:00Z"))
            backuplog.ingest_task_results(store, [(agent_id, result) for result in results])
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            backuplog.ingest_task_result(other, agent_id, payload(policyId=policies[5]))
            expected: dict[UUID, backuplog.BackupRun] = {}
            for run in walk(store, RunQuery(status="success", limit=3)):
                expected.setdefault(run.policy_id, run)
            assert len(expected) == 4
            assert backuplog.last_successes(store) == sorted(expected.values(), key=lambda run: run.policy_id)
            assert [run.policy_id for run in backuplog.last_successes(other)] == [UUID(policies[5])]
            assert backuplog.last_successes(store.for_tenant(uuid4())) == []

    def test_since_is_inclusive_and_until_exclusive(self) -> None:
        """A run that starts at the very moment is after ``since`` and not before ``until``."""
        with self._known() as (store, agent_id):
            sent = payload(startTime="2026-11-24T02:00:00.000001Z")
            backuplog.ingest_task_result(store, agent_id, sent)
            moment = datetime(2026, 11, 24, 2, 0, 0, 1, tzinfo=UTC)
            assert backuplog.query_runs(store, RunQuery(since=moment)).total == 1
            assert backuplog.query_runs(store, RunQuery(until=moment)).total == 0

    def test_equal_start_times_are_ordered_by_id(self) -> None:
        """Runs that start at once come by their id's 16 bytes, greatest first."""
        with self._known() as (store, agent_id):
            ids = [UUID(int=number << 56 | 0x80 << 120) for number in (1, 127, 128, 255)] + [UUID(int=5)]
            for run_id in ids:
                sent = payload(taskId=str(run_id), startTime="2026-11-24T02:00:00Z")
                backuplog.ingest_task_result(store, agent_id, sent)
            listed = [run.id for run in backuplog.query_runs(store).runs]
            assert listed == sorted(ids, key=lambda run_id: run_id.bytes, reverse=True)
