"""A result as the columns of its run and its chunks, for contenders that take columns by name."""

from datetime import datetime
from typing import Any
from uuid import UUID

from codec import compress, decode, split
from material import AGENT

TENANT = UUID(int=0)


def values_of(body: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Turn a body into the columns of its run and its chunks."""
    result = decode(body)
    task = UUID(result["taskId"])
    log = result["log"].encode()
    start = datetime.fromisoformat(result["startTime"])
    run = {
        "tenant_id": TENANT,
        "id": task,
        "agent_id": AGENT,
        "policy_id": UUID(result["policyId"]),
        "task_type": result["taskType"],
        "status": result["status"],
        "start_time": start,
        "end_time": datetime.fromisoformat(result["endTime"]),
        "duration_seconds": result["durationSeconds"],
        "snapshot_id": result["snapshotId"],
        "received_at": start,
        "updated_at": start,
        "log_state": "complete",
        "log_bytes": len(log),
        "log_sha256": bytes(32),
        "dropped_bytes": 0,
        "redactions": 0,
        "log_gap_start": 0,
        "log_gap_stop": 0,
        "log_context": b"",
        "log_held": b"",
        "digest": bytes(32),
        "superseded": b"",
        "end_time_reported": True,
        "log_version": 1,
    }
    chunks = [
        {
            "tenant_id": TENANT,
            "run_id": task,
            "log_version": 1,
            "byte_offset": offset,
            "size": len(piece),
            "codec": "zstd",
            "checksum": 0,
            "data": compress(piece),
        }
        for offset, piece in split(log)
    ]
    return run, chunks
