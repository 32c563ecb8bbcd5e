"""Measure ingest and read on SQLite against the bare SQL statements for the same work, in one run.

Run it with ``python tests/benchmarks/sqlite.py``. Each repetition runs both variants in shuffled order on files of
their own, with synchronous FULL on both sides and memory touched beforehand; medians and their ratio are printed.
"Bare" does what must be done at the least: decode the JSON, compress chunk by chunk with one zstd compressor, and in
one transaction check the agent, insert the run (with the same columns and indexes) and the chunks.
"""

import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID, uuid4

import backuplog

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SIZES = {"2 KiB": 2048, "64 KiB": 65_536, "1 MiB": 1 << 20, "8 MiB": 8 << 20, "64 MiB": 64 << 20}
REPETITIONS = {"2 KiB": 400, "64 KiB": 200, "1 MiB": 60, "8 MiB": 15, "64 MiB": 5}
COMPRESSOR = zstd.ZstdCompressor(level=1)
INSERT_RUN = f"INSERT INTO backup_runs VALUES ({', '.join('?' * 37)})"
BEFORE_LOG = ("backup", "success", 1, 2, 12.5, None, "8837c0dd", 1, 1, "complete")
AFTER_LOG = (bytes(32), 0, *[None] * 10, bytes(32), b"", 1, 1, 0, None, 0, 0, b"", b"")
INSERT_CHUNK = "INSERT INTO backup_run_logs VALUES (?, ?, 1, ?, ?, 'zstd', 0, ?)"


def log_of(size: int) -> str:
    """Make text like that of restic -v, a tenth of its names not ASCII."""
    lines, length = [], 0
    generator = random.Random(size)  # noqa: S311 - sample data
    while length < size:
        name = "фото" if generator.random() < 0.1 else "photo"
        line = f"new       /srv/data/vol{generator.randrange(97)}/{name}-{generator.randrange(10**6):06d}.jpg, "
        line += f"saved in 0.{generator.randrange(1000):03d}s ({generator.randrange(911)}.2 KiB added)\n"
        lines.append(line)
        length += len(line.encode())
    return "".join(lines).encode()[:size].decode(errors="ignore")


def body_of(log: str) -> bytes:
    """Make the JSON body of a new result with this log."""
    result = {
        "taskId": str(uuid4()),
        "policyId": "11111111-1111-4111-8111-111111111111",
        "taskType": "backup",
        "status": "success",
        "durationSeconds": 12.5,
        "startTime": "2026-11-24T02:00:00.123456789Z",
        "endTime": "2026-11-24T02:00:12.623456789Z",
        "snapshotId": "8837c0dd",
        "log": log,
    }
    return json.dumps(result, ensure_ascii=False).encode()


class Bare:
    """The statements, written by hand."""

    def __init__(self, path: Path, agent_id: UUID) -> None:
        """Open a database that backuplog has made."""
        self.connection = sqlite3.connect(path, isolation_level=None)
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000"):
            self.connection.execute(f"PRAGMA {pragma}")
        self.agent = agent_id.bytes
        self.tenant = bytes(16)

    def ingest(self, bodies: list[bytes]) -> list[UUID]:
        """Take results in, in one transaction."""
        results = [json.loads(body) for body in bodies]
        ids = [UUID(result["taskId"]) for result in results]
        execute = self.connection.execute
        execute("BEGIN IMMEDIATE")
        execute("SELECT 1 FROM backup_agents WHERE tenant_id = ? AND id = ?", (self.tenant, self.agent)).fetchone()
        self.connection.executemany(
            INSERT_RUN,
            [
                (
                    self.tenant,
                    key.bytes,
                    self.agent,
                    UUID(result["policyId"]).bytes,
                    *BEFORE_LOG,
                    len(result["log"]),
                    *AFTER_LOG,
                )
                for key, result in zip(ids, results, strict=True)
            ],
        )
        self.connection.executemany(
            INSERT_CHUNK,
            (
                (self.tenant, key.bytes, start, len(piece), COMPRESSOR.compress(piece, COMPRESSOR.FLUSH_FRAME))
                for key, result in zip(ids, results, strict=True)
                for log in [result["log"].encode()]
                for start in range(0, len(log), 1 << 20)
                for piece in [log[start : start + (1 << 20)]]
            ),
        )
        execute("COMMIT")
        return ids

    def read(self, run_id: UUID) -> bytes:
        """Read a whole log."""
        rows = self.connection.execute(
            "SELECT data FROM backup_run_logs WHERE tenant_id = ? AND run_id = ? AND log_version = 1 "
            "ORDER BY byte_offset",
            (self.tenant, run_id.bytes),
        )
        return b"".join(zstd.decompress(data) for (data,) in rows)


def open_bare(path: Path, agent_id: UUID) -> Bare:
    """Make a database with backuplog's schema and one agent, and open it with nothing but sqlite3."""
    with backuplog.open_store(f"sqlite:///{path}") as store:
        backuplog.register_agent(store, agent_id)
    return Bare(path, agent_id)


def timed(function: Callable[[], object]) -> float:
    """Run a function and give its seconds."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


Variant = Callable[[], Callable[[], object]]


def compare(work: str, ours: Variant, theirs: Variant, repetitions: int) -> float:
    """Print a row that compares two variants and give the median seconds of ours.

    A variant is a function that prepares one repetition and gives what is to be timed. The first two repetitions warm
    up and do not count.
    """
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    variants = {"ours": ours, "theirs": theirs}
    for repetition in range(repetitions + 2):
        for name in random.sample(list(variants), 2):
            taken = timed(variants[name]())
            if repetition >= 2:
                seconds[name].append(taken)
    mine, base = statistics.median(seconds["ours"]), statistics.median(seconds["theirs"])
    row(work, f"{mine * 1e3:.3f}", f"{base * 1e3:.3f}", f"{mine / base:.2f}")
    return mine


def row(*cells: str) -> None:
    """Print a row of the table."""
    print("| " + " | ".join(cells) + " |", flush=True)


def measure_size(folder: Path, label: str, repetitions: int) -> None:
    """Compare ingest and read of logs of one size, and print the bytes on disk against the bytes sent."""
    size = SIZES[label]
    log = log_of(size)
    path, bare_path = folder / f"{size}.db", folder / f"{size}-bare.db"
    with backuplog.open_store(f"sqlite:///{path}") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        bare = open_bare(bare_path, agent_id)
        ids: dict[str, UUID] = {}

        def ours() -> Callable[[], object]:
            body = body_of(log)
            return lambda: ids.update(ours=backuplog.ingest_task_result(store, agent_id, body).run_id)

        def theirs() -> Callable[[], object]:
            body = body_of(log)
            return lambda: ids.update(bare=bare.ingest([body])[0])

        compare(f"ingest {label}", ours, theirs, repetitions)
        compare(
            f"read {label}",
            lambda: lambda: backuplog.read_log(store, ids["ours"]),
            lambda: lambda: bare.read(ids["bare"]),
            repetitions,
        )
        if size == SIZES["64 MiB"]:
            compare(
                "read the last 1 KiB of 64 MiB, against all of it",
                lambda: lambda: backuplog.read_log(store, ids["ours"], start=-1024),
                lambda: lambda: backuplog.read_log(store, ids["ours"]),
                repetitions,
            )
        bare.connection.close()
    sent = (repetitions + 2) * len(body_of(log))
    row(f"bytes on disk against bytes sent, {label}", f"{path.stat().st_size / sent:.3f}", "", "")


def measure_batch(folder: Path) -> None:
    """Compare batches of 1,000 results with logs of 2 KiB."""
    log = log_of(SIZES["2 KiB"])
    with backuplog.open_store(f"sqlite:///{folder / 'batch.db'}") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        bare = open_bare(folder / "batch-bare.db", agent_id)

        def ours() -> Callable[[], object]:
            pairs = [(agent_id, body_of(log)) for _ in range(1000)]
            return lambda: backuplog.ingest_task_results(store, pairs)

        def theirs() -> Callable[[], object]:
            bodies = [body_of(log) for _ in range(1000)]
            return lambda: bare.ingest(bodies)

        seconds = compare("batch of 1,000 x 2 KiB", ours, theirs, 10)
        row("results a second in batches", f"{1000 / seconds:,.0f}", "", "")
        bare.connection.close()


def main() -> None:
    """Print the table."""
    bytearray(256 << 20)[::4096] = bytes(65_536)  # touch memory first: a host's page fault costs 2-4 ms per MiB
    row("work", "backuplog, ms", "bare, ms", "ratio")
    row("---", "---", "---", "---")
    with tempfile.TemporaryDirectory(prefix="backuplog-benchmark-") as name:
        for label, repetitions in REPETITIONS.items():
            measure_size(Path(name), label, repetitions)
        measure_batch(Path(name))


if __name__ == "__main__":
    main()
