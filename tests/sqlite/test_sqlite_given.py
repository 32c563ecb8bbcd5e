"""A store in the caller's own database in memory, in which a test can share a transaction with it."""

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

import backuplog
from backuplog.testing import StoreContract

Payload = Callable[..., dict[str, Any]]


class TestGivenConnection(StoreContract):
    """The whole contract, on a connection of the caller's."""

    def fresh_store(self) -> backuplog.Store:
        """Give a store in a new database in memory."""
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        return backuplog.open_store("sqlite://", connection=connection)


@pytest.fixture(params=[{}, {"isolation_level": None}, {"row_factory": sqlite3.Row}], ids=str)
def connection(request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """Give a connection to a database in memory, with the settings of several callers."""
    settings = dict(request.param)
    row_factory = settings.pop("row_factory", None)
    with closing(sqlite3.connect(":memory:", **settings)) as opened:
        opened.row_factory = row_factory
        opened.execute("CREATE TABLE orders (id INTEGER)")
        yield opened


@pytest.fixture
def given(connection: sqlite3.Connection) -> Iterator[backuplog.Store]:
    """Give a store in that database."""
    with backuplog.open_store("sqlite://", connection=connection) as store:
        yield store


def test_a_test_in_memory_shares_its_transaction(
    connection: sqlite3.Connection, given: backuplog.Store, payload: Payload
) -> None:
    """A row and a result are stored together or not at all, and the store sees them afterwards."""
    agent_id = backuplog.register_agent(given, uuid4()).id
    for end, count in (("ROLLBACK", 0), ("COMMIT", 1)):
        connection.execute("BEGIN")
        connection.execute("INSERT INTO orders VALUES (1)")
        backuplog.ingest_task_result(given.bound_to(connection), agent_id, payload(log="log"))
        connection.execute(end)
        assert backuplog.query_runs(given).total == count
        assert connection.execute("SELECT count(*) FROM orders").fetchone()[0] == count
    assert backuplog.read_log(given, backuplog.query_runs(given).runs[0].id) == b"log"


def test_it_does_not_reach_into_an_open_transaction(
    connection: sqlite3.Connection, given: backuplog.Store, payload: Payload
) -> None:
    """Outside of a bound view nothing that is not committed is seen, and nothing of the caller's is committed."""
    agent_id = backuplog.register_agent(given, uuid4()).id
    connection.execute("BEGIN")
    connection.execute("INSERT INTO orders VALUES (1)")
    for verb in (lambda: backuplog.query_runs(given), lambda: backuplog.ingest_task_result(given, agent_id, payload())):
        with pytest.raises(backuplog.StoreError, match=r"open transaction .* use store\.bound_to\(connection\) inside"):
            verb()
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM orders").fetchone()[0] == 0
    assert backuplog.ingest_task_result(given, agent_id, payload()).outcome == "created"
    assert not connection.in_transaction


def test_closing_it_leaves_the_connection_open(connection: sqlite3.Connection, payload: Payload) -> None:
    """The connection is the caller's; the next store finds what the last one stored."""
    agent_id = UUID(int=1)
    with backuplog.open_store("sqlite://", connection=connection) as store:
        backuplog.register_agent(store, agent_id)
        backuplog.ingest_task_result(store, agent_id, payload())
    with pytest.raises(backuplog.StoreError, match="closed"):
        backuplog.query_runs(store)
    with backuplog.open_store("sqlite://", connection=connection, migrate=False) as store:
        assert backuplog.query_runs(store).total == 1


def test_what_cannot_be_given_is_refused(tmp_path: Path) -> None:
    """A connection to a file, of another library, or beside the URL of a file: each error says what to do."""
    path = tmp_path / "backups.db"
    engine = sqlalchemy.create_engine("sqlite://")
    with closing(sqlite3.connect(path)) as to_file, closing(sqlite3.connect(":memory:")) as in_memory:
        refusals: list[tuple[str, Any, str]] = [
            ("sqlite://", to_file, r"open the store by a URL of that file, and bind it"),
            ("sqlite://", engine, "not to a Engine"),
            (f"sqlite:///{path}", in_memory, "with sqlite:// only"),
        ]
        for url, connection, message in refusals:
            with pytest.raises(backuplog.StoreError, match=message):
                backuplog.open_store(url, connection=connection)
        with pytest.raises(backuplog.SchemaOutdated):
            backuplog.open_store("sqlite://", connection=in_memory, migrate=False)
    engine.dispose()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sqlite3 has no autocommit before 3.12")
def test_a_connection_that_is_always_in_a_transaction_is_refused() -> None:
    """With ``autocommit=False`` there is no moment between two transactions."""
    settings: dict[str, Any] = {"autocommit": False}
    with (
        closing(sqlite3.connect(":memory:", **settings)) as connection,
        pytest.raises(backuplog.StoreError, match="autocommit=False"),
    ):
        backuplog.open_store("sqlite://", connection=connection)


def test_sqlalchemys_database_in_memory_can_be_shared(payload: Payload) -> None:
    """An engine with one connection for all shares it with the store, and its sessions with bound views."""
    engine = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.StaticPool)
    connection = engine.raw_connection().driver_connection
    with backuplog.open_store("sqlite://", connection=connection) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        for end, count in (("rollback", 0), ("commit", 1)):
            with Session(engine) as session:
                session.execute(sqlalchemy.text("CREATE TABLE IF NOT EXISTS orders (id INTEGER)"))
                backuplog.ingest_task_result(store.bound_to(session), agent_id, payload())
                getattr(session, end)()
            assert backuplog.query_runs(store).total == count
    engine.dispose()
