"""Entries of reports: how JSON shows them, and pages of them."""

import zlib
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final

import attrs

from backuplog.convert import converter
from backuplog.model import BackupRun, RunQuery
from backuplog.normalise import MAX_STATUSES
from backuplog.overdue import Expectation
from backuplog.query import cursor_bytes, cursor_text, refuse_cursor
from backuplog.report import LatestRun, RunSummary

from .response import Response, fitting, list_response, listed_run

_LENGTHS_OF_TIME: Final = frozenset({"interval", "grace"})


def page_of(
    name: str, entries: Sequence[tuple[str, LatestRun | RunSummary]], query: RunQuery, *, after: str, report: str
) -> Response:
    """Answer with those entries, in the order of their keys, that follow a key."""
    rest = [(key, entry) for key, entry in entries if key > after]
    items = fitting((entry_document(entry) for _, entry in rest), query.limit)
    next_cursor = None
    if len(items) < len(rest):
        key = rest[len(items) - 1][0]
        next_cursor = cursor_text(_mark(query, report) + key.encode())
    return list_response(name, items, total=len(entries), limit=query.limit, next_cursor=next_cursor)


def position_in(query: RunQuery, report: str) -> str:
    """Return the key after which a page begins: an empty one without a cursor."""
    if query.cursor is None:
        return ""
    mark = _mark(query, report)
    try:
        packed = cursor_bytes(query.cursor)
        key = packed[len(mark) :].decode()
    except ValueError:  # as are those of base64 and of UTF-8
        refuse_cursor("is not the next_cursor of a page")
    if not packed.startswith(mark):
        refuse_cursor("is of a query with other filters: begin again without it")
    return key


def _mark(query: RunQuery, report: str) -> bytes:
    filters = report, attrs.evolve(query, limit=1, cursor=None)
    return zlib.crc32(repr(filters).encode()).to_bytes(4, "big")


def json_name(field: str) -> str:
    """Return what JSON calls a field, which is its name, and the unit where a model has a length of time."""
    return f"{field}_seconds" if field in _LENGTHS_OF_TIME else field


def entry_document(entry: attrs.AttrsInstance) -> dict[str, Any]:
    """Return an entry of a report as JSON shows it, by the names of its fields."""
    values = {field.name: getattr(entry, field.name) for field in attrs.fields(type(entry))}
    if isinstance(entry, RunSummary):  # An agent may invent as many statuses as it sends results.
        values["by_status"] = dict(sorted(Counter(entry.by_status).most_common(MAX_STATUSES)))
    return {json_name(name): _shown(value) for name, value in values.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, BackupRun):
        return listed_run(value)
    if isinstance(value, Expectation):
        return entry_document(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    return converter.unstructure(value)
