"""Measure how long agents wait while most of a large history is pruned, and what becomes of its room on disk.

Run it with ``python tests/benchmarks/prune.py sqlite|postgres [runs]``: by default 1,000,000 runs with logs of 2 KiB,
of which nine in ten are removed while another process sends a result every 10 ms. Before that, a prune is killed ten
times by SIGKILL. To use a history that is there already: ``... fill URL runs``, then ``... sqlite --store URL runs``.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import quantiles
from typing import Any
from uuid import UUID, uuid4

import attrs
import psycopg
from material import log_of
from server import server

import backuplog
from backuplog import RetentionPolicy, RunQuery, RunStats, Store, TaskResult

NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAYS = 400
KEPT = RetentionPolicy(runs=timedelta(days=DAYS // 10))
AGENTS, POLICIES, BATCH = 1_000, 50, 5_000
PAUSE_SECONDS = 0.01
KILLS = 10
SHORT = {"observers": (), "parsers": (), "redactor": None}


def fill(url: str, runs: int, *, first: int = 0) -> None:
    """Store runs of many agents, spread over 400 days, nearly all of them successes."""
    source = random.Random(first)  # noqa: S311
    agents = [UUID(int=number + 1) for number in range(AGENTS)]
    body = log_of(2_000)
    options: dict[str, Any] = {"synchronous": "normal"} if url.startswith("sqlite") else {}
    with backuplog.open_store(url, **SHORT, **options) as store:
        for agent_id in agents:
            backuplog.register_agent(store, agent_id)
        for start in range(first, first + runs, BATCH):
            batch = []
            for number in range(start, min(start + BATCH, first + runs)):
                agent = number % AGENTS
                begun = NOW - timedelta(days=DAYS) * (1 - number / (first + runs))
                result = TaskResult(
                    task_id=UUID(int=source.getrandbits(128)),
                    policy_id=UUID(int=agent % POLICIES + 1),
                    task_type="backup",
                    status="success" if source.random() < 0.97 else "failed",
                    duration_seconds=source.random() * 1000,
                    start_time=begun,
                    end_time=begun + timedelta(minutes=5),
                    log=f"{body}{number}\n",
                    stats=RunStats(data_added=source.randrange(2**34)),
                )
                batch.append((agents[agent], result))
            backuplog.ingest_task_results(store, batch, received_at=begun)


def send(url: str) -> None:
    """Send a result every 10 ms until the standard input ends, and print how long each took, in seconds."""
    taken = []
    with backuplog.open_store(url) as store:
        body = log_of(2_000)
        agent_id = backuplog.register_agent(store, UUID(int=1)).id
        done = False
        while not done:
            payload = json.dumps(
                {
                    "taskId": str(uuid4()),
                    "policyId": str(uuid4()),
                    "taskType": "backup",
                    "status": "success",
                    "durationSeconds": 1,
                    "log": body,
                }
            )
            begun = time.perf_counter()
            backuplog.ingest_task_result(store, agent_id, payload)
            taken.append(time.perf_counter() - begun)
            time.sleep(PAUSE_SECONDS)
            done = os.path.exists(sys.argv[3])  # noqa: PTH110
    print(json.dumps(taken))


def while_sending(url: str, work: Any) -> tuple[Any, list[float]]:
    """Do something while another process sends results."""
    with tempfile.TemporaryDirectory() as folder:
        stop = Path(folder) / "stop"
        sender = subprocess.Popen([sys.executable, __file__, "send", url, str(stop)], stdout=subprocess.PIPE)
        time.sleep(1)
        done = work()
        stop.touch()
        out, _ = sender.communicate(timeout=60)
        assert sender.returncode == 0, "an ingest failed"
        return done, json.loads(out)[20:]


def say_waits(what: str, taken: list[float]) -> None:
    """Print how long the ingests took."""
    cut = quantiles(taken, n=100)
    print(
        f"ingests {what}: {len(taken)}, p50 {cut[49] * 1e3:.1f} ms, p99 {cut[98] * 1e3:.1f} ms, "
        f"longest {max(taken) * 1e3:.1f} ms",
        flush=True,
    )


def size_of(url: str) -> int:
    """Give the bytes that a history takes on disk."""
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))
    with psycopg.connect(url, autocommit=True) as connection:
        tables = ", ".join(f"pg_total_relation_size('backuplog.{name}')" for name in backuplog.TABLES[:3])
        return sum(connection.execute(f"SELECT {tables}").fetchone() or ())


def prune(store: Store) -> backuplog.PruneReport:
    """Prune until all is done, and print how it went."""
    begun = time.perf_counter()
    report = backuplog.prune(store, KEPT, now=NOW)
    print(f"pruned in {time.perf_counter() - begun:.0f} s: {report}", flush=True)
    return report


def check(store: Store) -> None:
    """Make sure that each run that is there has its whole log."""
    query: RunQuery | None = RunQuery(limit=1000, with_total=False)
    while query:
        page = backuplog.query_runs(store, query)
        for run in page.runs[::37]:
            assert len(backuplog.read_log(store, run.id)) == run.log_bytes
        query = attrs.evolve(query, cursor=page.next_cursor) if page.next_cursor else None


def measure(url: str, runs: int) -> None:
    """Measure waits and room."""
    print(f"{runs:,} runs, {size_of(url) / 2**20:.0f} MiB on disk", flush=True)
    with backuplog.open_store(url) as store:
        _, taken = while_sending(url, lambda: time.sleep(20))
        say_waits("without a prune", taken)
        for number in range(KILLS):
            process = subprocess.Popen([sys.executable, __file__, "once", url])
            time.sleep(1 + number / 3)
            process.send_signal(signal.SIGKILL)
            process.wait()
        check(store)
        print(f"killed {KILLS} times; {backuplog.query_runs(store).total:,} runs left, all whole", flush=True)
        _, taken = while_sending(url, lambda: prune(store))
        say_waits("while it prunes", taken)
        check(store)
        print(f"{size_of(url) / 2**20:.0f} MiB on disk after it", flush=True)
    fill(url, runs // 10, first=runs)
    print(f"{size_of(url) / 2**20:.0f} MiB after the next {runs // 10:,} runs", flush=True)


def main() -> None:
    """Run what is asked for."""
    command, *rest = sys.argv[1:]
    if command == "send":
        send(rest[0])
    elif command == "once":
        with backuplog.open_store(rest[0]) as store:
            backuplog.prune(store, KEPT, now=NOW)
    elif command == "fill":
        fill(rest[0], int(rest[1]))
    elif rest[:1] == ["--store"]:
        measure(rest[1], int(rest[2]))
    else:
        runs = int(rest[0]) if rest else 1_000_000
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="backuplog-"))
            url = f"sqlite:///{folder}/backups.db" if command == "sqlite" else stack.enter_context(server())
            fill(url, runs)
            measure(url, runs)


if __name__ == "__main__":
    main()
