"""A store in the caller's own database in memory, in which a test can share a transaction with it."""

import os
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


def by_name(cursor: sqlite3.Cursor, row: tuple[Any, ...]) -> dict[Any, Any]:
    """Make a row that is read by the names of its columns, and by 0."""
    return {0: row[0], **{name: value for (name, *_), value in zip(cursor.description, row, strict=True)}}


SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "no transactions of sqlite3's": {"isolation_level": None},
    "Row": {"row_factory": sqlite3.Row},
    "dict": {"row_factory": by_name},
    "upper": {"text_factory": lambda text: text.decode().upper()},
}


@pytest.fixture(params=SETTINGS)
def connection(request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    """Give a connection to a database in memory, with the settings of several callers, which stay as they are."""
    settings = SETTINGS[request.param]
    level = {name: value for name, value in settings.items() if name == "isolation_level"}
    with closing(sqlite3.connect(":memory:", **level)) as opened:
        opened.execute("CREATE TABLE orders (id INTEGER)")
        for name, value in settings.items():
            setattr(opened, name, value)
        before = opened.row_factory, opened.text_factory, opened.execute("PRAGMA recursive_triggers").fetchone()[0]
        yield opened
        triggers = opened.execute("PRAGMA recursive_triggers").fetchone()[0]
        assert (opened.row_factory, opened.text_factory, triggers) == before


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
        with pytest.raises(backuplog.StoreError, match=r"open transaction: use store\.bound_to\(connection\) inside"):
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
            ("sqlite://", engine, "not to a value of type Engine"),
            (f"sqlite:///{path}", in_memory, "with sqlite:// only"),
        ]
        for url, connection, message in refusals:
            with pytest.raises(backuplog.StoreError, match=message):
                backuplog.open_store(url, connection=connection)
        with pytest.raises(backuplog.SchemaOutdated):
            backuplog.open_store("sqlite://", connection=in_memory, migrate=False)
    engine.dispose()


@pytest.mark.parametrize("autocommit", [True, False])
def test_autocommit_is_refused(autocommit: bool) -> None:  # noqa: FBT001
    """A connection of Python 3.12 or later that sets ``autocommit`` begins and ends transactions in another way."""
    kind = type("Connection", (sqlite3.Connection,), {"autocommit": autocommit})
    with (
        closing(sqlite3.connect(":memory:", factory=kind)) as connection,
        pytest.raises(backuplog.StoreError, match="must not set autocommit"),
    ):
        backuplog.open_store("sqlite://", connection=connection)


def test_a_full_database_loses_a_log_and_no_result(payload: Payload) -> None:
    """If there is no room for a log, its run is stored without it, as in any other store."""
    with closing(sqlite3.connect(":memory:")) as connection:
        with backuplog.open_store("sqlite://", connection=connection) as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            connection.execute("PRAGMA max_page_count = 60")
            noise = os.urandom(500_000)
            sent = [payload(), payload(log=noise), payload(log="short")]
            answers = backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
            states = [answer.log_state if isinstance(answer, backuplog.Receipt) else answer for answer in answers]
            assert states == ["none", "lost", "complete"]
        assert not connection.in_transaction


def test_a_signal_leaves_no_transaction_open() -> None:
    """Wherever an exception comes from, the connection is in no transaction of the store's afterwards."""
    with closing(sqlite3.connect(":memory:")) as connection:
        store = backuplog.open_store("sqlite://", connection=connection)
        for lines in range(1, 60):
            left = lines

            def interrupt(_frame: object, event: str, _argument: object) -> Any:
                nonlocal left
                left -= event == "line"
                if left == 0:
                    raise KeyboardInterrupt
                return interrupt

            sys.settrace(interrupt)
            try:
                backuplog.register_agent(store, UUID(int=lines))
            except KeyboardInterrupt:
                pass
            finally:
                sys.settrace(None)
            assert not connection.in_transaction
        assert backuplog.list_agents(store) is not None


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
