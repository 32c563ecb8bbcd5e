"""Odd and hostile text: it comes back equal or is refused, and never becomes SQL."""

import inspect
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backuplog
import backuplog_postgres
from backuplog_postgres import connection, migrate, store

Payload = Callable[..., dict[str, Any]]
HOSTILE = [
    "'; DROP TABLE backuplog.backup_runs; --",
    "' OR ''='",
    "$$; SELECT pg_sleep(9); $$",
    "%s %b %(name)s %% %",
    "\\'; \\x41 \\N \\.",
    "{schema} {0} {}",
    "\ufeff\u202e\u0000",
    "\U0010ffff\ue000\u2028",
    "\r\n\t\x1b[31m\x7f",
    "é" * 300,
    "\ud800",
    "NULL",
    "",
    " ",
]
ANY_TEXT = (
    st.text(max_size=40)
    | st.sampled_from(HOSTILE)
    | st.tuples(st.text(max_size=9), st.sampled_from(HOSTILE)).map("".join)
)
EXAMPLES = 10_000 // 36 + 1  # of 36 strings each


def test_any_text_comes_back_or_is_refused(store: backuplog.Store, url: str) -> None:
    """10,000 strings, in every text field and filter, come back equal or are refused with a clear error."""
    agent_id = backuplog.register_agent(store, uuid4()).id

    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[*HealthCheck])
    @given(st.lists(st.tuples(*[ANY_TEXT] * 6), min_size=6, max_size=6))
    def check(batch: list[tuple[str, ...]]) -> None:
        for task_type, status, snapshot, message, log, hostname in batch:
            sent = {
                "taskId": str(uuid4()),
                "policyId": str(uuid4()),
                "taskType": task_type,
                "status": status,
                "durationSeconds": 1,
                "snapshotId": snapshot,
                "errorMessage": message,
                "log": log,
            }
            try:
                backuplog.ingest_task_result(store, agent_id, sent)
                run = backuplog.get_run(store, sent["taskId"])
            except backuplog.InvalidTaskResult as error:
                refused = {item.path for item in error.errors}
                assert refused <= {"$.taskType", "$.status", "$.snapshotId", "$.errorMessage"}
            else:
                assert (run.task_type, run.snapshot_id or "", run.error_message or "") == (task_type, snapshot, message)
                assert backuplog.read_log(store, run.id) == log.encode("utf-8", "surrogatepass")
                found = backuplog.query_runs(
                    store,
                    backuplog.RunQuery(task_type=task_type, status=status, snapshot_id=snapshot or None, limit=1000),
                )
                assert run in found.runs
            try:
                named = backuplog.register_agent(store, uuid4(), hostname=hostname)
            except backuplog.InvalidAgent:
                continue
            assert (backuplog.get_agent(store, named.id).hostname or "") == hostname

    check()
    with psycopg.connect(url) as other:
        rows = other.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'backuplog'").fetchone()
    assert rows == (4,)


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_filters_find_nothing(store: backuplog.Store, agent_id: UUID, payload: Payload, text: str) -> None:
    """A filter is a value: it finds what is equal to it, or is refused."""
    backuplog.ingest_task_result(store, agent_id, payload(snapshotId="s", taskType="backup"))
    for field in ("task_type", "status", "snapshot_id"):
        filters: dict[str, Any] = {field: text}
        try:
            query = backuplog.RunQuery(**filters)
        except backuplog.InvalidQuery:
            continue
        if any((query.task_type, query.status, query.snapshot_id)):
            assert backuplog.query_runs(store, query).runs == ()


# --- statements -------------------------------------------------------------------------------------------------

STATEMENTS = {
    name: text
    for name, text in vars(backuplog_postgres.PostgresStore).items()
    if name.isupper() and isinstance(text, str)
}


def test_every_statement_is_of_one_tenant() -> None:
    """Each statement names the schema of each table, and filters or inserts by the tenant."""
    parts = {"_WITH_CHUNK", "_CREATED", "_NEWEST_FIRST"}  # of statements that do
    assert len(STATEMENTS) >= 12
    for name, text in STATEMENTS.items():
        tables = len(re.findall(r"\b(agents|backup_runs|backup_run_logs)\b", text))
        assert tables == len(re.findall(r"\{schema\}\.(agents|backup_runs|backup_run_logs)\b", text)), name
        if name in parts:
            continue
        is_where = name in ("_LIST_RUNS", "_COUNT_RUNS") and text.endswith(" WHERE ")
        is_insert = re.search(r"(INSERT INTO|COPY)[^(]*\([^)]*\btenant_id\b", text)
        assert is_where or is_insert or "WHERE tenant_id = %b AND" in text, name


def test_every_list_and_count_begins_with_the_tenant() -> None:
    """The filters that a query makes begin with the tenant's, whatever else is asked."""
    tenant = uuid4()
    for query in (backuplog.RunQuery(), backuplog.RunQuery(agent_id=uuid4(), status="failed", task_type="x")):
        where, parameters = store._where(tenant, query, None)
        assert where.startswith("tenant_id = %b")
        assert parameters[0] == tenant
        assert " OR " not in where


def test_sql_is_written_where_it_can_be_seen() -> None:
    """SQL stands in the store's constants, the migrations and a few statements that touch no tenant's rows."""
    assert not re.search(r"\b(INSERT|UPDATE|DELETE|FROM backup|FROM agents)\b", inspect.getsource(connection))
    touched = re.findall(r"\{schema\}\.(\w+)", inspect.getsource(migrate))
    assert set(touched) <= {"migrations"}
