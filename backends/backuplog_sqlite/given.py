"""A database in memory whose only connection is the caller's, so that a test can share its transactions."""

import sqlite3
import threading
from collections.abc import Callable
from typing import TypeVar

from sqlite_utils import Database

from backuplog.backend import SchemaOutdated, StoreError, TransactionRolledBack

from .bound import CallersConnection
from .errors import translated
from .migrations import find_pending, migrations

_NAME = "the caller's database"

_Returned = TypeVar("_Returned")


class GivenConnection:
    """The caller's own connection, between the caller's transactions."""

    def __init__(self, connection: sqlite3.Connection, *, migrate: bool) -> None:
        """Take the connection, and bring the schema of its database up to date where ``migrate`` says so."""
        CallersConnection(connection)
        if isinstance(getattr(connection, "autocommit", None), bool):
            raise StoreError("the connection must not set autocommit: leave transactions as sqlite3 does by default")
        self._connection = connection
        self._lock = threading.RLock()
        self._closed = False
        factories = connection.row_factory, connection.text_factory
        connection.row_factory, connection.text_factory = None, str
        try:
            self._settle_schema(migrate=migrate)
        finally:
            connection.row_factory, connection.text_factory = factories

    def _settle_schema(self, *, migrate: bool) -> None:
        with translated(_NAME):
            path = self._connection.execute("PRAGMA database_list").fetchone()[2]
        if path:
            raise StoreError(
                f"the connection has the file {path} open: open the store by a URL of that file, and bind it to the "
                "connection with bound_to()"
            )
        database = Database(self._connection, execute_plugins=False, recursive_triggers=False)
        pending = find_pending(database, _NAME)
        if pending and migrate:
            self.write(lambda _: migrations.apply(database))
        elif pending:
            raise SchemaOutdated(f"the schema of {_NAME} is behind: open it once with migrate=True", pending=pending)

    def __repr__(self) -> str:
        """Show that it is the caller's."""
        return "on the caller's connection"

    def write(self, work: Callable[[sqlite3.Cursor], _Returned], *, waits: bool = True) -> _Returned:
        """Do work with a cursor in a transaction of its own.

        Args:
            work: What to do.
            waits: Ignored: nobody else has the database.
        """
        del waits
        with self._lock, translated(_NAME):
            self._require_idle()
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                returned = CallersConnection(self._connection).write(work)
                self._connection.execute("COMMIT")
            except TransactionRolledBack as error:  # It was no transaction of the caller's.
                raise StoreError(f"SQLite rolled back what was written to {_NAME}: {error.__cause__}") from error
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return returned

    def read(self, work: Callable[[sqlite3.Cursor], _Returned]) -> _Returned:
        """Do work with a cursor.

        Args:
            work: What to do.
        """
        with self._lock, translated(_NAME):
            self._require_idle()
            return CallersConnection(self._connection).read(work)

    def _require_idle(self) -> None:
        """Refuse to see, or to commit, what the caller has not committed; another connection could not either."""
        self.require_open()
        if self._connection.in_transaction:
            raise StoreError("the connection has an open transaction: use store.bound_to(connection) inside of it")

    def require_open(self) -> None:
        """Make sure that the store is open."""
        if self._closed:
            raise StoreError(f"the store of {_NAME} is closed: open it again")

    def close(self) -> None:
        """Use the connection no more; it stays open."""
        self._closed = True
