"""The schema: migrated under a lock, by an ordinary user, beside others, with tenants kept apart by PostgreSQL."""

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import backuplog
from backuplog_postgres.migrate import MIGRATION_NAMES

Payload = Callable[..., dict[str, Any]]
FROZEN = Path(__file__).parent.parent / "data" / "postgres" / "schema-1.sql"
ODD_NAMES = ["Backup Log", 'say "hi"; DROP TABLE agents', "журнал", "{schema}", "public", "a.b"]


def drop(url: str, schema: str) -> None:
    """Drop a schema, and make public again."""
    with psycopg.connect(url) as connection:
        connection.execute(SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(Identifier(schema)))
        connection.execute("CREATE SCHEMA IF NOT EXISTS public")


def tables(url: str) -> dict[str, set[str]]:
    """List the tables of every schema that is not PostgreSQL's own."""
    found: dict[str, set[str]] = {}
    with psycopg.connect(url) as connection:
        for schema, name in connection.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ):
            found.setdefault(schema, set()).add(name)
    return found


def test_a_schema_of_a_newer_version_is_refused_and_not_changed(store: backuplog.Store, url: str) -> None:
    """A migration that this version does not know means: hands off."""
    assert backuplog.query_runs(store).total == 0
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO backuplog.migrations (name) VALUES ('999_future')")
    for migrate in (True, False):
        with pytest.raises(backuplog.SchemaOutdated, match=r"newer version of backuplog \(999_future\)"):
            backuplog.open_store(url, migrate=migrate)


def test_a_failed_migration_leaves_nothing(url: str) -> None:
    """Where a statement of a migration fails, nothing of it is kept, and the next open begins again."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA backuplog; CREATE TABLE backuplog.backup_run_logs ()")
    with pytest.raises(backuplog.StoreError, match="42P07"):
        backuplog.open_store(url)
    assert tables(url)["backuplog"] == {"backup_run_logs"}
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE backuplog.backup_run_logs")
    backuplog.open_store(url).close()


def test_threads_that_migrate_at_once_agree(url: str) -> None:
    """Twelve opens of one fresh place at once all succeed, half of them asking for row-level security."""
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            backuplog.open_store(url, rls=number % 2 == 0).close()
        except BaseException as error:  # noqa: BLE001 - whatever a thread raises is the test's to show
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with psycopg.connect(url) as connection:
        applied = connection.execute("SELECT name FROM backuplog.migrations ORDER BY name").fetchall()
    assert [name for (name,) in applied] == MIGRATION_NAMES


@pytest.mark.parametrize("schema", ODD_NAMES)
def test_a_schema_may_have_any_name(url: str, payload: Payload, schema: str) -> None:
    """A schema is made where it is missing, whatever its name, and nothing is made elsewhere."""
    drop(url, schema)
    before = tables(url)
    with backuplog.open_store(url, schema=schema) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log="log")
        backuplog.ingest_task_results(store, [(agent_id, sent), (agent_id, payload(log="x"))])
        assert backuplog.read_log(store, sent["taskId"]) == b"log"
    after = tables(url)
    assert after.pop(schema) == {"agents", "agent_tokens", "backup_runs", "backup_run_logs", "migrations"}
    assert after == before
    backuplog.open_store(url, schema=schema, migrate=False).close()
    drop(url, schema)


def test_two_schemas_are_two_stores(store: backuplog.Store, url: str, agent_id: UUID, payload: Payload) -> None:
    """Two schemas of one database see nothing of each other."""
    sent = payload(log="one")
    backuplog.ingest_task_result(store, agent_id, sent)
    with backuplog.open_store(url, schema="other") as other:
        with pytest.raises(backuplog.AgentNotFound):
            backuplog.ingest_task_result(other, agent_id, sent)
        backuplog.register_agent(other, agent_id)
        assert backuplog.ingest_task_result(other, agent_id, {**sent, "log": "two"}).outcome == "created"
        assert backuplog.read_log(other, sent["taskId"]) == b"two"
    assert backuplog.read_log(store, sent["taskId"]) == b"one"
    drop(url, "other")


def test_logs_are_stored_as_they_come(store: backuplog.Store, url: str) -> None:
    """PostgreSQL does not compress again what is compressed."""
    assert backuplog.query_runs(store).total == 0
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT attstorage FROM pg_attribute WHERE attrelid = 'backuplog.backup_run_logs'::regclass "
            "AND attname = 'data'"
        ).fetchone()
    assert row in (("e",), (b"e",))


def test_nothing_crosses_tenants(store: backuplog.Store, url: str) -> None:
    """Every key leads with the tenant; there are no foreign keys and no sequences: it can be distributed."""
    assert backuplog.query_runs(store).total == 0
    with psycopg.connect(url) as connection:
        indexes = connection.execute(
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'backuplog' AND tablename <> 'migrations'"
        ).fetchall()
        others = connection.execute(
            "SELECT conname FROM pg_constraint WHERE connamespace = 'backuplog'::regnamespace AND contype = 'f' "
            "UNION ALL SELECT relname FROM pg_class "
            "WHERE relnamespace = 'backuplog'::regnamespace AND relkind = 'S'"
        ).fetchall()
    assert len(indexes) == 9
    assert all(re.search(r"\(tenant_id, ", definition) for (definition,) in indexes)
    assert others == []


def test_a_frozen_schema_is_upgraded(url: str, payload: Payload) -> None:
    """What the first released version stored is read and continued by this one."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FROZEN.read_bytes())
    with backuplog.open_store(url) as store:
        run = backuplog.get_run(store, UUID(int=3))
        assert (run.status, run.task_type, run.log_state, run.agent_id) == ("failed", "check", "complete", UUID(int=2))
        assert backuplog.read_log(store, run.id) == b"second"
        assert len(backuplog.read_log(store, UUID(int=4))) == 1_500_000
        assert backuplog.query_runs(store).total == 2
        assert backuplog.get_agent(store, UUID(int=2)).hostname == "db-01"
        sent = payload(taskId=str(UUID(int=3)), policyId=str(UUID(int=5)), durationSeconds=1, log="first")
        assert backuplog.ingest_task_result(store, UUID(int=2), sent).outcome == "stale"
    backuplog.open_store(url, migrate=False).close()


def test_a_new_table_is_guarded_too(url: str) -> None:
    """Migrating a schema that has row-level security gives its new tables the policy."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FROZEN.read_bytes())
        connection.execute("ALTER TABLE backuplog.backup_runs ENABLE ROW LEVEL SECURITY")
    backuplog.open_store(url).close()
    with psycopg.connect(url) as connection:
        guarded = connection.execute(
            "SELECT tablename FROM pg_policies WHERE schemaname = 'backuplog' ORDER BY tablename"
        ).fetchall()
    assert guarded == [("agent_tokens",), ("agents",), ("backup_run_logs",), ("backup_runs",)]


# --- an ordinary user -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rls", [True, False])
def test_an_ordinary_user_is_enough(ordinary_url: str, payload: Payload, *, rls: bool) -> None:
    """A user with rights on one schema only, not even on temporary tables, migrates and works."""
    with backuplog.open_store(ordinary_url, rls=rls) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log="log")
        backuplog.ingest_task_results(store, [(agent_id, sent), (agent_id, payload()), (agent_id, sent)])
        backuplog.ingest_task_result(store, agent_id, {**sent, "log": b"b" * 2_000_000})
        assert backuplog.read_log(store, sent["taskId"]) == b"b" * 2_000_000
        assert backuplog.query_runs(store).total == 2


def test_a_user_without_rights_is_told_which(ordinary_url: str, url: str) -> None:
    """A schema that this user may not make is refused with what to grant."""
    assert ordinary_url != url
    with pytest.raises(backuplog.StoreError, match="lacks a right: grant it"):
        backuplog.open_store(ordinary_url, schema="of_others")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER SCHEMA backuplog OWNER TO CURRENT_USER")
    with pytest.raises(backuplog.StoreError, match="lacks a right: grant it"):
        backuplog.open_store(ordinary_url)


# --- row-level security -----------------------------------------------------------------------------------------


def test_a_forgotten_filter_cannot_cross_tenants(ordinary_url: str, payload: Payload) -> None:
    """With ``rls=True`` raw SQL sees, changes and makes rows of the tenant that its transaction names, and no other."""
    with backuplog.open_store(ordinary_url, rls=True) as store:
        tenants = [uuid4(), uuid4()]
        for number, tenant in enumerate(tenants):
            view = store.for_tenant(tenant)
            agent_id = backuplog.register_agent(view, uuid4()).id
            for _ in range(number + 1):
                backuplog.ingest_task_result(view, agent_id, payload(log="log"))
    every = ("agents", "backup_runs", "backup_run_logs")
    with psycopg.connect(ordinary_url) as connection:
        for table in every:
            with pytest.raises(psycopg.errors.UndefinedObject):  # It names no tenant: it sees nothing at all.
                connection.execute(f"SELECT FROM backuplog.{table}")
            connection.rollback()
        for number, tenant in enumerate(tenants):
            connection.execute("SELECT set_config('backuplog.tenant_id', %s, true)", [str(tenant)])
            for table, rows in zip(every, (1, number + 1, number + 1), strict=True):
                seen = connection.execute(f"SELECT tenant_id FROM backuplog.{table}").fetchall()
                assert seen == [(tenant,)] * rows
            other = tenants[1 - number]
            for statement in (
                "UPDATE backuplog.agents SET hostname = 'x' WHERE tenant_id = %s",
                "DELETE FROM backuplog.backup_runs WHERE tenant_id = %s",
            ):
                assert connection.execute(statement, [other]).rowcount == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "INSERT INTO backuplog.agents (tenant_id, id, registered_at) VALUES (%s, %s, now())",
                    [other, uuid4()],
                )
            connection.rollback()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):  # the setting ended with its transaction
            connection.execute("SELECT FROM backuplog.agents")


def test_row_level_security_is_found(ordinary_url: str, payload: Payload) -> None:
    """A store that is opened without ``rls`` works with policies that are on, also inside the caller's transaction."""
    backuplog.open_store(ordinary_url).close()
    with pytest.raises(backuplog.SchemaOutdated):
        backuplog.open_store(ordinary_url, rls=True, migrate=False)
    backuplog.open_store(ordinary_url, rls=True).close()
    with backuplog.open_store(ordinary_url, migrate=False) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        backuplog.ingest_task_result(store, agent_id, payload())
        with psycopg.connect(ordinary_url) as connection:
            bound = store.bound_to(connection)
            backuplog.ingest_task_result(bound, agent_id, payload())
            other = bound.for_tenant(uuid4())
            assert backuplog.query_runs(other).total == 0
            assert backuplog.query_runs(bound).total == 2
        assert backuplog.query_runs(store).total == 2
