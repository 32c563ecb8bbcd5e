"""Connections of our own to one SQLite database: one that writes, and several that read."""

import os
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, TypeVar

from sqlite_utils import Database

from backuplog.backend import SchemaOutdated, StoreError, StoreUnavailable

from .errors import ADVICE, LONGEST_BUSY_SECONDS, translated
from .handle import Handle, identify, is_inherited, keep_through_forks, require_no_adapters
from .migrations import MIGRATION_NAMES, find_pending, migrations
from .read_only import ReadOnlyConnections

MEMORY: Final = ":memory:"
_IDLE_READERS: Final = 8
_WAL_RETRY_SECONDS: Final = 0.01
_SIZES: Final = ("page_count", "freelist_count", "page_size")
_FREE_BYTES: Final = 16 * 1024 * 1024

_Returned = TypeVar("_Returned")


class OwnConnections:
    """The store's own connections, shared by all its views and threads.

    One connection writes, under a lock of this process so that its threads queue instead of polling; readers, which
    WAL never blocks, have a connection each while they read. A database in memory has the writer only.
    """

    def __init__(self, path: str, *, migrate: bool, synchronous: str, busy_timeout: float) -> None:
        """Open the database, and bring its schema up to date where ``migrate`` says so."""
        self._path = path
        self._synchronous = synchronous
        self._busy_timeout = busy_timeout
        self._lock = threading.RLock()  # which says whose it is: nobody can release it for another thread
        self._owner: int | None = None
        self._idle: deque[Handle] = deque()
        self._closed = False
        self._process = os.getpid()
        with translated(path):
            self._writer = self._connect(path)
        try:
            if not migrate:
                self._require_schema()  # before anything is written to a file that may be another's
            with translated(path):
                # Once a page is written, it would take a VACUUM of the whole file, and writes to it all the same.
                if self._writer.execute("PRAGMA page_count").fetchone() == (0,):
                    self._writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
                self._enter_wal_mode()
            self._file = identify(path)
            if migrate:
                self._migrate()
        except BaseException:
            self._writer.close()
            raise

    def __repr__(self) -> str:
        """Show the path."""
        return repr(self._path)

    def write(self, work: Callable[[sqlite3.Cursor], _Returned], *, waits: bool = True) -> _Returned:
        """Do work with a cursor in an immediate transaction.

        Args:
            work: What to do.
            waits: Whether to wait for others that write.

        Raises:
            StoreUnavailable: Another thread or process was writing for too long.
        """
        return self._use_writer(work, is_transaction=True, seconds=self._busy_timeout if waits else 0.0)

    def read(self, work: Callable[[sqlite3.Cursor], _Returned]) -> _Returned:
        """Do work with a cursor of a connection that nobody else uses meanwhile.

        Args:
            work: What to do.
        """
        if self._path == MEMORY:
            return self._use_writer(work, is_transaction=False, seconds=self._busy_timeout)
        self.require_open()
        with translated(self._path):
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._open_reader()
            try:
                with closing(connection.cursor()) as cursor:
                    return work(cursor)
            finally:
                if self._closed or len(self._idle) >= _IDLE_READERS:
                    connection.close()
                else:
                    self._idle.append(connection)

    def reclaim(self) -> int:
        """Give up to 500 pages at the end of the file back, if more than a tenth of it, and than 16 MiB, is free.

        What is left is used again by what comes. Moving 500 pages takes 20 to 50 ms.
        """

        def step(cursor: sqlite3.Cursor) -> int:
            [(pages,), (free,), (size,)] = (cursor.execute(f"PRAGMA {name}").fetchone() for name in _SIZES)
            if free * size < _FREE_BYTES or free < pages // 10:
                return 0
            cursor.executescript("PRAGMA incremental_vacuum(500)")  # execute() would free one page
            cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            # Others may have made the file larger meanwhile.
            return int(max(0, pages - cursor.execute("PRAGMA page_count").fetchone()[0]) * size)

        return self._use_writer(step, is_transaction=False, seconds=self._busy_timeout)

    def _use_writer(
        self, work: Callable[[sqlite3.Cursor], _Returned], *, is_transaction: bool, seconds: float
    ) -> _Returned:
        """Do work with the writer, which is this thread's alone meanwhile, after waiting for it for so long.

        A signal may raise after any call. Whatever it interrupts, no transaction stays open and no lock stays taken.
        """
        self.require_open()
        if self._owner == threading.get_ident():
            raise StoreError(f"{self._path} cannot be used by the handler of a signal that interrupted its own thread")
        try:
            self._take_writer(seconds)
            with translated(self._path), closing(self._writer.cursor()) as cursor:
                if is_transaction:
                    self._begin(cursor, seconds)
                returned = work(cursor)
                if is_transaction:
                    self._require_file()
                    cursor.execute("COMMIT")
        except BaseException:
            try:
                with translated(self._path), suppress(sqlite3.ProgrammingError):  # It may be closed by now.
                    if self._owner == threading.get_ident() and self._writer.in_transaction:
                        self._writer.execute("ROLLBACK")
            finally:
                self._give_writer_back()
            raise
        if self._closed:
            self._give_writer_back()
        else:  # Not one call between the commit and this: no signal's handler can come before the lock is free.
            self._owner = None
            self._lock.release()
        return returned

    def _begin(self, cursor: sqlite3.Cursor, seconds: float) -> None:
        if seconds == self._busy_timeout:
            cursor.execute("BEGIN IMMEDIATE")
            return
        cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(seconds)}")
        try:
            cursor.execute("BEGIN IMMEDIATE")
        finally:
            cursor.execute(f"PRAGMA busy_timeout = {_milliseconds(self._busy_timeout)}")

    def _take_writer(self, seconds: float) -> None:
        if not self._lock.acquire(timeout=seconds):
            raise StoreUnavailable(
                f"another thread has been writing to {self._path} for {seconds:g} s: try again later"
            )
        self._owner = threading.get_ident()
        self.require_open()

    def _give_writer_back(self) -> None:
        """Free the writer, if it is this thread's; close it, if a signal's handler has closed the store meanwhile."""
        try:
            if self._closed and self._owner == threading.get_ident():
                self._writer.close()
        finally:
            if self._owner == threading.get_ident():
                self._owner = None
            with suppress(RuntimeError):  # It is not this thread's where nobody let it have it.
                self._lock.release()

    def close(self) -> None:
        """Wait for the write that is under way, if any, and close every connection that is not being read from."""
        self._closed = True
        if os.getpid() != self._process:
            return  # The parent's connections: closing them here would drop the locks that the parent holds.
        if self._owner != threading.get_ident():  # A signal's handler leaves that to the write that it interrupted.
            with self._lock:
                self._writer.close()
        with suppress(IndexError):
            while True:
                self._idle.pop().close()

    def require_open(self) -> None:
        """Make sure that the store is open, and in this process."""
        if self._closed:
            raise StoreError(f"the store of {self._path} is closed: open it again")
        if os.getpid() != self._process:
            raise StoreError(
                f"the store of {self._path} was opened before this process was forked: open it after the fork"
            )

    def _open_reader(self) -> Handle:
        # The file must be there: SQLite would make another, empty one.
        connection = self._connect(f"{Path(self._path).as_uri()}?mode=rw")
        try:
            connection.execute("PRAGMA query_only = ON")
            self._require_file()
        except BaseException:
            connection.close()
            raise
        return connection

    def _require_file(self) -> None:
        """Make sure that what is written goes where others will look for it, and not into a file without a name."""
        if identify(self._path) != self._file:
            raise StoreError(f"{self._path} was deleted or replaced while it was open: open the store again")

    def _connect(self, database: str) -> Handle:
        connection = sqlite3.connect(
            database,
            timeout=_milliseconds(self._busy_timeout) / 1000,
            isolation_level=None,
            check_same_thread=False,
            factory=Handle,
            uri=database.startswith("file:"),
        )
        try:
            if self._path != MEMORY:
                keep_through_forks(connection, self._path)
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            # 16 MiB of WAL before a checkpoint: the mean 2 KiB ingest takes 0.90 of what 1,000 pages make it take.
            connection.execute("PRAGMA wal_autocheckpoint = 4000")
            # After a long log the WAL gives its room back, but not the 16 MiB that are used over and over.
            connection.execute("PRAGMA journal_size_limit = 67108864")
            # Debian compiles it ON: deleting ten logs of 180 KB then takes 12.4 ms instead of 1.1.
            connection.execute("PRAGMA secure_delete = FAST")
        except BaseException:
            connection.close()
            raise
        return connection

    def _enter_wal_mode(self) -> None:
        """Switch to WAL, which SQLite refuses at once, without waiting, while another process does the same."""
        deadline = time.monotonic() + self._busy_timeout
        while True:
            try:
                mode = self._writer.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(_WAL_RETRY_SECONDS)
                continue
            if mode != "wal" and self._path != MEMORY:
                raise StoreError(f"{self._path} cannot use write-ahead logging: keep it on a local disk")
            return

    def _require_schema(self) -> None:
        pending = find_pending(self._database(), self._path)
        if pending:
            behind = f"the schema of {self._path} is behind: open it once with migrate=True"
            raise SchemaOutdated(behind, pending=pending)

    def _migrate(self) -> None:
        database = self._database()
        if find_pending(database, self._path):
            # Others that start at the same time wait here, then find nothing to do.
            self.write(lambda _: migrations.apply(database) if find_pending(database, self._path) else None)

    def _database(self) -> Database:
        with translated(self._path):
            return Database(self._writer, execute_plugins=False)


def _milliseconds(seconds: float) -> int:
    return int(min(seconds, LONGEST_BUSY_SECONDS) * 1000)


def open_connections(
    path: str, *, migrate: bool, synchronous: str, busy_timeout: float
) -> OwnConnections | ReadOnlyConnections:
    """Open a file, or a database in memory; a file that cannot be written is only read if nothing is to be migrated."""
    require_no_adapters()
    if path != MEMORY:
        path = _resolved(path)
        if not migrate and not _may(path, os.F_OK):
            missing = f"there is no database at {path}: open it once with migrate=True"
            raise SchemaOutdated(missing, pending=sorted(MIGRATION_NAMES))
        is_writable = _is_writable(path)
        if is_inherited(path):
            raise StoreError(
                f"{path} was open when this process was forked: SQLite cannot open it here again. Open stores after "
                "the fork only, or start processes by spawn or forkserver"
            )
        if not is_writable:
            if migrate or not _may(path, os.R_OK):
                hint = "; to read only, open it with migrate=False" if _may(path, os.R_OK) else ""
                raise StoreError(f"{path} {ADVICE[sqlite3.SQLITE_READONLY]}{hint}")
            return ReadOnlyConnections(path, busy_timeout=busy_timeout)
    return OwnConnections(path, migrate=migrate, synchronous=synchronous, busy_timeout=busy_timeout)


def _resolved(path: str) -> str:
    """Return the one path that a file has wherever this process goes: SQLite has its WAL beside the file itself."""
    try:
        return str(Path(path).resolve())
    except (OSError, ValueError, RuntimeError) as error:  # a name that is too long or holds a NUL, a link to itself
        raise StoreError(f"{path!r} cannot be the path of a file: {error}") from error


def _is_writable(path: str) -> bool:
    """Return whether SQLite can write a file, and its own files beside it."""
    file = Path(path)
    try:
        if file.is_dir():
            raise StoreError(f"{path} is a folder: give the path of a file in it")
        if not file.parent.is_dir():
            raise StoreError(f"{path} cannot be made: its folder does not exist, make it first")
        if not _may(file, os.F_OK):
            return _may(file.parent, os.W_OK)
        return _may(file, os.W_OK) and (_may(file.parent, os.W_OK) or _may(f"{file}-wal", os.W_OK))
    except (OSError, ValueError) as error:  # a name that is too long, or that holds a NUL
        raise StoreError(f"{path!r} cannot be the path of a file: {error}") from error


def _may(path: str | Path, mode: int) -> bool:
    """Return whether this process may do what opening a file would, and not whoever started it."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)
