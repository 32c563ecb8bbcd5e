"""The PostgreSQL backend of backuplog: ``open_store("postgresql://user@host/database")``."""

from .store import PostgresStore, open_store

__all__ = ["PostgresStore", "open_store"]
