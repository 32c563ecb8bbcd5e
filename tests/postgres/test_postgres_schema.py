"""The schema: migrated under a lock, by an ordinary user, beside others, with tenants kept apart by PostgreSQL."""

import itertools
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.sql import SQL, Identifier

import backuplog
from backuplog import backend
from backuplog_postgres import migrate as migration
from backuplog_postgres.migrate import MIGRATION_NAMES

Payload = Callable[..., dict[str, Any]]
FROZEN = Path(__file__).parent.parent / "data" / "postgres" / "schema-1.sql"
ODD_NAMES = ["Backup Log", 'say "hi"; DROP TABLE backup_agents', "журнал", "{schema}", "public", "a.b"]


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


def in_threads(work: Callable[[], object], count: int) -> list[BaseException]:
    """Do work in threads that start at once, and return what they raised."""
    failures: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - whatever a thread raises is the test's to show
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def test_a_schema_of_a_newer_version_is_refused_and_not_changed(store: backuplog.Store, url: str) -> None:
    """A migration that this version does not know means: hands off."""
    assert backuplog.query_runs(store).total == 0
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO backuplog.backup_migrations (name) VALUES ('999_future')")
    for migrate in (True, False):
        with pytest.raises(backuplog.SchemaOutdated, match=r"newer version of backuplog \(999_future\)"):
            backuplog.open_store(url, migrate=migrate)


def test_a_failed_migration_leaves_nothing(url: str) -> None:
    """Where a statement of a migration fails, nothing of it is kept, and the next open begins again."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA backuplog; CREATE DOMAIN backuplog.backup_agent_tokens AS int")
    with pytest.raises(backuplog.StoreError, match="42710"):
        backuplog.open_store(url)
    assert "backuplog" not in tables(url)
    with psycopg.connect(url) as connection:
        connection.execute("DROP DOMAIN backuplog.backup_agent_tokens")
    backuplog.open_store(url).close()


def test_a_function_of_others_is_never_called(url: str) -> None:
    """A function in public that fits a call better than PostgreSQL's own is not what a migration calls."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE FUNCTION public.hashtextextended(text, integer) RETURNS bigint LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$; "
            "CREATE FUNCTION public.pg_advisory_xact_lock(integer) RETURNS void LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'called as %', current_user; END $$; "
            "CREATE FUNCTION public.current_setting(varchar) RETURNS text LANGUAGE sql AS $$ SELECT 'LATIN1' $$"
        )
    try:
        for rls in (False, True):
            backuplog.open_store(url, rls=rls).close()
    finally:
        with psycopg.connect(url) as connection:
            connection.execute(
                "DROP FUNCTION public.hashtextextended, public.pg_advisory_xact_lock, public.current_setting"
            )


def test_processes_whose_transactions_are_serializable_migrate_at_once(url: str) -> None:
    """Eight opens at once whose sessions are serializable by default wait for each other and see what was done."""
    serializable = f"{url}&options=-c%20default_transaction_isolation%3Dserializable"
    assert in_threads(lambda: backuplog.open_store(serializable).close(), 8) == []


@pytest.mark.parametrize("table", backuplog.TABLES)
def test_a_table_in_the_way_is_named(url: str, table: str) -> None:
    """Where another's table bears one of our names, the error names it, and nothing is made or changed."""
    with psycopg.connect(url) as connection:
        connection.execute(f"CREATE SCHEMA backuplog; CREATE TABLE backuplog.{table} (id int)")
    with pytest.raises(backuplog.StoreError, match=f'"backuplog" has a table {table} that is not backuplog\'s'):
        backuplog.open_store(url)
    assert tables(url)["backuplog"] == {table}


def test_an_orchestrators_tables_are_left_alone(url: str, payload: Payload) -> None:
    """Tables named agents and migrations in the same schema, an orchestrator's own, are neither read nor changed."""
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE SCHEMA backuplog; CREATE TABLE backuplog.agents (name text); "
            "CREATE TABLE backuplog.migrations (version int); INSERT INTO backuplog.agents VALUES ('theirs'); "
            "INSERT INTO backuplog.migrations VALUES (7)"
        )
    for rls in (False, True):
        with backuplog.open_store(url, rls=rls) as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            assert backuplog.ingest_task_result(store, agent_id, payload(log="log")).outcome == "created"
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT * FROM backuplog.agents").fetchall() == [("theirs",)]
        assert connection.execute("SELECT * FROM backuplog.migrations").fetchall() == [(7,)]
    assert tables(url)["backuplog"] == {*backuplog.TABLES, "agents", "migrations"}


def test_the_newest_runs_of_groups_cost_policies_that_failed_for_ever_nothing(store: backuplog.Store, url: str) -> None:
    """A policy of 100,000 failures and no success is not walked over: few pages are read, by the index of kinds."""
    tenant = store.tenant_id
    columns = ", ".join(backend.STORED_RUN_COLUMNS)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"INSERT INTO backuplog.backup_runs (tenant_id, {columns}) "
            "SELECT %s, gen_random_uuid(), %s, ('{' || lpad(to_hex(number %% 3), 32, '0') || '}')::uuid, 'backup', "
            "CASE WHEN number %% 3 < 2 AND number > 99990 THEN 'success' ELSE 'failed' END, "
            "'2026-01-01'::timestamptz + number * interval '7 seconds', now(), 1, NULL, NULL, now(), now(), 'none', 0, "
            f"NULL, 0, {'NULL, ' * 10} 0, NULL, 0, 0, '', '', '', '', false, 1 "
            "FROM generate_series(1, 100000) AS number",
            [tenant, tenant],
        )
        connection.execute("VACUUM ANALYZE backuplog.backup_runs")
    asked: list[Any] = []
    vars(store.backend)["_runs"] = lambda *given: asked.append(given) or []
    for query in (backuplog.RunQuery(status="success"), backuplog.RunQuery(status=("success", "warning"))):
        store.backend.list_newest(query, ["policy_id"])
    with psycopg.connect(url, autocommit=True) as connection:
        for statement, parameters in asked:
            text = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.replace('{schema}', 'backuplog')}"
            plan: Any = connection.execute(text, parameters).fetchone()
            top = plan[0][0]["Plan"]
            assert top["Shared Hit Blocks"] + top["Shared Read Blocks"] < 60
            assert "backup_runs_kind" in str(plan)


def test_threads_that_migrate_at_once_agree(url: str) -> None:
    """Twelve opens of one fresh place at once all succeed, half of them asking for row-level security."""
    numbers = itertools.count()
    assert in_threads(lambda: backuplog.open_store(url, rls=next(numbers) % 2 == 0).close(), 12) == []
    with psycopg.connect(url) as connection:
        applied = connection.execute("SELECT name FROM backuplog.backup_migrations ORDER BY name").fetchall()
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
    assert after.pop(schema) == {*backuplog.TABLES}
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
            "SELECT indexdef FROM pg_indexes WHERE schemaname = 'backuplog' AND tablename <> 'backup_migrations'"
        ).fetchall()
        others = connection.execute(
            "SELECT conname FROM pg_constraint WHERE connamespace = 'backuplog'::regnamespace AND contype = 'f' "
            "UNION ALL SELECT relname FROM pg_class "
            "WHERE relnamespace = 'backuplog'::regnamespace AND relkind = 'S'"
        ).fetchall()
    assert len(indexes) == 10
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


def test_a_new_table_is_guarded_too(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later migration of a schema that has row-level security gives its new table the policy."""
    backuplog.open_store(url, rls=True).close()
    later = tmp_path / "schema"
    shutil.copytree(Path(str(migration._FOLDER)), later)
    (later / "003_later.sql").write_text("CREATE TABLE {schema}.backup_later (tenant_id uuid)")
    with (later / "row_level_security.sql").open("a") as policies:
        policies.write(
            "ALTER TABLE {schema}.backup_later ENABLE ROW LEVEL SECURITY; "
            "CREATE POLICY tenant ON {schema}.backup_later USING (tenant_id IS NOT NULL);"
        )
    monkeypatch.setattr(migration, "_FOLDER", later)
    monkeypatch.setattr(migration, "MIGRATION_NAMES", [*MIGRATION_NAMES, "003_later"])
    with pytest.raises(backuplog.SchemaOutdated, match="is behind") as caught:
        backuplog.open_store(url, migrate=False)
    assert caught.value.pending == ("003_later",)
    backuplog.open_store(url).close()
    with psycopg.connect(url) as connection:
        guarded = connection.execute("SELECT tablename FROM pg_policies WHERE schemaname = 'backuplog'").fetchall()
        applied = connection.execute("SELECT name FROM backuplog.backup_migrations ORDER BY name").fetchall()
    assert {name for (name,) in guarded} == {*backuplog.TABLES, "backup_later"} - {migration.MIGRATIONS_TABLE}
    assert [name for (name,) in applied] == [*MIGRATION_NAMES, "003_later"]


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
    every = ("backup_agents", "backup_runs", "backup_run_logs")
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
                "UPDATE backuplog.backup_agents SET hostname = 'x' WHERE tenant_id = %s",
                "DELETE FROM backuplog.backup_runs WHERE tenant_id = %s",
            ):
                assert connection.execute(statement, [other]).rowcount == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(
                    "INSERT INTO backuplog.backup_agents (tenant_id, id, registered_at) VALUES (%s, %s, now())",
                    [other, uuid4()],
                )
            connection.rollback()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):  # the setting ended with its transaction
            connection.execute("SELECT FROM backuplog.backup_agents")


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
            connection.execute("SELECT set_config('backuplog.tenant_id', 'mine', true)")
            bound = store.bound_to(connection)
            backuplog.ingest_task_result(bound, agent_id, payload())
            with pytest.raises(backuplog.AgentNotFound):
                backuplog.ingest_task_result(bound, uuid4(), payload())
            kept = connection.execute("SELECT current_setting('backuplog.tenant_id')").fetchone()
            assert kept == ("mine",)  # The caller's transaction sees what it saw before.
            other = bound.for_tenant(uuid4())
            assert backuplog.query_runs(other).total == 0
            assert backuplog.query_runs(bound).total == 2
        assert backuplog.query_runs(store).total == 2
