"""The OpenAPI 3.1 document of the HTTP contract. Schemas come from the models: fields, types, limits and docstrings."""

import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from importlib.metadata import version
from typing import Any, Final
from uuid import UUID

import attrs

from backuplog import normalise
from backuplog.convert import run_document, wire_names
from backuplog.errors import (
    AgentNotFound,
    BackuplogError,
    FieldError,
    Forbidden,
    InvalidQuery,
    InvalidTaskResult,
    LogClosed,
    LogExpired,
    LogOffsetMismatch,
    PayloadTooLarge,
    RateLimited,
    RunConflict,
    RunNotFound,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
    UnsupportedMedia,
)
from backuplog.model import (
    BackupRun,
    LogState,
    Outcome,
    Progress,
    Receipt,
    RunPage,
    RunQuery,
    RunStats,
    TaskResult,
    as_progress,
    as_stats,
)

from . import MAX_BATCH_RESULTS, MAX_TAIL_LINES, Guard
from .response import MAX_LISTED_CHARACTERS, batch_item, phrase, problem_of

__all__ = ["document"]

_UUID_PATTERN: Final = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_TEXT: Final = {"type": "string", "pattern": r"^[^\u0000]*$"}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 50, "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}
_ID: Final = {"type": "string", "format": "uuid", "pattern": _UUID_PATTERN}
_TIME: Final = {"type": "string", "format": "date-time"}
_OFFSET: Final = {"type": "integer", "minimum": 0}
_PARTS: Final = {as_stats: RunStats, as_progress: Progress}

# What each converter of a field takes, which is all that a field's type does not say.
_TAKEN: Final[dict[Any, dict[str, Any]]] = {
    normalise.as_uuid: _ID,
    normalise.as_optional_uuid: _ID,
    normalise.as_task_type: _WORD,
    normalise.as_optional_task_type: _WORD,
    normalise.as_status: _WORD,
    normalise.as_statuses: {"type": "array", "items": _WORD, "minItems": 1, "maxItems": normalise.MAX_STATUSES},
    normalise.as_duration: {"type": "number", "minimum": 0, "maximum": normalise.MAX_DURATION_SECONDS},
    normalise.as_log: {"type": "string"},
    normalise.as_snapshot_id: {**_TEXT, "maxLength": 255},
    normalise.as_error_message: {**_TEXT, "maxLength": normalise.MAX_ERROR_CHARACTERS},
    normalise.as_reported_time: _TIME,
    normalise.as_optional_time: _TIME,
    normalise.as_limit: {"type": "integer", "minimum": 1, "maximum": normalise.MAX_LIMIT, "default": 100},
    normalise.as_cursor: {"type": "string", "minLength": 1},
    normalise.as_count: {"type": "integer", "minimum": 0, "maximum": normalise.MAX_COUNT},
    normalise.as_optional_duration: {"type": "number", "minimum": 0, "maximum": normalise.MAX_DURATION_SECONDS},
    normalise.as_percent: {"type": "number", "minimum": 0, "maximum": 100},
    normalise.as_step: {**_TEXT, "maxLength": 255},
    normalise.as_sha256: {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"},
    normalise.as_optional_word: {**_TEXT, "maxLength": 50},
    normalise.as_failed_items: {"type": "array", "items": {"type": "string"}},
    normalise.as_flag: {"type": "boolean"},
    normalise.as_optional_flag: {"type": "boolean"},
}
_GIVEN: Final[dict[Any, dict[str, Any]]] = {
    UUID: {"type": "string", "format": "uuid"},
    datetime: _TIME,
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "pattern": "^[0-9a-f]*$"},
}

_NOON: Final = datetime(2026, 11, 24, 12, tzinfo=UTC)
_LOG: Final = "processed 5 files, 14.648 KiB in 0:00\nsnapshot 8837c0dd saved\n"
EXAMPLE_RESULT: Final = {
    "taskId": "d661a6d6-982d-4a1d-8b33-21fcdbd0371d",
    "policyId": "0e3f0b51-9d0e-4c0b-8d2f-5f7e6a1c2b3d",
    "taskType": "backup",
    "status": "success",
    "durationSeconds": 0.578639313,
    "log": _LOG,
    "snapshotId": "8837c0dd",
    "startTime": "2026-11-24T03:55:01.052791192Z",
    "endTime": "2026-11-24T03:55:01.631430515Z",
}
_RUN: Final = BackupRun(
    id=UUID("d661a6d6-982d-4a1d-8b33-21fcdbd0371d"),
    tenant_id=UUID(int=0),
    agent_id=UUID("5b0c2a4e-6a6e-4a53-9f0b-0f8f5a4c1d2e"),
    policy_id=UUID("0e3f0b51-9d0e-4c0b-8d2f-5f7e6a1c2b3d"),
    task_type="backup",
    status="success",
    start_time=_NOON.replace(minute=1),
    end_time=_NOON.replace(minute=2),
    duration_seconds=60.0,
    error_message=None,
    snapshot_id="8837c0dd",
    received_at=_NOON.replace(minute=3),
    updated_at=_NOON.replace(minute=3),
    log_state=LogState.COMPLETE,
    log_bytes=len(_LOG),
    log_sha256=bytes.fromhex("f2ca1bb6c7e907d06dafe4687e579fce76b37e4e93b7605022da52e6ccc26fd2"),
)
_RECEIPT: Final = Receipt(
    run_id=_RUN.id, outcome=Outcome.CREATED, log_state=LogState.COMPLETE, log_bytes=_RUN.log_bytes
)


def document(
    *,
    title: str = "backuplog",
    version: str = version("backuplog"),
    prefix: str = "",
    guard: Guard = Guard(),  # noqa: B008
) -> dict[str, Any]:
    """Make the OpenAPI document of ``backuplog.http``: every endpoint with its schemas, errors, headers and examples.

    Args:
        title: The title of the API.
        version: The version of the API; by default the library's.
        prefix: What precedes each path, such as ``/api/v1``.
        guard: The guard that you pass to the endpoints. It decides whether they require tokens, and how long a body may
            be.

    Returns:
        An OpenAPI 3.1 document, ready for ``json.dumps``. To merge it into another, copy its ``paths`` and
        ``components``.
    """
    agent = f"{prefix}/agents/{{agent_id}}"
    paths: dict[str, Any] = {
        f"{agent}/task-results": {"parameters": [_path("agent_id")], "post": _post_task_result(guard)},
        f"{agent}/task-results/batch": {"parameters": [_path("agent_id")], "post": _post_task_results(guard)},
        f"{agent}/backup-runs": {"parameters": [_path("agent_id")], "get": _get_backup_runs(guard)},
        f"{prefix}/backup-runs": {"get": _get_backup_runs(guard, of_all=True)},
        f"{agent}/backup-runs/{{run_id}}": {
            "parameters": [_path("agent_id"), _path("run_id")],
            "get": _get_backup_run(guard),
        },
        f"{agent}/backup-runs/{{run_id}}/log": {
            "parameters": [_path("agent_id"), _path("run_id")],
            "get": _get_backup_run_log(guard),
            "patch": _patch_backup_run_log(guard),
        },
    }
    components: dict[str, Any] = {"schemas": _schemas()}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Takes in backup task results from agents, and gives back run history and logs.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": "results", "description": "For agents."}, {"name": "runs", "description": "For UIs."}],
        "paths": paths,
        "components": components,
    }
    if guard.tokens:
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token of issue_agent_token."}
        }
        made["security"] = [{"token": []}]
    return made


def _post_task_result(guard: Guard) -> dict[str, Any]:
    return {
        "operationId": "postTaskResult",
        "tags": ["results"],
        "summary": "Take one result in, exactly once however often it is sent.",
        "description": _encodings(guard),
        "requestBody": {"required": True, "content": _json("TaskResult", EXAMPLE_RESULT)},
        "responses": {
            "200": {
                "description": "It is durable.",
                "headers": {
                    "Backuplog-Outcome": _header(
                        "What became of it.", {"type": "string", "enum": [member.value for member in Outcome]}
                    ),
                    "Backuplog-Log-State": _header(
                        "What is stored of its log. Send it again where this is `lost`.",
                        {"type": "string", "enum": [member.value for member in LogState]},
                    ),
                },
                "content": _json("Accepted", {"status": "ok"}),
            },
            **_problems(
                guard,
                *(_INVALID_RESULT, AgentNotFound(), RunConflict(), LogOffsetMismatch(1_048_576)),
                *(PayloadTooLarge(), UnsupportedMedia()),
            ),
        },
    }


def _post_task_results(guard: Guard) -> dict[str, Any]:
    items = [batch_item(_RECEIPT), batch_item(_INVALID_RESULT)]
    array = {"type": "array", "items": _ref("TaskResult"), "maxItems": MAX_BATCH_RESULTS}
    return {
        "operationId": "postTaskResults",
        "tags": ["results"],
        "summary": "Take several results of one agent in; one bad item spoils no other.",
        "description": f"{_encodings(guard)} As `application/x-ndjson`: one result on each line.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": array, "examples": {"one": {"value": [EXAMPLE_RESULT]}}}},
        },
        "responses": {
            "200": {"description": "What became of each, in order.", "content": _json("Batch", {"results": items})},
            **_problems(guard, _INVALID_RESULT, AgentNotFound(), PayloadTooLarge(), UnsupportedMedia()),
        },
    }


def _get_backup_runs(guard: Guard, *, of_all: bool = False) -> dict[str, Any]:
    page = {"runs": [run_document(_RUN)], "total": 1, "limit": 100, "next_cursor": None}
    return {
        "operationId": "getAllBackupRuns" if of_all else "getBackupRuns",
        "tags": ["runs"],
        "summary": f"List the runs of {'all agents' if of_all else 'an agent'}, newest first.",
        "parameters": [
            _query(field) for field in attrs.fields(RunQuery) if field.name not in ("agent_id", "with_total")
        ],
        "responses": {
            "200": {"description": "A page.", "content": _json("RunPage", page)},
            **_problems(guard, _INVALID_QUERY, *([] if of_all else [AgentNotFound()])),
        },
    }


def _get_backup_run(guard: Guard) -> dict[str, Any]:
    flag = {
        "name": "log",
        "in": "query",
        "description": "Whether to give the log too.",
        "schema": {"type": "boolean", "default": True},
    }
    return {
        "operationId": "getBackupRun",
        "tags": ["runs"],
        "summary": "Get a run, with its log.",
        "parameters": [flag],
        "responses": {
            "200": {"description": "The run.", "content": _json("RunWithLog", {**run_document(_RUN), "log": _LOG})},
            **_problems(guard, _INVALID_QUERY, RunNotFound()),
        },
    }


def _get_backup_run_log(guard: Guard) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string", "format": "binary"}, "examples": {"log": {"value": _LOG}}}}
    tag = {"ETag": _header("The SHA-256 of the log.", {"type": "string"})}
    ranges = {**tag, "Accept-Ranges": _header("Parts can be asked for.", {"type": "string", "enum": ["bytes"]})}
    part = _header("Which bytes of how many.", {"type": "string"})
    problem = {"application/problem+json": {"schema": _ref("Problem")}}
    lines = {"type": "integer", "minimum": 1, "maximum": MAX_TAIL_LINES}
    following = {
        "Upload-Offset": _header("At which offset the log goes on: the next `since`.", _OFFSET),
        "Retry-After": _header("With `since`: seconds to wait before asking again.", _OFFSET),
        "Backuplog-Final": _header(
            "With `since`: whether the task has ended and this was all.", {"type": "string", "enum": ["true", "false"]}
        ),
    }
    return {
        "operationId": "getBackupRunLog",
        "tags": ["runs"],
        "summary": "Get the bytes of a run's log.",
        "description": "`Range` (one range of bytes), `If-Range`, `If-Match`, `If-None-Match` are those of RFC 9110.",
        "parameters": [
            {"name": "tail", "in": "query", "description": "Only so many lines of its end.", "schema": lines},
            {
                "name": "since",
                "in": "query",
                "description": "Only what follows so many bytes, at most 1 MiB, of a log that grows.",
                "schema": _OFFSET,
            },
        ],
        "responses": {
            "200": {
                "description": "The log, its last lines, or what follows.",
                "headers": {**ranges, **following},
                "content": text,
            },
            "206": {"description": "A part.", "headers": {**ranges, "Content-Range": part}, "content": text},
            "304": {"description": "It is what If-None-Match names.", "headers": tag},
            "412": {"description": "It is none of those that If-Match names.", "content": problem},
            "416": {
                "description": "It ends before. With `since`, begin again at 0.",
                "headers": {"Content-Range": part},
                "content": problem,
            },
            **_problems(guard, _INVALID_QUERY, RunNotFound(), LogExpired()),
        },
    }


def _patch_backup_run_log(guard: Guard) -> dict[str, Any]:
    offset = _header("How many bytes have been received: where to go on.", _OFFSET)
    header = {
        "name": "Content-Range",
        "in": "header",
        "description": "Where the piece belongs, counted in bytes of log; `Upload-Offset: 0` does as well.",
        "schema": {"type": "string", "pattern": r"^bytes \d{1,18}-\d{1,18}/(\*|\d{1,18})$"},
    }
    other = {
        "name": "Upload-Offset",
        "in": "header",
        "description": "How many bytes come before the piece, where there is no `Content-Range`.",
        "schema": {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    }
    piece = {"schema": {"type": "string", "format": "binary"}, "examples": {"piece": {"value": _LOG}}}
    return {
        "operationId": "patchBackupRunLog",
        "tags": ["results"],
        "summary": "Add to the log of a task that still runs, exactly once however often a piece is sent.",
        "description": _encodings(guard),
        "parameters": [header, other],
        "requestBody": {
            "description": "The next piece. With `Upload-Offset` it may be empty, to ask how much has come.",
            "content": {"application/octet-stream": piece},
        },
        "responses": {
            "200": {
                "description": "It is durable.",
                "headers": {"Upload-Offset": offset},
                "content": _json("Appended", {"status": "ok", "offset": 4096}),
            },
            **_problems(
                guard,
                *(_INVALID_QUERY, RunNotFound(), LogOffsetMismatch(1_048_576), LogClosed(1_048_576), LogExpired()),
                *(PayloadTooLarge(), UnsupportedMedia()),
            ),
        },
    }


_INVALID_RESULT: Final = InvalidTaskResult([FieldError("$.taskId", "must be a UUID")])
_INVALID_QUERY: Final = InvalidQuery([FieldError("limit", "must be a whole number from 1 to 1,000")])


def _problems(guard: Guard, *errors: BackuplogError) -> dict[str, Any]:
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
        "content": {"application/problem+json": {"schema": _ref("Problem"), "examples": examples}},
    }
    for error in errors:
        if isinstance(error, RateLimited | StoreUnavailable):
            response["headers"] = {"Retry-After": _header("Seconds to wait.", {"type": "integer", "minimum": 1})}
        if isinstance(error, Unauthenticated):
            response["headers"] = {"WWW-Authenticate": _header("Bearer.", {"type": "string"})}
        if isinstance(error, LogOffsetMismatch | LogClosed):
            response["headers"] = {"Upload-Offset": _header("Where to go on.", _OFFSET)}
    return response


def _schemas() -> dict[str, Any]:
    run, page = _given(BackupRun, without={"tenant_id"}), _given(RunPage)
    page["properties"]["runs"]["items"] = _ref("BackupRun")
    truncated = {
        "type": "boolean",
        "description": f"Only the first {MAX_LISTED_CHARACTERS:,} characters of the message are shown.",
    }
    listed = {**run, "properties": {**run["properties"], "error_message_truncated": truncated}}
    receipt = _given(Receipt)
    text = {"type": "string"}
    problem = _object(
        "What went wrong (RFC 9457).",
        {
            "type": {**text, "format": "uri-reference"},
            "title": {**text, "description": "The status in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {**text, "description": "What is wrong and what to do."},
            "error_type": {**text, "description": "The kind of error: a slug that stays the same."},
            "errors": {"type": "array", "items": _ref("FieldError"), "description": "Each field that is wrong."},
            "expected_offset": {**_OFFSET, "description": "How many bytes of the log have been received."},
            "results": {"type": "array", "items": _ref("BatchItem"), "description": "Of a batch that failed in part."},
        },
        required=("type", "title", "status", "detail", "error_type"),
    )
    item = _object(
        "What became of one result of a batch.",
        {
            "status": {"type": "string", "enum": ["ok", "error"]},
            **receipt["properties"],
            "error": {**_ref("Problem"), "description": "Why it was refused."},
        },
        required=("status",),
    )
    log = {"type": ["string", "null"], "description": "The log, with U+FFFD for what is not UTF-8; null without one."}
    with_log = {**run, "properties": {**run["properties"], "log": log}}
    return {
        "TaskResult": _taken(TaskResult),
        "Appended": _object(
            "It is durable.",
            {
                "status": {"type": "string", "const": "ok"},
                "offset": {**_OFFSET, "description": "How many bytes of the log have been received."},
            },
        ),
        "Accepted": _object("It is durable.", {"status": {"type": "string", "const": "ok"}}),
        "BackupRun": listed,
        "RunWithLog": with_log,
        "RunPage": page,
        "Batch": _object("What became of each result.", {"results": {"type": "array", "items": _ref("BatchItem")}}),
        "BatchItem": item,
        "FieldError": _given(FieldError),
        "Problem": problem,
    }


def _taken(model: type[Any]) -> dict[str, Any]:
    """Return the schema of what a model is made from. ``null`` is the same as absent."""
    fields = {field.name: field for field in attrs.fields(model)}
    meanings, names = _meanings(model), wire_names(model)
    properties: dict[str, Any] = {}
    for wire_name, name in names.items():
        converter = fields[name].converter
        part = _PARTS.get(converter)
        schema = {**(_taken(part) if part else _TAKEN[converter]), "description": meanings[name]}
        is_optional = fields[name].default is not attrs.NOTHING
        properties[wire_name] = {**schema, "type": [schema["type"], "null"]} if is_optional else schema
    required = [wire for wire, name in names.items() if fields[name].default is attrs.NOTHING]
    return {**_object(_summary(model), properties, required=required), "additionalProperties": True}


def _given(model: type[Any], *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schema of what a model becomes in JSON."""
    types_of, meanings = typing.get_type_hints(model), _meanings(model)
    properties: dict[str, Any] = {
        field.name: {**_type(types_of[field.name]), "description": meanings[field.name]}
        for field in attrs.fields(model)
        if field.name not in without
    }
    return _object(_summary(model), properties)


def _type(hint: Any) -> dict[str, Any]:
    members = typing.get_args(hint)
    if isinstance(hint, types.UnionType):
        schema = _type(members[0])
        return {**schema, "type": [schema["type"], "null"]}
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(members[0])}
    if hint in _GIVEN:
        return _GIVEN[hint]
    model: type[Any] = hint
    if issubclass(model, StrEnum):
        return {"type": "string", "enum": [member.value for member in model]}
    return _given(model)


def _object(description: str, properties: dict[str, Any], *, required: Iterable[str] | None = None) -> dict[str, Any]:
    names = list(properties if required is None else required)
    return {"type": "object", "description": description, "required": names, "properties": properties}


def _meanings(model: type[Any]) -> dict[str, str]:
    """Read what each field means from the class's docstring."""
    listed = (inspect.getdoc(model) or "").partition("Attributes:\n")[2].partition("\nRaises:")[0]
    found = re.findall(r"^    (\w+): (.+?)(?=^    \w+:|\Z)", listed, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.replace("``", "`").split()) for name, text in found}


def _summary(model: type[Any]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]


def _query(field: Any) -> dict[str, Any]:
    meaning = _meanings(RunQuery)[field.name]
    return {"name": field.name, "in": "query", "description": meaning, "schema": _TAKEN[field.converter]}


def _path(name: str) -> dict[str, Any]:
    meaning = {"agent_id": "The agent.", "run_id": "The run: its task's id."}[name]
    return {"name": name, "in": "path", "required": True, "description": meaning, "schema": _ID}


def _header(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "schema": schema}


def _json(schema: str, example: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": _ref(schema), "examples": {"example": {"value": example}}}}


def _ref(schema: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{schema}"}


def _encodings(guard: Guard) -> str:
    return f"At most {guard.max_body_bytes:,} bytes, which may be compressed (`Content-Encoding: gzip` or `zstd`)."


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2) + "\n")
