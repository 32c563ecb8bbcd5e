"""The examples run, in a fresh process and an empty folder, and print what a user expects."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import backuplog

EXAMPLES = Path(__file__).parent.parent / "examples"
RESULTS = Path(__file__).parent / "data" / "results"


def run(name: str, *arguments: str, folder: Path) -> list[str]:
    """Run an example in a folder and give the lines it prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.splitlines()


def test_the_quickstart_shows_a_table_and_why_a_run_failed(tmp_path: Path) -> None:
    """Every real result is in the table, newest first and marked, and below it stands the end of a failed run's log."""
    lines = run("quickstart.py", folder=tmp_path)
    assert lines[0] == "backups.db: 11 created"
    table = lines[2:14]
    assert " ".join(table[0].split()) == "started UTC agent task status seconds files bytes added log bytes snapshot"
    assert table[1] == "! 2026-11-24 04:38  web-01  backup  warning      0.69      4        3,917     1,544  4b20bb60"
    assert table[2].split()[6:9] == ["1.13", "-", "-"]
    assert "".join(line[0] for line in table[1:]) == "!+x-++x+x++"
    assert [line[2:18] for line in table[1:]] == sorted((line[2:18] for line in table[1:]), reverse=True)
    assert lines[14] == "  11 runs"
    assert lines[16] == "Why check failed on web-01 (restic exited with 1):"
    assert lines[-1] == "  | Fatal: repository contains errors"


def test_the_quickstart_may_be_run_again(tmp_path: Path) -> None:
    """A second run on the same file, named this time, recognises every result and shows the same."""
    first = run("quickstart.py", folder=tmp_path)
    path = str(tmp_path / "backups.db")
    second = run("quickstart.py", path, folder=tmp_path)
    assert second[0] == f"{path}: 11 replayed"
    assert second[1:] == first[1:]


def test_the_embedded_transaction_stores_both_or_neither(tmp_path: Path) -> None:
    """The job that failed is still running and has no run."""
    assert run("embedded_transaction.py", folder=tmp_path) == [
        "job 2: a backup that printed nothing is not done",
        "job 1 is done",
        "job 2 is running",
        "1 run is stored",
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "result", json.loads((RESULTS / "results.json").read_text())["results"], ids=lambda r: r["log"]
)
def test_a_real_log_comes_back_byte_for_byte(store: backuplog.Store, result: dict[str, str]) -> None:
    """What restic and borg printed is what is read, and a second copy of the result is a replay."""
    agent_id = backuplog.register_agent(store, "8826735d-e9bc-5bbd-9a05-08efdcdb8c2a").id
    log = (RESULTS / result["log"]).read_bytes()
    outcomes = [backuplog.ingest_task_result(store, agent_id, {**result, "log": log}).outcome for _ in range(2)]
    assert outcomes == ["created", "replayed"]
    assert backuplog.read_log(store, result["taskId"]) == log
