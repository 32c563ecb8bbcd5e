"""Logs that grow while their tasks run: appended, followed, closed."""

import hashlib
import threading
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import (
    InvalidQuery,
    InvalidTaskResult,
    LogOffsetMismatch,
    LogReplaced,
    LogState,
    Progress,
    RunNotFound,
)
from backuplog.backend import Chunk
from backuplog.chunk import DROPPED

from .changes import Expire, chunk_offsets
from .common import FEW, at_once, begin, end, follow_steps, payload, reading, result_of, without_room_for_logs
from .contract import Contract


class AppendContract(Contract):
    """Logs that grow while their tasks run: appended, followed, closed."""

    def test_pieces_of_any_size_are_one_log(self) -> None:
        """However a log is cut, repeated and overlapped, it is read as it was sent, growing and closed."""
        with self._known() as (store, agent_id):

            @FEW
            @given(
                st.integers(0, 20_000), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 9_000)), max_size=9)
            )
            def check(size: int, cuts: list[tuple[int, int]]) -> None:
                run_id = begin(store, agent_id)
                log = b"".join(b"line %d\n" % number for number in range(size // 8))[:size]
                known = 0
                for cut, overlap in [*cuts, (len(log), 0)]:
                    start, stop = max(0, known - overlap), max(known, min(cut, len(log)))
                    known = backuplog.append_log(store, agent_id, run_id, log[start:stop], offset=start)
                    assert known == stop
                    assert backuplog.read_log(store, run_id) == log[:known]
                sha256 = hashlib.sha256(log)
                end(store, agent_id, run_id, logBytes=len(log), logSha256=sha256.hexdigest())
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.log_bytes) == ("complete" if log else "none", len(log))
                assert run.log_sha256 == (sha256.digest() if log else None)
                assert backuplog.read_log(store, run_id) == log

            check()

    def test_small_chunks_become_whole_ones(self) -> None:
        """A log of many pieces takes few chunks while it grows, and once closed those that one piece takes."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = "".join(f"{number} is the number of this line ü\n" for number in range(90_000)).encode()
            for start in range(0, len(log), 5_000):
                backuplog.append_log(store, agent_id, run_id, log[start : start + 5_000], offset=start)
            assert len(chunk_offsets(store, run_id)) < len(log) // 1_048_576 + 40
            assert backuplog.read_log(store, run_id) == log
            end(store, agent_id, run_id)
            whole = payload(log=log)
            backuplog.ingest_task_result(store, agent_id, whole)
            assert chunk_offsets(store, run_id) == chunk_offsets(store, UUID(whole["taskId"]))
            assert backuplog.read_log(store, run_id) == log

    def test_one_piece_may_be_longer_than_a_chunk(self) -> None:
        """Pieces of several MiB between short ones are stored and read."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"%d\n" % number for number in range(700_000))
            known = 0
            for size in (10, 2_500_000, 7, 100_000, 1_048_576, 3, len(log)):
                known = backuplog.append_log(store, agent_id, run_id, log[known : known + size], offset=known)
            assert known == len(log)
            assert backuplog.read_log(store, run_id) == log
            assert backuplog.read_log(store, run_id, start=2_000_000, stop=2_700_000) == log[2_000_000:2_700_000]
            assert backuplog.tail_log(store, run_id, 2) == b"699998\n699999\n"

    def test_what_does_not_fit_is_refused_with_the_offset(self) -> None:
        """A gap and other bytes are refused, change nothing, and say where to go on."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            for data, offset in ((b"x", 1), (b"", 7)):
                with pytest.raises(LogOffsetMismatch) as refused:
                    backuplog.append_log(store, agent_id, run_id, data, offset=offset)
                assert refused.value.expected_offset == 0
            assert backuplog.append_log(store, agent_id, run_id, b"one two", offset=0) == 7
            for data, offset in ((b"x", 8), (b"two three", 3), (b"one twx", 0), (b"One two three", 0)):
                with pytest.raises(LogOffsetMismatch) as refused:
                    backuplog.append_log(store, agent_id, run_id, data, offset=offset)
                assert refused.value.expected_offset == 7
            assert backuplog.read_log(store, run_id) == b"one two"
            assert backuplog.append_log(store, agent_id, run_id, b"", offset=7) == 7
            assert backuplog.append_log(store, agent_id, run_id, b"", offset=2) == 7
            assert backuplog.append_log(store, agent_id, run_id, b"two three", offset=4) == 13

    def test_an_offset_is_a_number_of_bytes(self) -> None:
        """What is no whole number of 0 or more is refused, and so is data that is no bytes."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            wrong: list[Any] = [-1, 1.0, "0", True, None, 2**62]
            for offset in wrong:
                with pytest.raises(InvalidQuery, match="offset"):
                    backuplog.append_log(store, agent_id, run_id, b"x", offset=offset)
            with pytest.raises(InvalidQuery, match="data"):
                backuplog.append_log(store, agent_id, run_id, "x", offset=0)  # type: ignore[arg-type]

    def test_only_the_runs_own_agent_adds_to_its_log(self) -> None:
        """For another agent, another tenant and a run that nobody has begun, there is no such run."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            other = backuplog.register_agent(store, uuid4()).id
            theirs = store.for_tenant(UUID(int=7))
            for view, agent, run in ((store, other, run_id), (theirs, agent_id, run_id), (store, agent_id, uuid4())):
                with pytest.raises(RunNotFound):
                    backuplog.append_log(view, agent, run, b"x", offset=0)
            assert backuplog.read_log(store, run_id) == b""

    def test_a_log_that_is_too_long_keeps_its_ends(self) -> None:
        """Of a log over the cap, head and tail are kept and what is missing is counted, however it is cut."""
        self._grow_beyond(4_096, pieces=[1, 700, 3_000, 50, 4_096, 300, 20_000, 5], lines=40_000)

    def test_a_log_that_is_much_too_long_keeps_its_ends(self) -> None:
        """So it does where head and tail are of many pieces each."""
        self._grow_beyond(40_000, pieces=[1, 700, 3_000, 50, 300, 5], lines=12_000)

    def _grow_beyond(self, cap: int, *, pieces: list[int], lines: int) -> None:
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            append = partial(backuplog.append_log, store, agent_id, run_id, max_log_bytes=cap)
            log = b"".join(b"line %d\n" % number for number in range(lines))
            known, turn = 0, 0
            while known < len(log):
                piece = log[known : known + pieces[turn % len(pieces)]]
                assert append(piece, offset=known) == known + len(piece)
                known += len(piece)
                turn += 1
                run, kept = backuplog.get_run(store, run_id), backuplog.read_log(store, run_id)
                assert len(kept) == run.log_bytes <= cap + len(DROPPED)
                head, note, tail = kept.partition(DROPPED)
                if note:
                    assert log.startswith(head)
                    assert log[:known].endswith(tail)
                    assert len(head) + run.dropped_bytes + len(tail) == known
                    assert len(head) == cap // 2
                    assert len(tail) >= cap // 4
                else:
                    assert kept == log[:known]
                # Even what has been dropped may come again.
                assert append(piece, offset=known - len(piece)) == known
                assert append(log[:known], offset=0) == known
            assert backuplog.get_run(store, run_id).dropped_bytes > 0
            kept = backuplog.read_log(store, run_id)
            assert [backuplog.read_log(store, run_id, start=at, stop=at + 90) for at in range(0, len(kept), 90)] == [
                kept[at : at + 90] for at in range(0, len(kept), 90)
            ]
            assert backuplog.tail_log(store, run_id, 3) == b"".join(log.splitlines(keepends=True)[-3:])
            followed = b"".join(follow_steps(store, run_id))
            assert followed == kept
            end(store, agent_id, run_id, logBytes=len(log), logSha256=hashlib.sha256(log).hexdigest())
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_sha256) == ("truncated", hashlib.sha256(kept).digest())
            assert backuplog.read_log(store, run_id) == b"".join(follow_steps(store, run_id)) == kept
            assert backuplog.tail_log(store, run_id, 3) == b"".join(log.splitlines(keepends=True)[-3:])
            for at in range(0, len(kept), 900):
                assert backuplog.read_log(store, run_id, start=at, stop=at + 9) == kept[at : at + 9]

    def test_the_end_of_a_log_outlives_its_middle(self) -> None:
        """Where the end that is kept has come in several pieces, none of them is dropped with the middle before it."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"%07d\n" % number for number in range(4_000))
            for start in range(0, len(log), 400):
                piece = log[start : start + 400]
                backuplog.append_log(store, agent_id, run_id, piece, offset=start, max_log_bytes=4_096)
                head, _, tail = backuplog.read_log(store, run_id).partition(DROPPED)
                assert log.startswith(head)
                assert log[: start + 400].endswith(tail)
            assert backuplog.get_run(store, run_id).dropped_bytes > 0

    def test_a_reader_of_a_log_that_is_cut_sees_no_mix(self) -> None:
        """Who reads while the middle is dropped reads the log as it was, or hears that it is another."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(20_000))
            for start in range(0, 8_000, 500):
                backuplog.append_log(store, agent_id, run_id, log[start : start + 500], offset=start)
            pieces = backuplog.iter_log(store, run_id)
            first = next(pieces)
            parts = backuplog.iter_log(store, run_id, start=3_000)
            backuplog.append_log(store, agent_id, run_id, log[8_000:9_000], offset=8_000, max_log_bytes=4_096)
            with suppress(LogReplaced):  # A log of one chunk has been read whole already.
                assert first + b"".join(pieces) == log[:8_000]
            with pytest.raises(LogReplaced):
                next(parts)
            assert DROPPED in backuplog.read_log(store, run_id)

    def test_a_lost_log_begins_anew(self) -> None:
        """The log of a running task that could not be stored is appended from its beginning."""
        with self._known() as (store, agent_id):
            sent = payload(status="running", log="lost")
            run_id = UUID(sent["taskId"])
            assert backuplog.ingest_task_result(without_room_for_logs(store), agent_id, sent).log_state == "lost"
            with pytest.raises(LogOffsetMismatch) as refused:
                backuplog.append_log(store, agent_id, run_id, b"x", offset=4)
            assert refused.value.expected_offset == 0
            assert backuplog.append_log(store, agent_id, run_id, b"found", offset=0) == 5
            assert backuplog.read_log(store, run_id) == b"found"

    def test_a_log_that_was_cut_begins_anew(self) -> None:
        """The log of a running task whose end is not its own is appended from its beginning, and takes its place."""
        with self._known() as (store, agent_id):
            log = b"".join(b"line %d\n" % number for number in range(1_000))
            cut, truncated = payload(status="running", log=log), payload(status="running", log=log)
            backuplog.ingest_task_result(store, agent_id, cut, max_log_bytes=4_096)
            backuplog.ingest_task_result(store, agent_id, {**truncated, "logTruncated": True, "logBytes": 2**63 - 1})
            for sent in (cut, truncated):
                run_id = UUID(sent["taskId"])
                assert backuplog.get_run(store, run_id).log_state == "truncated"
                with pytest.raises(LogOffsetMismatch) as refused:
                    backuplog.append_log(store, agent_id, run_id, b"x", offset=len(log))
                assert refused.value.expected_offset == 0
                assert backuplog.append_log(store, agent_id, run_id, log, offset=0) == len(log)
                assert backuplog.read_log(store, run_id) == log
                assert len(chunk_offsets(store, run_id)) == 1
                end(store, agent_id, run_id, logBytes=len(log), logSha256=hashlib.sha256(log).hexdigest())
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.dropped_bytes) == ("complete", 0)

    def test_small_pieces_before_long_ones_become_one_chunk(self) -> None:
        """No mixture of pieces leaves more than a few chunks of what is before a multiple of 4 KiB."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            known = 0
            for _ in range(4):
                for size in (*[1] * 95, 4_000, 4_096, 1):
                    known = backuplog.append_log(store, agent_id, run_id, b"x" * size, offset=known)
            assert len(chunk_offsets(store, run_id)) < 110
            assert backuplog.read_log(store, run_id) == b"x" * known

    def test_what_stands_before_a_gap_is_compared(self) -> None:
        """Of a log whose middle is dropped, the head that was kept is compared with what is sent again."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(2_000))
            backuplog.append_log(store, agent_id, run_id, log, offset=0, max_log_bytes=4_096)
            assert DROPPED in backuplog.read_log(store, run_id)
            for wrong in (b"?" * 1_000, log[:1_999] + b"?" + log[2_000:]):
                with pytest.raises(LogOffsetMismatch):
                    backuplog.append_log(store, agent_id, run_id, wrong, offset=0)
            for start in (0, 2_000, 3_000, 10_000, len(log) - 1_500, len(log) - 10):
                assert backuplog.append_log(store, agent_id, run_id, log[start:], offset=start) == len(log)
            with pytest.raises(LogOffsetMismatch):
                backuplog.append_log(store, agent_id, run_id, log[:-1] + b"?", offset=0)

    def test_asterisks_are_no_masks(self) -> None:
        """Where nothing is masked, an asterisk is compared as what it is."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"*** done ***", offset=0)
            with pytest.raises(LogOffsetMismatch):
                backuplog.append_log(store, agent_id, run_id, b"xxx done ***", offset=0)
            assert backuplog.append_log(store, agent_id, run_id, b"*** done ***!", offset=0) == 13

    def test_a_piece_goes_on_in_a_log_that_is_replaced(self) -> None:
        """A log that is replaced while a piece is compared with it is compared anew."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"so far", offset=0)

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                if log_version == 1:  # just then, a result with a log of its own comes
                    sent = {**result_of(store, run_id), "status": "running", "log": "so long"}
                    backuplog.ingest_task_result(store, agent_id, sent)
                return store.backend.find_chunk(run_id, log_version, offset)

            replaced = reading(store, find_chunk)
            assert backuplog.append_log(replaced, agent_id, run_id, b" long and on", offset=2) == 14
            assert backuplog.read_log(store, run_id) == b"so long and on"

    def test_a_log_that_has_ended_is_not_cut(self) -> None:
        """A lower cap cuts a log that grows, and none that is closed or came with a result."""
        with self._known() as (store, agent_id):
            log = b"".join(b"line %d\n" % number for number in range(1_000))
            closed = begin(store, agent_id)
            backuplog.append_log(store, agent_id, closed, log, offset=0)
            end(store, agent_id, closed)
            brought = backuplog.ingest_task_result(store, agent_id, payload(status="running", log=log)).run_id
            for run_id in (closed, brought):
                again = backuplog.append_log(store, agent_id, run_id, log[:9], offset=0, max_log_bytes=4_096)
                assert again == len(log)
                assert backuplog.read_log(store, run_id) == log

    def test_no_character_is_cut_where_the_middle_is_dropped(self) -> None:
        """Head and tail of a long text are text."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = ("x" + "€" * 5_000).encode()
            backuplog.append_log(store, agent_id, run_id, log, offset=0, max_log_bytes=4_096)
            kept = backuplog.read_log(store, run_id)
            assert set(kept.decode().replace(DROPPED.decode(), "")) == {"x", "€"}
            run = backuplog.get_run(store, run_id)
            assert len(kept) - len(DROPPED) + run.dropped_bytes == len(log)

    def test_who_follows_goes_on_in_a_log_that_is_replaced(self) -> None:
        """A log that is replaced just when a piece of it is to be read is followed at the same offset."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"so far", offset=0)

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                if backuplog.get_run(store, run_id).is_active:  # just then, the task ends with a log of its own
                    end(store, agent_id, run_id, log="so far and on")
                return store.backend.find_chunk(run_id, log_version, offset)

            replaced = reading(store, find_chunk)
            assert b"".join(backuplog.follow_log(replaced, run_id, start=3)) == b"far and on"

    def test_a_log_that_came_with_a_running_result_grows(self) -> None:
        """What a result of a running task brought is the beginning of its log."""
        with self._known() as (store, agent_id):
            sent = payload(status="running", log="begun")
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            assert backuplog.append_log(store, agent_id, run_id, b" and gone on", offset=5) == 17
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_bytes, run.log_sha256) == ("open", 17, None)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            end(store, agent_id, run_id)
            assert backuplog.read_log(store, run_id) == b"begun and gone on"

    def test_nothing_is_added_to_an_expired_log(self) -> None:
        """A log that was removed because of its age stays removed."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"old", offset=0)
            store.backend.submit([Expire(run_id)])
            for read in (
                partial(backuplog.append_log, store, agent_id, run_id, b"new", offset=3),
                partial(backuplog.append_log, store, agent_id, run_id, b"old", offset=0),
                partial(backuplog.read_log_since, store, run_id),
                partial(backuplog.follow_log, store, run_id),
            ):
                with pytest.raises(backuplog.LogExpired):
                    read()
            assert end(store, agent_id, run_id) == "updated"
            assert backuplog.get_run(store, run_id).log_state is LogState.EXPIRED

    def test_progress_is_overwritten_and_ends_with_the_task(self) -> None:
        """Each running result replaces the progress, leaves the log as it is, and a final one ends it."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            running = {**result_of(store, run_id), "status": "running"}
            sent = {"percent": 12.5, "step": "scanning", "filesDone": 3, "bytesTotal": 2**63 - 1}
            for progress in (sent, {**sent, "percent": 50}, {"secondsRemaining": 0.5}):
                result = {**running, "progress": progress}
                assert backuplog.ingest_task_result(store, agent_id, result).outcome == "updated"
                assert backuplog.ingest_task_result(store, agent_id, result).outcome == "replayed"
                parsed = backuplog.parse_task_result(result).progress
                run = backuplog.get_run(store, run_id)
                assert (run.progress, run.log_state, run.log_bytes) == (parsed, "open", 3)
                assert list(backuplog.query_runs(store).runs) == [run]
            assert run.progress == Progress(seconds_remaining=0.5)
            end(store, agent_id, run_id, progress={"percent": 99})
            run = backuplog.get_run(store, run_id)
            assert (run.progress, backuplog.read_log(store, run_id)) == (None, b"log")
            with pytest.raises(InvalidTaskResult, match=r"\$\.progress\.percent: must be a number from 0 to 100"):
                backuplog.ingest_task_result(store, agent_id, {**running, "progress": {"percent": 101}})

    def test_two_senders_leave_each_byte_once(self) -> None:
        """Threads that send the same log, each in pieces of its own, leave it once and whole."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(3_000))

            def send(size: int) -> None:
                known = 0
                while known < len(log):
                    known = backuplog.append_log(store, agent_id, run_id, log[known : known + size], offset=known)

            assert at_once(*[partial(send, size) for size in (700, 1_100, 4_096)]) == [None] * 3
            assert backuplog.read_log(store, run_id) == log

    def test_a_log_is_followed_to_its_end(self) -> None:
        """A follower that begins before the first byte reads the whole log, and ends when the task has ended."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(20_000))
            followed: list[bytes] = []
            follower = threading.Thread(
                target=lambda: followed.extend(backuplog.follow_log(store, run_id, interval=0.001)), daemon=True
            )
            follower.start()
            for start in range(0, len(log), 3_000):
                backuplog.append_log(store, agent_id, run_id, log[start : start + 3_000], offset=start)
            end(store, agent_id, run_id)
            follower.join(60)
            assert not follower.is_alive()
            assert b"".join(followed) == log
            assert b"".join(backuplog.follow_log(store, run_id, start=190_000)) == log[190_000:]

    def test_a_step_of_following_says_where_and_when_to_go_on(self) -> None:
        """A step returns at most 1 MiB, the next offset, and whether to wait or to stop."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            step = backuplog.read_log_since(store, run_id)
            assert (step.data, step.offset, step.is_final, step.retry_after) == (b"", 0, False, 1.0)
            backuplog.append_log(store, agent_id, run_id, b"x" * 1_500_000, offset=0)
            step = backuplog.read_log_since(store, run_id)
            assert (len(step.data), step.offset, step.is_final, step.retry_after) == (1_048_576, 1_048_576, False, 0.0)
            step = backuplog.read_log_since(store, run_id, step.offset, agent_id=agent_id)
            assert (len(step.data), step.offset, step.is_final, step.retry_after) == (451_424, 1_500_000, False, 1.0)
            end(store, agent_id, run_id)
            step = backuplog.read_log_since(store, run_id, step.offset)
            assert (step.data, step.offset, step.is_final, step.retry_after) == (b"", 1_500_000, True, 0.0)
            with pytest.raises(RunNotFound):
                backuplog.follow_log(store, run_id, agent_id=uuid4())
            with pytest.raises(LogReplaced):
                backuplog.read_log_since(store, run_id, 1_500_001)
            for offset in (-1, 0.5, True, "0"):
                with pytest.raises(InvalidQuery, match="offset"):
                    backuplog.read_log_since(store, run_id, offset)  # type: ignore[arg-type]
