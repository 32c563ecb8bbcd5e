"""Connections of every kind: own and shared pools, the caller's, with any settings."""

import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import _GeneratorContextManager, closing
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool, NullConnectionPool

import backuplog
from backuplog_postgres.backend import PostgresBackend
from backuplog_postgres.connection import Cursor

Payload = Callable[..., dict[str, Any]]


def use(store: backuplog.Store, payload: Payload) -> None:
    """Do a little of everything."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    sent = payload(log=b"a" * 2_500_000, startTime="2026-11-24T02:00:00.000001+05:00")
    assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "created"
    assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
    assert backuplog.ingest_task_result(store, agent_id, {**sent, "log": "b"}).outcome == "updated"
    batch = [payload(log="c") for _ in range(3)]
    answers = backuplog.ingest_task_results(store, [(agent_id, one) for one in (*batch, batch[0], sent)])
    outcomes = [answer.outcome for answer in answers if isinstance(answer, backuplog.Receipt)]
    assert outcomes == ["created", "created", "created", "replayed", "stale"]
    page = backuplog.query_runs(store, backuplog.RunQuery(agent_id=agent_id, status=("success", "failed")))
    assert page.total == len(page.runs) == 4
    run = backuplog.get_run(store, sent["taskId"])
    assert run.start_time == datetime(2026, 11, 23, 21, 0, 0, 1, tzinfo=UTC)
    assert run.start_time.utcoffset() == timedelta(0)
    assert backuplog.read_log(store, sent["taskId"]) == b"b"


@pytest.mark.parametrize("kind", [ConnectionPool, NullConnectionPool])
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"autocommit": True},
        {"row_factory": dict_row},
        {"prepare_threshold": None},
        {"options": "-c TimeZone=America/St_Johns -c DateStyle=SQL,DMY -c IntervalStyle=sql_standard"},
        {"options": "-c default_transaction_isolation=serializable"},
    ],
    ids=lambda settings: "-".join(settings) or "plain",
)
def test_an_integrators_pool_serves(url: str, payload: Payload, kind: Any, settings: dict[str, Any]) -> None:
    """A pool of the caller's own serves whatever its settings are, gets them back, and stays open."""
    size = {"max_size": 3} if kind is NullConnectionPool else {"min_size": 1, "max_size": 3}
    with kind(url, kwargs=settings, open=True, **size) as pool:
        with backuplog.open_store("postgresql://", pool=pool) as store:
            use(store, payload)
        with pool.connection() as connection:
            assert connection.autocommit == settings.get("autocommit", False)
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_closed_pool_says_so(url: str) -> None:
    """A store on a pool that its owner closed says so."""
    pool = ConnectionPool(url, min_size=1, open=True)
    store = backuplog.open_store("postgresql://", pool=pool)
    pool.close()
    with pytest.raises(backuplog.StoreError, match="the pool of the store is closed"):
        backuplog.query_runs(store)


@pytest.mark.parametrize("zone", ["UTC", "America/St_Johns", "Pacific/Kiritimati"])
@pytest.mark.parametrize("year", [2, 9999])
def test_any_time_is_read_in_any_time_zone(url: str, payload: Payload, zone: str, year: int) -> None:
    """Times near the ends of the calendar come back in UTC, to the microsecond, whatever the session's zone is."""
    start = datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    with ConnectionPool(url, kwargs={"options": f"-c TimeZone={zone}"}, min_size=1, open=True) as pool:
        store = backuplog.open_store("postgresql://", pool=pool)
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(startTime=start.isoformat(), endTime=start.isoformat())
        backuplog.ingest_task_result(store, agent_id, sent)
        run = backuplog.query_runs(store, backuplog.RunQuery(since=start, agent_id=agent_id)).runs[0]
        assert (run.start_time, run.end_time, run.start_time.tzinfo) == (start, start, UTC)


@pytest.mark.parametrize("rls", [True, False])
@pytest.mark.parametrize("prepare", [True, False])
def test_prepared_statements_can_be_turned_off(url: str, payload: Payload, *, prepare: bool, rls: bool) -> None:
    """With ``prepare=False`` no statement is prepared, as some proxies need it; else those of the hot path are."""
    with ConnectionPool(url, min_size=1, max_size=1, open=True) as pool:
        for _ in range(7):
            with backuplog.open_store("postgresql://", pool=pool, prepare=prepare, rls=rls) as store:
                use(store, payload)
        with pool.connection() as connection:
            for _ in range(7):
                use(store.bound_to(connection), payload)
            row = connection.execute("SELECT count(*) FROM pg_prepared_statements", prepare=False).fetchone()
        assert row is not None
        assert (row[0] > 0) == prepare


def test_a_hot_statement_is_prepared_once(url: str, payload: Payload) -> None:
    """Results of all sizes, with and without what is optional, share few prepared statements."""
    with (
        ConnectionPool(url, min_size=1, max_size=1, open=True) as pool,
        backuplog.open_store("postgresql://", pool=pool) as store,
    ):
        agent_id = backuplog.register_agent(store, uuid4()).id
        for size in (1, 200, 40_000, 1_000_000):
            backuplog.ingest_task_result(store, agent_id, payload(log="x" * size))
        with pool.connection() as connection:
            row = connection.execute(
                "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%INSERT INTO%backup_run_logs%'"
            ).fetchone()
        assert row == (1,)


def test_no_session_state_is_left(url: str, payload: Payload) -> None:
    """A session's settings and temporary tables are after the work what they were before, as a proxy needs it."""
    settings = "SELECT name, setting FROM pg_settings WHERE source = 'session' ORDER BY name"
    with (
        ConnectionPool(url, min_size=1, max_size=1, open=True) as pool,
        backuplog.open_store("postgresql://", pool=pool, rls=True) as store,
    ):
        with pool.connection() as connection:
            before = connection.execute(settings).fetchall()
        use(store, payload)
        with pool.connection() as connection:
            assert connection.execute(settings).fetchall() == before
            row = connection.execute(
                "SELECT count(*) FROM pg_class WHERE relpersistence = 't'"
                " UNION ALL SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
            ).fetchall()
            assert row == [(0,), (0,)]


def test_the_search_path_is_not_relied_on(url: str, payload: Payload) -> None:
    """Tables of the same names elsewhere in the search path are not taken for ours."""
    with psycopg.connect(url) as connection:
        connection.execute("CREATE SCHEMA trap; CREATE TABLE trap.backup_runs (); CREATE TABLE trap.agents ()")
    try:
        with ConnectionPool(url, kwargs={"options": "-c search_path=trap"}, min_size=1, open=True) as pool:
            use(backuplog.open_store("postgresql://", pool=pool), payload)
    finally:
        with psycopg.connect(url) as connection:
            connection.execute("DROP SCHEMA trap CASCADE")


def test_a_statement_may_take_so_long(url: str) -> None:
    """``statement_timeout`` is set beside what the URL sets itself."""
    given = f"{url}&options=-c%20work_mem%3D8MB"
    with backuplog.open_store(given, statement_timeout=1.5) as store:
        connections = vars(store.backend)["_connections"]
        with connections.statement(store.tenant_id) as cursor:
            shown = cursor.execute(
                "SELECT current_setting('statement_timeout'), current_setting('work_mem')"
            ).fetchone()
    assert shown == ("1500ms", "8MB")


class _Nonsense(Loader):
    """What a caller may have registered for a type of ours."""

    def load(self, data: Any) -> str:
        """Give something else."""
        return f"nonsense {len(data)}"


def test_the_callers_connection_keeps_its_ways(store: backuplog.Store, url: str, payload: Payload) -> None:
    """Row factory, adapters and time zone of the caller's connection are neither used nor changed."""
    agent_id = backuplog.register_agent(store, uuid4(), hostname="db-01").id
    with closing(psycopg.connect(url, row_factory=dict_row)) as connection:
        for name in ("uuid", "timestamptz", "text", "bytea"):
            connection.adapters.register_loader(name, _Nonsense)
        connection.execute("SET TIME ZONE 'America/St_Johns'")
        bound = store.bound_to(connection)
        assert backuplog.get_agent(bound, agent_id) == backuplog.get_agent(store, agent_id)
        sent = payload(log="log")
        backuplog.ingest_task_result(bound, agent_id, sent)
        run = backuplog.get_run(bound, sent["taskId"])
        assert connection.execute("SELECT 1 AS one, 'x' AS two").fetchone() == {"one": 1, "two": "nonsense 1"}
        connection.commit()
    assert backuplog.get_run(store, sent["taskId"]) == run


def test_a_host_that_is_gone_is_found(url: str) -> None:
    """TCP itself asks whether the other side lives, as often as the URL says, or as we say."""
    for given, seconds in (("", "15"), ("&keepalives_idle=7", "7")):
        with backuplog.open_store(f"{url}{given}") as store:
            connections = vars(store.backend)["_connections"]
            with connections.connection() as connection:
                parameters = connection.info.get_parameters()
            assert (parameters["keepalives_idle"], parameters["tcp_user_timeout"]) == (seconds, "30000")


def interrupt(connection: psycopg.Connection[Any]) -> None:
    """Raise as a signal's handler does in the middle of a statement."""
    connection.pgconn.send_query(b"SELECT pg_sleep(60)")
    raise KeyboardInterrupt


def test_a_pool_that_takes_back_what_is_closed_serves(url: str) -> None:
    """A pool with ``close_returns`` gets each connection back once, and an interruption passes as it is."""
    with ConnectionPool(url, min_size=1, max_size=1, open=True, close_returns=True) as pool:
        store = backuplog.open_store("postgresql://", pool=pool)
        connections = vars(store.backend)["_connections"]
        with pytest.raises(KeyboardInterrupt), connections.transaction(store.tenant_id) as cursor:
            interrupt(cursor.connection)
        assert backuplog.query_runs(store).total == 0


def test_an_interruption_of_a_bound_view_passes_as_it_is(store: backuplog.Store, url: str) -> None:
    """A signal's handler that raises in the middle of a statement is not hidden by an attempt to undo it."""
    with closing(psycopg.connect(url)) as connection:
        connections = vars(store.bound_to(connection).backend)["_connections"]
        with pytest.raises(KeyboardInterrupt), connections.transaction(store.tenant_id):
            interrupt(connection)


def test_an_interruption_when_all_is_written_passes_as_it_is(
    store: backuplog.Store, url: str, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal's handler may raise when a verb's savepoint is released: no error of the store takes its place."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    execute: Any = Cursor.execute

    def execute_and_end(cursor: Cursor, statement: Any, *arguments: Any, **options: Any) -> Any:
        execute(cursor, statement, *arguments, **options)
        if statement == "RELEASE SAVEPOINT backuplog":
            raise KeyboardInterrupt
        return cursor

    with psycopg.connect(url) as connection:
        monkeypatch.setattr(Cursor, "execute", execute_and_end)
        with pytest.raises(KeyboardInterrupt):
            backuplog.ingest_task_result(store.bound_to(connection), agent_id, payload())
        connection.rollback()
    monkeypatch.undo()
    assert backuplog.query_runs(store, backuplog.RunQuery()).total == 0


def test_an_interruption_when_rows_are_copied_passes_as_it_is(store: backuplog.Store, payload: Payload) -> None:
    """A signal's handler may raise when COPY is about to be told of its end: the connection is free all the same."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    results = [(agent_id, payload()) for _ in range(20)]

    def interrupt_at_the_end(frame: FrameType, event: str, _: object) -> None:
        context = frame.f_locals.get("self")
        ends = (event, frame.f_code.co_name) == ("call", "__exit__") and isinstance(context, _GeneratorContextManager)
        if ends and context.gen.__name__ == "copy":
            raise KeyboardInterrupt

    sys.setprofile(interrupt_at_the_end)
    try:
        with pytest.raises(KeyboardInterrupt):
            backuplog.ingest_task_results(store, results)
    finally:
        sys.setprofile(None)
    answers = backuplog.ingest_task_results(store, results)
    assert [getattr(answer, "outcome", answer) for answer in answers] == ["created"] * 20


def test_what_the_process_has_registered_is_not_used(url: str) -> None:
    """Loaders and dumpers that somebody registered for all connections change nothing."""
    script = """
import sys, uuid
import psycopg
from psycopg.adapt import Dumper, Loader

class Load(Loader):
    format = psycopg.pq.Format.BINARY
    def load(self, data):
        return "nonsense"

class Dump(Dumper):
    format = psycopg.pq.Format.BINARY
    def dump(self, value):
        return b"nonsense"

for name in ("uuid", "text", "timestamptz", "float8", "int8", "bytea", "bool", "jsonb"):
    psycopg.adapters.register_loader(name, Load)
for kind in (uuid.UUID, str, bytes, bool, float):
    psycopg.adapters.register_dumper(kind, Dump)
import backuplog
with backuplog.open_store(sys.argv[1]) as store:
    agent = backuplog.register_agent(store, uuid.uuid4(), hostname="db-01")
    sent = {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1.5, "log": "log", "stats": {"filesNew": 1, "tool": "restic"}}
    backuplog.ingest_task_result(store, agent.id, sent)
    assert backuplog.get_agent(store, agent.id) == agent
    assert backuplog.get_run(store, sent["taskId"]).duration_seconds == 1.5
    assert backuplog.read_log(store, sent["taskId"]) == b"log"
"""
    done = subprocess.run([sys.executable, "-c", script, url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII", "EUC_JP"])
def test_text_of_another_encoding_is_refused(store: backuplog.Store, url: str, encoding: str) -> None:
    """A connection that would damage text is refused, the caller's and the pool's."""
    message = f"client_encoding is {encoding}: set it to UTF8"
    with psycopg.connect(url) as connection:
        connection.execute(f"SET client_encoding TO {encoding}".encode())
        bound = store.bound_to(connection)
        with pytest.raises(backuplog.StoreError, match=message):
            backuplog.register_agent(bound, uuid4(), hostname="büro")
        connection.rollback()
        assert backuplog.register_agent(bound, uuid4(), hostname="büro").hostname == "büro"
    with (
        ConnectionPool(url, kwargs={"client_encoding": encoding}, min_size=1, open=True) as pool,
        pytest.raises(backuplog.StoreError, match=message),
    ):
        backuplog.open_store("postgresql://", pool=pool)
    with backuplog.open_store(f"{url}&client_encoding={encoding}") as own:
        assert backuplog.register_agent(own, uuid4(), hostname="büro").hostname == "büro"


def test_a_pipeline_is_refused(store: backuplog.Store, url: str) -> None:
    """In a pipeline what became of a statement is known later: nothing is sent there."""
    with psycopg.connect(url) as connection:
        bound = store.bound_to(connection)
        with (
            connection.pipeline(),
            pytest.raises(backuplog.StoreError, match=r"use the store outside connection\.pipeline\(\)"),
        ):
            backuplog.register_agent(bound, uuid4())
        assert backuplog.query_runs(bound).total == 0


def test_an_autocommit_connection_needs_a_transaction(store: backuplog.Store, url: str, payload: Payload) -> None:
    """Without an open transaction a connection in autocommit mode is refused; with one it serves."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        bound = store.bound_to(connection)
        with pytest.raises(backuplog.StoreError, match="no open transaction"):
            backuplog.ingest_task_result(bound, agent_id, payload())
        with connection.transaction(force_rollback=True):
            assert backuplog.ingest_task_result(bound, agent_id, payload()).outcome == "created"
        assert backuplog.query_runs(store).total == 0
        with connection.transaction(), connection.transaction():  # also in a savepoint of the caller's
            backuplog.ingest_task_result(bound, agent_id, payload())
        assert backuplog.query_runs(store).total == 1


def test_a_failed_or_closed_transaction_of_the_callers_says_so(store: backuplog.Store, url: str) -> None:
    """What the caller has to do first is said, and nothing is hidden by doing it."""
    connection = psycopg.connect(url)
    bound = store.bound_to(connection)
    with pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT FROM no_such_table")
    with pytest.raises(backuplog.StoreError, match="roll it back and begin it again"):
        backuplog.query_runs(bound)
    connection.rollback()
    assert backuplog.query_runs(bound).total == 0
    connection.close()
    with pytest.raises(backuplog.StoreError, match="connection is closed"):
        backuplog.query_runs(bound)


def test_a_failed_read_leaves_the_callers_transaction(store: backuplog.Store, url: str, payload: Payload) -> None:
    """A read that is cut short undoes itself only: what the caller did before is committed."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    with psycopg.connect(url) as connection, psycopg.connect(url) as other:
        bound = store.bound_to(connection)
        backuplog.ingest_task_result(bound, agent_id, payload())
        connection.execute("SET LOCAL lock_timeout = '50ms'")
        other.execute("LOCK TABLE backuplog.backup_run_logs")
        with pytest.raises(backuplog.StoreUnavailable, match="lock"):
            bound.backend.find_chunk(agent_id, 1, 0)
        other.rollback()
        connection.commit()
    assert backuplog.query_runs(store).total == 1


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_snapshot_that_is_too_old_is_unavailable(
    store: backuplog.Store, url: str, payload: Payload, level: psycopg.IsolationLevel
) -> None:
    """In a transaction that cannot see what was committed since it began, nothing is decided from what it sees."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    old, new = payload(log="old"), payload(log="new")
    backuplog.ingest_task_result(store, agent_id, old)
    for sent in (old, new):
        with psycopg.connect(url) as connection:
            connection.isolation_level = level
            bound = store.bound_to(connection)
            backuplog.get_agent(bound, agent_id)
            backuplog.ingest_task_result(store, agent_id, {**sent, "log": "meanwhile"})
            with pytest.raises(backuplog.StoreUnavailable, match="gave way"):
                backuplog.ingest_task_result(bound, agent_id, {**sent, "log": "late"})
            connection.rollback()
            assert backuplog.ingest_task_result(bound, agent_id, {**sent, "log": "late"}).outcome == "updated"


def test_a_run_that_another_transaction_inserts_is_waited_for(
    store: backuplog.Store, url: str, payload: Payload, wait_until_blocked: Callable[[int], None]
) -> None:
    """A result whose run is inserted but not committed elsewhere is decided when that has ended, either way."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    for ends, outcome in (("commit", "updated"), ("rollback", "created")):
        sent = payload(log=b"a" * 3_000_000)
        answers: list[Any] = []
        with psycopg.connect(url) as connection:
            backuplog.ingest_task_result(store.bound_to(connection), agent_id, sent)

            def send(sent: dict[str, Any], into: list[Any]) -> None:
                into.append(backuplog.ingest_task_result(store, agent_id, {**sent, "log": b"b" * 2_000_000}))

            threads = [threading.Thread(target=send, args=(sent, answers)) for _ in range(2)]
            for thread in threads:
                thread.start()
            wait_until_blocked(2)
            assert answers == []
            getattr(connection, ends)()
            for thread in threads:
                thread.join()
        assert sorted(answer.outcome for answer in answers) == sorted([outcome, "replayed"])
        assert backuplog.read_log(store, sent["taskId"]) == b"b" * 2_000_000


def test_a_replay_waits_for_no_lock(url: str, payload: Payload) -> None:
    """A result that was stored before is answered while another has its run locked; its agent must exist."""
    with backuplog.open_store(url, statement_timeout=2.0, retry_timeout=0) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log="log")
        backuplog.ingest_task_result(store, agent_id, sent)
        with psycopg.connect(url) as connection:
            connection.execute("SELECT FROM backuplog.backup_runs WHERE id = %s FOR UPDATE", [sent["taskId"]])
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            assert backuplog.ingest_task_result(store, agent_id, {**sent, "status": "running"}).outcome == "stale"
        backuplog.remove_agent(store, agent_id)
        with pytest.raises(backuplog.AgentNotFound):
            backuplog.ingest_task_result(store, agent_id, sent)


def test_a_batch_waits_for_a_run_that_another_transaction_inserts(
    store: backuplog.Store, url: str, payload: Payload, wait_until_blocked: Callable[[int], None]
) -> None:
    """One run of a batch that is inserted but not committed elsewhere is decided when that has ended, either way."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    figures = {"filesNew": 3, "tool": "reśtic", "failedItems": ['"\\', "é"]}
    for ends, outcome in (("commit", "updated"), ("rollback", "created")):
        sent = [payload(log=f"log {number}", stats=figures) for number in range(20)]
        sent[3] |= {"status": "running", "progress": {"step": "/srv/ö", "percent": 1.5}}
        backuplog.ingest_task_result(store, agent_id, sent[5])
        answers: list[Any] = []
        with psycopg.connect(url) as connection:
            backuplog.ingest_task_result(store.bound_to(connection), agent_id, {**sent[7], "log": "another"})
            results = [(agent_id, result) for result in sent]
            thread = threading.Thread(target=lambda: answers.extend(backuplog.ingest_task_results(store, results)))  # noqa: B023 - it is joined here
            thread.start()
            wait_until_blocked(1)
            getattr(connection, ends)()
            thread.join()
        expected = ["created"] * 20
        expected[5], expected[7] = "replayed", outcome
        assert [answer.outcome for answer in answers] == expected
        assert [backuplog.read_log(store, result["taskId"]) for result in sent] == [b"log %d" % n for n in range(20)]
        runs = [backuplog.get_run(store, result["taskId"]) for result in sent]
        assert {run.stats for run in runs} == {backuplog.parse_task_result(sent[0]).stats}
        assert runs[3].progress == backuplog.parse_task_result(sent[3]).progress


def test_two_batches_in_opposite_order_do_not_deadlock(url: str, payload: Payload) -> None:
    """Batches of the same results in opposite order, first and replaced, all count; nobody gives way."""
    with backuplog.open_store(url, retry_timeout=0) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        for _ in range(10):
            sent = [payload(log="log") for _ in range(40)]
            answers: list[Any] = []

            def work(results: list[dict[str, Any]], text: str, into: list[Any]) -> None:
                changed = [(agent_id, {**result, "log": text}) for result in results]
                into.extend(backuplog.ingest_task_results(store, changed))

            threads = [
                threading.Thread(target=work, args=(sent[::step], f"{number}", answers))
                for number, step in enumerate((1, -1, 1, -1))
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert all(isinstance(answer, backuplog.Receipt) for answer in answers)
            assert sorted(answer.outcome for answer in answers) == ["created"] * 40 + ["updated"] * 120


def test_a_pool_without_a_limit_lets_every_thread_submit(url: str) -> None:
    """No transaction is shared where each thread may have a connection of its own."""
    with NullConnectionPool(url, open=True) as pool, backuplog.open_store("postgresql://", pool=pool) as store:
        assert cast("PostgresBackend", store.backend).writers is None
