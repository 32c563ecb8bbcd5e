"""The backend: what backuplog's contract asks for, as SQL beside the function that runs it."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import lru_cache
from itertools import chain
from typing import Any, Final, Self
from uuid import UUID

from psycopg.errors import FeatureNotSupported, UniqueViolation
from psycopg.sql import Identifier
from psycopg_pool import ConnectionPool

from backuplog.backend import (
    AGENT_COLUMNS,
    CHUNK_BYTES,
    CHUNK_COLUMNS,
    DEFAULT_TENANT,
    READABLE_STATES,
    RUN_COLUMNS,
    STORED_RUN_COLUMNS,
    TOKEN_COLUMNS,
    Agent,
    AgentNotFound,
    AgentToken,
    AnswerT,
    BackupRun,
    Change,
    Chunk,
    Decision,
    GroupColumn,
    Row,
    RunQuery,
    StoredLog,
    StoredRun,
    StoreError,
    StoreUnavailable,
    SummaryColumn,
    Tally,
    Term,
    query_terms,
    read_agent,
    read_chunk,
    read_run,
    read_stored_run,
    read_tally,
    read_token,
    stored_run_row,
)

from .connection import CallersConnection, Cursor, PooledConnections, moment_of, open_pool, use_pool
from .emptying import Emptying
from .partitions import closed_stretch, find_partitions

_NAME_BYTES: Final = 63
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)
_NOT_IN_NAMES: Final = frozenset("%\0")
# Each more means that within a millisecond another run was inserted by another transaction, or the same one again.
_MOST_ATTEMPTS: Final = 20

_TYPES: Final = {
    UUID: "uuid",
    str: "text",
    datetime: "timestamptz",
    float: "float8",
    int: "int8",
    bytes: "bytea",
    bool: "bool",
}
_RUN: Final = ", ".join(RUN_COLUMNS)
_STORED_RUN: Final = ", ".join(STORED_RUN_COLUMNS)
_WIDTH: Final = len(STORED_RUN_COLUMNS)
_TOKEN: Final = ", ".join(TOKEN_COLUMNS)
_AGENT: Final = ", ".join(AGENT_COLUMNS)
_CHUNK: Final = ", ".join(CHUNK_COLUMNS)
# A value that is None has no type of its own.
_PARAMETERS: Final = {
    column: f"%b::{'jsonb' if column in ('stats_details', 'progress') else _TYPES[kind]}"
    for column, kind in STORED_RUN_COLUMNS.items()
}
_JSON: Final = tuple(
    place for place, column in enumerate(STORED_RUN_COLUMNS) if column in ("stats_details", "progress")
)
# With COPY a batch takes 0.7 of the time that it takes with an array for each column.
_FEWEST_COPIED: Final = 8
# What is sent for jsonb is made here, byte for byte.
_RUN_TYPES: Final = (
    *("bytea" if place in _JSON else _TYPES[kind] for place, kind in enumerate(STORED_RUN_COLUMNS.values())),
    "uuid",
)
_STORED_VALUES: Final = ", ".join(_PARAMETERS.values())
_STORED_ARRAYS: Final = _STORED_VALUES.replace(",", "[],") + "[]"
_KINDS: Final = {"policy_id": "policy", "agent_id": "agent", "task_type": "type", "status": "state"}
_KIND: Final = ", ".join(_KINDS)
_DAY: Final = "(start_time AT TIME ZONE 'UTC')::date - date '1970-01-01'"
_CHUNK_KEY: Final = "tenant_id, run_id, log_version"
_CHUNK_TYPES: Final = ("uuid", "uuid", "int8", *(_TYPES[kind] for kind in CHUNK_COLUMNS.values()))


def open_backend(
    url: str,
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    migrate: bool = True,
    pool: ConnectionPool[Any] | None = None,
    schema: str = "backuplog",
    min_size: int = 1,
    max_size: int = 10,
    pool_timeout: float = 10.0,
    statement_timeout: float | None = None,
    response_timeout: float | None = 60.0,
    prepare: bool = True,
    rls: bool = False,
) -> "PostgresBackend":
    """Open a schema of a PostgreSQL database; ``backuplog.open_store`` calls it for ``postgresql://`` URLs.

    Args:
        url: A URL as libpq takes it: ``postgresql://user:password@host:5432/database?sslmode=verify-full``.
        tenant_id: The tenant whose data to see.
        migrate: Whether to bring the schema up to date.
        pool: A pool of your own to use, with the URL ``postgresql://`` and nothing more. It stays open when the store
            is closed, and ``min_size``, ``max_size`` and the three time-outs have no effect on it.
        schema: The schema for the tables, which is created if it does not exist. Two schemas are two stores.
        min_size: How many idle connections to keep open; others are closed after ten minutes.
        max_size: The most connections to open.
        pool_timeout: Seconds to wait for a connection.
        statement_timeout: Seconds that a statement may take by the server's clock; None for the server's own limit.
        response_timeout: Seconds without an answer after which a connection is closed, because the server or a proxy
            is frozen; None for no limit. Allow more than any statement takes.
        prepare: Whether to prepare statements. Turn this off behind a transaction-pooling proxy that does not support
            prepared statements.
        rls: Whether to turn on row-level security if it is off: PostgreSQL itself then keeps tenants apart.

    Returns:
        The backend.

    Raises:
        SchemaOutdated: As for ``backuplog.open_store``.
        StoreUnavailable: PostgreSQL cannot be reached.
        StoreError: The database cannot be opened, or another application's tables in the schema have our names.
    """
    name = _quoted(schema)
    if pool is None:
        connections = open_pool(
            url,
            schema=name,
            migrate=migrate,
            rls=rls,
            min_size=min_size,
            max_size=max_size,
            pool_timeout=pool_timeout,
            statement_timeout=statement_timeout,
            response_timeout=response_timeout,
        )
    else:
        if url.partition("://")[2]:
            raise StoreError("a pool has an address already: give it with the URL postgresql:// and nothing more")
        connections = use_pool(pool, schema=name, migrate=migrate, rls=rls)
    return PostgresBackend(connections, schema=name, prepare=prepare, tenant_id=tenant_id, is_owner=True)


class _OvertakenError(Exception):
    """Another transaction has inserted a run since its absence was seen: begin again, without COPY."""


class PostgresBackend:
    """One tenant's view of a PostgreSQL schema. It keeps the promises of ``backuplog.backend.Backend``.

    ``bound_to`` takes a ``psycopg.Connection`` to the same database, in an open transaction. psycopg begins one by
    itself, unless the connection is in autocommit mode: use the view inside ``connection.transaction()`` then.
    """

    def __init__(
        self,
        connections: PooledConnections | CallersConnection,
        *,
        schema: str,
        prepare: bool,
        tenant_id: UUID,
        is_owner: bool,
        emptying: Emptying | None = None,
    ) -> None:
        """Make a view.

        Args:
            connections: The connections to use.
            schema: The schema that holds the tables, quoted.
            prepare: Whether to prepare statements.
            tenant_id: The tenant whose data to see.
            is_owner: Whether ``close`` closes the connections.
            emptying: What is known of partitions of logs; None for nothing yet.
        """
        self._connections = connections
        self._schema = schema
        self._prepare = prepare
        self._tenant_id = tenant_id
        self._is_owner = is_owner
        self._emptying = emptying or Emptying(schema)
        self._has_pruned = False

    def __repr__(self) -> str:
        """Show the schema and the tenant."""
        return f"<PostgresBackend {self._schema} tenant {self._tenant_id}>"

    @property
    def tenant_id(self) -> UUID:
        """Whose view this is."""
        return self._tenant_id

    @property
    def writers(self) -> int | None:
        """How many may submit at once: each takes a connection of the pool."""
        return None if isinstance(self._connections, CallersConnection) else self._connections.max_size

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Return another tenant's view of the same schema."""
        return self._view(self._connections, tenant_id)

    def bound_to(self, connection: Any) -> Self:
        """Return a view inside the open transaction of a ``psycopg.Connection``."""
        row_security = self._connections.row_security
        return self._view(CallersConnection(connection, row_security=row_security), self._tenant_id)

    def _view(self, connections: PooledConnections | CallersConnection, tenant_id: UUID) -> Self:
        return type(self)(
            connections,
            schema=self._schema,
            prepare=self._prepare,
            tenant_id=tenant_id,
            is_owner=False,
            emptying=self._emptying.for_another_tenant(),
        )

    def close(self) -> None:
        """Close the store's pool, unless this is a view."""
        if self._is_owner:
            self._connections.close()

    def _execute(self, cursor: Cursor, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> Cursor:
        return cursor.execute(_in_schema(statement, self._schema), parameters, prepare=self._prepare, binary=True)

    def _fetch(self, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> list[Row]:
        """Execute one statement, which is a transaction by itself, and return its rows."""
        with self._connections.statement(self._tenant_id) as cursor:
            return self._execute(cursor, statement, parameters).fetchall()

    _PUT_AGENT: Final = f"""
        INSERT INTO {{schema}}.backup_agents AS stored (tenant_id, {_AGENT}) VALUES (%b, %b, %b, %b)
        ON CONFLICT (tenant_id, id) DO UPDATE SET hostname = coalesce(excluded.hostname, stored.hostname)
        RETURNING {_AGENT}
    """

    def put_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        rows = self._fetch(self._PUT_AGENT, (self._tenant_id, agent.id, agent.hostname, agent.registered_at))
        return read_agent(self._tenant_id, rows[0], _same, moment_of)

    _LIST_AGENTS: Final = f"SELECT {_AGENT} FROM {{schema}}.backup_agents WHERE tenant_id = %b"
    _FIND_AGENTS: Final = f"{_LIST_AGENTS} AND id = ANY (%b)"

    def list_agents(self, ids: Collection[UUID] | None = None) -> Sequence[Agent]:
        """List agents, all or some."""
        if ids is None:
            rows = self._fetch(self._LIST_AGENTS, (self._tenant_id,))
        else:
            rows = self._fetch(self._FIND_AGENTS, (self._tenant_id, list(ids))) if ids else []
        return [read_agent(self._tenant_id, row, _same, moment_of) for row in rows]

    _REMOVE_AGENT: Final = "DELETE FROM {schema}.backup_agents WHERE tenant_id = %b AND id = %b"

    def remove_agent(self, agent_id: UUID) -> bool:
        """Remove an agent."""
        with self._connections.statement(self._tenant_id) as cursor:
            return self._execute(cursor, self._REMOVE_AGENT, (self._tenant_id, agent_id)).rowcount == 1

    def submit(self, changes: Sequence[Change[AnswerT]], *, skip_locked: bool = False) -> list[AnswerT | AgentNotFound]:
        """Make changes, in one transaction."""
        if len(changes) == 1 and not skip_locked:
            first = changes[0].decide(None)
            if first.write is not None and first.drop is None and first.write.run.log_bytes <= CHUNK_BYTES:
                chunks = list(first.chunks)
                if len(chunks) <= 1 and self._create(first.write, chunks, changes[0].requires_agent):
                    return [first.answer]
                if isinstance(self._connections, PooledConnections) and (answer := self._answer(changes[0])):
                    return answer
        self._has_pruned = self._has_pruned or skip_locked
        return self._attempt(changes, skip_locked=skip_locked)

    def submit_together(self, changes: Sequence[Change[AnswerT]]) -> list[AnswerT | AgentNotFound]:
        """Make changes of several threads, unless another transaction holds one of the runs for long."""
        return self._attempt(changes, is_shared=True)

    _LIMIT_WAITING: Final = "SET LOCAL lock_timeout = '2s'"  # less than threads have patience for

    def _attempt(
        self, changes: Sequence[Change[AnswerT]], *, skip_locked: bool = False, is_shared: bool = False
    ) -> list[AnswerT | AgentNotFound]:
        for attempt in range(_MOST_ATTEMPTS):
            try:
                with self._connections.transaction(self._tenant_id) as cursor:
                    if is_shared:
                        cursor.execute(self._LIMIT_WAITING)
                    return self._settle(cursor, changes, skip_locked=skip_locked, may_copy=attempt == 0)
            except _OvertakenError:
                continue
        raise StoreUnavailable("other transactions insert and remove the same runs again and again: try again later")

    _CREATE_RUN: Final = f"""
        WITH run AS (
            INSERT INTO {{schema}}.backup_runs ({_STORED_RUN}, tenant_id)
            SELECT {_STORED_VALUES}, %b
            WHERE %b OR EXISTS (SELECT FROM {{schema}}.backup_agents WHERE tenant_id = %b AND id = %b)
            ON CONFLICT (tenant_id, id) DO NOTHING
            RETURNING tenant_id, id
        )
    """
    _WITH_CHUNK: Final = f"""
        , chunk AS (
            INSERT INTO {{schema}}.backup_run_logs ({_CHUNK_KEY}, {_CHUNK})
            SELECT tenant_id, id, %b, %b, %b, %b, %b, %b FROM run
        )
    """
    _CREATED: Final = "SELECT FROM run"

    def _create(self, write: StoredRun, chunks: Sequence[Chunk], agent_id: UUID | None) -> bool:
        """Store a run that is not there and the one chunk of its log by one statement, 0.66 of the time of several.

        Returns:
            Whether it was stored. It was not if a run with this id was there or the agent was not.
        """
        row = (*stored_run_row(write, _same, _same), self._tenant_id, agent_id is None, self._tenant_id, agent_id)
        statement = f"{self._CREATE_RUN}{self._WITH_CHUNK if chunks else ''}{self._CREATED}"
        for chunk in chunks:
            row += (write.log_version, *_chunk_row(chunk))
        with self._connections.statement(self._tenant_id) as cursor:
            return self._execute(cursor, statement, row).rowcount == 1

    def _answer(self, change: Change[AnswerT]) -> list[AnswerT | AgentNotFound]:
        """Answer a change that writes nothing, such as a result that was stored before, without a lock on its run.

        PostgreSQL makes a lock durable, too: a replay takes a fifth of the time without.

        Returns:
            The answer; nothing if the change has to be settled.
        """
        stored = self.find_run(change.run_id)
        decision = None if stored is None else change.decide(stored)
        if decision is None or decision.write is not None or decision.remove:
            return []
        is_known = change.requires_agent is None or self.list_agents([change.requires_agent])
        return [decision.answer] if is_known else []

    def _settle(
        self, cursor: Cursor, changes: Sequence[Change[AnswerT]], *, skip_locked: bool, may_copy: bool
    ) -> list[AnswerT | AgentNotFound]:
        """Decide about each change under a lock on its run's row."""
        unknown = self._unknown_agents(cursor, {change.requires_agent for change in changes if change.requires_agent})
        known = {number: change for number, change in enumerate(changes) if change.requires_agent not in unknown}
        firsts: dict[UUID, tuple[int, Decision[AnswerT]]] = {}  # of each run, the first change that would create it
        for number, change in known.items():
            if not skip_locked and change.run_id not in firsts and (decision := change.decide(None)).write is not None:
                firsts[change.run_id] = number, decision
        run_ids = {change.run_id for change in known.values()}
        creating = {run_id: decision for run_id, (_, decision) in firsts.items()}
        # Locks go in the order of their ids, inserts after them: who waits for another's lock or insert in any other
        # order may wait without end. So whoever is overtaken gives all locks back, and begins again.
        stored = self._lock(cursor, run_ids, skip_locked=skip_locked)
        created = creating.keys() - stored.keys()
        decisions = [creating[run_id] for run_id in sorted(created)]
        self._insert(cursor, decisions, may_copy=may_copy)
        self._write_logs(cursor, decisions)
        answers: list[AnswerT | AgentNotFound] = [AgentNotFound() for _ in changes]
        updated: dict[UUID, tuple[StoredRun, Decision[AnswerT]]] = {}  # what is to be written, all of it at once
        removed: set[UUID] = set()
        for number, change in known.items():
            if change.run_id in updated or change.run_id in removed:
                self._write(cursor, updated, removed)
                updated, removed = {}, set()
            before = stored.get(change.run_id)
            if change.run_id in created and firsts[change.run_id][0] == number:
                decision = firsts[change.run_id][1]
            else:
                decision = change.decide(before)
                if decision.write is not None and before is not None:
                    updated[change.run_id] = before, decision
                elif decision.write is not None:  # A change before it, in this call, has removed the run.
                    self._insert(cursor, [decision], may_copy=False)
                    self._write_logs(cursor, [decision])
            answers[number] = decision.answer
            if decision.write is not None:
                stored[change.run_id] = decision.write
            elif decision.remove and stored.pop(change.run_id, None) is not None:
                removed.add(change.run_id)
        self._write(cursor, updated, removed)
        return answers

    def _write(
        self, cursor: Cursor, updated: Mapping[UUID, tuple[StoredRun, Decision[Any]]], removed: set[UUID]
    ) -> None:
        """Write what was decided about runs that are there. Many take 0.7 of the time in a pipeline."""
        with cursor.connection.pipeline() if len(updated) > 1 else nullcontext():
            for stored, decision in updated.values():
                if decision.write is not None:
                    self._update(cursor, stored, decision.write)
        self._write_logs(cursor, [decision for _, decision in updated.values()])
        self._drop_logs(cursor, removed)
        if removed:
            self._execute(cursor, self._REMOVE_RUNS, (self._tenant_id, list(removed)))

    _KNOWN_AGENTS: Final = "SELECT id FROM {schema}.backup_agents WHERE tenant_id = %b AND id = ANY (%b)"

    def _unknown_agents(self, cursor: Cursor, agents: set[UUID]) -> set[UUID]:
        if not agents:
            return agents
        known = self._execute(cursor, self._KNOWN_AGENTS, (self._tenant_id, list(agents)))
        return agents.difference(agent_id for (agent_id,) in known)

    _INSERT_RUNS: Final = f"""
        INSERT INTO {{schema}}.backup_runs ({_STORED_RUN}, tenant_id)
        SELECT *, %b FROM unnest({_STORED_ARRAYS})
        ON CONFLICT (tenant_id, id) DO NOTHING
    """

    _COPY_RUNS: Final = f"COPY {{schema}}.backup_runs ({_STORED_RUN}, tenant_id) FROM STDIN (FORMAT BINARY)"

    def _insert(self, cursor: Cursor, decisions: Sequence[Decision[Any]], *, may_copy: bool) -> None:
        """Insert runs that are not there.

        Raises:
            _OvertakenError: One of them is there, or COPY cannot tell why it fails.
        """
        rows = [stored_run_row(decision.write, _same, _same) for decision in decisions if decision.write]
        if may_copy and len(rows) >= _FEWEST_COPIED and not self._connections.row_security:
            try:
                binary = (_binary_row(row, self._tenant_id) for row in rows)
                cursor.copy_rows(_in_schema(self._COPY_RUNS, self._schema), _RUN_TYPES, binary)
            except (UniqueViolation, FeatureNotSupported) as error:  # by an index or a policy that may be another's
                raise _OvertakenError from error
        elif rows:
            columns = (list(column) for column in zip(*rows, strict=True))
            inserted = self._execute(cursor, self._INSERT_RUNS, (self._tenant_id, *columns)).rowcount
            if inserted < len(rows):
                raise _OvertakenError

    _LOCK_RUNS: Final = f"""
        SELECT {_STORED_RUN} FROM {{schema}}.backup_runs WHERE tenant_id = %b AND id = ANY (%b)
        ORDER BY id FOR UPDATE
    """
    _SKIP_LOCKED: Final = " SKIP LOCKED"

    def _lock(self, cursor: Cursor, run_ids: set[UUID], *, skip_locked: bool) -> dict[UUID, StoredRun]:
        if not run_ids:
            return {}
        statement = f"{self._LOCK_RUNS}{self._SKIP_LOCKED if skip_locked else ''}"
        rows = self._execute(cursor, statement, (self._tenant_id, list(run_ids)))
        return {row[0]: read_stored_run(self._tenant_id, row, _same, moment_of) for row in rows}

    _REMOVE_RUNS: Final = "DELETE FROM {schema}.backup_runs WHERE tenant_id = %b AND id = ANY (%b)"

    _UPDATE_RUN: Final = "UPDATE {schema}.backup_runs SET {changes} WHERE tenant_id = %b AND id = %b"

    def _update(self, cursor: Cursor, stored: StoredRun, write: StoredRun) -> None:
        """Set what has changed only: PostgreSQL would write a long message or a list of failed items anew."""
        rows = zip(_PARAMETERS, stored_run_row(stored, _same, _same), stored_run_row(write, _same, _same), strict=True)
        changed = {column: value for column, before, value in rows if value != before}
        if changed:
            changes = ", ".join(f"{column} = {_PARAMETERS[column]}" for column in changed)
            key = self._tenant_id, write.run.id
            self._execute(cursor, self._UPDATE_RUN.replace("{changes}", changes), (*changed.values(), *key))

    _DROP_LOGS: Final = "DELETE FROM {schema}.backup_run_logs WHERE tenant_id = %b AND run_id = ANY (%b)"

    def _drop_logs(self, cursor: Cursor, run_ids: Collection[UUID]) -> None:
        if run_ids:
            self._execute(cursor, self._DROP_LOGS, (self._tenant_id, list(run_ids)))

    _OUTSIDE: Final = " AND (stored_at < %b::timestamptz OR stored_at >= %b::timestamptz)"

    def _drop_logs_later(self, cursor: Cursor, run_ids: Collection[UUID]) -> None:
        """Leave chunks that nobody needs in partitions that will be dropped as a whole, and delete all others."""
        is_ours = run_ids and isinstance(self._connections, PooledConnections)
        stretch = closed_stretch(find_partitions(cursor, self._schema)) if is_ours else None
        if stretch is None:
            self._drop_logs(cursor, run_ids)
        else:
            self._execute(cursor, f"{self._DROP_LOGS}{self._OUTSIDE}", (self._tenant_id, list(run_ids), *stretch))

    _DROP_CHUNKS: Final = (
        "DELETE FROM {schema}.backup_run_logs WHERE tenant_id = %b AND run_id = %b AND byte_offset >= %b"
    )
    _BEFORE: Final = " AND byte_offset < %b"
    _INSERT_CHUNK: Final = f"""
        INSERT INTO {{schema}}.backup_run_logs ({_CHUNK_KEY}, {_CHUNK}) VALUES (%b, %b, %b, %b, %b, %b, %b, %b)
    """
    _COPY_CHUNKS: Final = f"COPY {{schema}}.backup_run_logs ({_CHUNK_KEY}, {_CHUNK}) FROM STDIN (FORMAT BINARY)"

    def _write_logs(self, cursor: Cursor, decisions: Collection[Decision[Any]]) -> None:
        written = [(decision.write.run.id, decision) for decision in decisions if decision.write is not None]
        whole = {run_id for run_id, decision in written if (decision.drop, decision.drop_until) == (0, None)}
        later = {run_id for run_id, decision in written if run_id in whole and _may_drop_later(decision)}
        self._drop_logs(cursor, whole - later)
        self._drop_logs_later(cursor, later)
        for run_id, decision in written:
            if decision.drop is not None and run_id not in whole:
                key = self._tenant_id, run_id, decision.drop
                if decision.drop_until is None:
                    self._execute(cursor, self._DROP_CHUNKS, key)
                else:
                    self._execute(cursor, f"{self._DROP_CHUNKS}{self._BEFORE}", (*key, decision.drop_until))
        rows = (  # one chunk at a time, so that a long log is never held encoded
            (self._tenant_id, decision.write.run.id, decision.write.log_version, *_chunk_row(chunk))
            for decision in decisions
            if decision.write is not None
            for chunk in decision.chunks
        )
        first, second = next(rows, None), next(rows, None)
        if first is None:
            return
        if second is None:  # COPY would make an append take 1.15 times as long.
            self._execute(cursor, self._INSERT_CHUNK, first)
        elif self._connections.row_security:  # PostgreSQL has no COPY into a table with policies.
            with cursor.connection.pipeline():
                for row in chain([first, second], rows):
                    self._execute(cursor, self._INSERT_CHUNK, row)
        else:  # It makes batches 1.12 times as fast.
            every = chain([first, second], rows)
            cursor.copy_rows(_in_schema(self._COPY_CHUNKS, self._schema), _CHUNK_TYPES, every)

    def reclaim(self) -> int | None:
        """Drop partitions of logs that nobody needs, a step at a time; leave other room to autovacuum."""
        if not isinstance(self._connections, PooledConnections):
            return 0
        if self._has_pruned:  # Between two batches: what the next one removes need not be moved before.
            self._has_pruned = False
            return None
        return self._emptying.step(self._connections, self._tenant_id)

    _FIND_RUN: Final = f"SELECT {_STORED_RUN} FROM {{schema}}.backup_runs WHERE tenant_id = %b AND id = %b"

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with all that stands beside it."""
        rows = self._fetch(self._FIND_RUN, (self._tenant_id, run_id))
        return read_stored_run(self._tenant_id, rows[0], _same, moment_of) if rows else None

    _FIND_CHUNK: Final = f"""
        SELECT {_CHUNK} FROM {{schema}}.backup_run_logs
        WHERE tenant_id = %b AND run_id = %b AND log_version = %b AND byte_offset <= %b
        ORDER BY byte_offset DESC LIMIT 1
    """

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        rows = self._fetch(self._FIND_CHUNK, (self._tenant_id, run_id, log_version, offset))
        return read_chunk(rows[0]) if rows else None

    _FIND_LOG: Final = f"""
        SELECT {_STORED_RUN}, {_CHUNK} FROM (
            SELECT {_STORED_RUN} FROM {{schema}}.backup_runs WHERE tenant_id = %b AND id = %b
        ) AS run LEFT JOIN LATERAL (
            SELECT {_CHUNK} FROM {{schema}}.backup_run_logs
            WHERE tenant_id = %b AND run_id = %b AND log_version = run.log_version AND byte_offset <= %b
            ORDER BY byte_offset DESC LIMIT 1
        ) AS chunk ON true
    """

    def find_log(self, run_id: UUID, offset: int) -> tuple[StoredRun, Chunk | None] | None:
        """Find a run and the chunk of its log that holds the byte at an offset."""
        rows = self._fetch(self._FIND_LOG, (self._tenant_id, run_id, self._tenant_id, run_id, offset))
        if not rows:
            return None
        row, chunk = rows[0][:_WIDTH], rows[0][_WIDTH:]
        stored = read_stored_run(self._tenant_id, row, _same, moment_of)
        return stored, None if chunk[0] is None else read_chunk(chunk)

    # The subquery must not be EXISTS, for which PostgreSQL may read all runs of the tenant into a hash.
    _LIST_LOGS: Final = """
        WITH RECURSIVE logs (run, version) AS (
            (
                SELECT run_id, log_version FROM {schema}.backup_run_logs
                WHERE tenant_id = %b AND (run_id, log_version) > (%b, %b) ORDER BY run_id, log_version LIMIT 1
            )
            UNION ALL
            SELECT later.* FROM logs CROSS JOIN LATERAL (
                SELECT run_id, log_version FROM {schema}.backup_run_logs
                WHERE tenant_id = %b AND (run_id, log_version) > (run, version) ORDER BY run_id, log_version LIMIT 1
            ) AS later
        )
        SELECT run, version, coalesce((
            SELECT log_version = version FROM {schema}.backup_runs WHERE tenant_id = %b AND id = run
        ), false) FROM logs LIMIT %b
    """

    def list_logs(self, *, after: tuple[UUID, int] | None, limit: int) -> Sequence[StoredLog]:
        """List logs of which chunks are stored, by a search in the primary key for each."""
        tenant, place = self._tenant_id, after or (_FIRST, 0)
        rows = self._fetch(self._LIST_LOGS, (tenant, *place, tenant, tenant, limit))
        return [StoredLog(*row) for row in rows]

    _LIST_RUNS: Final = f"SELECT {_RUN} FROM {{schema}}.backup_runs WHERE "
    _NEWEST_FIRST: Final = " ORDER BY start_time DESC, id DESC LIMIT %b"

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter, newest first."""
        where, parameters = _where(query_terms(self._tenant_id, query, after))
        return self._runs(f"{self._LIST_RUNS}{where}{self._NEWEST_FIRST}", (*parameters, limit))

    def _runs(self, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> list[BackupRun]:
        return [read_run(self._tenant_id, row, _same, moment_of) for row in self._fetch(statement, parameters)]

    _COUNT_RUNS: Final = "SELECT count(*) FROM {schema}.backup_runs WHERE "

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        where, parameters = _where(query_terms(self._tenant_id, query))
        return int(self._fetch(f"{self._COUNT_RUNS}{where}", parameters)[0][0])

    # A step from kind to kind of run, and in each the newest runs: two searches in the index of kinds for each. A kind
    # is of one status, so that no search walks over runs of others.
    _LIST_NEWEST: Final = f"""
        WITH RECURSIVE kinds (policy, agent, type, state) AS (
            (
                SELECT {_KIND} FROM {{schema}}.backup_runs
                WHERE tenant_id = %b AND policy_id >= %b ORDER BY {_KIND} LIMIT 1
            )
            UNION ALL
            SELECT later.* FROM kinds CROSS JOIN LATERAL (
                SELECT {_KIND} FROM {{schema}}.backup_runs
                WHERE tenant_id = %b AND ({_KIND}) > (policy, agent, type, state) ORDER BY {_KIND} LIMIT 1
            ) AS later WHERE policy <= %b
        )
        SELECT {_RUN} FROM (
            SELECT newest.*, row_number() OVER (PARTITION BY {{by}} ORDER BY start_time DESC, id DESC) AS place
            FROM kinds CROSS JOIN LATERAL (
                SELECT {_RUN} FROM {{schema}}.backup_runs
                WHERE tenant_id = %b AND policy_id = policy AND agent_id = agent AND task_type = type AND status = state
                AND {{runs}} ORDER BY start_time DESC, id DESC LIMIT %b
            ) AS newest WHERE {{kinds}}
        ) AS placed WHERE place <= %b
    """

    def list_newest(self, query: RunQuery, by: Sequence[GroupColumn], *, limit: int = 1) -> Sequence[BackupRun]:
        """List each group's newest runs."""
        _, *terms = query_terms(self._tenant_id, query)
        of_kinds = [term._replace(column=_KINDS[term.column]) for term in terms if term.column in _KINDS]
        kinds, kind_values = _where(of_kinds)
        runs, run_values = _where([term for term in terms if term.column not in _KINDS])
        statement = self._LIST_NEWEST.replace("{by}", ", ".join(by))
        statement = statement.replace("{kinds}", kinds or "TRUE").replace("{runs}", runs or "TRUE")
        tenant, first, last = self._tenant_id, query.policy_id or _FIRST, query.policy_id or _LAST
        return self._runs(statement, (tenant, first, tenant, last, tenant, *run_values, limit, *kind_values, limit))

    _SUMMARIZE_RUNS: Final = """
        SELECT {by}, status, count(*), sum(duration_seconds), sum(data_added), sum(total_bytes_processed),
        coalesce(sum(log_bytes) FILTER (WHERE log_state IN ('open', 'complete', 'truncated')), 0)
        FROM {schema}.backup_runs WHERE """
    _BY_KEY_AND_STATUS: Final = " GROUP BY 1, 2"

    def summarize_runs(self, query: RunQuery, by: SummaryColumn) -> Sequence[Tally]:
        """Count and add up runs by group and status."""
        where, parameters = _where(query_terms(self._tenant_id, query))
        select = self._SUMMARIZE_RUNS.replace("{by}", _DAY if by == "day" else by)
        rows = self._fetch(f"{select}{where}{self._BY_KEY_AND_STATUS}", parameters)
        return [
            read_tally(by, (*row[:4], *(None if bytes_ is None else int(bytes_) for bytes_ in row[4:])), _same)
            for row in rows
        ]

    _ADD_TOKEN: Final = f"""
        INSERT INTO {{schema}}.backup_agent_tokens (tenant_id, {_TOKEN}) VALUES (%b, %b, %b, %b, %b, %b, %b)
        ON CONFLICT (tenant_id, prefix) DO NOTHING
    """

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        times = (token.created_at, token.expires_at, token.last_used_at)
        row = (self._tenant_id, token.prefix, token.agent_id, token.digest, *times)
        with self._connections.statement(self._tenant_id) as cursor:
            self._execute(cursor, self._ADD_TOKEN, row)

    _LIST_TOKENS: Final = f"SELECT {_TOKEN} FROM {{schema}}.backup_agent_tokens WHERE tenant_id = %b"
    _OLDEST_FIRST: Final = " ORDER BY created_at, prefix"

    def list_tokens(self, *, prefix: str | None = None, agent_id: UUID | None = None) -> Sequence[AgentToken]:
        """List tokens, oldest first."""
        statement, values = self._LIST_TOKENS, list[object]([self._tenant_id])
        for condition, value in ((" AND prefix = %b", prefix), (" AND agent_id = %b", agent_id)):
            if value is not None:
                statement += condition
                values.append(value)
        rows = self._fetch(statement + self._OLDEST_FIRST, values)
        return [read_token(self._tenant_id, row, _same, moment_of) for row in rows]

    _TOUCH_TOKEN: Final = """
        UPDATE {schema}.backup_agent_tokens SET last_used_at = %b WHERE tenant_id = %b AND prefix = (
            SELECT prefix FROM {schema}.backup_agent_tokens WHERE tenant_id = %b AND prefix = %b FOR UPDATE SKIP LOCKED
        )
    """

    def touch_token(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        with self._connections.statement(self._tenant_id) as cursor:
            self._execute(cursor, self._TOUCH_TOKEN, (used_at, self._tenant_id, self._tenant_id, prefix))

    _REMOVE_TOKEN: Final = "DELETE FROM {schema}.backup_agent_tokens WHERE tenant_id = %b AND prefix = %b"

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        with self._connections.statement(self._tenant_id) as cursor:
            return self._execute(cursor, self._REMOVE_TOKEN, (self._tenant_id, prefix)).rowcount == 1


def _quoted(schema: str) -> str:
    # PostgreSQL would cut a longer name; a percent sign would be a placeholder in some statements and not in others.
    is_text = not any("\ud800" <= letter <= "\udfff" for letter in schema)
    if not (is_text and 0 < len(schema.encode()) <= _NAME_BYTES and _NOT_IN_NAMES.isdisjoint(schema)):
        raise StoreError(f"schema must be a name of 1 to {_NAME_BYTES} bytes without a percent sign")
    return Identifier(schema).as_string()


@lru_cache(maxsize=1024)
def _in_schema(statement: str, schema: str) -> bytes:
    """Name the schema in a statement, because a session's search path is not to be relied on behind a proxy."""
    return statement.replace("{schema}", schema).encode()


def _where(terms: Sequence[Term]) -> tuple[str, list[object]]:
    """Turn terms into SQL. The index of statuses other than success serves statements that repeat its condition."""
    conditions: list[str] = []
    parameters: list[object] = []
    for column, operator, value in terms:
        if operator == "in":
            conditions.append(f"{column} = ANY (%b)")
            parameters.append(list(value))
        elif isinstance(value, tuple):
            conditions.append(f"({column}) {operator} (%b, %b)")
            parameters += value
        else:
            conditions.append(f"{column} {operator} %b")
            parameters.append(value)
        if column == "status" and "success" not in value:
            conditions.append("status <> 'success'")
    return " AND ".join(conditions), parameters


def _may_drop_later(decision: Decision[Any]) -> bool:
    """Return whether nobody can read the chunks to be deleted any more, so that it does not matter when they go."""
    return decision.drop_later and decision.write is not None and decision.write.run.log_state not in READABLE_STATES


def _chunk_row(chunk: Chunk) -> Row:
    return chunk.offset, chunk.size, chunk.codec, chunk.checksum, chunk.data


def _binary_row(row: Row, tenant_id: UUID) -> Row:
    """Return the row of a run as COPY takes it: the binary form of jsonb is the number of its version, 1, and text."""
    values: list[Any] = [*row, tenant_id]
    for place in _JSON:
        if values[place] is not None:
            values[place] = b"\x01" + values[place].encode()
    return tuple(values)


def _same(value: Any) -> Any:
    """Return an id or a time as it is: the driver's types are ours."""
    return value
