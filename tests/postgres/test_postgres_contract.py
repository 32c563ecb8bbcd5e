"""PostgreSQL keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

import backuplog
from backuplog.testing import StoreContract, TransactionalStoreContract


class TestPostgres(TransactionalStoreContract):
    """PostgreSQL."""

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
            connection.execute(
                "DROP TABLE IF EXISTS backuplog.agents, backuplog.agent_tokens, backuplog.backup_runs, "
                "backuplog.backup_run_logs, "
                "backuplog.migrations"
            )
        with backuplog.open_store(self._url, rls=True, prepare=False) as store:
            yield store
