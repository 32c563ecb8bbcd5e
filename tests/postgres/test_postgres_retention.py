"""Pruning on PostgreSQL: what others hold is left to the next time."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg

import backuplog

Payload = Callable[..., dict[str, Any]]
NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_a_prune_does_not_wait_for_who_holds_a_run(store: backuplog.Store, url: str, payload: Payload) -> None:
    """A run that another transaction is changing stays, and nobody waits for the other; the next prune removes it."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    results = [payload(status="failed", log="log") for _ in range(5)]
    backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=NOW - timedelta(days=9))
    policy = backuplog.RetentionPolicy(runs=timedelta(days=1))
    with psycopg.connect(url) as connection:
        later = {**results[0], "status": "cancelled"}
        receipt = backuplog.ingest_task_result(
            store.bound_to(connection), agent_id, later, received_at=NOW - timedelta(days=8)
        )
        assert receipt.outcome == "updated"
        report = backuplog.prune(store, policy, now=NOW)
        assert (report.runs_removed, report.kept, report.is_finished) == (4, {"busy": 1}, False)
        connection.commit()
    assert [str(run.id) for run in backuplog.query_runs(store).runs] == [results[0]["taskId"]]
    report = backuplog.prune(store, policy, now=NOW)
    assert (report.runs_removed, report.is_finished) == (1, True)


def test_giving_up_tasks_does_not_wait_for_who_is_heard_of(store: backuplog.Store, url: str, payload: Payload) -> None:
    """A task whose result is just coming is not given up, and nobody waits for it."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    results = [payload(status="running") for _ in range(3)]
    backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=NOW - timedelta(days=9))
    with psycopg.connect(url) as connection:
        backuplog.ingest_task_result(store.bound_to(connection), agent_id, {**results[0], "status": "success"})
        lost = backuplog.reap_stale(store, after=timedelta(days=1), now=NOW)
        assert sorted(str(run.id) for run in lost) == sorted(sent["taskId"] for sent in results[1:])
        connection.commit()
    assert backuplog.get_run(store, results[0]["taskId"]).status == "success"
