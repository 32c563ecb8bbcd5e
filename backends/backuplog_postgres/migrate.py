"""The schema and how it came to be: numbered files, each applied once. A released file is never changed."""

from importlib import resources
from typing import Final

import psycopg
from psycopg.rows import TupleRow

from backuplog.backend import TABLES, SchemaOutdated, StoreError

Cursor = psycopg.Cursor[TupleRow]

MIGRATIONS_TABLE: Final = "backup_migrations"
_FOLDER: Final = resources.files("backuplog_postgres") / "schema"
MIGRATION_NAMES: Final = sorted(file.name.removesuffix(".sql") for file in _FOLDER.iterdir() if file.name[:1].isdigit())
"""Every migration that this version knows, in order; a schema with another was written by a newer one."""


def settle_schema(cursor: Cursor, schema: str, *, migrate: bool, rls: bool) -> bool:
    """Bring a schema up to date, or make sure that it is.

    Args:
        cursor: A cursor of a connection in autocommit mode.
        schema: Its name, quoted.
        migrate: Whether to make and change anything.
        rls: Whether row-level security is wanted.

    Returns:
        Whether row-level security is on.

    Raises:
        SchemaOutdated: It is behind and ``migrate`` is False, or a newer version wrote it.
        StoreError: The database cannot hold it.
    """
    with cursor.connection.transaction():
        # What others have done while this one waits for the lock must be seen.
        cursor.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        # A function or an operator that somebody has made in public must not come before PostgreSQL's own: it would
        # be run with the rights of whoever migrates.
        cursor.execute("SET LOCAL search_path = pg_catalog, pg_temp")
        encoding = cursor.execute("SELECT current_setting('server_encoding')").fetchone()
        if encoding != ("UTF8",):
            raise StoreError("the database does not hold UTF-8: create one with ENCODING 'UTF8'")
        pending, row_security = _state(cursor, schema)
        if not pending and (row_security or not rls):
            return row_security
        if not migrate:
            raise SchemaOutdated(f"the schema {schema} is behind: open it once with migrate=True", pending=pending)
        # Others that start at the same time wait here, then find nothing to do. Of a slow migration nothing is lost
        # to a time-out that is meant for queries.
        cursor.execute("SET LOCAL statement_timeout = 0")
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended('backuplog ' || %s, 0))", [schema])
        pending, row_security = _state(cursor, schema)
        if pending == MIGRATION_NAMES:
            _create_schema(cursor, schema)
        for name in pending:
            _apply(cursor, schema, name)
            cursor.execute(f"INSERT INTO {schema}.{MIGRATIONS_TABLE} (name) VALUES (%s)".encode(), [name])
        if (rls and not row_security) or (pending and row_security):
            _apply(cursor, schema, "row_level_security")
    return row_security or rls


def _state(cursor: Cursor, schema: str) -> tuple[list[str], bool]:
    """Find which migrations are to be applied yet, and whether row-level security is on."""
    found = cursor.execute(
        "SELECT relname, relrowsecurity FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relname = ANY (%s)",
        [schema, list(TABLES)],
    )
    tables: dict[str, bool] = dict(found.fetchall())
    names: set[str] = set()
    if tables.pop(MIGRATIONS_TABLE, None) is not None:
        columns = cursor.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s)", [f"{schema}.{MIGRATIONS_TABLE}"]
        )
        if ("name",) not in columns.fetchall():
            raise _in_the_way(schema, MIGRATIONS_TABLE)
        applied = cursor.execute(f"SELECT name FROM {schema}.{MIGRATIONS_TABLE}".encode())
        names = {str(name) for (name,) in applied}
    if tables and not names:
        raise _in_the_way(schema, min(tables))
    newer = names.difference(MIGRATION_NAMES)
    if newer:
        raise SchemaOutdated(
            f"the schema {schema} was written by a newer version of backuplog ({', '.join(sorted(newer))}): "
            "install that version or a later one"
        )
    return [name for name in MIGRATION_NAMES if name not in names], tables.get("backup_runs", False)


def _in_the_way(schema: str, table: str) -> StoreError:
    return StoreError(
        f"the schema {schema} has a table {table} that is not backuplog's: rename it, "
        "or give backuplog a schema of its own"
    )


def _create_schema(cursor: Cursor, schema: str) -> None:
    # IF NOT EXISTS alone asks for the right to create schemas even where there is nothing to create.
    if cursor.execute("SELECT to_regnamespace(%s) IS NULL", [schema]).fetchone() == (True,):
        cursor.execute(f"CREATE SCHEMA {schema}".encode())
    cursor.execute(
        f"CREATE TABLE {schema}.{MIGRATIONS_TABLE} "
        "(name text PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())".encode()
    )


def _apply(cursor: Cursor, schema: str, name: str) -> None:
    statements = (_FOLDER / f"{name}.sql").read_text(encoding="utf-8")
    cursor.execute(statements.replace("{schema}", schema).encode())
