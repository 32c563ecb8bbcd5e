"""A log that grows while its sender, its follower and the server between them are killed: each byte arrives once.

``python tests/live.py URL SECONDS`` lets one process send a log to any store and another follow it, and kills both
again and again. ``python tests/live.py http SECONDS [URL]`` puts a web server between them and the store, and kills it
too. The log is the same in each run of the sender, so that it goes on wherever the store says that it has come to.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID, uuid4

import attrs
import httpx

import backuplog

EXAMPLES = Path(__file__).parent.parent / "examples" / "web"
PATIENCE = 90.0
BLOCK = 65_536
LINE = b"new       /srv/data/vol%d/photo-%06d.jpg, saved in 0.%03ds (%d.2 KiB added)\n"
# Whether the port is a password is not known before the slash has come.
HELD_LINE = b"opened rest:https://backup-%02d:8000/volume after %06d ms, lock %d, %d waiting\n"
PAUSE = 0.02
CALLS = 30
KINDS = {"new": 80, "repeated": 5, "overlapping": 5, "older": 4, "disconnected": 4, "ahead": 2}
SIZES = {range(1, 100): 10, range(100, 8_193): 84, range(8_193, 200_001): 6}


@functools.lru_cache(maxsize=64)
def block_of(seed: str, number: int) -> bytes:
    """Make one block of the log that belongs to a seed."""
    generator = random.Random(f"{seed} {number}")  # noqa: S311 - sample data
    lines, size = [], 0
    while size < BLOCK:
        line = generator.choices((LINE, HELD_LINE), (9, 1))[0] % (
            *(generator.randrange(97), generator.randrange(10**6)),
            *(generator.randrange(1000), generator.randrange(911)),
        )
        lines.append(line)
        size += len(line)
    return b"".join(lines)[:BLOCK]


def log_of(seed: str, start: int, stop: int) -> bytes:
    """Make a part of the log that belongs to a seed."""
    first = start // BLOCK
    blocks = b"".join(block_of(seed, number) for number in range(first, -(-stop // BLOCK)))
    return blocks[start - first * BLOCK : stop - first * BLOCK]


# --- what a store is to those who send and follow -----------------------------------------------------------------


class Place(Protocol):
    """Where the log of one task is sent to and followed."""

    def append(self, data: bytes, offset: int) -> int:
        """Send a piece, and return how much has come."""
        ...

    def report(self, result: dict[str, Any]) -> None:
        """Send a result."""
        ...

    def follow(self, start: int) -> Iterator[bytes]:
        """Follow the log to its end."""
        ...


@attrs.frozen
class Direct:
    """The store itself."""

    store: backuplog.Store
    agent_id: str
    task_id: str

    def append(self, data: bytes, offset: int) -> int:
        """Call ``append_log``."""
        return backuplog.append_log(self.store, self.agent_id, self.task_id, data, offset=offset)

    def report(self, result: dict[str, Any]) -> None:
        """Call ``ingest_task_result``."""
        backuplog.ingest_task_result(self.store, self.agent_id, result)

    def follow(self, start: int) -> Iterator[bytes]:
        """Call ``follow_log``."""
        return backuplog.follow_log(self.store, self.task_id, agent_id=self.agent_id, start=start, interval=PAUSE)


@attrs.frozen
class Remote:
    """A web server, which may be away for a moment."""

    client: httpx.Client
    agent_id: str
    task_id: str

    def _answer(self, method: str, path: str, **request: Any) -> httpx.Response:
        """Send a request until it is answered."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                answer = self.client.request(method, f"/agents/{self.agent_id}/{path}", **request)
                if answer.status_code != 503:
                    return answer
            time.sleep(PAUSE)
        raise TimeoutError(path)

    def append(self, data: bytes, offset: int) -> int:
        """Send a PATCH."""
        place = (
            {"Content-Range": f"bytes {offset}-{offset + len(data) - 1}/*"} if data else {"Upload-Offset": f"{offset}"}
        )
        answer = self._answer("PATCH", f"backup-runs/{self.task_id}/log", content=data, headers=place)
        if answer.status_code == 409:
            raise backuplog.LogOffsetMismatch(int(answer.headers["Upload-Offset"]))
        length = int(answer.raise_for_status().json()["offset"])
        assert answer.headers["Upload-Offset"] == str(length)
        return length

    def report(self, result: dict[str, Any]) -> None:
        """Send a POST."""
        self._answer("POST", "task-results", json=result).raise_for_status()

    def follow(self, start: int) -> Iterator[bytes]:
        """Send a GET for each step."""
        while True:
            answer = self._answer("GET", f"backup-runs/{self.task_id}/log", params={"since": start}).raise_for_status()
            if answer.content:
                yield answer.content
            start = int(answer.headers["Upload-Offset"])
            if answer.headers["Backuplog-Final"] == "true":
                return
            if answer.headers["Retry-After"] != "0":
                time.sleep(PAUSE)


@contextlib.contextmanager
def place_at(url: str, agent_id: str, task_id: str) -> Iterator[Place]:
    """Open a store, or a connection to a web server."""
    if url.startswith("http:"):
        headers = {"Authorization": f"Bearer {os.environ['BACKUPLOG_TOKEN']}"}
        with httpx.Client(base_url=url, headers=headers, timeout=60) as client:
            yield Remote(client, agent_id, task_id)
    else:
        with backuplog.open_store(url) as store:
            yield Direct(store, agent_id, task_id)


# --- the processes ------------------------------------------------------------------------------------------------


def result_of(task_id: str, **fields: object) -> dict[str, Any]:
    """Make a result of the task."""
    return {"taskId": task_id, "policyId": task_id, "taskType": "backup", "durationSeconds": 1, **fields}


def send(url: str, agent_id: str, task_id: str, path: str) -> None:
    """Send the log until told to end by the end of standard input, then the result. Write down each call."""
    ending = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ending.set()), daemon=True).start()
    generator = random.Random()  # noqa: S311 - any moment is good
    with place_at(url, agent_id, task_id) as place, Path(path).open("ab", buffering=0) as ledger:

        def call(kind: str, start: int, stop: int) -> int:
            data = log_of(task_id, start, stop)
            begun = time.monotonic()
            try:
                length = place.append(data, start)
            except backuplog.LogOffsetMismatch as error:
                length = error.expected_offset
            ledger.write(json.dumps([kind, len(data), length, time.monotonic() - begun]).encode() + b"\n")
            assert length >= stop or kind == "ahead", f"refused {start} to {stop}: go on at {length}"
            return length

        known = call("disconnected", 0, 0)
        last = 0, 0
        while not ending.is_set():
            kind, length = chosen(generator, KINDS), generator.choice(chosen(generator, SIZES))
            older = generator.randint(0, known)
            start, stop = {
                "new": (known, known + length),
                "repeated": last,
                "overlapping": (max(0, known - generator.randint(1, generator.choice((8, length)))), known + length),
                "older": (older, min(known, older + length)),
                "disconnected": (0, 0),
                "ahead": (known + generator.randint(1, length), known + 2 * length),
            }[kind]
            known = call(kind, start, stop)
            if kind == "new":
                last = start, stop
        sha256 = hashlib.sha256()
        for start in range(0, known, BLOCK):
            sha256.update(log_of(task_id, start, min(known, start + BLOCK)))
        place.report(result_of(task_id, status="success", logBytes=known, logSha256=sha256.hexdigest()))


def chosen(generator: random.Random, weights: dict[Any, int]) -> Any:
    """Choose one of several things by their weights."""
    return generator.choices([*weights], [*weights.values()])[0]


def follow(url: str, agent_id: str, task_id: str, path: str) -> None:
    """Add to a file what follows of the log."""
    with place_at(url, agent_id, task_id) as place, Path(path).open("ab", buffering=0) as file:
        file.writelines(place.follow(file.tell()))


def serve(url: str, port: str) -> None:
    """Serve the endpoints as the example for Starlette does."""
    import uvicorn  # noqa: PLC0415 - only here

    os.environ["BACKUPLOG_URL"] = url
    sys.path.insert(0, str(EXAMPLES))
    from starlette_app import app  # noqa: PLC0415 - reads that variable

    uvicorn.run(app, port=int(port), log_level="error")


# --- what happens to them -----------------------------------------------------------------------------------------


class Processes:
    """The sender, the follower and, if there is one, the server."""

    def __init__(self, commands: dict[str, list[str]], token: str) -> None:
        """Start them."""
        self._commands = commands
        self._environment = {**os.environ, "BACKUPLOG_TOKEN": token}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self.kills: Counter[str] = Counter()
        for name in commands:
            self._start(name)

    def _start(self, name: str) -> None:
        command = [sys.executable, __file__, *self._commands[name]]
        self._running[name] = subprocess.Popen(command, stdin=subprocess.PIPE, env=self._environment)

    def kill(self, name: str) -> None:
        """Kill one, and start another in its place."""
        self._stop(name)
        self.kills[name] += 1
        self._start(name)

    def _stop(self, name: str) -> None:
        process = self._running[name]
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait for something that they do, which none of them may end before."""
        deadline = time.monotonic() + PATIENCE
        while not is_so():
            ended = {name: process.poll() for name, process in self._running.items() if process.poll() is not None}
            assert not ended, f"ended too soon: {ended}"
            assert time.monotonic() < deadline, "nothing happened"
            time.sleep(0.01)

    def end(self) -> None:
        """Let the sender come to its end, and then the follower."""
        stdin = self._running["send"].stdin
        assert stdin is not None
        stdin.close()
        for name in ("send", "follow"):
            assert self._running[name].wait(PATIENCE) == 0, name

    def stop(self) -> None:
        """Kill all that still run."""
        for name in self._running:
            self._stop(name)


def live(url: str, folder: Path, victims: Iterable[str], *, over_http: bool = False) -> str:
    """Send and follow a log, kill one process after the other, and compare what was sent, stored and followed.

    Between two kills, the sender makes some calls and the follower writes at least once.

    Returns:
        The figures.
    """
    ledger, followed = folder / "ledger", folder / "followed"
    for path in (ledger, followed):
        path.touch()
    with backuplog.open_store(url) as store:
        agent_id, task_id = uuid4(), str(uuid4())
        backuplog.register_agent(store, agent_id)
        backuplog.ingest_task_result(store, agent_id, result_of(task_id, status="running"))
        token = backuplog.issue_agent_token(store, agent_id)
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        place = f"http://127.0.0.1:{port}" if over_http else url
        commands = {"serve": ["serve", url, str(port)]} if over_http else {}
        for name, path in (("send", ledger), ("follow", followed)):
            commands[name] = [name, place, str(agent_id), task_id, str(path)]
        processes = Processes(commands, token)
        try:
            for victim in itertools.chain(victims, [None]):
                calls, size = ledger.stat().st_size, followed.stat().st_size
                processes.wait_until(lambda calls=calls: ledger.stat().st_size > calls + CALLS * 40)
                processes.wait_until(lambda size=size: followed.stat().st_size > size)
                if victim:
                    processes.kill(victim)
            processes.end()
            if over_http:
                answer = httpx.get(
                    f"{place}/agents/{agent_id}/backup-runs/{task_id}/log", headers={"Authorization": f"Bearer {token}"}
                )
                assert answer.content == followed.read_bytes()
        finally:
            processes.stop()
        return compare(store, UUID(task_id), ledger, followed, processes.kills)


def compare(store: backuplog.Store, task_id: UUID, ledger: Path, followed: Path, kills: Counter[str]) -> str:
    """Hold what is stored and what was followed against what was sent, and give the figures."""
    calls = [json.loads(line) for line in ledger.read_bytes().splitlines()]
    lengths = [length for _, _, length, _ in calls]
    assert lengths == sorted(lengths), "what was acknowledged was lost"
    log = log_of(str(task_id), 0, lengths[-1])
    run = backuplog.get_run(store, task_id)
    assert (run.status, run.log_state, run.log_bytes, run.redactions) == ("success", "complete", len(log), 0)
    assert run.log_sha256 == hashlib.sha256(log).digest()
    assert backuplog.read_log(store, task_id) == log
    assert followed.read_bytes() == log
    kinds = Counter(kind for kind, *_ in calls)
    return (
        f"{len(calls):,} calls {dict(kinds)}, {sum(size for _, size, _, _ in calls):,} bytes sent, a log of "
        f"{len(log):,} bytes, kills {dict(kills)}, longest call {max(seconds for *_, seconds in calls):.3f} s: "
        "sent, stored and followed are the same"
    )


def victims_for(seconds: float, names: list[str]) -> Iterator[str]:
    """Choose whom to kill at some moments, for as long as told."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, random.uniform(0, 4)))  # noqa: S311 - any moment is good
        yield random.choice(names)  # noqa: S311 - likewise


def main(target: str, seconds: float, url: str | None = None) -> None:
    """Run it for so many seconds."""
    over_http = target == "http"
    names = ["send", "follow", "serve"] if over_http else ["send", "follow"]
    with tempfile.TemporaryDirectory() as folder:
        store_url = (url or f"sqlite:///{folder}/backups.db") if over_http else target
        figures = live(store_url, Path(folder), victims_for(seconds, names), over_http=over_http)
    sys.stdout.write(f"{target}: {figures}\n")


if __name__ == "__main__":
    if sys.argv[1] in ("send", "follow", "serve"):
        {"send": send, "follow": follow, "serve": serve}[sys.argv[1]](*sys.argv[2:])
    else:
        main(sys.argv[1], float(sys.argv[2]), *sys.argv[3:])
