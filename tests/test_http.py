"""The HTTP contract, by calling its functions; tests/web/ goes through sockets."""

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from io import BytesIO
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import http
from backuplog.http.request import parse_range
from backuplog.testing.changes import Append, Expire

Payload = Callable[..., dict[str, Any]]
OPEN = http.Guard(tokens=False)


def post(store: backuplog.Store, agent_id: object, body: object, guard: http.Guard = OPEN, **headers: str) -> Any:
    """Post a result, and give status, headers and document."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = http.Request(headers={name.replace("_", "-"): text for name, text in headers.items()}, body=content)
    return opened(http.post_task_result(store, str(agent_id), request, guard=guard))


def opened(response: http.Response) -> tuple[int, dict[str, str], Any]:
    """Give a response's status, headers and what its body says."""
    body = b"".join(response.pieces())
    assert response.headers.get("Content-Length", str(len(body))) == str(len(body))
    is_json = "json" in response.headers.get("Content-Type", "")
    return response.status, response.headers, json.loads(body) if is_json else body


def test_a_result_is_taken_in(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """The answer is what the specification says; the outcome stands in a header."""
    sent = payload(log="log")
    for outcome in ("created", "replayed"):
        status, headers, document = post(store, agent_id, sent, Content_Type="application/json; charset=UTF-8")
        assert (status, document) == (200, {"status": "ok"})
        assert (headers["Backuplog-Outcome"], headers["Backuplog-Log-State"]) == (outcome, "complete")


@pytest.mark.parametrize(
    ("body", "headers", "status", "error_type"),
    [
        (b"{", {}, 400, "invalid_task_result"),
        (b"", {}, 400, "invalid_task_result"),
        (b'{"taskId": 1}', {}, 400, "invalid_task_result"),
        (b"{}", {"Content_Type": "text/plain"}, 415, "unsupported_media"),
        (b"{}", {"Content_Type": "application/json; charset=latin-1"}, 415, "unsupported_media"),
        (b"{}", {"Content_Type": "application/x-ndjson"}, 415, "unsupported_media"),
        (b"{}", {"Content_Encoding": "br"}, 415, "unsupported_media"),
        (b"{}", {"Content_Encoding": "gzip"}, 400, "invalid_task_result"),
        (gzip.compress(b"{}" * 999, mtime=0)[:-9], {"Content_Encoding": "gzip"}, 400, "invalid_task_result"),
        (b"", {"Content_Encoding": "gzip"}, 400, "invalid_task_result"),
        (zstd.compress(b"{}" * 999)[:-9], {"Content_Encoding": "zstd"}, 400, "invalid_task_result"),
        (b"{}", {"Content_Encoding": "zstd"}, 400, "invalid_task_result"),
        (b"x" * 10_001, {}, 413, "payload_too_large"),
        (b"", {"Content_Length": "10001"}, 413, "payload_too_large"),
        (b"", {"Content_Length": "-1"}, 400, "invalid_task_result"),
        (gzip.compress(b"x" * 10_001, mtime=0), {"Content_Encoding": "gzip"}, 413, "payload_too_large"),
    ],
)
def test_what_is_refused_is_a_problem(
    store: backuplog.Store, agent_id: UUID, body: bytes, headers: dict[str, str], status: int, error_type: str
) -> None:
    """Each refusal has its status, its slug, and the fields that are wrong, and nothing is stored."""
    found, given_headers, problem = post(
        store, agent_id, body, http.Guard(tokens=False, max_body_bytes=10_000), **headers
    )
    assert (found, problem["status"], problem["error_type"]) == (status, status, error_type)
    assert given_headers["Content-Type"] == "application/problem+json"
    assert {"type", "title", "detail"} <= set(problem)
    assert ("errors" in problem) == (status == 400)
    assert backuplog.query_runs(store).total == 0


def test_unknown_agents_and_conflicts(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """404 for an agent that is not known, 400 for one that cannot be, 409 for another agent's task."""
    sent = payload()
    assert post(store, uuid4(), sent)[2]["error_type"] == "agent_not_found"
    assert post(store, "x", b"{")[2]["errors"][0]["path"] == "agent_id"
    post(store, agent_id, sent)
    other = backuplog.register_agent(store, uuid4()).id
    assert post(store, other, sent)[0] == 409


@pytest.mark.parametrize(
    ("name", "compress"), [("gzip", gzip.compress), ("x-gzip", gzip.compress), ("zstd", zstd.compress)]
)
def test_compressed_bodies_are_read(
    store: backuplog.Store, agent_id: UUID, payload: Payload, name: str, compress: Callable[[bytes], bytes]
) -> None:
    """Gzip and zstd, in one member or several, from bytes, files and pieces."""
    sent = payload(log="x" * 3_000_000)
    whole = json.dumps(sent).encode()
    body = compress(whole[:1_000_000]) + compress(whole[1_000_000:])
    pieces = [body[start : start + 1000] for start in range(0, len(body), 1000)]
    for given_body in (body, BytesIO(body), iter(pieces)):
        headers = {"content-encoding": name, "content-length": str(len(body))}
        request = http.Request(headers=headers, body=given_body)
        assert http.post_task_result(store, str(agent_id), request, guard=OPEN).status == 200
    assert backuplog.read_log(store, sent["taskId"]) == b"x" * 3_000_000


def bomb() -> Iterator[bytes]:
    """Make 10 GiB of zeros, in gzip, piece by piece."""
    compressor = zlib.compressobj(9, wbits=31)
    zeros = bytes(1 << 20)
    for _ in range(10 * 1024):
        yield compressor.compress(zeros)
    yield compressor.flush()


def test_a_bomb_costs_little(store: backuplog.Store, agent_id: UUID) -> None:
    """10 GiB in 10 MiB of gzip are refused after 64 MiB, in little more memory than that."""
    tracemalloc.start()
    request = http.Request(headers={"Content-Encoding": "gzip"}, body=bomb())
    response = http.post_task_result(store, str(agent_id), request, guard=OPEN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status == 413
    assert peak < 80 << 20


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_a_body_of_countless_parts_is_refused(store: backuplog.Store, agent_id: UUID, name: str) -> None:
    """Members and frames that hold nothing cost a copy of what is behind them each: 4,096 are enough for anybody."""
    part = gzip.compress(b"", mtime=0) if name == "gzip" else zstd.compress(b"")
    body = part * (3 * 2**20 // len(part))
    status, _, document = post(store, agent_id, body, Content_Encoding=name)
    assert (status, document["errors"][0]["message"]) == (400, "has more than 4,096 gzip members or zstd frames")


@pytest.mark.parametrize(
    "body", [b"[" + b"0," * 2**21 + b"0]", b"12\n" * 2**21, b"\n" * 2**22], ids=["zeros", "12", ""]
)
def test_a_batch_of_too_many_is_refused_before_it_is_taken_apart(
    store: backuplog.Store, agent_id: UUID, body: bytes
) -> None:
    """Millions of items cost no more than the text that holds them."""
    media = "application/json" if body.startswith(b"[") else "application/x-ndjson"
    request = http.Request(headers={"Content-Type": media}, body=body)
    tracemalloc.start()
    response = http.post_task_results(store, str(agent_id), request, guard=OPEN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert response.status == 413
    assert peak < 2 * len(body) + 2**20


def test_bad_results_of_a_batch_are_not_kept_until_it_is_answered(store: backuplog.Store, agent_id: UUID) -> None:
    """What was decoded of a result that is refused is gone when the next one is decoded."""
    body = (b'{"log":"' + b"x" * 2**22 + b'"}\n') * 8
    request = http.Request(headers={"Content-Type": "application/x-ndjson"}, body=body)
    tracemalloc.start()
    response = http.post_task_results(store, str(agent_id), request, guard=OPEN)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert [item["status"] for item in opened(response)[2]["results"]] == ["error"] * 8
    assert peak < 60 * 2**20  # the lines once more, and a log: with all logs it would be 80 MiB


def test_a_file_is_read_as_far_as_it_says(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """What follows a body on a connection is the next request; a body that ends early is refused."""
    body = json.dumps(payload()).encode()
    for extra, status in ((b"GET / HTTP/1.1", 200), (b"", 200)):
        file = BytesIO(body + extra)
        request = http.Request(headers={"Content-Length": str(len(body))}, body=file)
        assert http.post_task_result(store, str(agent_id), request, guard=OPEN).status == status
        assert file.read() == extra
    short = http.Request(headers={"Content-Length": str(len(body) + 1)}, body=BytesIO(body))
    assert http.post_task_result(store, str(agent_id), short, guard=OPEN).status == 400
    unsaid = http.Request(body=BytesIO(body))
    assert http.post_task_result(store, str(agent_id), unsaid, guard=OPEN).status == 400
    chunked = http.Request(headers={"Transfer-Encoding": "chunked"}, body=BytesIO(body))
    assert http.post_task_result(store, str(agent_id), chunked, guard=OPEN).status == 200


# --- batches ----------------------------------------------------------------------------------------------------


def post_batch(store: backuplog.Store, agent_id: object, body: bytes, media: str = "application/json") -> Any:
    """Post a batch."""
    request = http.Request(headers={"Content-Type": media}, body=body)
    return opened(http.post_task_results(store, str(agent_id), request, guard=OPEN))


def test_one_bad_item_spoils_no_other(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Each item of an array, and each line, is answered in its place."""
    one, two = payload(log="a"), payload()
    array = json.dumps([one, {"taskId": "x"}, "{}", 7, None, [], two, one]).encode()
    status, _, document = post_batch(store, agent_id, array)
    assert status == 200
    assert [item["status"] for item in document["results"]] == ["ok", *["error"] * 5, "ok", "ok"]
    assert [item.get("outcome") for item in document["results"]] == ["created", *[None] * 5, "created", "replayed"]
    assert document["results"][1]["error"]["errors"][0]["path"] == "$.taskId"
    assert "a JSON object, not" in document["results"][2]["error"]["detail"]
    lines = b"\n".join([json.dumps(two).encode(), b"{", b"", b"\r", json.dumps(payload()).encode() + b"\r"])
    status, _, document = post_batch(store, agent_id, lines, "application/x-ndjson")
    assert [item.get("outcome") for item in document["results"]] == ["replayed", None, "created"]


def test_a_batch_that_is_none_is_refused(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """What is no array, too many results and an unknown agent are problems of the whole batch."""
    assert post_batch(store, agent_id, b"{}")[0] == 400
    assert post_batch(store, agent_id, b"[" + b"{}," * 1_000 + b"{}]")[0] == 413
    assert post_batch(store, uuid4(), json.dumps([payload()]).encode())[0] == 404
    assert post_batch(store, agent_id, b"[]")[2] == {"results": []}


def test_a_store_that_fails_says_nothing_of_itself(
    store: Any, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """500 and 503 do not hold what the store says; the log does, and a batch still answers item by item."""
    for error, status in (
        (backuplog.StoreError("disk of db-7"), 500),
        (backuplog.StoreUnavailable("db-7 is off"), 503),
    ):

        def fail(*_: object, error: Exception = error, **__: object) -> Any:
            raise error

        monkeypatch.setattr(type(store.backend), "submit", fail)
        once = attrs.evolve(store, retry_timeout=0)
        found, headers, problem = post(once, agent_id, payload())
        assert (found, "db-7" in json.dumps(problem)) == (status, False)
        assert ("Retry-After" in headers) == (status == 503)
        found, _, problem = post_batch(once, agent_id, json.dumps([payload(), {}]).encode())
        assert (found, [item["status"] for item in problem["results"]]) == (status, ["error", "error"])
        assert problem["results"][1]["error"]["status"] == 400
    assert "disk of db-7" in caplog.text


def test_a_store_that_cannot_be_opened_is_a_problem(caplog: pytest.LogCaptureFixture, agent_id: UUID) -> None:
    """An endpoint that is given a function answers what it raises, and says why in the log, once."""

    def opening() -> backuplog.Store:
        raise backuplog.StoreUnavailable("db-7 does not answer")

    for endpoint in (http.post_task_result, http.get_backup_runs):
        caplog.clear()
        answer = endpoint(opening, str(agent_id), http.Request(), guard=OPEN)
        assert (answer.status, "db-7" in str(answer.body), "Retry-After" in answer.headers) == (503, False, True)
        assert caplog.text.count("db-7 does not answer") == 1


# --- lists and runs ---------------------------------------------------------------------------------------------


def get(endpoint: Callable[..., http.Response], *arguments: Any, query: str = "", **headers: str) -> Any:
    """Get something."""
    request = http.Request(query=query, headers={name.replace("_", "-"): text for name, text in headers.items()})
    return opened(endpoint(*arguments, request, guard=OPEN))


def test_runs_are_listed_page_by_page(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """The shape is the specification's, with a cursor; filters and pages are those of RunQuery."""
    for number in range(5):
        status = "failure" if number % 2 else "success"
        post(
            store, agent_id, payload(status=status, startTime=f"2026-11-24T0{number}:00:00Z", policyId=str(UUID(int=9)))
        )
    status, _, page = get(http.get_backup_runs, store, str(agent_id), query="status=error&status=ok&limit=2")
    assert (status, page["total"], page["limit"], len(page["runs"])) == (200, 5, 2, 2)
    run = page["runs"][0]
    assert (run["start_time"], run["status"], run["snapshot_id"]) == ("2026-11-24T04:00:00Z", "success", None)
    assert set(run) == {field.name for field in backuplog.BackupRun.__attrs_attrs__} - {"tenant_id"}
    query = f"status=error&status=ok&limit=2&cursor={page['next_cursor']}"
    assert get(http.get_backup_runs, store, None, query=query)[0] == 400  # It is of another query.
    assert [
        item["start_time"][12] for item in get(http.get_backup_runs, store, str(agent_id), query=query)[2]["runs"]
    ] == [
        "2",
        "1",
    ]
    between = "since=2026-11-24T01%3A00%3A00Z&until=2026-11-24T03:00:00%2B00:00&policy_id=" + str(UUID(int=9))
    assert get(http.get_backup_runs, store, None, query=between)[2]["total"] == 2
    assert get(http.get_backup_runs, store, str(uuid4()))[0] == 404


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("limit=0", "limit"),
        ("limit=-1", "limit"),
        ("limit=abc", "limit"),
        ("limit=1001", "limit"),
        ("limit=", "limit"),
        ("limit=1&limit=2", "limit"),
        ("offset=5", "offset"),
        ("status=", "status"),
        ("policy_id=x", "policy_id"),
        ("since=2026", "since"),
        ("cursor=x", "cursor"),
        ("%ff=1", "query"),
        ("status=%ff", "query"),
        ("a b=1", "query"),
        ("&".join(f"status=s{number}" for number in range(101)), "query"),
        ("limit=" + "9" * 5000, "limit"),
    ],
)
def test_what_a_list_cannot_be_asked_is_named(store: backuplog.Store, query: str, path: str) -> None:
    """A parameter that is malformed, empty, unknown or comes twice is refused by name, never ignored."""
    status, _, problem = get(http.get_backup_runs, store, None, query=query)
    assert (status, problem["errors"][0]["path"]) == (400, path)


def test_a_page_has_a_bound_whatever_its_runs_hold(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Long messages are cut and said to be, and a page that would be too long ends before and says where to go on."""
    stats = {"failedItems": ["😀" * 1_024] * 100}
    results = [(agent_id, payload(errorMessage="é" * 65_536, stats=stats)) for _ in range(45)]
    short = payload(errorMessage="x" * 1_024, startTime="2020-01-01T00:00:00Z")
    backuplog.ingest_task_results(store, [*results, (agent_id, short)])
    seen: list[str] = []
    query = "limit=1000"
    while query:
        request = http.Request(query=query)
        response = http.get_backup_runs(store, str(agent_id), request, guard=OPEN)
        _, headers, page = opened(response)
        assert int(headers["Content-Length"]) < 2**23 + 2**20
        assert (page["total"], page["limit"]) == (46, 1000)
        seen += [run["id"] for run in page["runs"]]
        query = page["next_cursor"] and f"limit=1000&cursor={page['next_cursor']}"
        for run in page["runs"][:2]:
            assert (run["error_message"], run["error_message_truncated"]) == ("é" * 1_024, True)
    assert len(seen) == len(set(seen)) == 46
    assert (page["runs"][-1]["id"], "error_message_truncated" in page["runs"][-1]) == (short["taskId"], False)
    assert get(http.get_backup_run, store, str(agent_id), seen[0])[2]["error_message"] == "é" * 65_536


@pytest.mark.parametrize("log", ["", 'short ✓\n\x00\u2028"\\', "ж" * 1_600_000, b"\xff\xfe ok \xd0"], ids=len)
def test_a_run_comes_with_its_log(store: backuplog.Store, agent_id: UUID, payload: Payload, log: str | bytes) -> None:
    """The log is JSON text, of any length, in which what is not UTF-8 is replaced."""
    sent = payload()
    result = backuplog.TaskResult(
        task_id=sent["taskId"], policy_id=sent["policyId"], task_type="backup", status="ok", duration_seconds=1, log=log
    )
    backuplog.ingest_task_result(store, agent_id, result)
    status, _, run = get(http.get_backup_run, store, str(agent_id), sent["taskId"])
    text = log if isinstance(log, str) else log.decode(errors="replace")
    assert (status, run["log"], run["id"]) == (200, text, sent["taskId"])
    brief = get(http.get_backup_run, store, str(agent_id), sent["taskId"], query="log=false")[2]
    assert {**brief, "log": text} == run


def test_a_run_without_a_log_has_none(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """No log is null, another agent's run is not found, and log=maybe is refused."""
    sent = payload()
    backuplog.ingest_task_result(store, agent_id, sent)
    assert get(http.get_backup_run, store, str(agent_id), sent["taskId"])[2]["log"] is None
    other = str(backuplog.register_agent(store, uuid4()).id)
    assert get(http.get_backup_run, store, other, sent["taskId"])[2]["error_type"] == "run_not_found"
    assert get(http.get_backup_run, store, str(agent_id), "x")[0] == 400
    assert get(http.get_backup_run, store, str(agent_id), sent["taskId"], query="log=maybe")[0] == 400
    assert get(http.get_backup_run_log, store, str(agent_id), sent["taskId"])[::2] == (200, b"")


def test_an_expired_log_is_gone(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """The run is shown without its log, and the log itself is 410, whole, in part and by its end."""
    sent = payload(log="old")
    run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
    store.backend.submit([Expire(run_id)])
    status, _, run = get(http.get_backup_run, store, str(agent_id), sent["taskId"])
    assert (status, run["log"], run["log_state"], run["log_bytes"]) == (200, None, "expired", 3)
    for query in ("", "tail=1"):
        status, _, problem = get(http.get_backup_run_log, store, str(agent_id), sent["taskId"], query=query)
        assert (status, problem["error_type"], problem["title"]) == (410, "log_expired", "Gone")


def test_a_log_that_grows_has_no_tag(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Nobody is told that a log is what it was while it grows; a task without a log has a tag until it has one."""
    sent = payload(status="running")
    run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
    ask = partial(get, http.get_backup_run_log, store, str(agent_id), sent["taskId"])
    status, headers, _ = ask()
    assert (status, headers["ETag"]) == (200, '"none"')
    for length in (4, 8):
        store.backend.submit([Append(run_id, b"line")])
        status, headers, log = ask(**{"If-None-Match": '"none"'})
        assert (status, "ETag" in headers, len(log)) == (200, False, length)
        status, _, log = ask(**{"If-Range": '"none"', "Range": "bytes=0-0"})
        assert (status, len(log)) == (200, length)


def test_a_lost_log_is_said_to_be_lost(
    store: Any, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The receipt says so, the run has no log, and its log is not found, with what to do."""
    backend = store.backend
    submit = backend.submit

    def fail(submissions: Any) -> Any:
        if submissions[0].log:
            raise backuplog.StoreError("no room")
        return submit(submissions)

    monkeypatch.setattr(backend, "submit", fail)
    sent = payload(log="log")
    assert post(store, agent_id, sent)[1]["Backuplog-Log-State"] == "lost"
    run = get(http.get_backup_run, store, str(agent_id), sent["taskId"])[2]
    assert (run["log"], run["log_state"], run["log_bytes"]) == (None, "lost", 3)
    for query in ("", "tail=5"):
        status, _, problem = get(http.get_backup_run_log, store, str(agent_id), sent["taskId"], query=query)
        assert (status, problem["error_type"]) == (404, "log_lost")
        assert "send the result again" in problem["detail"]
    with pytest.raises(backuplog.LogLost):
        backuplog.read_log(store, sent["taskId"])


@given(
    st.text("bytes=-0123456789, ", max_size=20) | st.from_regex(r"bytes=\d{0,3}-\d{0,3}", fullmatch=True),
    st.integers(0, 50),
)
def test_a_range_is_inside_or_unsatisfiable(header: str, size: int) -> None:
    """Whatever is asked for, what is given lies within the log."""
    found = parse_range(header, size)
    if found is not None and found[0] < found[1]:
        assert 0 <= found[0] < found[1] <= size


@pytest.fixture
def logged(store: backuplog.Store, agent_id: UUID, payload: Payload) -> tuple[str, str, bytes]:
    """Give an agent's run with a log of 3 MiB, and the log."""
    log = b"".join(b"%07d\n" % number for number in range(400_000))
    sent = payload(log=log.decode())
    backuplog.ingest_task_result(store, agent_id, sent)
    return str(agent_id), sent["taskId"], log


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=3199990-", 3_199_990, 3_200_000),
        ("bytes=-10", 3_199_990, 3_200_000),
        ("bytes=1048570-1048580", 1_048_570, 1_048_581),
        ("bytes=0-99999999", 0, 3_200_000),
        ("bytes=-99999999", 0, 3_200_000),
    ],
)
def test_a_range_is_given(
    store: backuplog.Store, logged: tuple[str, str, bytes], header: str, start: int, stop: int
) -> None:
    """206, and exactly the bytes asked for."""
    status, headers, body = get(http.get_backup_run_log, store, *logged[:2], Range=header)
    assert (status, headers["Content-Range"]) == (206, f"bytes {start}-{stop - 1}/3200000")
    assert body == logged[2][start:stop]


def test_a_log_is_given_whole_in_part_or_not_again(store: backuplog.Store, logged: tuple[str, str, bytes]) -> None:
    """ETag, If-None-Match, If-Range, 416, several ranges and the tail."""
    endpoint, place, log = http.get_backup_run_log, logged[:2], logged[2]
    status, headers, body = get(endpoint, store, *place)
    assert (status, body, headers["Accept-Ranges"], headers["Content-Length"]) == (200, log, "bytes", "3200000")
    tag = headers["ETag"]
    for matching in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        assert get(endpoint, store, *place, If_None_Match=matching)[::2] == (304, b"")
    assert get(endpoint, store, *place, If_None_Match='"x"')[0] == 200
    assert get(endpoint, store, *place, Range="bytes=0-1", If_Range=tag)[0] == 206
    assert get(endpoint, store, *place, Range="bytes=0-1", If_Range='"x"')[::2] == (200, log)
    status, headers, _ = get(endpoint, store, *place, Range="bytes=3200000-")
    assert (status, headers["Content-Range"]) == (416, "bytes */3200000")
    assert get(endpoint, store, *place, Range="bytes=-0")[0] == 416
    assert get(endpoint, store, *place, Range=" Bytes= 0-1 ")[::2] == (206, log[:2])
    for ignored in ("bytes=0-1,5-6", "lines=1-2", "bytes=5-1", "bytes=x", "bytes=1 0-2 0", "bytes =0-1"):
        assert get(endpoint, store, *place, Range=ignored)[::2] == (200, log)
    assert get(endpoint, store, *place, query="tail=2")[2] == b"0399998\n0399999\n"
    for bad in ("tail=0", "tail=x", "tail=100001", "lines=1"):
        assert get(endpoint, store, *place, query=bad)[0] == 400


def test_a_long_last_line_is_given_in_pieces(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A line may be as long as the log, of which only a piece is in memory."""
    sent = payload(log="first\n" + "x" * 3_000_000)
    backuplog.ingest_task_result(store, agent_id, sent)
    request = http.Request(query="tail=1")
    answer = http.get_backup_run_log(store, str(agent_id), sent["taskId"], request, guard=OPEN)
    assert answer.headers["Content-Length"] == "3000000"
    assert not isinstance(answer.body, bytes)
    pieces = list(answer.body)
    assert max(map(len, pieces)) <= 1_048_576
    assert b"".join(pieces) == b"x" * 3_000_000


def test_a_part_of_a_log_that_was_replaced_is_not_given(
    store: backuplog.Store, logged: tuple[str, str, bytes], payload: Payload
) -> None:
    """412 where If-Match names another log than there is, and what it asks for where it names this one."""
    endpoint, place, log = http.get_backup_run_log, logged[:2], logged[2]
    tag = get(endpoint, store, *place)[1]["ETag"]
    for matching in (tag, f'"x", {tag}', "*"):
        assert get(endpoint, store, *place, If_Match=matching, Range="bytes=0-1")[::2] == (206, log[:2])
    assert get(endpoint, store, *place, If_Match=f"W/{tag}")[0] == 412
    run = backuplog.get_run(store, place[1])
    sent = payload(taskId=place[1], policyId=str(run.policy_id), log="new", endTime="2026-12-24T02:00:00Z")
    backuplog.ingest_task_result(store, place[0], sent)
    status, _, problem = get(endpoint, store, *place, If_Match=tag, Range="bytes=0-1")
    assert (status, problem["error_type"]) == (412, "precondition_failed")


def test_the_end_of_a_log_that_is_not_what_it_was_is_held_back(store: Any, logged: tuple[str, str, bytes]) -> None:
    """Whoever counts the bytes sees that some are missing, and no reader ever has all of a wrong log."""
    writer = vars(store.backend)["_connections"]
    writer.write(lambda cursor: cursor.execute("UPDATE backup_runs SET log_sha256 = zeroblob(32)"))
    request = http.Request()
    response = http.get_backup_run_log(store, *logged[:2], request, guard=OPEN)
    pieces = response.pieces()
    received = [next(pieces), next(pieces), next(pieces)]
    with pytest.raises(backuplog.CorruptLog):
        next(pieces)
    assert len(b"".join(received)) == 3 * 2**20 < int(response.headers["Content-Length"]) == len(logged[2])


def test_head_is_get_without_its_body(store: backuplog.Store, logged: tuple[str, str, bytes]) -> None:
    """The same status and headers with the true length, whatever part is asked for."""
    agent, run = logged[:2]
    asked: list[tuple[Callable[..., http.Response], tuple[Any, ...]]] = [
        (http.get_backup_runs, (agent,)),
        (http.get_backup_run, (agent, run)),
        (http.get_backup_run, (agent, str(uuid4()))),
        (http.get_backup_run_log, (agent, run)),
    ]
    for endpoint, place in asked:
        whole = endpoint(store, *place, http.Request(), guard=OPEN)
        length = sum(map(len, whole.pieces()))
        headers = {"Range": "bytes=0-1"}
        head = endpoint(store, *place, http.Request(method="HEAD", headers=headers), guard=OPEN)
        assert (head.status, head.body) == (whole.status, b"")
        assert head.headers == {**whole.headers, "Content-Length": str(length)}


def test_headers_of_one_name_are_one(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Two headers of a name mean what one does whose values are joined, however a framework gives them."""
    body = json.dumps(payload()).encode()
    for headers in (
        [("Content-Length", "5"), ("content-length", f"{len(body)}")],
        {"Content-Length": f"5, {len(body)}"},
    ):
        request = http.Request(headers=headers, body=BytesIO(body))
        assert http.post_task_result(store, str(agent_id), request, guard=OPEN).status == 400
    for length in (f"{len(body):050}", f"{len(body)}"):
        request = http.Request(headers={"Content-Length": length}, body=BytesIO(body))
        assert http.post_task_result(store, str(agent_id), request, guard=OPEN).status == 200
    request = http.Request(headers={"Content-Length": "9" * 50}, body=BytesIO(body))
    assert http.post_task_result(store, str(agent_id), request, guard=OPEN).status == 413


# --- the guard --------------------------------------------------------------------------------------------------


def test_only_the_agents_own_token_lets_it_in(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """No token 401, another agent's 403, a revoked one 401; for writing, for reading, and for all agents' runs."""
    token = backuplog.issue_agent_token(store, agent_id)
    other = backuplog.register_agent(store, uuid4()).id
    sent = payload(log="log")
    guard = http.Guard()

    def ask(token: str | None, agent: object) -> list[int]:
        headers = {} if token is None else {"authorization": f"bearer {token}"}
        request = http.Request(headers=headers, body=json.dumps(sent).encode())
        run = str(agent), sent["taskId"], attrs_without_body(request)
        return [
            http.post_task_result(store, str(agent), request, guard=guard).status,
            http.post_task_results(store, str(agent), request, guard=guard).status,
            http.get_backup_runs(store, str(agent), run[2], guard=guard).status,
            http.get_backup_run(store, *run, guard=guard).status,
            http.get_backup_run_log(store, *run, guard=guard).status,
            http.get_backup_runs(store, None, run[2], guard=guard).status,
        ]

    assert ask(token, agent_id) == [200, 400, 200, 200, 200, 403]
    assert ask(token, other) == [403] * 6
    assert ask(None, agent_id) == ask("x", agent_id) == [401] * 6
    backuplog.revoke_agent_token(store, token)
    assert ask(token, agent_id) == [401] * 6
    assert http.get_backup_runs(store, None, http.Request()).headers["WWW-Authenticate"] == "Bearer"


def attrs_without_body(request: http.Request) -> http.Request:
    """Give a request with the same headers."""
    return http.Request(headers=request.headers)


def test_refusals_before_the_body_is_read_are_told(agent_id: UUID) -> None:
    """Observers hear of tokens, sizes and media that were refused, once each."""
    told: list[Any] = []

    class Notes:
        def delivered(self, delivery: backuplog.IngestEvent) -> None:
            told.append((delivery.agent_id, delivery.error and delivery.error.error_type))

    with backuplog.open_store("sqlite://", observers=[Notes()]) as store:
        http.post_task_result(store, str(agent_id), http.Request())
        post(store, "x", b"{}")
        post(store, agent_id, b"{}", Content_Type="text/plain")
        post(store, agent_id, b"{}")
    assert told == [
        (agent_id, "unauthenticated"),
        (None, "invalid_agent"),
        (agent_id, "unsupported_media"),
        (agent_id, "invalid_task_result"),
    ]
