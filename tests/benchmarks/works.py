"""What is measured: each work is a generator that does one turn at a time, and gives its seconds and what it found.

Setting up, making bodies and reading back are never timed. The first turn warms up and does not count.
"""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID, uuid4

from material import FIELDS, as_json, body_of, log_of, task_of
from memory import peak
from timing import clocked

Turns: TypeAlias = Iterator[tuple[list[tuple[float, float]], object]]

_WARM_BYTES = 1 << 20
_STAGE_BYTES = 4 << 20


class WrongReadBackError(Exception):
    """What was read back is not what was stored."""


def require_stored(contender: Any, body: bytes, log: bytes) -> None:
    """See that a contender gives back what it has stored, run and log.

    Raises:
        WrongReadBackError: It does not.
    """
    if hasattr(contender, "written"):
        if not contender.written(contender.prepare(body)):
            raise WrongReadBackError("the bytes in the file are not those that were written")
        return
    task_id = task_of(body)
    for name, value in contender.find(task_id).items():
        if value != FIELDS[name]:
            raise WrongReadBackError(f"{name} came back as {value!r}, not as {FIELDS[name]!r}")
    require_same(contender.read(task_id), log)


def require_same(read: bytes, log: bytes) -> None:
    """See that a log is the one that was stored.

    Raises:
        WrongReadBackError: It is not.
    """
    if read != log:
        raise WrongReadBackError(f"a log of {len(log):,} bytes came back as {len(read):,} bytes that are not the same")


def ingest(contender: Any, *, size: int, calls: int, kind: str = "restic") -> Turns:
    """Take in new results, one by one."""
    log = log_of(size, kind)
    prepare: Callable[[bytes], bytes] = getattr(contender, "prepare", bytes)
    expected = log.encode()
    while True:
        bodies = [body_of(log) for _ in range(calls + (size <= _WARM_BYTES))]
        seconds = [clocked(partial(contender.ingest, prepare(body))) for body in bodies]
        require_stored(contender, bodies[-1], expected)
        yield seconds[-calls:], None


def batch(contender: Any, *, size: int, count: int) -> Turns:
    """Take in many new results at once; the seconds are those of one of them."""
    log = log_of(size)
    prepare: Callable[[bytes], bytes] = getattr(contender, "prepare", bytes)
    expected = log.encode()
    while True:
        bodies = [body_of(log) for _ in range(count)]
        sent = [prepare(body) for body in bodies]
        wall, used = clocked(partial(contender.ingest_batch, sent))
        for body in bodies[-1:] if hasattr(contender, "written") else (bodies[0], bodies[count // 2], bodies[-1]):
            require_stored(contender, body, expected)
        yield [(wall / count, used / count)], None


def replay(contender: Any, *, size: int, calls: int) -> Turns:
    """Take in the same result again and again."""
    log = log_of(size)
    body = body_of(log)
    contender.ingest(body)
    while True:
        seconds = [clocked(partial(contender.ingest, body)) for _ in range(calls + 1)]
        require_stored(contender, body, log.encode())
        yield seconds[1:], None


def read(contender: Any, *, size: int, calls: int, kind: str = "restic") -> Turns:
    """Read whole logs."""
    log = log_of(size, kind)
    bodies = [body_of(log) for _ in range(calls + (size <= _WARM_BYTES))]
    for body in bodies:
        contender.ingest(body)
    expected = log.encode()
    while True:
        seconds = [clocked(partial(contender.read, task_of(body))) for body in bodies]
        for body in bodies:
            require_same(contender.read(task_of(body)), expected)
        yield seconds[-calls:], None


def part(contender: Any, *, size: int, start: int, stop: int | None, calls: int) -> Turns:
    """Read a part of a log."""
    log = log_of(size)
    body = body_of(log)
    contender.ingest(body)
    expected = log.encode()[start:stop]
    while True:
        seconds = [clocked(partial(contender.read_part, task_of(body), start, stop)) for _ in range(calls + 1)]
        require_same(contender.read_part(task_of(body), start, stop), expected)
        yield seconds[1:], None


def listing(contender: Any, *, filters: dict[str, Any], skipped: int, with_total: bool, calls: int) -> Turns:
    """List a page of runs; what it found are the ids and the total, which must be the same for every contender."""
    after = contender.place(filters, skipped)
    while True:
        listed = partial(contender.list_runs, filters, after, with_total=with_total)
        seconds = [clocked(listed) for _ in range(calls + 1)]
        yield seconds[1:], contender.evidence(listed())


def threads(contender: Any, *, size: int, count: int, calls: int) -> Turns:
    """Take in new results from several threads; the seconds are those of all, divided by the number of results."""
    log = log_of(size)
    while True:
        bodies = [[body_of(log) for _ in range(max(1, calls // count))] for _ in range(count)]
        failed: list[Exception] = []

        def take_in(mine: list[bytes], failed: list[Exception] = failed) -> None:
            try:
                for body in mine:
                    contender.ingest(body)
            except Exception as error:  # noqa: BLE001 - it is raised again where it is seen
                failed.append(error)

        started = [threading.Thread(target=take_in, args=(mine,)) for mine in bodies]

        def take_all_in(started: list[threading.Thread] = started) -> None:
            for thread in started:
                thread.start()
            for thread in started:
                thread.join()

        wall, used = clocked(take_all_in)
        if failed:
            raise failed[0]
        for mine in bodies:
            require_stored(contender, mine[-1], log.encode())
        results = sum(map(len, bodies))
        yield [(wall / results, used / results)], None


def append(contender: Any, *, size: int, piece: int) -> Turns:
    """Add to a log, a piece at a time; a turn is a stage of 4 MiB at most, its seconds are those of one piece."""
    log = log_of(size).encode()
    stage = min(_STAGE_BYTES, size)

    def add(task_id: UUID, offsets: range) -> tuple[float, float]:
        def all_of_them() -> None:
            for offset in offsets:
                contender.append(task_id, offset, log[offset : offset + piece])

        wall, used = clocked(all_of_them)
        return wall / len(offsets), used / len(offsets)

    warm = uuid4()
    contender.begin(warm)
    yield [add(warm, range(0, min(size, 16 * piece), piece))], None
    while True:
        task_id = uuid4()
        contender.begin(task_id)
        for start in range(0, size, stage):
            seconds = add(task_id, range(start, start + stage, piece))
            if start + stage >= size:
                contender.end(task_id)
                require_same(contender.read(task_id), log)
            yield [seconds], None


def memory(contender: Any, *, size: int, what: str) -> Turns:
    """Give by how many bytes the peak of the process grows above the log and its body."""
    contender.ingest(body_of(log_of(_WARM_BYTES)))
    body = body_of(log_of(size))
    log_of.cache_clear()
    as_json.cache_clear()
    if what == "decoded":
        log = log_of(size).encode()
        log_of.cache_clear()
        with peak() as grown:
            contender.ingest_result(task_of(body), log)
            taken = grown()
        require_stored(contender, body, log)
    elif what == "ingest":
        with peak() as grown:
            contender.ingest(body)
            taken = grown()
        require_stored(contender, body, log_of(size).encode())
    else:
        contender.ingest(body)
        with peak() as grown:
            length = contender.read_pieces(task_of(body)) if what == "pieces" else len(contender.read(task_of(body)))
            taken = grown() - (0 if what == "pieces" else length)
        if length != size:
            raise WrongReadBackError(f"a log of {size:,} bytes came back as {length:,}")
    while True:
        yield [(taken, 0.0)], None


def fill(contender: Any, *, runs: int) -> Turns:
    """Make a large history, unless it is there."""
    yield [clocked(partial(contender.fill, runs))], None


WORKS: dict[str, Callable[..., Turns]] = {
    "ingest": ingest,
    "batch": batch,
    "replay": replay,
    "read": read,
    "part": part,
    "list": listing,
    "threads": threads,
    "append": append,
    "memory": memory,
    "fill": fill,
}
