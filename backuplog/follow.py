"""Following a log while it grows."""

import time
from collections.abc import Iterator
from typing import Final
from uuid import UUID

import attrs

from .change import StoredRun
from .chunk import CHUNK_BYTES
from .errors import FieldError, InvalidQuery, LogReplaced
from .log import find_log, piece_at, retry_if_replaced
from .normalise import argument, as_duration
from .store import Store

POLL_SECONDS: Final = 1.0
"""Seconds that a follower should wait before it asks again for a log that has not grown."""

# A log that grows may end in hundreds of small chunks, each of which is a query.
_MOST_CHUNKS: Final = 256


@attrs.frozen(kw_only=True)
class LogProgress:
    """What a follower of a log has not read yet, or a part of it.

    Attributes:
        data: The next bytes of the log, at most 1 MiB.
        offset: Where to go on.
        is_final: Whether the task has ended and its log is read to the end.
        retry_after: Seconds to wait before asking again: 0 if more can be read at once.
    """

    data: bytes = attrs.field(repr=False)
    offset: int
    is_final: bool
    retry_after: float


def read_log_since(
    store: Store, run_id: UUID | str, offset: int = 0, *, agent_id: UUID | str | None = None
) -> LogProgress:
    """Read what has come of a log since an offset: one step of ``follow_log``, which waits for nothing.

    Args:
        store: The store to use.
        run_id: The run's id.
        offset: Where to go on: 0, or the ``offset`` of the step before. It counts what was dropped from the middle of
            a log that was too long, too.
        agent_id: The agent whose run it must be; None for any agent.

    Returns:
        The next bytes, and where and when to go on. Where a log was too long to be stored whole, what is missing is
        skipped.

    Raises:
        InvalidQuery: An id is not a UUID, or ``offset`` is not a whole number of 0 or more.
        RunNotFound: As for ``get_run``.
        LogReplaced: The log is another, shorter one by now: begin again at 0.
        CorruptLog: The stored log is not the one that was received.
        LogLost: The log could not be stored when it was received.
        LogExpired: The log was removed because of its age.
        StoreError: The store failed.
    """
    if isinstance(offset, bool) or not isinstance(offset, int) or offset < 0:
        raise InvalidQuery([FieldError("offset", "must be a whole number of bytes, 0 or more")])
    progress = retry_if_replaced(lambda: _step(store, find_log(store, run_id, agent_id)[0], offset))
    if progress is None:
        raise LogReplaced
    return progress


def _step(store: Store, stored: StoredRun, offset: int) -> LogProgress | None:
    """Read what follows an offset; None if the log ends before it."""
    end = stored.offset_of(stored.run.log_bytes)
    if offset > end:
        return None
    gap_start, gap_stop = stored.log_gap
    if gap_start <= offset < gap_stop:
        offset = gap_stop
    stop = min(gap_start if offset < gap_start else end, offset + CHUNK_BYTES)
    pieces: list[bytes] = []
    while offset < stop and len(pieces) < _MOST_CHUNKS:
        start, piece = piece_at(store, stored, offset)
        pieces.append(piece[offset - start : stop - start])
        offset += len(pieces[-1])
    is_all = offset == end
    is_final = is_all and not stored.run.is_active
    retry_after = POLL_SECONDS if is_all and not is_final else 0.0
    return LogProgress(data=b"".join(pieces), offset=offset, is_final=is_final, retry_after=retry_after)


def follow_log(
    store: Store,
    run_id: UUID | str,
    *,
    agent_id: UUID | str | None = None,
    start: int = 0,
    interval: float = POLL_SECONDS,
) -> Iterator[bytes]:
    """Read a log while it grows, until the task has ended and its log is read.

    If the task's result brings a log of its own, reading goes on at the same offset of that one.

    Args:
        store: The store to use.
        run_id: The run's id.
        agent_id: The agent whose run it must be; None for any agent.
        start: The offset at which to begin: how many bytes have been read already, unless the middle of a log that was
            too long is missing from them. Then it is the ``offset`` of ``read_log_since``.
        interval: Seconds to wait, in the thread that reads, before asking again for a log that has not grown.

    Returns:
        An iterator of pieces of at most 1 MiB. It holds neither a lock nor a connection while it waits. The first
        piece is looked up when you call this, so that a web handler can still answer "not found".

    Raises:
        InvalidQuery, RunNotFound, LogReplaced, CorruptLog, LogLost, LogExpired, StoreError: As for ``read_log_since``.
    """
    argument("interval", as_duration, interval, InvalidQuery)
    first = read_log_since(store, run_id, start, agent_id=agent_id)

    def pieces(progress: LogProgress) -> Iterator[bytes]:
        while True:
            if progress.data:
                yield progress.data
            if progress.is_final:
                return
            if progress.retry_after:
                time.sleep(interval)
            progress = read_log_since(store, run_id, progress.offset, agent_id=agent_id)

    return pieces(first)
