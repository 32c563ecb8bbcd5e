"""Looking at runs: ``backuplog runs`` and ``backuplog show``."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from rich.cells import cell_len

import backuplog
from backuplog.convert import run_document
from backuplog.http.response import listed_run
from reported import HOSTILE, report_run

Call = Callable[..., Any]

HARMFUL = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What no terminal is to be given but by us."""


def lines_of(text: str) -> list[str]:
    """Give the lines of a table, none of which is wider than 80 columns or was wrapped."""
    lines = [line.rstrip() for line in text.splitlines()]
    assert max(map(cell_len, lines)) <= 80
    return lines


def test_runs_are_a_table_for_people(history: dict[str, Any], call: Call) -> None:
    """The newest run comes first, with its mark, agent, figures and the beginning of its id; marks and total below."""
    head, first, *rest = lines_of(call("runs").stdout)
    assert head.split() == ["started", "UTC", "agent", "task", "status", "took", "added", "id"]
    assert first == "! 2026-11-24 04:38 web-01  backup warning    0.69 s   3.8 KiB 9a1506c6"
    assert len(rest) == len(history["results"]) + 1
    assert "…" not in "".join(rest)
    assert rest[-2:] == ["+ success  ! warning  x failed or lost  - cancelled", "11 runs"]


def test_pages_follow_each_other(history: dict[str, Any], call: Call, ask: Call) -> None:
    """A page that is not the last ends with the cursor of the next, for people and in JSON."""
    page = ask("runs", "--limit", "6")
    assert (len(page["runs"]), page["total"]) == (6, 11)
    said = call("runs", "--limit", "6").stdout
    assert said.endswith(f"6 of 11 runs\nmore: --cursor {page['next_cursor']}\n")
    rest = ask("runs", "--cursor", page["next_cursor"])
    assert rest["next_cursor"] is None
    found = [run["id"] for run in (*page["runs"], *rest["runs"])]
    assert sorted(found) == sorted(result["taskId"] for result in history["results"])


@pytest.mark.usefixtures("history")
def test_json_is_that_of_the_contract(url: str, call: Call, ask: Call) -> None:
    """Each run is the same document as over HTTP, in one document or on a line each, in ASCII."""
    with backuplog.open_store(url) as store:
        runs = backuplog.query_runs(store).runs
        failed = next(run for run in runs if run.status == "failed")
    assert ask("runs")["runs"] == [listed_run(run) for run in runs]
    lines = call("runs", "--nl").stdout.splitlines()
    assert len(lines) == len(runs)
    assert all(line.isascii() and line.startswith('{"id": ') for line in lines)
    assert ask("show", failed.id) == run_document(failed)


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--agent", "8826735d-e9bc-5bbd-9a05-08efdcdb8c2a"], 4),
        (["--policy", "9c78f5de-26cf-5b79-85c8-2000399928f2"], 3),
        (["--task-type", "check"], 3),
        (["--status", "failed", "--status", "partial"], 4),
        (["--snapshot", "55e6e77d"], 1),
        (["--since", "2026-11-24T04:04:00Z"], 3),
        (["--since", "2026-11-24", "--until", "2026-11-24T05:01:00+01:00"], 5),
        (["--until", "5200w"], 0),
        (["--since", "5200w", "--task-type", "restore"], 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
@pytest.mark.usefixtures("history")
def test_filters_are_those_of_a_query(ask: Call, filters: list[str], count: int) -> None:
    """Each filter finds what the query of the library finds; times may be days or ages."""
    assert ask("runs", *filters)["total"] == count


def test_an_age_is_counted_back_from_now(url: str, ask: Call) -> None:
    """``--since 2d`` is two days ago."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        for days in (1, 3, 15):
            report_run(store, agent_id, hours=24 * days)
    assert [ask("runs", "--since", age)["total"] for age in ("2d", "96h", "2w", "3w")] == [1, 2, 2, 3]
    assert ask("runs", "--until", "2d")["total"] == 2


def test_show_tells_all_that_is_known(url: str, call: Call) -> None:
    """A run's fields and figures, what could not be read, and why it failed: the end of its log."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4(), hostname="db-01").id
        stats = backuplog.RunStats(
            data_added=3 * 2**20, warnings=0, dry_run=False, failed_items=[f"/srv/{n}" for n in range(13)]
        )
        log = "".join(f"line {number}\n" for number in range(40))
        fields = {"stats": stats, "log": log, "error_message": "exit code 3", "duration_seconds": 3723.5}
        run_id = report_run(store, agent_id, hours=1, status="failed", snapshot_id="abc", **fields).run_id
    lines = lines_of(call("show", run_id).stdout)
    fields_shown = dict(re.split(r"  +", line, maxsplit=1) for line in lines[: lines.index("")])
    assert fields_shown["run"] == str(run_id)
    assert fields_shown["status"] == "x failed"
    assert fields_shown["agent"] == f"db-01 ({agent_id})"
    assert fields_shown["took"] == "1 hour, 2 minutes and 3.5 seconds"
    assert fields_shown["error"] == "exit code 3"
    assert fields_shown["data added"] == "3.0 MiB (3,145,728 bytes)"
    assert (fields_shown["warnings"], fields_shown["dry run"]) == ("0", "no")
    assert "errors" not in fields_shown
    assert lines[lines.index("Could not be read:") + 10 :][:2] == ["  /srv/9", "  and 3 more: see --json"]
    assert lines[lines.index("The end of its log:") + 1 :] == [f"  | line {number}" for number in range(30, 40)]


@pytest.mark.usefixtures("history")
def test_a_run_is_found_by_the_beginning_of_its_id(call: Call, ask: Call) -> None:
    """Four digits are enough where no other run has them; upper case and other forms of the id will do."""
    run_id = "dd943cd2-752b-5687-8eb7-dff33bb5fcc3"
    for text in ("dd94", "DD943CD2", run_id[:20], run_id, run_id.replace("-", ""), f"urn:uuid:{run_id}"):
        assert ask("show", text)["id"] == run_id
    call("show", "dd94-", code=3)
    call("show", "dd9%", code=2)


def test_a_beginning_that_several_runs_share(url: str, call: Call, ask: Call) -> None:
    """Where several of the newest 1,000 runs begin alike, more is asked for; older runs need their whole id."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        ended = datetime(2026, 1, 1, tzinfo=UTC)
        ids = [UUID(int=(0xABCD0000 + number) << 96) for number in range(1001)]
        fields = {"policy_id": uuid4(), "task_type": "backup", "status": "success", "duration_seconds": 1}
        times = [ended + timedelta(minutes=number) for number in range(1001)]
        results = [
            backuplog.TaskResult(task_id=run_id, start_time=time, end_time=time, **fields)
            for run_id, time in zip(ids, times, strict=True)
        ]
        backuplog.ingest_task_results(store, [(agent_id, result) for result in results], received_at=times[-1])
    assert "1000 runs have an id that begins with abcd" in call("show", "abcd", code=2).stderr
    assert ask("show", "abcd0001")["id"] == str(ids[1])
    call("show", "abcd0000", code=3)
    assert ask("show", ids[0])["id"] == str(ids[0])


def test_nothing_hostile_reaches_a_terminal(url: str, call: Call) -> None:
    """Whatever agents send, in every field: no control sequence, no markup, no turned direction, no broken table."""
    markup = "[red]markup[/red] :smiley: [link=x]"
    hostile = f"\u202e\x1b[31m{HOSTILE}{markup}\nnew\r line \x9b2J\x1b]0;title\x07"
    with backuplog.open_store(url, redactor=None) as store:
        agent_id = backuplog.register_agent(store, uuid4(), hostname=hostile).id
        run_id = report_run(
            store,
            agent_id,
            hours=1,
            task_type=hostile[:50],
            status="failed",
            error_message=hostile * 500,
            snapshot_id=hostile,
            log="x" * 300_000 + f"\n{hostile}" * 20,
            stats=backuplog.RunStats(tool=hostile[:50], failed_items=[hostile * 5] * 100),
        ).run_id
        report_run(store, agent_id, hours=2, status=hostile[:50].lower(), progress=backuplog.Progress(step=hostile))
        report_run(store, agent_id, hours=2, status="running", progress=backuplog.Progress(step=hostile, percent=3))
        policy = str(backuplog.get_run(store, run_id).policy_id)
    commands = [["runs"], ["show", run_id], ["latest"], ["agents"], ["search", "new"], ["search", "xxx", "-C", "3"]]
    commands += [["summary", "--group-by", group] for group in ("agent", "policy", "task_type", "status")]
    for command in commands:
        for form in ([], ["--json"], ["--nl"]):
            shown = call(*command, *form).stdout
            assert not HARMFUL.search(shown), (command, HARMFUL.search(shown))
            assert len(shown) < 1_000_000
    for command in ("runs", "latest", "agents"):
        lines_of(call(command).stdout)
    assert "[red]markup[/red] :smiley: [link=x]" in call("show", run_id).stdout
    assert policy[:8] in call("latest").stdout


def test_a_narrow_and_a_wide_terminal(url: str, call: Call) -> None:
    """Long names give way first, and are whole where there is room; ids and times stay whole."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4(), hostname="a-very-long-host-name.example").id
        run_id = report_run(store, agent_id, hours=1, status="a-status-of-others").run_id
    narrow, wide = call("runs", env={"COLUMNS": "80"}).stdout, call("runs", env={"COLUMNS": "120"}).stdout
    lines_of(narrow)
    assert str(run_id)[:8] in narrow
    assert "a-very-l" in narrow
    assert "a-very-long-host-name.example" in wide
    assert "a-status-of-others" in wide


@pytest.mark.usefixtures("history")
def test_colours_are_for_terminals_only(call: Call) -> None:
    """No colour reaches a file; a terminal has them, unless its user does not want any."""
    assert "\x1b" not in call("runs").stdout
    forced = {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    assert "\x1b[1;31m" in call("runs", env=forced).stdout
    assert "31m" not in call("runs", env={**forced, "NO_COLOR": "1"}).stdout


def test_a_log_that_is_gone_is_no_error_of_show(url: str, call: Call) -> None:
    """A failed run whose log has expired is shown without it; the log itself is not there."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        run_id = report_run(store, agent_id, hours=1, status="failed", log="why\n").run_id
        backuplog.expire_log(store, run_id)
    shown = call("show", run_id).stdout
    assert "expired" in shown
    assert "why" not in shown
    assert "removed because of its age" in call("log", run_id, code=3).stderr
