"""A history that is taken over from another store: whole, once, and with what may have come there already."""

from collections.abc import Collection, Iterator, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import Agent, AgentToken, BackupRun, LogState, RunQuery, Store
from backuplog.backend import Amendment, Backend, Chunk, StoredRun

from .common import NOON, begin, end, payload, without_room_for_logs
from .contract import Contract


class _Moved:
    """The data of one tenant, shown as those of another, so that one store is enough to copy from and to."""

    def __init__(self, backend: Backend, tenant_id: UUID) -> None:
        self._backend, self.tenant_id = backend, tenant_id

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def list_agents(self, ids: Collection[UUID] | None = None) -> list[Agent]:
        return [attrs.evolve(agent, tenant_id=self.tenant_id) for agent in self._backend.list_agents(ids)]

    def list_tokens(self) -> list[AgentToken]:
        return [attrs.evolve(token, tenant_id=self.tenant_id) for token in self._backend.list_tokens()]

    def list_runs(self, query: RunQuery, **place: Any) -> list[BackupRun]:
        return [attrs.evolve(run, tenant_id=self.tenant_id) for run in self._backend.list_runs(query, **place)]

    def find_run(self, run_id: UUID) -> StoredRun | None:
        stored = self._backend.find_run(run_id)
        return stored and attrs.evolve(stored, run=attrs.evolve(stored.run, tenant_id=self.tenant_id))


def pair(store: Store) -> tuple[Store, Store, Store]:
    """Give a store, what a copy reads of it, and an empty store that may be copied to."""
    target = store.for_tenant(UUID(int=17))
    moved: Any = _Moved(store.backend, target.tenant_id)
    return store, attrs.evolve(store, backend=moved), target


def chunks_of(store: Store, stored: StoredRun) -> Iterator[Chunk]:
    """Walk through the chunks of a log that is whole."""
    position = 0
    while position < stored.run.log_bytes:
        chunk = store.backend.find_chunk(stored.run.id, stored.log_version, stored.offset_of(position))
        assert chunk is not None
        yield chunk
        position += chunk.size


def assert_same(source: Store, target: Store) -> Sequence[BackupRun]:
    """See that two stores hold the same, field by field and chunk by chunk, and give the runs."""
    runs = backuplog.query_runs(source, RunQuery(limit=1_000)).runs
    assert backuplog.query_runs(target, RunQuery(limit=1_000)).runs == runs
    assert backuplog.list_agents(target) == backuplog.list_agents(source)
    assert target.backend.list_tokens() == source.backend.list_tokens()
    for run in runs:
        stored = source.backend.find_run(run.id)
        assert stored is not None
        assert target.backend.find_run(run.id) == stored
        if run.log_state not in (LogState.LOST, LogState.EXPIRED):
            assert [*chunks_of(target, stored)] == [*chunks_of(source, stored)]
    return runs


def fill(store: Store, agent_id: UUID) -> list[dict[str, Any]]:
    """Store a run for each state that a log can be in, and give the results that were sent."""
    long, line = "a line of the log\n" * 150_000, b"a line of the log\n" * 100
    sent = [payload(log=log) for log in (None, "", "short", long)]
    sent += [payload(log="short", stats={"filesNew": 3}, startTime=NOON.isoformat(), errorMessage="\U0010ffff")]
    backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
    cut, lost, expired = payload(log=long), payload(log="lost"), payload(log="expired")
    backuplog.ingest_task_result(store, agent_id, cut, max_log_bytes=4096)
    backuplog.ingest_task_result(without_room_for_logs(store), agent_id, lost)
    backuplog.expire_log(store, backuplog.ingest_task_result(store, agent_id, expired).run_id)
    replaced = payload(log="later")
    backuplog.ingest_task_result(store, agent_id, {**replaced, "log": "sooner"})
    backuplog.ingest_task_result(store, agent_id, replaced)
    backuplog.append_log(store, agent_id, begin(store, agent_id), b"all of it, but https://user:pa", offset=0)
    for is_ended in (False, True):
        run_id = begin(store, agent_id)
        for number in range(12):
            backuplog.append_log(store, agent_id, run_id, line, offset=len(line) * number, max_log_bytes=4096)
        if is_ended:
            end(store, agent_id, run_id)
    return [*sent, cut, lost, expired, replaced]


class CopyContract(Contract):
    """A history that is taken over from another store: whole, once, and with what may have come there already."""

    def test_a_history_is_copied_whole(self) -> None:
        """Agents, tokens, runs, what stands beside them and every chunk are as they were, and a second copy is idle."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            sent = fill(original, agent_id)
            token = backuplog.issue_agent_token(original, agent_id)
            report = backuplog.copy_store(source, target)
            assert report == backuplog.CopyReport(agents=1, tokens=1, copied=12)
            runs = assert_same(source, target)
            assert {run.log_state for run in runs} == {*LogState}
            assert backuplog.verify_agent_token(target, token).agent_id == agent_id
            assert backuplog.copy_store(source, target) == backuplog.CopyReport(tokens=1, equal=12)
            for one in sent:
                outcomes = [backuplog.ingest_task_result(view, agent_id, one) for view in (original, target)]
                assert outcomes[0] == outcomes[1]

    def test_a_task_goes_on_where_it_is_continued(self) -> None:
        """What happens to a run after it was copied is brought by the next copy, or goes on in the target and stays."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            here, there = begin(original, agent_id), begin(original, agent_id)
            for run_id in (here, there):
                backuplog.append_log(original, agent_id, run_id, b"one ", offset=0)
            backuplog.copy_store(source, target)
            backuplog.append_log(original, agent_id, here, b"two", offset=4)
            backuplog.append_log(target, agent_id, there, b"two", offset=4)
            assert (backuplog.copy_store(source, target).updated, backuplog.read_log(target, here)) == (1, b"one two")
            end(original, agent_id, here)
            end(target, agent_id, there)
            report = backuplog.copy_store(source, target)
            assert (report.updated, report.kept, report.equal) == (1, 1, 0)
            for run_id in (here, there):
                assert backuplog.get_run(target, run_id).status == "success"
                assert backuplog.read_log(target, run_id) == b"one two"
            assert backuplog.copy_store(source, target).equal == 1

    def test_what_came_to_the_target_first_is_joined(self) -> None:
        """A result that both have counts once and since the first time, and a newer one of the target stays."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            backuplog.register_agent(target, agent_id)
            again, newer = payload(log="the same"), payload(log="old")
            for one in (again, newer):
                backuplog.ingest_task_result(original, agent_id, one, received_at=NOON)
            for one in (again, {**newer, "log": "new"}):
                backuplog.ingest_task_result(target, agent_id, one, received_at=NOON + timedelta(hours=1))
            report = backuplog.copy_store(source, target)
            assert (report.updated, report.kept, report.copied) == (1, 1, 0)
            for one, log in ((again, b"the same"), (newer, b"new")):
                run = backuplog.get_run(target, one["taskId"])
                assert (run.received_at, backuplog.read_log(target, run.id)) == (NOON, log)
            assert backuplog.get_run(target, again["taskId"]).end_time == NOON
            assert backuplog.ingest_task_result(target, agent_id, again).outcome == "replayed"
            assert backuplog.ingest_task_result(target, agent_id, newer).outcome == "stale"

    @pytest.mark.parametrize("hours", [(1, 2), (2, 1), (None, None)], ids=str)
    def test_of_two_results_the_later_end_stands(self, hours: tuple[int | None, int | None]) -> None:
        """Of results that do not know of each other that stands which ended later, or else the target's."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            backuplog.register_agent(target, agent_id)
            task = payload()
            sent = [
                {**task, "log": name, "endTime": None if hour is None else (NOON + timedelta(hours=hour)).isoformat()}
                for name, hour in zip(("source", "target"), hours, strict=True)
            ]
            for view, one in zip((original, target), sent, strict=True):
                backuplog.ingest_task_result(view, agent_id, one)
            report = backuplog.copy_store(source, target)
            is_ours = hours == (2, 1)
            assert (report.updated, report.kept) == (is_ours, not is_ours)
            assert backuplog.read_log(target, task["taskId"]) == (b"source" if is_ours else b"target")
            outcomes = [backuplog.ingest_task_result(target, agent_id, one).outcome for one in sent]
            assert outcomes == (["replayed", "stale"] if is_ours else ["stale", "replayed"])

    def test_another_log_takes_another_version(self) -> None:
        """A reader of the log that the target had never sees that of the source in its place."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            backuplog.register_agent(target, agent_id)
            one = payload(log="final " * 100)
            backuplog.ingest_task_result(original, agent_id, one)
            backuplog.ingest_task_result(target, agent_id, {**one, "status": "running", "log": "active" * 100})
            pieces = backuplog.iter_log(target, one["taskId"])
            assert backuplog.copy_store(source, target).updated == 1
            assert backuplog.read_log(target, one["taskId"]) == b"final " * 100
            with pytest.raises(backuplog.LogReplaced):
                next(pieces)

    def test_damage_is_copied_and_named(self) -> None:
        """A run is not lost because its log is damaged: it is copied as it is, and reading it fails as before."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            sent = payload(log="a line of the log\n" * 150_000)
            run_id = backuplog.ingest_task_result(original, agent_id, sent).run_id
            stored = original.backend.find_run(run_id)
            assert stored is not None
            # The second of three chunks is lost.
            second = [*chunks_of(original, stored)][1]
            hole = Amendment(read=stored, write=stored, drop=second.offset, drop_until=second.offset + 1)
            assert original.backend.submit([hole]) == [True]
            reports = [backuplog.copy_store(source, target) for _ in range(2)]
            assert [(report.copied, report.equal) for report in reports] == [(1, 0), (0, 1)]
            assert [report.damaged for report in reports] == [(run_id,)] * 2
            for view in (original, target):
                assert backuplog.read_log(view, run_id, start=-9) == b" the log\n"
                with pytest.raises(backuplog.CorruptLog):
                    backuplog.read_log(view, run_id)

    def test_a_log_that_is_removed_in_one_is_removed_in_the_other(self) -> None:
        """A copy removes what the source has removed, and does not bring back what the target has removed."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            ids = [backuplog.ingest_task_result(original, agent_id, payload(log="log")).run_id for _ in range(2)]
            backuplog.copy_store(source, target)
            for view, run_id in zip((original, target), ids, strict=True):
                backuplog.expire_log(view, run_id)
            report = backuplog.copy_store(source, target)
            assert (report.updated, report.kept) == (1, 1)
            assert {backuplog.get_run(target, run_id).log_state for run_id in ids} == {LogState.EXPIRED}

    def test_a_run_of_another_agent_is_not_touched(self) -> None:
        """Where the target has a run of another agent under the same id, that stays, and the report names it."""
        with self._known() as (store, agent_id):
            original, source, target = pair(store)
            other = backuplog.register_agent(target, uuid4()).id
            one = payload(log="log")
            run_id = backuplog.ingest_task_result(original, agent_id, one).run_id
            backuplog.ingest_task_result(target, other, {**one, "log": "other"})
            assert backuplog.copy_store(source, target).conflicting == (run_id,)
            assert backuplog.read_log(target, run_id) == b"other"
