"""A process that forks while a store is open: the child harms nobody, and is told what to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

COMMON = """
import os, sqlite3, sys, uuid, warnings
import backuplog
warnings.simplefilter("ignore")  # of a fork with threads
path = sys.argv[1]
store = backuplog.open_store(f"sqlite:///{path}")
agent_id = backuplog.register_agent(store, uuid.UUID(int=1)).id
def payload():
    return {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "success",
            "durationSeconds": 1}
def refused(message, function, *arguments):
    try:
        function(*arguments)
    except backuplog.StoreError as error:
        return message in str(error)
"""

BEFORE = """
child = os.fork()
if child == 0:
    with sqlite3.connect(path) as connection:
        told = all((
            refused("open it after the fork", backuplog.get_agent, store, agent_id),
            refused("open it after the fork", store.bound_to, connection),
            refused("was open when this process was forked", backuplog.open_store, f"sqlite:///{path}"),
        ))
    backuplog.open_store(f"sqlite:///{path}.other").close()
    store.close()
    os._exit(0 if told else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert backuplog.get_agent(store, agent_id).id == agent_id
store.close()
if os.fork() == 0:
    with backuplog.open_store(f"sqlite:///{path}") as own:
        backuplog.ingest_task_result(own, agent_id, payload())
    os._exit(0)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
"""

UNTOUCHED = """
backuplog.query_runs(store)  # opens a reader
wait, go = os.pipe()
child = os.fork()
if child == 0:
    os.read(wait, 1)
    sys.exit()  # with all that the interpreter does at its end
store.close()
other = os.fork()
if other == 0:
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], path])
assert os.waitstatus_to_exitcode(os.waitpid(other, 0)[1]) == -9
os.write(go, b" ")
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
with backuplog.open_store(f"sqlite:///{path}") as store:
    assert backuplog.query_runs(store).total == 1
"""

KILLED = """
import signal
backuplog.ingest_task_result(store, agent_id, payload())
os.kill(os.getpid(), signal.SIGKILL)
"""


def run(*programs: str, path: Path) -> None:
    """Run the first program, which may run the second."""
    scripts = [COMMON + program for program in programs]
    command = [sys.executable, "-c", scripts[0], f"{path}", *scripts[1:]]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_child_is_told_to_open_stores_after_the_fork_only(tmp_path: Path) -> None:
    """A store of before the fork is refused, and so is a second one on its file; after it was closed all is well."""
    run(BEFORE, path=tmp_path / "backups.db")


def test_the_end_of_an_idle_child_costs_nobody_a_result(tmp_path: Path) -> None:
    """A child that ends with its parent's connections leaves the WAL of a process that was killed since."""
    run(UNTOUCHED, KILLED, path=tmp_path / "backups.db")
