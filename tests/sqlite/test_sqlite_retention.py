"""Pruning on SQLite: what becomes of the room in the file."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import backuplog

Payload = Callable[..., dict[str, Any]]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
MEBIBYTE = 1 << 20
POLICY = backuplog.RetentionPolicy(runs=timedelta(days=1))


def filled(url: str, payload: Payload, source: Callable[[int], bytes]) -> backuplog.Store:
    """Open a store with 48 MiB of logs that are old."""
    store = backuplog.open_store(url, synchronous="normal", redactor=None, parsers=())
    agent_id = backuplog.register_agent(store, uuid4()).id
    for _ in range(12):
        sent = payload(status="failed", log=source(4 * MEBIBYTE))
        backuplog.ingest_task_result(store, agent_id, sent, received_at=NOW - timedelta(days=9))
    return store


def size_of(path: Path) -> int:
    """Give the bytes of a database in its file, as SQLite counts them."""
    with closing(sqlite3.connect(path)) as connection:
        pages, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size"))
    return int(pages * size)


@pytest.fixture
def noise() -> Callable[[int], bytes]:
    """Give a function that makes bytes that nothing compresses."""
    import random  # noqa: PLC0415 - for this only

    return random.Random(1).randbytes  # noqa: S311 - sample data


def test_room_is_given_back_in_steps(tmp_path: Path, payload: Payload, noise: Callable[[int], bytes]) -> None:
    """The file becomes smaller by what the report says, until less than 16 MiB are free; a whole file stays whole."""
    path = tmp_path / "backups.db"
    with filled(f"sqlite:///{path}", payload, noise) as store:
        before = size_of(path)
        report = backuplog.prune(store, POLICY, now=NOW, pause=lambda _: None)
        assert report.runs_removed == 12
        assert report.bytes_given_back == before - size_of(path)
        assert size_of(path) < 18 * MEBIBYTE
        assert store.backend.reclaim() == 0
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_a_file_that_cannot_become_smaller_is_left_alone(
    tmp_path: Path, payload: Payload, noise: Callable[[int], bytes]
) -> None:
    """In a file that another application made, room is used again, and a prune ends."""
    path = tmp_path / "theirs.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE jobs (id INTEGER)")
    with filled(f"sqlite:///{path}", payload, noise) as store:
        before = size_of(path)
        report = backuplog.prune(store, POLICY, now=NOW, pause=lambda _: None)
        assert (report.runs_removed, report.bytes_given_back, report.is_finished) == (12, 0, True)
        assert size_of(path) == before


def test_a_store_in_memory_is_pruned_too(payload: Payload, noise: Callable[[int], bytes]) -> None:
    """In memory there is nothing to give back, or it is given back, and the prune ends."""
    with filled("sqlite://", payload, noise) as store:
        report = backuplog.prune(store, POLICY, now=NOW, pause=lambda _: None)
        assert (report.runs_removed, report.is_finished) == (12, True)
