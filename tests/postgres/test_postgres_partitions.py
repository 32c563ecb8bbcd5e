"""A table of logs that is partitioned by time: expired logs go with their partition, and no log that is needed does."""

import itertools
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import LogExpired, RetentionPolicy, Store
from backuplog_postgres import emptying
from backuplog_postgres.connection import Cursor
from backuplog_postgres.partitions import Partition, closed_stretch, find_partitions
from postgres_server import fresh_database

Payload = Callable[..., dict[str, Any]]
Connection = psycopg.Connection[Any]

SCALE = Path(__file__).parents[2] / "docs" / "scale.md"
NOW = datetime.now(UTC)
MONTHS = [NOW + timedelta(days=days) for days in (-150, -100, -50, -3, 30)]
"""The ends of four partitions: three are closed, in the last one things are stored now."""
CLOSED = {"backup_run_logs_before", "backup_run_logs_1", "backup_run_logs_2", "backup_run_logs_3"}
OPEN = {"backup_run_logs_now", "backup_run_logs_rest"}
EXAMPLES = 10  # 2,000 take five minutes
LOGS = RetentionPolicy(logs=timedelta(days=20))


class _Killed(Exception):
    """The process ends here, and its transaction with it."""


def partition(connection: Connection) -> None:
    """Partition the table of logs as the documentation says, with ends of the past, and with more partitions."""
    statements = re.findall(r"```sql\n(BEGIN;\nALTER TABLE .*?)```", SCALE.read_text(), re.DOTALL)[0]
    statements = statements.replace("2026-12-01", f"{MONTHS[0]}").replace("2027-01-01", f"{MONTHS[1]}")
    connection.execute(statements.replace("backup_run_logs_2026_12", "backup_run_logs_1"))
    for name, start, stop in zip(("2", "3", "now"), MONTHS[1:], MONTHS[2:], strict=False):
        connection.execute(
            f"CREATE TABLE backuplog.backup_run_logs_{name} PARTITION OF backuplog.backup_run_logs "
            f"FOR VALUES FROM ('{start}') TO ('{stop}')"
        )


@pytest.fixture(scope="module")
def database_url(database: str) -> str:
    """Give a database of this file's own: a session that another test has left would be waited for."""
    return database


@pytest.fixture
def connection(store: Store, url: str) -> Iterator[Connection]:
    """Give a connection to the store, whose table of logs is partitioned."""
    assert store.tenant_id
    with closing(psycopg.connect(url, autocommit=True)) as opened:
        partition(opened)
        yield opened


def ingest(
    store: Store, connection: Connection, agent_id: UUID, sent: Sequence[dict[str, Any]], *, days: float
) -> list[UUID]:
    """Deliver results as if that were so many days ago, their logs too."""
    moment = NOW - timedelta(days=days)
    results = [(agent_id, {**result, "startTime": moment.isoformat()}) for result in sent]
    answers = backuplog.ingest_task_results(store, results, received_at=moment)
    ids = [answer.run_id for answer in answers if isinstance(answer, backuplog.Receipt)]
    assert len(ids) == len(sent)
    connection.execute(
        "UPDATE backuplog.backup_run_logs SET stored_at = %s WHERE tenant_id = %s AND run_id = ANY (%s)",
        [moment, store.tenant_id, ids],
    )
    return ids


def fill(store: Store, connection: Connection, agent_id: UUID, payload: Payload, *, days: float) -> list[UUID]:
    """Deliver twenty results of one policy, of which the last is kept by every policy."""
    policy_id = str(uuid4())
    sent = [payload(policyId=policy_id, log=f"log {number}\n") for number in range(20)]
    first = ingest(store, connection, agent_id, sent[:-1], days=days)
    return first + ingest(store, connection, agent_id, sent[-1:], days=days - 0.1)


def prune(store: Store, policy: RetentionPolicy = LOGS) -> backuplog.PruneReport:
    """Prune without pauses."""
    return backuplog.prune(store, policy, now=NOW, pause=lambda _: None)


def names(connection: Connection) -> set[str]:
    """List the partitions."""
    found = connection.execute(
        "SELECT relname FROM pg_inherits JOIN pg_class ON oid = inhrelid "
        "WHERE inhparent = 'backuplog.backup_run_logs'::regclass"
    )
    return {name for (name,) in found}


def rows(connection: Connection, ids: Sequence[UUID]) -> list[tuple[str, UUID]]:
    """List the rows of some logs, each with its partition."""
    found = connection.execute(
        "SELECT relname, run_id FROM backuplog.backup_run_logs AS log JOIN pg_class ON pg_class.oid = log.tableoid "
        "WHERE run_id = ANY (%s)",
        [list(ids)],
    )
    return sorted(found.fetchall())


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a partition alone at once where others use it."""
    monkeypatch.setattr(emptying, "_LONGEST_TRY_SECONDS", -1.0)


def test_expired_logs_go_with_their_partition(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """What expires is dropped with its partition, what a policy keeps is moved to the newest and read as before."""
    assert names(connection) == CLOSED | OPEN
    *expired, kept = fill(store, connection, agent_id, payload, days=120)
    recent = fill(store, connection, agent_id, payload, days=2)
    report = prune(store)
    assert (report.logs_removed, report.kept, report.is_finished) == (19, {"last_success": 1}, True)
    assert report.bytes_given_back > 8_192
    assert names(connection) == OPEN
    assert rows(connection, [*expired, kept]) == [("backup_run_logs_now", kept)]
    assert backuplog.read_log(store, kept) == b"log 19\n"
    assert [backuplog.read_log(store, run_id) for run_id in recent] == [b"log %d\n" % number for number in range(20)]
    for run_id in expired:
        with pytest.raises(LogExpired):
            backuplog.read_log(store, run_id)
    assert prune(store).bytes_given_back == 0


def test_no_row_is_deleted_that_goes_with_its_partition(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """The rows of an expired log stay as they are until their partition goes; those in others go at once."""
    ids = fill(store, connection, agent_id, payload, days=120)
    late = ingest(store, connection, agent_id, [payload(status="failed", log="late")], days=40)
    connection.execute("UPDATE backuplog.backup_run_logs SET stored_at = now() WHERE run_id = ANY (%s)", [late])
    before = connection.execute("SELECT ctid, xmax FROM backuplog.backup_run_logs_1").fetchall()
    with patch.object(type(store.backend), "reclaim", return_value=0):
        assert prune(store).logs_removed == 20
    assert connection.execute("SELECT ctid, xmax FROM backuplog.backup_run_logs_1").fetchall() == before
    assert rows(connection, late) == []
    for run_id in ids[:-1]:
        with pytest.raises(LogExpired):
            backuplog.read_log(store, run_id)


def test_what_lies_in_a_gap_is_deleted(store: Store, connection: Connection, agent_id: UUID, payload: Payload) -> None:
    """Logs of a month without a partition lie in the default partition, which stays: they are deleted."""
    connection.execute("DROP TABLE backuplog.backup_run_logs_2")
    older, gap, newer = (fill(store, connection, agent_id, payload, days=days) for days in (120, 80, 20.5))
    with patch.object(type(store.backend), "reclaim", return_value=0):
        assert prune(store).logs_removed == 57
    assert len(rows(connection, older)) == 20
    assert rows(connection, gap) == [("backup_run_logs_rest", gap[-1])]
    assert rows(connection, newer) == [("backup_run_logs_3", newer[-1])]
    prune(store)
    assert names(connection) == OPEN | {"backup_run_logs_3"}  # The one log there is more than a tenth.


def test_another_tenants_logs_stay_where_they_are(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """A partition that holds one live log of another tenant stays, and goes when that tenant's policy lets it."""
    other = store.for_tenant(uuid4())
    backuplog.register_agent(other, agent_id)
    fill(store, connection, agent_id, payload, days=120)
    theirs = fill(other, connection, agent_id, payload, days=120)
    prune(store)
    assert "backup_run_logs_1" in names(connection)
    assert [backuplog.read_log(other, run_id) for run_id in theirs] == [b"log %d\n" % number for number in range(20)]
    assert rows(connection, theirs) == [("backup_run_logs_1", run_id) for run_id in sorted(theirs)]
    prune(other)
    assert names(connection) == OPEN
    assert backuplog.read_log(other, theirs[-1]) == b"log 19\n"


def test_a_partition_of_which_much_is_needed_is_left_alone(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """More than a tenth is needed: nothing is moved or dropped."""
    ids = ingest(store, connection, agent_id, [payload(log=f"{number}") for number in range(5)], days=120)
    ids += fill(store, connection, agent_id, payload, days=120)
    prune(store)
    assert [name for name, _ in rows(connection, ids)] == ["backup_run_logs_1"] * 25


def test_what_is_removed_on_request_is_deleted(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """Removing an agent, or a single log, deletes its rows, and also those that had expired before."""
    ids = fill(store, connection, agent_id, payload, days=120)
    single = ids.pop()
    with patch.object(type(store.backend), "reclaim", return_value=0):
        backuplog.expire_log(store, single)
        assert rows(connection, [single]) == []
        prune(store)
        assert len(rows(connection, ids)) == 19
        assert backuplog.remove_agent(store, agent_id, pause=lambda _: None).is_finished
    assert rows(connection, ids) == []


def test_a_run_that_comes_anew_has_its_own_log(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """What was left of an expired log is never part of a later one: of the same run, or of one with its id."""
    sent = [payload(status="failed", log="old " * 10) for _ in range(3)]
    ids = ingest(store, connection, agent_id, sent, days=120)
    with patch.object(type(store.backend), "reclaim", return_value=0):
        assert prune(store).logs_removed == 3
        assert len(rows(connection, ids)) == 3
        newer = [{**result, "log": "new", "endTime": NOW.isoformat()} for result in sent]
        assert backuplog.ingest_task_result(store, agent_id, newer[0]).outcome == "updated"
        prune(store, RetentionPolicy(runs=timedelta(days=20)))
        assert backuplog.ingest_task_result(store, agent_id, newer[1]).outcome == "created"
    assert [backuplog.read_log(store, run_id) for run_id in ids[:2]] == [b"new", b"new"]
    assert [name for name, _ in rows(connection, ids)] == ["backup_run_logs_now"] * 2


@pytest.mark.usefixtures("settled")
def test_a_reader_in_the_middle_of_a_log_reads_on(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """A log that is moved, in steps, while it is read is read to its end."""
    fill(store, connection, agent_id, payload, days=120)
    policy_id, log = str(uuid4()), b"".join(b"%d\n" % number for number in range(300_000))
    (kept,) = ingest(store, connection, agent_id, [payload(policyId=policy_id, log=log)], days=120)
    with patch.object(emptying, "_MOVED_BYTES", 1_000_000), patch.object(emptying, "_MOST_NEEDED", 1.0):
        pieces = backuplog.iter_log(store, kept)
        read = next(pieces)
        prune(store)
        assert names(connection) == OPEN
        assert read + b"".join(pieces) == backuplog.read_log(store, kept) == log


@pytest.mark.usefixtures("settled")
def test_a_transaction_that_sees_the_past_is_waited_for(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """A partition stays as long as a transaction may look for logs where they were when it began."""
    *expired, kept = fill(store, connection, agent_id, payload, days=120)
    with closing(psycopg.connect(url)) as old:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        bound = store.bound_to(old)
        assert backuplog.get_run(bound, kept).log_state == "complete"
        assert prune(store).is_finished
        assert "backup_run_logs_1" in names(connection)
        assert backuplog.read_log(bound, kept) == b"log 19\n"
        assert backuplog.read_log(bound, expired[0]) == b"log 0\n"
    prune(store)
    assert names(connection) == OPEN


def test_an_autovacuum_is_not_waited_for(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload, settled: None
) -> None:
    """A worker of autovacuum, which may take hours over another table, reads no logs and holds no partition back."""
    del settled
    worker = "SELECT FROM pg_stat_activity WHERE backend_type = 'autovacuum worker' AND query LIKE '%slow_table%'"
    connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
    connection.execute("SELECT pg_reload_conf()")
    try:
        connection.execute(
            "CREATE TABLE backuplog.slow_table WITH (autovacuum_vacuum_threshold = 0, "
            "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1) "
            "AS SELECT repeat('x', 200) AS filler FROM generate_series(1, 50000)"
        )
        connection.execute("DELETE FROM backuplog.slow_table")
        for _ in range(600):
            if connection.execute(worker).fetchone() is not None:
                break
            time.sleep(0.05)
        fill(store, connection, agent_id, payload, days=120)
        prune(store)
        assert connection.execute(worker).fetchone() is not None
        assert names(connection) == OPEN
    finally:
        connection.execute("DROP TABLE IF EXISTS backuplog.slow_table")
        connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
        connection.execute("SELECT pg_reload_conf()")


@pytest.mark.usefixtures("settled")
def test_who_uses_the_table_is_not_waited_for(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """While somebody else's transaction holds the table or a run's row, pruning ends without an error."""
    ids = fill(store, connection, agent_id, payload, days=120)
    with closing(psycopg.connect(url)) as other:
        other.execute("SELECT FROM backuplog.backup_run_logs LIMIT 1")
        assert prune(store).is_finished
        assert names(connection) == CLOSED | OPEN
        other.commit()
        other.execute("SELECT FROM backuplog.backup_runs WHERE id = %s FOR UPDATE", [ids[-1]])
        prune(store)
        assert rows(connection, ids[-1:]) == [("backup_run_logs_1", ids[-1])]
    prune(store)
    assert names(connection) == OPEN
    assert backuplog.read_log(store, ids[-1]) == b"log 19\n"


@pytest.mark.usefixtures("settled")
def test_a_partition_on_which_a_view_stands_stays(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """What else depends on a partition is not dropped with it, and pruning ends without an error."""
    ids = fill(store, connection, agent_id, payload, days=120)
    connection.execute("CREATE VIEW backuplog.theirs AS SELECT * FROM backuplog.backup_run_logs_1")
    assert prune(store).is_finished
    assert names(connection) == OPEN | {"backup_run_logs_1"}
    assert backuplog.read_log(store, ids[-1]) == b"log 19\n"


def test_nothing_comes_into_a_partition_that_is_walked_over(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """Once rows are known not to be needed, no other can come; a constraint that was removed begins the walk anew."""
    fill(store, connection, agent_id, payload, days=120)
    live = ingest(store, connection, agent_id, [payload(log="late")], days=1)
    steps = vars(store.backend)["_emptying"]
    connections = vars(store.backend)["_connections"]
    with patch.object(type(store.backend), "reclaim", return_value=0):
        prune(store)
    into_the_past = f"UPDATE backuplog.backup_run_logs SET stored_at = '{NOW - timedelta(days=120)}' WHERE run_id = %s"
    while not any(walk.seen_all_at for walk in steps._walks.values() if walk.seen):
        steps.step(connections, store.tenant_id)
    with pytest.raises(psycopg.errors.CheckViolation):
        connection.execute(into_the_past, live)
    connection.execute("ALTER TABLE backuplog.backup_run_logs_1 DROP CONSTRAINT backuplog_closed")
    connection.execute(into_the_past, live)
    with patch.object(emptying, "_MOST_NEEDED", 1.0):
        while steps.step(connections, store.tenant_id) != 0:
            pass
    assert names(connection) == OPEN
    assert backuplog.read_log(store, live[0]) == b"late"


def lose_connection(cursor: psycopg.Cursor[Any], connection: Connection) -> None:
    """Let the server end the session of a cursor, which notices at its COMMIT."""
    connection.execute("SELECT pg_terminate_backend(%s, 5000)", [cursor.connection.info.backend_pid])


def interrupt(*_: object) -> None:
    """Press Ctrl-C."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("end", [lose_connection, interrupt])
def test_what_is_not_committed_is_not_remembered(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload, end: Callable[..., None]
) -> None:
    """A step that moved a log and was not committed is taken again, and the log is never dropped."""
    *_, kept = fill(store, connection, agent_id, payload, days=120)
    walk, ended = emptying.Emptying._walk, list[bool]()

    def walk_and_end(self: Any, cursor: Any, partition: Any, known: Any, *given: Any) -> bool:
        goes_on = walk(self, cursor, partition, known, *given)
        if known.moved and not ended:
            ended.append(True)
            end(cursor, connection)
        return goes_on

    with patch.object(emptying.Emptying, "_walk", walk_and_end), suppress(KeyboardInterrupt):
        prune(store)
    assert ended
    prune(store)
    assert names(connection) == OPEN
    assert backuplog.read_log(store, kept) == b"log 19\n"


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("is_committed", [True, False])
def test_a_thread_does_not_go_on_from_what_another_has_not_committed(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload, *, is_committed: bool
) -> None:
    """While one thread has moved a log and not committed, no other takes it for moved, whatever becomes of it."""
    *_, kept = fill(store, connection, agent_id, payload, days=120)
    other = store.for_tenant(uuid4())
    walk, moved, go_on = emptying.Emptying._walk, threading.Event(), threading.Event()

    def walk_and_wait(self: Any, cursor: Any, partition: Any, known: Any, *given: Any) -> bool:
        goes_on = walk(self, cursor, partition, known, *given)
        if known.moved and threading.current_thread() is not threading.main_thread() and not moved.is_set():
            moved.set()
            go_on.wait(20)
            if not is_committed:
                raise _Killed
        return goes_on

    with ThreadPoolExecutor(1) as threads, patch.object(emptying.Emptying, "_walk", walk_and_wait):
        pruning = threads.submit(prune, store)
        assert moved.wait(20)
        prune(other)
        with closing(psycopg.connect(url)) as old:
            old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            bound = store.bound_to(old)
            assert backuplog.get_run(bound, kept).log_state == "complete"
            go_on.set()
            assert isinstance(pruning.exception(), type(None) if is_committed else _Killed)
            prune(store)
            assert backuplog.read_log(bound, kept) == b"log 19\n"
    prune(store)
    assert names(connection) == OPEN
    assert backuplog.read_log(store, kept) == b"log 19\n"


def test_what_is_remembered_is_on_the_disk(url: str, payload: Payload) -> None:
    """A step that only reads flushes what it has seen, also where commits are not: no crash can undo that."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(f'ALTER DATABASE "{connection.info.dbname}" SET synchronous_commit = off')
        try:
            with backuplog.open_store(url) as store:
                agent_id = backuplog.register_agent(store, uuid4()).id
                partition(connection)
                fill(store, connection, agent_id, payload, days=120)
                steps, connections = (vars(store.backend)[name] for name in ("_emptying", "_connections"))
                while not any(walk.seen_all_at for walk in steps._walks.values()):
                    connection.execute("SET synchronous_commit = off")
                    connection.execute("UPDATE backuplog.backup_runs SET log_version = log_version + 1")
                    (written,) = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone() or ()
                    steps.step(connections, store.tenant_id)
                    flushed = connection.execute("SELECT pg_current_wal_flush_lsn() >= %s::pg_lsn", [written])
                    assert flushed.fetchone() == (True,) or not steps._walks
        finally:
            connection.execute(f'ALTER DATABASE "{connection.info.dbname}" RESET ALL')


def test_what_is_known_of_a_database_is_not_known_of_its_backup(server_url: str, payload: Payload) -> None:
    """After an older copy of the database has come in its place, the walk begins anew, and no log is lost."""
    with fresh_database(server_url) as url, backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        steps, connections = (vars(store.backend)[name] for name in ("_emptying", "_connections"))
        with closing(psycopg.connect(url, autocommit=True)) as connection:
            partition(connection)
            *_, kept = fill(store, connection, agent_id, payload, days=120)
            with patch.object(type(store.backend), "reclaim", return_value=0):
                prune(store)
            for closed in CLOSED:
                connection.execute(
                    f"ALTER TABLE backuplog.{closed} ADD CONSTRAINT backuplog_closed CHECK (false) NOT VALID"
                )
            name = connection.info.dbname
        connections._pool.close()
        with closing(psycopg.connect(server_url, autocommit=True)) as server:
            server.execute(f'CREATE DATABASE "{name}_backup" TEMPLATE "{name}"')
            with backuplog.open_store(url) as again:
                while not any(walk.moved and walk.seen_all_at for walk in steps._walks.values()):
                    steps.step(vars(again.backend)["_connections"], again.tenant_id)
            server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            server.execute(f'ALTER DATABASE "{name}_backup" RENAME TO "{name}"')
        with backuplog.open_store(url) as restored:
            while steps.step(vars(restored.backend)["_connections"], restored.tenant_id) != 0:
                pass
            assert backuplog.read_log(restored, kept) == b"log 19\n"


def test_what_is_known_is_forgotten_when_the_server_begins_anew(store: Store, connection: Connection) -> None:
    """It is known by when the server began, because a standby or a restored server may not know what was done."""
    assert store.backend.reclaim() is None
    (began,) = connection.execute("SELECT (pg_postmaster_start_time() AT TIME ZONE 'UTC')::text").fetchone() or ()
    with connection.transaction():
        fences = [found.fence for found in find_partitions(Cursor(connection), "backuplog") if found.fence]
    assert [fence.startswith(began) for fence in fences] == [True]


@pytest.mark.parametrize("name", ["now", "rest"])
def test_a_constraint_does_not_keep_new_logs_out(
    store: Store, connection: Connection, agent_id: UUID, payload: Payload, name: str
) -> None:
    """An open partition that has a closed one's constraint, as LIKE ... INCLUDING ALL copies it, loses it."""
    if name == "rest":
        connection.execute("DROP TABLE backuplog.backup_run_logs_now")
    connection.execute(f"ALTER TABLE backuplog.backup_run_logs_{name} ADD CONSTRAINT backuplog_closed CHECK (false)")
    assert backuplog.ingest_task_result(store, agent_id, payload(log="before")).log_state == "lost"
    prune(store)
    assert backuplog.ingest_task_result(store, agent_id, payload(log="after")).log_state == "complete"
    connection.execute(f"ALTER TABLE backuplog.backup_run_logs_{name} ADD CONSTRAINT backuplog_closed CHECK (size > 0)")
    prune(store)
    with pytest.raises(psycopg.errors.DuplicateObject):
        connection.execute(
            f"ALTER TABLE backuplog.backup_run_logs_{name} ADD CONSTRAINT backuplog_closed CHECK (false)"
        )


def isolated(url: str) -> str:
    """Give a URL whose transactions see the past, unless they say otherwise."""
    return f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_isolation%3Drepeatable%5C%20read"


def test_what_others_have_committed_is_seen_before_a_partition_goes(
    url: str, agent_id: UUID, store: Store, connection: Connection, payload: Payload
) -> None:
    """A row that somebody puts in by hand, just before the partition is locked, stays: whatever the isolation level."""
    *_, kept = fill(store, connection, agent_id, payload, days=120)
    live = ingest(store, connection, agent_id, [payload(log="late")], days=1)
    execute, done = emptying.Emptying._execute, list[bool]()

    def meanwhile(self: Any, cursor: Any, statement: str, partition: Partition, *given: Any) -> Any:
        if statement == emptying._LOCK and partition.name.endswith("logs_1") and not done:
            done.append(True)
            connection.execute("ALTER TABLE backuplog.backup_run_logs_1 DROP CONSTRAINT backuplog_closed")
            moment = NOW - timedelta(days=120)
            connection.execute("UPDATE backuplog.backup_run_logs SET stored_at = %s WHERE run_id = %s", [moment, *live])
        return execute(self, cursor, statement, partition, *given)

    with patch.object(emptying.Emptying, "_execute", meanwhile), backuplog.open_store(isolated(url)) as opened:
        prune(opened)
    assert done
    assert [backuplog.read_log(store, run_id) for run_id in (kept, *live)] == [b"log 19\n", b"late"]


FORBIDDING = {
    "key": "CREATE TABLE backuplog.theirs AS SELECT tenant_id, run_id, log_version, byte_offset, stored_at "
    "FROM backuplog.backup_run_logs_1;"
    "ALTER TABLE backuplog.theirs ADD FOREIGN KEY (tenant_id, run_id, log_version, byte_offset, stored_at) "
    "REFERENCES backuplog.backup_run_logs",
    "trigger": "CREATE FUNCTION backuplog.theirs() RETURNS trigger LANGUAGE plpgsql "
    "AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;"
    "CREATE TRIGGER theirs BEFORE DELETE ON backuplog.backup_run_logs FOR EACH ROW EXECUTE FUNCTION backuplog.theirs()",
    "no partition": "DROP TABLE backuplog.backup_run_logs_now; DROP TABLE backuplog.backup_run_logs_rest",
}


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("forbidding", FORBIDDING.values(), ids=FORBIDDING)
def test_a_partition_that_the_users_schema_holds_stays(
    store: Store,
    connection: Connection,
    agent_id: UUID,
    payload: Payload,
    caplog: pytest.LogCaptureFixture,
    forbidding: str,
) -> None:
    """Where the user's own schema forbids to move a row or drop a partition, pruning ends, and says so once."""
    *_, kept = fill(store, connection, agent_id, payload, days=120)
    connection.execute(forbidding)
    report = prune(store)
    assert (report.logs_removed, report.is_finished) == (19, True)
    assert "backup_run_logs_1" in names(connection)
    assert backuplog.read_log(store, kept) == b"log 19\n"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len([warning for warning in warnings if "backup_run_logs_1" in warning]) == 1


def test_a_partition_may_have_any_name(store: Store, connection: Connection, agent_id: UUID, payload: Payload) -> None:
    """Percent signs, braces and quotes in a partition's name mean nothing."""
    name = '100% {schema} {partition} {} %b ""\''
    connection.execute(f'ALTER TABLE backuplog.backup_run_logs_1 RENAME TO "{name}"'.encode())
    *_, kept = fill(store, connection, agent_id, payload, days=120)
    prune(store)
    assert names(connection) == OPEN
    assert backuplog.read_log(store, kept) == b"log 19\n"


def test_a_prune_that_is_stopped_before_the_partitions_are_dropped_is_not_finished(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """Each process begins anew, and one whose time is never enough never says that it has finished."""
    fill(store, connection, agent_id, payload, days=120)
    finished = []
    for steps in (3, 3, 1_000_000):
        with backuplog.open_store(url) as nightly, patch.multiple(emptying, _ROWS=2, _MOST_NEEDED=1.0):
            pauses = itertools.count(1)
            report = backuplog.prune(nightly, LOGS, now=NOW, pause=lambda _: next(pauses) >= steps)  # noqa: B023
            finished.append(report.is_finished)
    assert finished == [False, False, True]
    assert names(connection) == OPEN


def test_row_level_security_hides_what_others_need(ordinary_url: str, url: str, payload: Payload) -> None:
    """Who cannot see other tenants' rows drops nothing, and deletes what expires as ever."""
    with backuplog.open_store(ordinary_url, rls=True) as store, closing(psycopg.connect(url, autocommit=True)) as every:
        partition(every)
        every.execute(
            "ALTER TABLE backuplog.backup_run_logs ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;"
            "CREATE POLICY tenant ON backuplog.backup_run_logs "
            "USING (tenant_id = (SELECT current_setting('backuplog.tenant_id')::uuid))"
        )
        owner = every.execute("SELECT relowner::regrole FROM pg_class WHERE relname = 'backup_runs'").fetchone()
        assert owner is not None
        for name in ("backup_run_logs", *CLOSED, *OPEN):
            every.execute(f"ALTER TABLE backuplog.{name} OWNER TO {owner[0]}")
        agent_id = backuplog.register_agent(store, uuid4()).id
        ids = fill(store, every, agent_id, payload, days=120)
        assert prune(store).logs_removed == 19
        assert rows(every, ids) == [("backup_run_logs_1", ids[-1])]
        assert names(every) == CLOSED | OPEN
        assert store.backend.reclaim() == 0
        with backuplog.open_store(isolated(ordinary_url), rls=True) as strict:
            assert strict.backend.reclaim() == 0
        with backuplog.open_store(url) as exempt:
            prune(exempt)
        assert "backup_run_logs_2" not in names(every)


def test_who_does_not_own_the_tables_drops_nothing(ordinary_url: str, url: str, payload: Payload) -> None:
    """A user who may read and write the tables only prunes as ever, and the owner's next prune drops what is empty."""
    with backuplog.open_store(url) as own, closing(psycopg.connect(url, autocommit=True)) as every:
        partition(every)
        agent_id = backuplog.register_agent(own, uuid4()).id
        ids = fill(own, every, agent_id, payload, days=120)
        every.execute("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA backuplog TO PUBLIC")
        with backuplog.open_store(ordinary_url, migrate=False) as store:
            assert prune(store).logs_removed == 19
            assert rows(every, ids) == [("backup_run_logs_1", ids[-1])]
            assert names(every) == CLOSED | OPEN
        prune(own)
        assert names(every) == OPEN | {"backup_run_logs_1"}
        assert backuplog.read_log(own, ids[-1]) == b"log 19\n"


def test_a_table_that_is_partitioned_while_a_store_is_open_is_found(
    store: Store, url: str, agent_id: UUID, payload: Payload
) -> None:
    """It takes no new store to find that the table is partitioned, and nothing is found where it is not."""
    backuplog.ingest_task_result(store, agent_id, payload(status="failed", log="log"))
    assert store.backend.reclaim() == 0
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        partition(connection)
        assert connection.execute("SELECT count(*) FROM backuplog.backup_run_logs_before").fetchone() == (1,)
        prune(store, RetentionPolicy(runs=timedelta(0)))
        prune(store)
        assert names(connection) <= OPEN | {"backup_run_logs_before"}


def test_partitions_by_tenant_are_not_dropped(store: Store, url: str, agent_id: UUID, payload: Payload) -> None:
    """A table that is partitioned by anything but the time is pruned as one that is not partitioned."""
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(
            "ALTER TABLE backuplog.backup_run_logs RENAME TO old;"
            "CREATE TABLE backuplog.backup_run_logs (LIKE backuplog.old INCLUDING DEFAULTS) "
            "PARTITION BY HASH (tenant_id);"
            "CREATE TABLE backuplog.one PARTITION OF backuplog.backup_run_logs "
            "FOR VALUES WITH (MODULUS 1, REMAINDER 0)"
        )
        moment = NOW - timedelta(days=120)
        sent = payload(status="failed", log="log", startTime=moment.isoformat())
        (answer,) = backuplog.ingest_task_results(store, [(agent_id, sent)], received_at=moment)
        assert isinstance(answer, backuplog.Receipt)
        assert prune(store).logs_removed == 1
        assert rows(connection, [answer.run_id]) == []
        assert names(connection) == {"one"}


@given(st.lists(st.booleans(), max_size=6))
def test_a_closed_stretch_ends_at_a_gap(is_there: list[bool]) -> None:
    """What is left to be dropped lies between the first partition and the first that is missing."""
    found = [
        Partition(oid=number, name="", fence=None, is_closed=True, lower=f"{number}", upper=f"{number + 1}")
        for number, there in enumerate(is_there)
        if there
    ]
    first = next((number for number, there in enumerate(is_there) if there), None)
    if first is None:
        assert closed_stretch(found) is None
    else:
        last = next((number for number in range(first, len(is_there)) if not is_there[number]), len(is_there))
        assert closed_stretch(found) == (f"{first}", f"{last}")


PRUNE = """
import datetime, sys
import backuplog
from backuplog_postgres import emptying
emptying._ROWS, emptying._MOVED_BYTES = 20, 200
with backuplog.open_store(sys.argv[1]) as store:
    print("ready", flush=True)
    policy = backuplog.RetentionPolicy(logs=datetime.timedelta(days=20))
    backuplog.prune(store, policy, pause=lambda _: print("batch", flush=True))
"""


def test_a_process_that_is_killed_leaves_nothing_half(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """After ``kill -9`` at any step each log is whole where it is needed, and the next call drops the rest."""
    kept = {}
    for days in (130, 80, 30):
        for _ in range(5):
            ids = fill(store, connection, agent_id, payload, days=days)
            kept[ids[-1]] = b"log 19\n"
    for batches in (6, 14):
        with subprocess.Popen([sys.executable, "-c", PRUNE, url], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"ready\n"
            for _ in range(batches):
                assert child.stdout.readline() == b"batch\n"
            child.send_signal(signal.SIGKILL)
        assert {run_id: backuplog.read_log(store, run_id) for run_id in kept} == kept
        assert names(connection) > OPEN
    prune(store)
    assert names(connection) == OPEN
    assert {run_id: backuplog.read_log(store, run_id) for run_id in kept} == kept
    assert len(rows(connection, list(kept))) == len(kept)


def test_two_prune_while_results_come_and_logs_are_read(
    store: Store, url: str, connection: Connection, agent_id: UUID, payload: Payload
) -> None:
    """Two pruners, one who replaces old logs, one who reads them: nobody fails, and no log is lost."""
    kept = [ids[-1] for days in (130, 80, 30) for ids in [fill(store, connection, agent_id, payload, days=days)]]
    policy_id = str(uuid4())
    moved = [payload(policyId=str(uuid4()), log=f"moved {number}\n" * 50) for number in range(10)]
    ids = ingest(store, connection, agent_id, moved, days=120)
    done = threading.Event()

    def pruner() -> None:
        with backuplog.open_store(url) as own:
            prune(own)

    def replace() -> None:
        for result in moved[:5]:
            later = {**result, "log": "replaced", "endTime": NOW.isoformat()}
            backuplog.ingest_task_result(store, agent_id, later)
            backuplog.ingest_task_result(store, agent_id, payload(policyId=policy_id, log="more"))

    def read() -> None:
        while not done.is_set():
            assert {backuplog.read_log(store, run_id) for run_id in kept} == {b"log 19\n"}
            for number, run_id in enumerate(ids[5:], 5):
                assert backuplog.read_log(store, run_id) == b"moved %d\n" % number * 50

    with patch.multiple(emptying, _ROWS=3, _MOVED_BYTES=100, _MOST_NEEDED=1.0):
        with ThreadPoolExecutor(4) as threads:
            reading = threads.submit(read)
            working = [threads.submit(work) for work in (pruner, pruner, replace)]
            failures = [future.exception() for future in working]
            done.set()
            assert [*failures, reading.exception()] == [None] * 4
        prune(store)
    assert names(connection) == OPEN
    read_now = [backuplog.read_log(store, run_id) for run_id in ids]
    assert read_now == [b"replaced"] * 5 + [b"moved %d\n" % number * 50 for number in range(5, 10)]
    assert len(rows(connection, ids)) == 10


_Step = tuple[str, int, int, int]
_KINDS = ("ingest", "ingest", "replace", "reopen", "expire", "prune", "prune", "reclaim", "remove", "kill")
_STEPS = st.lists(
    st.tuples(st.sampled_from(_KINDS), st.integers(0, 1), st.integers(1, 8), st.integers(0, 9)), max_size=30
)


def test_no_log_is_ever_lost(url: str, payload: Payload) -> None:
    """Whatever two tenants do, in whatever order, killed wherever: each log is what a plain model says it is."""
    with backuplog.open_store(url) as opened, closing(psycopg.connect(url, autocommit=True)) as connection:
        partition(connection)
        agent_id = uuid4()
        stores = [opened.for_tenant(UUID(int=number + 1)) for number in range(2)]

        @settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.too_slow])
        @given(steps=_STEPS, most=st.sampled_from([0.3, 1.0]), rows=st.sampled_from([1, 2, 500]))
        def check(steps: list[_Step], most: float, rows: int) -> None:
            for store in stores:
                backuplog.remove_tenant(store, store.tenant_id, pause=lambda _: None)
                backuplog.register_agent(store, agent_id)
            _renew(connection)
            model: list[dict[UUID, bytes | None]] = [{}, {}]
            with (
                patch.multiple(emptying, _MOST_NEEDED=most, _ROWS=rows, _MOVED_BYTES=40, _LONGEST_TRY_SECONDS=-1.0),
            ):
                for number, step in enumerate(steps):
                    _take(stores[step[1]], connection, model[step[1]], payload(), step, number)
                    _compare(stores, model)
                for _ in range(2):
                    for store in stores:
                        prune(store)
                        _forget_expired(store, model[stores.index(store)])
                _compare(stores, model)

        check()


def _renew(connection: Connection) -> None:
    """Make the partitions anew that were dropped, and let all of them be open."""
    _reopen(connection)
    there = names(connection)
    for name, start, stop in zip("123", MONTHS, MONTHS[1:], strict=False):
        if f"backup_run_logs_{name}" not in there:
            connection.execute(
                f"CREATE TABLE backuplog.backup_run_logs_{name} PARTITION OF backuplog.backup_run_logs "
                f"FOR VALUES FROM ('{start}') TO ('{stop}')"
            )


def _take(
    store: Store,
    connection: Connection,
    model: dict[UUID, bytes | None],
    sent: dict[str, Any],
    step: _Step,
    number: int,
) -> None:
    """Do one thing, and keep the model in step."""
    kind, _, task, days = step
    if kind in ("ingest", "replace", "reopen"):
        _deliver(store, connection, model, sent, step, number)
    elif kind == "expire" and UUID(int=task) in model:
        backuplog.expire_log(store, UUID(int=task))
    elif kind == "prune":
        prune(store, LOGS if days % 3 else RetentionPolicy(runs=timedelta(days=60), logs=timedelta(days=20)))
    elif kind == "reclaim":
        for _ in range(task):
            store.backend.reclaim()
    elif kind == "remove":
        prune(store, RetentionPolicy(runs=timedelta(days=20 + 12 * task)))
    elif kind == "kill":
        _prune_and_die(store, days)
    _forget_expired(store, model)


def _deliver(
    store: Store,
    connection: Connection,
    model: dict[UUID, bytes | None],
    sent: dict[str, Any],
    step: _Step,
    number: int,
) -> None:
    """Deliver a result, and let its log be old if its time is still open, or after it was opened again."""
    kind, _, task, days = step
    run_id, moment = UUID(int=task), NOW - timedelta(days=10 + days * 12)
    (agent,) = backuplog.list_agents(store)
    fields = {"taskId": str(run_id), "policyId": str(UUID(int=task % 2)), "status": ("success", "failed")[days % 2]}
    times = {"startTime": moment.isoformat(), "endTime": (NOW + timedelta(number)).isoformat()}
    result = {**sent, **fields, **times, "log": b"%d " % number * (number + 1)}
    backuplog.ingest_task_results(store, [(agent.id, result)], received_at=moment)
    model[run_id] = backuplog.read_log(store, run_id)
    if kind == "reopen":
        _reopen(connection)
    if kind != "replace":
        with suppress(psycopg.errors.CheckViolation):
            connection.execute(
                "UPDATE backuplog.backup_run_logs SET stored_at = %s WHERE tenant_id = %s AND run_id = %s "
                "AND stored_at > now() - interval '1 day'",
                [moment, store.tenant_id, run_id],
            )


def _reopen(connection: Connection) -> None:
    for name in names(connection):
        connection.execute(f"ALTER TABLE backuplog.{name} DROP CONSTRAINT IF EXISTS backuplog_closed")


def _prune_and_die(store: Store, left: int) -> None:
    """Prune until so many statements have run on partitions; what was remembered is gone with the process."""
    execute, done = emptying.Emptying._execute, itertools.count(1)

    def dying(self: Any, *given: Any) -> Any:
        cursor = execute(self, *given)
        if next(done) > left:
            raise _Killed
        return cursor

    with patch.object(emptying.Emptying, "_execute", dying), suppress(_Killed):
        prune(store)
    vars(store.backend)["_emptying"].__init__('"backuplog"')


def _forget_expired(store: Store, model: dict[UUID, bytes | None]) -> None:
    """Take what a policy removed out of the model: the runs say it, and never that a log was lost."""
    runs = {run.id: run for run in backuplog.query_runs(store).runs}
    for run_id in list(model):
        if run_id not in runs:
            del model[run_id]
        elif runs[run_id].log_state == "expired":
            model[run_id] = None
        else:
            assert model[run_id] is not None


def _compare(stores: Sequence[Store], model: Sequence[dict[UUID, bytes | None]]) -> None:
    for store, logs in zip(stores, model, strict=True):
        for run_id, log in logs.items():
            if log is None:
                with pytest.raises(LogExpired):
                    backuplog.read_log(store, run_id)
            else:
                assert backuplog.read_log(store, run_id) == log
