"""The operations of reports in the OpenAPI document, each for an agent and for all."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, get_args

import attrs

from backuplog.anomaly import FEWEST_RUNS, Anomaly
from backuplog.errors import AgentNotFound
from backuplog.model import RunQuery
from backuplog.overdue import Expectation, Overdue
from backuplog.report import GroupBy, LatestRun, RunSummary
from backuplog.scan import LogMatch
from backuplog.search import MAX_CONTEXT_LINES

from .guard import Guard
from .operation import EXAMPLE_RUN, INVALID_QUERY, NOON, json_content, path_parameter, problems, query_parameter
from .pages import entry_document
from .parameters import (
    KIND_FILTERS,
    MAX_SOUGHT_CHARACTERS,
    MAX_THRESHOLD,
    MOST_RUNS,
    PAGE,
    RUN_FILTERS,
)
from .searching import match_document

_FLAG: Final = {"type": "boolean", "default": False}
_LATEST: Final = LatestRun(
    agent_id=EXAMPLE_RUN.agent_id,
    policy_id=EXAMPLE_RUN.policy_id,
    task_type="backup",
    last_run=EXAMPLE_RUN,
    last_reported=EXAMPLE_RUN,
    last_success=EXAMPLE_RUN,
    age_seconds=3480.0,
    consecutive_failures=0,
)
_SUMMARY: Final = RunSummary(
    key=NOON.date(),
    runs=1,
    by_status={"success": 1},
    success_rate=1.0,
    duration_seconds=60.0,
    data_added=None,
    total_bytes_processed=None,
    log_bytes=EXAMPLE_RUN.log_bytes,
)
_DUE: Final = NOON + timedelta(hours=14)
_OVERDUE: Final = Overdue(
    expectation=Expectation(policy_id=EXAMPLE_RUN.policy_id, interval=timedelta(hours=12), grace=timedelta(hours=2)),
    last_reported=EXAMPLE_RUN,
    expected_at=_DUE - timedelta(hours=2),
    due_at=_DUE,
    late_seconds=600.0,
    is_running=False,
)
_ANOMALY: Final = Anomaly(
    run=EXAMPLE_RUN, figure="duration_seconds", value=60.0, median=10.0, spread=1.0, compared=30, score=50.0
)
_MATCH: Final = LogMatch(
    run=EXAMPLE_RUN,
    line_number=2,
    offset=42,
    size=8,
    line=b"snapshot 8837c0dd saved",
    line_offset=33,
    before=(b"processed 5 files, 14.648 KiB in 0:00",),
    after=(),
)


def report_paths(guard: Guard, prefix: str) -> dict[str, Any]:
    """Return the paths of all reports.

    Args:
        guard: The guard that the endpoints get.
        prefix: What precedes each path.
    """
    latest = {"latest": [entry_document(_LATEST)], "total": 1, "limit": 100, "next_cursor": None}
    groups = {"groups": [entry_document(_SUMMARY)], "total": 1, "limit": 100, "next_cursor": None}
    group_by = {"type": "string", "enum": [*get_args(GroupBy)]}
    threshold = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_THRESHOLD, "default": 3.5}
    fewest = {"type": "integer", "minimum": FEWEST_RUNS, "maximum": MOST_RUNS, "default": 7}
    matches = {
        "matches": [match_document(_MATCH)],
        "runs_done": 1,
        "bytes_read": EXAMPLE_RUN.log_bytes,
        "searched_back_to": None,
        "damaged": [],
        "replaced": [],
        "stopped_by": None,
        "next_cursor": None,
    }
    text = {"type": "string", "minLength": 1, "maxLength": MAX_SOUGHT_CHARACTERS, "pattern": r"^[^\n]+$"}
    context = {"type": "integer", "minimum": 0, "maximum": MAX_CONTEXT_LINES, "default": 0}
    operations = {
        "latest": (
            ("LatestRuns", "the last run and the last success of each policy"),
            _parameters((*KIND_FILTERS, *PAGE)),
            json_content("LatestRuns", latest),
        ),
        "summary": (
            ("RunSummary", "what runs come to, in groups"),
            [
                _own("group_by", "What the runs of a group have in common.", group_by, required=True),
                *_parameters((*RUN_FILTERS, *PAGE)),
            ],
            json_content("RunSummaries", groups),
        ),
        "overdue": (
            ("OverdueRuns", "the runs that were expected and have not been reported"),
            _parameters(["limit"]),
            json_content("OverdueRuns", {"overdue": [entry_document(_OVERDUE)], "total": 1, "limit": 100}),
        ),
        "anomalies": (
            ("Anomalies", "the newest runs that are unlike those before them"),
            [
                *_parameters((*KIND_FILTERS, "limit")),
                _own("threshold", "From which score on, above or below, a figure is an anomaly.", threshold),
                _own("minimum_runs", "How many runs before the newest must have a figure.", fewest),
            ],
            json_content("Anomalies", {"anomalies": [entry_document(_ANOMALY)], "total": 1, "limit": 100}),
        ),
        "search": (
            ("LogMatches", "the lines of logs that hold a text"),
            [
                _own("q", "The text to find, as it is written. It is never a pattern.", text, required=True),
                _own("ignore_case", "Whether upper and lower case are the same, of ASCII letters.", _FLAG),
                _own("context_lines", "How many lines before and after each match to give.", context),
                *_parameters((*RUN_FILTERS, *PAGE)),
            ],
            json_content("LogMatches", matches),
        ),
    }
    paths: dict[str, Any] = {}
    for name, ((operation_id, summary), parameters, content) in operations.items():
        for of_all in (False, True):
            operation = {
                "operationId": f"get{'All' if of_all else ''}{operation_id}",
                "tags": ["reports"],
                "summary": f"Get {summary}, of {'all agents' if of_all else 'an agent'}.",
                "parameters": parameters,
                "responses": {
                    "200": {"description": "The report.", "content": content},
                    **problems(guard, INVALID_QUERY, *([] if of_all else [AgentNotFound()])),
                },
            }
            if of_all:
                paths[f"{prefix}/backup-runs/{name}"] = {"get": operation}
            else:
                path = f"{prefix}/agents/{{agent_id}}/backup-runs/{name}"
                paths[path] = {"parameters": [path_parameter("agent_id")], "get": operation}
    return paths


def _parameters(names: Sequence[str]) -> list[dict[str, Any]]:
    fields = {field.name: field for field in attrs.fields(RunQuery)}
    return [query_parameter(fields[name]) for name in names]


def _own(name: str, description: str, schema: dict[str, Any], *, required: bool = False) -> dict[str, Any]:
    rest = {"required": True} if required else {}
    return {"name": name, "in": "query", "description": description, "schema": schema, **rest}
