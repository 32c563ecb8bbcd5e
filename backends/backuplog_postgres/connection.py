"""Connections to one PostgreSQL database: a pool or the caller's own, and the one place that knows their errors."""

import math
import os
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self
from uuid import UUID

import psycopg
from psycopg.abc import Params
from psycopg.adapt import AdaptersMap, Buffer, Loader
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InvalidSavepointSpecification
from psycopg.postgres import register_default_adapters
from psycopg.pq import Format, PipelineStatus, TransactionStatus
from psycopg.rows import TupleRow, tuple_row
from psycopg.sql import SQL, Literal
from psycopg.types.numeric import Int8BinaryDumper, Int8BinaryLoader
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from backuplog.backend import (
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    TransactionRolledBack,
    as_duration,
    option,
)

from .migrate import settle_schema
from .pool import Pool, PoolConnection

# Unless the URL says otherwise. Without them a host that is gone is waited for 15 minutes where something was sent, and
# for two hours where not: a dead connection is found after 30 s now.
_CONNECTION: Final = {
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
    "fallback_application_name": "backuplog",
}
_LONGEST_TIMEOUT: Final = 2_147_483_647  # milliseconds, PostgreSQL's greatest
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

_UNAVAILABLE: Final = {
    "08": "PostgreSQL cannot be reached: check that it runs, and the host, database, user and password of the URL",
    "25P03": "PostgreSQL ended a transaction that was idle for too long: try again, or raise its time-out",
    "25P04": "PostgreSQL ended a transaction that took too long: try again, or raise its time-out",
    "25006": "PostgreSQL is read-only, as a standby is: connect to the primary, or try again later",
    "40": "PostgreSQL gave way to another transaction: try again",
    "53200": "PostgreSQL is out of memory: try again later",
    "53300": "PostgreSQL has no free connection: try again later, raise its max_connections or lower max_size",
    "55P03": "PostgreSQL waited too long for a lock: try again later",
    "57": "PostgreSQL stopped the statement, by a time-out or a shutdown: try again later",
}
_FAILED: Final = {
    "25P02": "the caller's transaction has failed: roll it back and begin it again",
    "42501": "this user of PostgreSQL lacks a right: grant it the schema, its tables and, to migrate, CREATE",
    "53100": "PostgreSQL cannot write: free space on its disk",
    "42704": "row-level security was turned on after this store was opened: open it again",
    "57P04": "the database was dropped while it was used: open the store of another",
    "XX001": "the database is damaged: restore it from a backup",
    "XX002": "an index of the database is damaged: rebuild it with REINDEX",
}
_OUTDATED: Final = ("3F000", "42P01", "42703")


def open_pool(
    url: str,
    *,
    schema: str,
    migrate: bool,
    rls: bool,
    min_size: int,
    max_size: int,
    pool_timeout: float,
    statement_timeout: float | None,
    response_timeout: float | None,
) -> "PooledConnections":
    """Settle the schema on a first connection, which says at once what is wrong, and open the store's own pool."""
    url = url.replace("postgresql+psycopg://", "postgresql://", 1)  # as SQLAlchemy writes it
    try:
        given = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError):
        # The driver's message repeats the URL, password and all.
        raise StoreError("the URL is malformed: write postgresql://user:password@host:5432/database") from None
    options: dict[str, Any] = {"autocommit": True, "client_encoding": "utf8"}
    options |= {name: given.get(name, value) for name, value in _CONNECTION.items()}
    if statement_timeout is not None:
        milliseconds = math.ceil(option("statement_timeout", as_duration, statement_timeout) * 1000)
        options["options"] = f"{given.get('options', '')} -c statement_timeout={min(milliseconds, _LONGEST_TIMEOUT)}"
    pool_timeout = option("pool_timeout", as_duration, pool_timeout)
    patience = None if response_timeout is None else option("response_timeout", as_duration, response_timeout)
    if not (isinstance(min_size, int) and isinstance(max_size, int) and 0 <= min_size <= max_size and max_size > 0):
        raise StoreError("min_size must be 0 or more and no more than max_size, which must be 1 or more")

    def connect() -> PoolConnection:
        connection = PoolConnection.connect(url, **options)
        connection.response_timeout, connection.opened_at = patience, time.monotonic()
        return connection

    with translated(), connect() as connection, Cursor(connection) as cursor:
        try:
            row_security = settle_schema(cursor, schema, migrate=False, rls=rls)
        except SchemaOutdated:
            if not migrate:
                raise
            connection.response_timeout = None  # A migration may take as long as it takes.
            row_security = settle_schema(cursor, schema, migrate=True, rls=rls)
    pool = Pool(connect, min_size=min_size, max_size=max_size, pool_timeout=pool_timeout)
    return PooledConnections(pool, row_security=row_security)


def use_pool(pool: ConnectionPool[Any], *, schema: str, migrate: bool, rls: bool) -> "PooledConnections":
    """Settle the schema on a connection of the caller's pool, and use the pool."""
    if not isinstance(pool, ConnectionPool):
        raise StoreError(f"pool must be a psycopg_pool.ConnectionPool, not a {type(pool).__name__}")
    connections = PooledConnections(pool, row_security=False)
    with connections.connection() as connection, Cursor(connection) as cursor:
        connections.row_security = settle_schema(cursor, schema, migrate=migrate, rls=rls)
    return connections


def moment_of(microseconds: int) -> datetime:
    """Return a time in UTC, whatever the session's time zone is and whatever Python can say of that zone then."""
    return _EPOCH + microseconds * _MICROSECOND


class _JsonLoader(Loader):
    """Load jsonb as text, which stands behind a byte for its version."""

    format = Format.BINARY

    def load(self, data: Buffer) -> str:
        return bytes(data)[1:].decode()


# psycopg's own, whatever the process has registered in their place.
_adapters: Final = AdaptersMap(types=psycopg.adapters.types)
register_default_adapters(_adapters)
# Times as microseconds since 2000, which is how they are sent: some of PostgreSQL's times are none of Python's.
_adapters.register_loader("timestamptz", Int8BinaryLoader)
_adapters.register_loader("jsonb", _JsonLoader)
# One type for all integers, so that a statement is prepared once and not for each size of its numbers.
_adapters.register_dumper(int, Int8BinaryDumper)


class Cursor(psycopg.Cursor[TupleRow]):
    """A cursor that gives tuples of our types, whatever row factory and adapters the caller's connection has."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Take the connection."""
        super().__init__(connection, row_factory=tuple_row)

    def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = False,
        binary: bool | None = None,
    ) -> Self:
        """Execute a statement, and prepare it only where that is asked for: psycopg would after its fifth use."""
        return super().execute(query, params, prepare=prepare, binary=binary)

    def copy_rows(self, statement: bytes, types: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write rows by COPY, one at a time."""
        copying = self.copy(statement)
        try:
            with copying as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)
        finally:
            # A signal's handler may raise before it is told that the block has ended. It has locked the connection,
            # and whatever undoes the transaction would wait for that without end.
            with suppress(psycopg.Error):
                copying.gen.close()

    @property
    def adapters(self) -> AdaptersMap:
        """The types."""
        return _adapters


class PooledConnections:
    """A pool's connections, shared by all views and threads of a store."""

    def __init__(self, pool: Pool | ConnectionPool[Any], *, row_security: bool) -> None:
        """Take a pool of our own or the caller's."""
        self._pool: Any = pool  # They have two methods in common.
        self._closed = False
        self._process = os.getpid()
        self.row_security = row_security

    @property
    def max_size(self) -> int | None:
        """How many connections the pool opens at the most; None for any number, as a NullConnectionPool may."""
        return int(self._pool.max_size) or None

    @contextmanager
    def statement(self, tenant_id: UUID) -> Generator[Cursor]:
        """Give a cursor for one statement, which is a transaction by itself."""
        if self.row_security:
            with self.transaction(tenant_id) as cursor:
                yield cursor
        else:
            with self.connection() as connection, Cursor(connection) as cursor:
                yield cursor

    @contextmanager
    def transaction(self, tenant_id: UUID) -> Generator[Cursor]:
        """Give a cursor in a transaction."""
        with self.connection() as connection, connection.transaction(), Cursor(connection) as cursor:
            if self.row_security:  # by no query, so that the transaction's isolation level may still be set
                cursor.execute(SQL("SET LOCAL backuplog.tenant_id = {}").format(Literal(str(tenant_id))))
            yield cursor

    def close(self) -> None:
        """Close the pool, unless it is the caller's."""
        self._closed = True
        if isinstance(self._pool, Pool) and os.getpid() == self._process:
            self._pool.close()

    @contextmanager
    def connection(self) -> Generator[psycopg.Connection[Any]]:
        """Give a connection in autocommit mode, whichever mode those of the pool are in."""
        self._require_open()
        with translated():
            connection = self._pool.getconn()
            changed = False
            try:
                changed = not connection.autocommit
                if changed:
                    connection.autocommit = True
                _require_text_and_answers(connection)
                yield connection
            finally:
                if connection.info.transaction_status != TransactionStatus.IDLE:
                    connection.pgconn.finish()  # close() may be a way of giving it back already.
                elif changed:
                    connection.autocommit = False
                lost = connection.closed
                self._pool.putconn(connection)
                if lost and isinstance(self._pool, ConnectionPool):  # Others were probably lost with it.
                    with suppress(PoolClosed):
                        self._pool.check()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreError("the store is closed: open it again")
        if os.getpid() != self._process:
            raise StoreError("the store was opened before this process was forked: open it after the fork")


class CallersConnection:
    """The caller's own connection, inside the caller's own transaction."""

    def __init__(self, connection: psycopg.Connection[Any], *, row_security: bool) -> None:
        """Take the connection; nothing is done with it yet."""
        if not isinstance(connection, psycopg.Connection):
            raise StoreError(
                f"a PostgreSQL store can be bound to a psycopg.Connection, not to a {type(connection).__name__}"
            )
        self._connection = connection
        self.row_security = row_security

    @contextmanager
    def transaction(self, tenant_id: UUID) -> Generator[Cursor]:
        """Give a cursor in a savepoint; where no transaction is open, open the caller's as psycopg itself would."""
        connection = self._connection
        if connection.closed:
            raise StoreError("the caller's connection is closed: bind the store to an open one")
        if connection.autocommit and connection.info.transaction_status == TransactionStatus.IDLE:
            raise StoreError("the caller's connection has no open transaction: use it in connection.transaction()")
        _require_text_and_answers(connection)
        with translated(), Cursor(connection) as cursor:
            is_saved = False
            try:
                cursor.execute("SAVEPOINT backuplog")
                is_saved = True
                before = _name_tenant(cursor, tenant_id) if self.row_security else ""
                yield cursor
                if self.row_security:  # What the caller does next is not to see what this view may.
                    _name_tenant(cursor, before)
                cursor.execute("RELEASE SAVEPOINT backuplog")
            except BaseException as error:
                # In the middle of a statement, as a signal's handler may leave it, nothing can be sent.
                is_idle = connection.info.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR)
                if is_saved and is_idle:
                    # A signal's handler may raise when it is released: the caller's transaction has failed then.
                    with suppress(InvalidSavepointSpecification):
                        cursor.execute("ROLLBACK TO SAVEPOINT backuplog")
                        cursor.execute("RELEASE SAVEPOINT backuplog")
                if isinstance(error, psycopg.Error) and cursor.connection.closed:
                    raise TransactionRolledBack from error
                raise

    # A failed read ends a transaction of PostgreSQL just as a failed write does.
    statement = transaction

    def close(self) -> None:
        """Leave the caller's connection as it is."""


def _require_text_and_answers(connection: psycopg.Connection[Any]) -> None:
    """Refuse a connection that would damage text, or say later what became of a statement."""
    if connection.info.encoding != "utf-8":  # by any of its names: PgBouncer repeats the one that the client sent
        shown = (connection.pgconn.parameter_status(b"client_encoding") or b"unknown").decode()
        raise StoreError(f"the connection's client_encoding is {shown}: set it to UTF8")
    if connection.pgconn.pipeline_status != PipelineStatus.OFF:
        raise StoreError("the connection is in pipeline mode: use the store outside connection.pipeline()")


def _name_tenant(cursor: Cursor, tenant_id: UUID | str) -> str:
    """Name the tenant whose rows the transaction may see, and return the one that it could see before, or nothing."""
    before = cursor.execute("SELECT coalesce(current_setting('backuplog.tenant_id', true), '')").fetchone()
    cursor.execute("SELECT set_config('backuplog.tenant_id', %s, true)", [str(tenant_id)])
    return str(before[0]) if before else ""


@contextmanager
def translated() -> Generator[None]:
    """Turn every error of the driver into ours: what is wrong, what to do; never a statement, a value or a URL."""
    try:
        yield
    except PoolClosed as error:
        raise StoreError("the pool of the store is closed: open another") from error
    except PoolTimeout as error:
        raise StoreUnavailable(
            "no connection became free in time: see whether PostgreSQL runs, or raise max_size"
        ) from error
    except psycopg.Error as error:
        first: BaseException | None = error
        while isinstance(first, psycopg.Error):
            first = first.__context__
        if isinstance(first, StoreUnavailable):  # What it came of says more than that undoing it failed.
            raise first from error
        # A connection that fails or is lost has no SQLSTATE; neither has a pool that has none to give.
        state = error.sqlstate or ("08" if isinstance(error, psycopg.OperationalError) else "")
        is_fatal = error.diag.severity_nonlocalized in ("FATAL", "PANIC")  # PostgreSQL has closed the connection.
        if state in _OUTDATED:
            raise SchemaOutdated(
                "PostgreSQL lacks tables or columns of backuplog: open the store once with migrate=True"
            ) from error
        if state in _FAILED:
            raise StoreError(_FAILED[state]) from error
        advice = _UNAVAILABLE.get(state) or _UNAVAILABLE.get(state[:2]) or (_UNAVAILABLE["57"] if is_fatal else None)
        if advice:
            raise StoreUnavailable(advice) from error
        raise StoreError(f"PostgreSQL failed ({state or type(error).__name__})") from error
