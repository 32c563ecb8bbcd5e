"""Every store that stands in this project keeps the contract."""

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import backuplog
from backuplog.testing import DamageContract, StoreContract


class TestSqliteInMemory(StoreContract):
    """SQLite in memory."""

    @contextmanager
    def fresh_store(self) -> Iterator[backuplog.Store]:
        """Open a private database."""
        with backuplog.open_store("sqlite://") as store:
            yield store


class TestSqliteFile(DamageContract):
    """SQLite in a file."""

    kills = 20
    texts = 10_000

    @contextmanager
    def fresh_url(self) -> Iterator[str]:
        """Name a file in a new folder."""
        with tempfile.TemporaryDirectory() as folder:
            yield f"sqlite:///{Path(folder) / 'backups.db'}"

    def connect(self, url: str) -> sqlite3.Connection:
        """Connect as an orchestrator does."""
        return sqlite3.connect(url.removeprefix("sqlite:///"))
