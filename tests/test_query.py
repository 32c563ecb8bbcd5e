"""Reading history and logs, and what is said when a log is damaged."""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog.backend import FindsLogs
from backuplog.query import newest_run
from backuplog.testing.common import reading
from backuplog_postgres.backend import PostgresBackend
from backuplog_sqlite.backend import SqliteBackend

Payload = Callable[..., dict[str, Any]]
LOG = b"a" * 1_048_576 + b"b" * 1_048_576 + b"c" * 10


@pytest.fixture
def damaged(tmp_path: Path, payload: Payload) -> Iterator[tuple[backuplog.Store, str, Callable[[str], None]]]:
    """Give a store with a log of three chunks, and a way to damage it with SQL."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(f"sqlite:///{path}") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log=LOG)
        backuplog.ingest_task_result(store, agent_id, sent)

        def damage(statement: str) -> None:
            connection = sqlite3.connect(path, isolation_level=None)
            connection.execute(statement)
            connection.close()

        yield store, sent["taskId"], damage


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE backup_run_logs SET data = CAST(x'00' || substr(data, 2) AS BLOB) WHERE byte_offset = 1048576",
        "DELETE FROM backup_run_logs WHERE byte_offset = 0",
        "DELETE FROM backup_run_logs WHERE byte_offset = 1048576",
        "DELETE FROM backup_run_logs WHERE byte_offset = 2097152",
        "UPDATE backup_run_logs SET data = (SELECT data FROM backup_run_logs AS a WHERE a.byte_offset = 0)",
        "UPDATE backup_run_logs SET byte_offset = byte_offset + 1 WHERE byte_offset = 2097152",
        "UPDATE backup_runs SET log_sha256 = zeroblob(32)",
        "UPDATE backup_runs SET log_bytes = log_bytes + 1",
    ],
)
def test_damage_is_found(damaged: Any, statement: str) -> None:
    """A flipped byte, a missing, swapped or moved chunk, a wrong length or SHA-256: always an error."""
    store, task_id, damage = damaged
    assert backuplog.read_log(store, task_id) == LOG
    damage(statement)
    with pytest.raises(backuplog.CorruptLog):
        backuplog.read_log(store, task_id)


def test_a_range_touches_its_chunks_only(damaged: Any) -> None:
    """The end of a log is read though its beginning is gone."""
    store, task_id, damage = damaged
    damage("DELETE FROM backup_run_logs WHERE byte_offset = 0")
    assert backuplog.read_log(store, task_id, start=-12) == b"bb" + b"c" * 10
    with pytest.raises(backuplog.CorruptLog, match="has no chunk for its byte 1,000"):
        backuplog.read_log(store, task_id, start=1000, stop=1001)


def test_a_log_is_given_piece_by_piece(damaged: Any) -> None:
    """An iterator gives pieces of at most a chunk, and looks the run up at the call."""
    store, task_id, _ = damaged
    assert [len(piece) for piece in backuplog.iter_log(store, task_id)] == [1_048_576, 1_048_576, 10]
    with pytest.raises(backuplog.RunNotFound):
        backuplog.iter_log(store, uuid4())
    with pytest.raises(backuplog.InvalidQuery, match="run_id: must be a UUID"):
        backuplog.iter_log(store, "x")


@pytest.mark.parametrize("index", ["5", 1.5, True, b"1"])
def test_a_range_is_of_whole_numbers(damaged: Any, index: Any) -> None:
    """What does not count bytes is refused by name, as a start and as a stop."""
    store, task_id, _ = damaged
    for name in ("start", "stop"):
        with pytest.raises(backuplog.InvalidQuery, match=f"{name}: must be a whole number"):
            backuplog.read_log(store, task_id, **{name: index})


def test_another_agents_log_does_not_exist(damaged: Any) -> None:
    """With an agent given, another's run is not found, whichever way it is asked for."""
    store, task_id, _ = damaged
    for ask in (backuplog.get_run, backuplog.read_log, backuplog.iter_log):
        with pytest.raises(backuplog.RunNotFound):
            ask(store, task_id, agent_id=uuid4())


def test_our_backends_find_a_run_and_a_chunk_at_once() -> None:
    """Both backends have what reading asks for."""
    found: list[type[FindsLogs]] = [SqliteBackend, PostgresBackend]
    assert all(hasattr(backend, "find_log") for backend in found)


def test_a_wrapper_that_finds_chunks_in_its_own_way_is_asked(damaged: Any) -> None:
    """What stands before a backend and passes on what it does not know gives the chunks that it finds."""
    store, task_id, damage = damaged
    stored = store.backend.find_run(UUID(task_id))
    kept = [store.backend.find_chunk(stored.run.id, stored.log_version, offset) for offset in (0, 1_048_576, 2_097_152)]
    damage("DELETE FROM backup_run_logs")
    wrapped = reading(store, lambda _run_id, _version, offset: kept[offset // 1_048_576])
    assert backuplog.read_log(wrapped, task_id) == LOG


@pytest.mark.parametrize("cursor", ["", "x", "é", "A" * 39, "A" * 40, "A" * 5000, "=" * 8, "AQ=="])
def test_a_foreign_cursor_is_refused(store: backuplog.Store, cursor: str) -> None:
    """Whatever is not a cursor is refused as one."""
    with pytest.raises(backuplog.InvalidQuery, match="cursor: "):
        backuplog.query_runs(store, backuplog.RunQuery(cursor=cursor))


def test_a_cursor_belongs_to_its_filters(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A cursor goes on with the same filters and any limit, and is refused with others."""
    backuplog.ingest_task_results(store, [(agent_id, payload()) for _ in range(3)])
    page = backuplog.query_runs(store, backuplog.RunQuery(limit=1))
    rest = backuplog.query_runs(store, backuplog.RunQuery(limit=1000, cursor=page.next_cursor))
    assert (len(rest.runs), rest.next_cursor, rest.total) == (2, None, 3)
    with pytest.raises(backuplog.InvalidQuery, match="other filters: begin again without it"):
        backuplog.query_runs(store, backuplog.RunQuery(status="failed", cursor=page.next_cursor))


def test_an_integrators_own_agents_are_asked(payload: Payload) -> None:
    """With ``agent_exists`` nobody registers agents, and unknown ones are refused all the same."""
    known = uuid4()
    with backuplog.open_store("sqlite://", agent_exists=lambda agent_id: agent_id == known) as store:
        assert backuplog.ingest_task_result(store, str(known), payload()).outcome == "created"
        assert backuplog.query_runs(store, backuplog.RunQuery(agent_id=known, status="failed")).runs == ()
        with pytest.raises(backuplog.AgentNotFound):
            backuplog.ingest_task_result(store, uuid4(), payload())
        with pytest.raises(backuplog.AgentNotFound):
            backuplog.query_runs(store, backuplog.RunQuery(agent_id=uuid4()))


@pytest.mark.parametrize("query", [{"limit": 10}, "failed", {}, 0])
def test_what_is_no_query_is_refused(store: backuplog.Store, query: Any) -> None:
    """A mapping or a word is not taken for a query that asks for everything."""
    with pytest.raises(backuplog.InvalidQuery, match="must be a RunQuery"):
        backuplog.query_runs(store, query)


def test_a_status_that_nobody_has_is_warned_of(
    store: backuplog.Store, agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    """A word that is unknown and stored nowhere is in the log; a known one, and one that agents use, is not."""
    backuplog.ingest_task_result(store, agent_id, payload(status="skipped"))
    for status in ("failed", "OK", "skipped", ["skipped", "running"]):
        backuplog.query_runs(store, backuplog.RunQuery(status=status, task_type="check"))
    assert [record.message for record in caplog.records] == []
    for _ in range(3):  # It is said once.
        backuplog.query_runs(store, backuplog.RunQuery(status=["failed", "suc\ncess"]))
    [record] = caplog.records
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(
        "A query asks for the status suc\\u000acess, which no run has: known are canc"
    )


@pytest.mark.parametrize(("ahead", "asked"), [(0, [1]), (1, [1, 100])])
def test_the_newest_run_is_found_without_a_walk(payload: Payload, ahead: int, asked: list[int]) -> None:
    """One run is read where clocks are right; where one was ahead, as many as it hides."""
    with backuplog.open_store("sqlite://") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        now = datetime(2026, 11, 24, tzinfo=UTC)
        starts = [now + timedelta(days=9)] * ahead + [now - timedelta(hours=hours) for hours in range(300)]
        results = [payload(startTime=start.isoformat()) for start in starts]
        backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=now)
        backend, limits = store.backend, list[int]()

        def list_runs(*given: Any, limit: int, **options: Any) -> Any:
            limits.append(limit)
            return backend.list_runs(*given, limit=limit, **options)

        watched: Any = SimpleNamespace(list_runs=list_runs)
        found = newest_run(attrs.evolve(store, backend=watched), backuplog.RunQuery(status="success"))
    assert found is not None
    assert (found.began_at, limits) == (now, asked)


def test_reports_on_the_newest_runs_ask_once(payload: Payload, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one question, however many policies there are; failures are counted where the last run is no success."""
    with backuplog.open_store("sqlite://") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        policies = [uuid4() for _ in range(20)]
        results = [
            payload(policyId=str(policy_id), status=status, startTime=start)
            for policy_id in policies
            for status, start in (("success", "2026-11-01T00:00:00Z"), ("failed", "2026-10-31T00:00:00Z"))
        ]
        late = payload(policyId=str(policies[0]), status="failed", startTime="2026-11-02T00:00:00Z")
        backuplog.ingest_task_results(store, [(agent_id, sent) for sent in [*results, late]])
        asked: list[str] = []
        for name in ("list_newest", "list_runs", "count_runs", "find_run", "summarize_runs"):
            method = getattr(store.backend, name)

            def ask(*given: Any, name: str = name, method: Callable[..., Any] = method, **options: Any) -> Any:
                asked.append(name)
                return method(*given, **options)

            monkeypatch.setattr(store.backend, name, ask)
        assert sum(entry.consecutive_failures for entry in backuplog.latest_runs(store)) == 1
        expected = [backuplog.Expectation(policy_id=policy_id, interval=timedelta(days=1)) for policy_id in policies]
        assert len(backuplog.find_overdue(store, expected, now=datetime(2090, 1, 1, tzinfo=UTC))) == 20
        assert len(backuplog.last_successes(store)) == 20
        assert asked == ["list_newest", "count_runs", "list_newest", "list_newest"]
