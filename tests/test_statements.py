"""The statements of both backends: constants beside their functions, each of one tenant."""

import inspect
import re
from typing import Any
from uuid import uuid4

import pytest

import backuplog
import backuplog_postgres.backend
import backuplog_postgres.connection
import backuplog_postgres.migrate
import backuplog_sqlite.backend
import backuplog_sqlite.connection
from backuplog.backend import query_terms

BACKENDS = [backuplog_postgres.backend, backuplog_sqlite.backend]
TABLE = r"\b(backup_agents|backup_agent_tokens|backup_runs|backup_run_logs)\b"
TENANT = r"(\?|%b|:tenant|%\(tenant\)b)"
# These only continue statements that name their tenant themselves.
PARTS = {"_WITH_CHUNK", "_CREATED", "_NEWEST_FIRST", "_OLDEST_FIRST"}


def statements(module: Any) -> dict[str, str]:
    """Give the SQL constants of a backend."""
    backend = getattr(module, "PostgresBackend", None) or module.SqliteBackend
    return {name: text for name, text in vars(backend).items() if name.isupper() and isinstance(text, str)}


@pytest.mark.parametrize("module", BACKENDS, ids=lambda module: module.__name__)
def test_every_statement_is_of_one_tenant(module: Any) -> None:
    """Each statement filters by the tenant, inserts it, or ends where the filters begin."""
    assert len(statements(module)) >= 11
    for name, statement in statements(module).items():
        if name in PARTS:
            continue
        text = re.sub(r" (NOT INDEXED|INDEXED BY \w+)", "", statement)
        inserted = re.findall(rf"(?:INSERT INTO|COPY) \S*?{TABLE}[^(]*\([^)]*\btenant_id\b", text)
        filtered = re.findall(rf"{TABLE}(?: SET .*?)?\s+WHERE tenant_id = {TENANT}", text, re.DOTALL)
        is_open = name in ("_LIST_RUNS", "_COUNT_RUNS", "_SUMMARIZE_RUNS") and text.endswith(" WHERE ")
        assert len(inserted) + len(filtered) + is_open == len(re.findall(TABLE, text)), name


@pytest.mark.parametrize("module", BACKENDS, ids=lambda module: module.__name__)
def test_every_list_and_count_begins_with_the_tenant(module: Any) -> None:
    """The filters that a query makes begin with the tenant's and never widen, whatever else is asked."""
    tenant = uuid4()
    for query in (backuplog.RunQuery(), backuplog.RunQuery(agent_id=uuid4(), status="failed", task_type="x")):
        where, parameters = module._where(query_terms(tenant, query))
        assert re.match(r"tenant_id = (\?|%b)", where)
        assert parameters[0] in (tenant, tenant.bytes)
        assert " OR " not in where


def test_every_table_is_named_with_its_schema() -> None:
    """On PostgreSQL no statement relies on the search path."""
    for name, text in statements(backuplog_postgres.backend).items():
        assert len(re.findall(TABLE, text)) == len(re.findall(r"\{schema\}\." + TABLE[2:], text)), name


def test_sql_is_written_where_it_can_be_seen() -> None:
    """SQL on a tenant's rows stands in the stores' constants and nowhere else."""
    for module in (backuplog_postgres.connection, backuplog_sqlite.connection):
        assert not re.search(r"\b(INSERT|UPDATE|DELETE|FROM backup)\b", inspect.getsource(module))
    touched = re.findall(r"\{schema\}\.([\w{}]+)", inspect.getsource(backuplog_postgres.migrate))
    assert set(touched) == {"{MIGRATIONS_TABLE}"}
