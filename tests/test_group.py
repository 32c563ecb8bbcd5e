"""Results of several threads that share a transaction."""

import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import attrs
import pytest

import backuplog
from backuplog import group
from backuplog.backend import Answer, LimitsWriters, Submission
from backuplog_postgres.backend import PostgresBackend
from backuplog_sqlite.backend import SqliteBackend

Payload = Callable[..., dict[str, Any]]


class Gated:
    """A backend that waits for leave before each transaction, and notes whose results are in it."""

    writers: int | None = 1

    def __init__(self, backend: Any) -> None:
        """Take the backend that works."""
        self.backend = backend
        self.asking: list[list[str]] = []
        self.allowed = 0
        self.changed = threading.Condition()
        self.fail: Callable[[Sequence[Submission]], None] = lambda _: None

    def __getattr__(self, name: str) -> Any:
        """Be that backend in all else."""
        return getattr(self.backend, name)

    def submit(self, submissions: Sequence[Submission]) -> list[Answer]:
        """Note, wait, then fail or pass on."""
        with self.changed:
            self.asking.append([submission.run.snapshot_id or "" for submission in submissions])
            number = len(self.asking)
            assert self.changed.wait_for(lambda: number <= self.allowed, 10)
        self.fail(submissions)
        answers: list[Answer] = self.backend.submit(submissions)
        return answers

    submit_together = submit

    def allow(self, count: int) -> None:
        """Give leave to so many transactions more, in the order in which they ask for it."""
        with self.changed:
            self.allowed += count
            self.changed.notify_all()


def until(holds: Callable[[], object]) -> None:
    """Return as soon as something holds."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


class Threads:
    """Threads that ingest, one after the other, into a store whose transactions wait for leave."""

    def __init__(self, store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
        """Begin with none."""
        self.gate = Gated(store.backend)
        backend: Any = self.gate
        self.store = attrs.evolve(store, backend=backend, retry_timeout=0, observers=())
        self.agent_id = agent_id
        self.payload = payload
        self.pool = ThreadPoolExecutor(16)

    @property
    def waiting(self) -> int:
        """How many wait for a transaction of another thread."""
        return len(self.store._group._waiting)

    def begin(self, name: str, **fields: object) -> "Future[backuplog.Receipt]":
        """Start a thread, and wait until it asks for a transaction or waits for one."""
        known = len(self.gate.asking) + self.waiting
        sent = self.payload(snapshotId=name, **fields)
        future = self.pool.submit(backuplog.ingest_task_result, self.store, self.agent_id, sent)
        until(lambda: len(self.gate.asking) + self.waiting > known)
        return future

    def fill(self, *names: str) -> "list[Future[backuplog.Receipt]]":
        """Start two threads that keep the backend busy, and those of these names, which wait."""
        futures = [self.begin(name) for name in ("first", "second", *names)]
        assert self.gate.asking == [["first"], ["second"]]
        assert self.waiting == len(names)
        return futures

    def finish(self) -> None:
        """Let all transactions go on."""
        self.gate.allow(1000)


@pytest.fixture
def threads(
    store: backuplog.Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Threads]:
    """Give threads that end with the test, and lose no patience before."""
    monkeypatch.setattr(group, "_PATIENCE_SECONDS", 60)
    made = Threads(store, agent_id, payload)
    yield made
    made.finish()
    made.pool.shutdown()


def test_what_waits_shares_the_next_transaction(threads: Threads) -> None:
    """Three results that came while the store was busy are in one transaction, in the order in which they came."""
    futures = threads.fill("a", "b", "c")
    threads.finish()
    assert [future.result(10).outcome for future in futures] == ["created"] * 5
    assert threads.gate.asking == [["first"], ["second"], ["a", "b", "c"]]
    for future, name in zip(futures, ("first", "second", "a", "b", "c"), strict=True):
        assert backuplog.get_run(threads.store, future.result().run_id).snapshot_id == name


def test_nobody_is_answered_before_the_shared_transaction(threads: Threads) -> None:
    """Until the transaction that all three share is durable, none of them has its receipt."""
    futures = threads.fill("a", "b", "c")
    threads.gate.allow(2)
    until(lambda: len(threads.gate.asking) == 3)
    assert [future.result(10).outcome for future in futures[:2]] == ["created"] * 2
    assert not any(future.done() for future in futures[2:])


def test_whoever_has_led_leads_no_more(threads: Threads) -> None:
    """What comes while a transaction is under way is taken by a thread of its own, and not by the one before."""
    futures = threads.fill("a", "b")
    threads.gate.allow(2)
    until(lambda: len(threads.gate.asking) == 3)
    later = [threads.begin("c"), threads.begin("d")]
    threads.gate.allow(1)
    assert [future.result(10).outcome for future in futures] == ["created"] * 4
    until(lambda: len(threads.gate.asking) == 4)
    assert not any(future.done() for future in later)
    assert threads.gate.asking[2:] == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize("name", ["a", "b"])
@pytest.mark.parametrize("error", [backuplog.StoreError("damaged"), backuplog.StoreUnavailable("locked")])
def test_what_cannot_be_stored_fails_alone(threads: Threads, error: Exception, name: str) -> None:
    """A result that makes a shared transaction fail is answered with its error, and the others are stored."""

    def refuse(submissions: Sequence[Submission]) -> None:
        if any(submission.run.snapshot_id == name for submission in submissions):
            raise error

    threads.gate.fail = refuse
    futures = threads.fill("a", "b", "c")
    threads.finish()
    refused = [future for future in futures if future.exception(10)]
    assert [future.exception() for future in refused] == [error]
    assert refused == [futures[2 + "abc".index(name)]]
    assert sorted(threads.gate.asking[3:]) == [["a"], ["b"], ["c"]]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError()])
def test_a_thread_that_is_stopped_holds_up_nobody(threads: Threads, error: BaseException) -> None:
    """Whatever ends the thread that submits for others is its own affair: they submit by themselves."""

    def stop(submissions: Sequence[Submission]) -> None:
        if len(submissions) > 1:
            raise error

    threads.gate.fail = stop
    futures = threads.fill("a", "b", "c")
    threads.finish()
    assert [future.exception(10) for future in futures] == [None, None, error, None, None]
    assert sorted(threads.gate.asking[3:]) == [["b"], ["c"]]


def in_a_handler(threads: Threads, work: Callable[[], object], then: Callable[[], object]) -> None:
    """Let this thread wait for the transaction of another, interrupt it there by a signal, and do something else."""
    main = threading.get_ident()
    before = signal.signal(signal.SIGUSR1, lambda *_: work())

    def follow() -> None:
        until(lambda: threads.waiting == 1)
        signal.pthread_kill(main, signal.SIGUSR1)
        then()

    helper = threading.Thread(target=follow)
    helper.start()
    try:
        backuplog.ingest_task_result(threads.store, threads.agent_id, threads.payload(snapshotId="a"))
    finally:
        helper.join()
        signal.signal(signal.SIGUSR1, before)


def test_a_signal_takes_a_thread_out_of_the_line(threads: Threads) -> None:
    """Where a signal's handler raises in a thread that waits, it waits no more, and its result is nobody's."""

    class Interrupted(BaseException):
        pass

    def interrupt() -> None:
        raise Interrupted

    futures = threads.fill()
    with pytest.raises(Interrupted):
        in_a_handler(threads, interrupt, lambda: until(lambda: threads.waiting == 0))
    futures.append(threads.begin("b"))
    threads.finish()
    assert [future.result(10).outcome for future in futures] == ["created"] * 3
    assert threads.gate.asking == [["first"], ["second"], ["b"]]


def test_a_handler_of_a_thread_that_waits_may_ingest(threads: Threads) -> None:
    """What a handler submits, while its own thread waits in line, does not wait behind it."""
    handled: list[backuplog.Receipt] = []
    seen: list[list[str]] = []

    def work() -> None:
        sent = threads.payload(snapshotId="handled")
        handled.append(backuplog.ingest_task_result(threads.store, threads.agent_id, sent))

    def then() -> None:
        with suppress(AssertionError):
            until(lambda: len(threads.gate.asking) == 3)
        seen.extend(threads.gate.asking)
        threads.finish()

    futures = threads.fill()
    in_a_handler(threads, work, then)
    assert [future.result(10).outcome for future in futures] == ["created"] * 2
    assert [receipt.outcome for receipt in handled] == ["created"]
    assert seen == [["first"], ["second"], ["handled"]]


def test_a_thread_that_hangs_is_not_waited_for_without_end(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who has waited too long for the transaction of another submits by itself."""
    monkeypatch.setattr(group, "_PATIENCE_SECONDS", 0.05)
    futures = [threads.begin(name) for name in ("first", "second")]
    waits = threads.pool.submit(
        backuplog.ingest_task_result, threads.store, threads.agent_id, threads.payload(snapshotId="a")
    )
    until(lambda: threads.gate.asking == [["first"], ["second"], ["a"]])
    assert threads.waiting == 0
    threads.finish()
    assert [future.result(10).outcome for future in (*futures, waits)] == ["created"] * 3


def test_what_comes_while_a_thread_hangs_goes_by_itself(threads: Threads) -> None:
    """A shared transaction that has taken too long already is waited for by nothing that comes then."""
    futures = threads.fill()
    threads.store._group._led_since -= group._PATIENCE_SECONDS
    for name in ("a", "b"):
        futures.append(threads.begin(name))
        until(lambda name=name: threads.gate.asking[-1] == [name])
    assert threads.waiting == 0
    threads.finish()
    assert [future.result(10).outcome for future in futures] == ["created"] * 4


def test_a_shared_transaction_is_bounded(threads: Threads, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more results share a transaction than a batch's takes, and no more of their logs."""
    monkeypatch.setattr(group, "_MOST_RESULTS", 3)
    monkeypatch.setattr(group, "_MOST_LOG_BYTES", 100)
    threads.fill("a", "b", "c", "d")
    for name in ("e", "f", "g"):
        threads.begin(name, log="x" * 60)
    threads.finish()
    until(lambda: sum(map(len, threads.gate.asking)) == 9)
    assert threads.gate.asking[2:] == [["a", "b", "c"], ["d", "e"], ["f"], ["g"]]


def test_what_takes_long_goes_by_itself(threads: Threads) -> None:
    """A log of more than 1 MiB, and a batch, neither wait for a shared transaction nor are waited for in one."""
    threads.fill("a")
    threads.begin("long", log=b"x" * 1_048_577)
    batch = [(threads.agent_id, threads.payload(snapshotId=name)) for name in ("c", "d")]
    threads.pool.submit(backuplog.ingest_task_results, threads.store, batch)
    until(lambda: threads.gate.asking[2:] == [["long"], ["c", "d"]])
    assert threads.waiting == 1


def test_as_many_as_the_backend_takes_go_by_themselves(threads: Threads) -> None:
    """Only where more threads submit than the backend takes at once do they share; where it takes any number, never."""
    for writers, alone in ((3, 4), (None, 6)):
        threads.gate.writers = writers
        threads.store = attrs.evolve(threads.store)
        before = len(threads.gate.asking)
        futures = [threads.begin(name) for name in "abcdef"]
        assert threads.gate.asking[before:] == [[name] for name in "abcdef"[:alone]]
        threads.gate.allow(6)
        assert [future.result(10).outcome for future in futures] == ["created"] * 6


def test_a_handler_of_the_thread_that_leads_may_ingest(threads: Threads) -> None:
    """What a handler submits, in the middle of its own thread's shared transaction, waits for nobody."""
    handled: list[backuplog.Receipt] = []

    def ingest(submissions: Sequence[Submission]) -> None:
        if len(submissions) > 1:
            sent = threads.payload(snapshotId="handled")
            handled.append(backuplog.ingest_task_result(threads.store, threads.agent_id, sent))

    threads.gate.fail = ingest
    futures = threads.fill("a", "b")
    threads.finish()
    assert [future.result(10).outcome for future in futures] == ["created"] * 4
    assert [receipt.outcome for receipt in handled] == ["created"]


def test_closing_the_store_answers_all_that_wait(tmp_path: Path, payload: Payload) -> None:
    """Threads that wait while the store is closed are answered, each with a receipt or with what is wrong."""
    with backuplog.open_store(f"sqlite:///{tmp_path}/backups.db") as store:
        agent_id = backuplog.register_agent(store, UUID(int=1)).id
        begun = threading.Event()
        go_on = threading.Event()

        def hold(_: object) -> None:
            begun.set()
            assert go_on.wait(10)

        write = store.backend._connections.write  # type: ignore[attr-defined]
        with ThreadPoolExecutor(9) as pool:
            pool.submit(write, hold)
            assert begun.wait(10)
            futures = [
                pool.submit(backuplog.ingest_task_result, store, agent_id, payload(log=f"{number}"))
                for number in range(6)
            ]
            until(lambda: len(store._group._waiting) == 4)
            closing = pool.submit(store.close)
            until(lambda: store.backend._connections._closed)  # type: ignore[attr-defined]
            go_on.set()
            closing.result(10)
            for future in futures:
                with suppress(backuplog.StoreError):
                    assert future.result(10).outcome == "created"


FORKING = """
import os, signal, sys, threading, uuid, warnings
import backuplog
warnings.simplefilter("ignore")  # of a fork with threads
store = backuplog.open_store(f"sqlite:///{sys.argv[1]}", observers=())
agent_id = backuplog.register_agent(store, uuid.UUID(int=1)).id
begun, go_on = threading.Event(), threading.Event()
backuplog.group._PATIENCE_SECONDS = 3600

def ingest():
    sent = {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1}
    return backuplog.ingest_task_result(store, agent_id, sent)

def hold(cursor):
    begun.set()
    go_on.wait(10)

threading.Thread(target=store.backend._connections.write, args=(hold,)).start()
begun.wait(10)
threads = [threading.Thread(target=ingest) for _ in range(4)]
for thread in threads:
    thread.start()
while len(store._group._waiting) < 2:
    pass
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        ingest()
    except backuplog.StoreError as error:
        os._exit(0 if "open it after the fork" in str(error) else 1)
    os._exit(2)
code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
go_on.set()
for thread in threads:
    thread.join()
assert backuplog.query_runs(store).total == 4
sys.exit(code)
"""


def test_a_forked_child_waits_for_nobody(tmp_path: Path) -> None:
    """A child that is forked while threads share a transaction is told to open the store again, and does not hang."""
    command = [sys.executable, "-c", FORKING, str(tmp_path / "backups.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


# A signal's handler raises at a random moment of an ingest of the main thread, which shares with three others.
INTERRUPTING = """
import random, signal, sys, threading, time, uuid
import backuplog

class Interrupted(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupted

def ingest():
    sent = {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1}
    return backuplog.ingest_task_result(store, agent_id, sent).run_id

def work():
    while not finished.is_set():
        begun = time.monotonic()
        acknowledged.append(ingest())
        waits.append(time.monotonic() - begun)

random.seed(7)
sys.setswitchinterval(1e-5)
finished, acknowledged, waits, interrupted = threading.Event(), [], [], 0
signal.signal(signal.SIGALRM, interrupt)
with backuplog.open_store("sqlite:///" + sys.argv[1], synchronous="normal", busy_timeout=10) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    while interrupted < 150:
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.0002, 0.004))
            try:
                run_id = ingest()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            acknowledged.append(run_id)
        except Interrupted:
            interrupted += 1
    finished.set()
    for thread in threads:
        thread.join()
    for run_id in acknowledged:
        backuplog.get_run(store, run_id)
    assert not store._group._waiting and not store._group._inside
    print(max(waits), len(acknowledged), file=sys.stderr if max(waits) > 4 else sys.stdout)
"""


def test_signals_hold_up_no_other_thread(tmp_path: Path) -> None:
    """After each of 150 signals in a thread that shares, the others go on, and what was acknowledged is there."""
    command = [sys.executable, "-c", INTERRUPTING, str(tmp_path / "backups.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_wrapper_shares_nothing_unless_it_says_so(store: backuplog.Store) -> None:
    """A wrapper that passes on what it does not know may submit in a transaction of each thread's own."""

    class Wrapper:
        def __init__(self, backend: Any) -> None:
            self.backend = backend

        def __getattr__(self, name: str) -> Any:
            assert name != "writers"
            return getattr(self.backend, name)

    backend: Any = Wrapper(store.backend)
    wrapped = attrs.evolve(store, backend=backend)
    agent_id = backuplog.register_agent(wrapped, UUID(int=1)).id
    sent = {"taskId": str(UUID(int=2)), "policyId": str(UUID(int=3)), "taskType": "backup", "status": "success"}
    assert backuplog.ingest_task_result(wrapped, agent_id, {**sent, "durationSeconds": 1}).outcome == "created"


def test_our_backends_say_how_many_submit_at_once(tmp_path: Path) -> None:
    """SQLite has one writer and PostgreSQL those of its pool; in the caller's transaction nothing is shared."""
    limiting: list[type[LimitsWriters]] = [SqliteBackend, PostgresBackend]
    assert all(hasattr(backend, "writers") for backend in limiting)
    with backuplog.open_store(f"sqlite:///{tmp_path}/backups.db") as store:
        backend: Any = store.backend
        with closing(sqlite3.connect(tmp_path / "backups.db")) as connection:
            assert (backend.writers, backend.bound_to(connection).writers) == (1, None)
