"""Many results at once, and failures in the middle."""

from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import (
    Outcome,
    Receipt,
)

from .common import NOON, broken_log, payload, submission_of, without_room_for_logs
from .contract import Contract


class BatchContract(Contract):
    """Many results at once, and failures in the middle."""

    def test_a_batch_answers_in_order_and_spoils_nothing(self) -> None:
        """Good, bad, double, foreign and unknown items of one batch each get their own answer."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4()).id
            good = payload(log="good")
            batch: list[tuple[UUID, Any]] = [
                (agent_id, good),
                (agent_id, b"{"),
                (agent_id, good),
                (other, good),
                (uuid4(), payload()),
                (other, payload()),
                (agent_id, {**good, "log": "better"}),
            ]
            answers = backuplog.ingest_task_results(store, batch)
            said = [str(answer.outcome) if isinstance(answer, Receipt) else answer.error_type for answer in answers]
            assert said == [
                "created",
                "invalid_task_result",
                "replayed",
                "run_conflict",
                "agent_not_found",
                "created",
                "updated",
            ]
            assert backuplog.read_log(store, good["taskId"]) == b"better"
            assert backuplog.query_runs(store).total == 2

    def test_a_long_batch_is_stored_whole(self) -> None:
        """Far more results than one transaction takes are all stored."""
        with self._known() as (store, agent_id):
            batch = [(agent_id, payload(log=str(number))) for number in range(1200)]
            answers = backuplog.ingest_task_results(store, batch)
            assert {answer.outcome for answer in answers if isinstance(answer, Receipt)} == {Outcome.CREATED}
            assert (len(answers), backuplog.query_runs(store).total) == (1200, 1200)
            assert backuplog.read_log(store, batch[-1][1]["taskId"]) == b"1199"

    def test_a_failure_in_the_middle_stores_nothing_of_the_call(self) -> None:
        """An error while a log is read leaves no run and no chunk of that call, and the store works on."""
        with self._known() as (store, agent_id):
            results = [backuplog.parse_task_result(payload(log="x" * 200)) for _ in range(2)]
            submissions = [submission_of(store, agent_id, result, NOON) for result in results]
            broken = attrs.evolve(submissions[1], log=broken_log(submissions[1]))
            with pytest.raises(ZeroDivisionError):
                store.backend.submit([submissions[0], broken])
            assert backuplog.query_runs(store).total == 0
            assert store.backend.find_chunk(submissions[0].run.id, 1, 0) is None
            store.backend.submit(submissions)
            assert backuplog.query_runs(store).total == 2

    def test_a_failed_replacement_leaves_what_was_stored(self) -> None:
        """An error while the log of a second result is read leaves the first one with its log."""
        with self._known() as (store, agent_id):
            sent = payload(log="first")
            backuplog.ingest_task_result(store, agent_id, sent)
            second = submission_of(store, agent_id, backuplog.parse_task_result({**sent, "log": "second"}), NOON)
            before = store.backend.find_run(second.run.id)
            with pytest.raises(ZeroDivisionError):
                store.backend.submit([attrs.evolve(second, log=broken_log(second))])
            assert store.backend.find_run(second.run.id) == before
            assert backuplog.read_log(store, sent["taskId"]) == b"first"

    def test_a_batch_may_lose_a_log_but_no_result(self) -> None:
        """Of a batch whose logs cannot be stored every run is kept, and those that had a log say that it was lost."""
        with self._known() as (store, agent_id):
            batch = [(agent_id, payload(log="log")), (agent_id, payload())]
            failing = without_room_for_logs(store)
            answers = backuplog.ingest_task_results(failing, batch)
            assert [answer.log_state for answer in answers if isinstance(answer, Receipt)] == ["lost", "none"]
            again = backuplog.ingest_task_results(store, batch)
            assert [answer.outcome for answer in again if isinstance(answer, Receipt)] == ["updated", "replayed"]
            assert backuplog.read_log(store, batch[0][1]["taskId"]) == b"log"

    def test_an_empty_submit_does_nothing(self) -> None:
        """No submissions, no answers."""
        with self._known() as (store, _):
            assert list(store.backend.submit([])) == []
