"""The caller's own connection."""

import sqlite3
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager, suppress
from typing import TypeVar

from backuplog.backend import StoreError, TransactionRolledBack

from .errors import translated
from .handle import require_no_adapters

_Returned = TypeVar("_Returned")


class CallersConnection:
    """The caller's own connection, inside the caller's own transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        """Take the connection; nothing is done with it yet."""
        if not isinstance(connection, sqlite3.Connection):
            raise StoreError(
                "an SQLite store can be bound to a sqlite3.Connection, not to a value of type "
                f"{type(connection).__name__}"
            )
        require_no_adapters()
        self._connection = connection
        self._rolled_back = False

    def require_open(self) -> None:
        """Do nothing: its owner knows."""

    def __repr__(self) -> str:
        """Show that it is bound."""
        return "bound to the caller's connection"

    def write(self, work: Callable[[sqlite3.Cursor], _Returned], *, waits: bool = True) -> _Returned:
        """Do work with a cursor in a savepoint; without a transaction, begin the caller's as sqlite3 itself would.

        Args:
            work: What to do.
            waits: Ignored: the connection is the caller's to set.
        """
        del waits
        connection = self._connection
        with translated("the caller's database"):
            if self._rolled_back:
                raise TransactionRolledBack(
                    "SQLite rolled back the caller's whole transaction: begin it again, bind the store again, "
                    "and repeat all of it"
                )
            was_open = connection.in_transaction
            if not was_open and (connection.isolation_level is None or getattr(connection, "autocommit", -1) is True):
                raise StoreError("the caller's connection has no open transaction: execute BEGIN IMMEDIATE first")
            try:
                with self._cursor() as cursor:
                    if not was_open:
                        cursor.execute("BEGIN IMMEDIATE")
                    cursor.execute("SAVEPOINT backuplog")
                    returned = work(cursor)
                    cursor.execute("RELEASE backuplog")
                    return returned
            except BaseException as error:
                if not was_open:
                    connection.rollback()  # Nothing else is in it.
                elif connection.in_transaction:
                    with suppress(sqlite3.OperationalError):  # A signal may have come before the savepoint.
                        connection.execute("ROLLBACK TO backuplog")
                        connection.execute("RELEASE backuplog")
                else:  # A full disk ends the transaction; beginning another would store half of what the caller means.
                    self._rolled_back = True
                    if isinstance(error, sqlite3.Error):
                        raise TransactionRolledBack from error
                raise

    def read(self, work: Callable[[sqlite3.Cursor], _Returned]) -> _Returned:
        """Do work with a cursor that sees what the caller's transaction sees.

        Args:
            work: What to do.
        """
        with translated("the caller's database"), self._cursor() as cursor:
            return work(cursor)

    @contextmanager
    def _cursor(self) -> Generator[sqlite3.Cursor]:
        """Give a cursor that reads tuples and text, whatever the connection's own cursors read."""
        connection = self._connection
        text_factory = connection.text_factory
        try:
            if text_factory is not str:
                connection.text_factory = str
            with closing(sqlite3.Cursor(connection)) as cursor:
                yield cursor
        finally:
            if text_factory is not str:
                connection.text_factory = text_factory

    def close(self) -> None:
        """Leave the caller's connection as it is."""
