"""The delivery contract: what a result that arrives does to what is stored. Pure functions, no I/O.

Agents retry everything, so the same result comes twice, late and out of order. A store calls ``decide`` under its
lock on the run's row, writes what the decision says and gives back its answer; it decides nothing itself.
"""

import hashlib
from datetime import UTC, datetime, timedelta
from uuid import UUID

import attrs

from .errors import RunConflict
from .log import MAX_LOG_BYTES, Log, measure
from .model import BackupRun, LogState, Outcome, Receipt, TaskResult

_REMEMBERED_DIGESTS = 16
_EARLIEST = datetime.min.replace(tzinfo=UTC)


@attrs.frozen(kw_only=True)
class Submission:
    """A result that arrives, ready for a store.

    Attributes:
        run: The run as it stands if nothing is stored yet.
        digest: SHA-256 over every field and the log, 32 bytes: the same content has the same digest.
        end_time_reported: Whether the end time is the agent's own.
        log: The log to store; None where none was sent, or where it could not be stored (``run.log_state`` is
            then ``lost``).
        agent_known: The agent exists: a store must not look for it in its own table.
    """

    run: BackupRun
    digest: bytes
    end_time_reported: bool
    log: Log | None
    agent_known: bool = False

    def without_log(self) -> "Submission":
        """Give the submission that keeps the run and says that its log was lost."""
        return attrs.evolve(self, run=attrs.evolve(self.run, log_state=LogState.LOST, dropped_bytes=0), log=None)


@attrs.frozen(kw_only=True)
class StoredRun:
    """A run with what a store keeps beside it, to decide about later deliveries.

    Attributes:
        run: The run.
        digest: The digest of the submission that stands.
        superseded: The digests of up to 16 earlier submissions, oldest first.
        end_time_reported: Whether the run's end time is the agent's own.
        log_version: Which chunks are the run's log: those stored with this number. It grows when the log is replaced,
            so that a reader can never mix two logs.
    """

    run: BackupRun
    digest: bytes
    superseded: tuple[bytes, ...] = ()
    end_time_reported: bool
    log_version: int = 1


@attrs.frozen(kw_only=True)
class Decision:
    """What to write and what to answer.

    Attributes:
        answer: The receipt, or the conflict.
        write: The row to write in place of the stored one; None: write nothing. Where its ``log_version`` differs
            from the stored one's, the chunks of the older version go and those of ``submission.log``, if any, come.
    """

    answer: Receipt | RunConflict
    write: StoredRun | None


def arrive(
    result: TaskResult,
    *,
    tenant_id: UUID,
    agent_id: UUID,
    received_at: datetime,
    agent_known: bool = False,
    max_log_bytes: int = MAX_LOG_BYTES,
) -> Submission:
    """Make a result that has arrived ready for a store: settle its times, measure its log, take its digest."""
    log, log_sha256 = (None, None) if result.log is None else measure(result.log, max_bytes=max_log_bytes)
    end_time = result.end_time or received_at
    try:
        start_time = result.start_time or end_time - timedelta(seconds=result.duration_seconds)
    except OverflowError:  # An agent whose clock is not set: no result is refused for that.
        start_time = _EARLIEST
    run = BackupRun(
        id=result.task_id,
        tenant_id=tenant_id,
        agent_id=agent_id,
        policy_id=result.policy_id,
        task_type=result.task_type,
        status=result.status,
        start_time=start_time,
        end_time=end_time,
        duration_seconds=result.duration_seconds,
        error_message=result.error_message,
        snapshot_id=result.snapshot_id,
        received_at=received_at,
        updated_at=received_at,
        log_state=_log_state(log),
        log_bytes=log.size if log else 0,
        log_sha256=log.sha256 if log else None,
        dropped_bytes=log.dropped_bytes if log else 0,
    )
    if run.is_active:
        run = attrs.evolve(run, end_time=None)
    return Submission(
        run=run,
        digest=_digest(result, log_sha256),
        end_time_reported=result.end_time is not None and not run.is_active,
        log=log,
        agent_known=agent_known,
    )


def decide(stored: StoredRun | None, arriving: Submission) -> Decision:  # noqa: PLR0911 - one return a row
    """Decide what a submission does to what is stored under its task id. The rows are those of docs/delivery.md."""
    if stored is None:
        return _decision(
            Outcome.CREATED,
            StoredRun(run=arriving.run, digest=arriving.digest, end_time_reported=arriving.end_time_reported),
        )
    if stored.run.agent_id != arriving.run.agent_id:
        return Decision(answer=RunConflict(), write=None)
    if arriving.digest == stored.digest:
        if stored.run.log_state is LogState.LOST and arriving.log is not None:
            return _decision(Outcome.UPDATED, _with_log_found(stored, arriving))
        return _unchanged(Outcome.REPLAYED, stored)
    if arriving.digest in stored.superseded:
        return _unchanged(Outcome.STALE, stored)
    if not stored.run.is_active:
        if arriving.run.is_active:
            return _unchanged(Outcome.STALE, stored)
        if _ended_before(arriving, stored):
            # Remembered, so that a retry stays stale even when what is stored by then has no end time to compare.
            remembered = attrs.evolve(stored, superseded=_remember(stored.superseded, arriving.digest))
            return _decision(Outcome.STALE, remembered)
    return _decision(Outcome.UPDATED, _replaced(stored, arriving))


def _decision(outcome: Outcome, write: StoredRun) -> Decision:
    return Decision(answer=_receipt(outcome, write.run), write=write)


def _unchanged(outcome: Outcome, stored: StoredRun) -> Decision:
    return Decision(answer=_receipt(outcome, stored.run), write=None)


def _receipt(outcome: Outcome, run: BackupRun) -> Receipt:
    return Receipt(run_id=run.id, outcome=outcome, log_state=run.log_state, log_bytes=run.log_bytes)


def _ended_before(arriving: Submission, stored: StoredRun) -> bool:
    ended, stands = arriving.run.end_time, stored.run.end_time
    if not (arriving.end_time_reported and stored.end_time_reported) or ended is None or stands is None:
        return False
    return ended < stands


def _with_log_found(stored: StoredRun, arriving: Submission) -> StoredRun:
    run = attrs.evolve(
        stored.run,
        updated_at=arriving.run.updated_at,
        log_state=arriving.run.log_state,
        log_bytes=arriving.run.log_bytes,
        log_sha256=arriving.run.log_sha256,
        dropped_bytes=arriving.run.dropped_bytes,
    )
    return attrs.evolve(stored, run=run, log_version=stored.log_version + 1)


def _replaced(stored: StoredRun, arriving: Submission) -> StoredRun:
    run = attrs.evolve(arriving.run, received_at=stored.run.received_at)
    log_version = stored.log_version + 1
    if stored.run.is_active and run.log_state is LogState.NONE:
        # No log was sent: what the task appended while it ran stays, and is closed when the task has ended.
        closed = stored.run.log_state is LogState.OPEN and not run.is_active
        run = attrs.evolve(
            run,
            log_state=LogState.COMPLETE if closed else stored.run.log_state,
            log_bytes=stored.run.log_bytes,
            log_sha256=stored.run.log_sha256,
            dropped_bytes=stored.run.dropped_bytes,
        )
        log_version = stored.log_version
    return StoredRun(
        run=run,
        digest=arriving.digest,
        superseded=_remember(stored.superseded, stored.digest),
        end_time_reported=arriving.end_time_reported,
        log_version=log_version,
    )


def _remember(digests: tuple[bytes, ...], digest: bytes) -> tuple[bytes, ...]:
    return (*digests, digest)[-_REMEMBERED_DIGESTS:]


def _log_state(log: Log | None) -> LogState:
    if log is None:
        return LogState.NONE
    return LogState.TRUNCATED if log.dropped_bytes else LogState.COMPLETE


def _digest(result: TaskResult, log_sha256: bytes | None) -> bytes:
    """Digest every field. It is stored: another order or form would make every retry across an upgrade an update."""
    # No field can hold a NUL, so that two different results never join to the same text.
    fields = (
        result.policy_id.hex,
        result.task_type,
        result.status,
        repr(result.duration_seconds),
        result.snapshot_id or "",
        result.error_message or "",
        result.start_time.isoformat() if result.start_time else "",
        result.end_time.isoformat() if result.end_time else "",
        log_sha256.hex() if log_sha256 else "",
    )
    return hashlib.sha256("\0".join(fields).encode()).digest()
