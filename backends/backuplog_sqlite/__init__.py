"""The SQLite backend of backuplog: ``open_store("sqlite:///backups.db")``."""

from .store import SqliteStore, open_store

__all__ = ["SqliteStore", "open_store"]
