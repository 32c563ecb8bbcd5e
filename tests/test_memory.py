"""How much memory a long log takes, above the log itself, each in a fresh process."""

import subprocess
import sys
from pathlib import Path

import pytest

MEBIBYTE = 1_048_576
# What is measured is the process's own peak (VmHWM); the log is made and touched before the measurement begins.
PROGRAM = """
import random, sys, uuid
from pathlib import Path
import backuplog

def peak():
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024

def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")

kind, url = sys.argv[1:]
words = [f"new       /srv/vol{n % 97}/f{n * 7919 % 100003:06d}.jpg, saved in 0.{n % 1000:03d}s" for n in range(9973)]
letters = "Ж" if kind == "cyrillic" else "x"
random.seed(7)
with backuplog.open_store(url) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    def result(log):
        return backuplog.TaskResult(
            task_id=uuid.uuid4(), policy_id=uuid.uuid4(), task_type="backup", status="ok", duration_seconds=1, log=log
        )
    backuplog.ingest_task_result(store, agent_id, result("warm " * 1_000_000))
    text = "\\n".join(words) + letters * 100
    log = text * (64 * 1_048_576 // len(text.encode()))
    if kind == "bytes":
        log = random.randbytes(64 * 1_048_576)
    run = result(log)
    forget_peak()
    before = peak()
    backuplog.ingest_task_result(store, agent_id, run)
    print(peak() - before)
    run_id = run.task_id
    del log, run, text
    forget_peak()
    before = peak()
    print(sum(len(piece) for piece in backuplog.iter_log(store, run_id)) // 1_048_576)
    print(peak() - before)
"""


@pytest.mark.parametrize("kind", ["ascii", "cyrillic", "bytes"])
def test_a_long_log_takes_little_memory(tmp_path: Path, kind: str) -> None:
    """Ingesting and iterating a log of 64 MiB takes at most 8 MiB above the log itself."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("a process's peak can be measured on Linux only")
    command = [sys.executable, "-c", PROGRAM, kind, f"sqlite:///{tmp_path / 'backups.db'}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    ingest, size, iterate = (int(line) for line in done.stdout.split())
    assert size >= 63
    assert ingest / MEBIBYTE <= 8
    assert iterate / MEBIBYTE <= 8
