"""What the command takes in: results as JSON, and log files."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog
from backuplog.cli import intake
from backuplog.testing.common import payload, without_room_for_logs

Call = Callable[..., Any]

AGENT = UUID(int=1)
DATA = Path(__file__).parent.parent / "data"
INDEX = json.loads((DATA / "results" / "results.json").read_text())
RESULTS = [
    {**result, "log": (DATA / "results" / result["log"]).read_text(errors="surrogateescape")}
    for result in INDEX["results"]
]
FOR_AGENT = ("--agent", AGENT)
FORMS: dict[str, bytes] = {
    "array": json.dumps(RESULTS).encode(),
    "indented": json.dumps(RESULTS, indent=2).encode(),
    "lines": "\n".join(map(json.dumps, RESULTS)).encode(),
}


# --- ingest ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_ingest_takes_every_form(url: str, call: Call, ask: Call, tmp_path: Path, form: str) -> None:
    """Real results are stored from a file or from standard input, once however often they come."""
    path = tmp_path / "results"
    path.write_bytes(FORMS[form])
    done = ask("ingest", path, *FOR_AGENT, "--register")
    assert done == {"outcomes": {"created": len(RESULTS)}, "lost_logs": 0, "refused": 0, "refusals": []}
    shown = call("ingest", "-", *FOR_AGENT, input=FORMS[form]).stdout
    assert shown.split() == ["replayed", str(len(RESULTS)), "refused", "0"]
    with backuplog.open_store(url) as store:
        assert backuplog.query_runs(store).total == len(RESULTS)


def test_ingest_takes_one_result(ask: Call) -> None:
    """A single result is taken, on one line or on several."""
    for indent in (None, 1):
        text = json.dumps(payload(log="log"), indent=indent)
        assert ask("ingest", "-", *FOR_AGENT, "--register", input=text)["outcomes"] == {"created": 1}
    assert ask("ingest", "-", *FOR_AGENT, input="")["outcomes"] == {}


def test_ingest_says_what_it_refuses_and_where(call: Call, ask: Call) -> None:
    """What is wrong is named by its line and its fields, in a form that does no harm; all else is stored."""
    texts = [payload(), payload(status="", durationSeconds=-1), "\x1b[31m\u202e", payload(), "{"]
    lines = "\n".join(text if text == "{" else json.dumps(text) for text in texts)
    done = call("ingest", "-", *FOR_AGENT, "--register", input=lines, code=1)
    assert done.stdout.split() == ["created", "2", "refused", "3"]
    errors = done.stderr.splitlines()
    assert [error.split(":")[0] for error in errors] == ["line 2", "line 3", "line 5"]
    assert "$.durationSeconds: " in errors[0]
    assert "$.status: " in errors[0]
    assert done.stderr.isprintable() or set(filter(lambda letter: not letter.isprintable(), done.stderr)) == {"\n"}
    again = ask("ingest", "-", *FOR_AGENT, input=lines, code=1)
    assert (again["outcomes"], again["refused"]) == ({"replayed": 2}, 3)
    assert [one["place"] for one in again["refusals"]] == ["line 2", "line 3", "line 5"]
    broken = ask("ingest", "-", *FOR_AGENT, input=f"[{json.dumps(payload())},", code=1)
    assert (broken["outcomes"], broken["refusals"][0]["place"]) == ({"created": 1}, "end")


def test_ingest_names_a_thousand_refusals_at_most(call: Call) -> None:
    """However many are refused, no more than 1,000 are named."""
    done = call("ingest", "-", *FOR_AGENT, "--register", "--json", input="{}\n" * 1_200, code=1)
    found = json.loads(done.stdout)
    assert (found["refused"], len(found["refusals"]), len(done.stderr.splitlines())) == (1_200, 1_000, 1_001)


def test_ingest_wants_an_agent_that_is_known(call: Call, url: str) -> None:
    """An agent that nobody knows is not made known by mistake, and the message says how to."""
    assert "run backuplog migrate" in call("ingest", "-", *FOR_AGENT, input=json.dumps(payload()), code=3).stderr
    call("migrate")
    assert "--register" in call("ingest", "-", *FOR_AGENT, input=json.dumps(payload()), code=3).stderr
    assert "'--agent'" in call("ingest", "-", input="{}", code=2).stderr
    call("ingest", "/no/such/file", *FOR_AGENT, code=2)
    with backuplog.open_store(url) as store:
        assert backuplog.list_agents(store) == []


def test_a_log_that_is_lost_is_said(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A result whose log could not be stored is counted, so that it is sent again; a store that fails ends it all."""
    with backuplog.open_store(url) as store:
        backuplog.register_agent(store, AGENT)
        taken = intake.Intake(without_room_for_logs(store), AGENT)
        taken.take([intake.Item("line 1", json.dumps(payload(log="log")).encode(), 100)])
        assert (taken.is_whole, taken.lost_logs, taken.lines()[-2]) == (False, 1, ("logs lost", "1: send them again"))
    with pytest.raises(backuplog.StoreError, match="closed"):
        taken.take([intake.Item("line 1", json.dumps(payload()).encode(), 100)])
    assert capsys.readouterr().out == ""


def test_batches_are_bounded() -> None:
    """No batch has more than 500 items or 8 MiB, unless one item alone has more."""
    sizes = [1] * 700 + [5_000_000] * 3 + [100_000_000] + [1]
    found = [[item.size for item in batch] for batch in intake.batches(intake.Item("", b"", size) for size in sizes)]
    assert [len(batch) for batch in found] == [500, 201, 1, 1, 1, 1]
    assert [size for batch in found for size in batch] == sizes


# The peak that the system tells of a child would include that of the process which it was forked from.
MEASURED = """
import re, runpy, sys
try:
    runpy.run_module("backuplog", run_name="__main__", alter_sys=True)
finally:
    print(re.search(r"VmHWM:\\s*(\\d+)", open("/proc/self/status").read())[1], file=sys.stderr)
"""


def test_bombs_are_refused_in_bounded_memory(tmp_path: Path) -> None:
    """Lines of 100 MB, and of a million open brackets, are refused, and the result behind them is stored."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"

    def lines() -> Iterable[bytes]:
        yield b'{"log": "'
        yield from [b"x" * 1_000_000] * 100
        yield b'"}\n{"a": ' + b"[" * 10_000_000 + b"\n"
        yield b'{"taskId": ' + b"[0]," * 2_500_000 + b"\n"
        yield json.dumps(payload()).encode()

    command = [sys.executable, "-c", MEASURED, "--url", url, "ingest", "-", "--register", "--agent", str(AGENT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as running:
        assert running.stdin
        assert running.stdout
        assert running.stderr
        for line in lines():
            running.stdin.write(line)
        running.stdin.close()
        shown, errors = running.stdout.read(), running.stderr.read()
    assert running.returncode == 1
    assert shown.split() == [b"created", b"1", b"refused", b"3"]
    assert b"line 1: $: must not be longer than 67,108,864 bytes" in errors
    assert int(errors.split()[-1]) < 256 * 1_024


# --- import-logs -------------------------------------------------------------------------------------------------


def test_logs_are_imported_once(url: str, call: Call, ask: Call) -> None:
    """Real logs of restic become runs with the status, snapshot and figures that they tell, once."""
    folder = DATA / "results"
    done = ask("import-logs", folder, *FOR_AGENT, "--register")
    files = [path for path in folder.iterdir() if path.is_file()]
    assert (done["outcomes"], done["refused"]) == ({"created": len(files)}, 0)
    assert done["log_bytes"] == sum(path.stat().st_size for path in files)
    assert done["statuses"]["success"] >= 2
    shown = dict(line.split() for line in call("import-logs", *files, *FOR_AGENT).stdout.splitlines()[1:])
    assert (shown["replayed"], shown["refused"]) == (str(len(files)), "0")
    log = (folder / "restic-0.18.1-backup-first-vv.log").read_bytes()
    with backuplog.open_store(url) as store:
        runs = backuplog.query_runs(store).runs
        assert len({run.policy_id for run in runs}) == 1
        run = next(run for run in runs if run.log_bytes == len(log) and backuplog.read_log(store, run.id) == log)
        assert (run.status, run.task_type, run.agent_id) == ("success", "backup", AGENT)
        assert run.stats is not None
        assert run.snapshot_id == run.stats.snapshot_id is not None
        assert run.end_time is not None
        assert abs(run.end_time.timestamp() - (folder / "restic-0.18.1-backup-first-vv.log").stat().st_mtime) < 0.001


def test_what_is_given_wins(url: str, call: Call, ask: Call, tmp_path: Path) -> None:
    """Policy, type and status may be given; what is malformed is wrong usage, and nothing is stored."""
    (tmp_path / "a.log").write_text("a log")
    path, policy = tmp_path / "a.log", uuid4()
    given = ("--register", "--policy", policy, "--task-type", "check", "--status", "ok")
    assert ask("import-logs", path, *FOR_AGENT, *given)["statuses"] == {"success": 1}
    with backuplog.open_store(url) as store:
        run = backuplog.query_runs(store).runs[0]
        assert (run.policy_id, run.task_type, run.status) == (policy, "check", "success")
    for wrong in (("--task-type", ""), ("--status", " "), ("--policy", "x"), ("--agent", "x")):
        call("import-logs", path, *FOR_AGENT, *wrong, code=2)
    call("import-logs", *FOR_AGENT, code=2)
    assert "--register" in call("import-logs", path, "--agent", uuid4(), code=3).stderr


def test_odd_files_cost_no_others(call: Call, ask: Call, tmp_path: Path) -> None:
    """Pipes, links that go round, empty files and missing ones are named, with names that do no harm."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.log").write_text("a log")
    (folder / "empty\x1b[31m\n\u202e.log").touch()
    (folder / os.fsdecode(b"\xff.log")).write_text("another log")
    (folder / "round").symlink_to(".")
    os.mkfifo(folder / "pipe")
    done = call("import-logs", folder, tmp_path / "missing", *FOR_AGENT, "--register", code=1)
    assert done.stdout.split()[-4:] == ["created", "2", "refused", "4"]
    expected = [
        "is empty",
        "is no file but a pipe",
        "is a link to a folder",
        "cannot be read: No such file or directory",
    ]
    for line, why in zip(done.stderr.splitlines(), expected, strict=True):
        assert f": {why}" in line
    assert "\\u001b[31m \\u202e" in done.stderr
    done = ask("import-logs", folder, *FOR_AGENT, code=1)
    assert (done["outcomes"], done["refused"]) == ({"replayed": 2}, 3)
    (tmp_path / os.fsdecode(b"\xfe")).touch()
    assert "\\udcfe" in call("import-logs", tmp_path / os.fsdecode(b"\xfe"), *FOR_AGENT, code=1).stderr


def test_who_reads_no_refusals_loses_no_results(tmp_path: Path) -> None:
    """Where nobody reads what was refused, such as in ``2>&1 | head -1``, the rest is taken in all the same."""
    url, given = f"sqlite:///{tmp_path / 'backups.db'}", tmp_path / "given.ndjson"
    given.write_text("{}\n" * 700 + "".join(f"{json.dumps(payload())}\n" for _ in range(50)))
    command = [
        sys.executable,
        "-m",
        "backuplog",
        "--url",
        url,
        "ingest",
        str(given),
        "--register",
        "--agent",
        str(AGENT),
    ]
    ours, theirs = os.pipe()
    os.close(ours)
    subprocess.run(command, stderr=theirs, check=False, stdout=subprocess.DEVNULL)
    os.close(theirs)
    with backuplog.open_store(url) as store:
        assert backuplog.query_runs(store).total == 50
