"""The PostgreSQL backend of backuplog: ``backuplog.open_store("postgresql://user@host/database")``."""

from .backend import PostgresBackend, open_backend

__all__ = ["PostgresBackend", "open_backend"]
