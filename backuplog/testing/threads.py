"""Many threads at once, and odd input."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import (
    AgentNotFound,
    LogReplaced,
    Outcome,
    Receipt,
    RunQuery,
)

from .common import FEW, HOSTILE, NOON, arrive_at, at_once, payload
from .contract import Contract


class ThreadContract(Contract):
    """Many threads at once, and odd input."""

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
            stored = store.find_run(UUID(sent["taskId"]))
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

    def test_an_empty_log_is_not_no_log(self) -> None:
        """An empty log is complete and has a SHA-256; no log is none and has none."""
        _, empty, log = self._deliver(payload(log=""))
        assert (empty.log_state, empty.log_bytes, log) == ("complete", 0, b"")
        assert empty.log_sha256 is not None
        _, none, log = self._deliver(payload())
        assert (none.log_state, none.log_bytes, none.log_sha256, log) == ("none", 0, None, b"")

    def test_a_known_agent_need_not_be_registered(self) -> None:
        """A submission whose agent the integrator knows is taken without looking into the agents."""
        with self.fresh_store() as store:
            arriving = arrive_at(store, uuid4(), backuplog.parse_task_result(payload()), NOON)
            assert isinstance(store.submit([arriving])[0], AgentNotFound)
            answer = store.submit([attrs.evolve(arriving, agent_known=True)])[0]
            assert isinstance(answer, Receipt)
            assert answer.outcome is Outcome.CREATED

    def test_an_empty_submit_does_nothing(self) -> None:
        """No submissions, no answers."""
        with self._known() as (store, _):
            assert list(store.submit([])) == []

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

    def test_text_that_looks_like_sql_is_text(self) -> None:
        """Quotes, statements and wildcards are stored and looked for as they are."""
        with self._known() as (store, agent_id):
            odd = "%'; DROP TABLE agents; -- \\ \" $1 ?"
            backuplog.ingest_task_result(store, agent_id, payload(taskType=odd, snapshotId=odd, status=odd))
            backuplog.ingest_task_result(store, agent_id, payload(snapshotId="other"))
            found = backuplog.query_runs(store, RunQuery(task_type=odd, snapshot_id=odd, status=odd))
            assert [run.snapshot_id for run in found.runs] == [odd]

    texts: ClassVar[int] = 1_000
    """How many texts the test of odd texts tries."""

    def test_any_text_comes_back_or_is_refused(self) -> None:
        """Whatever stands in a field or a filter comes back equal and is found, or is refused by name."""
        text = st.text(max_size=40) | st.sampled_from(HOSTILE)
        text |= st.tuples(st.text(max_size=9), st.sampled_from(HOSTILE)).map("".join)
        fields = ("taskType", "status", "snapshotId", "errorMessage", "log")
        with self._known() as (store, agent_id):

            def check_result(sent: dict[str, Any]) -> None:
                try:
                    backuplog.ingest_task_result(store, agent_id, sent)
                except backuplog.InvalidTaskResult as error:
                    assert {item.path for item in error.errors} <= {f"$.{name}" for name in fields[:4]}  # noqa: PT017
                    return
                run = backuplog.get_run(store, sent["taskId"])
                assert run.task_type == sent["taskType"]
                assert (run.snapshot_id or "", run.error_message or "") == (sent["snapshotId"], sent["errorMessage"])
                assert backuplog.read_log(store, run.id) == sent["log"].encode("utf-8", "surrogatepass")
                query = RunQuery(
                    task_type=sent["taskType"], status=sent["status"], snapshot_id=run.snapshot_id, limit=1000
                )
                assert run in backuplog.query_runs(store, query).runs

            def check_agent(hostname: str) -> None:
                try:
                    agent = backuplog.register_agent(store, uuid4(), hostname=hostname)
                except backuplog.InvalidAgent:
                    return
                assert (backuplog.get_agent(store, agent.id).hostname or "") == hostname

            @settings(FEW, max_examples=-(-self.texts // 36))
            @given(st.lists(st.tuples(*[text] * 6), min_size=6, max_size=6))
            def check(batch: list[tuple[str, ...]]) -> None:
                for *texts, hostname in batch:
                    check_result(payload(**dict(zip(fields, texts, strict=True))))
                    check_agent(hostname)

            check()
            assert backuplog.get_agent(store, agent_id).hostname == "db-01"

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
