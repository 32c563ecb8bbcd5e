"""Answering in an async server: how much is read before anyone is let in, and by whom the work is done."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog
from backuplog import http

Payload = Callable[..., dict[str, Any]]
PIECE = 16_384


class Upload:
    """A body that counts what is read of it."""

    def __init__(self, body: bytes) -> None:
        """Take the body."""
        self._body = body
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give it in pieces."""
        while self.read < len(self._body):
            piece = self._body[self.read : self.read + PIECE]
            self.read += len(piece)
            yield piece


class Counter:
    """A limiter that counts."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.checks = 0

    def check(self, tenant_id: UUID, agent_id: UUID) -> None:
        """Count a request."""
        del tenant_id, agent_id
        self.checks += 1

    def count(self, tenant_id: UUID, agent_id: UUID, results: int) -> None:
        """Count nothing more."""


def respond(
    store: backuplog.Store | Callable[[], backuplog.Store],
    endpoint: http.Endpoint,
    *place: Any,
    upload: Upload,
    **parts: Any,
) -> Any:
    """Call an endpoint as an async server does."""
    guard = http.Guard(limiter=parts.pop("limiter", None))
    parts.setdefault("method", "GET" if endpoint is http.get_backup_runs else "POST")
    threads: list[int] = []

    async def in_thread(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
        def call() -> Any:
            threads.append(threading.get_ident())
            return function(*arguments, **keywords)

        return await asyncio.to_thread(call)

    answer = asyncio.run(
        http.respond(
            endpoint, store, *place, request=http.Request(**parts), body=upload, in_thread=in_thread, guard=guard
        )
    )
    assert threading.get_ident() not in threads
    return answer


@pytest.mark.parametrize("size", [10, 60_000, 200_000, 3_000_000])
def test_a_result_is_taken_in_and_counted_once(
    store: backuplog.Store, agent_id: UUID, payload: Payload, size: int
) -> None:
    """Whatever its length, a body is read whole and its request counts once; the receipt comes with the answer."""
    limiter, sent = Counter(), payload(log="x" * size)
    headers = {"Authorization": f"Bearer {backuplog.issue_agent_token(store, agent_id)}"}
    upload = Upload(json.dumps(sent).encode())
    place = str(agent_id)
    answer = respond(store, http.post_task_result, place, upload=upload, headers=headers, limiter=limiter)
    assert (answer.status, limiter.checks) == (200, 1)
    [receipt] = answer.receipts
    assert (str(receipt.run_id), receipt.log_bytes) == (sent["taskId"], size)
    listed = respond(store, http.get_backup_runs, place, upload=Upload(b""), headers=headers)
    assert (listed.status, listed.receipts) == (200, ())


@pytest.mark.parametrize(
    ("token", "status", "error_type"),
    [
        ("", 401, "unauthenticated"),
        ("backuplog_0123456789abcdef_x", 401, "unauthenticated"),
        ("another's", 403, "forbidden"),
    ],
)
def test_a_strangers_body_is_not_read_on(agent_id: UUID, token: str, status: int, error_type: str) -> None:
    """After 64 KiB whoever may not send is refused, and the observers hear of it once where it sent results."""
    told: list[Any] = []

    class Notes:
        def delivered(self, event: backuplog.IngestEvent) -> None:
            told.append(event.error and event.error.error_type)

    with backuplog.open_store("sqlite://", observers=[Notes()]) as store:
        backuplog.register_agent(store, agent_id)
        other = backuplog.register_agent(store, uuid4()).id
        token = backuplog.issue_agent_token(store, other) if status == 403 else token
        for endpoint in (http.post_task_result, http.post_task_results):
            upload = Upload(bytes(50_000_000))
            answer = respond(
                store, endpoint, str(agent_id), upload=upload, headers={"Authorization": f"Bearer {token}"}
            )
            assert (answer.status, json.loads(answer.body)["error_type"]) == (status, error_type)
            assert upload.read <= 65_536 + PIECE
        assert told == [error_type] * 2
        upload = Upload(bytes(50_000_000))  # a piece of a log, which is no result
        parts = {"headers": {"Authorization": f"Bearer {token}"}, "method": "PATCH"}
        answer = respond(store, http.patch_backup_run_log, str(agent_id), str(uuid4()), upload=upload, **parts)
        assert (answer.status, upload.read <= 65_536 + PIECE) == (status, True)
        for method in ("GET", "HEAD"):
            parts = {"headers": {"Authorization": f"Bearer {token}"}, "method": method}
            upload = Upload(bytes(50_000_000))
            answer = respond(store, http.get_backup_runs, str(agent_id), upload=upload, **parts)
            assert (answer.status, upload.read, answer.body == b"") == (status, 0, method == "HEAD")
        assert len(told) == 2


def test_what_says_it_is_too_long_is_not_read(store: backuplog.Store, agent_id: UUID) -> None:
    """A length over the limit is refused without a byte of the body."""
    headers = {"Authorization": f"Bearer {backuplog.issue_agent_token(store, agent_id)}", "Content-Length": "67108865"}
    upload = Upload(b"{}")
    answer = respond(store, http.post_task_result, str(agent_id), upload=upload, headers=headers)
    assert (answer.status, upload.read) == (413, 0)


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_function_opens_the_store_in_a_thread(
    store: backuplog.Store, agent_id: UUID, payload: Payload, size: int
) -> None:
    """A store may be given as the function that opens it: the event loop never waits for a database."""
    threads: list[int] = []

    def open_slowly() -> backuplog.Store:
        threads.append(threading.get_ident())
        return store

    body = json.dumps(payload(log="x" * size)).encode()
    for token, status in ((backuplog.issue_agent_token(store, agent_id), 200), ("unknown", 401)):
        headers = {"Authorization": f"Bearer {token}"}
        answer = respond(open_slowly, http.post_task_result, str(agent_id), upload=Upload(body), headers=headers)
        assert answer.status == status
    assert threads
    assert threading.get_ident() not in threads
