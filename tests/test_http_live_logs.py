"""Logs that grow, over HTTP: sent in pieces, read from an offset, followed; tests/web/ goes through sockets."""

import asyncio
import gzip
import hashlib
import json
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import pytest
from backports import zstd

import backuplog
from backuplog import http
from backuplog.http.limit import RateLimiter
from backuplog.testing.changes import Expire

Payload = Callable[..., dict[str, Any]]
OPEN = http.Guard(tokens=False)


class Task(NamedTuple):
    """A task that runs, and what its agent sends."""

    store: backuplog.Store
    agent: str
    sent: dict[str, Any]

    @property
    def place(self) -> tuple[str, str]:
        """The agent and the run."""
        return self.agent, self.sent["taskId"]

    def append(self, data: bytes) -> None:
        """Add to the log."""
        offset = backuplog.append_log(self.store, *self.place, b"", offset=0)
        backuplog.append_log(self.store, *self.place, data, offset=offset)

    def end(self, **fields: object) -> backuplog.Receipt:
        """End the task."""
        return backuplog.ingest_task_result(self.store, self.agent, {**self.sent, "status": "success", **fields})


@pytest.fixture
def task(store: backuplog.Store, agent_id: UUID, payload: Payload) -> Task:
    """Give a task that runs."""
    sent = payload(status="running")
    backuplog.ingest_task_result(store, agent_id, sent)
    return Task(store, str(agent_id), sent)


def opened(response: http.Response) -> tuple[int, dict[str, str], Any]:
    """Give a response's status, headers and what its body says."""
    body = b"".join(response.pieces())
    assert response.headers["Content-Length"] == str(len(body))
    is_json = "json" in response.headers["Content-Type"]
    return response.status, response.headers, json.loads(body) if is_json else body


def patch(
    task: Task, data: bytes, start: int | None = None, *, guard: http.Guard = OPEN, **headers: str
) -> tuple[int, dict[str, str], Any]:
    """Send a piece of a log, which begins at an offset if there is one."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    if start is not None:
        named["Upload-Offset"] = str(start)
    request = http.Request(method="PATCH", headers=named, body=data)
    return opened(http.patch_backup_run_log(task.store, *task.place, request, guard=guard))


# --- sending a log while its task runs ---------------------------------------------------------------------------


def test_pieces_become_a_log_whichever_come_again(task: Task) -> None:
    """A piece, the same again, one that overlaps it, and none: each answer says how much of the log has come."""
    steps = [(0, b"", 0), (0, b"one\n", 4), (0, b"one\n", 4), (2, b"e\ntwo\n", 8), (8, b"", 8), (4, b"tw", 8)]
    for start, data, end in steps:
        status, headers, document = patch(task, data, start)
        assert (status, document, headers["Upload-Offset"]) == (200, {"status": "ok", "offset": end}, str(end))
    for header in ("bytes 8-13/*", "Bytes 8-13/14", " bytes  8-13/* "):
        assert patch(task, b"three\n", Content_Range=header)[2]["offset"] == 14
    assert backuplog.read_log(task.store, task.sent["taskId"]) == b"one\ntwo\nthree\n"


def test_what_does_not_fit_is_told_where_to_go_on(task: Task) -> None:
    """A piece behind a gap and one with other bytes than came are 409, and say where to go on; nothing is stored."""
    patch(task, b"one\n", 0)
    for start, data in ((5, b"two\n"), (0, b"two\n"), (2, b"x\ntwo\n")):
        status, headers, problem = patch(task, data, start)
        assert (status, problem["error_type"], problem["expected_offset"]) == (409, "log_offset_mismatch", 4)
        assert (headers["Upload-Offset"], headers["Content-Type"]) == ("4", "application/problem+json")
    assert backuplog.read_log(task.store, task.sent["taskId"]) == b"one\n"


def test_a_task_that_has_ended_takes_no_more(task: Task) -> None:
    """A piece that comes again is still answered, a new one is 409, and one of an expired log is 410."""
    patch(task, b"one\n", 0)
    task.end()
    assert patch(task, b"one\n", 0)[::2] == (200, {"status": "ok", "offset": 4})
    status, headers, problem = patch(task, b"two\n", 4)
    assert (status, problem["error_type"], headers["Upload-Offset"]) == (409, "log_closed", "4")
    task.store.backend.submit([Expire(UUID(task.sent["taskId"]))])
    status, _, problem = patch(task, b"one\n", 0)
    assert (status, problem["error_type"]) == (410, "log_expired")


def test_only_the_agents_own_token_adds_to_a_log(task: Task) -> None:
    """No token is 401, another agent's 403, another agent's run 404, and an id that is none 400."""
    stranger = str(backuplog.register_agent(task.store, uuid4()).id)
    tokens = [backuplog.issue_agent_token(task.store, agent) for agent in (task.agent, stranger)]
    own, other = ({"Authorization": f"Bearer {token}"} for token in tokens)
    guard = http.Guard()
    assert patch(task, b"one\n", 0, guard=guard)[1]["WWW-Authenticate"] == "Bearer"
    assert patch(task, b"one\n", 0, guard=guard)[0] == 401
    assert patch(task, b"one\n", 0, guard=guard, **other)[0] == 403
    assert patch(task._replace(agent=stranger), b"one\n", 0, guard=guard, **other)[2]["error_type"] == "run_not_found"
    unknown = task._replace(sent={"taskId": str(uuid4())})
    assert patch(unknown, b"one\n", 0, guard=guard, **own)[0] == 404
    assert patch(task._replace(sent={"taskId": "x"}), b"one\n", 0, guard=guard, **own)[0] == 400
    assert backuplog.read_log(task.store, task.sent["taskId"]) == b""
    assert patch(task, b"one\n", 0, guard=guard, **own)[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Range": "bytes 0-4/*"},
        {"Content_Range": "bytes 0-2/*"},
        {"Content_Range": "bytes 3-0/*"},
        {"Content_Range": "bytes=0-3/*"},
        {"Content_Range": "bytes 0-3"},
        {"Content_Range": "bytes */4"},
        {"Content_Range": "lines 0-3/*"},
        {"Content_Range": "bytes 0-3/*, bytes 0-3/*"},
        {"Content_Range": f"bytes 0-{'9' * 30}/*"},
        {"Content_Range": "bytes 0-3/3"},
        {"Content_Range": "x", "Upload_Offset": "0"},
        {"Upload_Offset": "1", "Content_Range": "bytes 0-3/*"},
        {"Upload_Offset": "-1"},
        {"Upload_Offset": "x"},
        {"Upload_Offset": "9" * 30},
        {"Upload_Offset": "٣"},
    ],
    ids=str,
)
def test_a_piece_must_say_where_it_belongs(task: Task, headers: dict[str, str]) -> None:
    """Where the headers are missing, malformed or speak of another length than the body has, the answer names them."""
    status, _, problem = patch(task, b"one\n", **headers)
    assert (status, problem["error_type"]) == (400, "invalid_query")
    wrong = next(iter(headers), "Content_Range").replace("_", "-")
    assert [error["path"] for error in problem["errors"]] == [wrong]
    assert backuplog.read_log(task.store, task.sent["taskId"]) == b""


@pytest.mark.parametrize(("name", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_compressed_pieces_are_read(task: Task, name: str, compress: Callable[[bytes], bytes]) -> None:
    """Offsets count bytes of the log, however it was compressed on the way, also in pieces of its own."""
    log = b"".join(b"%d\n" % number for number in range(100_000))
    for start in range(0, len(log), 300_000):
        part = log[start : start + 300_000]
        given = compress(part)
        body = iter([given[:9], given[9:]])
        headers = {"Content-Range": f"bytes {start}-{start + len(part) - 1}/*", "Content-Encoding": name}
        request = http.Request(headers=headers, body=body)
        assert http.patch_backup_run_log(task.store, *task.place, request, guard=OPEN).status == 200
    assert backuplog.read_log(task.store, task.sent["taskId"]) == log
    assert patch(task, b"one\n", len(log), Content_Encoding=name)[0] == 400
    assert patch(task, b"one\n", len(log), Content_Encoding="br")[0] == 415


def test_a_piece_over_the_limit_is_refused(task: Task) -> None:
    """413 for what is too long before it is decompressed or after, and for who says so before it is read."""
    guard = http.Guard(tokens=False, max_body_bytes=1_000)
    assert patch(task, b"x" * 1_000, 0, guard=guard)[0] == 200
    assert patch(task, b"x" * 1_001, 1_000, guard=guard)[0] == 413
    assert patch(task, gzip.compress(b"x" * 1_001), 1_000, guard=guard, Content_Encoding="gzip")[0] == 413
    assert patch(task, b"", 1_000, guard=guard, Content_Length="1001")[0] == 413
    assert backuplog.get_run(task.store, task.sent["taskId"]).log_bytes == 1_000


def test_pieces_count_against_the_rate(task: Task) -> None:
    """Each piece is a request, and one too many is 429 with the seconds to wait."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("2/minute"))
    answers = [patch(task, b"one\n", 0, guard=guard) for _ in range(3)]
    assert [status for status, _, _ in answers] == [200, 200, 429]
    assert int(answers[2][1]["Retry-After"]) >= 1


def test_a_log_over_the_cap_keeps_its_ends(task: Task) -> None:
    """The cap of the guard holds for a log that comes in pieces, and the offsets go on counting what was sent."""
    guard = http.Guard(tokens=False, max_log_bytes=4_096)
    for start in range(0, 20_000, 1_000):
        assert patch(task, b"%09d\n" % start * 100, start, guard=guard)[2]["offset"] == start + 1_000
    task.end()
    run = backuplog.get_run(task.store, task.sent["taskId"])
    log = backuplog.read_log(task.store, run.id)
    assert (run.log_state, run.log_bytes, len(log)) == ("truncated", len(log), run.log_bytes)
    assert (log[:10], log[-10:]) == (b"000000000\n", b"000019000\n")
    assert len(log) < 4_096 + 1_000


def test_a_result_that_says_more_than_came_is_told_where_to_go_on(task: Task) -> None:
    """409 by itself and in a batch, until what is missing has come; then the run is final, and its log complete."""
    log = b"one\ntwo\n"
    patch(task, log[:4], 0)
    claims = {"logBytes": len(log), "logSha256": hashlib.sha256(log).hexdigest()}
    body = {**task.sent, "status": "success", **claims}

    def post(sent: object, endpoint: Callable[..., http.Response] = http.post_task_result) -> Any:
        request = http.Request(method="POST", body=json.dumps(sent).encode())
        return opened(endpoint(task.store, task.agent, request, guard=OPEN))

    for claimed in (body, {**body, "logBytes": None}, {**body, "logSha256": None}):
        status, headers, problem = post(claimed)
        assert (status, problem["error_type"], problem["expected_offset"]) == (409, "log_offset_mismatch", 4)
        assert headers["Upload-Offset"] == "4"
    [item] = post([body], http.post_task_results)[2]["results"]
    assert (item["error"]["status"], item["error"]["expected_offset"]) == (409, 4)
    assert backuplog.get_run(task.store, task.sent["taskId"]).status == "running"
    patch(task, log[4:], 4)
    status, headers, _ = post(body)
    assert (status, headers["Backuplog-Outcome"], headers["Backuplog-Log-State"]) == (200, "updated", "complete")
    assert backuplog.read_log(task.store, task.sent["taskId"]) == log


def test_progress_comes_and_goes_with_the_task(task: Task) -> None:
    """What a running task says of its progress stands in its run, and not any more once it has ended."""
    progress = {"percent": 12.5, "step": "scanning", "filesDone": 3, "bytesTotal": 4096}
    request = http.Request(body=json.dumps({**task.sent, "progress": progress}).encode())
    assert http.post_task_result(task.store, task.agent, request, guard=OPEN).status == 200

    def shown() -> Any:
        return opened(http.get_backup_run(task.store, *task.place, http.Request(query="log=false"), guard=OPEN))[2]

    given = {name: value for name, value in shown()["progress"].items() if value is not None}
    assert given == {"percent": 12.5, "step": "scanning", "files_done": 3, "bytes_total": 4096}
    task.end()
    assert shown()["progress"] is None


# --- reading what has come ---------------------------------------------------------------------------------------


def since(task: Task, offset: object, *, method: str = "GET", more: str = "") -> tuple[int, dict[str, str], Any]:
    """Ask for what follows so many bytes."""
    request = http.Request(method=method, query=f"since={offset}{more}")
    response = http.get_backup_run_log(task.store, *task.place, request, guard=OPEN)
    if method == "HEAD":
        assert response.body == b""
        return response.status, response.headers, b""
    return opened(response)


def test_what_has_come_is_read_from_an_offset(task: Task) -> None:
    """The bytes behind the offset, and in headers where to go on, when, and whether that was all."""

    def told(offset: int) -> tuple[int, str, str, str, bytes]:
        status, headers, body = since(task, offset)
        assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("private, no-store", "nosniff")
        return status, headers["Upload-Offset"], headers["Retry-After"], headers["Backuplog-Final"], body

    assert told(0) == (200, "0", "1", "false", b"")
    task.append(b"one\ntwo\n")
    assert told(0) == (200, "8", "1", "false", b"one\ntwo\n")
    assert told(6) == (200, "8", "1", "false", b"o\n")
    assert told(8) == (200, "8", "1", "false", b"")
    task.append(b"x" * 3_000_000)
    assert told(8)[:4] == (200, str(8 + 2**20), "0", "false")
    task.end()
    assert told(3_000_000) == (200, "3000008", "0", "true", b"x" * 8)
    assert told(3_000_008) == (200, "3000008", "0", "true", b"")


def test_an_offset_that_cannot_be_is_refused(task: Task) -> None:
    """Behind the end the log must be another by now: 416, begin again. What is no offset, or has a tail, is 400."""
    task.append(b"one\n")
    status, headers, problem = since(task, 5)
    assert (status, problem["error_type"], "Retry-After" in headers) == (416, "log_replaced", False)
    assert "begin again at 0" in problem["detail"]
    for offset, more in (("-1", ""), ("x", ""), ("1.5", ""), ("9" * 30, ""), ("0", "&tail=1"), ("0", "&since=1")):
        status, _, problem = since(task, offset, more=more)
        assert (status, [error["path"] for error in problem["errors"]]) == (400, ["since"])


def test_head_says_how_far_a_log_has_come(task: Task) -> None:
    """The headers of GET, without the bytes."""
    task.append(b"one\n")
    for offset in (0, 4, 5, "x"):
        status, headers, _ = since(task, offset)
        assert since(task, offset, method="HEAD") == (status, headers, b"")
    assert since(task, 0, method="HEAD")[1]["Content-Length"] == "4"


# --- following ---------------------------------------------------------------------------------------------------

Sleep = Callable[[float], Awaitable[object]]


async def never(_: float) -> None:
    """Fail who waits."""
    pytest.fail("it waited")


def watch(
    task: Task, sleep: Sleep = never, *, query: str = "", method: str = "GET", guard: http.Guard = OPEN, token: str = ""
) -> tuple[http.Response, list[bytes]]:
    """Follow a log to its end."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = http.Request(method=method, headers=headers, query=query)

    async def read() -> tuple[http.Response, list[bytes]]:
        response, body = await http.follow(
            task.store, *task.place, request=request, in_thread=asyncio.to_thread, guard=guard, sleep=sleep
        )
        return response, [piece async for piece in body]

    return asyncio.run(read())


def test_a_log_is_followed_to_its_end(task: Task) -> None:
    """What is there comes at once and what is added comes as it is added, byte for byte, until the task ends."""
    log = [b"x" * 2_500_000, b"one\n", "zwölf\n".encode()[:3], "zwölf\n".encode()[3:], b"\0\xff\n", b"PASSWORD=se"]
    task.append(log[0])
    steps = iter([*(partial(task.append, piece) for piece in log[1:]), task.end])
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.to_thread(next(steps))

    response, pieces = watch(task, sleep)
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert (response.headers["Cache-Control"], "Content-Length" in response.headers) == ("private, no-store", False)
    assert b"".join(pieces) == b"".join(log).replace(b"=se", b"=**")
    assert max(map(len, pieces)) <= 2**20
    assert waits == [1.0] * len(log)
    assert next(steps, None) is None


def test_following_begins_where_it_is_told(task: Task) -> None:
    """With an offset only what is behind it comes; a log that is complete is read without waiting."""
    task.append(b"one\ntwo\n")
    task.end()
    for offset, rest in ((0, b"one\ntwo\n"), (4, b"two\n"), (8, b"")):
        assert b"".join(watch(task, query=f"since={offset}")[1]) == rest


def test_head_of_a_log_that_grows_ends(task: Task) -> None:
    """Who asks for the headers only gets no byte, and does not wait for the task."""
    task.append(b"one\n")
    response, pieces = watch(task, method="HEAD")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"".join(pieces) == b""


def test_who_may_not_follow_is_told_so(task: Task) -> None:
    """No token, another agent's, another agent's run, an expired log and bad queries: a problem each, and no more."""
    task.append(b"one\n")
    stranger = str(backuplog.register_agent(task.store, uuid4()).id)
    token, other = (backuplog.issue_agent_token(task.store, agent) for agent in (task.agent, stranger))
    guard = http.Guard()
    answers = [
        (watch(task, guard=guard), 401, "unauthenticated"),
        (watch(task, guard=guard, token=other), 403, "forbidden"),
        (watch(task._replace(agent=stranger), guard=guard, token=other), 404, "run_not_found"),
        (watch(task, guard=guard, token=token, query="since=x"), 400, "invalid_query"),
        (watch(task, guard=guard, token=token, query="tail=1"), 400, "invalid_query"),
        (watch(task, guard=guard, token=token, query="since=9"), 416, "log_replaced"),
    ]
    task.end()
    assert watch(task, guard=guard, token=token)[1] == [b"one\n"]
    task.store.backend.submit([Expire(UUID(task.sent["taskId"]))])
    answers.append((watch(task, guard=guard, token=token), 410, "log_expired"))
    for (response, pieces), status, error_type in answers:
        problem = json.loads(b"".join(pieces))
        assert (response.status, problem["status"], problem["error_type"]) == (status, status, error_type)
        assert response.headers["Content-Type"] == "application/problem+json"


def test_a_log_that_is_replaced_by_a_shorter_one_breaks_off(task: Task) -> None:
    """Where the result brings a log of its own that ends before, nobody takes what was read for the whole of it."""
    task.append(b"one\ntwo\n")

    async def sleep(_: float) -> None:
        await asyncio.to_thread(partial(task.end, log="one\n"))

    with pytest.raises(backuplog.LogReplaced):
        watch(task, sleep)


def test_watchers_wait_without_a_thread_each(task: Task) -> None:
    """Fifty follow at once in a pool of four threads: all of them wait at the same time, and all read the whole log."""
    sleeping = 0

    async def everyone() -> list[bytes]:
        more = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def sleep(_: float) -> None:
            nonlocal sleeping
            sleeping += 1
            if sleeping == 50:
                await in_thread(task.append, b"two\n")
                await in_thread(task.end)
                more.set()
            await more.wait()

        async def in_thread(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> Any:
            return await loop.run_in_executor(pool, partial(function, *arguments, **keywords))

        async def one() -> bytes:
            _, body = await http.follow(
                task.store, *task.place, request=http.Request(), in_thread=in_thread, guard=OPEN, sleep=sleep
            )
            return b"".join([piece async for piece in body])

        return await asyncio.gather(*(one() for _ in range(50)))

    task.append(b"one\n")
    before = threading.active_count()
    with ThreadPoolExecutor(4) as pool:
        logs = asyncio.run(everyone())
        assert threading.active_count() - before <= 4
    assert (sleeping, logs) == (50, [b"one\ntwo\n"] * 50)


def test_who_has_read_a_log_knows_where_it_goes_on(task: Task) -> None:
    """A log that is read names the offset to follow it from, which is not its length where a middle is missing."""
    log = b"".join(b"line %d\n" % number for number in range(2_000))
    run_id = task.sent["taskId"]
    backuplog.append_log(task.store, task.place[0], run_id, log, offset=0, max_log_bytes=4_096)
    for header in ({}, {"Range": "bytes=0-9"}):
        whole = http.get_backup_run_log(task.store, *task.place, http.Request(headers=header), guard=OPEN)
        assert whole.headers["Upload-Offset"] == str(len(log))
    assert int(whole.headers["Content-Range"].partition("/")[2]) < len(log)
    backuplog.append_log(task.store, task.place[0], run_id, b"more\n", offset=len(log))
    rest = http.get_backup_run_log(task.store, *task.place, http.Request(query=f"since={len(log)}"), guard=OPEN)
    assert rest.body == b"more\n"
