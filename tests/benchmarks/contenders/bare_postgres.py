"""PostgreSQL written to by hand: the best that we know for the same work, with and without the checksums we promise."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import Any
from uuid import UUID

import psycopg
from codec import CHUNK_BYTES, compress, decode, decompress, split
from material import AGENT, FIELDS, body_of

import backuplog

from .bare_sqlite import BESIDE, LISTED, checksum_of
from .filling import fill_postgres

TENANT = UUID(int=0)
CONNECTIONS = 10  # as many as backuplog opens
TYPES = (
    ["uuid"] * 4 + ["text"] * 2 + ["timestamptz"] * 2 + ["float8"] + ["text"] * 2 + ["timestamptz"] * 2
    + ["text", "int8", "bytea", "int8"] + ["int8"] * 9 + ["jsonb", "int8", "jsonb", "int8", "int8"]
    + ["bytea"] * 4 + ["bool", "int8"]
)  # fmt: skip
RUN = f"tenant_id, {LISTED}, {BESIDE}"
CHUNK = "tenant_id, run_id, log_version, byte_offset, size, codec, checksum, data"
CHUNK_TYPES = ["uuid"] * 2 + ["int8"] * 3 + ["text", "int8", "bytea"]
CREATE = f"""
    WITH run AS (
        INSERT INTO backuplog.backup_runs ({RUN}) SELECT {", ".join(f"%b::{name}" for name in TYPES)}
        WHERE EXISTS (SELECT FROM backuplog.backup_agents WHERE tenant_id = %b AND id = %b)
        ON CONFLICT (tenant_id, id) DO NOTHING RETURNING tenant_id, id
    ), chunk AS (
        INSERT INTO backuplog.backup_run_logs ({CHUNK})
        SELECT tenant_id, id, 1, 0, %b::int8, 'zstd', %b::int8, %b::bytea FROM run WHERE %b::int8 > 0
    )
    SELECT FROM run
"""
INSERT_CHUNK = (
    f"INSERT INTO backuplog.backup_run_logs ({CHUNK}) "
    "SELECT tenant_id, id, 1, %b::int8, %b::int8, 'zstd', %b::int8, %b FROM backuplog.backup_runs "
    "WHERE tenant_id = %b AND id = %b"
)
APPEND = f"""
    WITH chunk AS (INSERT INTO backuplog.backup_run_logs ({CHUNK}) VALUES (%b, %b, 1, %b, %b::int8, 'zstd', %b, %b))
    UPDATE backuplog.backup_runs SET log_bytes = %b, log_sha256 = NULL WHERE tenant_id = %b AND id = %b
    AND EXISTS (SELECT FROM backuplog.backup_agents WHERE tenant_id = %b AND id = %b)
"""
READ = (
    "SELECT byte_offset, checksum, data, log_sha256, log_bytes FROM backuplog.backup_runs AS run "
    "JOIN backuplog.backup_run_logs AS log ON log.tenant_id = run.tenant_id AND log.run_id = run.id "
    "AND log.log_version = run.log_version WHERE run.tenant_id = %b AND run.id = %b"
)


class BarePostgres:
    """The statements, prepared: one for a run with a short log, a pipeline for a long one, COPY for a batch."""

    works = ("ingest", "batch", "replay", "read", "part", "threads", "memory", "append", "list", "newest")

    def __init__(self, url: str, folder: Path, *, checked: bool = False) -> None:
        """Open a database with the schema and the agent of backuplog."""
        del folder
        with backuplog.open_store(url) as store:
            backuplog.register_agent(store, AGENT)
        self.url = url
        self.checked = checked
        if checked:  # What is left is the same, or too much of the same.
            self.works = self.works[:-3]
        self.idle: LifoQueue[psycopg.Connection[Any] | None] = LifoQueue()
        for _ in range(CONNECTIONS):
            self.idle.put(None)

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection[Any]]:
        """Give a connection that nobody else uses meanwhile."""
        connection = self.idle.get() or psycopg.connect(self.url, autocommit=True)
        try:
            yield connection
        finally:
            self.idle.put(connection)

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        run, chunks = self.rows_of(body)
        (_, size, checksum, data), *rest = chunks or [(0, 0, 0, b"")]
        values = (*run, TENANT, AGENT, size, checksum, data, size)
        with self.connection() as connection:
            if not rest:
                execute(connection, CREATE, values)
                return
            with connection.transaction(), connection.pipeline():
                execute(connection, CREATE, values)
                for chunk in rest:
                    execute(connection, INSERT_CHUNK, (*chunk, TENANT, run[1]))

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in by COPY, in one transaction."""
        rows = [self.rows_of(body) for body in bodies]
        with self.connection() as connection, connection.transaction(), connection.cursor() as cursor:
            agent = "SELECT FROM backuplog.backup_agents WHERE tenant_id = %b AND id = %b"
            assert execute(connection, agent, (TENANT, AGENT)).rowcount == 1
            cursor.execute("CREATE TEMPORARY TABLE arriving (LIKE backuplog.backup_runs) ON COMMIT DROP")
            with cursor.copy(f"COPY arriving ({RUN}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(TYPES)
                for run, _ in rows:
                    copy.write_row(run)
            cursor.execute("INSERT INTO backuplog.backup_runs SELECT * FROM arriving ON CONFLICT DO NOTHING")
            with cursor.copy(f"COPY backuplog.backup_run_logs ({CHUNK}) FROM STDIN (FORMAT BINARY)".encode()) as copy:
                copy.set_types(CHUNK_TYPES)
                for run, chunks in rows:
                    for offset, size, checksum, data in chunks:
                        copy.write_row((TENANT, run[1], 1, offset, size, "zstd", checksum, data))

    def rows_of(self, body: bytes) -> tuple[Sequence[Any], list[tuple[int, int, int, bytes]]]:
        """Turn a body into the rows of its run and its chunks."""
        result = decode(body)
        task = UUID(result["taskId"])
        log = (result["log"] or "").encode()
        sha256 = hashlib.sha256(log).digest() if self.checked else bytes(32)
        start = datetime.fromisoformat(result["startTime"])
        end = datetime.fromisoformat(result["endTime"]) if "endTime" in result else None
        run = (
            TENANT, task, AGENT, UUID(result["policyId"]), result["taskType"], result["status"], start, end,
            result["durationSeconds"], None, result.get("snapshotId"), start, start, "complete", len(log), sha256, 0,
            *[None] * 10, 0, None, 0, 0, b"", b"", bytes(32), b"", True, 1,
        )  # fmt: skip
        chunks: list[tuple[int, int, int, bytes]] = []
        for offset, piece in split(log):
            data = compress(piece)
            checksum = checksum_of(data, task.bytes, offset) if self.checked else 0
            chunks.append((offset, len(piece), checksum, data))
        return run, chunks

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        statement = f"SELECT {', '.join(FIELDS)} FROM backuplog.backup_runs WHERE tenant_id = %b AND id = %b"
        with self.connection() as connection:
            row = execute(connection, statement, (TENANT, task_id)).fetchone()
        return dict(zip(FIELDS, row, strict=True))

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        with self.connection() as connection:
            rows = execute(connection, f"{READ} ORDER BY byte_offset", (TENANT, task_id)).fetchall()
        pieces = [decompress(row[2]) for row in rows]
        if self.checked:
            assert all(row[1] == checksum_of(row[2], task_id.bytes, row[0]) for row in rows)
            sha256 = hashlib.sha256()
            for piece in pieces:
                sha256.update(piece)
            assert rows[0][3] in (None, sha256.digest())
        return b"".join(pieces)

    def read_pieces(self, task_id: UUID) -> int:
        """Read a whole log piece by piece, by a statement for each chunk, and give its length."""
        total = 0
        with self.connection() as connection:
            while rows := execute(connection, f"{READ} AND byte_offset = %b", (TENANT, task_id, total)).fetchall():
                total += len(decompress(rows[0][2]))
        return total

    def read_part(self, task_id: UUID, start: int, stop: int | None) -> bytes:
        """Read a part of a log, as a slice says."""
        first = "%b::int8" if start >= 0 else "log_bytes + %b::int8"
        last = f"AND byte_offset > {first} AND byte_offset < coalesce(%b::int8, log_bytes) ORDER BY byte_offset"
        with self.connection() as connection:
            values = TENANT, task_id, start - CHUNK_BYTES, stop
            rows = execute(connection, f"{READ} {last}", values).fetchall()
        assert not self.checked or all(row[1] == checksum_of(row[2], task_id.bytes, row[0]) for row in rows)
        first_byte, size = rows[0][0], rows[0][4]
        low, high, _ = slice(start, stop).indices(size)
        return b"".join(decompress(row[2]) for row in rows)[low - first_byte : high - first_byte]

    def begin(self, task_id: UUID) -> None:
        """Begin a task whose log will come in pieces."""
        self.ingest(body_of(None, status="running", task_id=task_id))

    def append(self, task_id: UUID, offset: int, data: bytes) -> None:
        """Insert a chunk and update its run, by one statement."""
        frame = compress(data)
        checksum = checksum_of(frame, task_id.bytes, offset) if self.checked else 0
        key = TENANT, task_id
        values = (*key, offset, len(data), checksum, frame, offset + len(data), *key, TENANT, AGENT)
        with self.connection() as connection:
            assert execute(connection, APPEND, values).rowcount == 1

    def end(self, task_id: UUID) -> None:
        """End such a task."""
        statement = (
            "UPDATE backuplog.backup_runs SET status = 'success', end_time = %b, snapshot_id = %b "
            "WHERE tenant_id = %b AND id = %b"
        )
        with self.connection() as connection:
            execute(connection, statement, (FIELDS["end_time"], FIELDS["snapshot_id"], TENANT, task_id))

    def place(self, filters: dict[str, Any], skipped: int) -> tuple[Any, ...] | None:
        """Give where a page begins after so many runs: the start time and the id of the last of them."""
        if not skipped:
            return None
        where, values = conditions(filters, None)
        statement = f"SELECT start_time, id FROM backuplog.backup_runs WHERE {where} ORDER BY start_time DESC, id DESC "
        with self.connection() as connection:
            return execute(connection, f"{statement} LIMIT 1 OFFSET {skipped - 1}", values).fetchone()

    def list_runs(
        self, filters: dict[str, Any], after: tuple[Any, ...] | None, *, with_total: bool
    ) -> tuple[list[Any], int | None]:
        """List 100 runs, as tuples."""
        where, values = conditions(filters, after)
        order = "ORDER BY start_time DESC, id DESC LIMIT 100"
        statement = f"SELECT {LISTED} FROM backuplog.backup_runs WHERE {where} {order}"
        with self.connection() as connection:
            rows = execute(connection, statement, values).fetchall()
            if not with_total:
                return rows, None
            where, values = conditions(filters, None)
            count = f"SELECT count(*) FROM backuplog.backup_runs WHERE {where}"
            return rows, execute(connection, count, values).fetchone()[0]

    def fill(self, runs: int) -> None:
        """Make a large history."""
        with self.connection() as connection:
            fill_postgres(connection, runs)

    def evidence(self, page: tuple[list[Any], int | None]) -> object:
        """Give what every contender must have found."""
        return [str(row[0]) for row in page[0]], page[1]


checked = partial(BarePostgres, checked=True)


def execute(connection: psycopg.Connection[Any], statement: str, values: Sequence[Any]) -> Any:
    """Execute a prepared statement."""
    return connection.execute(statement.encode(), values, prepare=True, binary=True)


def conditions(filters: dict[str, Any], after: tuple[Any, ...] | None) -> tuple[str, list[Any]]:
    """Turn filters into SQL."""
    where, values = ["tenant_id = %b"], list[Any]([TENANT])
    for name, value in filters.items():
        if name in ("since", "until"):
            where.append(f"start_time {'>=' if name == 'since' else '<'} %b")
            values.append(datetime.fromisoformat(value))
            continue
        where.append(f"{name} = %b")
        values.append(UUID(value) if name in ("agent_id", "policy_id") else value)
        if name == "status" and value != "success":
            where.append("status <> 'success'")
    if after:
        where.append("(start_time, id) < (%b, %b)")
        values += after
    return " AND ".join(where), values
