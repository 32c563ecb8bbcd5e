"""What ran last, what runs come to, what is missing, and what logs say."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.cells import cell_len

import backuplog
from backuplog.cli.expectations import read_expectations
from backuplog.cli.frame import Refusal
from backuplog.http.pages import entry_document
from backuplog.http.searching import match_document
from reported import POLICY, report_run

Call = Callable[..., Any]


def lines_of(text: str) -> list[str]:
    """Give the lines of a table, none of which is wider than 80 columns."""
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(cell_len, lines)) <= 80
    return lines


# --- latest ------------------------------------------------------------------------------------------------------


def test_what_failed_comes_first(url: str, call: Call) -> None:
    """Each policy has a line, the failing ones first, then those whose last success is longest ago."""
    with backuplog.open_store(url) as store:
        for hostname, hours, status in (("young", 1, "success"), ("old", 50, "success"), ("bad", 3, "failed")):
            agent_id = backuplog.register_agent(store, uuid4(), hostname=hostname).id
            report_run(store, agent_id, hours=hours, status=status)
        report_run(store, agent_id, hours=4)  # of the one that failed since
    head, *rows = lines_of(call("latest").stdout)
    assert head.split() == ["agent", "policy", "task", "status", "last", "run", "last", "success", "failures"]
    policy = str(POLICY)[:8]
    assert [row.split() for row in rows[:3]] == [
        f"x bad {policy} backup failed 3 hours ago 4 hours ago 1".split(),
        f"+ old {policy} backup success 2 days ago 2 days ago".split(),
        f"+ young {policy} backup success an hour ago an hour ago".split(),
    ]
    assert rows[3:] == ["+ success  x failed or lost", "3 in all; 1 failing"]
    assert lines_of(call("latest", "--limit", "1").stdout)[-1] == "3 in all, 2 of them not shown; 1 failing"


@pytest.mark.usefixtures("history")
def test_the_latest_in_json(url: str, call: Call, ask: Call) -> None:
    """Entries are those of the contract, as many as are asked for, with how many there are."""
    answer = ask("latest", "--limit", "2", "--task-type", "backup")
    assert (len(answer["latest"]), answer["total"]) == (2, 3)
    assert len(call("latest", "--nl").stdout.splitlines()) == 7
    with backuplog.open_store(url) as store:
        known = {each.last_run.id: entry_document(each) for each in backuplog.latest_runs(store)}
    for entry in answer["latest"]:
        expected = known[UUID(entry["last_run"]["id"])]
        ages = [each.pop("age_seconds") for each in (entry, expected)]
        assert entry == expected
        assert ages == [None, None] or 0 <= ages[1] - ages[0] < 60


# --- summary -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("history")
def test_runs_are_added_up(call: Call) -> None:
    """Agents have names, policies the beginnings of their ids; unknown sums are no zero, and totals stand below."""
    head, *rows = lines_of(call("summary", "--group-by", "agent").stdout)
    assert head.split() == ["agent", "runs", "success", "failed", "took", "added", "processed", "logs"]
    assert [row.split() for row in rows] == [
        ["db-01", "4", "75%", "1", "3.57", "s", "3.4", "MiB", "7.3", "MiB", "27.5", "KiB"],
        ["web-01", "4", "25%", "1", "15.06", "s", "3.8", "KiB", "1.1", "KiB", "4.2", "KiB"],
        ["mail-01", "3", "67%", "1", "3.79", "s", "2.9", "MiB", "4.6", "MiB", "21.5", "KiB"],
        ["11", "runs", "in", "3", "groups"],
    ]
    rows = lines_of(call("summary", "--group-by", "policy", "--task-type", "check", "--limit", "1").stdout)
    assert len(rows) == 3
    assert rows[1].split() == ["34b96443", "1", "100%", "0", "1.13", "s", "—", "—", "388", "Bytes"]
    assert rows[-1] == "3 runs in 3 groups, 2 of them not shown"
    assert call("summary", "--group-by", "day", "--status", "lost").stdout == "0 runs in 0 groups\n"


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("group_by", "groups"), [("day", 1), ("week", 1), ("status", 4), ("task_type", 3)])
def test_sums_in_json(url: str, call: Call, ask: Call, group_by: Any, groups: int) -> None:
    """Groups are those of the contract, for each word to group by."""
    with backuplog.open_store(url) as store:
        expected = [entry_document(each) for each in backuplog.summarize_runs(store, group_by=group_by)]
    assert ask("summary", "--group-by", group_by) == {"groups": expected, "total": groups}
    assert len(call("summary", "--group-by", group_by, "--nl").stdout.splitlines()) == groups


# --- overdue -----------------------------------------------------------------------------------------------------


def test_what_is_overdue_is_found(url: str, call: Call, ask: Call, tmp_path: Path) -> None:
    """What was not reported in time is listed, the worst first, with exit code 1; else the code is 0."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4(), hostname="db-01").id
        report_run(store, agent_id, hours=50)
        report_run(store, agent_id, hours=0, status="running")
    file = tmp_path / "expectations.toml"
    file.write_text(f"""
        [[expectation]]
        policy_id = "{POLICY}"
        agent_id = "{agent_id}"
        interval = "1d"
        grace = "2h"
        [[expectation]]
        policy_id = "{uuid4()}"
        cron = "30 2 * * *"
        time_zone = "Europe/Berlin"
    """)
    head, first, second, *rest = lines_of(call("overdue", "--expectations", file, code=1).stdout)
    assert head.split() == ["policy", "agent", "task", "expected", "late", "by", "last", "good", "run"]
    assert first.split()[0] == "x"
    assert first.split()[2:] == ["any", "backup", "—", "—", "never"]
    assert second.split() == f"… {str(POLICY)[:8]} db-01 backup a day ago a day 2 days ago".split()
    assert rest == ["x missing  … one is running now", "2 of 2 overdue"]
    answer = ask("overdue", "--expectations", file, code=1)
    assert answer["total"] == 2
    assert answer["overdue"][1]["expectation"]["interval_seconds"] == 86_400
    assert answer["overdue"][1]["last_reported"]["policy_id"] == str(POLICY)
    assert len(call("overdue", "--expectations", file, "--nl", code=1).stdout.splitlines()) == 2
    file.write_text(f'[[expectation]]\npolicy_id = "{POLICY}"\ninterval = "3d"\n')
    assert call("overdue", "--expectations", file).stdout == "0 of 1 overdue\n"
    assert ask("overdue", "--expectations", file) == {"overdue": [], "total": 0}


def test_expectations_are_read(tmp_path: Path) -> None:
    """Each field of an expectation may stand in the file; times are those of TOML or RFC 3339."""
    file = tmp_path / "expectations.toml"
    file.write_text(f"""
        [[expectation]]
        policy_id = "{POLICY}"
        task_type = "check"
        interval = "90m"
        since = 2026-11-24T04:00:00+01:00
        [[expectation]]
        policy_id = "{POLICY}"
        cron = "*/5 * * * *"
        since = "2026-11-24T03:00:00Z"
    """)
    since = datetime(2026, 11, 24, 3, tzinfo=UTC)
    assert read_expectations(file) == [
        backuplog.Expectation(policy_id=POLICY, task_type="check", interval=timedelta(minutes=90), since=since),
        backuplog.Expectation(policy_id=POLICY, cron="*/5 * * * *", since=since),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have tables"),
        ("expectation = 1", "must have tables"),
        ("expectation = [1]", "expectation 1: must be a table"),
        ("[expectation]\na = 1", "must have tables"),
        ("[[expectation]]\n[other]", "must have tables"),
        ("[[expectation", "cannot be read"),
        ("\xff", "cannot be read"),
        ('[[expectation]]\ninterval = "1d"', "expectation 1: policy_id: is required"),
        (f'[[expectation]]\npolicy_id = "{POLICY}"', "interval: give an interval or a cron line"),
        ('[[expectation]]\ninterval = 5\ngrace = "x"\nintervall = "1d"', "intervall: is not known; grace: must be"),
        ("[[expectation]]\ninterval = 5", "interval: must be a number and a unit"),
        (f'[[expectation]]\npolicy_id = "{POLICY}"\ncron = "1 2 3"', "cron: "),
        (f'[[expectation]]\npolicy_id = "{POLICY}"\ninterval = "1d"\nsince = 2026-01-01', "since: must be an RFC 3339"),
    ],
)
def test_expectations_that_cannot_be_used(text: str, message: str, tmp_path: Path) -> None:
    """A file that is not right is refused by its name, the place of the table, and each bad field."""
    file = tmp_path / "expectations.toml"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(Refusal) as refusal:
        read_expectations(file)
    assert message in str(refusal.value)
    assert str(file) in str(refusal.value)
    assert refusal.value.exit_code == 2


# --- search ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("history")
def test_lines_are_found(call: Call) -> None:
    """Lines come with the run, its time and their numbers; what was read is said beside them; none is exit code 1."""
    result = call("search", "Fatal:")
    assert result.stdout.splitlines() == [
        "0e329053 2026-11-24 04:03 3: Fatal: unable to save snapshot: context canceled",
        "dd943cd2 2026-11-24 04:00 11: Fatal: repository contains errors",
    ]
    assert result.stderr == "2 lines found in 11 runs, 53.2 KiB read\n"
    assert call("search", "FATAL:", code=1).stdout == ""
    assert len(call("search", "FATAL:", "-i", "--status", "cancelled").stdout.splitlines()) == 1
    around = call("search", "Fatal: rep", "-C", "1", "--task-type", "check").stdout.splitlines()
    assert [line.split(" ", 3)[3] for line in around] == ["10- ", "11: Fatal: repository contains errors"]


@pytest.mark.usefixtures("history")
def test_a_search_goes_on(url: str, call: Call, ask: Call) -> None:
    """A search that has reached its limit says the cursor to go on with; in JSON a match is that of the contract."""
    first = ask("search", "Fatal:", "--limit", "1")
    assert (first["matches"][0]["line_number"], first["damaged"], first["replaced"]) == (3, [], [])
    said = call("search", "Fatal:", "--limit", "1").stderr
    assert f"; more: --cursor {first['next_cursor']}\n" in said
    second = ask("search", "Fatal:", "--cursor", first["next_cursor"])
    assert (len(second["matches"]), second["next_cursor"]) == (1, None)
    with backuplog.open_store(url) as store:
        found = [match_document(match) for match in backuplog.search_logs(store, "Fatal:")]
    assert [*first["matches"], *second["matches"]] == found
    assert len(call("search", "Fatal:", "--nl").stdout.splitlines()) == 2


def test_a_search_says_what_it_could_not_read(url: str, call: Call, ask: Call) -> None:
    """A log that is damaged is counted and named, and the other logs are searched."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        whole = report_run(store, agent_id, hours=2, log="needle\n").run_id
        damaged = report_run(store, agent_id, hours=1, log="needle\n").run_id
        stored = store.backend.find_run(damaged)
        assert stored is not None
        assert store.backend.submit([backuplog.backend.Amendment(read=stored, write=stored, drop=0)]) == [True]
    result = call("search", "needle")
    assert result.stdout.startswith(str(whole)[:8])
    assert "; damaged or replaced: 1 log, run backuplog check" in result.stderr
    assert ask("search", "needle")["damaged"] == [str(damaged)]
