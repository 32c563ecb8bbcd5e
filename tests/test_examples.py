"""The examples run, in a fresh process, and print what a user expects."""

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(name: str, *arguments: str) -> str:
    """Run an example and give what it prints."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_quickstart_shows_a_table_and_why_a_run_failed(tmp_path: Path) -> None:
    """Every real result is stored, listed and, at a second run, recognised."""
    path = str(tmp_path / "backups.db")
    first = run("quickstart.py", path)
    assert "11 created" in first
    assert "11 runs" in first
    assert "x 2026-11-24 04:04  mail-01  backup  failed" in first
    assert "Why backup failed on mail-01 (borg exited with 2):" in first
    assert "11 replayed" in run("quickstart.py", path)


def test_the_embedded_transaction_stores_both_or_neither() -> None:
    """The job that failed is still running and has no run."""
    assert run("embedded_transaction.py").splitlines() == [
        "job 2: a backup that printed nothing is not done",
        "job 1 is done",
        "job 2 is running",
        "1 run is stored",
    ]
