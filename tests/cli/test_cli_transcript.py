"""What docs/command.md shows is what the command prints."""

import os
import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backuplog.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "command.md"
BLOCKS = re.compile(r"^```console\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


class Noon(datetime):
    """A clock that stands at noon, the day after the results came."""

    @classmethod
    def now(cls, tz: Any = None) -> "Noon":
        """Give that noon."""
        return cls(2026, 11, 25, 12, tzinfo=UTC).astimezone(tz)


def typed(command: str) -> str:
    """Give what a terminal shows when somebody types a command."""
    program, *arguments = shlex.split(command)
    assert program == "backuplog"
    printed = CliRunner().invoke(main, arguments).output
    return "".join(f"{line.rstrip()}\n" for line in (f"$ {command}", *printed.splitlines()))


@pytest.mark.usefixtures("history")
def test_the_page_shows_what_the_command_prints(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each command on the page prints what stands below it; with BACKUPLOG_WRITE_TRANSCRIPT=1 that is written there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BACKUPLOG_URL", url)
    monkeypatch.setenv("COLUMNS", "80")
    for module in ("filters", "reports"):
        monkeypatch.setattr(f"backuplog.cli.{module}.datetime", Noon)
    page = PAGE.read_text(encoding="utf-8")
    toml = re.search(r"^```toml\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert toml
    (tmp_path / "expectations.toml").write_text(toml[1])

    def printed(block: re.Match[str]) -> str:
        commands = re.findall(r"^\$ (.+)$", block[1], flags=re.MULTILINE)
        return "```console\n" + "\n".join(map(typed, commands)) + "```"

    made = BLOCKS.sub(printed, page)
    if os.environ.get("BACKUPLOG_WRITE_TRANSCRIPT"):
        PAGE.write_text(made, encoding="utf-8")
        page = made
    assert page == made
