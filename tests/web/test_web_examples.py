"""What an agent and a UI see of each example, through a real client and a real server."""

import gzip
import hashlib
import http.client
import json
import random
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

import attrs
import httpx
import pytest
from backports import zstd

import backuplog
from web_site import ASYNC, CHUNKED, Site, running

PAYLOADS = Path(__file__).parent.parent / "data" / "payloads"


def result(**fields: object) -> dict[str, Any]:
    """Make a result of a new task."""
    return {
        "taskId": str(uuid4()),
        "policyId": str(uuid4()),
        "taskType": "backup",
        "status": "success",
        "durationSeconds": 1.5,
        **fields,
    }


@pytest.mark.parametrize("path", sorted(PAYLOADS.glob("*.json")), ids=lambda path: path.stem)
def test_real_results_come_back(site: Site, path: Path) -> None:
    """A result of a real agent is taken in twice as once, listed, and its run and log are those that were sent."""
    sent = {**json.loads(path.read_text()), "policyId": str(uuid4()), "taskId": str(uuid4())}
    with site.client() as client:
        for outcome in ("created", "replayed"):
            posted = client.post(f"{site.agent}/task-results", json=sent)
            assert (posted.status_code, posted.json()) == (200, {"status": "ok"})
            assert posted.headers["Backuplog-Outcome"] == outcome
        listed = client.get(f"{site.agent}/backup-runs", params={"policy_id": sent["policyId"]}).json()
        run = client.get(f"{site.agent}/backup-runs/{sent['taskId']}").json()
        log = client.get(f"{site.agent}/backup-runs/{sent['taskId']}/log")
    assert (listed["total"], listed["limit"], listed["next_cursor"]) == (1, 100, None)
    expected = {"success": "success", "failure": "failed"}[sent["status"]]
    assert (run["status"], run["task_type"], run["snapshot_id"]) == (
        expected,
        sent["taskType"],
        sent.get("snapshotId") or {"backup_partial": "e8b605f7"}.get(path.stem),  # which its log tells
    )
    assert run["log"] == sent.get("log")
    assert log.content.decode() == (sent.get("log") or "")
    assert listed["runs"] == [{name: value for name, value in run.items() if name != "log"}]


def test_a_long_log_is_streamed_and_resumed(site: Site) -> None:
    """8 MiB arrive whole in pieces; a broken download goes on where it stopped; an unchanged log is not sent again."""
    log = "".join(f"{number:07d}\n" for number in range(1 << 20))
    sent = result(log=log)
    place = f"{site.agent}/backup-runs/{sent['taskId']}/log"
    with site.client() as client:
        assert client.post(f"{site.agent}/task-results", json=sent).status_code == 200
        with client.stream("GET", place) as whole:
            first = next(whole.iter_raw(100_000))
            tag = whole.headers["ETag"]
            assert whole.headers["Content-Length"] == str(8 << 20)
        rest = client.get(place, headers={"Range": f"bytes={len(first)}-", "If-Range": tag})
        assert (rest.status_code, first + rest.content) == (206, log.encode())
        assert client.get(place).content == log.encode()
        part = client.get(place, headers={"Range": "bytes=1048570-1048585"})
        assert (part.status_code, part.content) == (206, log.encode()[1048570:1048586])
        assert part.headers["Content-Range"] == f"bytes 1048570-1048585/{8 << 20}"
        unchanged = client.get(place, headers={"If-None-Match": tag})
        assert (unchanged.status_code, unchanged.content) == (304, b"")
        assert client.get(place, headers={"Range": f"bytes={8 << 20}-"}).status_code == 416
        assert client.get(place, params={"tail": 2}).content == b"1048574\n1048575\n"
        run = client.get(f"{site.agent}/backup-runs/{sent['taskId']}").json()
        assert run["log"] == log


def test_head_says_what_get_would_and_leaves_nothing_behind(site: Site) -> None:
    """HEAD has GET's status and true length and no body: what follows on the connection is the next answer."""
    sent = result(log="HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 60_000)
    with site.client() as client:
        assert client.post(f"{site.agent}/task-results", json=sent).status_code == 200
    run = f"{site.agent}/backup-runs/{sent['taskId']}"
    connection = http.client.HTTPConnection("127.0.0.1", site.port, timeout=60)
    for path in (f"{site.agent}/backup-runs", run, f"{run}?log=false", f"{run}/log", f"{run}x", f"{run}/log?tail=3"):
        headers = {"Authorization": f"Bearer {site.token}"}
        connection.request("GET", path, headers=headers)
        whole = connection.getresponse()
        length = len(whole.read())
        connection.request("HEAD", path, headers={**headers, "Range": "bytes=0-1"})
        head = connection.getresponse()
        assert (head.status, head.read(), head.headers["Content-Length"]) == (whole.status, b"", f"{length}")
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]
        if connection.sock is not None:  # Else the server has closed it, and said so.
            connection.sock.settimeout(0.2)
            with pytest.raises(TimeoutError):
                connection.sock.recv(1)
            connection.sock.settimeout(60)
    connection.close()


def test_a_damaged_log_breaks_the_connection(site: Site) -> None:
    """Nobody takes the beginning of a log for the whole: its end is missing in a way that a client notices."""
    log = random.Random(7).randbytes(3_000_000)  # noqa: S311 - bytes that cannot be compressed
    sent = result()
    task = backuplog.parse_task_result(sent)
    backuplog.ingest_task_result(site.store, site.agent_id, attrs.evolve(task, log=log))
    with closing(sqlite3.connect(site.database)) as connection, connection:
        changed = connection.execute(
            "UPDATE backup_run_logs SET data = zeroblob(length(data)) WHERE run_id = ? AND byte_offset = 1048576",
            [task.task_id.bytes],
        ).rowcount
    assert changed == 1
    with site.client() as client:
        for path in (f"{sent['taskId']}/log", sent["taskId"]):
            with pytest.raises(httpx.RemoteProtocolError):
                client.get(f"{site.agent}/backup-runs/{path}")
        beginning = client.get(f"{site.agent}/backup-runs/{sent['taskId']}/log", headers={"Range": "bytes=0-999"})
        assert beginning.content == log[:1000]
        part = client.get(f"{site.agent}/backup-runs/{sent['taskId']}/log", headers={"Range": "bytes=1048576-1048999"})
        assert (part.status_code, part.json()["error_type"]) == (500, "corrupt_log")


def test_compressed_bodies_are_taken(site: Site) -> None:
    """Gzip and zstd, also in chunks without a length."""
    with site.client() as client:
        for name, compress in (("gzip", gzip.compress), ("zstd", zstd.compress)):
            for in_chunks in (False, True):
                sent = result(log="x" * 1_000_000)
                body = compress(json.dumps(sent).encode())
                content = (body[start : start + 999] for start in range(0, len(body), 999)) if in_chunks else body
                headers = {"Content-Encoding": name, "Content-Type": "application/json"}
                answer = client.post(f"{site.agent}/task-results", content=content, headers=headers)
                assert answer.status_code == 200, answer.text
                assert backuplog.read_log(site.store, sent["taskId"]) == b"x" * 1_000_000


def test_a_batch_is_answered_item_by_item(site: Site) -> None:
    """Good and bad results in an array and on lines."""
    good, bad = result(log="log"), {"taskId": "x"}
    with site.client() as client:
        answer = client.post(f"{site.agent}/task-results/batch", json=[good, bad])
        assert [item["status"] for item in answer.json()["results"]] == ["ok", "error"]
        lines = "\n".join(json.dumps(one) for one in (bad, good))
        headers = {"Content-Type": "application/x-ndjson"}
        answer = client.post(f"{site.agent}/task-results/batch", content=lines, headers=headers)
        assert [item.get("outcome") for item in answer.json()["results"]] == [None, "replayed"]


def test_who_may_not_is_told_so(site: Site) -> None:
    """No token, a wrong one, another agent's, an unknown run, a bad body: a problem each."""
    other = backuplog.register_agent(site.store, uuid4()).id
    with site.client() as client, site.client(token=backuplog.issue_agent_token(site.store, other)) as stranger:
        post = f"{site.agent}/task-results"
        answers = [
            (httpx.post(f"http://127.0.0.1:{site.port}{post}", json=result()), 401, "unauthenticated"),
            (client.post(post, json=result(), headers={"Authorization": "Bearer x"}), 401, "unauthenticated"),
            (stranger.post(post, json=result()), 403, "forbidden"),
            (stranger.get(f"{site.agent}/backup-runs"), 403, "forbidden"),
            (client.get(f"{site.agent}/backup-runs/{uuid4()}"), 404, "run_not_found"),
            (client.get(f"{site.agent}/backup-runs?offset=5"), 400, "invalid_query"),
            (client.post(post, content=b"{", headers={"Content-Type": "application/json"}), 400, "invalid_task_result"),
            (client.post(post, content=b"{}", headers={"Content-Type": "text/plain"}), 415, "unsupported_media"),
        ]
    for answer, status, error_type in answers:
        assert (answer.status_code, answer.json()["error_type"]) == (status, error_type)
        assert answer.headers["Content-Type"] == "application/problem+json"


def test_what_is_too_large_is_refused(site: Site) -> None:
    """A length over the limit is refused without the body; a bomb is refused before it fills the memory."""
    with site.client() as client:
        bomb = gzip.compress(bytes(200 << 20), 9)
        before = peak(site.process)
        answer = client.post(f"{site.agent}/task-results", content=bomb, headers={"Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["error_type"]) == (413, "payload_too_large")
        assert peak(site.process) - before < 100 << 20
    assert b" 413 " in raw(site, b"Content-Length: 999999999\r\n", b"{")


def test_strangers_are_refused_before_their_bodies_are_taken(site: Site) -> None:
    """Whoever shows no token hears so after 64 KiB of a long body, and what they send takes no memory."""
    if site.name not in ASYNC:
        pytest.skip("waitress takes a body in before it hands it over, and has a limit of its own")
    for token in (b"", b"Authorization: Bearer backuplog_0123456789abcdef_x\r\n"):
        head = f"POST {site.agent}/task-results HTTP/1.1\r\nHost: x\r\n".encode() + token
        for body in (b"Content-Length: 60000000\r\n\r\n" + b"x" * 70_000, CHUNKED + b"20000\r\n" + b"x" * 0x20000):
            with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
                connection.sendall(head + body)
                assert b" 401 " in connection.recv(64)


def test_clients_that_break_off_are_no_errors(site: Site) -> None:
    """An upload that ends early, or is reset, and a download that nobody reads on leave no traceback in the log."""
    sent = result(log="".join(f"{number:07d}\n" for number in range(1 << 18)))
    with site.client() as client:
        assert client.post(f"{site.agent}/task-results", json=sent).status_code == 200
    before = len(site.output.read_text())
    get = site.head_of(b"", f"GET {site.agent}/backup-runs/{sent['taskId']}/log")
    site.break_uploads_off()
    for is_reset in (False, True):
        site.break_off(get, is_reset=is_reset, read=1_000)
    with site.client() as client:  # Whatever they left is done with when this is answered.
        assert client.post(f"{site.agent}/task-results", json=result()).status_code == 200
    assert "Traceback" not in site.output.read_text()[before:]


def test_broken_and_slow_bodies_harm_nobody(site: Site) -> None:
    """Clients that go away or dribble do not keep others from being served, and leave nothing behind."""
    body = json.dumps(result()).encode()
    slow = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(30)]
    for connection in slow:
        connection.sendall(site.head_of(b"Content-Length: %d\r\n" % len(body)) + body[:20])
    with site.client() as client:
        total = client.get(f"{site.agent}/backup-runs").json()["total"]
        assert client.post(f"{site.agent}/task-results", json=result()).status_code == 200
        for connection in slow[:29]:
            connection.close()
        slow[29].sendall(body[20:])
        assert b" 200 " in slow[29].recv(100)
        slow[29].close()
        assert client.get(f"{site.agent}/backup-runs").json()["total"] == total + 2


def test_fifty_clients_at_once_are_all_served(site: Site) -> None:
    """Fifty clients post and read different runs at once."""
    failures: list[object] = []

    def work(number: int) -> None:
        log = f"{number}\n" * (number * 37_123 % 30_000)
        sent = result(log=log)
        with site.client() as client:
            try:
                posted = client.post(f"{site.agent}/task-results", json=sent)
                got = client.get(f"{site.agent}/backup-runs/{sent['taskId']}/log")
                if (posted.status_code, got.text) != (200, log):
                    failures.append((posted.status_code, got.status_code))
            except httpx.HTTPError as error:
                failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


REPORTS = {
    "latest": {},
    "summary": {"group_by": "status"},
    "overdue": {},
    "anomalies": {},
    "search": {"q": "wrong"},
}


def test_reports_are_routed_before_runs(open_site: Site) -> None:
    """Each report is there for an agent and for all, and the run of an agent still is."""
    sent = result(log="Fatal: wrong password\n", status="failure")
    with open_site.client() as client:
        assert client.post(f"{open_site.agent}/task-results", json=sent).status_code == 200
        for place in ("", open_site.agent):
            answers = {name: client.get(f"{place}/backup-runs/{name}", params=query) for name, query in REPORTS.items()}
            assert {name: answer.status_code for name, answer in answers.items()} == dict.fromkeys(REPORTS, 200)
            [latest] = answers["latest"].json()["latest"]
            assert (latest["last_run"]["id"], latest["consecutive_failures"]) == (sent["taskId"], 1)
            assert answers["summary"].json()["groups"][0]["by_status"] == {"failed": 1}
            assert answers["overdue"].json() == {"overdue": [], "total": 0, "limit": 100}
            assert answers["anomalies"].json() == {"anomalies": [], "total": 0, "limit": 100}
            assert [match["line"] for match in answers["search"].json()["matches"]] == ["Fatal: wrong password"]
            for name, query in REPORTS.items():
                head = client.head(f"{place}/backup-runs/{name}", params=query)
                assert (head.status_code, head.content) == (200, b"")
                assert client.post(f"{place}/backup-runs/{name}").status_code == 405
        assert client.get(f"{open_site.agent}/backup-runs/{sent['taskId']}").json()["id"] == sent["taskId"]


def test_no_agent_gets_a_report(site: Site) -> None:
    """An agent's token is enough for none, and no token is none."""
    with site.client() as client:
        for name, query in REPORTS.items():
            for place in ("", site.agent):
                refused = client.get(f"{place}/backup-runs/{name}", params=query)
                assert (refused.status_code, refused.json()["error_type"]) == (403, "forbidden")
                nobody = client.get(f"{place}/backup-runs/{name}", params=query, headers={"Authorization": ""})
                assert nobody.status_code == 401


# --- logs that grow ---------------------------------------------------------------------------------------------


def test_a_log_comes_in_pieces_while_its_task_runs(site: Site) -> None:
    """Pieces in chunks, with a length and compressed are one log, read as it grows and closed by the result."""
    sent = result(status="running")
    log = b"".join(b"%07d\n" % number for number in range(30_000))
    place = f"{site.agent}/backup-runs/{sent['taskId']}/log"
    known = 0
    with site.client() as client:
        assert client.post(f"{site.agent}/task-results", json=sent).status_code == 200
        for number, end in enumerate((50_000, 120_000, 200_000, len(log))):
            piece, headers = log[known:end], {"Content-Range": f"bytes {known}-{end - 1}/*"}
            if number == 2:
                piece, headers = gzip.compress(piece), {"Upload-Offset": f"{known}", "Content-Encoding": "gzip"}
            for in_chunks in (False, True):  # The second comes again, as after an answer that was lost.
                content = (piece[start : start + 9_999] for start in range(0, len(piece), 9_999))
                answer = client.patch(place, content=content if in_chunks else piece, headers=headers)
                assert (answer.status_code, answer.json()) == (200, {"status": "ok", "offset": end})
                assert answer.headers["Upload-Offset"] == f"{end}"
            more = client.get(place, params={"since": known})
            assert (more.content, more.headers["Upload-Offset"]) == (log[known:end], f"{end}")
            assert (more.headers["Retry-After"], more.headers["Backuplog-Final"]) == ("1", "false")
            known = end
        gap = client.patch(place, content=b"x", headers={"Upload-Offset": f"{known + 1}"})
        assert (gap.status_code, gap.json()["expected_offset"]) == (409, known)
        asked = client.patch(place, headers={"Upload-Offset": "0"})
        assert (asked.status_code, asked.headers["Upload-Offset"]) == (200, f"{known}")
        claims = {"logBytes": len(log), "logSha256": hashlib.sha256(log).hexdigest()}
        ended = client.post(f"{site.agent}/task-results", json={**sent, "status": "success", **claims})
        assert (ended.status_code, ended.headers["Backuplog-Log-State"]) == (200, "complete")
        assert client.get(place).content == log
        assert client.get(place, params={"since": known}).headers["Backuplog-Final"] == "true"
        closed = client.patch(place, content=b"x", headers={"Upload-Offset": f"{known}"})
        assert (closed.status_code, closed.json()["error_type"]) == (409, "log_closed")
        refused = client.put(place, content=b"x")
        assert (refused.status_code, {"GET", "PATCH"} <= set(refused.headers["Allow"].split(", "))) == (405, True)


def begin(site: Site) -> tuple[dict[str, Any], str]:
    """Begin a task whose log has a line, and give what its agent sends and the path of its log."""
    sent = result(status="running")
    backuplog.ingest_task_result(site.store, site.agent_id, sent)
    backuplog.append_log(site.store, site.agent_id, sent["taskId"], b"one\n", offset=0)
    return sent, f"{site.agent}/backup-runs/{sent['taskId']}/log"


def test_a_log_is_followed_while_it_grows(site: Site) -> None:
    """Who follows reads the first line while the task runs, then every byte that is added, and ends with the task."""
    if site.name not in ASYNC:
        pytest.skip("a sync server would wait in a thread")
    sent, place = begin(site)
    added = [b"%06d\n" % number * 10_000 for number in range(40)]
    has_begun = threading.Event()

    def work() -> None:
        with site.client() as client:
            offset = 4
            has_begun.wait(60)
            for piece in added:
                answer = client.patch(place, content=piece, headers={"Upload-Offset": f"{offset}"})
                offset = answer.json()["offset"]
            client.post(f"{site.agent}/task-results", json={**sent, "status": "success"})

    agent = threading.Thread(target=work)
    agent.start()
    received: list[bytes] = []
    with site.client() as client:
        with client.stream("GET", f"{place}/follow") as answer:
            assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
            for piece in answer.iter_raw():
                received.append(piece)
                has_begun.set()
        agent.join()
        assert received[0] == b"one\n"
        assert b"".join(received) == b"one\n" + b"".join(added)
        assert client.get(f"{place}/follow", params={"since": 280_000}).content == b"".join(received)[280_000:]
        assert client.head(f"{place}/follow").status_code == 200
        assert client.get(f"{site.agent}/backup-runs/{uuid4()}/log/follow").json()["error_type"] == "run_not_found"
    assert httpx.get(f"http://127.0.0.1:{site.port}{place}/follow").status_code == 401


def test_watchers_that_go_away_leave_nothing_behind(site: Site) -> None:
    """Who stops following, well or badly, is no error, also when the log grows afterwards."""
    if site.name not in ASYNC:
        pytest.skip("a sync server would wait in a thread")
    sent, place = begin(site)
    before = len(site.output.read_text())
    for is_reset in (False, True):
        site.break_off(site.head_of(b"", f"GET {place}/follow"), is_reset=is_reset, read=1_000)
    with site.client() as client:
        assert client.patch(place, content=b"two\n", headers={"Upload-Offset": "4"}).json()["offset"] == 8
        assert client.post(f"{site.agent}/task-results", json={**sent, "status": "success"}).status_code == 200
        assert client.get(f"{place}/follow").content == b"one\ntwo\n"
    assert "Traceback" not in site.output.read_text()[before:]


def test_a_server_that_stops_does_not_wait_for_a_watcher(tmp_path: Path) -> None:
    """Of three watchers, the one that has not gone away is the only one left, and sees that its log is not whole."""
    with running("starlette", f"sqlite:///{tmp_path / 'backups.db'}", tmp_path) as site:
        _, place = begin(site)
        for is_reset in (False, True):
            site.break_off(site.head_of(b"", f"GET {place}/follow"), is_reset=is_reset, read=1_000)
        client = site.client()
        pieces = client.send(client.build_request("GET", f"{place}/follow"), stream=True).iter_raw()
        assert next(pieces) == b"one\n"
    with pytest.raises(httpx.RemoteProtocolError):
        next(pieces)
    client.close()
    output = site.output.read_text()
    assert "Cancel 1 running task(s)" in output
    assert "Traceback" not in output


# --- by hand ----------------------------------------------------------------------------------------------------


def raw(site: Site, headers: bytes, body: bytes) -> bytes:
    """Send a request as it stands, and give the first line of the answer while the body is still owed."""
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as connection:
        connection.sendall(site.head_of(headers) + body)
        return connection.recv(64)


def peak(process: int) -> int:
    """Give the most memory that a process has held, in bytes."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
