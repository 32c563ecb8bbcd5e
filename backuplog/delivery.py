"""What a change does to what is stored: the delivery contract, as pure functions without I/O.

Agents retry everything, so the same result comes twice, late and out of order. A backend finds the run that a change
names, calls ``decide`` under its lock on that run's row, writes what the decision says and returns its answer. It
decides nothing itself, so that a new kind of change needs no new code in any backend.
"""

import hashlib
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

import attrs

from .chunk import MAX_LOG_BYTES, Chunk, Log, prepare_log
from .convert import stats_details
from .errors import AgentNotFound, RunConflict
from .model import FIGURES, BackupRun, LogState, Outcome, Receipt, RunStats, TaskResult

Answer: TypeAlias = Receipt | AgentNotFound | RunConflict
"""The answer to a submitted result."""

AnswerT = TypeVar("AnswerT")
"""The answer to any kind of change, in annotations."""
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

_SIZES: Final = frozenset({"data_added", "total_bytes_processed", "data_added_packed", "data_compressed"})
_REMEMBERED: Final = 16
_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


@attrs.frozen(kw_only=True)
class StoredRun:
    """A run, with what a backend stores beside it to decide about later changes.

    Attributes:
        run: The run.
        digest: The digest of the submission that the run came from, 32 bytes.
        superseded: The digests of the last 16 submissions that this one replaced, oldest first. Before them, those of
            up to 16 that came too late to be stored: however many come, they push out none that was stored.
        end_time_reported: Whether the agent reported the run's end time.
        log_version: The version under which the chunks of the run's log are stored. It grows when the log is replaced,
            so that a reader never mixes two logs.
    """

    run: BackupRun
    digest: bytes
    superseded: tuple[bytes, ...] = ()
    end_time_reported: bool
    log_version: int = 1


@attrs.frozen(kw_only=True)
class Decision(Generic[AnswerT_co]):
    """What to answer, and what to write.

    Attributes:
        answer: The answer to the change.
        write: The run to store in place of the stored one; None to write nothing.
        chunks: The chunks to store under ``write.log_version``. They are made while they are read: read them once and
            one at a time, because a log may be larger than memory.
        drop: Before storing ``chunks``, delete the run's chunks that begin at this offset or later, whatever their
            version. 0 deletes the whole log, None deletes nothing.
    """

    answer: AnswerT_co
    write: StoredRun | None = None
    chunks: Iterable[Chunk] = attrs.field(default=(), repr=False)
    drop: int | None = None


class Change(Protocol[AnswerT_co]):
    """A change to one run: a result that arrives, a line for its log, the expiry of its log."""

    @property
    def run_id(self) -> UUID:
        """The id of the run to change."""
        ...

    @property
    def requires_agent(self) -> UUID | None:
        """The agent that must be stored, or else the answer is ``AgentNotFound``; None if no agent need be stored."""
        ...

    def decide(self, stored: StoredRun | None) -> Decision[AnswerT_co]:
        """Decide what the change does. This is pure and quick, and may be called any number of times.

        A backend may ask about any run as if nothing were stored, and discard the decision. So it answers, and does not
        raise. A change that is made again, because its answer was lost, must do no harm.

        Args:
            stored: What is stored under ``run_id``; None if nothing is.
        """
        ...


@attrs.frozen(kw_only=True)
class Submission:
    """The change that an arriving result makes.

    Attributes:
        run: The run to store if none is stored yet.
        digest: SHA-256 of every field and the log, 32 bytes: the same content has the same digest.
        end_time_reported: Whether the agent reported the end time.
        log: The log to store; None if none was sent, or if it could not be stored (``run.log_state`` is then ``lost``).
        requires_agent: The agent that must be stored; None if it is known to exist.
    """

    run: BackupRun
    digest: bytes
    end_time_reported: bool
    log: Log | None
    requires_agent: UUID | None

    @property
    def run_id(self) -> UUID:
        """The id of the run that the result is about."""
        return self.run.id

    def without_log(self) -> "Submission":
        """Return the submission without its log, which then counts as lost."""
        return attrs.evolve(self, run=attrs.evolve(self.run, log_state=LogState.LOST, dropped_bytes=0), log=None)

    def decide(self, stored: StoredRun | None) -> Decision[Answer]:  # noqa: PLR0911 - one return a row
        """Decide what the result does to what is stored, by the table in docs/delivery.md.

        Args:
            stored: What is stored under the task's id; None if nothing is.
        """
        if stored is None:
            first = StoredRun(run=self.run, digest=self.digest, end_time_reported=self.end_time_reported)
            return self._decision(Outcome.CREATED, first.run, first, self.log)
        if stored.run.agent_id != self.run.agent_id:
            return Decision(answer=RunConflict())
        if self._brings_lost_log(stored):
            run = attrs.evolve(_with_log_of(stored.run, self.run), updated_at=self.run.updated_at)
            found = attrs.evolve(stored, run=run, log_version=stored.log_version + 1)
            return self._decision(Outcome.UPDATED, run, found, self.log, drop=0)
        if self.digest == stored.digest:
            return self._decision(Outcome.REPLAYED, stored.run)
        if self.digest in stored.superseded:
            return self._decision(Outcome.STALE, stored.run)
        if not stored.run.is_active:
            if self.run.is_active:
                return self._decision(Outcome.STALE, stored.run)
            if self._ended_before(stored):
                # Remembered, so that a retry stays stale even when what is stored by then has no end time to compare.
                late, superseded = stored.superseded[:-_REMEMBERED], stored.superseded[-_REMEMBERED:]
                remembered = attrs.evolve(stored, superseded=((*late, self.digest)[-_REMEMBERED:] + superseded))
                return self._decision(Outcome.STALE, stored.run, remembered)
        write = self._replacing(stored)
        if write.log_version == stored.log_version:
            return self._decision(Outcome.UPDATED, write.run, write)
        return self._decision(Outcome.UPDATED, write.run, write, self.log, drop=0)

    def _decision(
        self,
        outcome: Outcome,
        run: BackupRun,
        write: StoredRun | None = None,
        log: Log | None = None,
        *,
        drop: int | None = None,
    ) -> Decision[Answer]:
        # Only who has sent a log can send it again: nobody else is told that it was lost.
        is_anothers = outcome is Outcome.STALE or self.run.log_state is LogState.NONE
        is_hidden = run.log_state is LogState.LOST and is_anothers
        return Decision(
            answer=Receipt(
                run_id=run.id,
                outcome=outcome,
                log_state=LogState.NONE if is_hidden else run.log_state,
                log_bytes=0 if is_hidden else run.log_bytes,
            ),
            write=write,
            chunks=() if log is None or write is None else log.chunks(run.id, write.log_version),
            drop=drop,
        )

    def _brings_lost_log(self, stored: StoredRun) -> bool:
        """Whether the log that a run lacks comes with the same result, or with an earlier one that had lost it."""
        if stored.run.log_state is not LogState.LOST or self.log is None:
            return False
        is_earlier = self.digest in stored.superseded and self.run.log_sha256 == stored.run.log_sha256
        return self.digest == stored.digest or is_earlier

    def _ended_before(self, stored: StoredRun) -> bool:
        ended, stands = self.run.end_time, stored.run.end_time
        if not (self.end_time_reported and stored.end_time_reported) or ended is None or stands is None:
            return False
        return ended < stands

    def _replacing(self, stored: StoredRun) -> StoredRun:
        run, log_version = attrs.evolve(self.run, received_at=stored.run.received_at), stored.log_version + 1
        if stored.run.is_active and run.log_state is LogState.NONE:
            # No log was sent: what the task appended while it ran stays, and is closed when the task has ended.
            run, log_version = _with_log_of(run, stored.run), stored.log_version
            if run.log_state is LogState.OPEN and not run.is_active:
                run = attrs.evolve(run, log_state=LogState.COMPLETE)
        return StoredRun(
            run=run,
            digest=self.digest,
            superseded=(
                *stored.superseded[:-_REMEMBERED],
                *(*stored.superseded[-_REMEMBERED:], stored.digest)[-_REMEMBERED:],
            ),
            end_time_reported=self.end_time_reported,
            log_version=log_version,
        )


def prepare_submission(
    result: TaskResult,
    *,
    tenant_id: UUID,
    agent_id: UUID,
    received_at: datetime,
    requires_agent: UUID | None,
    max_log_bytes: int = MAX_LOG_BYTES,
    read: RunStats | None = None,
) -> Submission:
    """Prepare an arriving result for a backend: settle its times, prepare its log and compute its digest.

    Args:
        result: The result.
        tenant_id: The tenant that the run will belong to.
        agent_id: The agent that sent the result.
        received_at: When the result was received, in UTC.
        requires_agent: The agent that must be stored; None if it is known to exist.
        max_log_bytes: The longest log to keep whole, in bytes. Of a longer log, only the head and the tail are kept.
        read: The figures that the log tells; None if it tells none. Those that the agent sent win.
    """
    stats = _joined(result.stats, read)
    log, log_sha256 = (None, None) if result.log is None else prepare_log(result.log, max_bytes=max_log_bytes)
    end_time = result.end_time or received_at
    try:
        start_time = result.start_time or end_time - timedelta(seconds=result.duration_seconds)
    except OverflowError:  # An agent whose clock is not set: no result is refused for that.
        start_time = _EARLIEST
    is_active = result.is_active
    run = BackupRun(
        id=result.task_id,
        tenant_id=tenant_id,
        agent_id=agent_id,
        policy_id=result.policy_id,
        task_type=result.task_type,
        status=result.status,
        start_time=start_time,
        end_time=None if is_active else end_time,
        duration_seconds=result.duration_seconds,
        error_message=result.error_message,
        snapshot_id=result.snapshot_id or (stats.snapshot_id if stats else None),
        received_at=received_at,
        updated_at=received_at,
        log_state=LogState.NONE if not log else LogState.TRUNCATED if log.dropped_bytes else LogState.COMPLETE,
        log_bytes=log.size if log else 0,
        log_sha256=log.sha256 if log else None,
        dropped_bytes=log.dropped_bytes if log else 0,
        stats=stats,
    )
    return Submission(
        run=run,
        digest=_digest(result, log_sha256),
        end_time_reported=result.end_time is not None and not is_active,
        log=log,
        requires_agent=requires_agent,
    )


def _joined(sent: RunStats | None, read: RunStats | None) -> RunStats | None:
    """Fill in what the agent did not send from what its log tells."""
    if sent is None or read is None:
        return sent or read
    given: dict[str, Any] = {
        field.name: value
        for field in attrs.fields(RunStats)
        if (value := getattr(sent, field.name)) != field.default and field.name != "approximate"
    }
    is_rounded = read.approximate and any(getattr(read, name) is not None for name in _SIZES - given.keys())
    return attrs.evolve(read, **given, approximate=sent.approximate or is_rounded)


def _with_log_of(run: BackupRun, other: BackupRun) -> BackupRun:
    return attrs.evolve(
        run,
        log_state=other.log_state,
        log_bytes=other.log_bytes,
        log_sha256=other.log_sha256,
        dropped_bytes=other.dropped_bytes,
    )


def _digest(result: TaskResult, log_sha256: bytes | None) -> bytes:
    """Digest every field. It is stored: another order or form would make every retry across an upgrade an update."""
    # No field can hold a NUL, so that two different results never join to the same text.
    fields = [
        result.policy_id.hex,
        result.task_type,
        result.status,
        repr(result.duration_seconds),
        result.snapshot_id or "",
        result.error_message or "",
        result.start_time.isoformat() if result.start_time else "",
        result.end_time.isoformat() if result.end_time else "",
        log_sha256.hex() if log_sha256 else "",
    ]
    if result.stats:
        fields += [*(repr(getattr(result.stats, name)) for name in FIGURES), stats_details(result.stats) or ""]
    return hashlib.sha256("\0".join(fields).encode()).digest()
