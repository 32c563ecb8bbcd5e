"""Reading logs: whole, in part, piece by piece, their last lines."""

import hashlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Final, TypeVar
from uuid import UUID

from .change import StoredRun
from .chunk import CHUNK_BYTES, Chunk, decode
from .errors import CorruptLog, FieldError, InvalidQuery, LogExpired, LogLost, LogReplaced
from .model import LogState
from .normalise import argument, as_index
from .query import find_run_and_chunk
from .store import Store

_READ_ATTEMPTS: Final = 10
_END_OF_ANY_LOG: Final = 2**62
# Last lines that are longer are read a second time and not held: they may be as long as the log.
_MOST_HELD: Final = 2 * CHUNK_BYTES

_Read = TypeVar("_Read")


def read_log(
    store: Store,
    run_id: UUID | str,
    *,
    agent_id: UUID | str | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> bytes:
    """Read a run's log, or part of it: exactly the bytes that were received, but for secrets that are masked.

    Args:
        store: The store to use.
        run_id: The run's id.
        agent_id: The agent whose run it must be; None for any agent.
        start: The first byte to read, as in a slice: ``-1024`` reads the last KiB. None for the beginning.
        stop: Where to stop, as in a slice: the byte at this position is not read. None for the end.

    Returns:
        The bytes; ``b""`` for a run without a log.

    Raises:
        InvalidQuery: An id is not a UUID, or ``start`` or ``stop`` is not a whole number.
        RunNotFound: As for ``get_run``.
        LogReplaced: The log was replaced during each of ten attempts to read it.
        CorruptLog: The stored log is not the one that was received.
        LogLost: The log could not be stored when it was received.
        LogExpired: The log was removed because of its age.
        StoreError: The store failed.
    """
    return retry_if_replaced(lambda: _whole(_part(store, run_id, agent_id, start, stop, is_read_now=True)))


def tail_log(store: Store, run_id: UUID | str, lines: int = 100, *, agent_id: UUID | str | None = None) -> bytes:
    r"""Read the last lines of a run's log. Only the chunks that hold them are read.

    Args:
        store: The store to use.
        run_id: The run's id.
        lines: How many lines to read, 1 or more. A line ends with ``\n``; the last line need not.
        agent_id: The agent whose run it must be; None for any agent.

    Returns:
        The bytes of those lines; the whole log if it has fewer.

    Raises:
        InvalidQuery: An id is not a UUID, or ``lines`` is not a whole number of 1 or more.
        RunNotFound: As for ``get_run``.
        LogReplaced: The log was replaced during each of ten attempts to read it.
        CorruptLog: The stored log is not the one that was received.
        LogLost: The log could not be stored when it was received.
        LogExpired: The log was removed because of its age.
        StoreError: The store failed.
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or lines < 1:
        raise InvalidQuery([FieldError("lines", "must be a whole number, 1 or more")])
    return retry_if_replaced(lambda: _whole(open_tail(store, run_id, lines, agent_id=agent_id)[1]))


def open_tail(
    store: Store, run_id: UUID | str, lines: int, *, agent_id: UUID | str | None
) -> tuple[int, Iterator[bytes]]:
    """Return how long the last lines of a log are, and the lines in pieces: they may be as long as the log."""
    stored, found = find_log(store, run_id, agent_id, offset=_END_OF_ANY_LOG)
    start = whole = stored.run.log_bytes
    pieces: list[bytes] = []
    while start and lines:
        last = stored.offset_of(start - 1)
        offset, piece = piece_at(store, stored, last, found)
        found = None
        piece = piece[: last - offset + 1]
        end = len(piece) - (start == whole and piece.endswith(b"\n"))  # which ends the last line and begins none
        while lines and (end := piece.rfind(b"\n", 0, end)) >= 0:
            lines -= 1
        piece = piece if lines else piece[end + 1 :]
        start -= len(piece)
        if whole - start <= _MOST_HELD:
            pieces.insert(0, piece)
        else:  # They are read again: few tails are as long.
            pieces.clear()
    return whole - start, iter(pieces) if pieces else pieces_of(store, stored, start, whole)


def iter_log(
    store: Store,
    run_id: UUID | str,
    *,
    agent_id: UUID | str | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> Iterator[bytes]:
    """Read a run's log, or part of it, in pieces of at most 1 MiB. Only one piece is in memory at a time.

    The store is not blocked between pieces. The run is looked up when you call this, not when you read the first piece,
    so that a web handler can still answer "not found".

    Args:
        store: The store to use.
        run_id: The run's id.
        agent_id: The agent whose run it must be; None for any agent.
        start: The first byte to read, as in a slice: ``-1024`` reads the last KiB. None for the beginning.
        stop: Where to stop, as in a slice: the byte at this position is not read. None for the end.

    Returns:
        An iterator of the pieces.

    Raises:
        InvalidQuery: An id is not a UUID, or ``start`` or ``stop`` is not a whole number.
        RunNotFound: As for ``get_run``.
        LogReplaced: The log was replaced while it was being read; the pieces so far are of the old log.
        CorruptLog: The stored log is not the one that was received.
        LogLost: The log could not be stored when it was received.
        LogExpired: The log was removed because of its age.
        StoreError: The store failed.
    """
    return _part(store, run_id, agent_id, start, stop, is_read_now=False)


def _part(
    store: Store,
    run_id: UUID | str,
    agent_id: UUID | str | None,
    start: int | None,
    stop: int | None,
    *,
    is_read_now: bool,
) -> Iterator[bytes]:
    start = argument("start", as_index, start, InvalidQuery)
    stop = argument("stop", as_index, stop, InvalidQuery)
    # What is counted from the end is probably in the last chunk.
    offset = _END_OF_ANY_LOG if start is not None and start < 0 else min(start or 0, _END_OF_ANY_LOG)
    stored, found = find_log(store, run_id, agent_id, offset=offset if is_read_now else None)
    return pieces_of(store, stored, *slice(start, stop).indices(stored.run.log_bytes)[:2], found)


def open_log(
    store: Store, run_id: UUID | str, *, agent_id: UUID | str | None = None, offset: int | None = None
) -> tuple[StoredRun, Callable[[int, int], Iterator[bytes]]]:
    """Return a run, and a function that reads a part of the very log that the run describes, as ``iter_log`` does.

    Give the offset from which on the log is probably read at once, if it is; the function is then for one use.
    """
    stored, found = find_run_and_chunk(store, run_id, agent_id, offset)
    return stored, lambda start, stop: pieces_of(store, stored, start, stop, found)


def pieces_of(store: Store, stored: StoredRun, start: int, stop: int, found: Chunk | None = None) -> Iterator[bytes]:
    """Read a part of a log in pieces; of a whole one, see that it has its SHA-256 before the last is given."""
    run = stored.run
    sha256 = hashlib.sha256() if (start, stop) == (0, run.log_bytes) and run.log_sha256 else None
    while start < stop:
        wanted = stored.offset_of(start)
        offset, piece = piece_at(store, stored, wanted, found)
        found = None
        if wanted > offset or stop - start < len(piece):
            piece = piece[wanted - offset : wanted - offset + stop - start]
        if sha256:
            sha256.update(piece)
        start += len(piece)
        # Before the last piece is given: nobody is to have it all and then hear that it is not what it was.
        if sha256 and start >= stop and sha256.digest() != run.log_sha256:
            raise CorruptLog(f"the log of run {run.id} does not have the SHA-256 that it had when it came")
        yield piece
        del piece


def _whole(pieces: Iterator[bytes]) -> bytes:
    whole = BytesIO()  # gives its buffer away without the second copy that join() holds
    whole.writelines(pieces)
    return whole.getvalue()


def retry_if_replaced(read: Callable[[], _Read]) -> _Read:
    """Read, and read again where the log was replaced meanwhile."""
    for _ in range(_READ_ATTEMPTS - 1):
        try:
            return read()
        except LogReplaced:
            continue
    return read()


def piece_at(store: Store, stored: StoredRun, offset: int, found: Chunk | None = None) -> tuple[int, bytes]:
    """Read the piece of a log that holds the byte at an offset, and the offset at which it begins.

    Args:
        store: The store to use.
        stored: The run.
        offset: The offset.
        found: A chunk of the log that was found with the run, and may be the one.

    Raises:
        LogReplaced: The log is another by now, or its middle has been dropped.
        CorruptLog: The piece is missing or damaged.
        StoreError: The store failed.
    """
    run_id = stored.run.id
    if found is not None and found.offset <= offset < found.offset + found.size:
        return found.offset, decode(found, run_id, stored.log_version)
    chunk = store.call(store.backend.find_chunk, run_id, stored.log_version, offset)
    if chunk is None or offset >= chunk.offset + chunk.size:
        current = store.call(store.backend.find_run, run_id)
        if current is None or current.run.log_state is LogState.EXPIRED:
            raise LogReplaced
        if (current.log_version, current.log_gap) != (stored.log_version, stored.log_gap):
            raise LogReplaced
        raise CorruptLog(f"the log of run {run_id} has no chunk for its byte {offset:,}")
    return chunk.offset, decode(chunk, run_id, stored.log_version)


def find_log(
    store: Store, run_id: UUID | str, agent_id: UUID | str | None, *, offset: int | None = None
) -> tuple[StoredRun, Chunk | None]:
    """Find a run whose log can be read, and perhaps the chunk at an offset, as ``find_run_and_chunk`` does."""
    stored, found = find_run_and_chunk(store, run_id, agent_id, offset)
    if stored.run.log_state is LogState.LOST:
        raise LogLost
    if stored.run.log_state is LogState.EXPIRED:
        raise LogExpired
    return stored, found
