"""Closing the log of a task that has ended: it is read once, outside of any lock, before the run becomes final."""

import hashlib

import attrs

from .change import Amendment, StoredRun
from .chunk import WHOLE_BYTES
from .log import pieces_of
from .model import BackupRun, LogState
from .parsers import LogReader, Work
from .redact import feed
from .store import Store


def close_log(store: Store, stored: StoredRun, *, task_type: str, work: Work) -> Amendment:
    """Read an appended log to its end, and return what closes it.

    One chunk at a time is in memory, and what is behind the last whole one, which is stored anew as one chunk.

    Args:
        store: The store to use.
        stored: The run with the log.
        task_type: The type of the task that has ended.
        work: Bounds what it costs to read the log for its figures.

    Returns:
        The amendment. The figures that the log tells are those of the run to write.

    Raises:
        LogReplaced: The log is another by now.
        CorruptLog: The log is damaged.
        StoreError: The store failed.
    """
    run = stored.run
    sha256, reader = hashlib.sha256(), LogReader(store.parsers, task_type=task_type, work=work)
    start, stop, rest = 0, 0, list[bytes]()  # the pieces behind the last whole chunk, and where they begin and end
    position = 0
    for piece in pieces_of(store, stored, 0, run.log_bytes):
        sha256.update(piece)
        reader.feed(piece)
        offset = stored.offset_of(position)
        if offset != stop:
            start, rest = offset, []
        stop = offset + len(piece)
        rest.append(piece)
        position += len(piece)
        if len(piece) >= WHOLE_BYTES:
            start, rest = stop, []
    last = feed(store.redactor, stored.log_context, stored.log_held, b"", is_last=True)
    if last.shown:
        sha256.update(last.shown)
        reader.feed(last.shown)
        rest.append(last.shown)
    closed = attrs.evolve(
        run,
        log_bytes=run.log_bytes + len(last.shown),
        log_sha256=sha256.digest(),
        redactions=run.redactions + last.count,
        stats=reader.stats(),
    )
    is_same = len(rest) == 1 and not last.shown
    return Amendment(
        read=stored,
        write=_with_closed(stored, closed),
        parts=() if is_same or not rest else ((start, b"".join(rest)),),
        drop=None if is_same or not rest else start,
    )


def close_again(closing: Amendment, stored: StoredRun) -> Amendment | None:
    """Return what closes the log of a run that is another since its log was read; None if its log is another, too.

    Args:
        closing: What closes the log as it was read.
        stored: The run as it is now.
    """
    read, closed = closing.read, closing.write.run
    is_same = (stored.run.log_bytes, stored.run.redactions) == (read.run.log_bytes, read.run.redactions)
    if not (is_same and stored.has_log_of(read)):
        return None
    return attrs.evolve(closing, read=stored, write=_with_closed(stored, closed))


def _with_closed(stored: StoredRun, closed: BackupRun) -> StoredRun:
    """Return a run with what another says of its log, which is closed and perhaps cut, and of its figures."""
    is_cut = stored.log_gap != (0, 0) or stored.run.log_state is LogState.TRUNCATED
    run = attrs.evolve(
        stored.run,
        log_state=LogState.TRUNCATED if is_cut else LogState.COMPLETE,
        log_bytes=closed.log_bytes,
        log_sha256=closed.log_sha256,
        redactions=closed.redactions,
        stats=closed.stats,
    )
    return attrs.evolve(stored, run=run, log_context=b"", log_held=b"")


def close_unread(stored: StoredRun) -> Amendment:
    """Return what closes a log that cannot be read or written, so that its result is not lost for that."""
    is_cut = stored.run.dropped_bytes > 0 or stored.log_held != b""
    closed = attrs.evolve(
        stored.run,
        log_state=LogState.TRUNCATED if is_cut else LogState.COMPLETE,
        dropped_bytes=stored.run.dropped_bytes + len(stored.log_held),
        log_sha256=None,
        stats=None,
    )
    return Amendment(read=stored, write=attrs.evolve(stored, run=closed, log_context=b"", log_held=b""))
