"""What becomes of a result that comes first, again, late or in another agent's name, and of its fields."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import (
    Outcome,
    RunConflict,
    RunNotFound,
    RunStats,
)

from .common import FEW, NOON, payload, submission_of, without_room_for_logs
from .contract import Contract


class DeliveryContract(Contract):
    """What becomes of a result that comes first, again, late or in another agent's name, and of its fields."""

    def test_the_first_result_is_created(self) -> None:
        """A first result is stored with its log."""
        outcomes, run, log = self._deliver(payload(log="all is well"))
        assert (outcomes, log, run.log_state, run.log_bytes) == (["created"], b"all is well", "complete", 11)

    def test_the_same_content_is_replayed(self) -> None:
        """The same content in another spelling writes nothing and moves nothing."""
        sent = payload(log="log", status="failure")
        outcomes, run, log = self._deliver(sent, {**sent, "status": "FAILED"}, {**sent, "extra": 1})
        assert (outcomes, log) == (["created", "replayed", "replayed"], b"log")
        assert (run.received_at, run.updated_at, run.end_time) == (NOON, NOON, NOON)

    def test_an_active_run_is_updated(self) -> None:
        """Whatever follows a running task's result takes its place."""
        sent = payload()
        outcomes, run, log = self._deliver({**sent, "status": "running"}, {**sent, "log": "done"})
        assert (outcomes, run.status, log) == (["created", "updated"], "success", b"done")
        assert (run.received_at, run.updated_at) == (NOON, NOON + timedelta(minutes=1))

    def test_the_last_final_result_wins(self) -> None:
        """Optional fields that are absent now become None, and the log goes."""
        sent = payload()
        outcomes, run, log = self._deliver(
            {**sent, "log": "old" * 9, "errorMessage": "e", "snapshotId": "s"}, {**sent, "status": "failed"}
        )
        assert (outcomes, log, run.log_state, run.log_sha256) == (["created", "updated"], b"", "none", None)
        assert (run.error_message, run.snapshot_id, run.status) == (None, None, "failed")

    def test_an_active_runs_log_stays_until_another_comes(self) -> None:
        """A final result without a log keeps what the running task's result brought, and nothing else of it."""
        sent = payload(status="running", log="so far", errorMessage="e", snapshotId="s")
        outcomes, run, log = self._deliver(sent, payload())
        assert (outcomes, log, run.log_state) == (["created", "updated"], b"so far", "complete")
        assert (run.error_message, run.snapshot_id) == (None, None)

    def test_a_late_running_is_stale(self) -> None:
        """A late "running" never hides a result."""
        sent = payload(log="log")
        outcomes, run, log = self._deliver(sent, {**sent, "status": "running", "log": "early"})
        assert (outcomes, run.status, log) == (["created", "stale"], "success", b"log")

    def test_a_superseded_result_is_stale(self) -> None:
        """A retry of a result that was superseded undoes nothing, sixteen results back."""
        sent = [payload(status="failed", policyId=str(UUID(int=1)), log=str(number)) for number in range(17)]
        outcomes, _, log = self._deliver(*sent, *sent[:16])
        assert outcomes == ["created", *["updated"] * 16, *["stale"] * 16]
        assert log == b"16"

    def test_the_seventeenth_result_back_is_forgotten(self) -> None:
        """Sixteen superseded results are remembered and no more: the one before them counts as new."""
        sent = [payload(log=str(number)) for number in range(18)]
        outcomes, _, log = self._deliver(*sent, sent[1], sent[0])
        assert (outcomes[-2:], log) == (["stale", "updated"], b"0")

    def test_an_older_end_is_stale_and_stays_so(self) -> None:
        """A result that ended before the stored one is ignored, also when it is sent again later."""
        new, old = payload(endTime="2026-11-24T11:00:00Z"), payload(endTime="2026-11-24T10:00:00Z", status="failed")
        outcomes, run, _ = self._deliver(new, old, payload(status="warning"), old)
        assert (outcomes, run.status) == (["created", "stale", "updated", "stale"], "warning")

    def test_a_lost_log_is_stored_by_the_retry(self) -> None:
        """A run whose log could not be stored is kept and says so, and the same content brings the log."""
        with self._known() as (store, agent_id):
            sent = payload(log="precious")
            failing = without_room_for_logs(store)
            lost = backuplog.ingest_task_result(failing, agent_id, sent)
            assert (lost.outcome, lost.log_state) == (Outcome.CREATED, "lost")
            assert backuplog.get_run(store, sent["taskId"]).log_state == "lost"
            found = backuplog.ingest_task_result(store, agent_id, sent)
            assert (found.outcome, found.log_state) == (Outcome.UPDATED, "complete")
            assert backuplog.read_log(store, sent["taskId"]) == b"precious"
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome is Outcome.REPLAYED

    def test_a_lost_log_of_an_earlier_result_is_stored_by_its_retry(self) -> None:
        """A log that was lost while the task ran is stored by its retry, though a result without one has followed."""
        with self._known() as (store, agent_id):
            last = payload()
            first = {**last, "status": "running", "log": "so far"}
            lossy = without_room_for_logs(store)
            receipts = [backuplog.ingest_task_result(lossy, agent_id, sent) for sent in (first, last, last)]
            assert [(receipt.outcome, receipt.log_state) for receipt in receipts] == [
                ("created", "lost"),
                ("updated", "none"),
                ("replayed", "none"),
            ]
            receipts = [backuplog.ingest_task_result(store, agent_id, sent) for sent in (first, first, last)]
            assert [(receipt.outcome, receipt.log_state) for receipt in receipts] == [
                ("updated", "complete"),
                ("stale", "complete"),
                ("replayed", "complete"),
            ]
            assert backuplog.get_run(store, last["taskId"]).status == "success"
            assert backuplog.read_log(store, last["taskId"]) == b"so far"

    def test_another_agents_task_is_a_conflict(self) -> None:
        """Another agent that reuses a task id is refused and changes nothing."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4()).id
            sent = payload(log="mine")
            backuplog.ingest_task_result(store, agent_id, sent)
            with pytest.raises(RunConflict):
                backuplog.ingest_task_result(store, other, {**sent, "log": "yours"})
            assert backuplog.read_log(store, sent["taskId"]) == b"mine"
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"], agent_id=other)

    def test_every_field_comes_back_equal(self) -> None:
        """What was sent is what is read, to the microsecond and to the longest text."""
        with self._known() as (store, agent_id):
            sent = payload(
                taskType="prüne ✓",
                status="timed out",
                snapshotId="s" * 255,
                errorMessage="é😀" * 32_000,
                startTime="1970-01-01T00:00:00.000001Z",
                endTime="2999-12-31T23:59:59.999999+00:00",
                durationSeconds=0.1,
            )
            backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON)
            run = backuplog.get_run(store, sent["taskId"])
            assert (run.task_type, run.status, run.snapshot_id) == ("prüne ✓", "timed out", "s" * 255)
            assert (run.error_message, run.duration_seconds) == ("é😀" * 32_000, 0.1)
            assert run.start_time == datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
            assert run.end_time == datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
            assert (run.agent_id, run.tenant_id, run.policy_id) == (agent_id, store.tenant_id, UUID(sent["policyId"]))
            assert run.start_time.utcoffset() == timedelta(0)

    def test_times_that_were_not_sent_come_from_the_receipt(self) -> None:
        """The end is when it was received, the start lies the duration before; an active run has no end."""
        _, run, _ = self._deliver(payload(durationSeconds=0.000001))
        assert (run.start_time, run.end_time) == (NOON - timedelta(microseconds=1), NOON)
        _, active, _ = self._deliver(payload(status="running", endTime="2026-11-24T10:00:00Z"))
        assert active.end_time is None

    def test_any_valid_result_comes_back_equal(self) -> None:
        """Whatever a result may hold, the stored run is the decided one in every field, also in a list."""
        text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=255)
        word = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25).filter(str.strip)
        time = st.none() | st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
        count, seconds = st.none() | st.integers(0, 2**63 - 1), st.none() | st.floats(0, 9_223_372_036)
        stats: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
            {},
            optional={
                **{field.name: count for field in attrs.fields(RunStats) if field.type == int | None},
                "duration": seconds,
                "failed_items": st.lists(st.text(), max_size=3),
                "has_snapshot": st.none() | st.booleans(),
                "dry_run": st.none() | st.booleans(),
                "snapshot_id": text,
                "tool": st.none() | word,
                "approximate": st.booleans(),
            },
        )
        with self._known() as (store, agent_id):

            @FEW
            @given(
                st.builds(
                    backuplog.TaskResult,
                    task_id=st.uuids(),
                    policy_id=st.uuids(),
                    task_type=word,
                    status=word,
                    duration_seconds=st.floats(0, 9_223_372_036),
                    log=st.none() | st.binary(max_size=200),
                    snapshot_id=st.none() | text,
                    error_message=st.none() | text,
                    start_time=time,
                    end_time=time,
                    stats=st.none() | stats.map(lambda known: RunStats(**known)),
                )
            )
            def check(result: backuplog.TaskResult) -> None:
                view = store.for_tenant(uuid4())
                backuplog.register_agent(view, agent_id)
                arriving = submission_of(view, agent_id, result, NOON)
                view.backend.submit([arriving])
                decided = arriving.decide(None).write
                assert decided is not None
                assert view.backend.find_run(result.task_id) == decided
                assert list(backuplog.query_runs(view).runs) == [decided.run]

            check()

    def test_a_stored_run_is_equal_to_what_was_decided(self) -> None:
        """All that stands beside a run comes back, so that later decisions are right."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            for log in ("one", "two", None):
                sent = payload(taskId=task, log=log, endTime="2026-11-24T10:00:00Z")
                backuplog.ingest_task_result(store, agent_id, sent)
            stored = store.backend.find_run(UUID(task))
            assert stored is not None
            assert (len(stored.superseded), stored.log_version, stored.end_time_reported) == (2, 3, True)
            assert {len(digest) for digest in (stored.digest, *stored.superseded)} == {32}
