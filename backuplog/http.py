"""The HTTP contract without a framework: the parts of a request go in, status, headers and body come out.

One function an endpoint; what routes to them is yours. Every error that a client can cause or wait out becomes a
``application/problem+json`` answer (RFC 9457); anything else is a bug, and is raised.
"""

import logging
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import wraps
from http import HTTPStatus
from typing import Any, Concatenate, Final, ParamSpec, Protocol
from uuid import UUID

import attrs

from .convert import parse_batch, run_document
from .errors import (
    AgentNotFound,
    BackuplogError,
    FieldError,
    Forbidden,
    InvalidAgent,
    InvalidQuery,
    LogLost,
    PayloadTooLarge,
    StoreError,
)
from .ingest import ingest_task_result, ingest_task_results
from .log import MAX_LOG_BYTES
from .model import LogState, RunQuery
from .normalise import as_uuid
from .observe import Delivery, notify
from .opened import observers_of
from .query import open_log, query_runs, tail_log
from .request import Request, bearer_token, collect_body, entity_tags, media_type, parse_query, parse_range, read_body
from .response import (
    Response,
    batch_item,
    bytes_response,
    json_response,
    json_with_log,
    page_document,
    problem,
    problem_response,
    started,
    whole_if_short,
)
from .store import Store
from .token import verify_agent_token

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
    "get_backup_run",
    "get_backup_run_log",
    "get_backup_runs",
    "post_task_result",
    "post_task_results",
]

MAX_BODY_BYTES: Final = 67_108_864
"""The longest body that is taken by default, in bytes: 64 MiB."""
MAX_BATCH_RESULTS: Final = 1_000
"""The most results that one batch may hold."""
MAX_TAIL_LINES: Final = 100_000
"""The most lines that ``?tail=`` gives."""

RUN_PARAMETERS: Final = ("status", "policy_id", "task_type", "snapshot_id", "since", "until", "limit", "cursor")
"""What a list of runs can be asked for; ``status`` any number of times."""

_JSON: Final = frozenset({"application/json"})
_LINES: Final = frozenset({"application/x-ndjson", "application/ndjson", "application/jsonl"})

_logger: Final = logging.getLogger("backuplog")


class Limiter(Protocol):
    """Whoever decides whether an agent sends too much: ``backuplog.limit.RateLimiter``, or one of yours."""

    def check(self, tenant_id: UUID, agent_id: UUID) -> None:
        """Count a request of an agent, and raise ``RateLimited`` where it is one too many."""
        ...


@attrs.frozen(kw_only=True)
class Guard:
    """Who is let in, and how much of it.

    Attributes:
        tokens: Whether a request must carry ``Authorization: Bearer`` and a token of ``issue_agent_token`` for the
            agent in its path. False: the integrator has seen to who is asking.
        limiter: Who limits how often an agent may ask; None: nobody.
        max_body_bytes: The longest body, before and after decompression.
        max_log_bytes: As in ``ingest_task_result``.
    """

    tokens: bool = True
    limiter: Limiter | None = None
    max_body_bytes: int = MAX_BODY_BYTES
    max_log_bytes: int = MAX_LOG_BYTES


_GUARD: Final = Guard()


Endpoint = Callable[..., Response]
"""Any of the functions below: the store, what stands in the path, the request, and ``guard=``."""

_Given = ParamSpec("_Given")


def _answering(
    endpoint: Callable[Concatenate[Store, _Given], Response],
) -> Callable[Concatenate[Store, _Given], Response]:
    """Turn the errors of an endpoint into problem answers."""

    @wraps(endpoint)
    def answer(store: Store, /, *arguments: _Given.args, **keywords: _Given.kwargs) -> Response:
        try:
            return endpoint(store, *arguments, **keywords)
        except BackuplogError as error:
            if error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR:  # The client is told nothing of it.
                _logger.error("A request was not answered: %s", error)  # noqa: TRY400 - its trace may hold a statement
            return problem_response(error)

    return answer


@_answering
def post_task_result(store: Store, agent_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``POST /agents/{id}/task-results``: take one result in.

    Args:
        store: Where.
        agent_id: The agent in the path.
        request: Its body is a task result in JSON, perhaps compressed with gzip or zstd.
        guard: Who is let in, and how much of it.

    Returns:
        200 and ``{"status":"ok"}``, with the headers ``Backuplog-Outcome`` and ``Backuplog-Log-State``; or 400, 401,
        403, 404, 409, 413, 415, 429, 500, 503.
    """
    with _told(store, agent_id):
        agent = _admit(store, agent_id, request, guard)
        media_type(request, _JSON)
        body = read_body(request, max_bytes=guard.max_body_bytes)
    receipt = ingest_task_result(store, agent, body, max_log_bytes=guard.max_log_bytes)
    headers = {"Backuplog-Outcome": receipt.outcome.value, "Backuplog-Log-State": receipt.log_state.value}
    return json_response({"status": "ok"}, headers=headers)


@_answering
def post_task_results(store: Store, agent_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``POST /agents/{id}/task-results/batch``: take up to 1,000 results of one agent in.

    Args:
        store: Where.
        agent_id: The agent in the path.
        request: Its body is a JSON array of task results, or one on each line (``application/x-ndjson``).
        guard: Who is let in, and how much of it.

    Returns:
        200 and ``{"results":[...]}``, one for each result in order: what became of it, or its problem. 503 or 500 with
        the same list where the store failed on some: send the batch again. Otherwise as ``post_task_result``.
    """
    with _told(store, agent_id):
        agent = _admit(store, agent_id, request, guard)
        is_lines = media_type(request, _JSON | _LINES) in _LINES
        body = read_body(request, max_bytes=guard.max_body_bytes)
        payloads = parse_batch(body, is_lines=is_lines)
        if len(payloads) > MAX_BATCH_RESULTS:
            raise PayloadTooLarge(f"a batch holds at most {MAX_BATCH_RESULTS:,} results, not {len(payloads):,}")
    pairs = [(agent, payload) for payload in payloads]
    answers = ingest_task_results(store, pairs, max_log_bytes=guard.max_log_bytes)
    if answers and all(isinstance(answer, AgentNotFound) for answer in answers):
        raise AgentNotFound
    results = [batch_item(answer) for answer in answers]
    failures = [answer for answer in answers if isinstance(answer, StoreError)]
    if failures:
        return problem_response(failures[-1], results=results)
    return json_response({"results": results})


@_answering
def get_backup_runs(store: Store, agent_id: str | None, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs`` and ``GET /backup-runs``: list runs, newest first, a page at a time.

    Args:
        store: Where.
        agent_id: The agent in the path; None lists the runs of all agents, for which no agent's token is enough.
        request: Its query may hold ``status`` (any number of times), ``policy_id``, ``task_type``, ``snapshot_id``,
            ``since``, ``until``, ``limit`` and ``cursor``; anything else is refused.
        guard: Who is let in.

    Returns:
        200 and ``{"runs":[...],"total":n,"limit":n,"next_cursor":...}``; or 400, 401, 403, 404, 429, 500, 503.
    """
    agent = None if agent_id is None else _admit(store, agent_id, request, guard)
    if agent is None:
        _admit_to_all(store, request, guard)
    filters: dict[str, Any] = parse_query(request.query, RUN_PARAMETERS, repeatable={"status"})
    limit = filters.get("limit")
    if limit is not None:
        # What is no number is left as it is, so that its error stands among those of the other fields.
        filters["limit"] = int(limit) if limit.isascii() and limit.isdecimal() and len(limit) < 10 else limit  # noqa: PLR2004
    page = query_runs(store, RunQuery(agent_id=agent, **filters))
    return json_response(page_document(page))


@_answering
def get_backup_run(store: Store, agent_id: str, run_id: str, request: Request, *, guard: Guard = _GUARD) -> Response:
    """``GET /agents/{id}/backup-runs/{runId}``: one run, with its log.

    Args:
        store: Where.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: Its query may be ``log=false``.
        guard: Who is let in.

    Returns:
        200 and the run; ``log`` is its text, with U+FFFD for bytes that are not UTF-8, and null where there is none.
        Or 400, 401, 403, 404, 429, 500, 503.
    """
    agent = _admit(store, agent_id, request, guard)
    wanted = parse_query(request.query, ("log",)).get("log", "true")
    if wanted not in ("true", "false"):
        raise InvalidQuery([FieldError("log", "must be true or false")])
    run, read = open_log(store, _path_id("run_id", run_id), agent_id=agent)
    document = run_document(run)
    if wanted == "false":
        return json_response(document)
    if run.log_state in (LogState.NONE, LogState.LOST):
        return json_response({**document, "log": None})
    pieces = json_with_log(document, started(read(0, run.log_bytes)))
    headers = {"Content-Type": "application/json", "Cache-Control": "private, no-store"}
    return Response(status=200, headers=headers, body=whole_if_short(pieces, run.log_bytes))


@_answering
def get_backup_run_log(
    store: Store, agent_id: str, run_id: str, request: Request, *, guard: Guard = _GUARD
) -> Response:
    """``GET /agents/{id}/backup-runs/{runId}/log``: the bytes of a run's log, whole, in part, or its end.

    ``Range``, ``If-Range`` and ``If-None-Match`` are those of RFC 9110, for one range; ``tail=N`` gives the last lines.

    Args:
        store: Where.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: Its query may be ``tail=N``, from 1 to 100,000.
        guard: Who is let in.

    Returns:
        200 or 206 and the bytes, 304, 416; or 400, 401, 403, 404, 429, 500, 503.
    """
    agent = _admit(store, agent_id, request, guard)
    tail = parse_query(request.query, ("tail",)).get("tail")
    run, read = open_log(store, _path_id("run_id", run_id), agent_id=agent)
    headers = {
        "Content-Type": "text/plain; charset=utf-8",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache",
    }
    if run.log_state is LogState.LOST:
        raise LogLost
    if tail is not None:
        return bytes_response(200, headers, tail_log(store, run.id, _lines(tail), agent_id=agent))
    tag = f'"{run.log_sha256.hex()}"' if run.log_sha256 else '"none"'
    headers |= {"ETag": tag, "Accept-Ranges": "bytes"}
    if {tag, "*"} & entity_tags(request.headers.get("if-none-match", "")):
        return Response(status=304, headers=headers, body=b"")
    is_current = request.headers.get("if-range", tag) == tag
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


@contextmanager
def _told(store: Store, agent_id: str) -> Generator[None]:
    """Tell the observers of a result that is refused before it could be handed in."""
    begun = time.perf_counter()
    try:
        yield
    except BackuplogError as error:
        agent: UUID | None = None
        with suppress(ValueError):
            agent = as_uuid(agent_id)
        seconds = time.perf_counter() - begun
        delivery = Delivery(tenant_id=store.tenant_id, agent_id=agent, error=error, seconds=seconds)
        notify(observers_of(store), delivery)
        raise


def _admit(store: Store, agent_id: str, request: Request, guard: Guard) -> UUID:
    """Check who asks, then for whom, then how often."""
    speaks_for = verify_agent_token(store, bearer_token(request)).agent_id if guard.tokens else None
    agent = _path_id("agent_id", agent_id)
    if speaks_for not in (None, agent):
        raise Forbidden
    if guard.limiter is not None:
        guard.limiter.check(store.tenant_id, agent)
    return agent


def _admit_to_all(store: Store, request: Request, guard: Guard) -> None:
    if guard.tokens:
        verify_agent_token(store, bearer_token(request))
        raise Forbidden("a token speaks for one agent: who lists the runs of all needs another credential")


def _path_id(name: str, value: str) -> UUID:
    try:
        return as_uuid(value)
    except ValueError as error:
        raise (InvalidAgent if name == "agent_id" else InvalidQuery)([FieldError(name, str(error))]) from None


def _lines(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= MAX_TAIL_LINES):  # noqa: PLR2004
        raise InvalidQuery([FieldError("tail", f"must be a whole number from 1 to {MAX_TAIL_LINES:,}")])
    return int(text)
