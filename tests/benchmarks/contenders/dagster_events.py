"""Dagster's event log, as the nearest thing that people run today. It does *unequal* work.

A result is one event, its log as the message's text: one row, no run, no checks, no compression. The library opens an
engine and a connection for each event, as it does in a task. On PostgreSQL it speaks through psycopg2.
"""

import logging
from pathlib import Path
from typing import Any
from uuid import UUID

from codec import decode
from dagster import EventLogEntry
from dagster._core.storage.event_log import ConsolidatedSqliteEventLogStorage
from material import FIELDS
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import event
from sqlalchemy.engine import URL, Engine

from .bare_sqlite import PRAGMAS


class Dagster:
    """``store_event`` and ``get_logs_for_run``."""

    works = ("ingest", "read")
    largest = 8 << 20
    storage: Any

    def __init__(self, url: str, folder: Path) -> None:
        """Open a storage of its own."""
        if url.startswith("sqlite"):

            @event.listens_for(Engine, "connect")
            def configure(connection: Any, _: object) -> None:
                for pragma in PRAGMAS[1:]:  # The first is the file's own, and Dagster's too.
                    connection.execute(f"PRAGMA {pragma}")

            self.storage = ConsolidatedSqliteEventLogStorage(str(folder / "dagster"))
            return
        from dagster_postgres import PostgresEventLogStorage  # noqa: PLC0415 - a package of its own

        given = conninfo_to_dict(url)
        host, port = given.pop("host", None), given.pop("port", None)
        address = URL.create(
            "postgresql+psycopg2",
            username=given.get("user"),
            password=given.get("password") or None,
            database=given.get("dbname"),
            query={"host": str(host), **({"port": str(port)} if port else {})},
        )
        self.storage = PostgresEventLogStorage(address.render_as_string(hide_password=False))

    def ingest(self, body: bytes) -> None:
        """Take one result in."""
        self.storage.store_event(entry_of(body))

    def find(self, task_id: UUID) -> dict[str, object]:
        """Give what is stored beside the log."""
        (entry,) = self.storage.get_logs_for_run(str(task_id))
        return {"policy_id": UUID(entry.step_key), "task_type": entry.job_name}

    def read(self, task_id: UUID) -> bytes:
        """Read a whole log."""
        (entry,) = self.storage.get_logs_for_run(str(task_id))
        return entry.user_message.encode()


def entry_of(body: bytes) -> EventLogEntry:
    """Turn a body into an event."""
    result = decode(body)
    return EventLogEntry(
        error_info=None,
        level=logging.INFO,
        user_message=result["log"],
        run_id=result["taskId"],
        timestamp=FIELDS["start_time"].timestamp(),
        step_key=result["policyId"],
        job_name=result["taskType"],
    )
