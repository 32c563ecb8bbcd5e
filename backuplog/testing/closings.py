"""Logs that end: with their tasks, with what agents say of them, whatever else is wrong."""

import hashlib
from collections.abc import Callable
from uuid import UUID

import attrs
import pytest

import backuplog
from backuplog import (
    InvalidTaskResult,
    LogClosed,
    LogOffsetMismatch,
    LogState,
)
from backuplog.backend import Amendment, Chunk
from backuplog.chunk import DROPPED
from backuplog.parsers import TOOLS

from .common import begin, counting, end, payload, reading, result_of, without_room_for_logs
from .contract import Contract

SUMMARY = b"""
Files:           3 new,     1 changed,     2 unmodified
Dirs:            0 new,     0 changed,     2 unmodified
Added to the repository: 5 B (5 B stored)

processed 6 files, 14 B in 0:00
snapshot 8837c0dd saved
"""


class ClosingContract(Contract):
    """Logs that end: with their tasks, with what agents say of them, whatever else is wrong."""

    def test_a_log_is_closed_with_its_task(self) -> None:
        """What has come before the result may come again after it, and nothing more may."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"all of it", offset=0)
            end(store, agent_id, run_id)
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
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"half", offset=0)
            wrong = {"logSha256": hashlib.sha256(b"hulf").hexdigest()}
            for claim in ({"logBytes": 5}, {"logBytes": 3}, {"logBytes": 4, **wrong}, wrong):
                with pytest.raises(LogOffsetMismatch) as refused:
                    end(store, agent_id, run_id, **claim)
                assert refused.value.expected_offset == 4
                assert backuplog.get_run(store, run_id).status == "running"
            whole = b"half and the rest"
            backuplog.append_log(store, agent_id, run_id, whole[4:], offset=4)
            end(store, agent_id, run_id, logBytes=len(whole), logSha256=hashlib.sha256(whole).hexdigest().upper())
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
            run_id = begin(store, agent_id)
            with pytest.raises(LogOffsetMismatch):
                end(store, agent_id, run_id, logBytes=5)
            empty = hashlib.sha256().hexdigest()
            assert end(store, agent_id, run_id, logBytes=0, logSha256=empty) == "updated"
            assert backuplog.get_run(store, run_id).log_state == "none"

    def test_an_agent_may_say_that_no_more_comes(self) -> None:
        """With ``logTruncated`` the run becomes final with what there is, and says how much is missing."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"half", offset=0)
            end(store, agent_id, run_id, logBytes=10, logSha256="0" * 64, logTruncated=True)
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
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            end(store, agent_id, run_id)
            sha256 = hashlib.sha256(b"log").hexdigest()
            assert end(store, agent_id, run_id, logBytes=3, logSha256=sha256, snapshotId="s") == "updated"
            assert (backuplog.get_run(store, run_id).snapshot_id, backuplog.read_log(store, run_id)) == ("s", b"log")
            for claim in ({"logBytes": 4}, {"logSha256": "0" * 64}):
                with pytest.raises(LogClosed) as refused:
                    end(store, agent_id, run_id, **claim, snapshotId="t")
                assert refused.value.expected_offset == 3
            end(store, agent_id, run_id, snapshotId="u")
            assert backuplog.get_run(store, run_id).log_state == "none"

    def test_an_appended_log_tells_figures(self) -> None:
        """The figures of an appended log are read when it is closed; those that the agent sends win."""
        with self._known() as (opened, agent_id):
            store = attrs.evolve(opened, parsers=TOOLS)
            for sent, expected in (({}, (3, 5)), ({"stats": {"filesNew": 9}}, (9, 5))):
                run_id = begin(store, agent_id)
                backuplog.append_log(store, agent_id, run_id, SUMMARY[:70], offset=0)
                backuplog.append_log(store, agent_id, run_id, SUMMARY[70:], offset=70)
                assert backuplog.get_run(store, run_id).stats is None
                end(store, agent_id, run_id, **sent)
                stats = backuplog.get_run(store, run_id).stats
                assert stats is not None
                assert (stats.files_new, stats.data_added, stats.tool) == (*expected, "restic")

    def test_closing_is_of_what_is_there_by_then(self) -> None:
        """A piece that comes while the log is read to be closed is part of it."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"early ", offset=0)

            pieces = [b"later ", b"late"]

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                if pieces:
                    known = backuplog.get_run(store, run_id).log_bytes
                    backuplog.append_log(store, agent_id, run_id, pieces.pop(0), offset=known)
                return store.backend.find_chunk(run_id, log_version, offset)

            late = reading(store, find_chunk)
            end(late, agent_id, run_id)
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_sha256) == ("complete", hashlib.sha256(b"early later late").digest())
            assert backuplog.read_log(store, run_id) == b"early later late"

    def test_a_damaged_log_does_not_keep_its_result_out(self) -> None:
        """A result is stored though the log that it closes cannot be read; reading that log says so."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            stored = store.backend.find_run(run_id)
            assert stored is not None
            longer = attrs.evolve(stored, run=attrs.evolve(stored.run, log_bytes=9))
            assert store.backend.submit([Amendment(read=stored, write=longer)]) == [True]
            assert end(store, agent_id, run_id) == "updated"
            assert backuplog.get_run(store, run_id).status == "success"
            with pytest.raises(backuplog.CorruptLog):
                backuplog.read_log(store, run_id)

    def test_results_of_a_batch_close_logs_in_order(self) -> None:
        """In a batch, a result that closes a log comes before those of the same task that follow it."""
        with self._known() as (store, agent_id):
            others = [payload(log="other") for _ in range(3)]
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"appended", offset=0)
            ended = result_of(store, run_id)
            newer = {**ended, "log": "brought", "errorMessage": "later"}
            sent = [others[0], ended, others[1], newer, ended, others[2]]
            answers = backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
            outcomes = [answer.outcome if isinstance(answer, backuplog.Receipt) else answer for answer in answers]
            assert outcomes == ["created", "updated", "created", "updated", "stale", "created"]
            assert backuplog.read_log(store, run_id) == b"brought"

    def test_figures_of_a_log_that_stays_are_those_that_it_tells(self) -> None:
        """A result whose log came before has the figures of that log, and none that were sent with it then."""
        with self._known() as (opened, agent_id):
            store = attrs.evolve(opened, parsers=TOOLS)
            sent = payload(status="running", log=SUMMARY, stats={"filesNew": 9, "dirsNew": 8})
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            for claim in ({}, {"logBytes": len(SUMMARY), "errorMessage": "later"}):
                assert end(store, agent_id, run_id, **claim) == "updated"
                run = backuplog.get_run(store, run_id)
                assert run.stats is not None
                assert (run.stats.files_new, run.stats.dirs_new, run.snapshot_id) == (3, 0, "8837c0dd")
                assert (run.log_state, run.log_sha256) == ("complete", hashlib.sha256(SUMMARY).digest())

    def test_figures_of_an_older_result_are_not_those_of_a_newer_one(self) -> None:
        """A snapshot and figures that came with a result go with it, also where its log stays."""
        with self._known() as (opened, agent_id):
            store = attrs.evolve(opened, parsers=TOOLS)
            stats = {"filesNew": 3, "snapshotId": "deadbeef", "hasSnapshot": True}
            for log, claim in ((None, {}), ("no figures", {}), ("no figures", {"logBytes": 10})):
                sent = payload(status="success" if claim else "running", log=log, stats=stats)
                run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
                assert backuplog.get_run(store, run_id).snapshot_id == "deadbeef"
                assert end(store, agent_id, run_id, status="failed", **claim) == "updated"
                run = backuplog.get_run(store, run_id)
                assert (run.status, run.snapshot_id, run.stats) == ("failed", None, None)
                assert backuplog.read_log(store, run_id) == (log or "").encode()

    def test_what_is_missing_is_counted_once(self) -> None:
        """However often an agent says that its log is longer, and however long it says, it is as long as that."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"0123456789", offset=0)
            for number, size, dropped in ((0, 100, 90), (1, 100, 90), (2, 2**63 - 1, 2**63 - 11), (3, 100, 2**63 - 11)):
                end(store, agent_id, run_id, logBytes=size, logTruncated=True, errorMessage=str(number))
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.log_bytes, run.dropped_bytes) == ("truncated", 10, dropped)
            assert backuplog.read_log(store, run_id) == b"0123456789"
            longer = begin(store, agent_id)
            log = b"".join(b"line %d\n" % number for number in range(2_000))
            backuplog.append_log(store, agent_id, longer, log, offset=0, max_log_bytes=4_096)
            kept = len(backuplog.read_log(store, longer)) - len(DROPPED)
            end(store, agent_id, longer, logBytes=len(log) + 7, logTruncated=True)
            assert backuplog.get_run(store, longer).dropped_bytes == len(log) + 7 - kept

    def test_nothing_is_claimed_of_a_log_that_is_gone(self) -> None:
        """A lost or expired log does not become one that can be read by what an agent says of it."""
        with self._known() as (store, agent_id):
            sha256 = hashlib.sha256(b"x" * 100).hexdigest()
            for status in ("running", "success"):
                lost = payload(status=status, log="x" * 100)
                backuplog.ingest_task_result(without_room_for_logs(store), agent_id, lost)
                run_id = UUID(str(lost["taskId"]))
                for claim in ({"logBytes": 100}, {"logSha256": sha256}):
                    with pytest.raises(LogOffsetMismatch if status == "running" else LogClosed, match=r"\b0 bytes"):
                        end(store, agent_id, run_id, **claim)
                assert end(store, agent_id, run_id, logBytes=100, logTruncated=True) == "updated"
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.log_bytes, run.dropped_bytes) == ("truncated", 0, 100)
                assert backuplog.read_log(store, run_id) == b""
                expired = backuplog.ingest_task_result(store, agent_id, payload(status=status, log="x" * 100)).run_id
                backuplog.expire_log(store, expired)
                end(store, agent_id, expired, logBytes=100, logSha256=sha256, logTruncated=True)
                assert backuplog.get_run(store, expired).log_state is LogState.EXPIRED
                with pytest.raises(backuplog.LogExpired):
                    backuplog.read_log(store, expired)

    def test_a_full_disk_does_not_keep_a_result_out(self) -> None:
        """A result is stored though the log that it closes cannot be stored anew; the log stays as it came."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            for offset, piece in enumerate((b"a", b"b", b"c")):
                backuplog.append_log(store, agent_id, run_id, piece, offset=offset)
            assert end(without_room_for_logs(store), agent_id, run_id, logBytes=3) == "updated"
            run = backuplog.get_run(store, run_id)
            assert (run.status, run.log_state, run.log_bytes) == ("success", "complete", 3)
            assert backuplog.read_log(store, run_id) == b"abc"

    def test_nothing_that_was_held_back_stays_behind(self) -> None:
        """Of a log that cannot be read when it is closed, the bytes that may be a secret go, and are counted."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"https://user:hunter2", offset=0)

            def find_chunk(*_: object) -> Chunk | None:
                return None

            damaged = reading(store, find_chunk)
            assert end(damaged, agent_id, run_id, logBytes=20) == "updated"
            stored = store.backend.find_run(run_id)
            assert stored is not None
            assert b"hunter2" not in stored.log_held + stored.log_context
            assert (stored.run.log_state, stored.run.log_bytes, stored.run.dropped_bytes) == ("truncated", 13, 7)

    def test_wrong_claims_read_a_log_once(self) -> None:
        """However many results of a batch describe another log, the one that is there is read once at most."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"x" * 3_000_000, offset=0)

            counted, found = counting(store)
            for claim, most in (({"logBytes": 7}, 0), ({"logSha256": "0" * 64}, 3)):
                results = [{**result_of(store, run_id), **claim, "errorMessage": str(n)} for n in range(9)]
                answers = backuplog.ingest_task_results(counted, [(agent_id, result) for result in results])
                assert [type(answer) for answer in answers] == [LogOffsetMismatch] * 9
                assert len(found) <= most

    def test_wrong_claims_of_many_kinds_read_each_log_once(self) -> None:
        """Neither many logs, nor many types of task, nor results in between make a log be read again and again."""
        with self._known() as (store, agent_id):
            run_ids = [begin(store, agent_id) for _ in range(9)]
            for run_id in run_ids:
                backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            counted, found = counting(store)
            results = [
                {**result_of(store, run_id), **told}
                for step in range(4)
                for run_id in run_ids
                for told in (
                    {"status": "running", "errorMessage": str(step)},
                    {"logSha256": "0" * 64, "taskType": f"type {step}"},
                )
            ]
            sent = [(agent_id, result) for result in results]
            answers = backuplog.ingest_task_results(counted, sent)
            assert [type(answer) for answer in answers] == [backuplog.Receipt, LogOffsetMismatch] * 36
            assert sorted(found) == sorted(run_ids)

            claim = {"logSha256": hashlib.sha256(b"log").hexdigest(), "status": "success"}
            right = [(agent_id, {**result_of(store, run_id), **claim}) for run_id in run_ids]
            answers = backuplog.ingest_task_results(store, [*sent[-18:], *right])
            assert [type(answer) for answer in answers[18:]] == [backuplog.Receipt] * 9
            assert {backuplog.read_log(store, run_id) for run_id in run_ids} == {b"log"}

    def test_results_after_the_end_read_a_log_once(self) -> None:
        """However many results of a batch replace each other and keep the log, it is read once."""
        with self._known() as (store, agent_id):
            run_ids = [begin(store, agent_id) for _ in range(9)]
            for run_id in run_ids:
                backuplog.append_log(store, agent_id, run_id, b"log", offset=0)
            counted, found = counting(store)
            results = [
                {
                    **result_of(store, run_id),
                    "logBytes": 3 + step,
                    "logTruncated": step > 0,
                    "errorMessage": str(step),
                    "taskType": f"type {step}",
                }
                for step in range(5)
                for run_id in run_ids
            ]
            answers = backuplog.ingest_task_results(counted, [(agent_id, result) for result in results])
            assert [answer.outcome for answer in answers if isinstance(answer, backuplog.Receipt)] == ["updated"] * 45
            assert sorted(found) == sorted(run_ids)
            for run_id in run_ids:
                run = backuplog.get_run(store, run_id)
                assert (run.error_message, run.log_state, run.log_bytes, run.dropped_bytes) == ("4", "truncated", 3, 4)
                assert run.log_sha256 == hashlib.sha256(b"log").digest()
                assert backuplog.read_log(store, run_id) == b"log"

    def test_a_transaction_that_is_gone_is_not_hidden(self) -> None:
        """If the database rolls back everything while a log is read to be closed, the caller hears that."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"log", offset=0)

            def find_chunk(*_: object) -> Chunk | None:
                raise backuplog.TransactionRolledBack

            gone = attrs.evolve(reading(store, find_chunk), retry_timeout=0.0)
            with pytest.raises(backuplog.TransactionRolledBack):
                backuplog.ingest_task_results(gone, [(agent_id, payload()), (agent_id, result_of(store, run_id))])

    def test_one_log_that_grows_spoils_no_other_result(self) -> None:
        """A result whose log grows whenever it is read is unavailable; the others of its batch are stored."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"x", offset=0)

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                known = backuplog.get_run(store, run_id).log_bytes
                backuplog.append_log(store, agent_id, run_id, b"x", offset=known)
                return store.backend.find_chunk(run_id, log_version, offset)

            sent = [result_of(store, run_id), *(payload() for _ in range(501))]
            answers = backuplog.ingest_task_results(reading(store, find_chunk), [(agent_id, one) for one in sent])
            assert isinstance(answers[0], backuplog.StoreUnavailable)
            assert {type(answer) for answer in answers[1:]} == {backuplog.Receipt}
            assert backuplog.get_run(store, run_id).status == "running"

    def test_what_is_closed_is_what_was_read(self) -> None:
        """A log that is replaced by one as long, or cut, while it is read to be closed is read anew."""
        with self._known() as (store, agent_id):
            log = b"".join(b"line %d\n" % number for number in range(2_000))

            def replace(run_id: UUID) -> None:
                sent = {**result_of(store, run_id), "status": "running", "log": log.replace(b"line", b"LINE")}
                backuplog.ingest_task_result(store, agent_id, sent)

            def cut(run_id: UUID) -> None:
                backuplog.append_log(store, agent_id, run_id, b"", offset=len(log), max_log_bytes=4_096)

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                found = store.backend.find_chunk(run_id, log_version, offset)
                if changes:
                    changes.pop()(run_id)
                return found

            changes: list[Callable[[UUID], None]] = []
            for change, state in ((replace, "complete"), (cut, "truncated")):
                run_id = begin(store, agent_id)
                backuplog.append_log(store, agent_id, run_id, log, offset=0)
                changes.append(change)
                end(reading(store, find_chunk), agent_id, run_id)
                run, kept = backuplog.get_run(store, run_id), backuplog.read_log(store, run_id)
                assert (run.log_state, run.log_sha256) == (state, hashlib.sha256(kept).digest())

    def test_the_log_of_a_running_result_that_was_cut_is_closed(self) -> None:
        """A result without a log closes what a running result brought, which stays truncated if it was cut."""
        with self._known() as (store, agent_id):
            sent = payload(status="running", log="x" * 9_000)
            run_id = backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4_096).run_id
            kept = backuplog.read_log(store, run_id)
            end(store, agent_id, run_id)
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.log_bytes, run.log_sha256) == ("truncated", 4_151, hashlib.sha256(kept).digest())
            assert end(store, agent_id, run_id, logBytes=9_000, errorMessage="again") == "updated"
            assert backuplog.read_log(store, run_id) == kept

    def test_a_task_whose_log_expired_can_end(self) -> None:
        """Whatever is said of a log that has expired is not compared: the result is what counts."""
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, b"https://user:hunter2", offset=0)
            backuplog.expire_log(store, run_id)
            stored = store.backend.find_run(run_id)
            assert stored is not None
            assert (stored.log_held, stored.log_context, stored.log_version) == (b"", b"", 2)
            assert end(store, agent_id, run_id, logBytes=12_000, logSha256="0" * 64) == "updated"
            run = backuplog.get_run(store, run_id)
            assert (run.status, run.log_state) == ("success", "expired")

    def test_nothing_of_redaction_stays_with_a_closed_log(self) -> None:
        """What redaction had to know of the end of a log goes when the log is closed."""
        with self._known() as (store, agent_id):
            for log in (b"export RESTIC_PASSW", b"RESTIC_PASSWORD=" + b"hunter2", b"https://user:hunter2"):
                run_id = begin(store, agent_id)
                backuplog.append_log(store, agent_id, run_id, log, offset=0)
                end(store, agent_id, run_id)
                stored = store.backend.find_run(run_id)
                assert stored is not None
                assert (stored.log_context, stored.log_held, stored.run.log_bytes) == (b"", b"", len(log))
