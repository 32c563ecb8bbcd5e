"""What a user is told when PostgreSQL cannot do what it is asked to do."""

import os
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import psycopg_pool
import pytest

import backuplog
from backuplog_postgres.connection import translated

Payload = Callable[..., dict[str, Any]]
SECRET = "hunter2"  # noqa: S105 - it must never be seen


TRANSIENT = [
    psycopg.errors.ConnectionException,
    psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.SerializationFailure,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.OutOfMemory,
    psycopg.errors.TooManyConnections,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.TransactionTimeout,
    psycopg.errors.AdminShutdown,
    psycopg.errors.CrashShutdown,
    psycopg.errors.CannotConnectNow,
    psycopg.OperationalError,
    psycopg_pool.PoolTimeout,
]
LASTING: list[tuple[type[Exception], str]] = [
    (psycopg.errors.DiskFull, "free space on its disk"),
    (psycopg.errors.InsufficientPrivilege, "lacks a right"),
    (psycopg.errors.InFailedSqlTransaction, "roll it back"),
    (psycopg.errors.DatabaseDropped, "was dropped"),
    (psycopg.errors.DataCorrupted, "restore it from a backup"),
    (psycopg.errors.IndexCorrupted, "REINDEX"),
    (psycopg.errors.NumericValueOutOfRange, r"PostgreSQL failed \(22003\)"),
    (psycopg.InterfaceError, r"PostgreSQL failed \(InterfaceError\)"),
    (psycopg_pool.PoolClosed, "is closed"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda error: error.__name__)
def test_what_may_pass_is_unavailable(error: type[Exception]) -> None:
    """A fault that may pass by itself is a StoreUnavailable, with the driver's error as its cause."""
    with pytest.raises(backuplog.StoreUnavailable) as caught, translated():
        raise error(SECRET)
    assert isinstance(caught.value.__cause__, error)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(("error", "message"), LASTING, ids=lambda value: getattr(value, "__name__", ""))
def test_what_lasts_is_an_error(error: type[Exception], message: str) -> None:
    """A fault that does not pass by itself is a StoreError that says what to do, and is not tried again."""
    with pytest.raises(backuplog.StoreError, match=message) as caught, translated():
        raise error(SECRET)
    assert type(caught.value) is backuplog.StoreError
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "error", [psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.InvalidSchemaName]
)
def test_missing_tables_are_an_outdated_schema(error: type[Exception]) -> None:
    """Tables and columns that are not there are to be migrated."""
    with pytest.raises(backuplog.SchemaOutdated, match="migrate=True"), translated():
        raise error(SECRET)


def test_other_errors_pass_unchanged() -> None:
    """What is not the driver's is not touched."""
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://user:{SECRET}@127.0.0.1:1/database",
        f"postgres://user:{SECRET}@no-such-host.invalid/database",
        f"postgresql://user:{SECRET}@%2Fno-such-folder/database",
    ],
)
def test_an_unreachable_server_is_unavailable(url: str) -> None:
    """Where nobody answers, the store is unavailable at once, and no password is shown."""
    with pytest.raises(backuplog.StoreUnavailable, match="cannot be reached") as caught:
        backuplog.open_store(url)
    assert SECRET not in str(caught.value)
    assert SECRET not in str(caught.value.__cause__)


@pytest.mark.parametrize("url", [f"postgresql://user:{SECRET}@host:port/%zz", f"postgresql://h/d?no_such={SECRET}"])
def test_a_malformed_url_is_refused_without_repeating_it(url: str) -> None:
    """A URL that libpq cannot read is refused, and nothing of it is shown, not even in the cause."""
    with pytest.raises(backuplog.StoreError, match="the URL is malformed") as caught:
        backuplog.open_store(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_database_is_named_as_a_cause(url: str) -> None:
    """A database that does not exist says what to check."""
    with pytest.raises(backuplog.StoreUnavailable, match="host, database, user and password"):
        backuplog.open_store(re.sub(r"backuplog_test_\w+", "no_such_database", url))


def test_no_error_speaks_sql(store: backuplog.Store, url: str, agent_id: UUID, payload: Payload) -> None:
    """A table that is gone is an outdated schema, and the message holds no statement and no value."""
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE backuplog.backup_runs")
    with pytest.raises(backuplog.SchemaOutdated) as caught:
        backuplog.ingest_task_result(store, agent_id, payload(snapshotId=SECRET))
    assert "SELECT" not in str(caught.value)
    assert SECRET not in str(caught.value)
    assert isinstance(caught.value.__cause__, psycopg.errors.UndefinedTable)


def test_a_failing_log_write_alone_loses_the_log_only(
    store: backuplog.Store, url: str, agent_id: UUID, payload: Payload
) -> None:
    """When each write to the table of logs fails, as on a full disk, runs are kept, one by one and in batches."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION backuplog.full() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE SQLSTATE '53100'; END $$; "
            "CREATE TRIGGER broken BEFORE INSERT ON backuplog.backup_run_logs "
            "FOR EACH ROW EXECUTE FUNCTION backuplog.full()"
        )
    sent = payload(log="a log")
    assert backuplog.ingest_task_result(store, agent_id, sent).log_state == "lost"
    batch = backuplog.ingest_task_results(store, [(agent_id, payload(log="a")), (agent_id, payload())])
    assert [answer.log_state for answer in batch if isinstance(answer, backuplog.Receipt)] == ["lost", "none"]
    with psycopg.connect(url) as connection:
        connection.execute("DROP TRIGGER broken ON backuplog.backup_run_logs")
    assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "updated"
    assert backuplog.read_log(store, sent["taskId"]) == b"a log"


def test_a_lock_that_lasts_is_unavailable(url: str, payload: Payload) -> None:
    """Another transaction that keeps a run's row locked for longer than a statement may take is waited for no more."""
    with backuplog.open_store(url, statement_timeout=0.1, retry_timeout=0) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload()
        backuplog.ingest_task_result(store, agent_id, sent)
        with psycopg.connect(url) as other:
            other.execute("SELECT FROM backuplog.backup_runs FOR UPDATE")
            with pytest.raises(backuplog.StoreUnavailable, match="time-out"):
                backuplog.ingest_task_result(store, agent_id, {**sent, "log": "new"})
        assert backuplog.ingest_task_result(store, agent_id, {**sent, "log": "new"}).outcome == "updated"


def test_a_pool_without_a_free_connection_is_unavailable(url: str) -> None:
    """Waiting for a connection ends, and says what may be wrong."""
    with backuplog.open_store(url, max_size=1, pool_timeout=0.05, retry_timeout=0) as store:
        connections = vars(store.backend)["_connections"]
        with (
            connections.statement(store.tenant_id),
            pytest.raises(backuplog.StoreUnavailable, match="raise max_size"),
        ):
            backuplog.query_runs(store)
        assert backuplog.query_runs(store).total == 0


def test_a_closed_store_says_so(url: str) -> None:
    """A store that was closed says so; closing it again does nothing."""
    store = backuplog.open_store(url)
    store.close()
    store.close()
    with pytest.raises(backuplog.StoreError, match="is closed: open it again"):
        backuplog.query_runs(store)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # The child uses no thread.
def test_a_store_of_before_a_fork_refuses_to_work_after_it(store: backuplog.Store, agent_id: UUID) -> None:
    """A child that was forked is told to open its own store, and harms nothing of its parent's."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            backuplog.get_agent(store, agent_id)
        except backuplog.StoreError as error:
            code = 7 if "open it after the fork" in str(error) else 2
        store.close()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert backuplog.get_agent(store, agent_id).id == agent_id


@pytest.mark.parametrize("schema", ["", "x" * 64, "100%", "a\0b", "é" * 32, "\ud800"])
def test_a_schemas_name_is_checked(url: str, schema: str) -> None:
    """A name that PostgreSQL would refuse or cut is refused."""
    with pytest.raises(backuplog.StoreError, match="1 to 63 bytes"):
        backuplog.open_store(url, schema=schema)


def test_another_kind_of_pool_or_connection_is_refused(store: backuplog.Store) -> None:
    """Only psycopg's own pools and connections are taken."""
    nothing: Any = object()
    with pytest.raises(backuplog.StoreError, match=r"psycopg_pool\.ConnectionPool, not a object"):
        backuplog.open_store("postgresql://", pool=nothing)
    with pytest.raises(backuplog.StoreError, match=r"psycopg\.Connection, not to a object"):
        store.bound_to(nothing)


@pytest.mark.parametrize("sizes", [(20, 10), (-1, 10), (0, 0)])
def test_impossible_sizes_of_a_pool_are_refused(url: str, sizes: tuple[int, int]) -> None:
    """A pool keeps no more connections open than it may open."""
    with pytest.raises(backuplog.StoreError, match="no more than max_size"):
        backuplog.open_store(url, min_size=sizes[0], max_size=sizes[1])


def test_a_pool_comes_without_another_address(url: str) -> None:
    """A URL beside a pool would be ignored: it is refused."""
    with (
        psycopg_pool.ConnectionPool(url, min_size=1, open=True) as pool,
        pytest.raises(backuplog.StoreError, match="postgresql:// and nothing more"),
    ):
        backuplog.open_store(url, pool=pool)


def test_a_database_of_another_encoding_is_refused(server_url: str, database_url: str) -> None:
    """A database that cannot hold every text is refused before anything is made in it."""
    name = f"backuplog_latin_{uuid4().hex}"
    latin = re.sub(r"backuplog_test_\w+", name, database_url)
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
        try:
            with pytest.raises(backuplog.StoreError, match="create one with ENCODING 'UTF8'"):
                backuplog.open_store(latin)
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
