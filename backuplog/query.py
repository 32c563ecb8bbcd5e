"""Finding runs and reading logs."""

import base64
import binascii
import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from io import BytesIO
from typing import Final, NoReturn
from uuid import UUID

from .delivery import StoredRun
from .errors import AgentNotFound, CorruptLog, FieldError, InvalidQuery, LogLost, LogReplaced, RunNotFound
from .log import Chunk, decode
from .model import BackupRun, LogState, RunPage, RunQuery
from .normalise import as_uuid
from .store import Store

_CURSOR_VERSION: Final = 1
# version, CRC-32 of the filters, start time in microseconds since 1970, run id
_CURSOR: Final = struct.Struct(">BIq16s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_READ_ATTEMPTS: Final = 10


def query_runs(store: Store, query: RunQuery | None = None) -> RunPage:
    """List runs, newest first, a page at a time.

    The pages of one query, each asked for with the ``next_cursor`` of the one before, show every run once, however
    many are added meanwhile, and the thousandth costs no more than the first.

    Args:
        store: Where.
        query: Which runs; all of the tenant's by default.

    Returns:
        The page.

    Raises:
        InvalidQuery: The cursor is not one of this query's.
        AgentNotFound: The query names an agent that this tenant does not have.
        StoreError: The store failed.
    """
    query = query or RunQuery()
    # One more than asked for tells whether there is a next page.
    runs = store.list_runs(query, after=_position(query), limit=query.limit + 1)
    if not runs and query.agent_id is not None:
        _require_agent(store, query.agent_id)
    page = tuple(runs[: query.limit])
    return RunPage(
        runs=page,
        total=store.count_runs(query) if query.with_total else None,
        limit=query.limit,
        next_cursor=_cursor(query, page[-1]) if len(runs) > query.limit else None,
    )


def last_successes(store: Store) -> list[BackupRun]:
    """List each policy's last success: what a monitoring page shows, and alerts are made of.

    A policy without any success is not in it. The cost grows with the policies, not with the runs.

    Args:
        store: Where.

    Returns:
        The newest successful run of each policy, by the policy's id.

    Raises:
        StoreError: The store failed.
    """
    return sorted(store.list_last_successes(), key=lambda run: run.policy_id)


def get_run(store: Store, run_id: UUID | str, *, agent_id: UUID | str | None = None) -> BackupRun:
    """Get one run.

    Args:
        store: Where.
        run_id: The run: its task's id.
        agent_id: Whose run it must be; None for any agent's.

    Raises:
        InvalidQuery: An id is not a UUID.
        RunNotFound: There is no such run, or it is another agent's or another tenant's; which of them is not told.
        StoreError: The store failed.
    """
    return _find(store, run_id, agent_id).run


def read_log(
    store: Store,
    run_id: UUID | str,
    *,
    agent_id: UUID | str | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> bytes:
    """Read a run's log, or a part of it, as bytes: exactly those that came.

    Args:
        store: Where.
        run_id: The run.
        agent_id: Whose run it must be; None for any agent's.
        start: Where to begin and
        stop: where to end, in bytes, as in a slice: ``start=-1024`` reads the last KiB.

    Returns:
        The bytes; none for a run without a log.

    Raises:
        InvalidQuery: An id is not a UUID.
        RunNotFound: As for ``get_run``.
        CorruptLog: The stored log is not the one that was received; ``LogLost``: it was never stored.
        StoreError: The store failed.
    """
    return _afresh(lambda: _collect(iter_log(store, run_id, agent_id=agent_id, start=start, stop=stop)))


def tail_log(store: Store, run_id: UUID | str, lines: int = 100, *, agent_id: UUID | str | None = None) -> bytes:
    r"""Read the last lines of a run's log. Only the chunks that hold them are read.

    Args:
        store: Where.
        run_id: The run.
        lines: How many lines, 1 or more. A line ends with ``\n``; the last one may do without.
        agent_id: Whose run it must be; None for any agent's.

    Returns:
        The bytes of those lines; the whole log where it has no more.

    Raises:
        InvalidQuery: An id is not a UUID, or ``lines`` is not a number from 1 on.
        RunNotFound: As for ``get_run``.
        CorruptLog: As for ``read_log``.
        StoreError: The store failed.
    """
    if isinstance(lines, bool) or not isinstance(lines, int) or lines < 1:
        raise InvalidQuery([FieldError("lines", "must be a whole number, 1 or more")])
    return _afresh(lambda: _tail(store, _find_log(store, run_id, agent_id), lines))


def iter_log(
    store: Store,
    run_id: UUID | str,
    *,
    agent_id: UUID | str | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> Iterator[bytes]:
    """Read a run's log, or a part of it, in pieces of at most 1 MiB. One piece is held at a time.

    The store is free between two pieces. The run is looked up at the call, not at the first piece, so that a web
    handler can still answer "not found".

    Args:
        store: Where.
        run_id: The run.
        agent_id: Whose run it must be; None for any agent's.
        start: Where to begin and
        stop: where to end, in bytes, as in a slice.

    Returns:
        An iterator of the pieces.

    Raises:
        InvalidQuery: An id is not a UUID.
        RunNotFound: As for ``get_run``.
        LogReplaced: While it was being read, the log was replaced: what was read is of the old one.
        CorruptLog: The stored log is not the one that was received; ``LogLost``: it was never stored.
        StoreError: The store failed.
    """
    stored = _find_log(store, run_id, agent_id)
    return _pieces(store, stored, *slice(start, stop).indices(stored.run.log_bytes)[:2])


def open_log(
    store: Store, run_id: UUID | str, *, agent_id: UUID | str | None = None
) -> tuple[BackupRun, Callable[[int, int], Iterator[bytes]]]:
    """Give a run, and a function that reads a part of the very log that the run describes, as ``iter_log`` does."""
    stored = _find(store, run_id, agent_id)
    return stored.run, partial(_pieces, store, stored)


def _pieces(store: Store, stored: StoredRun, start: int, stop: int) -> Iterator[bytes]:
    run = stored.run
    sha256 = hashlib.sha256() if (start, stop) == (0, run.log_bytes) and run.log_sha256 else None
    while start < stop:
        chunk = _chunk_at(store, stored, start)
        piece = decode(chunk)[start - chunk.offset : stop - chunk.offset]
        if sha256:
            sha256.update(piece)
        start += len(piece)
        del chunk
        yield piece
        del piece
    if sha256 and sha256.digest() != run.log_sha256:
        raise CorruptLog(f"the log of run {run.id} does not have the SHA-256 that it had when it came")


def _tail(store: Store, stored: StoredRun, lines: int) -> bytes:
    pieces: list[bytes] = []
    stop = stored.run.log_bytes
    while stop:
        chunk = _chunk_at(store, stored, stop - 1)
        piece = decode(chunk)[: stop - chunk.offset]
        end = len(piece) - (not pieces and piece.endswith(b"\n"))  # which ends the last line and begins none
        while lines and (end := piece.rfind(b"\n", 0, end)) >= 0:
            lines -= 1
        pieces.append(piece[end + 1 :] if not lines else piece)
        if not lines:
            break
        stop = chunk.offset
    return b"".join(reversed(pieces))


def _afresh(read: Callable[[], bytes]) -> bytes:
    """Read, and begin again where the log was replaced meanwhile."""
    for _ in range(_READ_ATTEMPTS - 1):
        try:
            return read()
        except LogReplaced:
            continue
    return read()


def _chunk_at(store: Store, stored: StoredRun, offset: int) -> Chunk:
    chunk = store.find_chunk(stored.run.id, stored.log_version, offset)
    if chunk is None or offset >= chunk.offset + chunk.size:
        _explain_missing(store, stored, offset)
    return chunk


def _explain_missing(store: Store, stored: StoredRun, offset: int) -> NoReturn:
    current = store.find_run(stored.run.id)
    if current is None or current.log_version != stored.log_version:
        raise LogReplaced
    raise CorruptLog(f"the log of run {stored.run.id} has no chunk for its byte {offset:,}")


def _collect(pieces: Iterator[bytes]) -> bytes:
    whole = BytesIO()  # gives its buffer away without the second copy that join() holds
    whole.writelines(pieces)
    return whole.getvalue()


def _find(store: Store, run_id: UUID | str, agent_id: UUID | str | None) -> StoredRun:
    run_key, agent_key = _key(run_id, "run_id"), None if agent_id is None else _key(agent_id, "agent_id")
    stored = store.find_run(run_key)
    if stored is None or (agent_key is not None and stored.run.agent_id != agent_key):
        raise RunNotFound
    return stored


def _find_log(store: Store, run_id: UUID | str, agent_id: UUID | str | None) -> StoredRun:
    stored = _find(store, run_id, agent_id)
    if stored.run.log_state is LogState.LOST:
        raise LogLost
    return stored


def _key(value: UUID | str, name: str) -> UUID:
    try:
        return as_uuid(value)
    except ValueError as error:
        raise InvalidQuery([FieldError(name, str(error))]) from None


def _require_agent(store: Store, agent_id: UUID) -> None:
    known = store.find_agent(agent_id) is not None if store.agent_exists is None else store.agent_exists(agent_id)
    if not known:
        raise AgentNotFound


def _cursor(query: RunQuery, last: BackupRun) -> str:
    microseconds = (last.start_time - _EPOCH) // _MICROSECOND
    packed = _CURSOR.pack(_CURSOR_VERSION, _filters(query), microseconds, last.id.bytes)
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def _position(query: RunQuery) -> tuple[datetime, UUID] | None:
    if query.cursor is None:
        return None
    try:
        packed = base64.b64decode(query.cursor + "=" * (-len(query.cursor) % 4), altchars=b"-_", validate=True)
        version, filters, microseconds, run_id = _CURSOR.unpack(packed)
        position = _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=run_id)
    except (ValueError, OverflowError, binascii.Error, struct.error):
        _refuse_cursor("is not the next_cursor of a page")
    if version != _CURSOR_VERSION:
        _refuse_cursor("is of another version of backuplog: begin again without it")
    if filters != _filters(query):
        _refuse_cursor("is of a query with other filters: begin again without it")
    return position


def _refuse_cursor(message: str) -> NoReturn:
    raise InvalidQuery([FieldError("cursor", message)])


def _filters(query: RunQuery) -> int:
    filters = (
        query.agent_id,
        query.policy_id,
        query.status,
        query.task_type,
        query.snapshot_id,
        query.since,
        query.until,
    )
    return zlib.crc32(repr(filters).encode())
