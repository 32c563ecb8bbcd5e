"""The backend: what backuplog's contract asks for, as SQL beside the function that runs it."""

import math
import sqlite3
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from types import NoneType
from typing import Any, Final, Literal, Self
from uuid import UUID, SafeUUID

from backuplog.backend import (
    AGENT_COLUMNS,
    CHUNK_COLUMNS,
    DEFAULT_TENANT,
    FIGURES,
    NULLABLE_COLUMNS,
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
    CorruptLog,
    Decision,
    GroupColumn,
    Row,
    RunQuery,
    StoredLog,
    StoredRun,
    StoreError,
    SummaryColumn,
    Tally,
    Term,
    as_duration,
    damaged_row,
    option,
    query_terms,
    read_agent,
    read_chunk,
    read_run,
    read_stored_run,
    read_tally,
    read_token,
    stored_run_row,
)

from .bound import CallersConnection
from .connection import MEMORY, OwnConnections, open_connections
from .given import GivenConnection
from .read_only import ReadOnlyConnections

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_ID_BYTES: Final = 16
_IDS_AT_ONCE: Final = 16
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


def _read(columns: Iterable[str]) -> str:
    """List columns to read. A ``+`` hides the type of each, for which the caller may have registered a converter."""
    return ", ".join(f"+{column}" for column in columns)


_STORED_RUN: Final = ", ".join(STORED_RUN_COLUMNS)
_WIDTH: Final = len(STORED_RUN_COLUMNS)
_CHUNK: Final = ", ".join(CHUNK_COLUMNS)
_AGENT: Final = ", ".join(AGENT_COLUMNS)
_TOKEN: Final = ", ".join(TOKEN_COLUMNS)
_READ_RUN: Final = _read(RUN_COLUMNS)
_READ_AGENT: Final = _read(AGENT_COLUMNS)
_KINDS: Final = {"policy_id": "policy", "agent_id": "agent", "task_type": "type", "status": "state"}
_KIND: Final = ", ".join(_KINDS)
_DAY: Final = "(start_time - ((start_time % 86400000000) + 86400000000) % 86400000000) / 86400000000"


def open_backend(
    url: str,
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    migrate: bool = True,
    synchronous: Literal["full", "normal"] = "full",
    busy_timeout: float = 30.0,
    connection: sqlite3.Connection | None = None,
) -> "SqliteBackend":
    """Open a SQLite database; ``backuplog.open_store`` calls it for ``sqlite://`` URLs.

    Args:
        url: ``sqlite://`` for a private database in memory, ``sqlite:///relative.db`` or ``sqlite:////absolute.db``.
            The path is taken as it is written; a relative one is relative to the working folder of this moment.
        tenant_id: The tenant whose data to see.
        migrate: Whether to bring the schema up to date. If not, a file that cannot be written can be read.
        synchronous: With ``full``, what was acknowledged survives a power failure. With ``normal``, it survives a crash
            of the process, and small results are stored three times as fast.
        busy_timeout: Seconds to wait for other writers.
        connection: A connection of yours to a database in memory, for ``sqlite://`` only: the store then lives in that
            database, so that a test can bind it to its own transactions. The store uses it only while no transaction is
            open, leaves its settings as they are, and does not close it. Open one store on a connection.

    Returns:
        The backend.

    Raises:
        SchemaOutdated: As for ``backuplog.open_store``.
        StoreError: The database cannot be opened, or another application's tables have our names.
    """
    if synchronous not in ("full", "normal"):
        raise StoreError("synchronous must be 'full' or 'normal'")
    busy_timeout = option("busy_timeout", as_duration, busy_timeout)
    path = url.removeprefix("sqlite://") or f"/{MEMORY}"
    if not path.startswith("/"):
        raise StoreError(f"write sqlite:///{path} with three slashes for a relative path, four for an absolute one")
    if path == "/":
        raise StoreError("sqlite:/// names no file: write sqlite:///backups.db, or sqlite:// for a database in memory")
    if connection is not None:
        if path[1:] != MEMORY:
            raise StoreError("a connection can be given with sqlite:// only, the URL of a database in memory")
        return SqliteBackend(GivenConnection(connection, migrate=migrate), tenant_id=tenant_id, is_owner=True)
    connections = open_connections(path[1:], migrate=migrate, synchronous=synchronous, busy_timeout=busy_timeout)
    return SqliteBackend(connections, tenant_id=tenant_id, is_owner=True)


class SqliteBackend:
    """One tenant's view of a SQLite database. It keeps the promises of ``backuplog.backend.Backend``.

    ``bound_to`` takes a ``sqlite3.Connection`` to the same database file. If no transaction is open when the view first
    writes, it executes ``BEGIN IMMEDIATE``. A connection that leaves transactions to the caller
    (``isolation_level=None`` or ``autocommit=True``) must be in one already: execute ``BEGIN IMMEDIATE`` first.
    """

    def __init__(
        self,
        connections: OwnConnections | ReadOnlyConnections | GivenConnection | CallersConnection,
        *,
        tenant_id: UUID,
        is_owner: bool,
    ) -> None:
        """Make a view.

        Args:
            connections: The connections to use.
            tenant_id: The tenant whose data to see.
            is_owner: Whether ``close`` closes the connections.
        """
        self._connections = connections
        self._tenant_id = tenant_id
        self._tenant = tenant_id.bytes
        self._is_owner = is_owner

    def __repr__(self) -> str:
        """Show the database and the tenant."""
        return f"<SqliteBackend {self._connections!r} tenant {self._tenant_id}>"

    @property
    def tenant_id(self) -> UUID:
        """Whose view this is."""
        return self._tenant_id

    @property
    def writers(self) -> int | None:
        """How many may submit at once: SQLite has one writer."""
        return None if isinstance(self._connections, CallersConnection) else 1

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Return another tenant's view of the same database."""
        return type(self)(self._connections, tenant_id=tenant_id, is_owner=False)

    def bound_to(self, connection: Any) -> Self:
        """Return a view inside the open transaction of a ``sqlite3.Connection``."""
        self._connections.require_open()
        return type(self)(CallersConnection(connection), tenant_id=self._tenant_id, is_owner=False)

    def close(self) -> None:
        """Close the database, unless this is a view."""
        if self._is_owner:
            self._connections.close()

    def _fetch(self, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> list[Row]:
        """Execute one statement and return its rows."""
        return self._connections.read(lambda cursor: cursor.execute(statement, parameters).fetchall())

    _PUT_AGENT: Final = f"""
        INSERT INTO backup_agents (tenant_id, {_AGENT}) VALUES (?, ?, ?, ?)
        ON CONFLICT (tenant_id, id) DO UPDATE SET hostname = coalesce(excluded.hostname, hostname)
    """

    def put_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        row = (self._tenant, _bytes_of(agent.id), agent.hostname, _microseconds(agent.registered_at))

        def put(cursor: sqlite3.Cursor) -> Agent:
            cursor.execute(self._PUT_AGENT, row)
            return self._agents(cursor, [agent.id])[0]

        return self._connections.write(put)

    def list_agents(self, ids: Collection[UUID] | None = None) -> Sequence[Agent]:
        """List agents, all or some."""
        return self._connections.read(lambda cursor: self._agents(cursor, ids))

    _LIST_AGENTS: Final = f"SELECT {_READ_AGENT} FROM backup_agents WHERE tenant_id = ?"
    _FIND_AGENT: Final = f"SELECT {_READ_AGENT} FROM backup_agents WHERE tenant_id = ? AND id = ?"

    def _agents(self, cursor: sqlite3.Cursor, ids: Collection[UUID] | None) -> list[Agent]:
        if ids is None:
            rows = cursor.execute(self._LIST_AGENTS, (self._tenant,)).fetchall()
        else:
            rows = [
                row
                for key in ids
                for row in cursor.execute(self._FIND_AGENT, (self._tenant, _bytes_of(key))).fetchall()
            ]
        return [read_agent(self._tenant_id, row, _id_of, _moment_of) for row in rows]

    _REMOVE_AGENT: Final = "DELETE FROM backup_agents WHERE tenant_id = ? AND id = ?"

    def remove_agent(self, agent_id: UUID) -> bool:
        """Remove an agent."""
        key = self._tenant, _bytes_of(agent_id)
        return self._connections.write(lambda cursor: cursor.execute(self._REMOVE_AGENT, key).rowcount) == 1

    _HAS_AGENT: Final = "SELECT 1 FROM backup_agents WHERE tenant_id = ? AND id = ?"

    def submit(
        self,
        changes: Sequence[Change[AnswerT]],
        *,
        skip_locked: bool = False,  # noqa: ARG002 - SQLite locks the whole database
    ) -> list[AnswerT | AgentNotFound]:
        """Make changes, in one transaction."""
        return self._connections.write(lambda cursor: self._decide(cursor, changes))

    def submit_together(self, changes: Sequence[Change[AnswerT]]) -> list[AnswerT | AgentNotFound]:
        """Make changes of several threads: who writes waits for the whole database, and for no run."""
        return self.submit(changes)

    def _decide(self, cursor: sqlite3.Cursor, changes: Sequence[Change[AnswerT]]) -> list[AnswerT | AgentNotFound]:
        answers: list[AnswerT | AgentNotFound] = []
        created: dict[UUID, Decision[AnswerT]] = {}
        required = {change.requires_agent for change in changes}
        unknown = {
            agent_id
            for agent_id in required
            if agent_id and cursor.execute(self._HAS_AGENT, (self._tenant, _bytes_of(agent_id))).fetchone() is None
        }
        known = self._find_runs(cursor, [change.run_id for change in changes])
        for change in changes:
            if change.requires_agent in unknown:
                answers.append(AgentNotFound())
                continue
            run_id = change.run_id
            if run_id in created:
                self._insert(cursor, created.values())
                known |= created.keys()
                created = {}
            stored = self._stored_run(cursor, run_id) if run_id in known else None
            decision = change.decide(stored)
            answers.append(decision.answer)
            if decision.remove:
                self._remove(cursor, run_id)
                known.discard(run_id)
            if decision.write is None:
                continue
            if stored is None:
                created[run_id] = decision
            else:
                self._update(cursor, stored, decision.write, decision)
        self._insert(cursor, created.values())
        return answers

    _FIND_RUNS: Final = f"""
        SELECT +id FROM backup_runs WHERE tenant_id = ? AND id IN ({", ".join("?" * _IDS_AT_ONCE)})
    """

    def _find_runs(self, cursor: sqlite3.Cursor, run_ids: Sequence[UUID]) -> set[UUID]:
        """Find those of some runs that are there: most of a batch are not, and each takes 2 us instead of 11."""
        found: set[UUID] = set()
        for start in range(0, len(run_ids), _IDS_AT_ONCE):
            keys: list[bytes | None] = [None] * _IDS_AT_ONCE  # one statement for any number of them, prepared once
            for place, run_id in enumerate(run_ids[start : start + _IDS_AT_ONCE]):
                keys[place] = _bytes_of(run_id)
            found.update(_id_of(key) for (key,) in cursor.execute(self._FIND_RUNS, (self._tenant, *keys)))
        return found

    _INSERT_RUN: Final = (
        f"INSERT INTO backup_runs (tenant_id, {_STORED_RUN}) VALUES (?{', ?' * len(STORED_RUN_COLUMNS)})"
    )

    def _insert(self, cursor: sqlite3.Cursor, created: Collection[Decision[Any]]) -> None:
        """Insert the runs that were not there with their logs, all at once: 1.6 times as fast as one by one."""
        written = [decision.write for decision in created if decision.write]
        cursor.executemany(
            self._INSERT_RUN,
            [(self._tenant, *_row_of(stored)) for stored in written],
        )
        self._write_logs(cursor, created)

    _DROP_LOG: Final = "DELETE FROM backup_run_logs WHERE tenant_id = ? AND run_id = ?"
    _REMOVE_RUN: Final = "DELETE FROM backup_runs WHERE tenant_id = ? AND id = ?"

    def _remove(self, cursor: sqlite3.Cursor, run_id: UUID) -> None:
        key = self._tenant, _bytes_of(run_id)
        cursor.execute(self._DROP_LOG, key)
        cursor.execute(self._REMOVE_RUN, key)

    _UPDATE_RUN: Final = "UPDATE backup_runs SET {changes} WHERE tenant_id = ? AND id = ?"

    def _update(self, cursor: sqlite3.Cursor, stored: StoredRun, write: StoredRun, decision: Decision[Any]) -> None:
        """Set what has changed only: SQLite would write every index anew of which a column is set to what it was."""
        rows = zip(STORED_RUN_COLUMNS, _row_of(stored), _row_of(write), strict=True)
        changed = {column: value for column, before, value in rows if value != before}
        if changed:
            changes = ", ".join(f"{column} = ?" for column in changed)
            key = self._tenant, _bytes_of(write.run.id)
            cursor.execute(self._UPDATE_RUN.replace("{changes}", changes), (*changed.values(), *key))
        self._write_logs(cursor, [decision])

    _DROP_CHUNKS: Final = "DELETE FROM backup_run_logs WHERE tenant_id = ? AND run_id = ? AND byte_offset >= ?"
    _BEFORE: Final = " AND byte_offset < ?"
    _INSERT_CHUNK: Final = f"""
        INSERT INTO backup_run_logs (tenant_id, run_id, log_version, {_CHUNK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
    """

    def _write_logs(self, cursor: sqlite3.Cursor, decisions: Collection[Decision[Any]]) -> None:
        written = [(decision.write, decision) for decision in decisions if decision.write]
        for stored, decision in written:
            if decision.drop is not None:
                key = self._tenant, _bytes_of(stored.run.id), decision.drop
                if decision.drop_until is None:
                    cursor.execute(self._DROP_CHUNKS, key)
                else:
                    cursor.execute(f"{self._DROP_CHUNKS}{self._BEFORE}", (*key, decision.drop_until))
        cursor.executemany(  # takes one chunk at a time, so that a long log is never held encoded
            self._INSERT_CHUNK,
            (
                (self._tenant, run_id, version, chunk.offset, chunk.size, chunk.codec, chunk.checksum, chunk.data)
                for stored, decision in written
                for run_id, version in [(_bytes_of(stored.run.id), stored.log_version)]
                for chunk in decision.chunks
            ),
        )

    def reclaim(self) -> int:
        """Give 2 MiB of a file back, if much of it is free and it is not the caller's connection that has it open."""
        return self._connections.reclaim() if isinstance(self._connections, OwnConnections) else 0

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with all that stands beside it."""
        return self._connections.read(lambda cursor: self._stored_run(cursor, run_id))

    _FIND_RUN: Final = f"SELECT {_read(STORED_RUN_COLUMNS)} FROM backup_runs WHERE tenant_id = ? AND id = ?"

    def _stored_run(self, cursor: sqlite3.Cursor, run_id: UUID) -> StoredRun | None:
        row = cursor.execute(self._FIND_RUN, (self._tenant, _bytes_of(run_id))).fetchone()
        if row is None:
            return None
        return read_stored_run(self._tenant_id, _checked("stored run", row), _id_of, _moment_of)

    _FIND_CHUNK: Final = f"""
        SELECT {_read(CHUNK_COLUMNS)} FROM backup_run_logs
        WHERE tenant_id = ? AND run_id = ? AND log_version = ? AND byte_offset <= ?
        ORDER BY byte_offset DESC LIMIT 1
    """

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        key = self._tenant, _bytes_of(run_id), log_version, offset
        rows = self._fetch(self._FIND_CHUNK, key)
        column = _odd_column("chunk", tuple(map(type, rows[0]))) if rows else None
        if column is not None:
            raise CorruptLog(f"a chunk of the log of run {run_id} is damaged: its {column} is of another type")
        return read_chunk(rows[0]) if rows else None

    _FIND_LOG: Final = f"""
        SELECT {_read(STORED_RUN_COLUMNS)}, {_read(CHUNK_COLUMNS)} FROM (
            SELECT * FROM backup_runs WHERE tenant_id = ? AND id = ?
        ) LEFT JOIN (
            SELECT log_version, {_CHUNK} FROM backup_run_logs WHERE tenant_id = ? AND run_id = ? AND byte_offset <= ?
        ) USING (log_version)
        ORDER BY byte_offset DESC LIMIT 1
    """

    def find_log(self, run_id: UUID, offset: int) -> tuple[StoredRun, Chunk | None] | None:
        """Find a run and the chunk of its log that holds the byte at an offset."""
        key = self._tenant, _bytes_of(run_id)
        rows = self._fetch(self._FIND_LOG, (*key, *key, offset))
        if not rows:
            return None
        row, chunk = rows[0][:_WIDTH], rows[0][_WIDTH:]
        stored = read_stored_run(self._tenant_id, _checked("stored run", row), _id_of, _moment_of)
        return stored, read_chunk(chunk) if _odd_column("chunk", tuple(map(type, chunk))) is None else None

    _NEXT_LOG: Final = """
        SELECT run, version, EXISTS (
            SELECT 1 FROM backup_runs WHERE tenant_id = ? AND id = run AND log_version = version
        ) FROM (
            SELECT +run_id AS run, +log_version AS version FROM backup_run_logs
            WHERE tenant_id = ? AND (run_id, log_version) > (?, ?) ORDER BY run_id, log_version LIMIT 1
        )
    """

    def list_logs(self, *, after: tuple[UUID, int] | None, limit: int) -> Sequence[StoredLog]:
        """List logs of which chunks are stored, by a search in the primary key for each."""
        place: Row = (-math.inf, 0) if after is None else (_bytes_of(after[0]), after[1])

        def walk(cursor: sqlite3.Cursor) -> list[Row]:
            rows: list[Row] = []
            while len(rows) < limit:
                row = cursor.execute(self._NEXT_LOG, (self._tenant, self._tenant, *(rows[-1][:2] if rows else place)))
                found = row.fetchone()
                if found is None:
                    break
                rows.append(found)
            return rows

        return [_log_of(row) for row in self._connections.read(walk)]

    _LIST_RUNS: Final = f"SELECT {_READ_RUN} FROM backup_runs WHERE "
    _NEWEST_FIRST: Final = " ORDER BY start_time DESC, id DESC LIMIT ?"
    _NEWEST_OF_ALL: Final = " ORDER BY {} DESC, {} DESC LIMIT ?".format(
        *(list(RUN_COLUMNS).index(column) + 1 for column in ("start_time", "id"))
    )

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter, newest first."""
        searches = [_where(terms) for terms in _searches(query_terms(self._tenant_id, query, after))]
        lists = [f"{self._LIST_RUNS}{where}{self._NEWEST_FIRST}" for where, _ in searches]
        values = [value for _, parameters in searches for value in (*parameters, limit)]
        if len(lists) == 1:
            return self._runs(lists[0], values)
        merged = " UNION ALL ".join(f"SELECT * FROM ({statement})" for statement in lists)
        return self._runs(f"{merged}{self._NEWEST_OF_ALL}", (*values, limit))

    def _runs(self, statement: str, parameters: Sequence[object] | Mapping[str, object]) -> list[BackupRun]:
        rows = self._fetch(statement, parameters)
        return [read_run(self._tenant_id, _checked("run", row), _id_of, _moment_of) for row in rows]

    _COUNT_RUNS: Final = "SELECT count(*) FROM backup_runs WHERE "

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        searches = [_where(terms) for terms in _searches(query_terms(self._tenant_id, query))]
        counts = [f"({self._COUNT_RUNS}{where})" for where, _ in searches]
        values = [value for _, parameters in searches for value in parameters]
        return int(self._fetch(f"SELECT {' + '.join(counts)}", values)[0][0])

    # A step from kind to kind of run, and in each the newest runs: two searches in the index of kinds for each, which
    # SQLite would not choose by itself. A kind is of one status, so that no search walks over runs of others. A + hides
    # that a column of kinds is text: SQLite would compare the first two columns only by the index. It begins to search
    # for what is greater at what is equal: what is greater than any start time spares it the runs of the kind itself,
    # and UNION ends with a damaged one that is greater still.
    _LIST_NEWEST: Final = f"""
        WITH RECURSIVE kinds (policy, agent, type, state) AS (
            SELECT * FROM (
                SELECT {_KIND} FROM backup_runs INDEXED BY backup_runs_kind
                WHERE tenant_id = ? AND policy_id >= ? ORDER BY {_KIND} LIMIT 1
            )
            UNION
            SELECT {_KIND} FROM kinds CROSS JOIN backup_runs NOT INDEXED
            WHERE tenant_id = ? AND policy <= ? AND rowid = (
                SELECT rowid FROM backup_runs INDEXED BY backup_runs_kind
                WHERE tenant_id = ? AND ({_KIND}, start_time) > (policy, agent, +type, +state, x'ffffffffffffffffff')
                ORDER BY {_KIND} LIMIT 1
            )
        )
        SELECT {_READ_RUN} FROM (
            SELECT *, row_number() OVER (PARTITION BY {{by}} ORDER BY start_time DESC, id DESC) AS place
            FROM kinds CROSS JOIN backup_runs NOT INDEXED WHERE tenant_id = ? AND {{kinds}} AND rowid IN (
                SELECT rowid FROM backup_runs INDEXED BY backup_runs_kind
                WHERE tenant_id = ? AND ({_KIND}) = (policy, agent, type, state) AND {{runs}}
                ORDER BY start_time DESC, id DESC LIMIT ?
            )
        ) WHERE place <= ?
    """

    def list_newest(self, query: RunQuery, by: Sequence[GroupColumn], *, limit: int = 1) -> Sequence[BackupRun]:
        """List each group's newest runs."""
        _, *terms = query_terms(self._tenant_id, query)
        kinds, kind_values = _kinds_where([term for term in terms if term.column in _KINDS])
        runs, run_values = _where([term for term in terms if term.column not in _KINDS])
        statement = self._LIST_NEWEST.replace("{by}", ", ".join(by))
        statement = statement.replace("{kinds}", kinds or "TRUE").replace("{runs}", runs or "TRUE")
        tenant, first, last = self._tenant, _bytes_of(query.policy_id or _FIRST), _bytes_of(query.policy_id or _LAST)
        values = tenant, first, tenant, last, tenant, tenant, *kind_values, tenant, *run_values, limit, limit
        return self._runs(statement, values)

    # An agent may send figures of up to 2^63 - 1: halves can be added up without an overflow.
    _SUMMARIZE_RUNS: Final = """
        SELECT {by}, +status, count(*), total(duration_seconds),
        sum(data_added >> 32), sum(data_added & 4294967295),
        sum(total_bytes_processed >> 32), sum(total_bytes_processed & 4294967295),
        total(log_bytes >> 32) FILTER (WHERE log_state IN ('open', 'complete', 'truncated')),
        total(log_bytes & 4294967295) FILTER (WHERE log_state IN ('open', 'complete', 'truncated'))
        FROM backup_runs WHERE """
    _BY_KEY_AND_STATUS: Final = " GROUP BY 1, 2"

    def summarize_runs(self, query: RunQuery, by: SummaryColumn) -> Sequence[Tally]:
        """Count and add up runs by group and status."""
        select = self._SUMMARIZE_RUNS.replace("{by}", _DAY if by == "day" else f"+{by}")
        rows: list[Row] = []
        for terms in _searches(query_terms(self._tenant_id, query)):
            where, parameters = _where(terms)
            rows += self._fetch(f"{select}{where}{self._BY_KEY_AND_STATUS}", parameters)
        return [
            read_tally(by, (*row[:4], *(_joined(*row[place : place + 2]) for place in (4, 6, 8))), _id_of)
            for row in rows
        ]

    _ADD_TOKEN: Final = f"""
        INSERT INTO backup_agent_tokens (tenant_id, {_TOKEN}) VALUES (?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (tenant_id, prefix) DO NOTHING
    """

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        times = (token.created_at, token.expires_at, token.last_used_at)
        row: Row = (self._tenant, token.prefix, _bytes_of(token.agent_id), token.digest)
        row += tuple(moment and _microseconds(moment) for moment in times)
        self._connections.write(lambda cursor: cursor.execute(self._ADD_TOKEN, row))

    _LIST_TOKENS: Final = f"SELECT {_read(TOKEN_COLUMNS)} FROM backup_agent_tokens WHERE tenant_id = ?"
    _OLDEST_FIRST: Final = " ORDER BY created_at, prefix"

    def list_tokens(self, *, prefix: str | None = None, agent_id: UUID | None = None) -> Sequence[AgentToken]:
        """List tokens, oldest first."""
        statement, values = self._LIST_TOKENS, list[bytes | str]([self._tenant])
        agent = None if agent_id is None else _bytes_of(agent_id)
        for condition, value in ((" AND prefix = ?", prefix), (" AND agent_id = ?", agent)):
            if value is not None:
                statement += condition
                values.append(value)
        rows = self._fetch(statement + self._OLDEST_FIRST, values)
        return [read_token(self._tenant_id, _checked("token", row), _id_of, _moment_of) for row in rows]

    _TOUCH_TOKEN: Final = "UPDATE backup_agent_tokens SET last_used_at = ? WHERE tenant_id = ? AND prefix = ?"

    def touch_token(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        row = (_microseconds(used_at), self._tenant, prefix)
        self._connections.write(lambda cursor: cursor.execute(self._TOUCH_TOKEN, row), waits=False)

    _REMOVE_TOKEN: Final = "DELETE FROM backup_agent_tokens WHERE tenant_id = ? AND prefix = ?"

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        key = self._tenant, prefix
        removed = self._connections.write(lambda cursor: cursor.execute(self._REMOVE_TOKEN, key).rowcount)
        return removed == 1


def _row_of(stored: StoredRun) -> Row:
    *row, end_time_reported, log_version = stored_run_row(stored, _bytes_of, _microseconds)
    return (*row, int(end_time_reported), log_version)  # The process may have an adapter for bool.


def _searches(terms: Sequence[Term]) -> list[list[Term]]:
    """Take several statuses apart where the index of those other than success serves each of them.

    SQLite would read all runs of the tenant for them: 36 ms instead of 0.3 for the active ones among 300,000.
    """
    status = next((term for term in terms if term.operator == "in"), None)
    columns = {term.column for term in terms}
    if status is None or "success" in status.value or not columns.isdisjoint(("agent_id", "policy_id")):
        return [[*terms]]
    return [[Term("status", "=", word) if term is status else term for term in terms] for word in status.value]


def _where(terms: Sequence[Term]) -> tuple[str, list[bytes | str | int]]:
    """Turn terms into SQL.

    A ``+`` keeps SQLite from choosing an index by that column: where an agent or a policy is given, its own index
    is the best (0.15 ms against 15.6). The index of statuses other than success serves statements that repeat its
    condition.
    """
    columns = {term.column for term in terms}
    is_kind = _KINDS.keys() <= columns  # which have an index of their own
    conditions: list[str] = []
    parameters: list[bytes | str | int] = []
    for column, operator, value in terms:
        values: list[Any] = list(value) if operator == "in" or "," in column else [value]
        parameters += map(_bound, values)
        if column == "policy_id" and "agent_id" in columns and not is_kind:
            conditions.append("+policy_id = ?")
        elif column != "status":
            conditions.append(f"({column}) {operator} (?, ?)" if len(values) > 1 else f"{column} {operator} ?")
        elif operator == "=" and value != "success" and columns.isdisjoint(("agent_id", "policy_id")):
            conditions.append("status = ? AND status <> 'success'")
        else:
            conditions.append(f"{'' if is_kind else '+'}status IN (?{', ?' * (len(values) - 1)})")
    return " AND ".join(conditions), parameters


def _kinds_where(terms: Sequence[Term]) -> tuple[str, list[bytes | str | int]]:
    """Turn terms into SQL on the columns of a kind of run."""
    conditions: list[str] = []
    parameters: list[bytes | str | int] = []
    for column, operator, value in terms:
        values: list[Any] = list(value) if operator == "in" else [value]
        conditions.append(f"{_KINDS[column]} IN (?{', ?' * (len(values) - 1)})")
        parameters += map(_bound, values)
    return " AND ".join(conditions), parameters


def _joined(high: float | None, low: float | None) -> int | None:
    """Join the halves of a sum."""
    return None if high is None or low is None else (int(high) << 32) + int(low)


def _bound(value: UUID | datetime | str) -> bytes | str | int:
    if isinstance(value, UUID):
        return _bytes_of(value)
    return _microseconds(value) if isinstance(value, datetime) else value


_SHAPES: Final = {
    "run": RUN_COLUMNS,
    "stored run": STORED_RUN_COLUMNS,
    "chunk": CHUNK_COLUMNS,
    "token": TOKEN_COLUMNS,
}
# Of each shape, the columns that are taken as they are: the conversions of the others refuse another type.
_PLAIN: Final = {
    shape: {name: kind for name, kind in columns.items() if kind in (str, int, float, bytes) and name not in FIGURES}
    for shape, columns in _SHAPES.items()
}
_PICK: Final = {
    shape: itemgetter(*(list(columns).index(name) for name in _PLAIN[shape])) for shape, columns in _SHAPES.items()
}


def _checked(shape: str, row: Row) -> Row:
    """Return a row whose values are of the types of its columns, which SQLite does not see to."""
    column = _odd_column(shape, tuple(map(type, _PICK[shape](row))))
    if column is not None:
        raise damaged_row(shape.removeprefix("stored "), row[0], f"its {column} is of another type")
    return row


@lru_cache(maxsize=1024)  # Rows repeat: a look-up takes 0.3 us where comparing takes 2.
def _odd_column(shape: str, types: tuple[type, ...]) -> str | None:
    for (column, kind), found in zip(_PLAIN[shape].items(), types, strict=True):
        if found is not kind and not (found is NoneType and column in NULLABLE_COLUMNS):
            return column
    return None


@lru_cache(maxsize=1024)  # A page is of few agents and policies: making each UUID once saves a fifth of its time.
def _id_of(value: bytes) -> UUID:
    if len(value) != _ID_BYTES:
        raise ValueError("an id does not have 16 bytes")
    made = object.__new__(UUID)  # half the time of UUID(bytes=...)
    object.__setattr__(made, "int", int.from_bytes(value))
    object.__setattr__(made, "is_safe", SafeUUID.unknown)
    return made


def _bytes_of(key: UUID) -> bytes:
    return key.int.to_bytes(16)  # half the time of its property


def _log_of(row: Row) -> StoredLog:
    run_id, log_version, is_referred_to = row
    if not (isinstance(run_id, bytes) and len(run_id) == _ID_BYTES and isinstance(log_version, int)):
        raise damaged_row("chunk of run", run_id, "its key is of another type")
    return StoredLog(_id_of(run_id), log_version, bool(is_referred_to))


def _moment_of(microseconds: int) -> datetime:
    return _EPOCH + microseconds * _MICROSECOND


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND
