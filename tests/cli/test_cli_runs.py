"""What the command shows of runs and logs: runs, show, log."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from click.testing import Result

import backuplog
from backuplog.testing.common import payload

Call = Callable[..., Result]
RESULTS = Path(__file__).parent.parent / "data" / "results"
WARNING = "9a1506c6-1e24-5d81-8d6d-9b248f231255"
FAILED = "dd943cd2-752b-5687-8eb7-dff33bb5fcc3"
HOSTILE = "\x1b]0;x\x07\x1b[2J[red]\u202e\n" * 20
SGR = b"\x1b[31mred\x1b[0m\n"

pytestmark = pytest.mark.usefixtures("history")


def command(*arguments: str) -> list[str]:
    """Give the command as a process of its own."""
    return [sys.executable, "-m", "backuplog", *arguments]


def test_runs_are_listed_newest_first(call: Call, ask: Callable[..., Any]) -> None:
    """People see a line for each, a legend and the total, in 80 columns; programs see the fields of the contract."""
    lines = call("runs", env={"COLUMNS": "80"}).stdout.splitlines()
    assert lines[0].split() == ["started", "UTC", "agent", "task", "status", "took", "added", "id"]
    assert lines[1].split() == "! 2026-11-24 04:38 web-01 backup warning 0.69 s 3.8 KiB 9a1506c6".split()  # noqa: SIM905
    assert "".join(line[0] for line in lines[1:12]) == "!+x-++x+x++"
    assert lines[12:] == ["+ success  ! warning  x failed or lost  - cancelled", "11 runs"]
    assert max(map(len, lines)) <= 80
    listed = ask("runs")
    assert (listed["total"], len(listed["runs"]), listed["next_cursor"]) == (11, 11, None)
    assert listed["runs"][0]["stats"]["data_added"] == 3_917
    assert [json.loads(line) for line in call("runs", "--nl").stdout.splitlines()] == listed["runs"]


def test_runs_are_filtered_and_paged(ask: Callable[..., Any], call: Call) -> None:
    """Every filter of a query is an option, and a cursor leads on."""
    agent = ask("runs")["runs"][0]["agent_id"]
    assert ask("runs", "--agent", agent, "--status", "failed", "--status", "warning")["total"] == 2
    assert ask("runs", "--task-type", "check", "--since", "2026-11-24T04:00:30Z")["total"] == 2
    assert ask("runs", "--until", "2026-11-24")["total"] == 0
    assert ask("runs", "--snapshot", "4b20bb60", "--since", "99w")["total"] == 1
    first = ask("runs", "--limit", "6")
    rest = ask("runs", "--limit", "6", "--cursor", first["next_cursor"])
    assert len({run["id"] for run in (*first["runs"], *rest["runs"])}) == 11
    assert f"6 of 11 runs\nmore: --cursor {first['next_cursor']}" in call("runs", "--limit", "6").stdout


def test_a_run_is_shown_with_what_went_wrong(call: Call, ask: Callable[..., Any]) -> None:
    """Its fields, what could not be read, and the end of a failed run's log; a beginning of the id is enough."""
    shown = call("show", WARNING[:4]).stdout
    assert "locked-dir" in shown
    assert "3.8 KiB (3,917 bytes)" in shown
    assert "Fatal: repository contains errors" in call("show", FAILED).stdout
    assert ask("show", WARNING)["id"] == WARNING


@pytest.mark.parametrize(
    ("run", "code", "message"),
    [
        (str(UUID(int=0)), 3, "run"),
        ("0000", 3, "none of the newest 1,000 runs has an id that begins with 0000"),
        ("xyz", 2, "must be the id of a run, or at least its first 4 characters"),
    ],
)
def test_a_run_that_is_not_there_is_said_in_a_line(call: Call, run: str, code: int, message: str) -> None:
    """The exit code tells a run that is missing from an id that is none."""
    for verb in ("show", "log"):
        refused = call(verb, run, code=code)
        assert refused.stderr.count("\n") == 1
        assert message in refused.stderr
        assert refused.stdout == ""


def test_a_log_is_printed_byte_for_byte(call: Call) -> None:
    """What goes into a pipe is what was stored; --tail gives its last lines."""
    log = (RESULTS / "restic-0.18.1-backup-unreadable-vv.log").read_bytes()
    assert call("log", WARNING).stdout_bytes == log
    assert call("log", WARNING, "--tail", "2").stdout_bytes == b"".join(log.splitlines(keepends=True)[-2:])
    assert call("log", WARNING, "--follow").stdout_bytes == log
    assert "--tail and --follow" in call("log", WARNING, "--follow", "--tail", "2", code=2).stderr


def test_a_terminal_gets_colours_and_nothing_else_to_obey(history: str) -> None:
    """On a terminal colours are shown, a title or a moving cursor becomes visible, and --raw prints it all."""
    run_id = uuid4()
    with backuplog.open_store(history) as store:
        agent_id = backuplog.query_runs(store).runs[0].agent_id
        sent = payload(taskId=str(run_id), log=SGR.decode() + "\x1b]0;title\x07\x1b[2J\n")
        backuplog.ingest_task_result(store, agent_id, sent)
    printed: list[bytes] = []
    for options in ((), ("--raw",)):
        ours, theirs = pty.openpty()
        subprocess.run(command("--url", history, "log", str(run_id), *options), stdout=theirs, check=True)
        os.close(theirs)
        printed.append(os.read(ours, 10_000))
        os.close(ours)
    assert SGR.replace(b"\n", b"\r\n") in printed[0]
    assert b"\x1b]" not in printed[0]
    assert b"\x1b[2J" not in printed[0]
    assert b"\\u001b]0;title\\u0007" in printed[0]
    assert b"\x1b]0;title\x07\x1b[2J" in printed[1]


def test_nothing_that_others_say_reaches_a_terminal_as_it_is(history: str, call: Call) -> None:
    """Hostnames, types, statuses, messages and snapshots are shown on their line, and obey nobody."""
    with backuplog.open_store(history) as store:
        agent_id = backuplog.register_agent(store, uuid4(), hostname=HOSTILE[:200]).id
        fields = {"taskType": HOSTILE[:50], "status": "failed", "errorMessage": HOSTILE, "snapshotId": HOSTILE[:200]}
        run_id = uuid4()
        sent = payload(taskId=str(run_id), log=HOSTILE, startTime="2026-11-25T00:00:00Z", **fields)
        backuplog.ingest_task_result(store, agent_id, sent)
    for arguments in (("runs",), ("show", run_id), ("latest",), ("search", "[red]"), ("agents",)):
        shown = call(*arguments).stdout
        assert not set("\x1b\x07\u202e") & set(shown)
        assert "[red]" in shown or arguments == ("runs",)
    assert len(call("runs").stdout.splitlines()) == 12 + 3


def test_a_pipe_that_closes_early_is_no_error(history: str) -> None:
    """Whoever has read enough stops the command, which exits with 0 and says nothing."""
    long = uuid4()
    with backuplog.open_store(history) as store:
        agent_id = backuplog.query_runs(store).runs[0].agent_id
        backuplog.ingest_task_result(store, agent_id, payload(taskId=str(long), log="line\n" * 500_000))
    for arguments in (("log", str(long)), ("runs", "--nl")):
        process = subprocess.Popen(
            command("--url", history, *arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)
        process.stderr.close()


def test_following_shows_what_comes_until_it_is_interrupted(history: str) -> None:
    """What is appended comes out at once; Ctrl-C ends it with 130 and without a traceback."""
    run_id = uuid4()
    with backuplog.open_store(history) as store:
        agent_id = backuplog.query_runs(store).runs[0].agent_id
        backuplog.ingest_task_result(store, agent_id, payload(taskId=str(run_id), status="running", log=None))
        backuplog.append_log(store, agent_id, run_id, b"one\n", offset=0)
        process = subprocess.Popen(
            command("--url", history, "log", "-f", str(run_id)), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"one\n"
        backuplog.append_log(store, agent_id, run_id, b"two\n", offset=4)
        assert process.stdout.readline() == b"two\n"
        process.send_signal(signal.SIGINT)
        assert (process.stderr.read(), process.wait()) == (b"", 130)
        process.stdout.close()
        process.stderr.close()
