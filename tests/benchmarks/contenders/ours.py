"""backuplog, by its public names only, so that an older tree can be measured by the same program."""

from pathlib import Path
from typing import Any
from uuid import UUID

from material import AGENT, FIELDS, body_of

import backuplog


class Backuplog:
    """The library as anybody uses it, with its defaults."""

    works = ("ingest", "batch", "replay", "read", "part", "list", "newest", "threads", "append", "memory", "decoded")

    def __init__(self, url: str, folder: Path) -> None:
        """Open a store that knows the agent."""
        del folder
        self.store = backuplog.open_store(url)
        backuplog.register_agent(self.store, AGENT)

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        backuplog.ingest_task_result(self.store, AGENT, body)

    def ingest_batch(self, bodies: list[bytes]) -> None:
        """Take many results in."""
        answers = backuplog.ingest_task_results(self.store, [(AGENT, body) for body in bodies])
        assert all(isinstance(answer, backuplog.Receipt) for answer in answers)

    def ingest_result(self, task_id: UUID, log: bytes) -> None:
        """Take one result in that is no JSON, and hold no other copy of its log."""
        values = {name: value for name, value in FIELDS.items() if name != "agent_id"}
        result = backuplog.TaskResult(task_id=task_id, **values, log=log)
        backuplog.ingest_task_result(self.store, AGENT, result)

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored of a run."""
        run = backuplog.get_run(self.store, task_id)
        return {name: getattr(run, name) for name in FIELDS}

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        return backuplog.read_log(self.store, task_id)

    def read_pieces(self, task_id: UUID) -> int:
        """Read a whole log piece by piece, and give its length."""
        return sum(len(piece) for piece in backuplog.iter_log(self.store, task_id))

    def read_part(self, task_id: UUID, start: int, stop: int | None) -> bytes:
        """Read a part of a log, as a slice says."""
        return backuplog.read_log(self.store, task_id, start=start, stop=stop)

    def begin(self, task_id: UUID) -> None:
        """Begin a task whose log will come in pieces."""
        self.ingest(body_of(None, status="running", task_id=task_id))

    def append(self, task_id: UUID, offset: int, data: bytes) -> None:
        """Add to a log."""
        backuplog.append_log(self.store, AGENT, task_id, data, offset=offset)

    def end(self, task_id: UUID) -> None:
        """End such a task."""
        self.ingest(body_of(None, task_id=task_id))

    def place(self, filters: dict[str, Any], skipped: int) -> str | None:
        """Give where a page begins after so many runs: a cursor."""
        cursor = None
        while skipped:
            step = min(skipped, 900)
            query = backuplog.RunQuery(**filters, limit=step, cursor=cursor, with_total=False)
            cursor = backuplog.query_runs(self.store, query).next_cursor
            if cursor is None:
                raise LookupError(f"so few runs match {filters} that there is no such page")
            skipped -= step
        return cursor

    def list_runs(self, filters: dict[str, Any], after: str | None, *, with_total: bool) -> backuplog.RunPage:
        """List 100 runs."""
        return backuplog.query_runs(self.store, backuplog.RunQuery(**filters, cursor=after, with_total=with_total))

    def evidence(self, page: backuplog.RunPage) -> object:
        """Give what every contender must have found."""
        return [str(run.id) for run in page.runs], page.total
