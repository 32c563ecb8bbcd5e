"""Making a task result of a log file: what its tool says, and what the file says of itself. Pure."""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID, uuid5

from backuplog import RunStats, TaskResult, parse_log
from backuplog.parsers import Tool

UNKNOWN: Final = "unknown"
"""The status of a run whose log does not say how it ended."""


def status_of(stats: RunStats | None) -> str:
    """Return how a run ended according to the figures of its log.

    Nothing counts as a success that does not say so: a snapshot was saved, or no error was counted.

    Args:
        stats: The figures; None if the log tells none.
    """
    if stats is None:
        return UNKNOWN
    if stats.errors or stats.failed_items:
        is_partial = stats.has_snapshot is not False and (stats.has_snapshot or stats.total_files_processed is not None)
        return "warning" if is_partial else "failed"
    if stats.warnings:
        return "warning"
    return "success" if stats.has_snapshot or stats.errors == 0 else UNKNOWN


def result_of(
    log: bytes,
    modified_at: datetime,
    *,
    agent_id: UUID,
    policy_id: UUID | None,
    task_type: str,
    status: str | None,
    tools: Sequence[Tool],
) -> TaskResult:
    """Make a task result of a log, the same one each time.

    Args:
        log: The log.
        modified_at: When the file was last written, which is when the task ended.
        agent_id: The agent that ran the task.
        policy_id: The policy that was executed; None for one that is made of the agent and the type of task.
        task_type: The type of task.
        status: How it ended; None for what the log says.
        tools: The tools whose logs are understood.

    Raises:
        InvalidTaskResult: The type or the status is malformed.
    """
    stats = parse_log(log, task_type=task_type, tools=tools)
    return TaskResult(
        task_id=uuid5(agent_id, hashlib.sha256(log).hexdigest()),
        policy_id=policy_id or uuid5(agent_id, f"policy {task_type}"),
        task_type=task_type,
        status=status or status_of(stats),
        duration_seconds=(stats and stats.duration) or 0.0,
        end_time=modified_at,
        log=log,
    )
