"""What becomes of a run that is taken over into a store that may have it already. Pure, without I/O.

Two stores may each have taken in results of one task. What stands in the end is what would stand if all of them had
come to one store: the delivery contract decides, and a late retry is recognised whichever store had its result.
"""

import zlib
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from uuid import UUID

import attrs

from .change import Decision, StoredRun
from .chunk import Chunk, Frame, is_intact, place
from .delivery import ended_before, remembering, with_log_of
from .model import LogState
from .normalise import LOST


class Fate(StrEnum):
    """What became of a run that was to be taken over."""

    COPIED = "copied"
    """The store did not have it: it has now."""
    EQUAL = "equal"
    """The store had the same: nothing was written."""
    UPDATED = "updated"
    """The store had it in an earlier state, or without all of its log, and has it as it is now."""
    KEPT = "kept"
    """The store had something newer, which stays."""
    CONFLICTING = "conflicting"
    """The store has a run of another agent under the same id, which stays."""


@attrs.frozen(kw_only=True)
class Taken:
    """The answer to a run that was to be taken over.

    Attributes:
        fate: What became of it.
        stored: What the store holds under its id from now on.
        has_log: Whether the store holds its log, chunk by chunk.
    """

    fate: Fate
    stored: StoredRun
    has_log: bool


@attrs.frozen(kw_only=True)
class Takeover:
    """The change that takes a run over from another store.

    Attributes:
        read: The run as it was read there.
        chunks: Returns the chunks of its log as they were read there, anew at each call.
        requires_agent: None: the run was accepted there already.
    """

    read: StoredRun
    chunks: Callable[[], Iterable[Chunk]] = attrs.field(repr=False)
    requires_agent: None = None

    @property
    def run_id(self) -> UUID:
        """The id of the run."""
        return self.read.run.id

    def decide(self, stored: StoredRun | None) -> Decision[Taken]:
        """Decide what stands, by ``merge``.

        Args:
            stored: What is stored under the run's id; None if nothing is.
        """
        if stored is None:
            taken = Taken(fate=Fate.COPIED, stored=self.read, has_log=True)
            return Decision(answer=taken, write=self.read, chunks=self.chunks())
        if stored == self.read:
            return Decision(answer=Taken(fate=Fate.EQUAL, stored=stored, has_log=True))
        if stored.run.agent_id != self.read.run.agent_id:
            return Decision(answer=Taken(fate=Fate.CONFLICTING, stored=stored, has_log=False))
        write, has_log = merge(self.read, stored)
        is_news = has_log or (write.digest == self.read.digest and write != stored)
        taken = Taken(fate=Fate.UPDATED if is_news else Fate.KEPT, stored=write, has_log=has_log)
        if not has_log:
            return Decision(answer=taken, write=None if write == stored else write)
        return Decision(answer=taken, write=write, chunks=self.chunks_in(write), drop=0)

    def chunks_in(self, stored: StoredRun) -> Iterable[Chunk]:
        """Return the chunks as they are stored beside a run that has this log.

        Args:
            stored: The run as the store holds it.
        """
        return (moved(chunk, self.run_id, self.read.log_version, stored.log_version) for chunk in self.chunks())


def merge(source: StoredRun, target: StoredRun) -> tuple[StoredRun, bool]:
    """Decide what stands of a run that two stores hold. Deciding again, on what then stands, changes nothing.

    Where both have the same result, the times are those of the store that had it first, and the log is the one of which
    more came; a log that the source has removed because of its age is removed. What only the source has ignored as too
    late is remembered. But where a store has given the task up, or both hold the same delivery, the one that has heard
    of the task last says its status and times; of two that heard of it at the same time, the one where it is ``lost``.

    Otherwise the later result stands with its log, and the other is remembered as superseded: the one that superseded
    the other, or ended its task, or ended later by its agent's clock, and else the target's.

    Args:
        source: What the other store holds.
        target: What this store holds.

    Returns:
        What stands, and whether it has the log of the source, whose chunks then take the place of all others.
    """
    received_at = min(source.run.received_at, target.run.received_at)
    if source.digest == target.digest:
        first = target if target.run.received_at == received_at else source
        is_one_delivery = source.run.received_at == target.run.received_at
        is_given_up = LOST in (source.run.status, target.run.status)
        stands = max(target, source, key=_last_heard_of) if is_one_delivery or is_given_up else first
        logged = source if _has_more_log(source, target) else target
        is_news = {*source.superseded} > {*target.superseded}
        superseded = source.superseded if is_news else first.superseded
    else:
        stands, other = (source, target) if _is_later(source, target) else (target, source)
        logged = stands
        superseded = stands.superseded
        if other.digest not in superseded:
            known = {stands.digest, *superseded}
            superseded = remembering(
                superseded, *(digest for digest in (*other.superseded, other.digest) if digest not in known)
            )
    run = attrs.evolve(with_log_of(stands.run, logged.run), received_at=received_at)
    if logged is not stands:
        run = attrs.evolve(run, updated_at=max(stands.run.updated_at, logged.run.updated_at))
    merged = attrs.evolve(
        stands,
        run=run,
        superseded=superseded,
        log_version=_version(source, target) if logged is source else target.log_version,
        log_gap=logged.log_gap,
        log_context=logged.log_context,
        log_held=logged.log_held,
    )
    return merged, logged is source


def moved(chunk: Chunk, run_id: UUID, before: int, after: int) -> Chunk:
    """Return a chunk as it is stored under another version of the log. A damaged chunk stays as it is, and damaged.

    Args:
        chunk: The chunk, as it was stored.
        run_id: The id of the run under which it was found.
        before: The version of the log under which it was found.
        after: The version of the log under which to store it.
    """
    if before == after or not is_intact(chunk, run_id, before):
        return chunk
    frame = Frame(chunk.size, chunk.codec, zlib.crc32(chunk.data), chunk.data)
    return next(place([frame], run_id, after, chunk.offset))


def _last_heard_of(stored: StoredRun) -> tuple[datetime, bool]:
    """Return what orders two states of one result. Giving a task up is not hearing of it, and comes after."""
    return stored.run.updated_at, stored.run.status == LOST


def _has_more_log(source: StoredRun, target: StoredRun) -> bool:
    if target.run.log_state is LogState.EXPIRED:
        return False
    # A lost log has no end, but an empty one that came after all is more.
    length, known = ((each.run.log_state is not LogState.LOST, each.log_end) for each in (source, target))
    return source.run.log_state is LogState.EXPIRED or length > known


def _is_later(source: StoredRun, target: StoredRun) -> bool:
    if source.digest in target.superseded or target.digest in source.superseded:
        return source.digest not in target.superseded
    if source.run.may_go_on != target.run.may_go_on:
        return target.run.may_go_on
    return ended_before(target, source)


def _version(source: StoredRun, target: StoredRun) -> int:
    """Return the version for the source's log: its own, unless a reader of the target's would mix the two."""
    is_copy = source.run.received_at == target.run.received_at and target.digest in (source.digest, *source.superseded)
    goes_on = is_copy and source.log_version == target.log_version
    return source.log_version if goes_on or source.log_version > target.log_version else target.log_version + 1
