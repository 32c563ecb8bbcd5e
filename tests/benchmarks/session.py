"""Contenders in processes of their own, which take turns in shuffled order."""

import json
import os
import random
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from plan import Row

_WORKER = Path(__file__).parent / "worker.py"
_PATIENCE_SECONDS = 600.0
_FEWEST_TURNS = 3


class Worker:
    """The process of one contender.

    Attributes:
        name: What the contender is called.
        missing: Why it cannot take part; None if it can.
        works: What it can do.
        largest: The longest log that it takes, in bytes; None for any.
        tree: The file that its backuplog is imported from; None if it imports none.
    """

    def __init__(
        self, name: str, specification: str, url: str, folder: Path, *, touched: int = 0, tree: Path | None = None
    ) -> None:
        """Start the process; ``wait`` until its contender is ready.

        Args:
            name: What the contender is called.
            specification: The module and the name of what makes it.
            url: The database that it has for itself.
            folder: A folder that it has for itself.
            touched: How many bytes of memory to touch before.
            tree: The tree to import backuplog from; None for that of this process.
        """
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        path = [str(tree), str(tree / "backends")] if tree else []
        path += [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
        environment = {**os.environ, **({"PYTHONPATH": os.pathsep.join(path)} if path else {})}
        self._complaints = folder / "stderr"
        with self._complaints.open("wb") as complaints:
            self._process = subprocess.Popen(
                [sys.executable, str(_WORKER), specification, url, str(folder), str(touched)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=environment,
            )
        self.missing: str | None = None
        self.works: Sequence[str] = ()
        self.largest: int | None = None
        self.tree: str | None = None

    def wait(self) -> None:
        """Wait until the contender is ready, or has said why it will never be."""
        said = self._listen()
        self.missing = said.get("missing") or said.get("refused")
        self.works = said.get("works", ())
        self.largest = said.get("largest")
        self.tree = said.get("tree")

    def takes(self, row: Row) -> bool:
        """Whether it takes part in a row."""
        return row.needs in self.works and (row.size or 0) <= (self.largest or sys.maxsize)

    def ask(self, **command: object) -> dict[str, Any]:
        """Tell it to do something, and give what it says: why it is ``refused``, if it is."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            return self._lost()
        return self._listen()

    def _listen(self) -> dict[str, Any]:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], _PATIENCE_SECONDS)
        line = self._process.stdout.readline() if ready else b""
        if not line:
            return self._lost()
        said: dict[str, Any] = json.loads(line)
        return said

    def _lost(self) -> dict[str, Any]:
        self.close()
        self.works = ()
        complaints = self._complaints.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        return {"refused": f"its process ended: {complaints[-1] if complaints else 'it said nothing'}"}

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


@attrs.define
class Measured:
    """What was measured of a row.

    Attributes:
        row: The row.
        samples: Of each contender, seconds by the clock or bytes, in the order in which they were measured.
        used: Of each contender, the seconds of processor time that belong to them.
        refused: Of each contender that did not do the work, why.
        took: How many seconds all of it took.
    """

    row: Row
    samples: dict[str, list[float]] = attrs.field(factory=dict)
    used: dict[str, list[float]] = attrs.field(factory=dict)
    refused: dict[str, str] = attrs.field(factory=dict)
    took: float = 0.0

    def add(self, name: str, said: Mapping[str, Any]) -> bool:
        """Note what a contender said of its turn, and return whether it goes on."""
        if "refused" in said:
            self.refused[name] = said["refused"]
            self.samples.pop(name, None)
            return False
        for wall, used in said["seconds"]:
            self.samples.setdefault(name, []).append(wall)
            self.used.setdefault(name, []).append(used)
        return True


def measure(row: Row, workers: Sequence[Worker]) -> Measured:
    """Let contenders take turns at a row until its time is over; the first turn of each warms up and does not count."""
    start = time.monotonic()
    begun = {worker: worker.ask(do="begin", work=row.work, arguments=row.arguments) for worker in workers}
    found = {worker.name: said["evidence"] for worker, said in begun.items() if "refused" not in said}
    refused = {worker.name: said["refused"] for worker, said in begun.items() if "refused" in said}
    measured = Measured(row, refused=refused | differing(found))
    going = [worker for worker in workers if worker.name not in measured.refused]
    deadline = time.monotonic() + row.seconds
    for turn in range(row.most):
        if turn >= _FEWEST_TURNS and time.monotonic() > deadline:
            break
        order = random.sample(going, len(going))
        going = [worker for worker in order if measured.add(worker.name, worker.ask(do="turn"))]
    for worker in workers:
        if worker.works:
            worker.ask(do="end")
    measured.took = time.monotonic() - start
    return measured


def differing(found: Mapping[str, object]) -> dict[str, str]:
    """Return who found something else than the bare statements, or than the first where these take no part."""
    expected = found.get("bare", next(iter(found.values()), None))
    return {name: "found other runs" for name, evidence in found.items() if evidence != expected}
