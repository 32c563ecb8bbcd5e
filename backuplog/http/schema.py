"""The schemas of the OpenAPI document, made from the models: fields, types, limits and docstrings."""

import inspect
import re
import types
import typing
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import attrs

from backuplog import normalise
from backuplog.anomaly import Anomaly
from backuplog.convert import wire_names
from backuplog.errors import FieldError
from backuplog.model import BackupRun, Progress, Receipt, RunPage, RunStats, TaskResult, as_progress, as_stats
from backuplog.overdue import Overdue
from backuplog.report import LatestRun, RunSummary
from backuplog.scan import LogMatch

from .pages import json_name
from .response import MAX_LISTED_CHARACTERS

_UUID_PATTERN: Final = "^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
_TEXT: Final = {"type": "string", "pattern": r"^[^\u0000]*$"}
_WORD: Final = {"type": "string", "minLength": 1, "maxLength": 50, "pattern": r"^[^\u0000]*[^\s\u0000][^\u0000]*$"}
ID: Final = {"type": "string", "format": "uuid", "pattern": _UUID_PATTERN}
_TIME: Final = {"type": "string", "format": "date-time"}
OFFSET: Final = {"type": "integer", "minimum": 0}
_PARTS: Final = {as_stats: RunStats, as_progress: Progress}

# What each converter of a field takes, which is all that a field's type does not say.
TAKEN: Final[dict[Any, dict[str, Any]]] = {
    normalise.as_uuid: ID,
    normalise.as_optional_uuid: ID,
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
    timedelta: {"type": "number"},
    UUID | str | date: {"type": "string"},
    Mapping[str, int]: {"type": "object", "additionalProperties": {"type": "integer"}},
    BackupRun: {"$ref": "#/components/schemas/BackupRun"},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "pattern": "^[0-9a-f]*$"},
}


def schemas() -> dict[str, Any]:
    """Return all schemas, by the names that ``ref`` refers to."""
    run, page = given(BackupRun, without={"tenant_id"}), given(RunPage)
    truncated = {
        "type": "boolean",
        "description": f"Only the first {MAX_LISTED_CHARACTERS:,} characters of the message are shown.",
    }
    listed = {**run, "properties": {**run["properties"], "error_message_truncated": truncated}}
    receipt = given(Receipt)
    text = {"type": "string"}
    problem = object_of(
        "What went wrong (RFC 9457).",
        {
            "type": {**text, "format": "uri-reference"},
            "title": {**text, "description": "The status in words."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {**text, "description": "What is wrong and what to do."},
            "error_type": {**text, "description": "The kind of error: a slug that stays the same."},
            "errors": {"type": "array", "items": ref("FieldError"), "description": "Each field that is wrong."},
            "expected_offset": {**OFFSET, "description": "How many bytes of the log have been received."},
            "results": {"type": "array", "items": ref("BatchItem"), "description": "Of a batch that failed in part."},
        },
        required=("type", "title", "status", "detail", "error_type"),
    )
    item = object_of(
        "What became of one result of a batch.",
        {
            "status": {"type": "string", "enum": ["ok", "error"]},
            **receipt["properties"],
            "error": {**ref("Problem"), "description": "Why it was refused."},
        },
        required=("status",),
    )
    log = {"type": ["string", "null"], "description": "The log, with U+FFFD for what is not UTF-8; null without one."}
    with_log = {**run, "properties": {**run["properties"], "log": log}}
    return {
        "TaskResult": _taken(TaskResult),
        "Appended": object_of(
            "It is durable.",
            {
                "status": {"type": "string", "const": "ok"},
                "offset": {**OFFSET, "description": "How many bytes of the log have been received."},
            },
        ),
        "Accepted": object_of("It is durable.", {"status": {"type": "string", "const": "ok"}}),
        "BackupRun": listed,
        "RunWithLog": with_log,
        "RunPage": page,
        "Batch": object_of("What became of each result.", {"results": {"type": "array", "items": ref("BatchItem")}}),
        "BatchItem": item,
        **_report_schemas(run),
        "FieldError": given(FieldError),
        "Problem": problem,
    }


def _report_schemas(run: dict[str, Any]) -> dict[str, Any]:
    text = {"type": "string"}
    total = {**OFFSET, "description": "How many there are in all."}
    limit = {"type": "integer", "description": "The most on a page."}
    cursor = {"type": ["string", "null"], "description": "The `cursor` of the next page; null on the last one."}
    ids = {"type": "array", "items": {**text, "format": "uuid"}}
    of_run = ("agent_id", "policy_id", "task_type", "status", "start_time")
    found = given(LogMatch, without={"run"})["properties"]
    # Bytes of a log are shown as text, with U+FFFD for what is not UTF-8.
    lines: dict[str, dict[str, Any]] = {
        "line": text,
        "before": {"type": "array", "items": text},
        "after": {"type": "array", "items": text},
    }
    match = object_of(
        _summary(LogMatch),
        {
            "run_id": {**text, "format": "uuid", "description": "The run whose log it is."},
            **{name: run["properties"][name] for name in of_run},
            **found,
            **{name: {**lines[name], "description": found[name]["description"]} for name in lines},
        },
    )
    search = {
        "matches": {"type": "array", "items": match, "description": "What was found, newest run first."},
        "runs_done": {**OFFSET, "description": "How many runs are done, with or without a log."},
        "bytes_read": {**OFFSET, "description": "How many bytes of log were read."},
        "searched_back_to": {
            **_TIME,
            "type": ["string", "null"],
            "description": "When the last run that is done started.",
        },
        "damaged": {**ids, "description": "The runs whose logs are damaged."},
        "replaced": {**ids, "description": "The runs whose logs were replaced or removed meanwhile."},
        "stopped_by": {
            "type": ["string", "null"],
            "enum": ["matches", "bytes", "seconds", "unreadable", "size", None],
            "description": "What ended the search before all was searched.",
        },
        "next_cursor": {**cursor, "description": "The `cursor` to go on with; null once all is searched."},
    }

    def listed(name: str, model: type[Any], **more: dict[str, Any]) -> dict[str, Any]:
        entries = {"type": "array", "items": given(model), "description": "The entries."}
        return object_of("A page of a report.", {name: entries, "total": total, "limit": limit, **more})

    groups = listed("groups", RunSummary, next_cursor=cursor)
    by_status = groups["properties"]["groups"]["items"]["properties"]["by_status"]
    by_status["description"] += f" Of more than {normalise.MAX_STATUSES} statuses, the most frequent."
    return {
        "LatestRuns": listed("latest", LatestRun, next_cursor=cursor),
        "RunSummaries": groups,
        "OverdueRuns": listed("overdue", Overdue),
        "Anomalies": listed("anomalies", Anomaly),
        "LogMatches": object_of("What a search found, and how far it came.", search),
    }


def _taken(model: type[Any]) -> dict[str, Any]:
    """Return the schema of what a model is made from. ``null`` is the same as absent."""
    fields = {field.name: field for field in attrs.fields(model)}
    described, names = meanings(model), wire_names(model)
    properties: dict[str, Any] = {}
    for wire_name, name in names.items():
        converter = fields[name].converter
        part = _PARTS.get(converter)
        schema = {**(_taken(part) if part else TAKEN[converter]), "description": described[name]}
        is_optional = fields[name].default is not attrs.NOTHING
        properties[wire_name] = {**schema, "type": [schema["type"], "null"]} if is_optional else schema
    required = [wire for wire, name in names.items() if fields[name].default is attrs.NOTHING]
    return {**object_of(_summary(model), properties, required=required), "additionalProperties": True}


def given(model: type[Any], *, without: Iterable[str] = ()) -> dict[str, Any]:
    """Return the schema of what a model becomes in JSON."""
    types_of, described = typing.get_type_hints(model), meanings(model)
    properties: dict[str, Any] = {
        json_name(field.name): {**_type(types_of[field.name]), "description": described[field.name]}
        for field in attrs.fields(model)
        if field.name not in without
    }
    return object_of(_summary(model), properties)


def _type(hint: Any) -> dict[str, Any]:
    members = typing.get_args(hint)
    if hint in _GIVEN:
        return _GIVEN[hint]
    if isinstance(hint, types.UnionType):
        schema = _type(members[0])
        return (
            {**schema, "type": [schema["type"], "null"]} if "type" in schema else {"anyOf": [schema, {"type": "null"}]}
        )
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(members[0])}
    model: type[Any] = hint
    if issubclass(model, StrEnum):
        return {"type": "string", "enum": [member.value for member in model]}
    return given(model)


def object_of(description: str, properties: dict[str, Any], *, required: Iterable[str] | None = None) -> dict[str, Any]:
    """Return the schema of an object, of which all properties are required unless something else is said."""
    names = list(properties if required is None else required)
    return {"type": "object", "description": description, "required": names, "properties": properties}


def meanings(model: type[Any]) -> dict[str, str]:
    """Read what each field means from the class's docstring."""
    listed = (inspect.getdoc(model) or "").partition("Attributes:\n")[2].partition("\nRaises:")[0]
    found = re.findall(r"^    (\w+): (.+?)(?=^    \w+:|\Z)", listed, flags=re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.replace("``", "`").split()) for name, text in found}


def _summary(model: type[Any]) -> str:
    return (inspect.getdoc(model) or "").partition("\n")[0]


def ref(schema: str) -> dict[str, Any]:
    """Refer to a schema."""
    return {"$ref": f"#/components/schemas/{schema}"}
