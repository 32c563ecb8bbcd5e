"""Finding runs."""

import base64
import logging
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Final, NoReturn, cast
from uuid import UUID

import attrs

from .agent import require_agent
from .backend import FindsLogs
from .change import StoredRun
from .chunk import Chunk
from .errors import FieldError, InvalidQuery, RunNotFound, StoreError
from .model import BackupRun, RunPage, RunQuery
from .normalise import STATUSES, argument, as_uuid
from .observe import on_one_line
from .row import GroupColumn
from .store import Store, require_store

_logger: Final = logging.getLogger("backuplog")

# A run may have a message and failed items of 164 KB together.
_PAGE: Final = 100
_CURSOR_VERSION: Final = 1
# version, CRC-32 of the filters, start time in microseconds since 1970, run id
_CURSOR: Final = struct.Struct(">BIq16s")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def query_runs(store: Store, query: RunQuery | None = None) -> RunPage:
    """List runs, newest first, a page at a time.

    Ask for the next page with the ``next_cursor`` of the page before. The pages then show every run once, even while
    runs are added, and the thousandth page costs no more than the first.

    Args:
        store: The store to use.
        query: Which runs to list; by default all of the tenant's.

    Returns:
        The page.

    Raises:
        InvalidQuery: The cursor does not belong to this query, or the query is no ``RunQuery``.
        AgentNotFound: The query names an agent that this tenant does not have.
        StoreError: The store failed.
    """
    require_store(store)
    query = require_query(query)
    # One more than asked for tells whether there is a next page.
    runs = store.call(store.backend.list_runs, query, after=position_of(query), limit=query.limit + 1)
    if not runs and query.agent_id is not None:
        require_agent(store, query.agent_id)
    if query.cursor is None:
        _warn_of_unknown(store, set(query.status) - STATUSES - {run.status for run in runs})
    page = tuple(runs[: query.limit])
    return RunPage(
        runs=page,
        total=store.call(store.backend.count_runs, query) if query.with_total else None,
        limit=query.limit,
        next_cursor=cursor_after(query, page[-1]) if len(runs) > query.limit else None,
    )


def require_query(query: object) -> RunQuery:
    """Return a query, by default that for all runs.

    Raises:
        InvalidQuery: It is something else.
    """
    if not isinstance(query, RunQuery | None):
        kind = type(query).__name__
        raise InvalidQuery([FieldError("query", f"must be a RunQuery, such as RunQuery(limit=10), not a {kind}")])
    return query or RunQuery()


def _warn_of_unknown(store: Store, statuses: set[str]) -> None:
    """Log, once, each status that nobody knows and no run has: a filter that is misspelled finds nothing, silently."""
    for status in sorted(filter(store.should_warn_of, statuses)):
        with suppress(StoreError):  # The list is there already.
            if store.backend.list_runs(RunQuery(status=status), after=None, limit=1):
                continue
            known = ", ".join(sorted(STATUSES))
            _logger.warning(
                "A query asks for the status %s, which no run has: known are %s", on_one_line(status), known
            )


def last_successes(store: Store) -> list[BackupRun]:
    """List each policy's last success, for monitoring pages and alerts.

    A policy that never succeeded is not listed, and a dry run is no success. The cost grows with the number of
    different triples of policy, agent and task type, not of runs.

    Args:
        store: The store to use.

    Returns:
        The newest successful run of each policy, sorted by the policy's id.

    Raises:
        StoreError: The store failed.
    """
    require_store(store)
    return sorted(newest_runs(store, RunQuery(status="success"), ["policy_id"]), key=lambda run: run.policy_id)


def newest_runs(
    store: Store, query: RunQuery, by: Sequence[GroupColumn], *, with_dry_runs: bool = False
) -> Iterator[BackupRun]:
    """Return the newest run of each group, as ``newest_run`` finds it, among those that match."""
    for run in store.call(store.backend.list_newest, query, by):
        newest: BackupRun | None = run
        if run.start_time > run.updated_at or (run.is_dry_run and not with_dry_runs):
            group = attrs.evolve(query, **{column: getattr(run, column) for column in by})
            newest = newest_run(store, group, with_dry_runs=with_dry_runs)
        if newest is not None:
            yield newest


def newest_run(store: Store, query: RunQuery, *, with_dry_runs: bool = False) -> BackupRun | None:
    """Return the run that began last among those that match, but for dry runs; None if there is none.

    Lists are by the time that agents say. One whose clock is ahead comes first there, for years if need be.
    """
    newest: BackupRun | None = None
    for run in all_runs(store, query):
        if newest and run.start_time <= newest.began_at:
            break
        if (with_dry_runs or not run.is_dry_run) and (newest is None or run.began_at > newest.began_at):
            newest = run
            if run.began_at == run.start_time:  # as nearly always; what follows began before
                break
    return newest


def all_runs(store: Store, query: RunQuery) -> Iterator[BackupRun]:
    """List all runs that match, newest first, one run and then a page at a time."""
    after, limit = None, 1
    while True:
        page = store.call(store.backend.list_runs, query, after=after, limit=limit)
        yield from page
        if len(page) < limit:
            return
        after, limit = (page[-1].start_time, page[-1].id), _PAGE


def get_run(store: Store, run_id: UUID | str, *, agent_id: UUID | str | None = None) -> BackupRun:
    """Get one run.

    Args:
        store: The store to use.
        run_id: The run's id, which is its task's id.
        agent_id: The agent whose run it must be; None for any agent.

    Returns:
        The run.

    Raises:
        InvalidQuery: An id is not a UUID.
        RunNotFound: There is no such run, or it belongs to another agent or tenant; the error does not say which.
        StoreError: The store failed.
    """
    return find_stored_run(store, run_id, agent_id).run


def find_stored_run(store: Store, run_id: UUID | str, agent_id: UUID | str | None) -> StoredRun:
    """Find a run with all that stands beside it, as ``get_run`` does."""
    return find_run_and_chunk(store, run_id, agent_id, None)[0]


def find_run_and_chunk(
    store: Store, run_id: UUID | str, agent_id: UUID | str | None, offset: int | None
) -> tuple[StoredRun, Chunk | None]:
    """Find a run, and with it the chunk at an offset of its log where a backend finds both at once.

    On PostgreSQL a log of 2 KiB is then read in 0.7 of the time.
    """
    require_store(store)
    run_key = argument("run_id", as_uuid, run_id, InvalidQuery)
    agent_key = None if agent_id is None else argument("agent_id", as_uuid, agent_id, InvalidQuery)
    # Asked of its class: what wraps a backend, and passes on what it does not know, may have a find_chunk of its own.
    if offset is not None and hasattr(type(store.backend), "find_log"):
        backend = cast("FindsLogs", store.backend)
        stored, chunk = store.call(backend.find_log, run_key, offset) or (None, None)
    else:
        stored, chunk = store.call(store.backend.find_run, run_key), None
    if stored is None or (agent_key is not None and stored.run.agent_id != agent_key):
        raise RunNotFound
    return stored, chunk


def cursor_after(query: RunQuery, last: BackupRun) -> str:
    """Return the cursor with which a query goes on after a run that it has listed."""
    microseconds = (last.start_time - _EPOCH) // _MICROSECOND
    packed = _CURSOR.pack(_CURSOR_VERSION, _filters(query), microseconds, last.id.bytes)
    return cursor_text(packed)


def cursor_text(packed: bytes) -> str:
    """Return the bytes of a cursor as text that needs no escaping in a URL."""
    return base64.urlsafe_b64encode(packed).decode().rstrip("=")


def cursor_bytes(text: str) -> bytes:
    """Return the bytes of a cursor.

    Raises:
        ValueError: The text is no cursor.
    """
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def position_of(query: RunQuery) -> tuple[datetime, UUID] | None:
    """Return the start time and the id of the run after which a query goes on; None for one without a cursor.

    Raises:
        InvalidQuery: The cursor is malformed, or belongs to a query with other filters.
    """
    if query.cursor is None:
        return None
    try:
        version, filters, microseconds, run_id = _CURSOR.unpack(cursor_bytes(query.cursor))
        position = _EPOCH + timedelta(microseconds=microseconds), UUID(bytes=run_id)
    except (ValueError, OverflowError, struct.error):  # binascii.Error is a ValueError
        refuse_cursor("is not the next_cursor of a page")
    if version != _CURSOR_VERSION:
        refuse_cursor("is of another version of backuplog: begin again without it")
    if filters != _filters(query):
        refuse_cursor("is of a query with other filters: begin again without it")
    return position


def refuse_cursor(message: str) -> NoReturn:
    """Raise the error for a cursor that cannot be used."""
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
