"""Batches whose runs others insert, lock or forbid meanwhile."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import psycopg
import pytest

import backuplog
from backuplog_postgres.backend import PostgresBackend

Payload = Callable[..., dict[str, Any]]


@pytest.mark.parametrize("count", [2, 20])
def test_a_batch_whose_snapshot_is_too_old_is_unavailable(
    store: backuplog.Store, url: str, payload: Payload, count: int
) -> None:
    """A batch in a transaction that cannot see one of its runs is told to begin again; one of a pool does so itself."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    results = [(agent_id, payload(log="late")) for _ in range(count)]
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        bound = store.bound_to(connection)
        backuplog.get_agent(bound, agent_id)
        backuplog.ingest_task_result(store, *results[-1])
        answers = backuplog.ingest_task_results(bound, results)
        assert {type(answer) for answer in answers} == {backuplog.StoreUnavailable}
        connection.rollback()
        outcomes = [getattr(answer, "outcome", answer) for answer in backuplog.ingest_task_results(bound, results)]
        assert outcomes == ["created"] * (count - 1) + ["replayed"]


def before_its_insert(monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """Do something once, in the first transaction of this thread that is about to insert runs which it saw absent."""
    insert: Any = PostgresBackend._insert
    thread = threading.current_thread()

    def after_work(*arguments: Any, **keywords: Any) -> Any:
        if threading.current_thread() is thread:
            monkeypatch.undo()
            work()
        return insert(*arguments, **keywords)

    monkeypatch.setattr(PostgresBackend, "_insert", after_work)


@pytest.mark.parametrize("level", ["read committed", "repeatable read", "serializable"])
@pytest.mark.parametrize("count", [2, 20])
def test_a_batch_that_is_overtaken_begins_again(
    url: str, payload: Payload, monkeypatch: pytest.MonkeyPatch, level: str, count: int
) -> None:
    """A run of a batch that another stores at the last moment is decided anew, at every level of isolation."""
    options = "options=" + quote(f"-c default_transaction_isolation={level.replace(' ', chr(92) + ' ')}")
    with backuplog.open_store(f"{url}{'&' if '?' in url else '?'}{options}") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        results = [(agent_id, payload(log="late")) for _ in range(count)]
        before_its_insert(monkeypatch, lambda: backuplog.ingest_task_result(store, *results[1]))
        outcomes = [getattr(answer, "outcome", answer) for answer in backuplog.ingest_task_results(store, results)]
        assert outcomes == ["created", "replayed"] + ["created"] * (count - 2)


def test_a_batch_that_is_overtaken_gives_its_locks_back(
    url: str, payload: Payload, monkeypatch: pytest.MonkeyPatch, wait_until_blocked: Callable[[int], None]
) -> None:
    """It locks a run that appeared before one that it had locked already; another that holds it is not deadlocked."""
    with backuplog.open_store(url, retry_timeout=0) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        first, last = (payload(taskId=str(UUID(int=number)), status="running") for number in (3, 5))
        backuplog.ingest_task_result(store, agent_id, last)
        with ThreadPoolExecutor(1) as pool:
            others: list[Future[Any]] = []

            def ingest(status: str) -> list[Any]:
                results = [(agent_id, {**result, "status": status}) for result in (first, last)]
                return [getattr(answer, "outcome", answer) for answer in backuplog.ingest_task_results(store, results)]

            def overtake() -> None:
                backuplog.ingest_task_result(store, agent_id, first)
                others.append(pool.submit(ingest, "success"))
                wait_until_blocked(1)

            before_its_insert(monkeypatch, overtake)
            assert ingest("failed") == ["updated", "updated"]
            assert others[0].result(10) == ["updated", "updated"]


def test_an_index_of_the_operators_refuses_what_it_does_not_allow(url: str, payload: Payload) -> None:
    """A batch that violates a unique index of somebody else's ends, and what does not violate it is stored."""
    with backuplog.open_store(url, retry_timeout=0, observers=()) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        with psycopg.connect(url) as connection:
            connection.execute("CREATE UNIQUE INDEX mine ON backuplog.backup_runs (tenant_id, snapshot_id)")
        backuplog.ingest_task_result(store, agent_id, payload(snapshotId="taken"))
        for count in (1, 20):
            sent = [payload(snapshotId="taken"), *(payload() for _ in range(count))]
            refused, *stored = backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
            assert "23505" in str(refused)
            assert [getattr(answer, "outcome", answer) for answer in stored] == ["created"] * count


def test_a_policy_that_is_added_meanwhile_splits_no_batch(
    ordinary_url: str, url: str, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where an operator turns on row security under an open store, a batch is one transaction as before."""
    with backuplog.open_store(ordinary_url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        with psycopg.connect(url) as connection:
            connection.execute("ALTER TABLE backuplog.backup_runs ENABLE ROW LEVEL SECURITY")
            connection.execute("ALTER TABLE backuplog.backup_runs FORCE ROW LEVEL SECURITY")
            connection.execute("CREATE POLICY everything ON backuplog.backup_runs USING (true)")
        sizes: list[int] = []
        submit: Any = PostgresBackend.submit

        def count(backend: PostgresBackend, changes: Sequence[Any], **keywords: Any) -> Any:
            sizes.append(len(changes))
            return submit(backend, changes, **keywords)

        monkeypatch.setattr(PostgresBackend, "submit", count)
        answers = backuplog.ingest_task_results(store, [(agent_id, payload()) for _ in range(50)])
        assert [getattr(answer, "outcome", answer) for answer in answers] == ["created"] * 50
        assert sizes == [50]


def test_a_run_that_is_held_holds_no_other_threads_up(
    url: str, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A result goes on alone where it shares a transaction with one of a run that another transaction has inserted."""
    monkeypatch.setattr(PostgresBackend, "_LIMIT_WAITING", "SET LOCAL lock_timeout = '50ms'")
    with backuplog.open_store(url, retry_timeout=0, max_size=4) as store, ThreadPoolExecutor(2) as pool:
        agent_id = backuplog.register_agent(store, uuid4()).id
        held, other = (payload(taskId=str(UUID(int=number))) for number in (5, 3))
        with psycopg.connect(url) as connection:
            backuplog.ingest_task_result(store.bound_to(connection), agent_id, held)
            store._group._inside.update(range(4))
            store._group._leading.acquire()
            store._group._led_since = time.monotonic()
            answers = [pool.submit(backuplog.ingest_task_result, store, agent_id, result) for result in (held, other)]
            while len(store._group._waiting) < 2:
                time.sleep(0.001)
            store._group._leading.release()
            store._group._wake_first()
            assert answers[1].result(10).outcome == "created"
            assert not answers[0].done()
        assert answers[0].result(10).outcome == "replayed"
