"""Signals that come at any moment: no connection is lost for good, and nothing acknowledged either."""

import subprocess
import sys

# A signal's handler raises, as that of Ctrl-C and of a task queue's time limit does, at a random moment of a call.
PROGRAM = """
import random, signal, sys, uuid
import backuplog

class Interrupted(BaseException):
    pass

def interrupt(number, frame):
    raise Interrupted

def payload():
    return {
        "taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
        "durationSeconds": 1, "log": "log " * 200,
    }

random.seed(7)
url, signals = sys.argv[1], int(sys.argv[2])
signal.signal(signal.SIGALRM, interrupt)
with backuplog.open_store(url, max_size=2, pool_timeout=10, retry_timeout=0) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    acknowledged, interrupted = [], 0
    while interrupted < signals:
        sent = payload()
        try:
            signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, random.choice((0.002, 0.05))))
            try:
                backuplog.ingest_task_result(store, agent_id, sent)
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            acknowledged.append(sent["taskId"])
        except Interrupted:
            interrupted += 1
    for task_id in acknowledged:
        assert backuplog.read_log(store, task_id) == b"log " * 200
    print(interrupted, len(acknowledged))
"""


def test_a_signal_loses_no_connection(url: str) -> None:
    """After each of 600 signals the next call finds a connection in a pool of two."""
    command = [sys.executable, "-c", PROGRAM, url, "600"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    interrupted, acknowledged = map(int, done.stdout.split())
    assert interrupted == 600
    assert acknowledged > 0
