"""The schema of a SQLite database: migrated under a lock, never by a version that does not know it."""

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

FROZEN = Path(__file__).parent.parent / "data" / "sqlite" / "schema-1.db"


def test_migrate_false_refuses_a_new_database(tmp_path: Path) -> None:
    """Without migration a database that lacks the schema is refused, and the next open with it works."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with pytest.raises(backuplog.SchemaOutdated, match="open it once with migrate=True"):
        backuplog.open_store(url, migrate=False)
    backuplog.open_store(url).close()
    backuplog.open_store(url, migrate=False).close()


def test_a_database_of_a_newer_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    """A migration that this version does not know means: hands off."""
    path = tmp_path / "backups.db"
    backuplog.open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO _sqlite_migrations (migration_set, name, applied_at) VALUES ('backuplog', 'm999_future', '')"
        )
    connection.close()
    before = path.read_bytes()
    for migrate in (True, False):
        with pytest.raises(backuplog.SchemaOutdated, match="written by a newer version of backuplog"):
            backuplog.open_store(f"sqlite:///{path}", migrate=migrate)
    assert path.read_bytes() == before


def test_a_frozen_database_is_upgraded(tmp_path: Path, payload: Callable[..., dict[str, Any]]) -> None:
    """What the first released version stored is read and continued by this one."""
    path = tmp_path / "backups.db"
    shutil.copy(FROZEN, path)
    with backuplog.open_store(f"sqlite:///{path}") as store:
        run = backuplog.get_run(store, UUID(int=3))
        assert (run.status, run.task_type, run.log_state, run.agent_id) == ("failed", "check", "complete", UUID(int=2))
        assert backuplog.read_log(store, run.id) == b"second"
        assert len(backuplog.read_log(store, UUID(int=4))) == 1_500_000
        assert backuplog.query_runs(store).total == 2
        assert backuplog.get_agent(store, UUID(int=2)).hostname == "db-01"
        sent = payload(taskId=str(UUID(int=3)), policyId=str(UUID(int=5)), durationSeconds=1, log="first")
        assert backuplog.ingest_task_result(store, UUID(int=2), sent).outcome == "stale"
    backuplog.open_store(f"sqlite:///{path}", migrate=False).close()


def test_the_tables_of_others_are_left_alone(tmp_path: Path) -> None:
    """A database that holds an orchestrator's own tables, and its own migrations, is shared in peace."""
    path = tmp_path / "orchestrator.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY)")
        connection.execute("INSERT INTO jobs VALUES (7)")
    connection.close()
    backuplog.open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT id FROM jobs").fetchall() == [(7,)]
    connection.close()


def test_a_store_of_before_a_fork_refuses_to_work_after_it(tmp_path: Path) -> None:
    """A child that was forked is told to open its own store, and harms neither its parent's nor the file."""
    program = """
import os, sys, warnings, uuid
import backuplog
warnings.simplefilter("ignore")
store = backuplog.open_store(sys.argv[1])
agent = backuplog.register_agent(store, uuid.uuid4()).id
child = os.fork()
if child == 0:
    try:
        backuplog.get_agent(store, agent)
    except backuplog.StoreError as error:
        os._exit(7 if "open it after the fork" in str(error) else 1)
    os._exit(2)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert backuplog.get_agent(store, agent).id == agent
"""
    if not hasattr(os, "fork"):
        return
    subprocess.run([sys.executable, "-c", program, f"sqlite:///{tmp_path / 'backups.db'}"], check=True)


def test_a_memory_store_is_private() -> None:
    """Two stores in memory see nothing of each other."""
    with backuplog.open_store("sqlite://") as one, backuplog.open_store("sqlite:///:memory:") as other:
        agent_id = backuplog.register_agent(one, uuid4()).id
        with pytest.raises(backuplog.AgentNotFound):
            backuplog.get_agent(other, agent_id)


def test_what_is_acknowledged_is_synchronous_full_in_wal(tmp_path: Path) -> None:
    """The settings that durability rests on are those of the design."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(f"sqlite:///{path}") as store:
        connections = vars(vars(store)["_store"])["_connections"]
        with connections.writing() as cursor:
            settings = {
                name: cursor.execute(f"PRAGMA {name}").fetchone()[0]
                for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "page_size")
            }
    assert settings == {"journal_mode": "wal", "synchronous": 2, "wal_autocheckpoint": 4000, "page_size": 4096}


def test_no_connection_is_left_open(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """Closing a store closes every connection that it opened, also after a failed open."""
    (tmp_path / "text").write_bytes(b"no database" * 100)
    with pytest.raises(backuplog.StoreError):
        backuplog.open_store(f"sqlite:///{tmp_path / 'text'}")
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        backuplog.query_runs(store)
    gc.collect()
    assert [warning for warning in recwarn if warning.category is ResourceWarning] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups.db", "text"]
