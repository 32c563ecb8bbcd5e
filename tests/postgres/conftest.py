"""Stores, users and locks on the database of this session."""

import re
import time
from collections.abc import Callable, Iterator
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier, Literal

import backuplog


@pytest.fixture
def url(database_url: str) -> str:
    """Give the URL of a database that has no schema of backuplog."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS backuplog CASCADE")
    return database_url


@pytest.fixture
def store(url: str) -> Iterator[backuplog.Store]:
    """Give an empty store on PostgreSQL."""
    with backuplog.open_store(url) as opened:
        yield opened


@pytest.fixture
def ordinary_url(url: str) -> Iterator[str]:
    """Give the URL of a user who may use one schema of theirs and make nothing else."""
    name, password = f"backuplog_{uuid4().hex}", uuid4().hex
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(Identifier(name), Literal(password)))
        database = Identifier(connection.info.dbname)
        connection.execute(SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
        connection.execute(SQL("CREATE SCHEMA backuplog AUTHORIZATION {}").format(Identifier(name)))
        yield re.sub(r"([?&])user=[^&]*", rf"\1user={name}&password={quote(password)}", url)
        connection.execute("DROP SCHEMA IF EXISTS backuplog CASCADE")
        connection.execute(SQL("DROP OWNED BY {}").format(Identifier(name)))
        connection.execute(SQL("DROP ROLE {}").format(Identifier(name)))


@pytest.fixture
def wait_until_blocked(database_url: str) -> Callable[[int], None]:
    """Give a function that returns as soon as so many connections wait for a lock."""

    def wait(count: int) -> None:
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        with psycopg.connect(database_url, autocommit=True) as connection:
            for _ in range(3_000):
                if connection.execute(waiting).fetchone() == (count,):
                    return
                time.sleep(0.01)
        pytest.fail(f"{count} connections never waited for a lock at once")

    return wait
