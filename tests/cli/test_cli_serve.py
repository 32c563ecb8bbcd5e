"""``backuplog serve``, as a process of its own behind a real socket."""

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

import backuplog
from backuplog.testing.common import payload


@contextmanager
def served(folder: Path, *arguments: str) -> Iterator[tuple[str, list[str]]]:
    """Serve a new store, and give the address and what was printed; Ctrl-C ends it well."""
    command = [sys.executable, "-u", "-m", "backuplog", "serve", "--port", "0", *arguments]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout
    printed = [process.stdout.readline()]
    try:
        found = re.search(r"at (http://\S+/)\. Stop", printed[0])
        assert found, printed + process.stdout.readlines()
        yield found[1], printed
    finally:
        process.send_signal(signal.SIGINT)
        printed += process.stdout.readlines()
        process.stdout.close()
        assert process.wait() == 0, printed


def test_agents_send_and_people_look(tmp_path: Path) -> None:
    """From nothing: a token is enough to send a result, and the page shows it."""
    with served(tmp_path) as (address, printed):
        assert printed[0] == f"Serving sqlite:///backups.db at {address}. Stop it with Ctrl-C.\n"
        with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
            agent_id = backuplog.register_agent(store, uuid4(), hostname="db-01").id
            token = backuplog.issue_agent_token(store, agent_id)
        results = f"{address}agents/{agent_id}/task-results"
        assert httpx.post(results, json=payload()).status_code == 401
        sent = httpx.post(results, json=payload(), headers={"Authorization": f"Bearer {token}"})
        assert sent.json() == {"status": "ok"}
        assert "db-01" in httpx.get(address).text
    assert len(printed) == 1


def test_no_name_of_another_site_is_answered(tmp_path: Path) -> None:
    """A web site that points a name of its own at this machine reads nothing; a proxy's name can be allowed."""
    with served(tmp_path, "--allow-host", "backups.example.org") as (address, _):
        for host, status in (("evil.example", 400), ("backups.example.org", 200), ("localhost:8000", 200)):
            assert httpx.get(address, headers={"Host": host}).status_code == status


def test_other_machines_do_not_get_the_page_by_accident(tmp_path: Path) -> None:
    """At an address that others reach there is the contract without the page, unless the page is asked for by name."""
    for options, status in (((), 404), (("--page",), 200)):
        with served(tmp_path, "--host", "0.0.0.0", *options) as (address, _):  # noqa: S104
            local = address.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
            assert httpx.get(local).status_code == status
            assert httpx.get(f"{local}backup-runs").status_code == 401


def test_a_port_that_is_taken_is_said(tmp_path: Path) -> None:
    """Nobody can listen twice: one line, and exit code 4."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = [sys.executable, "-m", "backuplog", "serve", "--port", str(taken.getsockname()[1])]
        refused = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert refused.stderr.startswith("error: cannot listen at 127.0.0.1")


def test_a_password_is_not_printed(tmp_path: Path, database_url: str) -> None:
    """What is said of the store names no user and no password, wherever they stand in the URL."""
    shown = "s3cret"
    url = database_url.replace("?", f"?password={shown}&")
    with served(tmp_path, "--url", url) as (_, printed):
        assert printed[0].startswith("Serving postgresql://")
    assert not any(shown in line for line in printed)
