"""What holds for every command: help, which store, errors in one line, exit codes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import click
import pytest
from click.testing import CliRunner

import backuplog
from backuplog.cli import main

LOOKING = ["runs", "show 0000", "log 0000", "latest", "summary --group-by day", "search x", "agents", "check"]


def commands(group: click.Group, name: str = "") -> Iterator[tuple[str, click.Command]]:
    """Give every command with its name."""
    for each, command in group.commands.items():
        yield f"{name} {each}".strip(), command
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} {each}".strip())


@pytest.mark.parametrize(("name", "command"), [*commands(main)], ids=[name for name, _ in commands(main)])
def test_help_is_complete(name: str, command: click.Command) -> None:
    """Each command says what it does, and each of its options what it is for."""
    shown = CliRunner().invoke(main, [*name.split(), "--help"])
    assert shown.exit_code == 0
    assert command.help
    for option in (each for each in command.params if isinstance(each, click.Option) and not each.hidden):
        assert option.help, option.name
        assert option.opts[0] in shown.output
    assert CliRunner().invoke(main, [*name.split(), "-h"]).output == shown.output


def test_every_command_is_there() -> None:
    """The commands are those that the page about them names."""
    page = (Path(__file__).parent.parent.parent / "docs" / "command.md").read_text()
    for name, command in commands(main):
        assert f"`backuplog {name}" in page or isinstance(command, click.Group), name


@pytest.mark.parametrize("arguments", LOOKING)
def test_looking_makes_no_database(tmp_path: Path, arguments: str) -> None:
    """Where there is no database, or none of ours, a command that only looks says so and leaves everything as it is."""
    missing = tmp_path / "missing.db"
    refused = CliRunner().invoke(main, [*arguments.split(), "--url", f"sqlite:///{missing}"])
    assert refused.exit_code == 3
    assert refused.stderr == f"error: there is no database at {missing}: run backuplog migrate\n"
    assert list(tmp_path.iterdir()) == []


def test_the_store_is_named_before_or_after_the_command(tmp_path: Path) -> None:
    """What is said last counts: the environment, then before the command, then after it."""
    names = ("environment", "before", "after")
    urls = {name: f"sqlite:///{tmp_path / name}.db" for name in names}
    tenant = uuid4()
    for place, name in enumerate(names, 1):
        with backuplog.open_store(urls[name], tenant_id=tenant) as store:
            for _ in range(place):
                backuplog.register_agent(store, uuid4())
    environment = {"BACKUPLOG_URL": urls["environment"]}
    before, after = ["--url", urls["before"]], ["--url", urls["after"]]
    of = ["--tenant", str(tenant)]
    for arguments, total in (
        ([*of, "agents"], 1),
        ([*before, "agents", *of], 2),
        ([*before, *of, "agents", *after], 3),
        ([*before, "agents"], 0),
    ):
        shown = CliRunner().invoke(main, arguments, env=environment)
        assert shown.output.splitlines()[-1] == f"{total} agent{'' if total == 1 else 's'}"


@pytest.mark.parametrize(
    ("url", "code", "message"),
    [
        ("postgresql://me:s3cret@127.0.0.1:1/x", 4, "PostgreSQL cannot be reached"),
        ("mysql://me:s3cret@db/x", 4, "no installed backend serves mysql:// URLs"),
        ("s3cret", 4, "a store is opened by a URL with a scheme"),
    ],
)
def test_a_store_that_cannot_be_opened_is_said_in_a_line(url: str, code: int, message: str) -> None:
    """The message says what to do and holds no password."""
    refused = CliRunner().invoke(main, ["runs", "--url", url])
    assert refused.exit_code == code
    assert message in refused.stderr
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert "s3cret" not in refused.output


def test_it_is_a_module_too() -> None:
    """``python -m backuplog`` is the command, and completes its words in a shell."""
    run = [sys.executable, "-m", "backuplog"]
    shown = subprocess.run([*run, "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout.startswith("backuplog, version ")
    asked = {"_BACKUPLOG_COMPLETE": "bash_complete", "COMP_WORDS": "backuplog runs --status f", "COMP_CWORD": "3"}
    assert "failed" in CliRunner().invoke(main, [], prog_name="backuplog", env=asked).output


@pytest.mark.parametrize("library", ["click", "humanize", "rich"])
def test_a_missing_library_is_named_with_its_extra(library: str) -> None:
    """Without one of its libraries the command says what to install."""
    program = f"import sys; sys.modules[{library!r}] = None\nimport backuplog.cli"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(f"needs {library}: pip install 'backuplog[cli]'")
