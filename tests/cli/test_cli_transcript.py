"""The page about the command shows what it prints today."""

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from backuplog.cli import main

PAGE = Path(__file__).parent.parent.parent / "docs" / "command.md"
BLOCK = re.compile(r"(?<=^```console\n)\$ backuplog (.+)\n(?:.*\n)*?(?=```$)", re.MULTILINE)


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_transcript_is_what_the_command_prints(history: str) -> None:
    """Each block of the page is what its command prints of the quickstart's results, in 80 columns.

    With ``BACKUPLOG_TEST_REWRITE`` in the environment the page is written anew instead.
    """

    def printed(block: re.Match[str]) -> str:
        shown = CliRunner().invoke(main, ["--url", history, *block[1].split()], env={"COLUMNS": "80"})
        assert shown.exit_code == 0
        lines = (line.rstrip() for line in shown.stdout.splitlines())
        return "\n".join([f"$ backuplog {block[1]}", *lines, ""])

    text = PAGE.read_text(encoding="utf-8")
    made = BLOCK.sub(printed, text)
    assert len(BLOCK.findall(text)) == 5
    if os.environ.get("BACKUPLOG_TEST_REWRITE"):
        PAGE.write_text(made, encoding="utf-8")
    assert made == PAGE.read_text(encoding="utf-8")
