"""What the operations of the OpenAPI document share: problems, parameters, headers and examples."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from backuplog.errors import (
    BackuplogError,
    FieldError,
    Forbidden,
    InvalidQuery,
    InvalidTaskResult,
    LogClosed,
    LogOffsetMismatch,
    RateLimited,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
)
from backuplog.model import BackupRun, LogState, Outcome, Receipt, RunQuery

from .guard import Guard
from .response import phrase, problem_of
from .schema import ID, OFFSET, TAKEN, meanings, ref

NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
EXAMPLE_LOG: Final = "processed 5 files, 14.648 KiB in 0:00\nsnapshot 8837c0dd saved\n"
EXAMPLE_RESULT: Final = {
    "taskId": "d661a6d6-982d-4a1d-8b33-21fcdbd0371d",
    "policyId": "0e3f0b51-9d0e-4c0b-8d2f-5f7e6a1c2b3d",
    "taskType": "backup",
    "status": "success",
    "durationSeconds": 0.578639313,
    "log": EXAMPLE_LOG,
    "snapshotId": "8837c0dd",
    "startTime": "2026-11-24T03:55:01.052791192Z",
    "endTime": "2026-11-24T03:55:01.631430515Z",
}
EXAMPLE_RUN: Final = BackupRun(
    id=UUID("d661a6d6-982d-4a1d-8b33-21fcdbd0371d"),
    tenant_id=UUID(int=0),
    agent_id=UUID("5b0c2a4e-6a6e-4a53-9f0b-0f8f5a4c1d2e"),
    policy_id=UUID("0e3f0b51-9d0e-4c0b-8d2f-5f7e6a1c2b3d"),
    task_type="backup",
    status="success",
    start_time=NOON.replace(minute=1),
    end_time=NOON.replace(minute=2),
    duration_seconds=60.0,
    error_message=None,
    snapshot_id="8837c0dd",
    received_at=NOON.replace(minute=3),
    updated_at=NOON.replace(minute=3),
    log_state=LogState.COMPLETE,
    log_bytes=len(EXAMPLE_LOG),
    log_sha256=bytes.fromhex("f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"),
)
EXAMPLE_RECEIPT: Final = Receipt(
    run_id=EXAMPLE_RUN.id, outcome=Outcome.CREATED, log_state=LogState.COMPLETE, log_bytes=EXAMPLE_RUN.log_bytes
)


INVALID_RESULT: Final = InvalidTaskResult([FieldError("$.taskId", "must be a UUID")])
INVALID_QUERY: Final = InvalidQuery([FieldError("limit", "must be a whole number from 1 to 1,000")])


def problems(guard: Guard, *errors: BackuplogError) -> dict[str, Any]:
    """Return the responses of errors, and of those that every endpoint has."""
    every = [*errors, StoreError(), StoreUnavailable()]
    every += [Unauthenticated(), Forbidden()] if guard.tokens else []
    every += [RateLimited(30)] if guard.limiter or guard == Guard() else []
    statuses = sorted({error.http_status for error in every})
    return {str(status): _problem([error for error in every if error.http_status == status]) for status in statuses}


def _problem(errors: Sequence[BackuplogError]) -> dict[str, Any]:
    """Return the response with the status that some errors have."""
    examples = {error.error_type: {"value": problem_of(error)} for error in errors}
    response: dict[str, Any] = {
        "description": phrase(errors[0].http_status),
        "content": {"application/problem+json": {"schema": ref("Problem"), "examples": examples}},
    }
    for error in errors:
        if isinstance(error, RateLimited | StoreUnavailable):
            response["headers"] = {
                "Retry-After": response_header("Seconds to wait.", {"type": "integer", "minimum": 1})
            }
        if isinstance(error, Unauthenticated):
            response["headers"] = {"WWW-Authenticate": response_header("Bearer.", {"type": "string"})}
        if isinstance(error, LogOffsetMismatch | LogClosed):
            response["headers"] = {"Upload-Offset": response_header("Where to go on.", OFFSET)}
    return response


def query_parameter(field: Any) -> dict[str, Any]:
    """Describe a parameter that is a field of ``RunQuery``; one that is there is not empty."""
    schema = TAKEN[field.converter]
    if schema["type"] == "string":
        schema = {**schema, "minLength": 1}
    return {"name": field.name, "in": "query", "description": meanings(RunQuery)[field.name], "schema": schema}


def path_parameter(name: str) -> dict[str, Any]:
    """Describe a parameter of a path."""
    meaning = {"agent_id": "The agent.", "run_id": "The run: its task's id."}[name]
    return {"name": name, "in": "path", "required": True, "description": meaning, "schema": ID}


def response_header(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Describe a header of a response."""
    return {"description": description, "schema": schema}


def json_content(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    """Describe a body of JSON by the name of its schema."""
    return {"application/json": {"schema": ref(schema), "examples": {"example": {"value": example}}}}


def encodings(guard: Guard) -> str:
    """Say how long a body may be, and how it may be compressed."""
    return f"At most {guard.max_body_bytes:,} bytes, which may be compressed (`Content-Encoding: gzip` or `zstd`)."
