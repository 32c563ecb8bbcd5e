"""Many processes and threads on one SQLite file."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import backuplog

PROCESSES = 6
RESULTS = 40

INGEST = """
import sys, uuid
import backuplog
url, agent_id, results = sys.argv[1], uuid.UUID(sys.argv[2]), int(sys.argv[3])
with backuplog.open_store(url) as store:
    backuplog.register_agent(store, agent_id)
    for number in range(results):
        task = uuid.uuid4()
        log = f"{task} " * (40_000 if number % 10 == 0 else 20)
        receipt = backuplog.ingest_task_result(store, agent_id, {
            "taskId": str(task), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1, "log": log,
        })
        print(task, len(log))
"""


def test_processes_that_start_at_once_all_open_and_all_store(tmp_path: Path) -> None:
    """Six processes that make one database together and write to it lose no result and see no lock."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    command = [sys.executable, "-c", INGEST, url, str(uuid4()), str(RESULTS)]
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(PROCESSES)
    ]
    acknowledged = {}
    for child in children:
        output, errors = child.communicate()
        assert (child.returncode, errors) == (0, "")
        acknowledged.update(line.split() for line in output.splitlines())
    assert len(acknowledged) == PROCESSES * RESULTS
    with backuplog.open_store(url) as store:
        assert backuplog.query_runs(store).total == PROCESSES * RESULTS
        for task_id, size in acknowledged.items():
            assert len(backuplog.read_log(store, task_id)) == int(size)


def test_threads_read_while_others_write(tmp_path: Path, payload: Callable[..., dict[str, Any]]) -> None:
    """Readers on a file see whole runs with whole logs while four threads write, and nobody fails."""
    failures: list[BaseException] = []
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id

        def write() -> None:
            for _ in range(50):
                backuplog.ingest_task_result(store, agent_id, payload(log="a line of the log\n" * 500))

        def read() -> None:
            for _ in range(50):
                for run in backuplog.query_runs(store, backuplog.RunQuery(limit=5)).runs:
                    assert backuplog.read_log(store, run.id) == b"a line of the log\n" * 500

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - whatever a thread raises is the test's to show
                failures.append(error)

        threads = [threading.Thread(target=guarded, args=(work,)) for work in (write, read) * 4]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert backuplog.query_runs(store).total == 200
