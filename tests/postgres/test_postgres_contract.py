"""PostgreSQL keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from backuplog.testing import TransactionalStoreContract


class TestPostgres(TransactionalStoreContract):
    """PostgreSQL."""

    kills = 5

    @pytest.fixture(autouse=True)
    def _database(self, database_url: str) -> None:
        self._url = database_url

    @contextmanager
    def fresh_url(self) -> Iterator[str]:
        """Empty the session's database."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("DROP SCHEMA IF EXISTS backuplog CASCADE")
        yield self._url

    def connect(self, url: str) -> psycopg.Connection[Any]:
        """Connect as an orchestrator does."""
        return psycopg.connect(url)
