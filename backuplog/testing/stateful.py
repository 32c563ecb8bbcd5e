"""Everything together, against a plain model."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

import backuplog
from backuplog import LogExpired, LogState, RunConflict, RunNotFound, RunQuery
from backuplog.backend import Change, StoredRun, Submission, decode
from backuplog.close import close_log
from backuplog.delivery import OpenLog
from backuplog.parsers import Work

from .changes import Append, Expire
from .common import NOON, UNCHECKED, submission_of, walk
from .contract import Contract


class StatefulContract(Contract):
    """Everything together, against a plain model."""

    def test_it_behaves_as_a_plain_model(self) -> None:
        """Any sequence of deliveries, readings and listings gives what a dict and ``decide`` give."""
        contract = self

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.scope = contract.fresh_store()
                self.store = self.scope.__enter__()
                self.tenants = [self.store, self.store.for_tenant(UUID(int=7))]
                self.agents = [UUID(int=1), UUID(int=2)]
                for view in self.tenants:
                    for agent_id in self.agents:
                        backuplog.register_agent(view, agent_id)
                self.model: dict[tuple[int, UUID], tuple[StoredRun, bytes]] = {}
                self.clock = NOON

            @rule(
                tenant=st.integers(0, 1),
                agent=st.sampled_from([0, 0, 0, 1]),
                task=st.integers(1, 4).map(lambda number: UUID(int=number)),
                status=st.sampled_from(["success", "failed", "running", "pending"]),
                log=st.sampled_from([None, b"", b"short", b"long" * 400_000]),
                ended=st.none() | st.integers(0, 3).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC)),
                error=st.none() | st.sampled_from(["a", "b"]),
            )
            def deliver(
                self, tenant: int, agent: int, task: UUID, status: str, log: Any, ended: Any, error: Any
            ) -> None:
                self.clock += timedelta(seconds=1)
                sent = backuplog.TaskResult(
                    task_id=task,
                    policy_id=UUID(int=3),
                    task_type="backup",
                    status=status,
                    duration_seconds=1,
                    log=log,
                    end_time=ended,
                    error_message=error,
                )
                arriving = submission_of(self.tenants[tenant], self.agents[agent], sent, self.clock)
                self.make(tenant, arriving)

            @rule(
                tenant=st.integers(0, 1),
                task=st.integers(1, 4).map(lambda number: UUID(int=number)),
                data=st.sampled_from([b"a line", b"a piece " * 100_000, None]),
            )
            def append_or_expire(self, tenant: int, task: UUID, data: bytes | None) -> None:
                self.make(tenant, Expire(task) if data is None else Append(task, data))

            def make(self, tenant: int, change: Change[Any]) -> None:
                """Make a change here and there."""
                stored, log = self.model.get((tenant, change.run_id), (None, b""))
                decision = change.decide(stored)
                if isinstance(change, Submission) and isinstance(decision.answer, OpenLog):
                    view = self.tenants[tenant]
                    closing = close_log(view, decision.answer.stored, task_type=change.run.task_type, work=Work())
                    change = attrs.evolve(change, closing=closing)
                    decision = change.decide(stored)
                if decision.write is not None:
                    version = decision.write.log_version
                    added = [decode(chunk, change.run_id, version) for chunk in decision.chunks]
                    self.model[tenant, change.run_id] = decision.write, b"".join([log[: decision.drop], *added])
                answer = self.tenants[tenant].backend.submit([change])[0]
                if isinstance(decision.answer, RunConflict):
                    assert isinstance(answer, RunConflict)
                else:
                    assert answer == decision.answer

            @invariant()
            def is_the_model(self) -> None:
                for tenant, view in enumerate(self.tenants):
                    expected = {task: kept for (owner, task), kept in self.model.items() if owner == tenant}
                    runs = backuplog.query_runs(view, RunQuery(limit=1000))
                    assert {run.id for run in runs.runs} == set(expected)
                    assert runs.total == len(expected)
                    for task, (stored, log) in expected.items():
                        assert view.backend.find_run(task) == stored
                        if stored.run.log_state is LogState.EXPIRED:
                            with pytest.raises(LogExpired):
                                backuplog.read_log(view, task)
                        else:
                            assert backuplog.read_log(view, task) == log

            @rule(
                tenant=st.integers(0, 1),
                agent=st.sampled_from([None, 0, 1]),
                status=st.lists(st.sampled_from(["success", "failed", "running", "pending"]), max_size=2),
                since=st.none() | st.integers(0, 3).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC)),
                limit=st.integers(1, 3),
            )
            def list_some(self, tenant: int, agent: int | None, status: Any, since: Any, limit: int) -> None:
                agent_id = None if agent is None else self.agents[agent]
                query = RunQuery(agent_id=agent_id, status=status, since=since, limit=limit)
                expected = [
                    kept.run
                    for (owner, _), (kept, _) in self.model.items()
                    if owner == tenant
                    and agent_id in (None, kept.run.agent_id)
                    and (not status or kept.run.status in status)
                    and (since is None or kept.run.start_time >= since)
                ]
                expected.sort(key=lambda run: (run.start_time, run.id.bytes), reverse=True)
                assert walk(self.tenants[tenant], query) == expected

            @rule(tenant=st.integers(0, 1), task=st.integers(1, 4), start=st.integers(-9, 9), stop=st.integers(-9, 9))
            def read_some(self, tenant: int, task: int, start: int, stop: int) -> None:
                kept = self.model.get((tenant, UUID(int=task)))
                if kept is None:
                    with pytest.raises(RunNotFound):
                        backuplog.read_log(self.tenants[tenant], UUID(int=task))
                elif kept[0].run.log_state is not LogState.EXPIRED:
                    log = backuplog.read_log(self.tenants[tenant], UUID(int=task), start=start, stop=stop)
                    assert log == kept[1][start:stop]

            def teardown(self) -> None:
                self.scope.__exit__(None, None, None)

        bounds = settings(max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=[*UNCHECKED])
        run_state_machine_as_test(Machine, settings=bounds)
