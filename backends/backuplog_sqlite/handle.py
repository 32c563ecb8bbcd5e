"""What sqlite3 and SQLite share among all connections of a process, and what becomes of ours in a forked child."""

import ctypes
import os
import sqlite3
import sys
from functools import cache
from types import NoneType
from typing import Final, TypeAlias
from weakref import WeakSet

from backuplog.backend import StoreError

FileIdentity: TypeAlias = tuple[int, int]
"""What tells a file from every other one: its device and its number there."""


class Handle(sqlite3.Connection):
    """A connection that weak references can find."""

    file: FileIdentity | None = None

    def close(self) -> None:
        """Close it: no child inherits it from now on."""
        super().close()
        _handles.discard(self)


_handles: Final[WeakSet[Handle]] = WeakSet()
_inherited: Final[set[FileIdentity | None]] = set()


def identify(path: str) -> FileIdentity | None:
    """Return what tells the file at a path from every other one; None if there is none to be found."""
    try:
        found = os.stat(path)  # noqa: PTH116 - asked before each commit
    except OSError:  # It is gone, or so is the way to it.
        return None
    return found.st_dev, found.st_ino


def is_inherited(path: str) -> bool:
    """Return whether this process was forked while the file at a path was open.

    SQLite would then take locks of the parent for its own: https://www.sqlite.org/howtocorrupt.html, section 2.6.
    """
    return bool(_inherited) and identify(path) in _inherited


def keep_through_forks(handle: Handle, path: str) -> None:
    """Let a child that is forked never close a handle.

    Closing it, as the end of the child does, could write pages of the parent's past into the file and delete a WAL
    that others have written since.
    """
    handle.file = identify(path)
    _handles.add(handle)
    _watch_forks()


@cache
def _watch_forks() -> None:
    if sys.platform != "win32":
        os.register_at_fork(after_in_child=_leak_handles)


def _leak_handles() -> None:
    for handle in _handles:
        _inherited.add(handle.file)
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


def require_no_adapters() -> None:
    """Make sure that sqlite3 stores values as they are: adapters are the whole process's, not a connection's."""
    for kind in (int, float, str, bytes, NoneType):
        if (kind, sqlite3.PrepareProtocol) in sqlite3.adapters:
            raise StoreError(
                f"sqlite3.register_adapter() has changed how {kind.__name__} is stored: "
                "register adapters for types of your own only"
            )
