"""The schema of a SQLite database: migrated under a lock, never by a version that does not know it."""

import gc
import pickle
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlite_utils import Database, Migrations

import backuplog
from backuplog_sqlite import SqliteBackend
from backuplog_sqlite.migrations import MIGRATION_NAMES

Payload = Callable[..., dict[str, Any]]
SETTINGS = {
    "journal_mode": "wal",
    "synchronous": 2,
    "wal_autocheckpoint": 4000,
    "page_size": 4096,
    "auto_vacuum": 2,
    "secure_delete": 2,
    "journal_size_limit": 67_108_864,
}
NOW = datetime(2026, 11, 24, tzinfo=UTC)
FROZEN = Path(__file__).parent.parent / "data" / "sqlite" / "schema-1.db"


def test_migrate_false_refuses_a_new_database(tmp_path: Path) -> None:
    """Without migration a database that is not there is refused, and not made; the next open with it works."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with pytest.raises(backuplog.SchemaOutdated, match=r"no database at .*: open it once with migrate=True") as caught:
        backuplog.open_store(url, migrate=False)
    assert caught.value.pending == tuple(sorted(MIGRATION_NAMES))
    assert pickle.loads(pickle.dumps(caught.value)).pending == caught.value.pending  # noqa: S301
    with pytest.raises(backuplog.SchemaOutdated, match="no database at"):
        backuplog.open_store(f"sqlite:///{tmp_path / 'no' / 'folder.db'}", migrate=False)
    assert list(tmp_path.iterdir()) == []
    backuplog.open_store(url).close()
    backuplog.open_store(url, migrate=False).close()


def test_migrate_false_leaves_a_database_of_another_program_as_it_is(tmp_path: Path) -> None:
    """Without migration a file that is not ours is refused, and keeps each byte and its own journal mode."""
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE mine (id)")
    before = path.read_bytes()
    with pytest.raises(backuplog.SchemaOutdated, match="open it once with migrate=True"):
        backuplog.open_store(f"sqlite:///{path}", migrate=False)
    assert (list(tmp_path.iterdir()), path.read_bytes()) == ([path], before)


def test_a_database_of_a_newer_version_is_refused_and_not_changed(tmp_path: Path) -> None:
    """A migration that this version does not know means: hands off."""
    path = tmp_path / "backups.db"
    backuplog.open_store(f"sqlite:///{path}").close()
    with sqlite3.connect(path) as connection:
        connection.execute(
            "INSERT INTO backup_migrations (migration_set, name, applied_at) VALUES ('backuplog', 'm999_future', '')"
        )
    connection.close()
    before = path.read_bytes()
    for migrate in (True, False):
        with pytest.raises(backuplog.SchemaOutdated, match="written by a newer version of backuplog"):
            backuplog.open_store(f"sqlite:///{path}", migrate=migrate)
    assert path.read_bytes() == before


def test_a_frozen_database_is_upgraded(tmp_path: Path, payload: Payload) -> None:
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


def test_the_tables_of_others_are_left_alone(tmp_path: Path, payload: Payload) -> None:
    """A file that holds an orchestrator's agents, migrations and what sqlite-utils notes of them is shared in peace."""
    path = tmp_path / "orchestrator.db"
    database = Database(path)
    mine = Migrations("orchestrator")
    mine()(lambda database: database.table("agents").create({"name": str}))
    mine.apply(database)
    database.table("agents").insert({"name": "theirs"})
    database.table("migrations").insert({"version": 7})
    noted = database.execute("SELECT * FROM _sqlite_migrations").fetchall()
    for _ in range(2):
        with backuplog.open_store(f"sqlite:///{path}") as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            assert backuplog.ingest_task_result(store, agent_id, payload(log="log")).outcome == "created"
    assert database.execute("SELECT * FROM agents").fetchall() == [("theirs",)]
    assert database.execute("SELECT * FROM migrations").fetchall() == [(7,)]
    assert database.execute("SELECT * FROM _sqlite_migrations").fetchall() == noted
    assert {*database.table_names()} == {*backuplog.TABLES, "agents", "migrations", "_sqlite_migrations"}
    database.close()


@pytest.mark.parametrize("table", [*backuplog.TABLES, "Backup_Runs"])
def test_a_table_in_the_way_is_named(tmp_path: Path, table: str) -> None:
    """Where another's table bears one of our names, the error names it, and nothing is made or changed."""
    path = tmp_path / "orchestrator.db"
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {table} (id INTEGER)")
    for migrate in (True, False):
        with pytest.raises(backuplog.StoreError, match=f"has a table {table} that is not backuplog's: rename it"):
            backuplog.open_store(f"sqlite:///{path}", migrate=migrate)
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [(table,)]
    connection.close()


def searches_of(store: backuplog.Store, report: Callable[[backuplog.Store], object]) -> list[str]:
    """List how SQLite searches for the runs of a report."""
    backend: Any = store.backend
    asked: list[str] = []
    fetch = backend._fetch

    def note(statement: str, parameters: Any) -> Any:
        asked.extend(row[3] for row in fetch(f"EXPLAIN QUERY PLAN {statement}", parameters))
        return fetch(statement, parameters)

    vars(backend)["_fetch"] = note
    report(store)
    del vars(backend)["_fetch"]
    return [detail for detail in asked if "backup_runs" in detail]


def test_the_newest_runs_of_groups_are_found_by_their_index(tmp_path: Path) -> None:
    """Whatever is asked, runs of other groups and statuses are not looked at: every search goes by the whole key."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        for query in (
            backuplog.RunQuery(),
            backuplog.RunQuery(status=("success", "warning", "failed")),
            backuplog.RunQuery(agent_id=store.tenant_id, policy_id=store.tenant_id, task_type="backup", until=NOW),
        ):
            searches = searches_of(store, lambda store, query=query: store.backend.list_newest(query, ["policy_id"]))
            key = "SEARCH backup_runs USING INTEGER PRIMARY KEY (rowid=?)"
            kinds = [detail for detail in searches if detail != key]
            assert len(kinds) == 3
            assert all("USING COVERING INDEX backup_runs_kind (tenant_id=?" in detail for detail in kinds)
            assert "policy_id=? AND agent_id=? AND task_type=? AND status=?" in str(kinds)
            assert "(policy_id,agent_id,task_type,status,start_time)>(?,?,?,?,?)" in str(kinds)


def test_the_newest_runs_of_groups_cost_no_walk_over_the_others(tmp_path: Path, payload: Payload) -> None:
    """Twice as many runs of the same policies take SQLite no more steps."""
    path = tmp_path / "backups.db"
    steps: list[int] = []
    with backuplog.open_store(f"sqlite:///{path}") as store, closing(sqlite3.connect(path)) as connection:
        agent_id = backuplog.register_agent(store, uuid4()).id
        asked: list[Any] = []
        fetch = vars(SqliteBackend)["_runs"]
        vars(store.backend)["_runs"] = lambda *given: asked.append(given) or fetch(store.backend, *given)
        for _ in range(2):
            results = [payload(policyId=str(UUID(int=number % 3)), status="failed") for number in range(600)]
            backuplog.ingest_task_results(store, [(agent_id, result) for result in results])
            assert len(store.backend.list_newest(backuplog.RunQuery(), ["policy_id"])) == 3
            counted: list[int] = []
            connection.set_progress_handler(lambda counted=counted: counted.append(1), 10)
            connection.execute(*asked[-1]).fetchall()
            steps.append(len(counted))
    assert 0 < steps[1] <= steps[0] + 2


def test_failures_since_a_success_are_counted_in_the_index_of_kinds(tmp_path: Path) -> None:
    """Counting the runs of one kind since a time reads those only, and no row of the table."""
    query = backuplog.RunQuery(agent_id=UUID(int=1), policy_id=UUID(int=2), task_type="x", status="failed", since=NOW)
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        searches = searches_of(store, lambda store: store.backend.count_runs(query))
    by = "tenant_id=? AND policy_id=? AND agent_id=? AND task_type=? AND status=? AND start_time>?"
    assert searches == [f"SEARCH backup_runs USING COVERING INDEX backup_runs_kind ({by})"]


def test_active_runs_are_found_by_the_index_of_rare_statuses(tmp_path: Path) -> None:
    """What is active now is asked for by one search for each status, and never by reading a tenant's runs."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        query = backuplog.RunQuery(status=("pending", "running"))
        searches = searches_of(store, lambda store: backuplog.query_runs(store, query))
    assert len(searches) == 4
    assert all("backup_runs_status (tenant_id=? AND status=?)" in detail for detail in searches)


@pytest.mark.parametrize("filters", [{"task_type": "check"}, {"snapshot_id": "4bba301e"}], ids=str)
def test_types_and_snapshots_are_found_in_the_index_by_time(tmp_path: Path, filters: dict[str, str]) -> None:
    """Runs of a type and the run of a snapshot are counted without the table, and listed in order without sorting."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        searches = searches_of(store, lambda store: backuplog.query_runs(store, backuplog.RunQuery(**filters)))
    assert searches[0] == "SEARCH backup_runs USING INDEX backup_runs_time (tenant_id=?)"
    assert searches[1].startswith("SEARCH backup_runs USING COVERING INDEX")


def test_room_is_given_back_in_steps(tmp_path: Path) -> None:
    """A file of our own can be made smaller step by step; in another's file that is left as it is."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'ours.db'}"):
        pass
    connection = sqlite3.connect(tmp_path / "theirs.db")
    connection.execute("CREATE TABLE jobs (id INTEGER)")
    connection.close()
    with backuplog.open_store(f"sqlite:///{tmp_path / 'theirs.db'}"):
        pass
    modes = []
    for name in ("ours.db", "theirs.db"):
        connection = sqlite3.connect(tmp_path / name)
        modes.append(connection.execute("PRAGMA auto_vacuum").fetchone()[0])
        connection.close()
    assert modes == [2, 0]


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
        writer = vars(vars(store.backend)["_connections"])["_writer"]
        settings = {name: writer.execute(f"PRAGMA {name}").fetchone()[0] for name in SETTINGS}
    assert settings == SETTINGS


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
