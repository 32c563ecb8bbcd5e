"""The SQLite backend of backuplog: ``backuplog.open_store("sqlite:///backups.db")``."""

from .backend import SqliteBackend, open_backend

__all__ = ["SqliteBackend", "open_backend"]
