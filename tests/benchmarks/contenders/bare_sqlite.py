"""SQLite written to by hand: the best that we know for the same work, with and without the checksums we promise."""

import hashlib
import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from codec import CHUNK_BYTES, compress, decode, decompress, split
from material import AGENT, FIELDS, body_of

import backuplog

from .filling import fill_sqlite

PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
PLACE = struct.Struct(">16sqq")
TENANT = bytes(16)
LISTED = (
    "id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, error_message, snapshot_id, "
    "received_at, updated_at, log_state, log_bytes, log_sha256, dropped_bytes, files_new, files_changed, "
    "files_unmodified, dirs_new, dirs_changed, dirs_unmodified, data_added, total_files_processed, "
    "total_bytes_processed, stats_details, redactions, progress"
)
BESIDE = "log_gap_start, log_gap_stop, log_context, log_held, digest, superseded, end_time_reported, log_version"
INSERT_RUN = (
    f"INSERT INTO backup_runs (tenant_id, {LISTED}, {BESIDE}) VALUES (?{', ?' * 36}) "
    "ON CONFLICT (tenant_id, id) DO NOTHING"
)
INSERT_CHUNK = (
    "INSERT INTO backup_run_logs (tenant_id, run_id, log_version, byte_offset, size, codec, checksum, data) "
    "VALUES (?, ?, 1, ?, ?, 'zstd', ?, ?)"
)
READ = (
    "SELECT byte_offset, checksum, data, log_sha256, log_bytes FROM backup_runs CROSS JOIN backup_run_logs AS log "
    "USING (tenant_id, log_version) WHERE tenant_id = ? AND backup_runs.id = ? AND log.run_id = backup_runs.id"
)


class BareSqlite:
    """The statements, on one connection behind a lock: decoding and compressing are done before it is taken."""

    works = ("ingest", "batch", "replay", "read", "part", "threads", "memory", "append", "list", "newest")

    def __init__(self, url: str, folder: Path, *, checked: bool = False) -> None:
        """Open a database with the schema and the agent of backuplog."""
        del folder
        with backuplog.open_store(url) as store:
            backuplog.register_agent(store, AGENT)
        path = url.removeprefix("sqlite:///")
        self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        for pragma in PRAGMAS:
            self.connection.execute(f"PRAGMA {pragma}")
        self.cursor = self.connection.cursor()
        self.lock = threading.Lock()
        self.checked = checked
        if checked:  # What is left is the same, or too much of the same.
            self.works = self.works[:-3]

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        run, chunks = self.rows_of(body)
        with self.lock, self.transaction() as cursor:
            if cursor.execute(INSERT_RUN, run).rowcount:
                cursor.executemany(INSERT_CHUNK, chunks)

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in, in one transaction."""
        rows = [self.rows_of(body) for body in bodies]
        with self.lock, self.transaction() as cursor:
            cursor.executemany(INSERT_RUN, [run for run, _ in rows])
            cursor.executemany(INSERT_CHUNK, [chunk for _, chunks in rows for chunk in chunks])

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Cursor]:
        """Begin a transaction, see that the agent is there, and commit."""
        cursor = self.cursor
        cursor.execute("BEGIN IMMEDIATE")
        try:
            agent = "SELECT 1 FROM backup_agents WHERE tenant_id = ? AND id = ?"
            assert cursor.execute(agent, (TENANT, AGENT.bytes)).fetchone()
            yield cursor
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        cursor.execute("COMMIT")

    def rows_of(self, body: bytes) -> tuple[Sequence[Any], list[Sequence[Any]]]:
        """Turn a body into the rows of its run and its chunks."""
        result = decode(body)
        task = UUID(result["taskId"]).bytes
        log = (result["log"] or "").encode()
        sha256 = hashlib.sha256(log).digest() if self.checked else bytes(32)
        start = micros(datetime.fromisoformat(result["startTime"]))
        end = micros(datetime.fromisoformat(result["endTime"])) if "endTime" in result else None
        run = (
            TENANT, task, AGENT.bytes, UUID(result["policyId"]).bytes, result["taskType"], result["status"],
            start, end, result["durationSeconds"], None, result.get("snapshotId"), start, start, "complete", len(log),
            sha256, 0, *[None] * 10, 0, None, 0, 0, b"", b"", bytes(32), b"", 1, 1,
        )  # fmt: skip
        chunks: list[Sequence[Any]] = []
        for offset, piece in split(log):
            data = compress(piece)
            checksum = checksum_of(data, task, offset) if self.checked else 0
            chunks.append((TENANT, task, offset, len(piece), checksum, data))
        return run, chunks

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        statement = f"SELECT {', '.join(FIELDS)} FROM backup_runs WHERE tenant_id = ? AND id = ?"
        return found(dict(zip(FIELDS, self.cursor.execute(statement, (TENANT, task_id.bytes)).fetchone(), strict=True)))

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        return b"".join(self.pieces(task_id))

    def read_pieces(self, task_id: UUID) -> int:
        """Read a whole log piece by piece, and give its length."""
        return sum(map(len, self.pieces(task_id)))

    def pieces(self, task_id: UUID) -> Iterator[bytes]:
        """Read a log, and see that it is what was stored if this checks."""
        sha256, task = hashlib.sha256(), task_id.bytes
        expected = None
        for offset, checksum, data, promised, _ in self.cursor.execute(f"{READ} ORDER BY byte_offset", (TENANT, task)):
            expected = promised
            assert not self.checked or checksum == checksum_of(data, task, offset)
            piece = decompress(data)
            if self.checked:
                sha256.update(piece)
            yield piece
        assert not self.checked or expected in (None, sha256.digest())

    def read_part(self, task_id: UUID, start: int, stop: int | None) -> bytes:
        """Read a part of a log, as a slice says."""
        first = "?" if start >= 0 else "log_bytes + ?"
        statement = f"{READ} AND byte_offset > {first} AND byte_offset < ifnull(?, log_bytes) ORDER BY byte_offset"
        task = task_id.bytes
        rows = self.cursor.execute(statement, (TENANT, task, start - CHUNK_BYTES, stop)).fetchall()
        assert not self.checked or all(row[1] == checksum_of(row[2], task, row[0]) for row in rows)
        first_byte, size = rows[0][0], rows[0][4]
        low, high, _ = slice(start, stop).indices(size)
        return b"".join(decompress(row[2]) for row in rows)[low - first_byte : high - first_byte]

    def begin(self, task_id: UUID) -> None:
        """Begin a task whose log will come in pieces."""
        self.ingest(body_of(None, status="running", task_id=task_id))

    def append(self, task_id: UUID, offset: int, data: bytes) -> None:
        """Insert a chunk and update its run."""
        task, frame = task_id.bytes, compress(data)
        checksum = checksum_of(frame, task, offset) if self.checked else 0
        with self.lock, self.transaction() as cursor:
            cursor.execute(INSERT_CHUNK, (TENANT, task, offset, len(data), checksum, frame))
            cursor.execute(
                "UPDATE backup_runs SET log_bytes = ?, log_sha256 = NULL WHERE tenant_id = ? AND id = ?",
                (offset + len(data), TENANT, task),
            )

    def end(self, task_id: UUID) -> None:
        """End such a task."""
        self.cursor.execute(
            "UPDATE backup_runs SET status = 'success', end_time = ?, snapshot_id = ? WHERE tenant_id = ? AND id = ?",
            (micros(FIELDS["end_time"]), FIELDS["snapshot_id"], TENANT, task_id.bytes),
        )

    def place(self, filters: dict[str, Any], skipped: int) -> tuple[Any, ...] | None:
        """Give where a page begins after so many runs: the start time and the id of the last of them."""
        if not skipped:
            return None
        where, values = conditions(filters, None)
        statement = f"SELECT start_time, id FROM backup_runs WHERE {where} ORDER BY start_time DESC, id DESC "
        return self.cursor.execute(f"{statement} LIMIT 1 OFFSET {skipped - 1}", values).fetchone()

    def list_runs(
        self, filters: dict[str, Any], after: tuple[Any, ...] | None, *, with_total: bool
    ) -> tuple[list[Any], int | None]:
        """List 100 runs, as tuples."""
        where, values = conditions(filters, after)
        statement = f"SELECT {LISTED} FROM backup_runs WHERE {where} ORDER BY start_time DESC, id DESC LIMIT 100"
        rows = self.cursor.execute(statement, values).fetchall()
        if not with_total:
            return rows, None
        where, values = conditions(filters, None)
        (total,) = self.cursor.execute(f"SELECT count(*) FROM backup_runs WHERE {where}", values).fetchone()
        return rows, total

    def fill(self, runs: int) -> None:
        """Make a large history."""
        fill_sqlite(self.connection, runs)

    def evidence(self, page: tuple[list[Any], int | None]) -> object:
        """Give what every contender must have found."""
        return [str(UUID(bytes=row[0])) for row in page[0]], page[1]


checked = partial(BareSqlite, checked=True)


def conditions(filters: dict[str, Any], after: tuple[Any, ...] | None) -> tuple[str, list[Any]]:
    """Turn filters into SQL; a ``+`` keeps SQLite from a worse index."""
    where, values = ["tenant_id = ?"], list[Any]([TENANT])
    has_index = not filters.keys().isdisjoint(("agent_id", "policy_id"))
    for name, value in filters.items():
        if name in ("since", "until"):
            where.append(f"start_time {'>=' if name == 'since' else '<'} ?")
            values.append(micros(datetime.fromisoformat(value)))
            continue
        if name == "status" and not has_index and value != "success":
            where.append("status = ? AND status <> 'success'")
        else:
            is_hidden = name == "status" or (name == "policy_id" and "agent_id" in filters)
            where.append(f"{'+' if is_hidden else ''}{name} = ?")
        values.append(UUID(value).bytes if name in ("agent_id", "policy_id") else value)
    if after:
        where.append("(start_time, id) < (?, ?)")
        values += after
    return " AND ".join(where), values


def found(values: dict[str, Any]) -> dict[str, object]:
    """Turn columns of SQLite into the values of ``FIELDS``."""
    for name in ("agent_id", "policy_id"):
        values[name] = UUID(bytes=values[name])
    for name in ("start_time", "end_time"):
        values[name] = EPOCH + values[name] * MICROSECOND
    return values


def micros(moment: Any) -> int:
    """Give a time as microseconds since 1970."""
    return (moment - EPOCH) // MICROSECOND


def checksum_of(data: bytes, task: bytes, offset: int) -> int:
    """Give the checksum of a chunk and its place."""
    return zlib.crc32(PLACE.pack(task, 1, offset), zlib.crc32(data))
