"""The transaction of another library: own rows and a result in one, by what that library calls a connection."""

import os
import re
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.orm import Session

import backuplog

Payload = Callable[..., dict[str, Any]]
KINDS = ["session", "connection", "raw"]


def empty(database: str) -> str:
    """Take every table out of a database of PostgreSQL, and give its URL as SQLAlchemy writes it."""
    parts: dict[str, Any] = conninfo_to_dict(database)
    url = sqlalchemy.URL.create(
        "postgresql+psycopg",
        username=parts.get("user"),
        password=parts.get("password"),
        database=parts.get("dbname"),
        query={name: str(parts[name]) for name in ("host", "port") if name in parts},
    )
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS jobs, orders"))
        connection.execute(sqlalchemy.text("DROP SCHEMA IF EXISTS backuplog CASCADE"))
    engine.dispose()
    return url.render_as_string(hide_password=False)


def use(url: str, engine: sqlalchemy.Engine, kind: str, payload: Payload) -> None:
    """Store a row and a result together, first in vain and then for good."""
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE orders (id INTEGER)"))
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, "01234567-89ab-cdef-0123-456789abcdef").id
        for ends, count in (("rollback", 0), ("commit", 1)):
            holder: Any = {"session": Session, "connection": engine.connect, "raw": engine.raw_connection}[kind]
            opened = holder(engine) if kind == "session" else holder()
            if kind == "raw":
                opened.cursor().execute("INSERT INTO orders VALUES (1)")
            else:
                opened.execute(sqlalchemy.text("INSERT INTO orders VALUES (1)"))
            receipt = backuplog.ingest_task_result(store.bound_to(opened), agent_id, payload(log="log"))
            assert receipt.outcome == "created"
            getattr(opened, ends)()
            opened.close()
            assert backuplog.query_runs(store).total == count
            with engine.connect() as connection:
                assert connection.execute(sqlalchemy.text("SELECT count(*) FROM orders")).scalar() == count
    engine.dispose()


@pytest.mark.parametrize("kind", KINDS)
def test_sqlalchemys_transaction_is_shared_on_sqlite(tmp_path: Path, payload: Payload, kind: str) -> None:
    """A Session, a Connection and a raw connection of SQLAlchemy take a result along."""
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    use(url, sqlalchemy.create_engine(url), kind, payload)


@pytest.mark.parametrize("kind", KINDS)
def test_sqlalchemys_transaction_is_shared_on_postgres(database: str, payload: Payload, kind: str) -> None:
    """The same on PostgreSQL, with the URL as SQLAlchemy writes it."""
    url = empty(database)
    use(url, sqlalchemy.create_engine(url), kind, payload)


DJANGO = """
import sys, uuid
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[1]}}, INSTALLED_APPS=[]
)
django.setup()
from django.db import connection, transaction
import backuplog

def payload():
    return {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1, "log": "log"}

with backuplog.open_store(f"sqlite:///{sys.argv[1]}") as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    try:
        with transaction.atomic():
            backuplog.ingest_task_result(store.bound_to(connection), agent_id, payload())
            raise ZeroDivisionError
    except ZeroDivisionError:
        assert backuplog.query_runs(store).total == 0
    with transaction.atomic(), transaction.atomic():
        backuplog.ingest_task_result(store.bound_to(connection), agent_id, payload())
        assert backuplog.query_runs(store).total == 0
    assert backuplog.query_runs(store).total == 1
    connection.close()
"""


def test_djangos_transaction_is_shared(tmp_path: Path) -> None:
    """A result goes the way of its ``atomic`` block, also of an inner one."""
    command = [sys.executable, "-c", DJANGO, str(tmp_path / "orders.db")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


PAGE = Path(__file__).parent.parent / "docs" / "frameworks.md"


def run_page(url: str, folder: Path) -> None:
    """Run the blocks of the page in a process of their own, because Django's settings are the process's."""
    program = "\n".join(re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL))
    environment = {**os.environ, "DATABASE_URL": url}
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_runs_on_sqlite(tmp_path: Path) -> None:
    """What docs/frameworks.md shows is so, on a file of SQLite."""
    run_page(f"sqlite:///{tmp_path / 'orchestrator.db'}", tmp_path)


def test_the_page_runs_on_postgres(database: str, tmp_path: Path) -> None:
    """What docs/frameworks.md shows is so, on PostgreSQL."""
    run_page(empty(database), tmp_path)


def proposals(engine: sqlalchemy.Engine, **options: Any) -> str:
    """Give the migration that Alembic's autogenerate writes for an application with no tables but our own."""
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"target_metadata": sqlalchemy.MetaData(), **options})
        script = produce_migrations(context, sqlalchemy.MetaData())
        assert script.upgrade_ops
        return render_python_code(script.upgrade_ops, migration_context=context)


def leave_ours_out(name: str | None, type_: str, parent_names: object) -> bool:
    """Do what the page says."""
    del parent_names
    if type_ == "schema":
        return name != "backuplog"
    return type_ != "table" or name not in backuplog.TABLES


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_alembic_leaves_our_tables_alone(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Autogenerate proposes to drop our tables, and with ``TABLES`` left out, nothing."""
    url = f"sqlite:///{tmp_path / 'backups.db'}" if kind == "sqlite" else empty(request.getfixturevalue("database"))
    backuplog.open_store(url).close()
    engine = sqlalchemy.create_engine(url)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sqlalchemy.exc.SAWarning)  # An index of an expression is not reflected.
        dropped = set(re.findall(r"drop_table\('(\w+)'", proposals(engine, include_schemas=True)))
    assert dropped == set(backuplog.TABLES)
    assert "op." not in proposals(engine, include_schemas=True, include_name=leave_ours_out)
    engine.dispose()
