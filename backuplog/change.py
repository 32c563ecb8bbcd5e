"""What a change of a run is: what is stored, what is decided about it, and who decides. Pure, without I/O.

A backend finds the run that a change names, calls ``decide`` under its lock on that run's row, writes what the decision
says and returns its answer. It decides nothing itself, so that a new kind of change needs no new code in any backend.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Generic, Protocol, TypeVar
from uuid import UUID

import attrs

from .chunk import Chunk, compress, place, split
from .model import BackupRun, LogState

AnswerT = TypeVar("AnswerT")
"""The answer to any kind of change, in annotations."""
AnswerT_co = TypeVar("AnswerT_co", covariant=True)

READABLE_STATES: Final = frozenset({LogState.OPEN, LogState.COMPLETE, LogState.TRUNCATED})
"""The states of a log that can be read."""


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
        log_gap: Between which two offsets bytes of an appended log are missing, because it was too long; ``(0, 0)`` if
            none are.
        log_context: What redaction has to know of the end of a log that grows.
        log_held: The last bytes of a log that grows, which may yet turn out to be a secret. They are received, and not
            part of the log before that is decided.
    """

    run: BackupRun
    digest: bytes
    superseded: tuple[bytes, ...] = ()
    end_time_reported: bool
    log_version: int = 1
    log_gap: tuple[int, int] = (0, 0)
    log_context: bytes = attrs.field(default=b"", repr=False)
    log_held: bytes = attrs.field(default=b"", repr=False)

    @property
    def log_end(self) -> int:
        """The offset at which the log goes on, which is how many bytes of it were received; 0 if it must begin anew."""
        return 0 if self.begins_anew else self.offset_of(self.run.log_bytes) + len(self.log_held)

    @property
    def begins_anew(self) -> bool:
        """Whether the log cannot go on: it is lost, or a running task brought it with an end that is not its own."""
        return self.run.log_state is LogState.LOST or (self._was_cut and self.run.may_go_on)

    @property
    def has_unknown_end(self) -> bool:
        """Whether it is not known any more how many bytes of the log came: it expired, or was cut when it came."""
        return self.run.log_state is LogState.EXPIRED or (self._was_cut and not self.run.may_go_on)

    @property
    def _was_cut(self) -> bool:
        """Whether the log was cut before it came to be stored, which leaves no gap between its offsets."""
        return self.run.log_state is LogState.TRUNCATED and self.log_gap == (0, 0)

    def offset_of(self, position: int) -> int:
        """Return under which offset the byte at a position in the log is stored. They differ behind a gap.

        Args:
            position: How many bytes of what is stored of the log come before it.
        """
        start, stop = self.log_gap
        return position if position < start else position + stop - start

    def has_log_of(self, other: "StoredRun") -> bool:
        """Return whether the logs of two states of a run are the same.

        Args:
            other: The other state.
        """
        return (self.log_version, self.log_end, self.log_gap) == (other.log_version, other.log_end, other.log_gap)


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
        drop_until: Keep those that begin at this offset or later; None keeps none.
        drop_later: Whether a backend may delete them when it suits it, if ``drop`` is 0. ``write`` has no log then, so
            that nobody reads them. They must be gone with the run, and before another log of it is stored.
        remove: Whether to delete the run and its whole log. ``write`` is None then.
    """

    answer: AnswerT_co
    write: StoredRun | None = None
    chunks: Iterable[Chunk] = attrs.field(default=(), repr=False)
    drop: int | None = None
    drop_until: int | None = None
    drop_later: bool = False
    remove: bool = False


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
class Amendment:
    """A change that is made only if the run is still as it was read: growing its log, closing, recording, expiring.

    Whoever makes it reads the run and whatever else it needs outside of any lock, decides, and begins again if the
    answer is False.

    Attributes:
        read: The run as it was read.
        write: The run to store in its place.
        parts: Bytes of the log to store, each with its offset.
        drop: As in ``Decision``.
        drop_until: As in ``Decision``.
        requires_agent: None: the run has an agent already.
    """

    read: StoredRun
    write: StoredRun
    parts: tuple[tuple[int, bytes], ...] = attrs.field(default=(), repr=False)
    drop: int | None = None
    drop_until: int | None = None
    requires_agent: None = None

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return self.read.run.id

    def decide(self, stored: StoredRun | None) -> Decision[bool]:
        """Decide to make the change if the run is as it was read, and answer whether it is.

        Args:
            stored: What is stored under the run's id; None if nothing is.
        """
        if stored != self.read:
            return Decision(answer=False)
        drop, drop_until = self.drop, self.drop_until
        return Decision(answer=True, write=self.write, chunks=self.chunks(), drop=drop, drop_until=drop_until)

    def chunks(self) -> Iterator[Chunk]:
        """Return the chunks of the parts, in order, anew at each call."""
        for offset, part in self.parts:
            yield from place(map(compress, split(part)), self.run_id, self.write.log_version, offset)
