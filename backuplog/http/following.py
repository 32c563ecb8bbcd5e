"""A log while it grows: what has come of it, or all of it as one answer of an async server."""

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final
from uuid import UUID

from backuplog.errors import BackuplogError, FieldError, InvalidQuery, LogReplaced
from backuplog.follow import LogProgress, read_log_since
from backuplog.store import Store

from .answering import failure
from .guard import Guard, admit
from .request import MAX_OFFSET, Request, number_in, parse_query
from .response import LOG_HEADERS, Response, bytes_response, json_response, problem

_HEADERS: Final = {**LOG_HEADERS, "Cache-Control": "private, no-store"}


def what_follows(store: Store, agent: UUID, run_id: UUID, since: str) -> Response:
    """Answer with what has come of a log behind an offset, and say in headers where and when to go on."""
    try:
        progress = read_log_since(store, run_id, _offset_in(since), agent_id=agent)
    except LogReplaced:
        return _ends_before()
    headers = {
        **_HEADERS,
        "Upload-Offset": str(progress.offset),
        "Retry-After": str(math.ceil(progress.retry_after)),
        "Backuplog-Final": "true" if progress.is_final else "false",
    }
    return bytes_response(200, headers, progress.data)


async def follow(
    store: Store,
    agent_id: str,
    run_id: str,
    *,
    request: Request,
    in_thread: Callable[..., Awaitable[Any]],
    guard: Guard,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> tuple[Response, AsyncIterator[bytes]]:
    """Answer with a log while it grows, in an async server. A watcher takes a thread only while it reads.

    Args:
        store: The store to use.
        agent_id: The agent in the path.
        run_id: The run in the path.
        request: The request, with its method. Its query may be ``since=N``, to begin behind the first N bytes.
        in_thread: Calls a function in a thread, as ``asyncio.to_thread`` and Starlette's ``run_in_threadpool`` do.
        guard: Whom to let in.
        sleep: Waits for so many seconds, in the event loop.

    Returns:
        The response, whose status and headers to send, and the body, which ends when the task has ended and its log is
        read. If the body raises, break the connection.
    """
    try:
        agent, progress = await in_thread(_first, store, agent_id, run_id, request, guard)
    except LogReplaced:
        refusal = _ends_before()
        return refusal, _whole(refusal)
    except BackuplogError as error:
        refusal = failure(store, error, is_observed=False)
        return refusal, _whole(refusal)

    async def body(step: LogProgress) -> AsyncIterator[bytes]:
        while True:
            if step.data:
                yield step.data
            if step.is_final:
                return
            if step.retry_after:
                await sleep(step.retry_after)
            step = await in_thread(read_log_since, store, run_id, step.offset, agent_id=agent)

    given = Response(status=200, headers={**_HEADERS}, body=b"")
    return given, _whole(given) if request.method == "HEAD" else body(progress)


def _first(store: Store, agent_id: str, run_id: str, request: Request, guard: Guard) -> tuple[UUID, LogProgress]:
    agent = admit(store, agent_id, request, guard)
    since = _offset_in(parse_query(request.query, ("since",)).get("since", "0"))
    return agent, read_log_since(store, run_id, since, agent_id=agent)


async def _whole(response: Response) -> AsyncIterator[bytes]:
    for piece in response.pieces():
        yield piece


def _ends_before() -> Response:
    """Answer who has more of a log than there is, and would be told so again and again."""
    detail = "The log is another by now, and ends before: begin again at 0."
    return json_response(problem(416, LogReplaced.error_type, detail), status=416)


def _offset_in(text: str) -> int:
    """Read how many bytes of a log a follower has.

    Raises:
        InvalidQuery: It is no number.
    """
    offset = number_in(text)
    if offset is None or offset >= MAX_OFFSET:
        raise InvalidQuery([FieldError("since", "must be a whole number of bytes, 0 or more")])
    return offset
