"""A log that grows on one SQLite file: what it costs, and what is left of it when those who use it are killed."""

import sqlite3
import statistics
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import backuplog
from live import live

FRAME = 24 + 4096


def test_a_log_arrives_and_is_followed_across_kills(tmp_path: Path) -> None:
    """Sender and follower are killed again and again, and the log is stored and followed byte for byte."""
    live(f"sqlite:///{tmp_path / 'backups.db'}", tmp_path, ["send", "follow", "send"])


def test_an_append_writes_few_pages(tmp_path: Path, payload: Callable[..., dict[str, Any]]) -> None:
    """To add to a log writes the pages of its chunk and its run, and no index of runs."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(f"sqlite:///{path}") as store, closing(sqlite3.connect(path)) as connection:
        agent_id = backuplog.register_agent(store, uuid4()).id
        run_id = backuplog.ingest_task_result(store, agent_id, payload(status="running")).run_id
        sizes: list[int] = []
        for number in range(100):
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            backuplog.append_log(store, agent_id, run_id, b"a line\n", offset=number * 7)
            sizes.append((tmp_path / "backups.db-wal").stat().st_size // FRAME)
        assert statistics.median(sizes) <= 3  # Now and then a page is full.
