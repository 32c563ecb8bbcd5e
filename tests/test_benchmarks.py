"""The program in tests/benchmarks, with work so small that its figures say nothing."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = Path(__file__).parent / "benchmarks"
LABEL = "ingest 2 KiB, restic text"
EVERYBODY = {
    "backuplog", "bare", "bare, checked", "write + fdatasync", "sqlite-utils", "SQLAlchemy", "Django", "Dagster",
}  # fmt: skip
WRONG = """
from contenders.bare_sqlite import BareSqlite


class Forgetful(BareSqlite):
    works = ("ingest", "newest")

    def read(self, task_id):
        return super().read(task_id)[:-1]

    def evidence(self, page):
        return super().evidence(page)[0][1:]
"""


def run(folder: Path, *arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run the program on SQLite with logs of 2 KiB, and give what it printed and its JSON."""
    command = [sys.executable, str(PROGRAM), "--database", "sqlite", "--largest", "2048", "--runs", "500"]
    files = ["--json", str(folder / "figures.json"), "--markdown", str(folder / "tables.md")]
    path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
    done = subprocess.run(
        [*command, "--scale", "0", *files, *arguments],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert (folder / "figures.json").exists(), done.stderr
    return done, json.loads((folder / "figures.json").read_text(encoding="utf-8"))


def test_every_contender_is_measured_and_written_down(tmp_path: Path) -> None:
    """Each contender that is installed has figures in the JSON and a column in the tables; who is not is named."""
    done, figures = run(tmp_path, "--only", "ingest,replay,reads")
    assert done.returncode == 0, done.stdout
    rows = {row["label"]: row["contenders"] for row in figures["rows"]}
    assert list(rows) == [LABEL, "replay 2 KiB", "read whole 2 KiB"]
    ingest = rows[LABEL]
    missing = figures["missing"].get("sqlite", {})
    assert ingest.keys() | missing.keys() == EVERYBODY
    assert missing.keys() <= {"Dagster"}
    assert ingest["bare"]["median_ratio"] == 1
    assert all(each["median"] > 0 and each["p10"] <= each["median"] for each in ingest.values())
    tables = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert f"| {LABEL} | " in tables
    assert all(name in done.stdout and name in tables for name in EVERYBODY)


def test_a_contender_that_gives_back_something_else_is_refused(tmp_path: Path) -> None:
    """Its time does not count, the tables say why, and the program fails; the others stand beside an earlier run."""
    earlier = {"rows": [{"database": "sqlite", "label": LABEL, "contenders": {"bare": {"median": 1000.0}}}]}
    (tmp_path / "earlier.json").write_text(json.dumps(earlier), encoding="utf-8")
    (tmp_path / "wrong.py").write_text(WRONG, encoding="utf-8")
    more = [f"--without={name}" for name in sorted(EVERYBODY - {"backuplog", "bare"})]
    more += ["--contender", "forgetful=wrong:Forgetful", "--earlier", str(tmp_path / "earlier.json")]
    done, figures = run(tmp_path, "--only", "ingest,lists", *more)
    assert done.returncode == 1
    for label, why in {
        LABEL: "a log of 2,048 bytes came back as 2,047 bytes",
        "list an agent, page 1 and total": "found other runs",
    }.items():
        row = next(row for row in figures["rows"] if row["label"] == label)
        assert why in row["refused"]["forgetful"]
        assert "forgetful" not in row["contenders"]
        assert {"backuplog", "bare"} <= row["contenders"].keys()
    tables = (tmp_path / "tables.md").read_text(encoding="utf-8")
    assert f"forgetful, {LABEL}: WrongReadBackError: a log of " in tables
    assert re.search(r"\| [\d.]+ → 0\.00 \|", tables)


def test_an_unknown_word_is_refused() -> None:
    """A work that there is not is named, with those that there are."""
    command = [sys.executable, str(PROGRAM), "--only", "reads,sleeping"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2
    assert "sleeping is none of ingest, batch, " in done.stderr
