"""Logs that grow while their tasks run: appended, followed, closed."""

import hashlib
import itertools
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import (
    InvalidQuery,
    InvalidTaskResult,
    LogClosed,
    LogOffsetMismatch,
    LogReplaced,
    LogState,
    Progress,
    RunNotFound,
    Store,
)
from backuplog.backend import Amendment
from backuplog.chunk import DROPPED
from backuplog.parsers import TOOLS
from backuplog.redact import Unredacted

from .changes import Expire, chunk_offsets
from .common import FEW, NOON, at_once, payload, without_room_for_logs
from .contract import Contract

SUMMARY = b"""
Files:           3 new,     1 changed,     2 unmodified
Dirs:            0 new,     0 changed,     2 unmodified
Added to the repository: 5 B (5 B stored)

processed 6 files, 14 B in 0:00
snapshot 8837c0dd saved
"""
SECRET = b"s3cr3t-P4ss_w0rd$9zQ"
SECRETS = [(b"rest:https://user:", b"@host/path\n"), (b"RESTIC_PASSWORD=", b" restic\n"), (b'a_TOKEN="', b'" restic\n')]
"""What stands before and after a secret by which it is one."""


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
                run_id = _begin(store, agent_id)
                log = b"".join(b"line %d\n" % number for number in range(size // 8))[:size]
                known = 0
                for cut, overlap in [*cuts, (len(log), 0)]:
                    start, stop = max(0, known - overlap), max(known, min(cut, len(log)))
                    known = backuplog.append_log(store, agent_id, run_id, log[start:stop], offset=start)
                    assert known == stop
                    assert backuplog.read_log(store, run_id) == log[:known]
                sha256 = hashlib.sha256(log)
                _end(store, agent_id, run_id, logBytes=len(log), logSha256=sha256.hexdigest())
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.log_bytes) == ("complete" if log else "none", len(log))
                assert run.log_sha256 == (sha256.digest() if log else None)
                assert backuplog.read_log(store, run_id) == log

            check()

    def test_small_chunks_become_whole_ones(self) -> None:
        """A log of many pieces takes few chunks while it grows, and once closed those that one piece takes."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            log = "".join(f"{number} is the number of this line ü\n" for number in range(90_000)).encode()
            for start in range(0, len(log), 5_000):
                backuplog.append_log(store, agent_id, run_id, log[start : start + 5_000], offset=start)
            assert len(chunk_offsets(store, run_id)) < len(log) // 1_048_576 + 40
            assert backuplog.read_log(store, run_id) == log
            _end(store, agent_id, run_id)
            whole = payload(log=log)
            backuplog.ingest_task_result(store, agent_id, whole)
            assert chunk_offsets(store, run_id) == chunk_offsets(store, UUID(whole["taskId"]))
            assert backuplog.read_log(store, run_id) == log

    def test_one_piece_may_be_longer_than_a_chunk(self) -> None:
        """Pieces of several MiB between short ones are stored and read."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
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
            run_id = _begin(store, agent_id)
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
            run_id = _begin(store, agent_id)
            wrong: list[Any] = [-1, 1.0, "0", True, None, 2**62]
            for offset in wrong:
                with pytest.raises(InvalidQuery, match="offset"):
                    backuplog.append_log(store, agent_id, run_id, b"x", offset=offset)
            with pytest.raises(InvalidQuery, match="data"):
                backuplog.append_log(store, agent_id, run_id, "x", offset=0)  # type: ignore[arg-type]

    def test_only_the_runs_own_agent_adds_to_its_log(self) -> None:
        """For another agent, another tenant and a run that nobody has begun, there is no such run."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            other = backuplog.register_agent(store, uuid4()).id
            theirs = store.for_tenant(UUID(int=7))
            for view, agent, run in ((store, other, run_id), (theirs, agent_id, run_id), (store, agent_id, uuid4())):
                with pytest.raises(RunNotFound):
                    backuplog.append_log(view, agent, run, b"x", offset=0)
            assert backuplog.read_log(store, run_id) == b""

    def test_a_log_is_closed_with_its_task(self) -> None:
        """What has come before the result may come again after it, and nothing more may."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"all of it", offset=0)
            _end(store, agent_id, run_id)
            assert backuplog.append_log(store, agent_id, run_id, b"of it", offset=4) == 9
            for data, offset in ((b"more", 9), (b"it and more", 7)):
                with pytest.raises(LogClosed):
                    backuplog.append_log(store, agent_id, run_id, data, offset=offset)
            with pytest.raises(LogOffsetMismatch):
                backuplog.append_log(store, agent_id, run_id, b"of me", offset=4)
            assert backuplog.read_log(store, run_id) == b"all of it"

    def test_a_result_that_describes_another_log_is_refused(self) -> None:
        """A run does not become final before its log is the one that the agent says it has sent."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"half", offset=0)
            wrong = {"logSha256": hashlib.sha256(b"hulf").hexdigest()}
            for claim in ({"logBytes": 5}, {"logBytes": 3}, {"logBytes": 4, **wrong}, wrong):
                with pytest.raises(LogOffsetMismatch) as refused:
                    _end(store, agent_id, run_id, **claim)
                assert refused.value.expected_offset == 4
                assert backuplog.get_run(store, run_id).status == "running"
            whole = b"half and the rest"
            backuplog.append_log(store, agent_id, run_id, whole[4:], offset=4)
            _end(store, agent_id, run_id, logBytes=len(whole), logSha256=hashlib.sha256(whole).hexdigest().upper())
            run = backuplog.get_run(store, run_id)
            assert (run.status, run.log_state, run.log_bytes) == ("success", "complete", len(whole))

    def test_a_log_of_which_nothing_came_is_missed(self) -> None:
        """A result that describes a log of which nothing was stored is refused, be its run known or not."""
        with self._known() as (store, agent_id):
            sent = payload(logBytes=5)
            with pytest.raises(LogOffsetMismatch) as refused:
                backuplog.ingest_task_result(store, agent_id, sent)
            assert refused.value.expected_offset == 0
            assert backuplog.query_runs(store).total == 0
            run_id = _begin(store, agent_id)
            with pytest.raises(LogOffsetMismatch):
                _end(store, agent_id, run_id, logBytes=5)
            empty = hashlib.sha256().hexdigest()
            assert _end(store, agent_id, run_id, logBytes=0, logSha256=empty) == "updated"
            assert backuplog.get_run(store, run_id).log_state == "none"

    def test_an_agent_may_say_that_no_more_comes(self) -> None:
        """With ``logTruncated`` the run becomes final with what there is, and says how much is missing."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"half", offset=0)
            _end(store, agent_id, run_id, logBytes=10, logSha256="0" * 64, logTruncated=True)
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_bytes, run.dropped_bytes) == ("truncated", 4, 6)
            assert backuplog.read_log(store, run_id) == b"half"
            sent = payload(logBytes=10, logTruncated=True)
            run = backuplog.get_run(store, backuplog.ingest_task_result(store, agent_id, sent).run_id)
            assert (run.log_state, run.log_bytes, run.dropped_bytes) == ("truncated", 0, 10)
            assert backuplog.read_log(store, run.id) == b""
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"

    def test_a_log_that_comes_with_its_result_is_described_too(self) -> None:
        """Length and SHA-256 of a log that a result brings must be true, unless the agent says that it is cut."""
        with self._known() as (store, agent_id):
            right = {"logBytes": 3, "logSha256": hashlib.sha256(b"log").hexdigest()}
            sent = payload(log="log")
            for wrong in ({"logBytes": 4}, {"logSha256": "0" * 64}, {"logSha256": "0"}, {"logBytes": -1}):
                with pytest.raises(InvalidTaskResult, match=next(iter(wrong))):
                    backuplog.ingest_task_result(store, agent_id, {**sent, **right, **wrong})
            assert backuplog.ingest_task_result(store, agent_id, {**sent, **right}).log_state == "complete"
            cut = {**payload(log="log"), "logBytes": 10, "logTruncated": True}
            assert backuplog.ingest_task_result(store, agent_id, cut).log_state == "truncated"
            assert backuplog.get_run(store, UUID(str(cut["taskId"]))).dropped_bytes == 7

    def test_a_later_result_keeps_the_log_that_it_describes(self) -> None:
        """A second final result without a log removes it, unless it says that it means the log that is there."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            _end(store, agent_id, run_id)
            sha256 = hashlib.sha256(b"log").hexdigest()
            assert _end(store, agent_id, run_id, logBytes=3, logSha256=sha256, snapshotId="s") == "updated"
            assert (backuplog.get_run(store, run_id).snapshot_id, backuplog.read_log(store, run_id)) == ("s", b"log")
            with pytest.raises(LogOffsetMismatch):
                _end(store, agent_id, run_id, logBytes=4, snapshotId="t")
            _end(store, agent_id, run_id, snapshotId="u")
            assert backuplog.get_run(store, run_id).log_state == "none"

    def test_an_appended_log_tells_figures(self) -> None:
        """The figures of an appended log are read when it is closed; those that the agent sends win."""
        with self._known() as (opened, agent_id):
            store = attrs.evolve(opened, parsers=TOOLS)
            for sent, expected in (({}, (3, 5)), ({"stats": {"filesNew": 9}}, (9, 5))):
                run_id = _begin(store, agent_id)
                backuplog.append_log(store, agent_id, run_id, SUMMARY[:70], offset=0)
                backuplog.append_log(store, agent_id, run_id, SUMMARY[70:], offset=70)
                assert backuplog.get_run(store, run_id).stats is None
                _end(store, agent_id, run_id, **sent)
                stats = backuplog.get_run(store, run_id).stats
                assert stats is not None
                assert (stats.files_new, stats.data_added, stats.tool) == (*expected, "restic")

    def test_closing_is_of_what_is_there_by_then(self) -> None:
        """A piece that comes while the log is read to be closed is part of it."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"early ", offset=0)

            class Late:
                """A backend to which a piece comes whenever a log is read."""

                pieces = [b"later ", b"late"]  # noqa: RUF012

                def __getattr__(self, name: str) -> object:
                    return getattr(store.backend, name)

                def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> object:
                    if self.pieces:
                        known = backuplog.get_run(store, run_id).log_bytes
                        backuplog.append_log(store, agent_id, run_id, self.pieces.pop(0), offset=known)
                    return store.backend.find_chunk(run_id, log_version, offset)

            late: Store = attrs.evolve(store, backend=Late())  # type: ignore[arg-type]
            _end(late, agent_id, run_id)
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_sha256) == ("complete", hashlib.sha256(b"early later late").digest())
            assert backuplog.read_log(store, run_id) == b"early later late"

    def test_a_damaged_log_does_not_keep_its_result_out(self) -> None:
        """A result is stored though the log that it closes cannot be read; reading that log says so."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            stored = store.backend.find_run(run_id)
            assert stored is not None
            longer = attrs.evolve(stored, run=attrs.evolve(stored.run, log_bytes=9))
            assert store.backend.submit([Amendment(read=stored, write=longer)]) == [True]
            assert _end(store, agent_id, run_id) == "updated"
            assert backuplog.get_run(store, run_id).status == "success"
            with pytest.raises(backuplog.CorruptLog):
                backuplog.read_log(store, run_id)

    def test_results_of_a_batch_close_logs_in_order(self) -> None:
        """In a batch, a result that closes a log comes before those of the same task that follow it."""
        with self._known() as (store, agent_id):
            others = [payload(log="other") for _ in range(3)]
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"appended", offset=0)
            ended = _result(store, run_id)
            newer = {**ended, "log": "brought", "errorMessage": "later"}
            sent = [others[0], ended, others[1], newer, ended, others[2]]
            answers = backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
            outcomes = [answer.outcome if isinstance(answer, backuplog.Receipt) else answer for answer in answers]
            assert outcomes == ["created", "updated", "created", "updated", "stale", "created"]
            assert backuplog.read_log(store, run_id) == b"brought"

    def test_a_log_that_is_too_long_keeps_its_ends(self) -> None:
        """Of a log over the cap, head and tail are kept and what is missing is counted, however it is cut."""
        self._grow_beyond(4_096, pieces=[1, 700, 3_000, 50, 4_096, 300, 20_000, 5], lines=40_000)

    def test_a_log_that_is_much_too_long_keeps_its_ends(self) -> None:
        """So it does where head and tail are of many pieces each."""
        self._grow_beyond(40_000, pieces=[1, 700, 3_000, 50, 300, 5], lines=12_000)

    def _grow_beyond(self, cap: int, *, pieces: list[int], lines: int) -> None:
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
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
            followed = b"".join(_steps(store, run_id))
            assert followed == kept
            _end(store, agent_id, run_id, logBytes=len(log), logSha256=hashlib.sha256(log).hexdigest())
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_sha256) == ("truncated", hashlib.sha256(kept).digest())
            assert backuplog.read_log(store, run_id) == kept

    def test_the_end_of_a_log_outlives_its_middle(self) -> None:
        """Where the end that is kept has come in several pieces, none of them is dropped with the middle before it."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
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
            run_id = _begin(store, agent_id)
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

    def test_a_log_that_came_with_a_running_result_grows(self) -> None:
        """What a result of a running task brought is the beginning of its log."""
        with self._known() as (store, agent_id):
            sent = payload(status="running", log="begun")
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            assert backuplog.append_log(store, agent_id, run_id, b" and gone on", offset=5) == 17
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_bytes, run.log_sha256) == ("open", 17, None)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            _end(store, agent_id, run_id)
            assert backuplog.read_log(store, run_id) == b"begun and gone on"

    def test_figures_of_a_log_that_stays_are_those_that_it_tells(self) -> None:
        """A result whose log came before has the figures of that log, and none that were sent with it then."""
        with self._known() as (opened, agent_id):
            store = attrs.evolve(opened, parsers=TOOLS)
            sent = payload(status="running", log=SUMMARY, stats={"filesNew": 9, "dirsNew": 8})
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            for claim in ({}, {"logBytes": len(SUMMARY), "errorMessage": "later"}):
                assert _end(store, agent_id, run_id, **claim) == "updated"
                run = backuplog.get_run(store, run_id)
                assert run.stats is not None
                assert (run.stats.files_new, run.stats.dirs_new, run.snapshot_id) == (3, 0, "8837c0dd")
                assert (run.log_state, run.log_sha256) == ("complete", hashlib.sha256(SUMMARY).digest())

    def test_nothing_is_added_to_an_expired_log(self) -> None:
        """A log that was removed because of its age stays removed."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
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
            assert _end(store, agent_id, run_id) == "updated"
            assert backuplog.get_run(store, run_id).log_state is LogState.EXPIRED

    def test_progress_is_overwritten_and_ends_with_the_task(self) -> None:
        """Each running result replaces the progress, leaves the log as it is, and a final one ends it."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            running = {**_result(store, run_id), "status": "running"}
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
            _end(store, agent_id, run_id, progress={"percent": 99})
            run = backuplog.get_run(store, run_id)
            assert (run.progress, backuplog.read_log(store, run_id)) == (None, b"log")
            with pytest.raises(InvalidTaskResult, match=r"\$\.progress\.percent: must be a number from 0 to 100"):
                backuplog.ingest_task_result(store, agent_id, {**running, "progress": {"percent": 101}})

    def test_two_senders_leave_each_byte_once(self) -> None:
        """Threads that send the same log, each in pieces of its own, leave it once and whole."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
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
            run_id = _begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(20_000))
            followed: list[bytes] = []
            follower = threading.Thread(
                target=lambda: followed.extend(backuplog.follow_log(store, run_id, interval=0.001)), daemon=True
            )
            follower.start()
            for start in range(0, len(log), 3_000):
                backuplog.append_log(store, agent_id, run_id, log[start : start + 3_000], offset=start)
            _end(store, agent_id, run_id)
            follower.join(60)
            assert not follower.is_alive()
            assert b"".join(followed) == log
            assert b"".join(backuplog.follow_log(store, run_id, start=190_000)) == log[190_000:]

    def test_a_step_of_following_says_where_and_when_to_go_on(self) -> None:
        """A step returns at most 1 MiB, the next offset, and whether to wait or to stop."""
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            step = backuplog.read_log_since(store, run_id)
            assert (step.data, step.offset, step.is_final, step.retry_after) == (b"", 0, False, 1.0)
            backuplog.append_log(store, agent_id, run_id, b"x" * 1_500_000, offset=0)
            step = backuplog.read_log_since(store, run_id)
            assert (len(step.data), step.offset, step.is_final, step.retry_after) == (1_048_576, 1_048_576, False, 0.0)
            step = backuplog.read_log_since(store, run_id, step.offset, agent_id=agent_id)
            assert (len(step.data), step.offset, step.is_final, step.retry_after) == (451_424, 1_500_000, False, 1.0)
            _end(store, agent_id, run_id)
            step = backuplog.read_log_since(store, run_id, step.offset)
            assert (step.data, step.offset, step.is_final, step.retry_after) == (b"", 1_500_000, True, 0.0)
            with pytest.raises(RunNotFound):
                backuplog.follow_log(store, run_id, agent_id=uuid4())
            with pytest.raises(LogReplaced):
                backuplog.read_log_since(store, run_id, 1_500_001)
            for offset in (-1, 0.5, True, "0"):
                with pytest.raises(InvalidQuery, match="offset"):
                    backuplog.read_log_since(store, run_id, offset)  # type: ignore[arg-type]

    def test_nobody_reads_a_byte_of_a_secret(self) -> None:
        """Wherever pieces and merged chunks cut a secret, readers see none of its bytes at any time, and all others."""
        with self._known() as (store, agent_id):
            for size, (before, after) in itertools.product((4_096, 65_536), SECRETS):
                start = size - 10  # Small chunks become one where the log grows past the middle of the secret.
                log = _filler(start - len(before)) + before + SECRET + after + _filler(500)
                masked = log.replace(SECRET, b"*" * len(SECRET))
                for cut in range(start - 1, start + len(SECRET) + 2):
                    run_id = _begin(store, agent_id)
                    known, shown = 0, b""
                    for stop in (size // 2, size - 100, cut, len(log)):
                        known = backuplog.append_log(store, agent_id, run_id, log[known:stop], offset=known)
                        assert known == stop
                        if stop >= cut:  # Before, nothing of the secret has come.
                            shown = _shown(store, run_id)
                            assert masked[:stop].startswith(shown)
                            assert stop - len(shown) <= len(SECRET) + 1
                    assert shown == masked
                    assert backuplog.get_run(store, run_id).redactions == 1
                    _end(store, agent_id, run_id)
                    assert _shown(store, run_id) == masked

    def test_a_secret_that_comes_byte_by_byte(self) -> None:
        """A log that comes a byte at a time shows none of its secret, and is masked in the end."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                log = before + SECRET + after
                masked = log.replace(SECRET, b"*" * len(SECRET))
                run_id = _begin(store, agent_id)
                begun = len(before) - 3
                backuplog.append_log(store, agent_id, run_id, log[:begun], offset=0)
                for at in range(begun, len(log)):
                    assert backuplog.append_log(store, agent_id, run_id, log[at : at + 1], offset=at) == at + 1
                    assert masked.startswith(_shown(store, run_id))
                assert _shown(store, run_id) == masked

    def test_a_secret_on_the_border_of_two_chunks(self) -> None:
        """Wherever the border of two whole chunks cuts a secret, in a result's log or a piece, it is masked."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                end = before + SECRET + after + b"a line\n"
                for inside in range(-1, len(SECRET) + 2, 3):
                    log = _filler(1_048_576 - len(before) - inside) + end
                    masked = log.replace(SECRET, b"*" * len(SECRET))
                    brought = backuplog.ingest_task_result(store, agent_id, payload(log=log.decode())).run_id
                    appended = _begin(store, agent_id)
                    backuplog.append_log(store, agent_id, appended, log, offset=0)
                    for run_id in (brought, appended):
                        assert chunk_offsets(store, run_id) == [0, 1_048_576]
                        assert _shown(store, run_id) == masked
                        assert backuplog.get_run(store, run_id).redactions == 1

    def test_a_store_that_masks_nothing_keeps_every_byte(self) -> None:
        """Without a redactor, logs and error messages are stored as they come, and nothing is held back."""
        with self._known() as (masking, agent_id):
            store = attrs.evolve(masking, redactor=Unredacted())
            log = b"".join(before + SECRET + after for before, after in SECRETS) + b"https://user:pa"
            run_id = _begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, log[:40], offset=0)
            backuplog.append_log(store, agent_id, run_id, log[40:], offset=40)
            assert _shown(store, run_id) == log
            sha256 = hashlib.sha256(log)
            _end(store, agent_id, run_id, logBytes=len(log), logSha256=sha256.hexdigest(), errorMessage=log.decode())
            run = backuplog.get_run(store, run_id)
            assert (run.log_sha256, run.redactions, run.error_message) == (sha256.digest(), 0, log.decode())
            brought = backuplog.ingest_task_result(store, agent_id, payload(log=log)).run_id
            assert _shown(store, brought) == _shown(store, run_id) == log

    def test_a_masked_piece_may_come_again(self) -> None:
        """A piece whose secret is masked is the same when it comes again, in part or with more; others are refused."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                log = b"a line\n" + before + SECRET + after
                run_id = _begin(store, agent_id)
                append = partial(backuplog.append_log, store, agent_id, run_id)
                for stop in (len(log) - len(after) - 5, len(log)):
                    for start in range(0, stop, 3):
                        assert append(log[start:stop], offset=start) == stop
                        assert append(log[start : stop - 1], offset=start) == stop
                for wrong in (log.replace(b"a", b"b", 1), log[:-1] + b"!"):
                    with pytest.raises(LogOffsetMismatch):
                        append(wrong + b"more", offset=0)
                assert append(log[20:] + b"more\n", offset=20) == len(log) + 5
                _end(store, agent_id, run_id)
                assert append(log, offset=0) == len(log) + 5
                assert _shown(store, run_id) == log.replace(SECRET, b"*" * len(SECRET)) + b"more\n"

    def test_what_was_masked_is_counted_and_described_by_what_was_sent(self) -> None:
        """Length and SHA-256 that an agent says are of what it sent; a length that is another is refused."""
        pieces = [before + SECRET + after for before, after in SECRETS]
        log = b"".join(pieces)
        sent = {"logBytes": len(log), "logSha256": hashlib.sha256(log).hexdigest()}
        with self._known() as (store, agent_id):
            run_id = _begin(store, agent_id)
            known = 0
            for count, piece in enumerate(pieces, start=1):
                known = backuplog.append_log(store, agent_id, run_id, piece, offset=known)
                assert backuplog.get_run(store, run_id).redactions == count
            with pytest.raises(LogOffsetMismatch):
                _end(store, agent_id, run_id, **{**sent, "logBytes": len(log) + 1})
            ended = {**_result(store, run_id), **sent}
            assert backuplog.ingest_task_result(store, agent_id, ended).outcome == "updated"
            assert backuplog.ingest_task_result(store, agent_id, ended).outcome == "replayed"
            shown, run = _shown(store, run_id), backuplog.get_run(store, run_id)
            assert shown == log.replace(SECRET, b"*" * len(SECRET))
            assert (run.log_sha256, run.redactions) == (hashlib.sha256(shown).digest(), len(pieces))
            assert _end(store, agent_id, run_id, snapshotId="later", **sent) == "updated"
            assert (_shown(store, run_id), backuplog.get_run(store, run_id).redactions) == (shown, len(pieces))

    def test_a_result_whose_log_has_secrets_is_replayed(self) -> None:
        """A result with secrets in its log and message is the same when it comes again, whatever masks them by then."""
        log = "".join((before + SECRET + after).decode() for before, after in SECRETS)
        described = {"logBytes": len(log), "logSha256": hashlib.sha256(log.encode()).hexdigest()}
        with self._known() as (store, agent_id):
            for fields in ({}, described, {"status": "running"}):
                sent = payload(log=log, errorMessage=f"it failed: {log}", **fields)
                run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
                stored, shown = backuplog.get_run(store, run_id), _shown(store, run_id)
                for view in (store, attrs.evolve(store, redactor=Unredacted())):
                    assert backuplog.ingest_task_result(view, agent_id, sent).outcome == "replayed"
                assert SECRET.decode() not in (stored.error_message or "")
                assert shown == log.encode().replace(SECRET, b"*" * len(SECRET))
                assert (backuplog.get_run(store, run_id), _shown(store, run_id)) == (stored, shown)
                assert stored.redactions == len(SECRETS)

    def test_what_is_held_back_is_shown_once_the_task_has_ended(self) -> None:
        """What may be the beginning of a password is received, and part of the log when no more can come."""
        log = b"a line\nhttps://user:pa"
        for described in ({}, {"logBytes": len(log), "logSha256": hashlib.sha256(log).hexdigest()}):
            with self._known() as (store, agent_id):
                run_id = _begin(store, agent_id)
                assert backuplog.append_log(store, agent_id, run_id, log, offset=0) == len(log)
                for start in range(len(log) + 1):
                    assert backuplog.append_log(store, agent_id, run_id, log[start:], offset=start) == len(log)
                with pytest.raises(LogOffsetMismatch):
                    backuplog.append_log(store, agent_id, run_id, b"b", offset=len(log) - 1)
                assert _shown(store, run_id) == log[:-2]
                step = backuplog.read_log_since(store, run_id, len(log) - 2)
                assert (step.data, step.offset, step.is_final) == (b"", len(log) - 2, False)
                _end(store, agent_id, run_id, **described)
                assert _shown(store, run_id) == log
                step = backuplog.read_log_since(store, run_id, step.offset)
                assert (step.data, step.offset, step.is_final) == (b"pa", len(log), True)
                run = backuplog.get_run(store, run_id)
                assert (run.log_bytes, run.log_sha256) == (len(log), hashlib.sha256(log).digest())
                assert run.redactions == 0


def _begin(store: Store, agent_id: UUID) -> UUID:
    """Report a task that runs."""
    sent = payload(status="running", startTime=NOON.isoformat())
    return backuplog.ingest_task_result(store, agent_id, sent).run_id


def _result(store: Store, run_id: UUID) -> dict[str, Any]:
    """Make a result of a task that has been reported."""
    return payload(taskId=str(run_id), policyId=str(backuplog.get_run(store, run_id).policy_id))


def _end(store: Store, agent_id: UUID, run_id: UUID, **fields: object) -> str:
    """Report that a task has ended, and say what became of that."""
    return backuplog.ingest_task_result(store, agent_id, {**_result(store, run_id), **fields}).outcome.value


def _steps(store: Store, run_id: UUID) -> Sequence[bytes]:
    """Follow what there is of a log, without waiting for more."""
    steps = [backuplog.read_log_since(store, run_id)]
    while not steps[-1].retry_after and not steps[-1].is_final:
        steps.append(backuplog.read_log_since(store, run_id, steps[-1].offset))
    return [step.data for step in steps]


def _filler(size: int) -> bytes:
    """Make lines in which there is no secret."""
    return (b"a line of a log, which ends here\n" * (size // 33 + 1))[-size:]


def _shown(store: Store, run_id: UUID) -> bytes:
    """Read a log in every way, each of which gives the same."""
    log = backuplog.read_log(store, run_id)
    assert b"".join(_steps(store, run_id)) == log
    assert backuplog.tail_log(store, run_id, 100_000) == log
    assert backuplog.tail_log(store, run_id, 1) == b"".join(log.splitlines(keepends=True)[-1:])
    return log
