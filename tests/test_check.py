"""Seeing that every log can be read: how it goes on, how much of it is told, what it costs."""

import sqlite3
import tracemalloc
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import CheckReport, RunQuery
from backuplog.backend import FindsOrphans
from backuplog.testing.checks import forsake
from backuplog.testing.common import NOON, reading
from backuplog_postgres.backend import PostgresBackend
from backuplog_sqlite.backend import SqliteBackend

Payload = Callable[..., dict[str, Any]]


def test_it_stops_and_goes_on(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Out of time it stops after a log, says where, and goes on there; orphans are looked for at the end only."""
    for _ in range(3):
        backuplog.ingest_task_result(store, agent_id, payload(log="log"))
    reports = [backuplog.check_logs(store, max_seconds=0)]
    while reports[-1].next_cursor is not None:
        query = RunQuery(cursor=reports[-1].next_cursor)
        reports.append(backuplog.check_logs(store, query, max_seconds=0))
    assert [(report.runs, report.logs, report.orphaned_logs) for report in reports] == [(1, 1, None)] * 3 + [(0, 0, 0)]


def test_it_walks_through_all_pages(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """More runs than a page has are all read, and progress is told after each."""
    sent = [payload(log=f"{number}", startTime=(NOON + timedelta(seconds=number)).isoformat()) for number in range(250)]
    backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
    told: list[CheckReport] = []
    report = backuplog.check_logs(store, RunQuery(limit=1), on_progress=told.append)
    assert (report.runs, report.logs, report.orphaned_logs) == (250, 250, 0)
    assert [one.runs for one in told] == [*range(1, 251), 250]


def test_only_the_runs_of_a_query_are_read(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A query says whose logs to read, and nothing is said of orphans then."""
    for status in ("success", "failed", "failed"):
        backuplog.ingest_task_result(store, agent_id, payload(log="log", status=status))
    report = backuplog.check_logs(store, RunQuery(status="failed"))
    assert (report.runs, report.orphaned_logs) == (2, None)
    with pytest.raises(backuplog.AgentNotFound):
        backuplog.check_logs(store, RunQuery(agent_id=uuid4()))


@pytest.mark.parametrize("arguments", [{"max_seconds": -1.0}, {"query": "all"}, {"query": RunQuery(cursor="AAAA")}])
def test_malformed_arguments_are_refused(store: backuplog.Store, arguments: dict[str, Any]) -> None:
    """A negative time, what is no query and a cursor of nowhere are named."""
    with pytest.raises(backuplog.InvalidQuery, match=r"^(max_seconds|query|cursor): "):
        backuplog.check_logs(store, **arguments)


def test_a_report_names_no_more_than_a_thousand(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """All damaged logs and orphans are counted, and the first 1,000 of each are named."""
    sent = [payload(log="log") for _ in range(2_100)]
    backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
    for one in sent[:1_050]:
        forsake(store, UUID(one["taskId"]))
    report = backuplog.check_logs(reading(store, lambda *_: None))
    assert (report.logs, report.damaged_logs, len(report.damaged)) == (0, 1_050, 1_000)
    report = backuplog.check_logs(store)
    assert (report.orphaned_logs, len(report.orphaned)) == (1_050, 1_000)


def test_a_store_that_is_away_is_no_damage(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Where the store cannot be reached, the call says so and names no log."""
    backuplog.ingest_task_result(store, agent_id, payload(log="log"))

    def away(*_: object) -> None:
        raise backuplog.StoreUnavailable

    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.check_logs(attrs.evolve(reading(store, away), retry_timeout=0.0))


def test_one_chunk_is_in_memory_at_a_time(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A log of 32 MiB is read with less than 8 MiB of memory."""
    backuplog.ingest_task_result(store, agent_id, payload(log=b"a line of the log of a run\n" * 1_242_757))
    tracemalloc.start()
    report = backuplog.check_logs(store)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (report.logs, peak < 8 * 2**20) == (1, True)


def test_stored_logs_are_listed_from_the_key_alone() -> None:
    """On SQLite no row of a log is read for it, and no other log's key."""
    with sqlite3.connect(":memory:") as connection, backuplog.open_store("sqlite://", connection=connection):
        plan = connection.execute(f"EXPLAIN QUERY PLAN {SqliteBackend._NEXT_LOG}", (b"", b"", b"", 0)).fetchall()
    connection.close()
    searches = [detail for *_, detail in plan if "backup_run_logs" in detail]
    assert len(searches) == 1
    assert "USING COVERING INDEX" in searches[0]
    assert "(run_id,log_version)>(?,?)" in searches[0]
    assert not any("TEMP B-TREE" in detail or "SCAN backup" in detail for *_, detail in plan)


def test_our_backends_find_orphans() -> None:
    """Both backends have what ``check_logs`` asks for."""
    found: list[type[FindsOrphans]] = [SqliteBackend, PostgresBackend]
    assert all(hasattr(backend, "list_logs") for backend in found)
