"""Reading a database that this process may not write."""

import math
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Never, TypeVar

from sqlite_utils import Database

from backuplog.backend import SchemaOutdated, StoreError, StoreUnavailable

from .errors import ADVICE, LONGEST_BUSY_SECONDS, translated
from .migrations import find_pending

_Returned = TypeVar("_Returned")


class ReadOnlyConnections:
    """A connection for each read of a file that cannot be written.

    SQLite reads a database in WAL mode either by its ``-wal`` and ``-shm`` files, which are there while somebody has it
    open, or, where they cannot be made, if it is told that nobody writes: https://www.sqlite.org/wal.html#read_only_databases
    """

    def __init__(self, path: str, *, busy_timeout: float) -> None:
        """Make sure that the file can be read and its schema is known."""
        self._path = path
        self._busy_timeout = min(busy_timeout, LONGEST_BUSY_SECONDS)
        self._closed = False
        pending = self.read(lambda cursor: find_pending(Database(cursor.connection, execute_plugins=False), path))
        if pending:
            raise SchemaOutdated(f"the schema of {path} is behind: open it once with migrate=True", pending=pending)

    def __repr__(self) -> str:
        """Show the path."""
        return f"{self._path!r}, read-only"

    def read(self, work: Callable[[sqlite3.Cursor], _Returned]) -> _Returned:
        """Do work with a cursor of a connection of its own.

        Args:
            work: What to do.

        Raises:
            StoreUnavailable: Somebody began to write meanwhile.
        """
        self.require_open()
        before = self._state()
        uri = f"{Path(self._path).as_uri()}?mode=ro{'&immutable=1' if before else ''}"
        try:
            with (
                translated(self._path),
                closing(sqlite3.connect(uri, timeout=self._busy_timeout, uri=True)) as connection,
                closing(connection.cursor()) as cursor,
            ):
                returned = work(cursor)
        except Exception as error:
            if self._state() != before:  # What failed then says nothing.
                raise self._written_meanwhile() from error
            raise
        if before and self._state() != before:
            raise self._written_meanwhile()
        return returned

    def _state(self) -> tuple[float, int] | None:
        """Return what changes when somebody writes to the file; None while somebody has it open for that."""
        wal, shm = (os.path.exists(f"{self._path}-{end}") for end in ("wal", "shm"))  # noqa: PTH110 - for each read
        if wal and shm:
            return None
        try:
            if wal and os.stat(f"{self._path}-wal").st_size:  # noqa: PTH116
                raise StoreError(
                    f"{self._path}-wal holds changes that only a process that may write can bring into the file: "
                    "open the store there once"
                )
            found = os.stat(self._path)  # noqa: PTH116
        except OSError:
            return -math.inf, 0
        return found.st_mtime_ns, found.st_size

    def _written_meanwhile(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self._path} was written while it was read: try again")

    def write(self, work: Callable[[sqlite3.Cursor], object], *, waits: bool = True) -> Never:
        """Refuse to write."""
        del work, waits
        self.require_open()
        raise StoreError(f"{self._path} {ADVICE[sqlite3.SQLITE_READONLY]}")

    def require_open(self) -> None:
        """Make sure that the store is open."""
        if self._closed:
            raise StoreError(f"the store of {self._path} is closed: open it again")

    def close(self) -> None:
        """Read no more. No connection is open."""
        self._closed = True
