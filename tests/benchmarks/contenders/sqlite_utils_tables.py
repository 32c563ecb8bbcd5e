"""sqlite-utils: its tables and dictionaries, on the tables and indexes of backuplog."""

from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from codec import decompress
from material import AGENT, FIELDS
from sqlite_utils import Database

import backuplog

from .bare_sqlite import PRAGMAS, conditions, found, micros
from .columns import values_of

TENANT = bytes(16)


class SqliteUtils:
    """``insert`` and ``insert_all`` in one ``atomic`` block; ``rows_where`` to read."""

    works = ("ingest", "batch", "read", "newest")
    largest = 8 << 20

    def __init__(self, url: str, folder: Path) -> None:
        """Open a database with the schema and the agent of backuplog."""
        del folder
        with backuplog.open_store(url) as store:
            backuplog.register_agent(store, AGENT)
        self.database = Database(url.removeprefix("sqlite:///"))
        for pragma in PRAGMAS:
            self.database.execute(f"PRAGMA {pragma}")
        self.runs = self.database.table("backup_runs")
        self.chunks = self.database.table("backup_run_logs")
        self.agents = self.database.table("backup_agents")

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        run, chunks = values_of(body)
        with self.database.atomic():
            assert self.agents.get((TENANT, AGENT.bytes))
            self.runs.insert(stored(run), ignore=True)
            self.chunks.insert_all(map(stored, chunks))

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in, in one transaction."""
        rows = [values_of(body) for body in bodies]
        with self.database.atomic():
            assert self.agents.get((TENANT, AGENT.bytes))
            self.runs.insert_all((stored(run) for run, _ in rows), ignore=True)
            self.chunks.insert_all(stored(chunk) for _, chunks in rows for chunk in chunks)

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        row = self.runs.get((TENANT, task_id.bytes))
        return found({name: row[name] for name in FIELDS})

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        version = self.runs.get((TENANT, task_id.bytes))["log_version"]
        rows = self.chunks.rows_where(
            "tenant_id = ? AND run_id = ? AND log_version = ?",
            (TENANT, task_id.bytes, version),
            order_by="byte_offset",
        )
        return b"".join(decompress(row["data"]) for row in rows)

    def place(self, filters: dict[str, Any], skipped: int) -> tuple[Any, ...] | None:
        """Give where a page begins after so many runs."""
        if not skipped:
            return None
        where, values = conditions(filters, None)
        order = "start_time DESC, id DESC"
        (row,) = self.runs.rows_where(where, values, order_by=order, offset=skipped - 1, limit=1)
        return row["start_time"], row["id"]

    def list_runs(
        self, filters: dict[str, Any], after: tuple[Any, ...] | None, *, with_total: bool
    ) -> tuple[list[Any], int | None]:
        """List 100 runs, as dictionaries."""
        where, values = conditions(filters, after)
        rows = list(self.runs.rows_where(where, values, order_by="start_time DESC, id DESC", limit=100))
        total = self.runs.count_where(*conditions(filters, None)) if with_total else None
        return rows, total

    def evidence(self, page: tuple[list[Any], int | None]) -> object:
        """Give what every contender must have found."""
        return [str(UUID(bytes=row["id"])) for row in page[0]], page[1]


def stored(values: dict[str, Any]) -> dict[str, Any]:
    """Give columns as SQLite stores them."""
    plain = {UUID: lambda value: value.bytes, datetime: micros}
    return {name: plain[type(value)](value) if type(value) in plain else value for name, value in values.items()}
