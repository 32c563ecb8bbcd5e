"""The one place that knows SQLite's errors."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from backuplog.backend import SchemaOutdated, StoreError, StoreUnavailable

LONGEST_BUSY_SECONDS: Final = 2_000_000.0
"""SQLite counts milliseconds in 32 bits."""

ADVICE: Final = {
    sqlite3.SQLITE_BUSY: "is locked by another process: try again later",
    sqlite3.SQLITE_LOCKED: "is locked by another statement: try again later",
    sqlite3.SQLITE_FULL: "cannot grow: free space on its disk",
    sqlite3.SQLITE_READONLY: "cannot be written: check the permissions of the file and its folder",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened: check that its folder exists and that this user may write there",
    sqlite3.SQLITE_NOTADB: "is not a SQLite database: give another path",
    sqlite3.SQLITE_CORRUPT: "is damaged: restore it from a backup",
    sqlite3.SQLITE_IOERR: "cannot be read or written: check its disk",
}
"""What to do, by SQLite's primary result code."""


@contextmanager
def translated(path: str) -> Generator[None]:
    """Turn every error of the driver into ours: the path, what is wrong, what to do; never a statement or a value."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreUnavailable(f"{path} {ADVICE[code]}") from error
        if code in ADVICE:
            raise StoreError(f"{path} {ADVICE[code]}") from error
        if str(error).startswith(("no such table", "no such column")):
            raise SchemaOutdated(f"{path} lacks tables of backuplog: open it once with open_store()") from error
        name = getattr(error, "sqlite_errorname", type(error).__name__)
        raise StoreError(f"SQLite failed on {path} ({name})") from error
