"""Logs: whole, in part, their ends, replaced."""

from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import (
    LogReplaced,
)

from .common import FEW, payload, unmasked
from .contract import Contract


class LogContract(Contract):
    """Logs: whole, in part, their ends, replaced."""

    def test_any_log_comes_back(self) -> None:
        """Whatever text or bytes came, the same bytes are read, whole and in ranges."""
        with self._known() as (opened, agent_id):
            store = unmasked(opened)

            @FEW
            @given(
                log=st.text() | st.binary(max_size=5000) | st.text(alphabet=st.characters(min_codepoint=0xD800)),
                start=st.none() | st.integers(-60, 60),
                stop=st.none() | st.integers(-60, 60),
            )
            def check(log: str | bytes, start: int | None, stop: int | None) -> None:
                sent = payload(log=log)
                backuplog.ingest_task_result(store, agent_id, sent)
                expected = log if isinstance(log, bytes) else log.encode("utf-8", "surrogatepass")
                assert backuplog.read_log(store, sent["taskId"]) == expected
                assert backuplog.read_log(store, sent["taskId"], start=start, stop=stop) == expected[start:stop]

            check()

    @pytest.mark.parametrize("size", [0, 1, 128, 129, 1_048_575, 1_048_576, 1_048_577, 3_145_728, 5_242_881])
    def test_logs_around_a_chunks_border_come_back(self, size: int) -> None:
        """A log of any size near a border is read whole, and in ranges that cross it."""
        with self._known() as (store, agent_id):
            log = (bytes(range(256)) * (size // 256 + 1))[:size]
            sent = payload(log=log)
            receipt = backuplog.ingest_task_result(store, agent_id, sent)
            assert (receipt.log_bytes, receipt.log_state) == (size, "complete")
            assert backuplog.read_log(store, sent["taskId"]) == log
            for start, stop in ((1_048_570, 1_048_580), (-3, None), (0, 1), (size // 2, size // 2 + 9)):
                assert backuplog.read_log(store, sent["taskId"], start=start, stop=stop) == log[start:stop]

    def test_a_chunk_is_found_by_any_of_its_bytes(self) -> None:
        """The chunk with the greatest offset that is not beyond the byte is found; without chunks there is none."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"x" * 1_500_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            task = UUID(sent["taskId"])
            found = [store.backend.find_chunk(task, 1, offset) for offset in (0, 1_048_575, 1_048_576, 9_999_999)]
            assert [chunk and chunk.offset for chunk in found] == [0, 0, 1_048_576, 1_048_576]
            assert store.backend.find_chunk(task, 2, 0) is None
            assert store.backend.find_chunk(uuid4(), 1, 0) is None

    def test_a_run_and_a_chunk_are_found_at_once(self) -> None:
        """A backend that finds both at once finds what it finds one after the other, of this tenant only."""
        with self._known() as (store, agent_id):
            backend: Any = store.backend
            if not hasattr(backend, "find_log"):
                return
            sent = payload(log=b"x" * 1_500_000)
            for result in (sent, {**sent, "status": "failed", "log": b"y" * 1_100_000}, payload(log=""), payload()):
                run_id = backuplog.ingest_task_result(store, agent_id, result).run_id
                stored = backend.find_run(run_id)
                for offset in (0, 1_048_575, 1_048_576, 9_999_999, 2**62):
                    chunk = backend.find_chunk(run_id, stored.log_version, offset)
                    assert backend.find_log(run_id, offset) == (stored, chunk)
            elsewhere: Any = store.for_tenant(uuid4()).backend
            assert elsewhere.find_log(run_id, 0) is None
            assert backend.find_log(uuid4(), 0) is None

    def test_a_range_may_lie_beyond_the_log(self) -> None:
        """However far outside a range begins or ends, it is as of a slice."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"0123456789")
            backuplog.ingest_task_result(store, agent_id, sent)
            for start in (-(2**70), -11, 11, 2**62, 2**63, 2**70):
                expected = b"0123456789"[start:]
                assert backuplog.read_log(store, sent["taskId"], start=start) == expected

    def test_a_shorter_log_leaves_no_tail(self) -> None:
        """A log that takes the place of a longer one is read alone."""
        sent = payload()
        _, run, log = self._deliver({**sent, "log": b"a" * 3_000_000}, {**sent, "log": "short"})
        assert (log, run.log_bytes) == (b"short", 5)

    def test_a_replaced_log_takes_no_room(self) -> None:
        """Of a log that was replaced or removed no chunk is kept."""
        with self._known() as (store, agent_id):
            sent = payload()
            for version, log in enumerate((b"a" * 2_500_000, b"b", b"c" * 1_500_000, None), start=1):
                backuplog.ingest_task_result(store, agent_id, {**sent, "log": log})
                kept = [
                    number for number in range(1, version) if store.backend.find_chunk(UUID(sent["taskId"]), number, 0)
                ]
                assert kept == []

    def test_a_reader_never_sees_a_mix(self) -> None:
        """A log that is replaced under a reader is read on as the old one whole, or as replaced."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"a" * 3_000_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            begun, waiting = (backuplog.iter_log(store, sent["taskId"]) for _ in range(2))
            first = next(begun)
            backuplog.ingest_task_result(store, agent_id, {**sent, "log": b"b" * 3_000_000})
            for head, pieces in ((first, begun), (b"", waiting)):
                with suppress(LogReplaced):
                    assert head + b"".join(pieces) == b"a" * 3_000_000
            assert backuplog.read_log(store, sent["taskId"]) == b"b" * 3_000_000

    def test_the_last_lines_are_those_of_the_log(self) -> None:
        """The tail of any log, across chunks, is what a plain split gives."""
        lines = st.lists(st.binary(max_size=4) | st.just(b"x" * 700_000), max_size=6)
        with self._known() as (store, agent_id):

            @FEW
            @given(lines.map(b"\n".join), st.integers(1, 8))
            def check(log: bytes, count: int) -> None:
                sent = payload()
                result = backuplog.TaskResult(
                    task_id=sent["taskId"],
                    policy_id=sent["policyId"],
                    task_type="backup",
                    status="success",
                    duration_seconds=1,
                    log=log,
                )
                backuplog.ingest_task_result(store, agent_id, result)
                wanted = log[: len(log) - 1].split(b"\n")[-count:]
                expected = b"\n".join(wanted) + log[len(log) - 1 :]
                assert backuplog.tail_log(store, sent["taskId"], count) == expected

            check()

    def test_a_log_over_the_cap_says_what_it_leaves_out(self) -> None:
        """Of a log over the cap its head and its tail are read, and the run says how many bytes are not."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"a" * 3000 + b"b" * 3000)
            receipt = backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4096)
            run, log = backuplog.get_run(store, sent["taskId"]), backuplog.read_log(store, sent["taskId"])
            assert (receipt.log_state, run.log_state, run.dropped_bytes) == ("truncated", "truncated", 6000 - 4096)
            assert log.startswith(b"a" * 2048 + b"\n")
            assert log.endswith(b"\n" + b"b" * 2048)
            assert len(log) == run.log_bytes == receipt.log_bytes

    def test_an_empty_log_is_not_no_log(self) -> None:
        """An empty log is complete and has a SHA-256; no log is none and has none."""
        _, empty, log = self._deliver(payload(log=""))
        assert (empty.log_state, empty.log_bytes, log) == ("complete", 0, b"")
        assert empty.log_sha256 is not None
        _, none, log = self._deliver(payload())
        assert (none.log_state, none.log_bytes, none.log_sha256, log) == ("none", 0, None, b"")
