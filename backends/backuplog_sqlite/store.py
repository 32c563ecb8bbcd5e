"""The store: what backuplog's contract asks for, as SQL beside the function that runs it."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Final, Literal, Self
from uuid import UUID

from backuplog import (
    DEFAULT_TENANT,
    Agent,
    AgentNotFound,
    AgentToken,
    BackupRun,
    Chunk,
    LogState,
    Receipt,
    RunConflict,
    RunQuery,
    StoredRun,
    StoreError,
    Submission,
    decide,
)

from .connection import MEMORY, CallersConnection, OwnConnections

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_DIGEST_BYTES: Final = 32
_LOG_STATES: Final = {state.value: state for state in LogState}

_RUN_COLUMNS: Final = (
    "id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, error_message, snapshot_id, "
    "received_at, updated_at, log_state, log_bytes, log_sha256, dropped_bytes"
)
_TOKEN_COLUMNS: Final = "prefix, agent_id, digest, created_at, expires_at, last_used_at"
_STORED_COLUMNS: Final = f"{_RUN_COLUMNS}, digest, superseded, end_time_reported, log_version"


def open_store(
    url: str,
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    agent_exists: Callable[[UUID], bool] | None = None,
    migrate: bool = True,
    synchronous: Literal["full", "normal"] = "full",
    busy_timeout: float = 30.0,
) -> "SqliteStore":
    """Open a SQLite store; ``backuplog.open_store`` calls it for ``sqlite://`` URLs.

    Args:
        url: ``sqlite://`` for a private database in memory, ``sqlite:///relative.db``, ``sqlite:////absolute.db``.
            The path is taken as it is written.
        tenant_id: Whose runs to see.
        agent_exists: The integrator's own answer to whether an agent exists.
        migrate: Whether to bring the schema up to date.
        synchronous: ``full``: what is acknowledged survives a loss of power. ``normal``: it survives a crash of the
            process, and small results are stored three times as fast.
        busy_timeout: How long to wait for other writers, in seconds.

    Raises:
        SchemaOutdated: As for ``backuplog.open_store``.
        StoreError: The database cannot be opened.
    """
    if synchronous not in ("full", "normal"):
        raise StoreError("synchronous must be 'full' or 'normal'")
    connections = OwnConnections(_path(url), migrate=migrate, synchronous=synchronous, busy_timeout=busy_timeout)
    return SqliteStore(connections, tenant_id=tenant_id, agent_exists=agent_exists, owned=True)


def _path(url: str) -> str:
    rest = url.removeprefix("sqlite://")
    if rest in ("", "/", f"/{MEMORY}"):
        return MEMORY
    if not rest.startswith("/"):
        raise StoreError(f"write sqlite:///{rest} with three slashes for a relative path, four for an absolute one")
    return rest[1:]


class SqliteStore:
    """One tenant's view of a SQLite database. It keeps the promises of ``backuplog.Store``."""

    def __init__(
        self,
        connections: OwnConnections | CallersConnection,
        *,
        tenant_id: UUID,
        agent_exists: Callable[[UUID], bool] | None,
        owned: bool,
    ) -> None:
        """Take the connections; ``owned`` says whether ``close`` closes them."""
        self._connections = connections
        self._tenant_id = tenant_id
        self._agent_exists = agent_exists
        self._owned = owned

    def __repr__(self) -> str:
        """Show the database and the tenant."""
        return f"<SqliteStore {self._connections!r} tenant {self._tenant_id}>"

    @property
    def tenant_id(self) -> UUID:
        """Whose view this is."""
        return self._tenant_id

    @property
    def agent_exists(self) -> Callable[[UUID], bool] | None:
        """The integrator's own answer to whether an agent exists."""
        return self._agent_exists

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Give another tenant's view of the same database."""
        return type(self)(self._connections, tenant_id=tenant_id, agent_exists=self._agent_exists, owned=False)

    def bound_to(self, connection: Any) -> Self:
        """Give a view inside the open transaction of a ``sqlite3.Connection``."""
        return type(self)(
            CallersConnection(connection), tenant_id=self._tenant_id, agent_exists=self._agent_exists, owned=False
        )

    def close(self) -> None:
        """Close the database, unless this is a view."""
        if self._owned:
            self._connections.close()

    def __enter__(self) -> Self:
        """Give the store itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    _ADD_AGENT: Final = """
        INSERT INTO agents (tenant_id, id, hostname, registered_at) VALUES (?, ?, ?, ?)
        ON CONFLICT (tenant_id, id) DO UPDATE SET hostname = coalesce(excluded.hostname, hostname)
    """

    def add_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        row = (self._tenant_id.bytes, agent.id.bytes, agent.hostname, _microseconds(agent.registered_at))
        with self._connections.writing() as cursor:
            cursor.execute(self._ADD_AGENT, row)
            stored = self._agent(cursor, agent.id)
        assert stored is not None  # noqa: S101 - the statement above wrote it
        return stored

    def find_agent(self, agent_id: UUID) -> Agent | None:
        """Find an agent."""
        with self._connections.reading() as cursor:
            return self._agent(cursor, agent_id)

    _FIND_AGENT: Final = "SELECT hostname, registered_at FROM agents WHERE tenant_id = ? AND id = ?"

    def _agent(self, cursor: sqlite3.Cursor, agent_id: UUID) -> Agent | None:
        row = cursor.execute(self._FIND_AGENT, (self._tenant_id.bytes, agent_id.bytes)).fetchone()
        if row is None:
            return None
        return Agent(id=agent_id, tenant_id=self._tenant_id, hostname=row[0], registered_at=_moment(row[1]))

    def submit(self, submissions: Sequence[Submission]) -> list[Receipt | AgentNotFound | RunConflict]:
        """Take submissions in, in one transaction."""
        answers: list[Receipt | AgentNotFound | RunConflict] = []
        fresh: dict[UUID, tuple[StoredRun, Submission]] = {}
        with self._connections.writing() as cursor:
            unknown = {
                agent_id
                for agent_id in {item.run.agent_id for item in submissions if not item.agent_known}
                if self._agent(cursor, agent_id) is None
            }
            for submission in submissions:
                if not submission.agent_known and submission.run.agent_id in unknown:
                    answers.append(AgentNotFound())
                    continue
                if submission.run.id in fresh:
                    self._insert(cursor, fresh)
                stored = self._stored(cursor, submission.run.id)
                decision = decide(stored, submission)
                answers.append(decision.answer)
                if decision.write is None:
                    continue
                if stored is None:
                    fresh[submission.run.id] = decision.write, submission
                else:
                    self._update(cursor, stored, decision.write, submission)
            self._insert(cursor, fresh)
        return answers

    _INSERT_RUN: Final = f"INSERT INTO backup_runs ({_STORED_COLUMNS}, tenant_id) VALUES ({', '.join('?' * 21)})"

    def _insert(self, cursor: sqlite3.Cursor, fresh: dict[UUID, tuple[StoredRun, Submission]]) -> None:
        """Insert the runs that were not there with their logs, all at once: 1.6 times as fast as one by one."""
        tenant = self._tenant_id.bytes
        cursor.executemany(self._INSERT_RUN, [(*_row(stored), tenant) for stored, _ in fresh.values()])
        self._insert_chunks(cursor, fresh.values())
        fresh.clear()

    _UPDATE_RUN: Final = (
        f"UPDATE backup_runs SET {_STORED_COLUMNS.replace(',', ' = ?,')} = ? WHERE tenant_id = ? AND id = ?"
    )
    _DELETE_CHUNKS: Final = "DELETE FROM backup_run_logs WHERE tenant_id = ? AND run_id = ? AND log_version <> ?"

    def _update(self, cursor: sqlite3.Cursor, stored: StoredRun, write: StoredRun, submission: Submission) -> None:
        key = self._tenant_id.bytes, write.run.id.bytes
        cursor.execute(self._UPDATE_RUN, (*_row(write), *key))
        if write.log_version != stored.log_version:
            cursor.execute(self._DELETE_CHUNKS, (*key, write.log_version))
            self._insert_chunks(cursor, [(write, submission)])

    _INSERT_CHUNK: Final = """
        INSERT INTO backup_run_logs
            (tenant_id, run_id, log_version, byte_offset, seq, size, codec, checksum, data)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    """

    def _insert_chunks(self, cursor: sqlite3.Cursor, written: Iterable[tuple[StoredRun, Submission]]) -> None:
        tenant = self._tenant_id.bytes
        cursor.executemany(  # takes one chunk at a time from the logs, so that a long one is never held encoded
            self._INSERT_CHUNK,
            (
                (
                    tenant,
                    stored.run.id.bytes,
                    stored.log_version,
                    chunk.offset,
                    chunk.number,
                    chunk.size,
                    chunk.codec,
                    chunk.checksum,
                    chunk.data,
                )
                for stored, submission in written
                if submission.log is not None
                for chunk in submission.log.chunks()
            ),
        )

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with all that stands beside it."""
        with self._connections.reading() as cursor:
            return self._stored(cursor, run_id)

    _FIND_RUN: Final = f"SELECT {_STORED_COLUMNS} FROM backup_runs WHERE tenant_id = ? AND id = ?"

    def _stored(self, cursor: sqlite3.Cursor, run_id: UUID) -> StoredRun | None:
        row = cursor.execute(self._FIND_RUN, (self._tenant_id.bytes, run_id.bytes)).fetchone()
        if row is None:
            return None
        digest, superseded, end_time_reported, log_version = row[-4:]
        return StoredRun(
            run=next(_runs(self._tenant_id, [row[:-4]])),
            digest=digest,
            superseded=tuple(
                superseded[start : start + _DIGEST_BYTES] for start in range(0, len(superseded), _DIGEST_BYTES)
            ),
            end_time_reported=bool(end_time_reported),
            log_version=log_version,
        )

    _FIND_CHUNK: Final = """
        SELECT seq, byte_offset, size, codec, checksum, data FROM backup_run_logs
        WHERE tenant_id = ? AND run_id = ? AND log_version = ? AND byte_offset <= ?
        ORDER BY byte_offset DESC LIMIT 1
    """

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        key = self._tenant_id.bytes, run_id.bytes, log_version, offset
        with self._connections.reading() as cursor:
            row = cursor.execute(self._FIND_CHUNK, key).fetchone()
        if row is None:
            return None
        number, begins, size, codec, checksum, data = row
        return Chunk(number=number, offset=begins, size=size, codec=codec, checksum=checksum, data=data)

    _LIST_RUNS: Final = f"SELECT {_RUN_COLUMNS} FROM backup_runs WHERE "
    _NEWEST_FIRST: Final = " ORDER BY start_time DESC, id DESC LIMIT ?"

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter, newest first."""
        where, parameters = _where(self._tenant_id, query, after)
        with self._connections.reading() as cursor:
            rows = cursor.execute(f"{self._LIST_RUNS}{where}{self._NEWEST_FIRST}", (*parameters, limit)).fetchall()
        return list(_runs(self._tenant_id, rows))

    _COUNT_RUNS: Final = "SELECT count(*) FROM backup_runs WHERE "

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        where, parameters = _where(self._tenant_id, query, None)
        with self._connections.reading() as cursor:
            return int(cursor.execute(f"{self._COUNT_RUNS}{where}", parameters).fetchone()[0])

    # A step from policy to policy, and in each the newest success: two look-ups in an index for each policy.
    _LIST_LAST_SUCCESSES: Final = f"""
        WITH RECURSIVE policies (policy_id) AS (
            SELECT min(policy_id) FROM backup_runs WHERE tenant_id = :tenant
            UNION ALL
            SELECT (SELECT min(policy_id) FROM backup_runs WHERE tenant_id = :tenant AND policy_id > policies.policy_id)
            FROM policies WHERE policy_id IS NOT NULL
        )
        SELECT {_RUN_COLUMNS} FROM backup_runs WHERE tenant_id = :tenant AND id IN (
            SELECT (
                SELECT id FROM backup_runs
                WHERE tenant_id = :tenant AND policy_id = policies.policy_id AND +status = 'success'
                ORDER BY start_time DESC, id DESC LIMIT 1
            ) FROM policies
        )
    """

    def list_last_successes(self) -> Sequence[BackupRun]:
        """List each policy's newest success."""
        with self._connections.reading() as cursor:
            rows = cursor.execute(self._LIST_LAST_SUCCESSES, {"tenant": self._tenant_id.bytes}).fetchall()
        return list(_runs(self._tenant_id, rows))

    _ADD_TOKEN: Final = """
        INSERT INTO agent_tokens (tenant_id, prefix, agent_id, digest, created_at, expires_at, last_used_at)
        VALUES (?, ?, ?, ?, ?, ?, ?)
    """

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        times = (token.created_at, token.expires_at, token.last_used_at)
        row = (self._tenant_id.bytes, token.prefix, token.agent_id.bytes, token.digest, *map(_optional_time, times))
        with self._connections.writing() as cursor:
            cursor.execute(self._ADD_TOKEN, row)

    _FIND_TOKEN: Final = f"SELECT {_TOKEN_COLUMNS} FROM agent_tokens WHERE tenant_id = ? AND prefix = ?"

    def find_token(self, prefix: str) -> AgentToken | None:
        """Find a token."""
        with self._connections.reading() as cursor:
            row = cursor.execute(self._FIND_TOKEN, (self._tenant_id.bytes, prefix)).fetchone()
        return None if row is None else self._token(row)

    _LIST_TOKENS: Final = (
        f"SELECT {_TOKEN_COLUMNS} FROM agent_tokens WHERE tenant_id = ? AND agent_id = ? ORDER BY created_at, prefix"
    )

    def list_tokens(self, agent_id: UUID) -> Sequence[AgentToken]:
        """List an agent's tokens, oldest first."""
        with self._connections.reading() as cursor:
            rows = cursor.execute(self._LIST_TOKENS, (self._tenant_id.bytes, agent_id.bytes)).fetchall()
        return [self._token(row) for row in rows]

    def _token(self, row: tuple[Any, ...]) -> AgentToken:
        prefix, agent_id, digest, created_at, expires_at, last_used_at = row
        return AgentToken(
            prefix=prefix,
            tenant_id=self._tenant_id,
            agent_id=UUID(bytes=agent_id),
            digest=digest,
            created_at=_moment(created_at),
            expires_at=None if expires_at is None else _moment(expires_at),
            last_used_at=None if last_used_at is None else _moment(last_used_at),
        )

    _NOTE_TOKEN_USE: Final = "UPDATE agent_tokens SET last_used_at = ? WHERE tenant_id = ? AND prefix = ?"

    def note_token_use(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        with self._connections.writing() as cursor:
            cursor.execute(self._NOTE_TOKEN_USE, (_microseconds(used_at), self._tenant_id.bytes, prefix))

    _REMOVE_TOKEN: Final = "DELETE FROM agent_tokens WHERE tenant_id = ? AND prefix = ?"

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        with self._connections.writing() as cursor:
            return cursor.execute(self._REMOVE_TOKEN, (self._tenant_id.bytes, prefix)).rowcount == 1


def _where(
    tenant_id: UUID, query: RunQuery, after: tuple[datetime, UUID] | None
) -> tuple[str, list[bytes | str | int]]:
    """Turn filters into SQL.

    A ``+`` keeps SQLite from choosing an index by that column: where an agent or a policy is given, its own index
    is the best (0.15 ms against 15.6), and the index of statuses serves one status other than success only.
    """
    terms: list[tuple[str, list[bytes | str | int]]] = [("tenant_id = ?", [tenant_id.bytes])]
    if query.agent_id:
        terms.append(("agent_id = ?", [query.agent_id.bytes]))
    if query.policy_id:
        terms.append(("+policy_id = ?" if query.agent_id else "policy_id = ?", [query.policy_id.bytes]))
    if len(query.status) == 1 and query.status[0] != "success" and not (query.agent_id or query.policy_id):
        terms.append(("status = ? AND status <> 'success'", [*query.status]))
    elif query.status:
        terms.append((f"+status IN ({', '.join('?' * len(query.status))})", [*query.status]))
    if query.task_type:
        terms.append(("task_type = ?", [query.task_type]))
    if query.snapshot_id:
        terms.append(("snapshot_id = ?", [query.snapshot_id]))
    if query.since:
        terms.append(("start_time >= ?", [_microseconds(query.since)]))
    if after:
        terms.append(("(start_time, id) < (?, ?)", [_microseconds(after[0]), after[1].bytes]))
    elif query.until:  # What comes after a run of the page before is before its end already.
        terms.append(("start_time < ?", [_microseconds(query.until)]))
    return " AND ".join(term for term, _ in terms), [value for _, values in terms for value in values]


def _row(stored: StoredRun) -> tuple[Any, ...]:
    run = stored.run
    return (
        run.id.bytes,
        run.agent_id.bytes,
        run.policy_id.bytes,
        run.task_type,
        run.status,
        _microseconds(run.start_time),
        _optional_time(run.end_time),
        run.duration_seconds,
        run.error_message,
        run.snapshot_id,
        _microseconds(run.received_at),
        _microseconds(run.updated_at),
        run.log_state.value,
        run.log_bytes,
        run.log_sha256,
        run.dropped_bytes,
        stored.digest,
        b"".join(stored.superseded),
        stored.end_time_reported,
        stored.log_version,
    )


def _runs(tenant_id: UUID, rows: Iterable[tuple[Any, ...]]) -> Iterator[BackupRun]:
    ids: dict[
        bytes, UUID
    ] = {}  # A page is of few agents and policies: making each UUID once saves a fifth of its time.
    for row in rows:
        for key in row[1:3]:
            if key not in ids:
                ids[key] = UUID(bytes=key)
        yield BackupRun(
            id=UUID(int=int.from_bytes(row[0])),
            tenant_id=tenant_id,
            agent_id=ids[row[1]],
            policy_id=ids[row[2]],
            task_type=row[3],
            status=row[4],
            start_time=_moment(row[5]),
            end_time=None if row[6] is None else _moment(row[6]),
            duration_seconds=row[7],
            error_message=row[8],
            snapshot_id=row[9],
            received_at=_moment(row[10]),
            updated_at=_moment(row[11]),
            log_state=_LOG_STATES[row[12]],
            log_bytes=row[13],
            log_sha256=row[14],
            dropped_bytes=row[15],
        )


def _microseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _optional_time(moment: datetime | None) -> int | None:
    return None if moment is None else _microseconds(moment)


def _moment(microseconds: int) -> datetime:
    return _EPOCH + timedelta(0, 0, microseconds)
