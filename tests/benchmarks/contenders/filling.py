"""A large history, made inside the database: 100 agents, 700 policies, a run every seven seconds."""

import hashlib
import sqlite3
from typing import Any

# Indexes are made at the end, and runs come in the order of their ids: a fifth of the time.
_SQLITE = """
    INSERT INTO backup_runs (
        tenant_id, id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, snapshot_id,
        received_at, updated_at, log_state, log_bytes, dropped_bytes, redactions, log_gap_start, log_gap_stop,
        log_context, log_held, digest, superseded, end_time_reported, log_version
    )
    WITH RECURSIVE counted (number) AS (SELECT 1 UNION ALL SELECT number + 1 FROM counted WHERE number < ?),
    run (number, id, start) AS MATERIALIZED (
        SELECT number, id_of(number), 1767225600000000 + number * 7000000 FROM counted ORDER BY 2
    )
    SELECT zeroblob(16), id, cast(zeroblob(15) || char(number % 100) AS BLOB),
        unhex(printf('%032x', number % 700)),
        CASE WHEN number % 50 = 0 THEN 'check' ELSE 'backup' END,
        CASE WHEN number / 100 % 1000 = 7 THEN 'cancelled' WHEN number / 100 % 10 = 3 THEN 'failed' ELSE 'success' END,
        start, start + 1000000, 1.0, printf('%08x', number), start, start, 'none', 0, 0, 0, 0, 0, x'', x'',
        zeroblob(32), x'', 0, 1
    FROM run
"""
_POSTGRES = """
    INSERT INTO backuplog.backup_runs (
        tenant_id, id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, snapshot_id,
        received_at, updated_at, log_state, log_bytes, dropped_bytes, redactions, log_gap_start, log_gap_stop,
        log_context, log_held, digest, superseded, end_time_reported, log_version
    )
    SELECT '00000000-0000-0000-0000-000000000000', md5(number::text)::uuid, lpad(to_hex(number % 100), 32, '0')::uuid,
        lpad(to_hex(number % 700), 32, '0')::uuid,
        CASE WHEN number % 50 = 0 THEN 'check' ELSE 'backup' END,
        CASE WHEN number / 100 % 1000 = 7 THEN 'cancelled' WHEN number / 100 % 10 = 3 THEN 'failed' ELSE 'success' END,
        '2026-01-01Z'::timestamptz + number * interval '7 seconds',
        '2026-01-01Z'::timestamptz + number * interval '7 seconds' + interval '1 second', 1,
        lpad(to_hex(number), 8, '0'),
        now(), now(), 'none', 0, 0, 0, 0, 0, '', '', decode(repeat('00', 32), 'hex'), '', false, 1
    FROM generate_series(1, {runs}) AS number ORDER BY 2
"""


def require_runs(found: int, runs: int) -> bool:
    """Whether a history is there already.

    Raises:
        ValueError: Another one is.
    """
    if found not in (0, runs):
        raise ValueError(f"the history that was kept has {found:,} runs: give another folder, or --runs {found}")
    return found == runs


def id_of(number: int) -> bytes:
    """Give the id of a run, the same on every database."""
    return hashlib.md5(str(number).encode(), usedforsecurity=False).digest()


def fill_sqlite(connection: sqlite3.Connection, runs: int) -> None:
    """Make the history in a file."""
    if require_runs(connection.execute("SELECT count(*) FROM backup_runs").fetchone()[0], runs):
        return
    connection.create_function("unhex", 1, bytes.fromhex, deterministic=True)  # SQLite has it since 3.41
    connection.create_function("id_of", 1, id_of, deterministic=True)
    indexes = connection.execute(
        "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'backup_runs' AND type = 'index' AND sql IS NOT NULL"
    ).fetchall()
    connection.execute("BEGIN IMMEDIATE")
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute(_SQLITE, (runs,))
    for _, statement in indexes:
        connection.execute(statement)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def fill_postgres(connection: Any, runs: int) -> None:
    """Make the history in a database."""
    if require_runs(connection.execute("SELECT count(*) FROM backuplog.backup_runs").fetchone()[0], runs):
        return
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'backuplog' AND tablename = 'backup_runs' "
        "AND indexname NOT LIKE '%pkey'"
    ).fetchall()
    with connection.transaction():
        connection.execute("SET LOCAL maintenance_work_mem = '256MB'")
        for name, _ in indexes:
            connection.execute(f"DROP INDEX backuplog.{name}")
        connection.execute(_POSTGRES.replace("{runs}", str(runs)))
        for _, statement in indexes:
            connection.execute(statement)
    connection.execute("VACUUM ANALYZE backuplog.backup_runs")
