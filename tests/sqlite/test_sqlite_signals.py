"""Signals that come at any moment: nothing stays open, nothing stays locked."""

import subprocess
import sys
from pathlib import Path

import pytest

# A signal's handler raises, as that of Ctrl-C and of a task queue's time limit does, at a random moment of a call.
PROGRAM = """
import random, signal, sqlite3, sys, threading, uuid
import backuplog

class Interrupted(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupted

kind, path, signals = sys.argv[1], sys.argv[2], int(sys.argv[3])
random.seed(7)
signal.signal(signal.SIGALRM, interrupt)
other = sqlite3.connect(path, isolation_level=None, timeout=10, check_same_thread=False)
with backuplog.open_store("sqlite:///" + path, busy_timeout=10) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    acknowledged, interrupted = [], 0

    def payload():
        return {
            "taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1, "log": "log " * 200,
        }

    def hold():
        # Another process's transaction: the call waits for it inside SQLite, where no handler can run.
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.003, other.execute, ["ROLLBACK"])
        timer.start()
        return timer

    while interrupted < signals:
        sent = payload()
        timer = hold() if random.random() < 0.1 else None
        connection = sqlite3.connect(path) if kind == "bound" else None
        view = store.bound_to(connection) if connection else store
        try:
            # Now and then late enough for a slow machine to be done before.
            latest = 0.1 if random.random() < 0.05 else 0.0015
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, latest))
            try:
                backuplog.ingest_task_result(view, agent_id, sent)
                if connection:
                    connection.commit()
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            acknowledged.append(sent["taskId"])
        except Interrupted:
            interrupted += 1
            if connection:
                assert not connection.in_transaction or connection.total_changes, "an empty transaction is left open"
                connection.rollback()
        if connection:
            connection.close()
        if timer:
            timer.join()
        # Whatever was interrupted: anybody may write, at once.
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
        assert not store.backend._connections._writer.in_transaction
    for task_id in acknowledged:
        assert backuplog.read_log(store, task_id) == b"log " * 200
    backuplog.ingest_task_result(store, agent_id, payload())
    threads = [threading.Thread(target=backuplog.ingest_task_result, args=(store, agent_id, payload()))]
    threads[0].start()
    threads[0].join(10)
    assert not threads[0].is_alive(), "the lock is still taken"
    print(interrupted, len(acknowledged))
"""


@pytest.mark.parametrize(("kind", "signals"), [("own", 2000), ("bound", 1000)])
def test_a_signal_leaves_nothing_open(tmp_path: Path, kind: str, signals: int) -> None:
    """After each of thousands of signals, others can write, and what was acknowledged is there."""
    command = [sys.executable, "-c", PROGRAM, kind, str(tmp_path / "backups.db"), f"{signals}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    interrupted, acknowledged = map(int, done.stdout.split())
    assert interrupted == signals
    assert acknowledged > 0


# A handler that closes the store in the middle of this thread's own write, then returns, raises, or asks for more.
CLOSING = """
import os, signal, sys, threading, uuid
import backuplog
from backuplog.testing.common import NOON, payload, submission_of
import attrs

kind, path = sys.argv[1], sys.argv[2]
store = backuplog.open_store("sqlite:///" + path)
agent_id = backuplog.register_agent(store, uuid.uuid4()).id
first = backuplog.ingest_task_result(store, agent_id, payload(log="first")).run_id
submission = submission_of(store, agent_id, backuplog.parse_task_result(payload(log="x" * 3_000_000)), NOON)

def handle(number, frame):
    if kind == "thread":
        threading.Thread(target=store.close).start()
        while not store.backend._connections._closed:
            pass
    else:
        store.close()
    try:
        backuplog.register_agent(store, uuid.uuid4())
    except backuplog.StoreError as error:
        print("refused", flush=True)
    if kind == "exit":
        raise SystemExit(3)

signal.signal(signal.SIGTERM, handle)

class Interrupted:
    def chunks(self, *place):
        chunks = submission.log.chunks(*place)
        yield next(chunks)
        os.kill(os.getpid(), signal.SIGTERM)
        yield from chunks

try:
    print(store.backend.submit([attrs.evolve(submission, log=Interrupted())])[0].outcome.value, flush=True)
finally:
    with backuplog.open_store("sqlite:///" + path, busy_timeout=1, retry_timeout=0) as again:
        print(backuplog.query_runs(again).total, len(backuplog.read_log(again, first)), flush=True)
        backuplog.register_agent(again, uuid.uuid4())
"""


@pytest.mark.parametrize(
    ("kind", "code", "output"),
    [
        ("return", 0, ["refused", "created", "2 5"]),
        ("exit", 3, ["refused", "1 5"]),
        ("thread", 0, ["refused", "created", "2 5"]),
    ],
)
def test_a_handler_may_close_the_store(tmp_path: Path, kind: str, code: int, output: list[str]) -> None:
    """Closing in a signal's handler lets the write that it interrupted end, or undoes it; nobody else has to wait."""
    command = [sys.executable, "-c", CLOSING, kind, str(tmp_path / "backups.db")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stderr, done.returncode, done.stdout.split("\n")[:-1]) == ("", code, output)
