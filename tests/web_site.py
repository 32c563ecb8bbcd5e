"""Each example as a process of its own, behind a real socket."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID, uuid4

import attrs
import httpx
import pytest

import backuplog

EXAMPLES = Path(__file__).parent.parent / "examples" / "web"
APPS = ["fastapi", "starlette", "flask", "django", "wsgi"]


@attrs.frozen(kw_only=True)
class Site:
    """A running example, and the store behind it."""

    name: str
    database: Path
    port: int
    process: int
    store: backuplog.Store
    agent_id: UUID
    token: str

    def client(self, *, token: str | None = None) -> httpx.Client:
        """Give a client that shows a token, the agent's own unless another is given."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=headers, timeout=60)

    @property
    def agent(self) -> str:
        """The path of the agent."""
        return f"/agents/{self.agent_id}"


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(name: str, url: str, folder: Path) -> Iterator[Site]:
    """Start an example on a store, and stop it."""
    port = free_port()
    with backuplog.open_store(url) as store, (folder / "output").open("w+") as output:
        agent_id = backuplog.register_agent(store, uuid4()).id
        token = backuplog.issue_agent_token(store, agent_id)
        process = subprocess.Popen(
            [sys.executable, str(EXAMPLES / f"{name}_app.py")],
            env={**os.environ, "BACKUPLOG_URL": url, "PORT": str(port), "PYTHONWARNINGS": "default"},
            cwd=folder,
            stdout=output,
            stderr=output,
        )
        try:
            wait_for(port, process, Path(output.name))
            yield Site(
                name=name,
                database=folder / "backups.db",
                port=port,
                process=process.pid,
                store=store,
                agent_id=agent_id,
                token=token,
            )
        finally:
            process.terminate()
            process.wait()


@pytest.fixture(scope="module", params=APPS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give each example in turn, on a SQLite file."""
    folder = tmp_path_factory.mktemp(request.param)
    with running(request.param, f"sqlite:///{folder / 'backups.db'}", folder) as started:
        yield started


def wait_for(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    """Wait until a server listens."""
    for _ in range(600):
        assert process.poll() is None, output.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"nobody listened: {output.read_text()}")
