"""Many threads at once."""

from contextlib import suppress
from functools import partial
from typing import Any, cast
from uuid import UUID, uuid4

import backuplog
from backuplog import AgentNotFound, BackuplogError, LogReplaced, Receipt, RunConflict

from .common import at_once, payload
from .contract import Contract


class ThreadContract(Contract):
    """Many threads at once."""

    def test_fifty_identical_submissions_leave_one_run(self) -> None:
        """Fifty threads that submit the same result: one created, 49 replayed, one log."""
        with self._known() as (store, agent_id):
            sent = payload(log="log " * 1000)
            receipts = at_once(*[lambda: backuplog.ingest_task_result(store, agent_id, sent)] * 50)
            outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
            assert outcomes == ["created", *["replayed"] * 49]
            assert backuplog.query_runs(store).total == 1
            assert backuplog.read_log(store, sent["taskId"]) == b"log " * 1000

    def test_threads_that_replace_one_result_all_count(self) -> None:
        """Twelve threads with results of one task: one creates, each other supersedes another, none is lost."""
        with self._known() as (store, agent_id):
            sent = payload()
            works = [
                lambda log=log: backuplog.ingest_task_result(store, agent_id, {**sent, "log": log})
                for log in map(str, range(12))
            ]
            receipts = at_once(*works)
            outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
            assert outcomes == ["created", *["updated"] * 11]
            stored = store.backend.find_run(UUID(sent["taskId"]))
            assert stored is not None
            assert (len({stored.digest, *stored.superseded}), stored.log_version) == (12, 12)

    def test_replacing_and_reading_at_once_is_never_mixed(self) -> None:
        """While four threads replace logs of three chunks and of one, every read is one of them, whole."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            backuplog.ingest_task_result(store, agent_id, payload(taskId=task, log=b"0" * 2_100_000))

            writing = [1, 2, 3, 4]

            def replace(writer: int) -> None:
                try:
                    for number in range(50):
                        log = b"%d" % writer * (9 if number % 10 else 2_100_000)
                        sent = payload(taskId=task, log=log, errorMessage=f"{writer} {number}")
                        backuplog.ingest_task_result(store, agent_id, sent)
                finally:
                    writing.remove(writer)

            def read() -> set[tuple[int, int]]:
                seen: set[tuple[int, int]] = set()
                while writing:
                    with suppress(LogReplaced):
                        log = backuplog.read_log(store, task)
                        seen.add((len(set(log)), len(log)))
                return seen

            for result in at_once(*[partial(replace, writer) for writer in writing], read, read):
                assert result is None or isinstance(result, set), result
                assert not result or result <= {(1, 2_100_000), (1, 9)}

    def test_batches_in_opposite_order_all_count(self) -> None:
        """Batches of the same results, first and last one first, at once: each result counts, and nobody gives way."""
        with self._known() as (store, agent_id):
            for _ in range(3):
                sent = [payload() for _ in range(20)]
                works = [
                    partial(
                        backuplog.ingest_task_results,
                        store,
                        [(agent_id, {**result, "log": f"{number}"}) for result in sent[::step]],
                    )
                    for number, step in enumerate((1, -1, 1, -1))
                ]
                answers: list[Any] = [answer for some in at_once(*works) for answer in cast("list[Any]", some)]
                outcomes = sorted(str(getattr(answer, "outcome", answer)) for answer in answers)
                assert outcomes == ["created"] * 20 + ["updated"] * 60

    def test_threads_store_different_results(self) -> None:
        """Eight threads that submit results of their own lose none."""
        with self._known() as (store, agent_id):

            def work() -> None:
                for _ in range(10):
                    backuplog.ingest_task_result(store, agent_id, payload(log="log"))

            assert at_once(*[work] * 8) == [None] * 8
            assert backuplog.query_runs(store).total == 80

    def test_threads_that_share_a_transaction_are_answered_each_for_itself(self) -> None:
        """Sixteen threads with good and bad results: each good one is stored once, each bad one fails alone."""
        with self._known() as (store, agent_id):
            other_id = backuplog.register_agent(store, uuid4()).id
            taken = payload(log="taken")
            backuplog.ingest_task_result(store, other_id, taken)

            def work(number: int) -> list[object]:
                answers: list[object] = []
                for count in range(8):
                    sent = payload(log=f"{number} {count}")
                    sender: UUID = agent_id
                    if number % 4 == 0 and count % 2:
                        sent, sender = (payload(), uuid4()) if number % 8 else (taken, agent_id)
                    try:
                        receipt = backuplog.ingest_task_result(store, sender, sent)
                    except BackuplogError as error:
                        answers.append(type(error))
                    else:
                        assert str(receipt.run_id) == sent["taskId"]
                        assert backuplog.read_log(store, receipt.run_id) == sent["log"].encode()
                        answers.append(receipt.outcome.value)
                return answers

            for number, answers in enumerate(at_once(*[partial(work, number) for number in range(16)])):
                bad = "created" if number % 4 else AgentNotFound if number % 8 else RunConflict
                assert answers == ["created", bad] * 4
            assert backuplog.query_runs(store).total == 1 + 12 * 8 + 4 * 4
            assert backuplog.read_log(store, taken["taskId"]) == b"taken"
