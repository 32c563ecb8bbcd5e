"""Reports over HTTP: the newest runs, sums, what is overdue and what is unusual."""

from collections.abc import Callable, Collection, Iterable
from typing import Final

import attrs

from backuplog.agent import require_agent
from backuplog.anomaly import FEWEST_RUNS, find_anomalies
from backuplog.overdue import Expectation, expectations_now, find_overdue
from backuplog.report import latest_runs, summarize_runs
from backuplog.store import Store

from .answering import answering
from .guard import Guard
from .pages import entry_document, page_of, position_in
from .parameters import (
    KIND_FILTERS,
    MOST_RUNS,
    PAGE,
    RUN_FILTERS,
    Reader,
    as_group_by,
    as_threshold,
    asked,
    whole_number,
)
from .request import Request
from .response import Response, fitting, list_response

_GUARD: Final = Guard()


@answering(is_observed=False)
def get_latest_runs(store: Store, agent_id: str | None, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs/latest`` and ``GET /backup-runs/latest``: the report of ``latest_runs``.

    Args:
        store: The store to use.
        agent_id: The agent in the path; None reports on all agents.
        request: The request. Its query may contain ``policy_id``, ``task_type``, ``since``, ``until``, ``limit`` (100
            by default, at most 1,000) and ``cursor``; anything else is refused.
        guard: Whom to let in. No agent's token gives access to reports: say ``tokens=False``, behind your own login.

    Returns:
        200 and ``{"latest":[...],"total":n,"limit":n,"next_cursor":...}``, by policy, agent and task type; or a problem
        with status 400, 401, 403, 404, 429, 500 or 503. Runs are shown as in a list, and a page of more than 8 MiB ends
        before ``limit``.
    """
    query, _ = asked(store, agent_id, request, guard, (*KIND_FILTERS, *PAGE))
    after = position_in(query, "latest")
    latest = latest_runs(store, attrs.evolve(query, cursor=None))
    keyed = [(f"{each.policy_id}/{each.agent_id}/{each.task_type}", each) for each in latest]
    return page_of("latest", keyed, query, after=after, report="latest")


@answering(is_observed=False)
def get_run_summary(store: Store, agent_id: str | None, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs/summary`` and ``GET /backup-runs/summary``: the sums of ``summarize_runs``.

    All runs that match are read, so ask for those ``since`` a time.

    Args:
        store: The store to use.
        agent_id: The agent in the path; None adds up the runs of all agents.
        request: The request. Its query must contain ``group_by``: ``agent``, ``policy``, ``task_type``, ``status``,
            ``day`` or ``week``. It may contain the filters of a list of runs, ``limit`` (100 groups by default, at most
            1,000) and ``cursor``; anything else is refused.
        guard: Whom to let in. No agent's token gives access to reports: say ``tokens=False``, behind your own login.

    Returns:
        200 and ``{"groups":[...],"total":n,"limit":n,"next_cursor":...}``, by ``key``; or a problem with status 400,
        401, 403, 404, 429, 500 or 503. Of the statuses of a group, ``by_status`` has the 50 most frequent.
    """
    query, own = asked(store, agent_id, request, guard, (*RUN_FILTERS, *PAGE), group_by=as_group_by)
    after = position_in(query, own["group_by"])
    groups = summarize_runs(store, attrs.evolve(query, cursor=None), group_by=own["group_by"])
    return page_of("groups", [(str(each.key), each) for each in groups], query, after=after, report=own["group_by"])


@answering(is_observed=False)
def get_overdue_runs(
    store: Store,
    agent_id: str | None,
    request: Request,
    *,
    expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]],
    guard: Guard = _GUARD,
) -> Response:
    """``GET /agents/{id}/backup-runs/overdue`` and ``GET /backup-runs/overdue``: what ``find_overdue`` finds.

    Args:
        store: The store to use.
        agent_id: The agent in the path, of which only the expectations that name it are looked at; None looks at all.
        request: The request. Its query may contain ``limit`` (100 by default, at most 1,000); anything else is refused.
        expectations: What you expect, or a function that returns it and is called by each request. It never comes from
            the client.
        guard: Whom to let in. No agent's token gives access to reports: say ``tokens=False``, behind your own login.

    Returns:
        200 and ``{"overdue":[...],"total":n,"limit":n}``, the worst first; or a problem with status 400, 401, 403, 404,
        429, 500 or 503. An answer of more than 8 MiB ends before ``limit``.
    """
    query, _ = asked(store, agent_id, request, guard, ("limit",))
    expected = expectations_now(expectations)
    if query.agent_id is not None:
        require_agent(store, query.agent_id)
        expected = [each for each in expected if each.agent_id == query.agent_id]
    overdue = find_overdue(store, expected)
    items = fitting(map(entry_document, overdue), query.limit)
    return list_response("overdue", items, total=len(overdue), limit=query.limit)


@answering(is_observed=False)
def get_anomalies(store: Store, agent_id: str | None, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs/anomalies`` and ``GET /backup-runs/anomalies``: what ``find_anomalies`` finds.

    Args:
        store: The store to use.
        agent_id: The agent in the path; None looks at the runs of all agents.
        request: The request. Its query may contain ``policy_id``, ``task_type``, ``since``, ``until``, ``threshold``
            (3.5 by default), ``minimum_runs`` (7 by default, 3 to 30) and ``limit`` (100 by default, at most 1,000);
            anything else is refused.
        guard: Whom to let in. No agent's token gives access to reports: say ``tokens=False``, behind your own login.

    Returns:
        200 and ``{"anomalies":[...],"total":n,"limit":n}``, the greatest score first, whichever its sign; or a problem
        with status 400, 401, 403, 404, 429, 500 or 503. An answer of more than 8 MiB ends before ``limit``.
    """
    own: dict[str, Reader] = {
        "threshold": as_threshold,
        "minimum_runs": whole_number(FEWEST_RUNS, MOST_RUNS, default=7),
    }
    query, options = asked(store, agent_id, request, guard, (*KIND_FILTERS, "limit"), **own)
    anomalies = find_anomalies(store, query, compared=MOST_RUNS, **options)
    if not anomalies and query.agent_id is not None:
        require_agent(store, query.agent_id)
    items = fitting(map(entry_document, anomalies), query.limit)
    return list_response("anomalies", items, total=len(anomalies), limit=query.limit)
