"""Making task results of log files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from backuplog import InvalidTaskResult, RunStats, parse_log
from backuplog.cli.logs import result_of, status_of
from backuplog.parsers import TOOLS

CORPUS = Path(__file__).parent.parent / "data" / "parsers"
AGENT = UUID(int=1)
WHEN = datetime(2026, 11, 24, 2, tzinfo=UTC)


def result(log: bytes, **given: Any) -> Any:
    """Make a result as the command does."""
    options: dict[str, Any] = {"policy_id": None, "task_type": "backup", "status": None, **given}
    return result_of(log, WHEN, agent_id=AGENT, tools=TOOLS, **options)


@pytest.mark.parametrize("manifest", sorted(CORPUS.rglob("manifest.json")), ids=lambda path: path.parent.name)
def test_no_status_is_better_than_how_the_tool_ended(manifest: Path) -> None:
    """Of all real logs none of a tool that failed is a success, and none of one that did not fail has failed."""
    for case in json.loads(manifest.read_text())["cases"]:
        log = (manifest.parent / case["log"]).read_bytes()
        status = status_of(parse_log(log, task_type=case["task_type"]))
        if case["exit_code"] is not None:
            assert (status, case["exit_code"] == 0) not in {("success", False), ("failed", True)}, case["name"]


@pytest.mark.parametrize(
    ("stats", "status"),
    [
        (None, "unknown"),
        (RunStats(tool="tar"), "unknown"),
        (RunStats(has_snapshot=True), "success"),
        (RunStats(errors=0), "success"),
        (RunStats(has_snapshot=True, warnings=1), "warning"),
        (RunStats(has_snapshot=True, errors=1), "warning"),
        (RunStats(errors=1, total_files_processed=9), "warning"),
        (RunStats(has_snapshot=False, errors=1, total_files_processed=9), "failed"),
        (RunStats(failed_items=("a",)), "failed"),
    ],
)
def test_the_status_is_what_the_figures_say(stats: RunStats | None, status: str) -> None:
    """Nothing is a success that does not say so."""
    assert status_of(stats) == status


def test_the_same_log_is_the_same_task() -> None:
    """Its ids come from the agent and the bytes, so that importing it again is recognised; another log is another."""
    one, again, other = result(b"log"), result(b"log"), result(b"other")
    assert one == again
    assert (one.task_id != other.task_id, one.policy_id == other.policy_id) == (True, True)
    assert one.task_id.version == 5
    assert result(b"log", task_type="check").policy_id != one.policy_id
    assert result(b"log", policy_id=UUID(int=7)).policy_id == UUID(int=7)


def test_the_log_tells_how_long_it_took() -> None:
    """Status and duration are those of the log, and the end is that of the file; a given status wins."""
    log = (CORPUS / "restic" / "restic-0.18.1-backup-unreadable-vv.log").read_bytes()
    assert (result(log).status, result(log).end_time, result(log).log) == ("warning", WHEN, log)
    assert result(log, status="partial").status == "warning"
    assert result(log, status="failed").status == "failed"
    journal = (CORPUS / "restic" / "systemd-journal-prefix.log").read_bytes()
    assert (result(journal).duration_seconds, result(journal).status) == (247.0, "success")
    assert (result(b"nothing known").duration_seconds, result(b"nothing known").status) == (0.0, "unknown")
    with pytest.raises(InvalidTaskResult, match="task_type"):
        result(b"log", task_type="")
