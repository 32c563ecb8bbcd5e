"""What the command does to look after a store: prune, check, migrate, copy."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import pytest
from click.testing import CliRunner

import backuplog
from backuplog.cli import main
from backuplog.testing.checks import forsake
from backuplog.testing.common import payload

Call = Callable[..., Any]

AGENT = UUID(int=1)
DATA = Path(__file__).parent.parent / "data"


def fill(url: str, *sent: dict[str, Any], tenant_id: UUID = backuplog.DEFAULT_TENANT, days: int = 0) -> list[UUID]:
    """Take results in that came some days ago, and give the ids of their runs."""
    with backuplog.open_store(url, tenant_id=tenant_id) as store:
        backuplog.register_agent(store, AGENT)
        received_at = datetime.now(UTC) - timedelta(days=days)
        answers = backuplog.ingest_task_results(store, [(AGENT, one) for one in sent], received_at=received_at)
        return [answer.run_id for answer in answers if isinstance(answer, backuplog.Receipt)]


# --- prune -------------------------------------------------------------------------------------------------------


def test_prune_says_what_it_would_do_and_does_it(url: str, call: Call, ask: Call) -> None:
    """A dry run removes nothing and tells the same; the last success and what is young enough stay."""
    policy = str(uuid4())
    fill(url, *(payload(policyId=policy, log="old log") for _ in range(4)), days=100)
    fill(url, payload(policyId=policy, log="young log"), days=1)
    would = ask("prune", "--keep-runs", "90d", "-n")
    assert (would["runs_removed"], would["logs_removed"], would["is_dry_run"]) == (4, 4, True)
    assert "would remove" in call("prune", "--keep-runs", "12w", "--dry-run").stdout
    done = ask("prune", "--keep-runs", "90d", "--keep-last", "2")
    assert (done["runs_removed"], done["is_finished"], done["kept"]) == (3, True, {"keep_last": 1})
    assert ask("prune", "--keep-logs", "0s", "--keep-failed-logs", "0s", "--log-bytes", "1GiB")["logs_removed"] == 1
    with backuplog.open_store(url) as store:
        assert [run.log_state for run in backuplog.query_runs(store).runs] == ["complete", "expired"]


def test_a_budget_ends_a_prune(url: str, call: Call, ask: Call) -> None:
    """Out of time it has not finished, says so, and goes on when it is called again."""
    fill(url, *(payload(log="old log", status="failed") for _ in range(4)), days=100)
    arguments = ("prune", "--keep-runs", "90d")
    assert ask(*arguments, "--budget", "0s")["is_finished"] is False
    assert "call it again" in call(*arguments, "--budget", "0s").stdout
    assert ask(*arguments)["runs_removed"] == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a rule"),
        (["--keep-last", "3"], "give a rule"),
        (["--keep-runs", "soon"], "must be a number and a unit"),
        (["--keep-runs", "10"], "must be a number and a unit"),
        (["--keep-runs", "999999999w"], "must be shorter"),
        (["--log-bytes", "10 parsecs"], "must be a size such as 10GiB"),
        (["--keep-runs", "1d", "--keep-logs", "2d"], "a log goes with its run"),
    ],
    ids=str,
)
def test_prune_wants_a_rule_that_can_be_kept(url: str, call: Call, arguments: list[str], message: str) -> None:
    """Without a rule, or with one that nobody understands, nothing is removed and the exit code is 2."""
    run_ids = fill(url, payload(log="log", status="failed"), days=10_000)
    assert message in call("prune", *arguments, code=2).stderr
    with backuplog.open_store(url) as store:
        assert backuplog.get_run(store, run_ids[0]).log_state == "complete"


# --- check -------------------------------------------------------------------------------------------------------


def test_check_finds_nothing_where_nothing_is_wrong(url: str, call: Call, ask: Call) -> None:
    """A store whose logs are whole is said to be so, with an exit code of 0."""
    fill(url, payload(log="log"), payload())
    assert [line.rstrip() for line in call("check").stdout.splitlines()] == [
        "runs            2",
        "whole logs      1, 3 Bytes",
        "damaged logs    0",
        "lost logs       0",
        "logs of no run  0",
    ]
    found = ask("check")
    assert (found["runs"], found["logs"], found["damaged"], found["orphaned"]) == (2, 1, {}, [])


def test_check_names_what_is_damaged_and_what_belongs_to_no_run(url: str, call: Call, ask: Call) -> None:
    """Damage and logs of no run are named, a few for people and all for programs, and the exit code is 1."""
    damaged, orphaned, *_ = fill(url, *(payload(log="log") for _ in range(30)))
    with backuplog.open_store(url) as store:
        place = forsake(store, orphaned)
        call("check", code=1)
        stored = store.backend.find_run(damaged)
        assert stored is not None
        hole = backuplog.backend.Amendment(read=stored, write=stored, drop=0)
        assert store.backend.submit([hole]) == [True]
    found = ask("check", code=1)
    assert (found["damaged_logs"], [*found["damaged"]]) == (1, [str(damaged)])
    assert (found["orphaned_logs"], found["orphaned"]) == (1, [[str(place[0]), place[1]]])
    shown = call("check", code=1).stdout
    assert f"{damaged}: the log of run" in shown
    assert str(orphaned) in shown
    with backuplog.open_store(url) as store:
        for run in backuplog.query_runs(store).runs:
            if run.log_state == "complete" and run.id != damaged:
                forsake(store, run.id)
    assert "and 9 more" in call("check", code=1).stdout


def test_check_stops_and_goes_on(url: str, ask: Call) -> None:
    """Out of time it says where to go on."""
    fill(url, payload(log="log"), payload(log="log"))
    first = ask("check", "--budget", "0s")
    assert (first["runs"], first["orphaned_logs"]) == (1, None)
    assert ask("check", "--cursor", first["next_cursor"])["runs"] == 1


def test_check_looks_at_one_tenant(url: str, ask: Call) -> None:
    """What is another tenant's is not counted."""
    fill(url, payload(log="log"))
    fill(url, payload(log="log"), payload(log="log"), tenant_id=UUID(int=5))
    assert ask("check")["runs"] == 1
    assert ask("--tenant", UUID(int=5), "check")["runs"] == 2


def test_check_makes_nothing_where_there_is_nothing(call: Call, tmp_path: Path) -> None:
    """Where there is no database or no schema, it says so, and makes neither."""
    assert call("check", code=3).stderr.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


# --- migrate -----------------------------------------------------------------------------------------------------


def test_migrate_says_what_it_did(call: Call, ask: Call) -> None:
    """The first call makes the schema, and the second has nothing to do."""
    assert ask("migrate")["applied"]
    assert ask("migrate") == {"applied": []}
    assert "up to date" in call("migrate").stdout
    assert ask("check")["runs"] == 0


def test_migrate_names_what_an_old_database_lacks(tmp_path: Path, call: Call) -> None:
    """A database of an earlier version is brought up to date, by name; one of a later version is left alone."""
    old = tmp_path / "old.db"
    shutil.copy(DATA / "sqlite" / "schema-1.db", old)
    there = ("--url", f"sqlite:///{old}")
    assert call(*there, "migrate").stdout.split() == [
        "applied",
        "m002_time_index_for_types_and_snapshots",
        "m003_live_logs",
        "m004_index_of_kinds",
    ]
    with sqlite3.connect(old) as connection:
        connection.execute(
            "INSERT INTO backup_migrations (migration_set, name, applied_at) VALUES ('backuplog', 'm999_future', '')"
        )
    connection.close()
    assert "newer version" in call(*there, "migrate", code=3).stderr


# --- all of them -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["prune", "check", "migrate", "ingest", "import-logs", "copy"])
def test_each_says_what_it_does(name: str) -> None:
    """Each has a description and a word on every option, within 80 columns."""
    shown = CliRunner().invoke(main, [name, "--help"]).stdout
    assert max(map(len, shown.splitlines())) <= 80
    for option in main.commands[name].params:
        is_shown = isinstance(option, click.Option) and not option.hidden
        assert not is_shown or option.help, option.name


def test_the_store_may_be_named_behind_the_command(url: str, tmp_path: Path) -> None:
    """The URL and the tenant may stand behind the name of the command, and each result on a line of its own."""
    fill(url, payload(log="log"), tenant_id=UUID(int=5))
    arguments = ["check", "--url", url, "--tenant", str(UUID(int=5)), "--nl"]
    shown = CliRunner().invoke(main, arguments).stdout
    assert (shown.count("\n"), json.loads(shown)["runs"]) == (1, 1)
    done = CliRunner().invoke(main, ["migrate", "--url", f"sqlite:///{tmp_path / 'no' / 'folder.db'}"])
    assert (done.exit_code, "folder" in done.stderr) == (4, True)


def test_an_interrupted_command_says_so(url: str, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends a command with 130, and what was done stays done."""
    fill(url, *(payload(log="old log", status="failed") for _ in range(60)), days=100)

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setitem(backuplog.prune.__kwdefaults__, "pause", interrupted)
    call("prune", "--keep-runs", "90d", code=130)
    with backuplog.open_store(url) as store:
        assert backuplog.query_runs(store).total == 10


# --- copy --------------------------------------------------------------------------------------------------------


def test_copy_takes_a_history_over(url: str, call: Call, ask: Call, tmp_path: Path) -> None:
    """All of a tenant is copied once, and of no other."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    fill(url, payload(log="log"), payload())
    fill(url, payload(), tenant_id=UUID(int=5))
    assert call("copy", url, target).stdout.split()[4:10] == ["copied", "2", "updated", "0", "equal", "0"]
    done = ask("copy", url, target)
    assert (done["copied"], done["equal"], done["next_cursor"]) == (0, 2, None)
    assert ask("--tenant", UUID(int=5), "copy", url, target)["copied"] == 1


def test_copy_names_what_needs_attention(url: str, call: Call, ask: Call, tmp_path: Path) -> None:
    """A run that the target has of another agent is named, and the exit code is 1; the same store twice is wrong."""
    target = f"sqlite:///{tmp_path / 'target.db'}"
    one = payload(log="log")
    fill(url, one)
    with backuplog.open_store(target) as store:
        backuplog.ingest_task_result(store, backuplog.register_agent(store, uuid4()).id, one)
    assert ask("copy", url, target, code=1)["conflicting"] == [one["taskId"]]
    assert one["taskId"] in call("copy", url, target, code=1).stdout
    assert "cursor" in call("copy", url, target, "--cursor", "nonsense", code=2).stderr
    missing = f"sqlite:///{tmp_path / 'missing.db'}"
    call("copy", missing, target, code=3)
    assert not (tmp_path / "missing.db").exists()


def test_copy_goes_on_after_it_was_killed(tmp_path: Path) -> None:
    """Killed in the middle, it has copied whole runs; called again, it copies the rest."""
    source, target = (f"sqlite:///{tmp_path / name}" for name in ("source.db", "target.db"))
    fill(source, *(payload(log=os.urandom(1_500_000)) for _ in range(24)))
    command = [sys.executable, "-m", "backuplog", "copy", source, target]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    with backuplog.open_store(target) as store:
        while not backuplog.query_runs(store).total:
            assert killed.poll() is None
            time.sleep(0.001)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        before = backuplog.query_runs(store).total or 0
        done = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        assert int(done[done.index("copied") + 1]) == 24 - before
        assert int(done[done.index("equal") + 1]) == before
        report = backuplog.check_logs(store)
        assert (report.runs, report.logs, report.damaged_logs, report.orphaned_logs) == (24, 24, 0, 0)
