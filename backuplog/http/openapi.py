"""The OpenAPI 3.1 document of the HTTP contract. Schemas come from the models: fields, types, limits and docstrings."""

import json
import re
import sys
from importlib.metadata import version
from typing import Any

import attrs

from backuplog.convert import run_document
from backuplog.errors import (
    AgentNotFound,
    LogClosed,
    LogExpired,
    LogOffsetMismatch,
    PayloadTooLarge,
    RunConflict,
    RunNotFound,
    UnsupportedMedia,
)
from backuplog.model import LogState, Outcome, RunQuery

from . import MAX_BATCH_RESULTS, MAX_TAIL_LINES, Guard
from .operation import (
    EXAMPLE_LOG,
    EXAMPLE_RECEIPT,
    EXAMPLE_RESULT,
    EXAMPLE_RUN,
    INVALID_QUERY,
    INVALID_RESULT,
    encodings,
    json_content,
    path_parameter,
    problems,
    query_parameter,
    response_header,
)
from .report_operations import report_paths
from .response import batch_item
from .schema import OFFSET, ref, schemas

__all__ = ["document", "extend"]


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
        f"{agent}/task-results": {"parameters": [path_parameter("agent_id")], "post": _post_task_result(guard)},
        f"{agent}/task-results/batch": {"parameters": [path_parameter("agent_id")], "post": _post_task_results(guard)},
        f"{agent}/backup-runs": {"parameters": [path_parameter("agent_id")], "get": _get_backup_runs(guard)},
        f"{prefix}/backup-runs": {"get": _get_backup_runs(guard, of_all=True)},
        **report_paths(guard, prefix),
        f"{agent}/backup-runs/{{run_id}}": {
            "parameters": [path_parameter("agent_id"), path_parameter("run_id")],
            "get": _get_backup_run(guard),
        },
        f"{agent}/backup-runs/{{run_id}}/log": {
            "parameters": [path_parameter("agent_id"), path_parameter("run_id")],
            "get": _get_backup_run_log(guard),
            "patch": _patch_backup_run_log(guard),
        },
    }
    components: dict[str, Any] = {"schemas": schemas()}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": title,
            "version": version,
            "description": "Takes in backup task results from agents, and gives back run history and logs.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "results", "description": "For agents."},
            {"name": "runs", "description": "For UIs."},
            {"name": "reports", "description": "For UIs, over many runs."},
        ],
        "paths": paths,
        "components": components,
    }
    if guard.tokens:
        components["securitySchemes"] = {
            "token": {"type": "http", "scheme": "bearer", "description": "A token of issue_agent_token."}
        }
        made["security"] = [{"token": []}]
    return made


def extend(
    app: Any,
    *,
    prefix: str = "",
    guard: Guard = Guard(),  # noqa: B008
) -> None:
    """Add the endpoints to the OpenAPI document of a FastAPI application, which cannot see into what is mounted.

    The names of schemas begin with ``backuplog.`` there, so that they replace none of the application's own.

    Args:
        app: The application, whose method ``openapi`` makes its document. FastAPI is not imported.
        prefix: Where the endpoints are mounted, such as ``/backups``.
        guard: The guard that you pass to them.
    """
    own = app.openapi
    text = json.dumps(document(prefix=prefix.rstrip("/"), guard=guard))
    ours = json.loads(text.replace('"#/components/schemas/', '"#/components/schemas/backuplog.'))
    components = ours["components"]
    components["schemas"] = {f"backuplog.{name}": schema for name, schema in components["schemas"].items()}
    for item in ours["paths"].values():
        for operation in (item[method] for method in ("get", "patch", "post") if method in item):
            operation["security"] = ours.get("security", [])
            operation["operationId"] += re.sub(r"\W+", "_", prefix.rstrip("/"))  # It may be mounted several times.

    def openapi() -> dict[str, Any]:
        made: dict[str, Any] = own()  # which FastAPI makes once and keeps
        made["paths"].update(ours["paths"])
        for kind, named in components.items():
            made.setdefault("components", {}).setdefault(kind, {}).update(named)
        return made

    app.openapi = openapi


def _post_task_result(guard: Guard) -> dict[str, Any]:
    return {
        "operationId": "postTaskResult",
        "tags": ["results"],
        "summary": "Take one result in, exactly once however often it is sent.",
        "description": encodings(guard),
        "requestBody": {"required": True, "content": json_content("TaskResult", EXAMPLE_RESULT)},
        "responses": {
            "200": {
                "description": "It is durable.",
                "headers": {
                    "Backuplog-Outcome": response_header(
                        "What became of it.", {"type": "string", "enum": [member.value for member in Outcome]}
                    ),
                    "Backuplog-Log-State": response_header(
                        "What is stored of its log. Send it again where this is `lost`.",
                        {"type": "string", "enum": [member.value for member in LogState]},
                    ),
                },
                "content": json_content("Accepted", {"status": "ok"}),
            },
            **problems(
                guard,
                *(INVALID_RESULT, AgentNotFound(), RunConflict(), LogOffsetMismatch(1_048_576)),
                *(PayloadTooLarge(), UnsupportedMedia()),
            ),
        },
    }


def _post_task_results(guard: Guard) -> dict[str, Any]:
    items = [batch_item(EXAMPLE_RECEIPT), batch_item(INVALID_RESULT)]
    array = {"type": "array", "items": ref("TaskResult"), "maxItems": MAX_BATCH_RESULTS}
    return {
        "operationId": "postTaskResults",
        "tags": ["results"],
        "summary": "Take several results of one agent in; one bad item spoils no other.",
        "description": f"{encodings(guard)} As `application/x-ndjson`: one result on each line.",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": array, "examples": {"one": {"value": [EXAMPLE_RESULT]}}}},
        },
        "responses": {
            "200": {
                "description": "What became of each, in order.",
                "content": json_content("Batch", {"results": items}),
            },
            **problems(guard, INVALID_RESULT, AgentNotFound(), PayloadTooLarge(), UnsupportedMedia()),
        },
    }


def _get_backup_runs(guard: Guard, *, of_all: bool = False) -> dict[str, Any]:
    page = {"runs": [run_document(EXAMPLE_RUN)], "total": 1, "limit": 100, "next_cursor": None}
    return {
        "operationId": "getAllBackupRuns" if of_all else "getBackupRuns",
        "tags": ["runs"],
        "summary": f"List the runs of {'all agents' if of_all else 'an agent'}, newest first.",
        "parameters": [
            query_parameter(field) for field in attrs.fields(RunQuery) if field.name not in ("agent_id", "with_total")
        ],
        "responses": {
            "200": {"description": "A page.", "content": json_content("RunPage", page)},
            **problems(guard, INVALID_QUERY, *([] if of_all else [AgentNotFound()])),
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
            "200": {
                "description": "The run.",
                "content": json_content("RunWithLog", {**run_document(EXAMPLE_RUN), "log": EXAMPLE_LOG}),
            },
            **problems(guard, INVALID_QUERY, RunNotFound()),
        },
    }


def _get_backup_run_log(guard: Guard) -> dict[str, Any]:
    text = {
        "text/plain": {"schema": {"type": "string", "format": "binary"}, "examples": {"log": {"value": EXAMPLE_LOG}}}
    }
    tag = {"ETag": response_header("The SHA-256 of the log.", {"type": "string"})}
    ranges = {**tag, "Accept-Ranges": response_header("Parts can be asked for.", {"type": "string", "enum": ["bytes"]})}
    part = response_header("Which bytes of how many.", {"type": "string"})
    problem = {"application/problem+json": {"schema": ref("Problem")}}
    lines = {"type": "integer", "minimum": 1, "maximum": MAX_TAIL_LINES}
    following = {
        "Upload-Offset": response_header("At which offset the log goes on: the next `since`.", OFFSET),
        "Retry-After": response_header("With `since`: seconds to wait before asking again.", OFFSET),
        "Backuplog-Final": response_header(
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
                "schema": OFFSET,
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
            **problems(guard, INVALID_QUERY, RunNotFound(), LogExpired()),
        },
    }


def _patch_backup_run_log(guard: Guard) -> dict[str, Any]:
    offset = response_header("How many bytes have been received: where to go on.", OFFSET)
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
    piece = {"schema": {"type": "string", "format": "binary"}, "examples": {"piece": {"value": EXAMPLE_LOG}}}
    return {
        "operationId": "patchBackupRunLog",
        "tags": ["results"],
        "summary": "Add to the log of a task that still runs, exactly once however often a piece is sent.",
        "description": encodings(guard),
        "parameters": [header, other],
        "requestBody": {
            "description": "The next piece. With `Upload-Offset` it may be empty, to ask how much has come.",
            "content": {"application/octet-stream": piece},
        },
        "responses": {
            "200": {
                "description": "It is durable.",
                "headers": {"Upload-Offset": offset},
                "content": json_content("Appended", {"status": "ok", "offset": 4096}),
            },
            **problems(
                guard,
                *(INVALID_QUERY, RunNotFound(), LogOffsetMismatch(1_048_576), LogClosed(1_048_576), LogExpired()),
                *(PayloadTooLarge(), UnsupportedMedia()),
            ),
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(document(), indent=2) + "\n")
