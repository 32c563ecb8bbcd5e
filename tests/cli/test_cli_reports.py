"""What the command reports: latest, summary, overdue, search."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from click.testing import Result

Call = Callable[..., Result]

pytestmark = pytest.mark.usefixtures("history")


def test_latest_shows_what_fails_first(call: Call, ask: Callable[..., Any]) -> None:
    """Each policy has a line in 80 columns, what fails first; programs see the report of the contract."""
    lines = call("latest", env={"COLUMNS": "80"}).stdout.splitlines()
    assert "".join(line[0] for line in lines[1:8]) == "xxx!+++"
    assert lines[-1] == "7 in all; 3 failing"
    assert max(map(len, lines)) <= 80
    document = ask("latest", "--task-type", "backup")
    assert (document["total"], document["latest"][0]["consecutive_failures"]) == (3, 1)
    assert call("latest", "--limit", "2").stdout.splitlines()[-1] == "7 in all, 5 of them not shown; 3 failing"


def test_summary_adds_up(call: Call, ask: Callable[..., Any]) -> None:
    """Groups are shown with their counts and bytes, in 80 columns."""
    lines = call("summary", "--group-by", "policy", env={"COLUMNS": "80"}).stdout.splitlines()
    assert lines[-1] == "11 runs in 7 groups"
    assert max(map(len, lines)) <= 80
    [day] = ask("summary", "--group-by", "day")["groups"]
    assert (day["key"], day["runs"], day["by_status"]["failed"]) == ("2026-11-24", 11, 3)
    assert "Invalid value for '--group-by'" in call("summary", "--group-by", "moon", code=2).stderr


def test_overdue_exits_with_1_if_something_is_missing(call: Call, ask: Callable[..., Any], tmp_path: Path) -> None:
    """A file says what is expected; what is not met is listed, and a script learns it from the exit code."""
    policy = ask("latest", "--task-type", "backup")["latest"][0]["policy_id"]
    path = tmp_path / "expected.toml"
    path.write_text(
        f'[[expectation]]\npolicy_id = "{policy}"\ninterval = "5000w"\n'
        f'[[expectation]]\npolicy_id = "{uuid4()}"\ncron = "30 2 * * *"\ntime_zone = "Europe/Berlin"\ngrace = "2h"\n'
    )
    assert call("overdue", "--expectations", path, code=1).stdout.splitlines()[-1] == "1 of 2 overdue"
    [missing] = ask("overdue", "--expectations", path, code=1)["overdue"]
    assert (missing["expectation"]["cron"], missing["expectation"]["grace_seconds"]) == ("30 2 * * *", 7_200)
    path.write_text(f'[[expectation]]\npolicy_id = "{policy}"\ninterval = "5000w"\n')
    assert call("overdue", "--expectations", path).stdout == "0 of 1 overdue\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[", "cannot be read"),
        ("x = 1", "must have tables [[expectation]] and nothing else"),
        ("expectation = [1]", "expectation 1: must be a table"),
        ('[[expectation]]\npolicy_id = "x"\ninterval = "1d"', "expectation 1: policy_id: must be"),
        ('[[expectation]]\npolicy_id = "x"\ninterval = "soon"', "expectation 1: must be a number and a unit"),
        ('[[expectation]]\nwhen = "x"', "expectation 1: "),
    ],
)
def test_what_is_wrong_in_a_file_of_expectations_is_said(call: Call, tmp_path: Path, text: str, message: str) -> None:
    """The file, the table and the field are named in one line."""
    path = tmp_path / "expected.toml"
    path.write_text(text)
    refused = call("overdue", "--expectations", path, code=2)
    assert message in refused.stderr
    assert refused.stderr.startswith(f"error: {path}")
    assert refused.stderr.count("\n") == 1


def test_search_finds_lines(call: Call, ask: Callable[..., Any]) -> None:
    """Lines come with their run and number, programs see the matches of the contract, and finding nothing is 1."""
    found = call("search", "Fatal:")
    assert "dd943cd2 2026-11-24 04:00 11: Fatal: repository contains errors" in found.stdout
    assert found.stderr.startswith("2 lines found in 11 runs")
    document = ask("search", "fatal:", "-i", "-C", "1", "--status", "failed")
    assert [match["line"] for match in document["matches"]] == ["Fatal: repository contains errors"]
    lines = [json.loads(line) for line in call("search", "Fatal:", "--nl").stdout.splitlines()]
    assert [line["line_number"] for line in lines] == [3, 11]
    assert call("search", "nowhere", code=1).stdout == ""
    first = ask("search", "Fatal:", "--limit", "1")
    rest = ask("search", "Fatal:", "--cursor", first["next_cursor"])
    assert [len(part["matches"]) for part in (first, rest)] == [1, 1]
