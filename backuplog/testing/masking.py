"""Secrets in logs: masked, wherever logs are cut."""

import hashlib
import itertools
from functools import partial
from uuid import UUID

import attrs
import pytest

import backuplog
from backuplog import (
    LogOffsetMismatch,
    Store,
)
from backuplog.redact import Unredacted

from .changes import chunk_offsets
from .common import begin, end, follow_steps, payload, result_of, without_room_for_logs
from .contract import Contract

SECRET = b"s3cr3t-P4ss_w0rd$9zQ"
SECRETS = [(b"rest:https://user:", b"@host/path\n"), (b"RESTIC_PASSWORD=", b" restic\n"), (b'a_TOKEN="', b'" restic\n')]
"""What stands before and after a secret by which it is one."""


class MaskingContract(Contract):
    """Secrets in logs: masked, wherever logs are cut."""

    def test_nobody_reads_a_byte_of_a_secret(self) -> None:
        """Wherever pieces and merged chunks cut a secret, readers see none of its bytes at any time, and all others."""
        with self._known() as (store, agent_id):
            for (size, step), (before, after) in itertools.product(((4_096, 1), (65_536, 5)), SECRETS):
                start = size - 10  # Small chunks become one where the log grows past the middle of the secret.
                log = _filler(start - len(before)) + before + SECRET + after + _filler(500)
                masked = log.replace(SECRET, b"*" * len(SECRET))
                for cut in range(start - 1, start + len(SECRET) + 2, step):
                    run_id = begin(store, agent_id)
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
                    end(store, agent_id, run_id)
                    assert _shown(store, run_id) == masked

    def test_a_secret_that_comes_byte_by_byte(self) -> None:
        """A log that comes a byte at a time shows none of its secret, and is masked in the end."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                log = before + SECRET + after
                masked = log.replace(SECRET, b"*" * len(SECRET))
                run_id = begin(store, agent_id)
                begun = len(before) - 3
                backuplog.append_log(store, agent_id, run_id, log[:begun], offset=0)
                for at in range(begun, len(log)):
                    assert backuplog.append_log(store, agent_id, run_id, log[at : at + 1], offset=at) == at + 1
                    assert masked.startswith(_shown(store, run_id))
                assert _shown(store, run_id) == masked

    def test_a_secret_that_begins_in_the_log_of_a_running_result(self) -> None:
        """What a running result brought and what is appended to it mask a secret between them as one log does."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                log = b"begun\n" + before + SECRET + after + b"ended\n"
                for cut in range(1, len(log)):
                    sent = payload(status="running", log=log[:cut])
                    run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
                    assert log.replace(SECRET, b"*" * len(SECRET)).startswith(backuplog.read_log(store, run_id))
                    assert backuplog.append_log(store, agent_id, run_id, log[cut:], offset=cut) == len(log)
                    assert backuplog.read_log(store, run_id) == log.replace(SECRET, b"*" * len(SECRET))
                    assert backuplog.get_run(store, run_id).redactions == 1

    def test_a_log_slightly_over_the_cap_masks_what_follows(self) -> None:
        """A log that is over the cap and kept whole, because cutting it would gain nothing, goes on as any."""
        with self._known() as (store, agent_id):
            log = b"x" * 4_080 + b" RESTIC_PASSWORD=" + b"hun"
            sent = payload(status="running", log=log)
            run_id = backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4_096).run_id
            backuplog.append_log(store, agent_id, run_id, b"ter2secret\nnext\n", offset=len(log))
            assert backuplog.read_log(store, run_id) == log[:-3] + b"*" * 13 + b"\nnext\n"

    def test_what_may_be_a_secret_is_held_back_from_a_running_result(self) -> None:
        """The end of a running result's log that may be a secret is no part of it before the task has ended."""
        with self._known() as (store, agent_id):
            log = b"begun https://user:hunter2"
            sent = payload(status="running", log=log, logBytes=len(log))
            receipt = backuplog.ingest_task_result(store, agent_id, sent)
            assert (receipt.log_state, receipt.log_bytes) == ("open", len(log) - 7)
            assert backuplog.read_log(store, receipt.run_id) == log[:-7]
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            end(store, agent_id, receipt.run_id, logBytes=len(log))
            assert backuplog.read_log(store, receipt.run_id) == log

    def test_a_lost_log_with_an_open_end_is_found_while_its_task_runs(self) -> None:
        """A lost log that comes again is stored with its open end, but not once its task has ended without it."""
        with self._known() as (store, agent_id):
            log = b"begun https://user:hunter2"
            for is_ended in (False, True):
                sent = payload(status="running", log=log)
                receipt = backuplog.ingest_task_result(without_room_for_logs(store), agent_id, sent)
                assert (receipt.log_state, receipt.log_bytes) == ("lost", len(log))
                if is_ended:
                    end(store, agent_id, receipt.run_id)
                outcome = backuplog.ingest_task_result(store, agent_id, sent).outcome
                assert outcome == ("stale" if is_ended else "updated")
                if not is_ended:
                    known = backuplog.append_log(store, agent_id, receipt.run_id, b"@host\n", offset=len(log))
                    assert known == len(log) + 6
                    assert backuplog.read_log(store, receipt.run_id) == b"begun https://user:*******@host\n"
                stored = store.backend.find_run(receipt.run_id)
                assert stored is not None
                assert stored.log_held == b""

    def test_a_secret_on_the_border_of_two_chunks(self) -> None:
        """Wherever the border of two whole chunks cuts a secret, in a result's log or a piece, it is masked."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                end = before + SECRET + after + b"a line\n"
                for inside in range(-1, len(SECRET) + 2, 3):
                    log = _filler(1_048_576 - len(before) - inside) + end
                    masked = log.replace(SECRET, b"*" * len(SECRET))
                    brought = backuplog.ingest_task_result(store, agent_id, payload(log=log.decode())).run_id
                    appended = begin(store, agent_id)
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
            run_id = begin(store, agent_id)
            backuplog.append_log(store, agent_id, run_id, log[:40], offset=0)
            backuplog.append_log(store, agent_id, run_id, log[40:], offset=40)
            assert _shown(store, run_id) == log
            sha256 = hashlib.sha256(log)
            end(store, agent_id, run_id, logBytes=len(log), logSha256=sha256.hexdigest(), errorMessage=log.decode())
            run = backuplog.get_run(store, run_id)
            assert (run.log_sha256, run.redactions, run.error_message) == (sha256.digest(), 0, log.decode())
            brought = backuplog.ingest_task_result(store, agent_id, payload(log=log)).run_id
            assert _shown(store, brought) == _shown(store, run_id) == log

    def test_a_masked_piece_may_come_again(self) -> None:
        """A piece whose secret is masked is the same when it comes again, in part or with more; others are refused."""
        with self._known() as (store, agent_id):
            for before, after in SECRETS:
                log = b"a line\n" + before + SECRET + after
                run_id = begin(store, agent_id)
                append = partial(backuplog.append_log, store, agent_id, run_id)
                for stop in (len(log) - len(after) - 5, len(log)):
                    for start in range(0, stop, 3):
                        assert append(log[start:stop], offset=start) == stop
                        assert append(log[start : stop - 1], offset=start) == stop
                for wrong in (log.replace(b"a", b"b", 1), log[:-1] + b"!"):
                    with pytest.raises(LogOffsetMismatch):
                        append(wrong + b"more", offset=0)
                assert append(log[20:] + b"more\n", offset=20) == len(log) + 5
                end(store, agent_id, run_id)
                assert append(log, offset=0) == len(log) + 5
                assert _shown(store, run_id) == log.replace(SECRET, b"*" * len(SECRET)) + b"more\n"

    def test_what_was_masked_is_counted_and_described_by_what_was_sent(self) -> None:
        """Length and SHA-256 that an agent says are of what it sent; a length that is another is refused."""
        pieces = [before + SECRET + after for before, after in SECRETS]
        log = b"".join(pieces)
        sent = {"logBytes": len(log), "logSha256": hashlib.sha256(log).hexdigest()}
        with self._known() as (store, agent_id):
            run_id = begin(store, agent_id)
            known = 0
            for count, piece in enumerate(pieces, start=1):
                known = backuplog.append_log(store, agent_id, run_id, piece, offset=known)
                assert backuplog.get_run(store, run_id).redactions == count
            with pytest.raises(LogOffsetMismatch):
                end(store, agent_id, run_id, **{**sent, "logBytes": len(log) + 1})
            ended = {**result_of(store, run_id), **sent}
            assert backuplog.ingest_task_result(store, agent_id, ended).outcome == "updated"
            assert backuplog.ingest_task_result(store, agent_id, ended).outcome == "replayed"
            shown, run = _shown(store, run_id), backuplog.get_run(store, run_id)
            assert shown == log.replace(SECRET, b"*" * len(SECRET))
            assert (run.log_sha256, run.redactions) == (hashlib.sha256(shown).digest(), len(pieces))
            assert end(store, agent_id, run_id, snapshotId="later", **sent) == "updated"
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
                run_id = begin(store, agent_id)
                assert backuplog.append_log(store, agent_id, run_id, log, offset=0) == len(log)
                for start in range(len(log) + 1):
                    assert backuplog.append_log(store, agent_id, run_id, log[start:], offset=start) == len(log)
                with pytest.raises(LogOffsetMismatch):
                    backuplog.append_log(store, agent_id, run_id, b"b", offset=len(log) - 1)
                assert _shown(store, run_id) == log[:-2]
                step = backuplog.read_log_since(store, run_id, len(log) - 2)
                assert (step.data, step.offset, step.is_final) == (b"", len(log) - 2, False)
                end(store, agent_id, run_id, **described)
                assert _shown(store, run_id) == log
                step = backuplog.read_log_since(store, run_id, step.offset)
                assert (step.data, step.offset, step.is_final) == (b"pa", len(log), True)
                run = backuplog.get_run(store, run_id)
                assert (run.log_bytes, run.log_sha256) == (len(log), hashlib.sha256(log).digest())
                assert run.redactions == 0


def _filler(size: int) -> bytes:
    """Make lines in which there is no secret."""
    return (b"a line of a log, which ends here\n" * (size // 33 + 1))[-size:]


def _shown(store: Store, run_id: UUID) -> bytes:
    """Read a log in every way, each of which gives the same."""
    log = backuplog.read_log(store, run_id)
    assert b"".join(follow_steps(store, run_id)) == log
    assert backuplog.tail_log(store, run_id, 100_000) == log
    assert backuplog.tail_log(store, run_id, 1) == b"".join(log.splitlines(keepends=True)[-1:])
    return log
