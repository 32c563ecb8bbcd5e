"""Answering in an async server: the body is read in the event loop, the work is done in a thread."""

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Any, Final

import attrs

from backuplog.errors import BackuplogError
from backuplog.store import Store

from .answering import failure
from .guard import Guard, authenticate, report_refusal
from .request import Request, collect_body
from .response import Response

# Most results are shorter, and their tokens are looked up once only.
_UNCHECKED_BYTES: Final = 65_536


async def respond(
    endpoint: Callable[..., Response],
    store: Store | Callable[[], Store],
    *place: str | None,
    request: Request,
    body: AsyncIterable[bytes],
    in_thread: Callable[..., Awaitable[Any]],
    guard: Guard,
) -> Response:
    """Answer a request in an async server.

    The body is read in the event loop, so that slow clients cost no thread. No more than 64 KiB of it are read before
    the credential is checked.

    Args:
        endpoint: The endpoint, such as ``post_task_result``.
        store: The store to use, or a function that returns it, which is called in the thread.
        place: The parameters of the endpoint's path: the agent (None for all agents), and the run where there is one.
        request: The request, with its method and without its body.
        body: The pieces of the body, such as Starlette's ``request.stream()``.
        in_thread: Calls a function in a thread, as ``asyncio.to_thread`` and Starlette's ``run_in_threadpool`` do.
        guard: Whom to let in, and how much they may send.

    Returns:
        What the endpoint answers. If its body is an iterator, read it in a thread, too.
    """
    is_observed = request.method == "POST"  # Observers are told of results and of nothing else.
    let_in = _let_in if is_observed else authenticate
    opened = store if isinstance(store, Store) else None

    async def admitted() -> AsyncIterator[bytes]:
        nonlocal opened
        size = 0
        async for piece in body:
            if size <= _UNCHECKED_BYTES < size + len(piece):
                opened = opened or await in_thread(store)
                await in_thread(let_in, opened, place[0] or "", request, guard)
            size += len(piece)
            yield piece

    whole = b""
    if request.method not in ("GET", "HEAD"):  # which have none
        try:
            whole = await collect_body(request.headers, admitted(), max_bytes=guard.max_body_bytes)
        except BackuplogError as error:
            return failure(opened, error, is_observed=is_observed)
    response: Response = await in_thread(endpoint, store, *place, attrs.evolve(request, body=whole), guard=guard)
    return response


def _let_in(store: Store, agent_id: str, request: Request, guard: Guard) -> None:
    with report_refusal(store, agent_id):
        authenticate(store, agent_id, request, guard)
