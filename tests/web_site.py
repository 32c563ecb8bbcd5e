"""Each example as a process of its own, behind a real socket."""

import os
import socket
import struct
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
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
APPS = ["fastapi", "starlette", "flask", "django", "wsgi"]
ASYNC = ["fastapi", "starlette"]


@attrs.frozen(kw_only=True)
class Site:
    """A running example, and the store behind it."""

    name: str
    database: Path
    port: int
    process: int
    output: Path
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

    def head_of(self, headers: bytes, place: str | None = None) -> bytes:
        """Write the head of a request, which posts a result if nothing else is said."""
        lines = f"{place or f'POST {self.agent}/task-results'} HTTP/1.1\r\nHost: x\r\n"
        lines += f"Authorization: Bearer {self.token}\r\nContent-Type: application/json\r\n"
        return lines.encode() + headers + b"\r\n"

    def break_off(self, sent: bytes, *, is_reset: bool, read: int = 0) -> None:
        """Send something, read the beginning of the answer, and end the connection well or badly."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(sent)
            if read:
                connection.recv(read)
            if is_reset:  # The server hears of it when it reads on, and not of an end.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def break_uploads_off(self) -> None:
        """Break uploads off in every way, with a token and without."""
        short = b"Content-Length: 99999\r\n\r\n{"
        rests = [short, CHUNKED + b"5\r\n{", CHUNKED + b"1\r\n{\r\n"]
        head = self.head_of(b"")[:-2]
        uploads = [head + rest for rest in rests]
        # That is no chunk. Who may send can make gunicorn raise an error of its own by it.
        uploads += [head.replace(self.token.encode(), b"x") + rest for rest in (*rests, CHUNKED + b"x\r\n")]
        for upload in uploads:
            for is_reset in (False, True):
                self.break_off(upload, is_reset=is_reset)


def free_port() -> int:
    """Find a port that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextmanager
def running(name: str, url: str, folder: Path, *server: str) -> Iterator[Site]:
    """Start an example on a store, by itself or in a server of several processes, and stop it."""
    port = free_port()
    command = [part.format(port=port) for part in server] or [str(EXAMPLES / f"{name}_app.py")]
    with backuplog.open_store(url) as store, (folder / "output").open("w+") as output:
        agent_id = backuplog.register_agent(store, uuid4()).id
        token = backuplog.issue_agent_token(store, agent_id)
        process = subprocess.Popen(
            [sys.executable, *command],
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
                output=Path(output.name),
                store=store,
                agent_id=agent_id,
                token=token,
            )
        finally:
            process.terminate()
            process.wait()


def without_tokens(name: str) -> tuple[str, str]:
    """Give the arguments of Python that serve an example which leaves credentials to whoever runs it."""
    serve = "uvicorn.run(example.app, port={port})" if name in ASYNC else "waitress.serve(example.app, port={port})"
    return "-c", (
        f"import functools, sys; sys.path.insert(0, {str(EXAMPLES)!r}); import uvicorn, waitress; "
        "from backuplog import http, web; http.Guard = functools.partial(http.Guard, tokens=False); "
        f"import {name}_app as example; {serve}"
    )


@pytest.fixture(scope="module", params=APPS)
def open_site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give each example in turn, on a SQLite file and without tokens, as for operators behind a login."""
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{folder / 'backups.db'}"
    with running(request.param, url, folder, *without_tokens(request.param)) as started:
        yield started


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
