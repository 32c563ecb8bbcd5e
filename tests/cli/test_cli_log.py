"""``backuplog log``: bytes for files and pipes, what is harmless for terminals, and a log while it grows."""

import itertools
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st

import backuplog
from backuplog.cli import main
from backuplog.cli.log import harmless
from reported import report_run

Call = Callable[..., Any]

ODD = b"caf\xe9\n\x1b[31mred\x1b[0m \x1b[2J\x1b]0;title\x07 \x9b \xe2\x80\xae\r\n10 %\r20 %\rdone \xff\x00 end"
SHOWN = (
    "caf\ufffd\n\x1b[31mred\x1b[0m \\u001b[2J\\u001b]0;title\\u0007 \ufffd \\u202e\n10 %\n20 %\ndone \ufffd\\u0000 end"
)


def keep(url: str, log: bytes, **fields: Any) -> UUID:
    """Keep a run with a log, and give its id."""
    with backuplog.open_store(url, redactor=None) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        return report_run(store, agent_id, hours=1, log=log, **fields).run_id


def on_terminal(url: str, *arguments: object) -> str:
    """Run the command on a terminal of its own, and give all that the terminal is given."""
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "backuplog", *map(str, arguments)]
    environment = {**os.environ, "BACKUPLOG_URL": url, "TERM": "xterm", "COLUMNS": "80"}
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env=environment):
        os.close(end)
        given_to_it = b""
        with suppress(OSError):  # Linux says so when the last program has left a terminal.
            while part := os.read(terminal, 65_536):
                given_to_it += part
    os.close(terminal)
    return given_to_it.decode().replace("\r\n", "\n")


# --- files and pipes ---------------------------------------------------------------------------------------------


def test_a_pipe_gets_every_byte(url: str, call: Call) -> None:
    """The log comes out as it came in, whatever is in it and however long it is; so does its end."""
    log = ODD + bytes(range(256)) * 10_000
    run_id = keep(url, log)
    assert call("log", run_id).stdout_bytes == log
    assert call("log", str(run_id)[:8], "--raw").stdout_bytes == log
    assert call("log", run_id, "--tail", "3").stdout_bytes == b"\n".join(log.split(b"\n")[-3:])


def test_a_run_without_a_log_prints_nothing(url: str, call: Call) -> None:
    """A run that sent no log has an empty one; following it ends at once, because its task has ended."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        run_id = report_run(store, agent_id, hours=1).run_id
    assert call("log", run_id).stdout == ""
    assert call("log", run_id, "--follow").stdout == ""


# --- terminals ---------------------------------------------------------------------------------------------------


def shown(*pieces: bytes) -> str:
    """Give what a terminal is given of a log that comes in pieces."""
    return b"".join(harmless(pieces)).decode()


def test_a_terminal_sees_and_obeys_nothing_but_colours() -> None:
    """Colours stay; titles, cursor movements, C1 controls, NUL and turned directions are written as escapes."""
    assert shown(ODD) == SHOWN


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
@example(ODD, [7, 9, 10, 30])
@example(b"\x1b[31m\r\n", [1, 2, 3, 4, 5, 6])
def test_where_a_log_is_divided_changes_nothing(log: bytes, cuts: list[int]) -> None:
    """However a log is divided into pieces, a terminal is given the same, and no control but colours and line ends."""
    places = [0, *sorted(cuts), len(log)]
    pieces = [log[start:stop] for start, stop in itertools.pairwise(places)]
    text = shown(*pieces)
    assert text == shown(log)
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", re.sub(r"\x1b\[[0-9;:]*m", "", text))


def test_on_a_terminal_a_log_is_made_harmless(tmp_path: Path) -> None:
    """On a terminal of its own the command escapes what --raw lets through, and leaves no colour behind."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    run_id = keep(url, ODD)
    assert on_terminal(url, "log", run_id) == f"{SHOWN}\x1b[0m"
    run_id = keep(url, b"\x1b[2J\x1b]0;title\x07")
    assert on_terminal(url, "log", run_id, "--raw") == "\x1b[2J\x1b]0;title\x07"


# --- while it grows ----------------------------------------------------------------------------------------------


def test_a_log_is_followed_to_its_end(url: str, call: Call) -> None:
    """What comes while somebody follows is printed, until the task's result has come."""
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        run_id = report_run(store, agent_id, hours=0, status="running").run_id
        backuplog.append_log(store, agent_id, run_id, b"first\n", offset=0)
        policy_id = backuplog.get_run(store, run_id).policy_id

        def go_on() -> None:
            backuplog.append_log(store, agent_id, run_id, b"second\n", offset=6)
            fields = {"task_type": "backup", "status": "success", "duration_seconds": 1}
            done = backuplog.TaskResult(task_id=run_id, policy_id=policy_id, **fields)
            backuplog.ingest_task_result(store, agent_id, done)

        later = threading.Timer(0.3, go_on)
        later.start()
        assert call("log", run_id, "--follow").stdout == "first\nsecond\n"
        later.join()


def test_ctrl_c_ends_following(tmp_path: Path) -> None:
    """Ctrl-C while it waits ends the command with 130 and without a traceback; what came was printed at once."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with backuplog.open_store(url) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        run_id = report_run(store, agent_id, hours=0, status="running").run_id
        backuplog.append_log(store, agent_id, run_id, b"first\n", offset=0)
    command = [sys.executable, "-m", "backuplog", "--url", url, "log", str(run_id), "-f"]
    usual = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=usual) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"first\n"
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == b""
    assert process.returncode == 130


def test_a_search_stands_above_its_bar(tmp_path: Path) -> None:
    """On one terminal, lines that are found stay as they are while a bar is drawn and removed below them."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    keep(url, b"needle one\nhay\nneedle two\n")
    given_to_it = on_terminal(url, "search", "needle")
    # What stands before the last return or removal of a line is not seen any more.
    seen = [re.split(r"\r|\x1b\[2K", line)[-1] for line in given_to_it.split("\n")]
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", line) for line in seen]
    found = [line for line in plain if "needle" in line]
    assert [re.sub(r"^[0-9a-f]{8} \S+ \S+ ", "", line) for line in found] == ["1: needle one", "3: needle two"]
    assert "2 lines found in 1 run" in plain[-2]


def test_a_damaged_log_is_a_failure(tmp_path: Path) -> None:
    """A log that is not what it was ends with 4, and says of which run it is."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    run_id = keep(url, b"a log")
    with closing(sqlite3.connect(tmp_path / "backups.db")) as connection, connection:
        connection.execute("DELETE FROM backup_run_logs")
    result = CliRunner().invoke(main, ["--url", url, "log", str(run_id)])
    assert (result.exit_code, result.stdout) == (4, "")
    assert str(run_id) in result.stderr
    assert result.stderr.startswith("error: ")
