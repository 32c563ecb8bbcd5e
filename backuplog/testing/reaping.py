"""Tasks that are given up, and heard of after all."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import InvalidQuery, LogClosed, Store

from .common import NOON, Reading, at_once, begin, end, payload, result_of
from .contract import Contract

_HOUR = timedelta(hours=1)


class ReapingContract(Contract):
    """Tasks that are given up, and heard of after all."""

    def test_only_silent_active_runs_are_lost(self) -> None:
        """A run is lost if its task is active and was not heard of for longer than allowed; once, in one tenant."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            sent = [
                (payload(status=status), NOON - timedelta(minutes=minutes))
                for status in ("running", "pending", "success", "odd")
                for minutes in (59, 60, 61, 200)
            ]
            for view in (store, other):
                for result, received_at in sent:
                    backuplog.ingest_task_result(view, agent_id, result, received_at=received_at)
            before = {run.id: run for run in backuplog.query_runs(store).runs}
            lost = backuplog.reap_stale(store, after=_HOUR, now=NOON)
            expected = [sent[index][0]["taskId"] for index in (2, 3, 6, 7)]
            assert sorted(str(run.id) for run in lost) == sorted(expected)
            for run in lost:
                assert run == attrs.evolve(before[run.id], status="lost")
                assert backuplog.get_run(store, run.id) == run
            assert backuplog.query_runs(store, backuplog.RunQuery(status="lost")).total == 4
            assert backuplog.reap_stale(store, after=_HOUR, now=NOON) == []
            assert backuplog.query_runs(other, backuplog.RunQuery(status="lost")).total == 0

    def test_a_late_result_takes_the_place_of_a_lost_run(self) -> None:
        """A lost task that reports after all, be it by the very same words, is what it says; a replay is one again."""
        with self._known() as (store, agent_id):
            sent, run_id = self._lost(store, agent_id)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "updated"
            assert backuplog.get_run(store, run_id).status == "running"
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            backuplog.reap_stale(store, after=_HOUR, now=NOON + 3 * _HOUR)
            assert backuplog.get_run(store, run_id).status == "running"  # heard of just now
            backuplog.reap_stale(store, after=timedelta(0), now=backuplog.get_run(store, run_id).updated_at + _HOUR)
            assert end(store, agent_id, run_id) == "updated"
            run = backuplog.get_run(store, run_id)
            assert run.status == "success"
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "stale"

    def test_the_log_of_a_lost_task_goes_on(self) -> None:
        """What was appended stays when a task is lost; more of it makes the task run again, and its end closes it."""
        with self._known() as (store, agent_id):
            for goes_on in (True, False):
                _, run_id = self._lost(store, agent_id, log=b"so far\n")
                assert backuplog.read_log(store, run_id) == b"so far\n"
                assert backuplog.read_log_since(store, run_id).data == b"so far\n"
                assert backuplog.read_log_since(store, run_id, 7).is_final
                expected = b"so far\n"
                if goes_on:
                    assert backuplog.append_log(store, agent_id, run_id, b"more\n", offset=7) == 12
                    assert backuplog.get_run(store, run_id).status == "running"
                    expected += b"more\n"
                assert end(store, agent_id, run_id, logBytes=len(expected)) == "updated"
                run = backuplog.get_run(store, run_id)
                assert (run.status, run.log_state, backuplog.read_log(store, run_id)) == (
                    "success",
                    "complete",
                    expected,
                )
                with pytest.raises(LogClosed):
                    backuplog.append_log(store, agent_id, run_id, b"late\n", offset=len(expected))

    def test_a_duplicate_of_a_running_result_takes_no_log_away(self) -> None:
        """A lost task that is heard of again by the words of its first result keeps what was appended since."""
        with self._known() as (store, agent_id):
            sent = payload(status="running", log="begin\n", startTime=NOON.isoformat())
            run_id = backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON).run_id
            for expire in (False, True):
                if expire:
                    backuplog.expire_log(store, run_id)
                else:
                    backuplog.append_log(store, agent_id, run_id, b"more\n", offset=6, received_at=NOON)
                before = backuplog.get_run(store, run_id)
                later = max(NOON, before.updated_at) + _HOUR
                assert [run.id for run in backuplog.reap_stale(store, after=_HOUR / 2, now=later)] == [run_id]
                assert backuplog.ingest_task_result(store, agent_id, sent, received_at=later).outcome == "updated"
                assert backuplog.get_run(store, run_id) == attrs.evolve(before, updated_at=later)
                if not expire:
                    assert backuplog.read_log(store, run_id) == b"begin\nmore\n"

    def test_a_lost_answer_hides_no_lost_task(self) -> None:
        """Giving up again what was given up a moment ago, because the answer did not come, says so again."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            later = backuplog.get_run(store, run_id).updated_at + 2 * _HOUR
            submit = store.backend.submit

            class Forgetful(Reading):
                def submit(self, changes: Any, *, skip_locked: bool = False) -> Any:
                    submit(changes, skip_locked=skip_locked)
                    return submit(changes, skip_locked=skip_locked)

            backend: Any = Forgetful(store.backend, store.backend.find_chunk)
            [run] = backuplog.reap_stale(attrs.evolve(store, backend=backend), after=_HOUR, now=later)
            assert (run.id, run.status) == (run_id, "lost")

    def test_a_task_that_reports_while_it_is_given_up_is_not_lost(self) -> None:
        """Whichever comes first, the task's result is what stands in the end."""
        with self._known() as (store, agent_id):
            for _ in range(10):
                run_id = begin(store, agent_id)
                final = result_of(store, run_id)
                at_once(
                    lambda: backuplog.reap_stale(store, after=timedelta(0), now=NOON + timedelta(days=3650)),
                    lambda final=final: backuplog.ingest_task_result(store, agent_id, final),  # type: ignore[misc]
                )
                assert backuplog.get_run(store, run_id).status == "success"

    def test_it_takes_a_time_to_wait(self) -> None:
        """A negative time, a number and a time without a zone are refused; one before year 1 gives up nothing."""
        with self._known() as (store, agent_id):
            begin(store, agent_id)
            for after in (timedelta(-1), 60):
                with pytest.raises(InvalidQuery, match="after"):
                    backuplog.reap_stale(store, after=after)  # type: ignore[arg-type]
            with pytest.raises(InvalidQuery, match="now"):
                backuplog.reap_stale(store, after=_HOUR, now=NOON.replace(tzinfo=None))
            assert backuplog.reap_stale(store, after=timedelta.max) == []

    @staticmethod
    def _lost(store: Store, agent_id: UUID, log: bytes | None = None) -> tuple[dict[str, object], UUID]:
        sent = payload(status="running")
        run_id = backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON).run_id
        if log is not None:
            backuplog.append_log(store, agent_id, run_id, log, offset=0, received_at=NOON)
        [run] = backuplog.reap_stale(store, after=_HOUR, now=NOON + 2 * _HOUR)
        assert run.id == run_id
        return sent, run_id
