"""The transaction of another library: own rows and a result in one, by what that library calls a connection."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.orm import Session

import backuplog

Payload = Callable[..., dict[str, Any]]
KINDS = ["session", "connection", "raw"]


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
    url = database.replace("postgresql://", "postgresql+psycopg://")
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("DROP TABLE IF EXISTS orders"))
        connection.execute(sqlalchemy.text("DROP SCHEMA IF EXISTS backuplog CASCADE"))
    use(url, engine, kind, payload)


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
