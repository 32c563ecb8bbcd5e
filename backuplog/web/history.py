"""The history: runs, newest first, by the filters in the address."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urlencode

import attrs
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from backuplog.agent import list_agents
from backuplog.errors import AgentNotFound, FieldError, InvalidQuery
from backuplog.http.parameters import whole_number
from backuplog.model import RunQuery
from backuplog.normalise import MAX_STATUSES
from backuplog.query import query_runs
from backuplog.store import Store

from .page import Site

LISTED_AGENTS: Final = 50
"""The most agents to choose from by name; where there are more, an id is typed in."""
LIMITS: Final = (25, 50, 100, 250)
"""How many runs a page may be asked to have; the second is the default."""
STEPS: Final = 50
"""How many pages back an address remembers."""
RENEWED_SECONDS: Final = 15
"""How often the script of the page asks for what is new, if it is switched on."""
STATUSES: Final = ("success", "warning", "failed", "lost", "cancelled", "running", "pending")
"""The statuses to choose from, in the order in which they are shown."""

_FILTERS: Final = ("agent_id", "policy_id", "task_type", "since", "until", "limit")
_ONCE: Final = (*_FILTERS, "cursor", "back", "renew")
_FIRST: Final = "first"
# What <input type="datetime-local"> sends has no zone. The form says that it is UTC.
_LOCAL_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", re.ASCII)


@attrs.frozen(kw_only=True)
class Total:
    """How many runs of those that match have a status.

    Attributes:
        status: The status; None for all others together.
        runs: How many have it.
    """

    status: str | None
    runs: int


@attrs.frozen(kw_only=True)
class Links:
    """Where else to go from a page: the queries of addresses, or None where there is nothing.

    Attributes:
        first: The first page.
        newer: The page before.
        older: The page after.
    """

    first: str | None
    newer: str | None
    older: str | None


def view_history(site: Site, request: Request) -> Response:
    """Show a page of runs, with the form of its filters."""
    store, given = site.store, request.query_params
    agents = list_agents(store)
    values: dict[str, Any] = {
        "given": {name: given.get(name, "") for name in _FILTERS},
        "chosen": list(dict.fromkeys(filter(None, given.getlist("status"))))[:MAX_STATUSES],
        "statuses": STATUSES,
        "agents": agents if len(agents) <= LISTED_AGENTS else [],
        "hostnames": {agent.id: agent.hostname for agent in agents if agent.hostname is not None},
        "limits": LIMITS,
        "renew": given.get("renew") == "on",
        "renewed_seconds": RENEWED_SECONDS,
        "now": datetime.now(UTC),
        "errors": {},
        "runs": None,
    }
    try:
        query = query_of(given)
        page = query_runs(store, query)
    except InvalidQuery as invalid:
        values["errors"] = {error.path: error.message for error in invalid.errors}
        return site.render(request, "history.html", status=invalid.http_status, **values)
    except AgentNotFound as unknown:
        values["errors"] = {"agent_id": "is not registered: choose another agent"}
        return site.render(request, "history.html", status=unknown.http_status, **values)
    values |= {
        "runs": page.runs,
        "total": page.total,
        "totals": totals_of(store, query, page.total or 0),
        "links": links_of(given, page.next_cursor),
        "without_status": _encoded(given, status=[], cursor=None, back=None),
    }
    return site.render(request, "history.html", **values)


def query_of(given: QueryParams) -> RunQuery:
    """Return the query that an address asks for. A field that was left empty in the form is not given.

    Raises:
        InvalidQuery: Fields are unknown, given twice or malformed; the error names each of them.
    """
    errors = [FieldError(name, "is no filter of this page") for name in given if name not in (*_ONCE, "status")]
    errors += [FieldError(name, "is given twice") for name in _ONCE if len(given.getlist(name)) > 1]
    filters: dict[str, Any] = {name: given[name] for name in (*_FILTERS, "cursor") if given.get(name)}
    for name in ("since", "until"):
        if _LOCAL_TIME.fullmatch(filters.get(name, "")):
            filters[name] = f"{filters[name]}:00"[:19] + "Z"
    try:
        filters["limit"] = whole_number(1, LIMITS[-1], default=LIMITS[1])(filters.get("limit"))
    except ValueError as refusal:
        errors.append(FieldError("limit", str(refusal)))
        del filters["limit"]
    try:
        query = RunQuery(**filters, status=[word for word in given.getlist("status") if word])
    except InvalidQuery as invalid:
        raise InvalidQuery([*errors, *invalid.errors]) from None
    if errors:
        raise InvalidQuery(errors)
    return query


def totals_of(store: Store, query: RunQuery, total: int) -> list[Total]:
    """Count the runs that match by their status; those of statuses that are not asked for, or not known, together.

    Each is counted in an index. To count all statuses that agents have made up would read every run.
    """
    totals = [
        Total(status=status, runs=store.call(store.backend.count_runs, attrs.evolve(query, status=status)))
        for status in query.status or STATUSES
    ]
    # Runs may come between two counts.
    others = max(0, total - sum(each.runs for each in totals))
    return [each for each in [*totals, Total(status=None, runs=others)] if each.runs]


def links_of(given: QueryParams, next_cursor: str | None) -> Links:
    """Return where else to go. Runs are listed in one direction, so the address remembers where its pages began."""
    cursor = given.get("cursor")
    behind = [each for each in given.get("back", "").split(".") if each][-STEPS:]
    newer = older = None
    if behind:
        last = None if behind[-1] == _FIRST else behind[-1]
        newer = _encoded(given, cursor=last, back=".".join(behind[:-1]))
    if next_cursor:
        older = _encoded(given, cursor=next_cursor, back=".".join([*behind, cursor or _FIRST][-STEPS:]))
    return Links(first=_encoded(given, cursor=None, back=None) if cursor else None, newer=newer, older=older)


def _encoded(given: QueryParams, **changed: str | Sequence[str] | None) -> str:
    """Return the query of an address that differs from the present one, without what is empty."""
    names = (*_FILTERS, "status", "renew", "cursor", "back")
    every = {name: given.getlist(name) for name in names} | changed
    return urlencode({name: value for name, value in every.items() if value and value != [""]}, doseq=True)
