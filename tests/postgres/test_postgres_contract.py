"""PostgreSQL keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import backuplog
from backuplog.testing import DamageContract, StoreContract


class TestPostgres(DamageContract):
    """PostgreSQL."""

    prefix = "backuplog."
    kills = 5
    texts = 10_000

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


class TestPostgresWithRowLevelSecurity(StoreContract):
    """PostgreSQL with policies, as an ordinary user whom they bind, without prepared statements."""

    @pytest.fixture(autouse=True)
    def _database(self, ordinary_url: str) -> None:
        self._url = ordinary_url

    @contextmanager
    def fresh_store(self) -> Iterator[backuplog.Store]:
        """Empty the user's schema."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("DROP TABLE IF EXISTS " + ", ".join(f"backuplog.{table}" for table in backuplog.TABLES))
        with backuplog.open_store(self._url, rls=True, prepare=False) as store:
            yield store
