"""What an arriving result does to what is stored: the delivery contract, as pure functions without I/O.

Agents retry everything, so the same result comes twice, late and out of order.
"""

import hashlib
from typing import Any, Final, TypeAlias
from uuid import UUID

import attrs

from .change import READABLE_STATES, Amendment, Decision, StoredRun
from .chunk import DROPPED, Log
from .errors import AgentNotFound, LogClosed, LogOffsetMismatch, RunConflict
from .model import BackupRun, LogState, Outcome, Receipt, RunStats
from .normalise import LOST

_SIZES: Final = frozenset({"data_added", "total_bytes_processed", "data_added_packed", "data_compressed"})
_REMEMBERED: Final = 16
_EMPTY_SHA256: Final = hashlib.sha256().digest()


@attrs.frozen(kw_only=True)
class Claim:
    """What an agent says of a whole log that it has sent in pieces.

    Attributes:
        size: How long it is, in bytes; None if the agent does not say.
        sha256: Its SHA-256, 32 bytes; None if the agent does not say.
        is_truncated: Whether no more of it will come, though it is longer.
    """

    size: int | None = None
    sha256: bytes | None = None
    is_truncated: bool = False


@attrs.frozen(kw_only=True)
class OpenLog:
    """The answer to a result that ends a task with an appended log: read the log, and submit the result with it.

    Attributes:
        stored: The run whose log is to be read.
    """

    stored: StoredRun


Answer: TypeAlias = Receipt | AgentNotFound | RunConflict | LogOffsetMismatch | LogClosed | OpenLog
"""The answer to a submitted result."""


@attrs.frozen(kw_only=True)
class Submission:
    """The change that an arriving result makes.

    Attributes:
        run: The run to store if none is stored yet.
        digest: SHA-256 of every field and the log, 32 bytes: the same content has the same digest.
        end_time_reported: Whether the agent reported the end time.
        log: The log to store; None if none was sent, or if it could not be stored (``run.log_state`` is then ``lost``).
        log_context: As in ``StoredRun``.
        log_held: As in ``StoredRun``.
        claim: What the agent says of a log that it has sent in pieces.
        closing: The amendment that closes that log, once it has been read; None before.
        requires_agent: The agent that must be stored; None if it is known to exist.
    """

    run: BackupRun
    digest: bytes
    end_time_reported: bool
    log: Log | None
    log_context: bytes = attrs.field(default=b"", repr=False)
    log_held: bytes = attrs.field(default=b"", repr=False)
    claim: Claim = Claim()
    closing: Amendment | None = attrs.field(default=None, repr=False)
    requires_agent: UUID | None

    @property
    def run_id(self) -> UUID:
        """The id of the run that the result is about."""
        return self.run.id

    @property
    def brings_log(self) -> bool:
        """Whether a log came with the result, be it that it could not be stored."""
        return self.log is not None or self.run.log_state is LogState.LOST

    def without_log(self) -> "Submission":
        """Return the submission without its log, which then counts as lost."""
        log_bytes = self.run.log_bytes + len(self.log_held)
        run = attrs.evolve(self.run, log_state=LogState.LOST, log_bytes=log_bytes, dropped_bytes=0)
        return attrs.evolve(self, run=run, log=None, log_context=b"", log_held=b"")

    def decide(self, stored: StoredRun | None) -> Decision[Answer]:  # noqa: PLR0911 - one return a row
        """Decide what the result does to what is stored, by the table in docs/delivery.md.

        Args:
            stored: What is stored under the task's id; None if nothing is.
        """
        if stored is None:
            first = self._first()
            is_missed = self.claim.size and not self.claim.is_truncated
            if not (self.brings_log or self.run.is_active) and (is_missed or not self.describes(first)):
                return Decision(answer=LogOffsetMismatch(0))
            return self._decision(Outcome.CREATED, first.run, first, self.log)
        if stored.run.agent_id != self.run.agent_id:
            return Decision(answer=RunConflict())
        if self._brings_lost_log(stored):
            run = attrs.evolve(with_log_of(stored.run, self.run), updated_at=self.run.updated_at)
            found = attrs.evolve(
                stored,
                run=run,
                log_version=stored.log_version + 1,
                log_context=self.log_context,
                log_held=self.log_held,
            )
            return self._decision(Outcome.UPDATED, run, found, self.log, drop=0)
        if self.digest == stored.digest and self.run.is_active and stored.run.status == LOST:
            again = attrs.evolve(with_log_of(self.run, stored.run), received_at=stored.run.received_at)
            return self._decision(Outcome.UPDATED, again, attrs.evolve(stored, run=again))
        if self.digest == stored.digest:
            return self._decision(Outcome.REPLAYED, stored.run)
        if self.digest in stored.superseded or (self.run.is_active and not stored.run.may_go_on):
            return self._decision(Outcome.STALE, stored.run)
        if not stored.run.may_go_on and ended_before(self, stored):
            # Remembered, so that a retry stays stale even when what is stored by then has no end time to compare.
            remembered = attrs.evolve(stored, superseded=remembering(stored.superseded, self.digest))
            return self._decision(Outcome.STALE, stored.run, remembered)
        return self._replace(stored)

    def _first(self) -> StoredRun:
        return StoredRun(
            run=self.run,
            digest=self.digest,
            end_time_reported=self.end_time_reported,
            log_context=self.log_context,
            log_held=self.log_held,
        )

    def _replace(self, stored: StoredRun) -> Decision[Answer]:
        """Put the result in the place of an older one, whose log stays if its task was active and no other came."""
        is_meant = self.claim.size or self.claim.sha256
        if self.brings_log or not (stored.run.may_go_on or is_meant):
            write = self._replacing(stored, attrs.evolve(self._first(), log_version=stored.log_version + 1))
            return self._decision(Outcome.UPDATED, write.run, write, self.log, drop=0)
        if self.run.is_active:
            write = self._replacing(stored, stored)
            return self._decision(Outcome.UPDATED, write.run, write)
        return self._end(stored)

    def _end(self, stored: StoredRun) -> Decision[Answer]:
        """End a task whose log has come before its result, and stays."""
        if not (self.claim.size in (None, stored.log_end) or self.claim.is_truncated or stored.has_unknown_end):
            return self._mismatch(stored)
        closing = self.closing
        if stored.run.log_state not in READABLE_STATES:
            closing = Amendment(read=stored, write=attrs.evolve(stored, run=attrs.evolve(stored.run, stats=None)))
        elif closing is None or not stored.has_log_of(closing.read):
            return Decision(answer=OpenLog(stored=stored))
        log = closing.write
        if not self.describes(log):
            return self._mismatch(stored)
        write = self._replacing(stored, self._cut(log) if self.claim.is_truncated else log)
        stats = joined(self.run.stats, log.run.stats)
        snapshot_id = self.run.snapshot_id or (stats.snapshot_id if stats else None)
        write = attrs.evolve(write, run=attrs.evolve(write.run, stats=stats, snapshot_id=snapshot_id))
        decision = self._decision(Outcome.UPDATED, write.run, write)
        return attrs.evolve(decision, chunks=closing.chunks(), drop=closing.drop)

    def _mismatch(self, stored: StoredRun) -> Decision[Answer]:
        """Say where to go on; to whom can go on."""
        end = stored.log_end
        return Decision(answer=LogOffsetMismatch(end) if stored.run.may_go_on else LogClosed(end))

    def _cut(self, log: StoredRun) -> StoredRun:
        """Return a log of which no more will come, with what is missing according to the agent."""
        run = log.run
        if run.log_state is LogState.EXPIRED:
            return log
        if run.log_state is LogState.LOST:
            run = attrs.evolve(run, log_bytes=0, log_sha256=None)
        kept = run.log_bytes - (len(DROPPED) if log.log_gap != (0, 0) else 0)
        dropped_bytes = max(run.dropped_bytes, (self.claim.size or 0) - kept)
        return attrs.evolve(log, run=attrs.evolve(run, log_state=LogState.TRUNCATED, dropped_bytes=dropped_bytes))

    def describes(self, log: StoredRun) -> bool:
        """Return whether the bytes of a log are those that the agent says it has sent.

        Args:
            log: The run with the log, which is closed.
        """
        claimed, run = self.claim.sha256, log.run
        if self.claim.is_truncated or claimed is None or log.has_unknown_end:
            return True
        if run.log_state is LogState.LOST or log.log_end == 0:
            return claimed == _EMPTY_SHA256
        # What was masked or dropped is not to be compared any more.
        return bool(run.redactions or run.dropped_bytes) or run.log_sha256 in (None, claimed)

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
        is_anothers = outcome is Outcome.STALE or not self.brings_log
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
        if self.log_held and not stored.run.may_go_on:  # It would never be shown whole.
            return False
        is_earlier = self.digest in stored.superseded and self.run.log_sha256 == stored.run.log_sha256
        return self.digest == stored.digest or is_earlier

    def _replacing(self, stored: StoredRun, log: StoredRun) -> StoredRun:
        """Put the result in the place of what is stored, with the log of another: its own, or the one that stays."""
        run = attrs.evolve(with_log_of(self.run, log.run), received_at=stored.run.received_at)
        return attrs.evolve(
            log,
            run=run,
            digest=self.digest,
            superseded=(
                *stored.superseded[:-_REMEMBERED],
                *(*stored.superseded[-_REMEMBERED:], stored.digest)[-_REMEMBERED:],
            ),
            end_time_reported=self.end_time_reported,
        )


def ended_before(late: Submission | StoredRun, stored: StoredRun) -> bool:
    """Return whether a result is of an earlier end than another, where the agent has reported both ends.

    Args:
        late: The result that may be the earlier one.
        stored: The other.
    """
    ended, stands = late.run.end_time, stored.run.end_time
    if not (late.end_time_reported and stored.end_time_reported) or ended is None or stands is None:
        return False
    return ended < stands


def joined(sent: RunStats | None, read: RunStats | None) -> RunStats | None:
    """Fill in what the agent did not send from what its log tells.

    Args:
        sent: The figures that the agent sent.
        read: The figures that its log tells.
    """
    if sent is None or read is None:
        return sent or read
    given: dict[str, Any] = {
        field.name: value
        for field in attrs.fields(RunStats)
        if (value := getattr(sent, field.name)) != field.default and field.name != "approximate"
    }
    is_rounded = read.approximate and any(getattr(read, name) is not None for name in _SIZES - given.keys())
    return attrs.evolve(read, **given, approximate=sent.approximate or is_rounded)


def remembering(superseded: tuple[bytes, ...], *late: bytes) -> tuple[bytes, ...]:
    """Add digests of submissions that came too late to those that a run remembers, as ``StoredRun`` keeps them.

    Args:
        superseded: The digests that the run remembers.
        late: The digests to add, oldest first.
    """
    before, replaced = superseded[:-_REMEMBERED], superseded[-_REMEMBERED:]
    return (*before, *late)[-_REMEMBERED:] + replaced


def with_log_of(run: BackupRun, other: BackupRun) -> BackupRun:
    """Return a run with what another says of its log.

    Args:
        run: The run.
        other: The run whose log it is to have.
    """
    return attrs.evolve(
        run,
        log_state=other.log_state,
        log_bytes=other.log_bytes,
        log_sha256=other.log_sha256,
        dropped_bytes=other.dropped_bytes,
        redactions=other.redactions,
    )
