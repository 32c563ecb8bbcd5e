"""Searching logs over HTTP, within limits that a client cannot exceed."""

from typing import Any, Final

from backuplog.convert import converter
from backuplog.scan import LogMatch
from backuplog.search import MAX_CONTEXT_LINES, search_logs
from backuplog.store import Store

from .answering import answering
from .guard import Guard
from .parameters import PAGE, RUN_FILTERS, Reader, as_flag, as_text, asked, whole_number
from .request import Request
from .response import MAX_PAGE_BYTES, Response, list_response, to_json

_GUARD: Final = Guard()
_LONGEST_MATCH: Final = 262_144  # a line and 16 KiB on either side of it, with six bytes for a control character
_FULL: Final = MAX_PAGE_BYTES - _LONGEST_MATCH


@answering(is_observed=False)
def get_log_matches(
    store: Store,
    agent_id: str | None,
    request: Request,
    *,
    guard: Guard = _GUARD,
    max_matches: int = 100,
    max_bytes: int = 67_108_864,
    max_seconds: float = 5.0,
) -> Response:
    """``GET /agents/{id}/backup-runs/search`` and ``GET /backup-runs/search``: the lines that ``search_logs`` finds.

    Args:
        store: The store to use.
        agent_id: The agent in the path; None searches the logs of all agents.
        request: The request. Its query must contain ``q``, a text of at most 256 characters, which is never a pattern.
            It may contain ``ignore_case`` (``true`` or ``false``), ``context_lines`` (0 to 16), the filters of a list
            of runs, ``limit`` (100 matches by default) and ``cursor``; anything else is refused.
        guard: Whom to let in. No agent's token gives access to reports: say ``tokens=False``, behind your own login.
        max_matches: The most matches of an answer, whatever the client's ``limit``.
        max_bytes: About how many bytes of log to read at most.
        max_seconds: About how many seconds to search at most.

    Returns:
        200 and ``{"matches":[...],"next_cursor":...}`` with how far it came: ``runs_done``, ``bytes_read``,
        ``searched_back_to``, the runs whose logs are ``damaged`` or were ``replaced``, and what it was ``stopped_by``:
        ``matches``, ``bytes``, ``seconds``, ``unreadable`` logs or ``size``, which is 8 MiB of answer. Or a problem
        with status 400, 401, 403, 404, 429, 500 or 503.
    """
    own: dict[str, Reader] = {
        "q": as_text,
        "ignore_case": as_flag,
        "context_lines": whole_number(0, MAX_CONTEXT_LINES, default=0),
    }
    query, options = asked(store, agent_id, request, guard, (*RUN_FILTERS, *PAGE), **own)
    search = search_logs(
        store,
        options.pop("q"),
        query,
        **options,
        max_matches=min(query.limit, max_matches),
        max_bytes=max_bytes,
        max_seconds=max_seconds,
    )
    items: list[bytes] = []
    size = 0
    for match in search:
        items.append(to_json(match_document(match)))
        size += len(items[-1])
        if size > _FULL:
            break
    return list_response(
        "matches",
        items,
        runs_done=search.runs_done,
        bytes_read=search.bytes_read,
        searched_back_to=converter.unstructure(search.searched_back_to),
        damaged=[str(run_id) for run_id in search.damaged],
        replaced=[str(run_id) for run_id in search.replaced],
        stopped_by=search.stopped_by or ("size" if size > _FULL else None),
        next_cursor=search.next_cursor,
    )


def match_document(match: LogMatch) -> dict[str, Any]:
    """Return a match as JSON shows it, with U+FFFD for bytes that are not UTF-8."""
    run = match.run
    return {
        "run_id": str(run.id),
        "agent_id": str(run.agent_id),
        "policy_id": str(run.policy_id),
        "task_type": run.task_type,
        "status": run.status,
        "start_time": converter.unstructure(run.start_time),
        "line_number": match.line_number,
        "offset": match.offset,
        "size": match.size,
        "line": _text(match.line),
        "line_offset": match.line_offset,
        "before": [_text(line) for line in match.before],
        "after": [_text(line) for line in match.after],
    }


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
