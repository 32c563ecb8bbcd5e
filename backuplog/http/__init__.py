"""The HTTP contract without a framework: the parts of a request go in, status, headers and body come out.

One function an endpoint; what routes to them is yours. Every error that a client can cause or wait out becomes a
``application/problem+json`` answer (RFC 9457); anything else is a bug, and is raised.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final
from uuid import UUID

import attrs

from backuplog.append import append_log
from backuplog.convert import parse_batch, run_document
from backuplog.errors import (
    AgentNotFound,
    FieldError,
    InvalidQuery,
    LogExpired,
    LogLost,
    StoreError,
)
from backuplog.ingest import ingest_task_result, ingest_task_results
from backuplog.log import open_log, open_tail, retry_if_replaced
from backuplog.model import LogState, Receipt
from backuplog.normalise import argument, as_uuid
from backuplog.store import Store

from .answering import answering, failure
from .asynchronous import respond
from .following import follow, what_follows
from .guard import MAX_BODY_BYTES, Guard, Limiter, admit, admit_to_runs, refuse_other_sites, report_refusal
from .parameters import PAGE, RUN_FILTERS, runs_query
from .reports import get_anomalies, get_latest_runs, get_overdue_runs, get_run_summary
from .request import (
    Request,
    collect_body,
    content_offset,
    has_tag,
    media_type,
    number_in,
    parse_query,
    parse_range,
    read_body,
)
from .response import (
    LOG_HEADERS,
    Response,
    batch_item,
    json_response,
    json_with_log,
    page_response,
    problem,
    started,
    whole_if_short,
)
from .searching import get_log_matches

__all__ = [
    "MAX_BATCH_RESULTS",
    "MAX_BODY_BYTES",
    "MAX_TAIL_LINES",
    "Endpoint",
    "Guard",
    "Limiter",
    "Request",
    "Response",
    "collect_body",
    "follow",
    "get_anomalies",
    "get_backup_run",
    "get_backup_run_log",
    "get_backup_runs",
    "get_latest_runs",
    "get_log_matches",
    "get_overdue_runs",
    "get_run_summary",
    "patch_backup_run_log",
    "post_task_result",
    "post_task_results",
    "respond",
]

MAX_BATCH_RESULTS: Final = 1_000
"""The most results in one batch."""
MAX_TAIL_LINES: Final = 100_000
"""The most lines that ``?tail=`` may ask for."""

_JSON: Final = frozenset({"application/json"})
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_GUARD: Final = Guard()

Endpoint = Callable[..., Response]
"""The type of an endpoint. It takes the store, or a function that returns it, then the parameters of its path, the
request, and ``guard=``. A function is called by each request, and what it raises is answered."""


@answering(is_observed=True)
def post_task_result(store: Store, agent_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``POST /agents/{id}/task-results``: take in one result.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        request: The request. Its body is a task result in JSON, optionally compressed with gzip or zstd.
        guard: Whom to let in, and how much they may send.

    Returns:
        200 and ``{"status":"ok"}``, with the headers ``Backuplog-Outcome`` and ``Backuplog-Log-State``; or a problem
        with status 400, 401, 403, 404, 409, 413, 415, 429, 500 or 503.
    """
    with report_refusal(store, agent_id):
        refuse_other_sites(request, guard)
        agent = admit(store, agent_id, request, guard)
        media_type(request, _JSON)
        body = read_body(request, max_bytes=guard.max_body_bytes)
    receipt = ingest_task_result(store, agent, body, max_log_bytes=guard.max_log_bytes)
    headers = {"Backuplog-Outcome": receipt.outcome.value, "Backuplog-Log-State": receipt.log_state.value}
    return json_response({"status": "ok"}, headers=headers, receipts=(receipt,))


@answering(is_observed=True)
def post_task_results(store: Store, agent_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``POST /agents/{id}/task-results/batch``: take in up to 1,000 results of one agent.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        request: The request. Its body is a JSON array of task results, or one result on each line
            (``application/x-ndjson``).
        guard: Whom to let in, and how much they may send.

    Returns:
        200 and ``{"results":[...]}``, which lists in order what became of each result, or its problem. If the store
        failed on some, 503 or 500 with the same list: send the batch again. Otherwise as for ``post_task_result``.
    """
    with report_refusal(store, agent_id):
        refuse_other_sites(request, guard)
        agent = admit(store, agent_id, request, guard)
        is_lines = media_type(request, _JSON | _LINES) in _LINES
        body = read_body(request, max_bytes=guard.max_body_bytes)
        payloads = parse_batch(body, is_lines=is_lines, max_items=MAX_BATCH_RESULTS)
    pairs = [(agent, payload) for payload in payloads]
    answers = ingest_task_results(store, pairs, max_log_bytes=guard.max_log_bytes)
    # The request was counted as one. What the store did not take comes again, and must get in then.
    others = sum(not isinstance(answer, StoreError) for answer in answers) - 1
    if guard.limiter is not None and others > 0:
        guard.limiter.count(store.tenant_id, agent, others)
    if answers and all(isinstance(answer, AgentNotFound) for answer in answers):
        raise AgentNotFound
    results = [batch_item(answer) for answer in answers]
    receipts = tuple(answer for answer in answers if isinstance(answer, Receipt))
    failures = [answer for answer in answers if isinstance(answer, StoreError)]
    if failures:
        response = failure(store, failures[-1], is_observed=True, results=results)
        return attrs.evolve(response, receipts=receipts)
    return json_response({"results": results}, receipts=receipts)


@answering(is_observed=False)
def get_backup_runs(store: Store, agent_id: str | None, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs`` and ``GET /backup-runs``: list runs, newest first, a page at a time.

    Args:
        store: The store to use.
        agent_id: The agent in the path; None lists the runs of all agents, which no agent's token gives access to.
        request: The request. Its query may contain ``status`` (any number of times), ``policy_id``, ``task_type``,
            ``snapshot_id``, ``since``, ``until``, ``limit`` and ``cursor``; anything else is refused.
        guard: Whom to let in.

    Returns:
        200 and ``{"runs":[...],"total":n,"limit":n,"next_cursor":...}``; or a problem with status 400, 401, 403, 404,
        429, 500 or 503. A page of more than 8 MiB ends before ``limit``. An error message of more than 1,024 characters
        is cut, and ``error_message_truncated`` is then true.
    """
    agent = admit_to_runs(store, agent_id, request, guard)
    filters = parse_query(request.query, (*RUN_FILTERS, *PAGE), repeatable={"status"})
    return page_response(store, runs_query(agent, filters))


@answering(is_observed=False)
def get_backup_run(store: Store, agent_id: str, run_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs/{runId}``: one run, with its log.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: The request. The query ``log=false`` leaves out the log.
        guard: Whom to let in.

    Returns:
        200 and the run. ``log`` is the text of its log, with U+FFFD for bytes that are not UTF-8, or null if there is
        none. Or a problem with status 400, 401, 403, 404, 429, 500 or 503.
    """
    agent = admit(store, agent_id, request, guard)
    wanted = parse_query(request.query, ("log",)).get("log", "true")
    if wanted not in ("true", "false"):
        raise InvalidQuery([FieldError("log", "must be true or false")])
    run_key = argument("run_id", as_uuid, run_id, InvalidQuery)
    stored, read = open_log(store, run_key, agent_id=agent, offset=0 if wanted == "true" else None)
    run = stored.run
    document = run_document(run)
    if wanted == "false":
        return json_response(document)
    if run.log_state in (LogState.NONE, LogState.LOST, LogState.EXPIRED):
        return json_response({**document, "log": None})
    pieces = json_with_log(document, started(read(0, run.log_bytes)))
    headers = {"Content-Type": "application/json", "Cache-Control": "private, no-store"}
    return Response(status=200, headers=headers, body=whole_if_short(pieces, run.log_bytes))


@answering(is_observed=False)
def get_backup_run_log(
    store: Store, agent_id: str, run_id: str, request: Request, *, guard: Guard = _GUARD
) -> Response:
    """``GET /agents/{id}/backup-runs/{runId}/log``: the bytes of a run's log, or of a part of it.

    ``Range``, ``If-Range``, ``If-Match`` and ``If-None-Match`` work as in RFC 9110, for one range. ``Upload-Offset``
    says at which offset the log goes on. ``tail=N`` returns the last N lines.

    ``since=N`` is for who follows a log that grows. It returns what follows the offset N, at most 1 MiB:
    ``Upload-Offset`` says where to go on, ``Retry-After`` after how many seconds, and ``Backuplog-Final`` whether the
    task has ended and this was all.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: The request. Its query may be ``tail=N``, with N from 1 to 100,000, or ``since=N``.
        guard: Whom to let in.

    Returns:
        200 or 206 and the bytes; 304; or a problem with status 400, 401, 403, 404, 410, 412, 416, 429, 500 or 503.
    """
    agent = admit(store, agent_id, request, guard)
    query = parse_query(request.query, ("tail", "since"))
    tail, since = query.get("tail"), query.get("since")
    if tail is not None and since is not None:
        raise InvalidQuery([FieldError("since", "cannot be asked for together with tail")])
    run_key = argument("run_id", as_uuid, run_id, InvalidQuery)
    is_whole = not query and request.headers.keys().isdisjoint(("range", "if-none-match"))
    stored, read = open_log(store, run_key, agent_id=agent, offset=0 if is_whole else None)
    run = stored.run
    headers = {**LOG_HEADERS, "Cache-Control": "private, no-cache"}
    if run.log_state is LogState.LOST:
        raise LogLost
    if run.log_state is LogState.EXPIRED:
        raise LogExpired
    if tail is not None:
        size, body = retry_if_replaced(partial(_tail, store, run.id, _lines(tail), agent))
        return Response(status=200, headers={**headers, "Content-Length": str(size)}, body=body)
    if since is not None:
        return what_follows(store, agent, run.id, since)
    headers["Upload-Offset"] = str(stored.offset_of(run.log_bytes))
    # A log that grows has no SHA-256, and no tag by which anybody could keep an older part of it.
    tag = f'"{run.log_sha256.hex()}"' if run.log_sha256 else '"none"' if run.log_state is LogState.NONE else None
    headers |= {"Accept-Ranges": "bytes"} if tag is None else {"ETag": tag, "Accept-Ranges": "bytes"}
    if "if-match" in request.headers and not has_tag(request.headers["if-match"], tag, weakly=False):
        return json_response(problem(412, "precondition_failed", "The log is another by now."), status=412)
    if has_tag(request.headers.get("if-none-match", ""), tag, weakly=True):
        return Response(status=304, headers=headers, body=b"")
    is_current = request.headers.get("if-range", tag) == tag and request.method != "HEAD"
    part = parse_range(request.headers.get("range", ""), run.log_bytes) if is_current else None
    start, stop = part or (0, run.log_bytes)
    if part and start >= stop:
        refusal = problem(416, "range_not_satisfiable", "The log ends before.")
        return json_response(refusal, status=416, headers={"Content-Range": f"bytes */{run.log_bytes}"})
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{run.log_bytes}"
    headers["Content-Length"] = str(stop - start)
    body = whole_if_short(started(read(start, stop)), stop - start)
    return Response(status=206 if part else 200, headers=headers, body=body)


@answering(is_observed=False)
def patch_backup_run_log(
    store: Store, agent_id: str, run_id: str, request: Request, *, guard: Guard = _GUARD
) -> Response:
    """``PATCH /agents/{id}/backup-runs/{runId}/log``: add to the log of a task that still runs.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: The request. Its body is the next piece of the log, optionally compressed with gzip or zstd.
            ``Content-Range: bytes S-E/*`` says where it belongs, counted in bytes of log; so does ``Upload-Offset: S``,
            with which the body may also be empty, to ask how much has come.
        guard: Whom to let in, and how much they may send.

    Returns:
        200 and ``{"status":"ok","offset":n}``: n bytes of the log are durable, and the next piece begins there, as the
        header ``Upload-Offset`` says too. 409 with the same header if bytes are missing before the piece or others have
        come, or if the task has ended. Or another problem with status 400, 401, 403, 404, 410, 413, 415, 429, 500 or
        503.
    """
    refuse_other_sites(request, guard)
    agent = admit(store, agent_id, request, guard)
    run = argument("run_id", as_uuid, run_id, InvalidQuery)
    start, stop = content_offset(request)
    data = read_body(request, max_bytes=guard.max_body_bytes)
    if stop not in (None, start + len(data)):
        raise InvalidQuery([FieldError("Content-Range", f"must be as long as the body, which has {len(data):,} bytes")])
    offset = append_log(store, agent, run, data, offset=start, max_log_bytes=guard.max_log_bytes)
    return json_response({"status": "ok", "offset": offset}, headers={"Upload-Offset": str(offset)})


def _tail(store: Store, run_id: UUID, lines: int, agent_id: UUID) -> tuple[int, bytes | Iterator[bytes]]:
    size, pieces = open_tail(store, run_id, lines, agent_id=agent_id)
    return size, whole_if_short(started(pieces), size)


def _lines(text: str) -> int:
    lines = number_in(text)
    if lines is None or not 1 <= lines <= MAX_TAIL_LINES:
        raise InvalidQuery([FieldError("tail", f"must be a whole number from 1 to {MAX_TAIL_LINES:,}")])
    return lines
