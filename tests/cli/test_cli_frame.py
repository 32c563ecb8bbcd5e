"""What all commands share: stores, errors in one line, exit codes, help, completion, pipes that close."""

import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import click
import pytest
from click.testing import CliRunner

import backuplog
from backuplog.cli import main

Call = Callable[..., Any]

NOBODY = "0b3ffb6e-4c13-4d0f-9d0b-6c1b1a7d3c55"
COMMAND = [sys.executable, "-m", "backuplog"]


def commands(group: click.Group, *path: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Give each command with its name, and those within groups."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, *path, name)


ALL = [((), main), *commands(main)]
LOOKING = [
    ("runs",),
    ("show", "abcd"),
    ("log", "abcd"),
    ("latest",),
    ("summary", "--group-by", "day"),
    ("search", "x"),
    ("agents",),
    ("token", "list", NOBODY),
    ("token", "revoke", "abcd"),
]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.delenv("BACKUPLOG_URL", raising=False)
    return tmp_path / "here"


def run(*arguments: str, code: int, **environment: str) -> click.testing.Result:
    """Run the command in this process, without a store of its own."""
    result = CliRunner(env=environment).invoke(main, arguments)
    assert result.exit_code == code, (result.output, result.exception)
    return result


# --- help --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "command"), ALL, ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_help_explains_everything(path: tuple[str, ...], command: click.Command) -> None:
    """Each command says what it does, what each option is for, and takes -h; nothing is wider than 80 columns."""
    shown = run(*path, "-h", code=0).stdout
    assert command.help
    assert command.help in " ".join(shown.split()) or command.help.split("\n")[0] in " ".join(shown.split())
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert option.help, option.name
            assert option.opts[-1] in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_help_names_the_exit_codes_and_every_command() -> None:
    """The first page of help says what scripts can rely on."""
    shown = run("--help", code=0).stdout
    codes = re.findall(r"^ +(\d+) ", shown.split("Exit codes:")[1], flags=re.MULTILINE)
    assert codes == ["0", "1", "2", "3", "4", "130"]
    assert all(f"\n  {name} " in shown for name in main.commands)


def test_it_is_a_module_and_says_its_version() -> None:
    """``python -m backuplog`` is the command; without one to run it shows its help and exits with 2."""
    said = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True).stdout
    assert said == f"backuplog, version {version('backuplog')}\n"
    assert "Usage: backuplog" in run(code=2).stderr
    assert "No such command" in run("rums", code=2).stderr


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("runs --status s", ["success"]),
        ("search x --status ", ["cancelled", "failed", "lost", "pending", "running", "success", "warning"]),
        ("summary --group-by ", ["agent", "policy", "task_type", "status", "day", "week"]),
        ("la", ["latest"]),
        ("token ", ["issue", "list", "revoke"]),
    ],
)
def test_the_shell_completes_words(words: str, found: list[str]) -> None:
    """Commands, statuses and what runs are grouped by are completed, without a store."""
    *_, last = words.split(" ")
    environment = {
        "_BACKUPLOG_COMPLETE": "bash_complete",
        "COMP_WORDS": f"backuplog {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }
    result = CliRunner(env=environment).invoke(main, prog_name="backuplog")
    assert [line.removeprefix("plain,") for line in result.stdout.split()] == found
    assert all(line.startswith(last) for line in found)


# --- stores ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
def test_looking_makes_nothing(arguments: tuple[str, ...], somewhere: Path) -> None:
    """Where there is no database, a command that looks says so in one line, what to do, and leaves nothing behind."""
    said = run(*arguments, code=3).stderr
    assert said == f"error: there is no database at {somewhere / 'backups.db'}: run backuplog migrate\n"
    assert list(somewhere.iterdir()) == []


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: arguments[0])
def test_looking_migrates_nothing(url: str, arguments: tuple[str, ...]) -> None:
    """On each backend, a database without our tables stays as it is, and the message says what to do."""
    said = run("--url", url, *arguments, code=3).stderr
    assert re.fullmatch(r"error: .+: run backuplog migrate\n", said)
    with pytest.raises(backuplog.SchemaOutdated):
        backuplog.open_store(url, migrate=False)


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://somebody:sesame@127.0.0.1:1/x", 4),
        ("postgres://somebody:sesame@[bad/x", 4),
        ("oracle://somebody:sesame@host/x", 2),
        ("sesame", 2),
        ("sqlite:///here/is/none.db", 3),
    ],
)
def test_no_message_shows_a_password(url: str, code: int) -> None:
    """A store that cannot be opened is one line on standard error, which never repeats the URL."""
    said = run("--url", url, "runs", code=code)
    assert said.stdout == ""
    assert said.stderr.startswith("error: ")
    assert said.stderr.count("\n") == 1
    assert "sesame" not in said.stderr


@pytest.mark.parametrize("before", [(), ("copy", "sqlite://", "sqlite://")], ids=["command", "argument"])
def test_a_url_in_the_wrong_place_shows_no_password(before: tuple[str, ...]) -> None:
    """A URL for which ``--url`` was forgotten is refused without what may be its password."""
    said = run(*before, "postgresql://somebody:sesame@host/x", "runs", code=2)
    assert "postgresql://…@host/x" in said.stderr
    assert "sesame" not in said.output


def test_the_store_of_a_group_is_named_behind_it() -> None:
    """``--url`` also stands between a group and its command."""
    run("agents", "--url", "sqlite:///a.db", "register", NOBODY, code=0)
    assert "0 tokens" in run("token", "--url", "sqlite:///a.db", "list", NOBODY, code=0).stdout


def test_a_file_that_is_no_database(somewhere: Path) -> None:
    """What is no database of ours is left as it is."""
    (somewhere / "backups.db").write_text("a letter")
    assert "is not a SQLite database" in run("runs", code=4).stderr
    assert (somewhere / "backups.db").read_text() == "a letter"


def test_the_store_is_named_in_every_place(somewhere: Path) -> None:
    """The URL stands before a command, after it, or in the environment, and the nearest wins; so with the tenant."""
    run("migrate", "--url", "sqlite:///a.db", code=0)
    here, other = "sqlite:///a.db", "sqlite:///none.db"
    run("runs", code=0, BACKUPLOG_URL=here)
    run("--url", here, "runs", code=0, BACKUPLOG_URL=other)
    run("--url", other, "runs", "--url", here, code=0)
    run("agents", "--url", here, "register", "--tenant", NOBODY, code=0)
    assert run("agents", "--url", here, code=0).stdout == "0 agents\n"
    run("--tenant", "x", "runs", code=2)
    assert {path.name for path in somewhere.iterdir()} <= {"a.db", "a.db-wal", "a.db-shm"}


def test_tenants_see_their_own(call: Call, ask: Call) -> None:
    """A tenant's agents and runs are not those of another."""
    tenant = uuid4()
    call("agents", "register", "--tenant", tenant)
    assert ask("agents")["total"] == 0
    assert ask("agents", "--tenant", tenant)["total"] == 1


# --- errors ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["runs", "--limit", "0"], 2, "--limit"),
        (["runs", "--since", "yesterday"], 2, "an age like 7d"),
        (["runs", "--since", "0001-01-01T00:00:00+23:00"], 2, "an age like 7d"),
        (["runs", "--until", "999999999w"], 2, "an age like 7d"),
        (["runs", "--cursor", "x"], 2, "error: cursor: is not"),
        (["runs", "--status", ""], 2, "error: status: "),
        (["runs", "--agent", NOBODY], 3, "error: no such agent: see backuplog agents"),
        (["latest", "--agent", NOBODY], 3, "error: no such agent"),
        (["show", NOBODY], 3, "error: no such run: see backuplog runs"),
        (["show", "beef"], 3, "error: none of the newest 1,000 runs"),
        (["show", "a"], 2, "at least its first 4 characters"),
        (["log", NOBODY], 3, "error: no such run"),
        (["log", "dd943cd2", "--tail", "0"], 2, "--tail"),
        (["log", "dd943cd2", "--tail", "1", "-f"], 2, "error: --tail and --follow"),
        (["search", ""], 2, "error: text: "),
        (["search", "x", "--cursor", "x.y.z"], 2, "error: cursor: "),
        (["summary"], 2, "--group-by"),
        (["token", "issue", NOBODY], 3, "error: no such agent"),
        (["token", "issue", NOBODY, "--expires-in", "99999999w"], 2, "must be shorter"),
        (["token", "revoke", "0123456789abcdef"], 3, "error: there is no such token"),
        (["agents", "register", "--hostname", "x" * 254], 2, "error: hostname: "),
    ],
    ids=lambda value: " ".join(value)[:30] if isinstance(value, list) else "",
)
def test_an_error_is_said_on_standard_error(call: Call, arguments: list[str], code: int, message: str) -> None:
    """What is wrong and what to do is said on standard error, with an exit code for its kind, and nothing else."""
    result = call(*arguments, code=code)
    assert message in result.stderr
    assert result.stdout == ""


def test_a_word_that_nobody_knows_is_warned_of(call: Call) -> None:
    """A misspelled status finds nothing, and is said to be unknown."""
    call("migrate")
    result = call("runs", "--status", "succes")
    assert result.stdout == "0 runs\n"
    assert result.stderr.startswith("warning: A query asks for the status succes, which no run has")


# --- processes ---------------------------------------------------------------------------------------------------


def start(url: str, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    """Start the command as a process."""
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    environment = {**usual, "BACKUPLOG_URL": url, "COLUMNS": "80", **options.pop("environment", {})}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, stderr=subprocess.PIPE, **options)


@pytest.fixture
def url_of_a_file(tmp_path: Path) -> str:
    """Give a store on a file with 300 runs, whose list is longer than the buffer of a pipe, as is the log of one."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    agent_id = uuid4()
    with backuplog.open_store(url) as store:
        backuplog.register_agent(store, agent_id)
        fields = {"policy_id": uuid4(), "task_type": "backup", "status": "success", "duration_seconds": 1}
        sent = [backuplog.TaskResult(task_id=uuid4(), **fields) for _ in range(299)]
        sent.append(backuplog.TaskResult(task_id=UUID(int=0xFEED << 112), log="a line\n" * 50_000, **fields))
        backuplog.ingest_task_results(store, [(agent_id, each) for each in sent])
    return url


@pytest.mark.parametrize("command", ["runs --limit 1000 --json", "runs --limit 1000 --nl", "log feed"])
def test_a_pipe_that_closes_is_no_error(url_of_a_file: str, command: str) -> None:
    """Whoever reads the first bytes only ends the command without a word, and with 0."""
    with start(url_of_a_file, *command.split(), stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_pipe_that_is_closed_before_is_no_error(url_of_a_file: str) -> None:
    """Nobody reads at all: not even the help, and not the table that would be written at the end."""
    for arguments in (["runs"], ["log", "feed"], ["--help"], ["runs", "--help"]):
        reading, writing = os.pipe()
        os.close(reading)
        with start(url_of_a_file, *arguments, stdout=writing) as process:
            os.close(writing)
            assert process.stderr
            assert process.stderr.read() == b""
        assert process.returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_disk_that_is_full_is_an_error(url_of_a_file: str) -> None:
    """What cannot be written is one line and exit code 4, never half a result with 0."""
    with open("/dev/full", "wb") as full, start(url_of_a_file, "runs", stdout=full) as process:  # noqa: PTH123
        assert process.stderr
        assert process.stderr.read() == b"error: the system says: No space left on device\n"
    assert process.returncode == 4


def test_every_encoding_is_written(url_of_a_file: str) -> None:
    """Where a terminal knows only ASCII, other letters are escaped, and nothing fails."""
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    with start(url_of_a_file, "runs", stdout=subprocess.PIPE, environment=ascii_only) as process:
        out, err = process.communicate()
    assert (process.returncode, err) == (0, b"")
    assert b"\\u2014" in out  # the dash for a figure that is unknown


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_half_a_log_is_an_error(url_of_a_file: str, tmp_path: Path, unbuffered: str) -> None:
    """Where only a part of a log can be written, as on a disk with little room, the command does not end with 0."""

    def leave_little_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    with (
        (tmp_path / "log").open("wb") as file,
        start(
            url_of_a_file,
            "log",
            "feed",
            stdout=file,
            preexec_fn=leave_little_room,
            environment={"PYTHONUNBUFFERED": unbuffered},
        ) as process,
    ):
        assert process.stderr
        assert process.stderr.read() == b"error: the system says: File too large\n"
    assert process.returncode == 4
