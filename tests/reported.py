"""Runs for the tests of the page."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import backuplog

POLICY = UUID(int=7)
HOSTILE = "<script>alert(1)</script>\u202e\x1b[31m\a'\"&amp;"
"""Text that does harm wherever it is not escaped, isolated or made visible."""


def report_run(store: backuplog.Store, agent_id: UUID, *, hours: float, **fields: Any) -> backuplog.Receipt:
    """Report a run that ended so many hours ago: a backup with success, unless the fields say otherwise."""
    ended = datetime.now(UTC) - timedelta(hours=hours)
    given = {"policy_id": POLICY, "task_type": "backup", "status": "success", "duration_seconds": 60, **fields}
    if given["status"] not in ("running", "pending"):
        given.setdefault("end_time", ended)
    given.setdefault("start_time", ended - timedelta(seconds=60))
    return backuplog.ingest_task_result(
        store, agent_id, backuplog.TaskResult(task_id=uuid4(), **given), received_at=ended
    )
