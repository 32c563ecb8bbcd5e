"""Reports over HTTP, by calling their functions; tests/web/ goes through sockets."""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import backuplog
from backuplog import Expectation, Store, http
from backuplog.http import openapi
from backuplog.http.limit import RateLimiter

Payload = Callable[..., dict[str, Any]]
OPEN = http.Guard(tokens=False)
DOCUMENT = openapi.document()
OVERDUE = partial(http.get_overdue_runs, expectations=())
REPORTS: dict[str, tuple[http.Endpoint, str]] = {
    "latest": (http.get_latest_runs, ""),
    "summary": (http.get_run_summary, "group_by=status"),
    "overdue": (OVERDUE, ""),
    "anomalies": (http.get_anomalies, ""),
    "search": (http.get_log_matches, "q=x"),
}
ALL = pytest.mark.parametrize("name", REPORTS)


def ask(
    store: Store, name: str, query: str = "", *, agent: object = None, status: int = 200, **options: Any
) -> dict[str, Any]:
    """Ask for a report, and give what it says, which is as the OpenAPI document says."""
    endpoint, needed = REPORTS[name]
    query = "&".join(filter(None, (query, "" if needed.partition("=")[0] + "=" in query else needed)))
    place = None if agent is None else str(agent)
    response = endpoint(store, place, http.Request(query=query), **{"guard": OPEN, **options})
    assert isinstance(response.body, bytes)
    document: dict[str, Any] = json.loads(response.body)
    assert response.status == status, document
    assert response.headers["Cache-Control"] == "private, no-store"
    assert response.headers["Content-Length"] == str(len(response.body))
    assert len(response.body) <= 8_400_000
    path = f"{'' if agent is None else '/agents/{agent_id}'}/backup-runs/{name}"
    [content] = DOCUMENT["paths"][path]["get"]["responses"][str(status)]["content"].values()
    Draft202012Validator({**content["schema"], "components": DOCUMENT["components"]}).validate(document)
    return document


def problems(store: Store, name: str, query: str, **options: Any) -> dict[str, str]:
    """Ask for a report that is refused, and give what is wrong with each field."""
    document = ask(store, name, query, status=400, **options)
    assert document["error_type"] == "invalid_query"
    return {error["path"]: error["message"] for error in document["errors"]}


@pytest.fixture
def take(store: Store, agent_id: UUID, payload: Payload) -> Callable[..., dict[str, Any]]:
    """Give a function that takes in a result of a day in 2020, counted from 0, and gives what was sent."""

    def taken(day: int = 0, *, agent: UUID = agent_id, **fields: object) -> dict[str, Any]:
        start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day)
        times = {"startTime": start.isoformat(), "endTime": (start + timedelta(seconds=12.5)).isoformat()}
        sent = payload(**{**times, **fields})
        backuplog.ingest_task_result(store, agent, sent)
        return sent

    return taken


Take = Callable[..., dict[str, Any]]

# --- what all of them have in common ------------------------------------------------------------------------------


@ALL
def test_who_may_not_is_told_so(store: Store, agent_id: UUID, name: str) -> None:
    """Reports cost more than an agent may ask for: its token is enough for none, not even for its own."""
    endpoint, query = REPORTS[name]
    token = backuplog.issue_agent_token(store, agent_id)
    known = {"authorization": f"Bearer {token}"}
    for headers, status in ((known, 403), ({}, 401), ({"authorization": "Bearer backuplog_x"}, 401)):
        for place in (None, str(agent_id), str(uuid4())):
            assert endpoint(store, place, http.Request(headers=headers, query=query)).status == status


@ALL
def test_an_agent_that_asks_too_often_is_told_so(store: Store, agent_id: UUID, name: str) -> None:
    """A limiter counts reports as it counts lists."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("1/minute"))
    ask(store, name, agent=agent_id, guard=guard)
    assert ask(store, name, agent=agent_id, status=429, guard=guard)["error_type"] == "rate_limited"


@ALL
def test_unknown_agents_and_tenants(store: Store, agent_id: UUID, take: Take, name: str) -> None:
    """404 for an agent that is not known, 400 for one that cannot be, and another tenant sees nothing."""
    take(log="x\n")
    assert ask(store, name, agent=uuid4(), status=404)["error_type"] == "agent_not_found"
    [error] = ask(store, name, agent="x", status=400)["errors"]
    assert error["path"] == "agent_id"
    elsewhere = store.for_tenant(uuid4())
    assert ask(elsewhere, name, agent=agent_id, status=404)["error_type"] == "agent_not_found"
    report = ask(elsewhere, name)
    assert next(iter(report.values())) == []


@ALL
def test_what_is_not_known_is_refused_by_name(store: Store, name: str) -> None:
    """Parameters that are unknown, empty or repeated; a limit out of its range; all that is wrong at once."""
    assert problems(store, name, "offset=5") == {"offset": "is not known here"}
    assert problems(store, name, "expectations=x") == {"expectations": "is not known here"}
    assert problems(store, name, "agent_id=x") == {"agent_id": "is not known here"}
    assert problems(store, name, "limit=") == {"limit": "must not be empty"}
    assert problems(store, name, "limit=1&limit=1") == {"limit": "must come once"}
    for limit in ("0", "1001", "-1", "x", "1.5", "%D9%A1", "9" * 5000):
        assert set(problems(store, name, f"limit={limit}")) == {"limit"}
    if name != "overdue":
        assert set(problems(store, name, "policy_id=x&since=2020&limit=0")) == {"policy_id", "since", "limit"}


@ALL
def test_head_says_what_get_would(store: Store, take: Take, name: str) -> None:
    """HEAD has GET's headers and no body."""
    take(log="x\n", status="failure")  # An age would differ between the two.
    endpoint, query = REPORTS[name]
    whole, head = (
        endpoint(store, None, http.Request(method=method, query=query), guard=OPEN) for method in ("GET", "HEAD")
    )
    assert (head.status, head.headers, head.body) == (200, whole.headers, b"")


@ALL
def test_a_store_that_fails_is_a_problem(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 with Retry-After where the database does not answer, and none of its words."""

    def fail(*_arguments: object, **_keywords: object) -> Any:
        raise backuplog.StoreUnavailable("secret-host does not answer")

    with backuplog.open_store("sqlite://", retry_timeout=0) as broken:
        for method in ("list_newest", "summarize_runs", "list_runs"):
            monkeypatch.setattr(broken.backend, method, fail)
        endpoint, query = REPORTS[name]
        response = endpoint(broken, None, http.Request(query=query), guard=OPEN)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert b"secret" not in b"".join(response.pieces())


@ALL
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    query=st.lists(
        st.tuples(
            st.sampled_from(
                ["q", "group_by", "cursor", "threshold", "minimum_runs", "status", "since", "limit", "task_type"]
            ),
            st.text(max_size=5)
            | st.sampled_from(["AAAA", "..", "a.b.c", "nan", "inf", "1e999", "2020-01-01T00:00:00Z"]),
        )
    )
)
def test_no_query_breaks_it(store: Store, name: str, query: list[tuple[str, str]]) -> None:
    """Whatever is asked for, the answer is the report or says what is wrong."""
    endpoint, _ = REPORTS[name]
    response = endpoint(store, None, http.Request(query=urlencode(query)), guard=OPEN)
    assert response.status in (200, 400)


# --- the latest runs ----------------------------------------------------------------------------------------------


def test_the_latest_runs_are_those_of_the_report(store: Store, agent_id: UUID, take: Take) -> None:
    """Last run, last success, age and failures of each policy, as latest_runs says, by agent and by filter."""
    policy = str(uuid4())
    success = take(0, policyId=policy)
    failed = take(1, policyId=policy, status="failure", errorMessage="no space")
    take(2, policyId=policy, taskType="check")
    other = backuplog.register_agent(store, uuid4()).id
    take(3, agent=other)
    report = ask(store, "latest")
    assert (report["total"], report["limit"], report["next_cursor"]) == (3, 100, None)
    [backup] = ask(store, "latest", f"policy_id={policy}&task_type=backup")["latest"]
    assert (backup["agent_id"], backup["policy_id"], backup["task_type"]) == (str(agent_id), policy, "backup")
    assert (backup["last_run"]["id"], backup["last_run"]["status"]) == (failed["taskId"], "failed")
    assert backup["last_success"]["id"] == backup["last_reported"]["id"] == success["taskId"]
    assert backup["consecutive_failures"] == 1
    assert backup["age_seconds"] > 86_400
    assert [each["agent_id"] for each in ask(store, "latest", agent=other)["latest"]] == [str(other)]
    [late] = ask(store, "latest", "since=2020-01-02T00:00:00Z&until=2020-01-03T00:00:00Z")["latest"]
    assert (late["last_success"], late["last_reported"], late["age_seconds"]) == (None, None, None)
    for refused in ("status=failed", "snapshot_id=x"):
        assert list(problems(store, "latest", refused).values()) == ["is not known here"]


def walk(store: Store, name: str, query: str, entries: str) -> Iterator[dict[str, Any]]:
    """Give all entries of a report, page by page."""
    cursor = ""
    while True:
        page = ask(store, name, query + cursor)
        yield from page[entries]
        if page["next_cursor"] is None:
            return
        assert len(page[entries]) == page["limit"]
        cursor = f"&cursor={page['next_cursor']}"


def test_pages_show_everything_once(store: Store, take: Take) -> None:
    """Pages of two, or of as many as there are, come to the same as one page."""
    for number in range(7):
        take(number, taskType=f"type {number % 3} \u00e9\u4e2d")
    for name, entries, query in (("latest", "latest", ""), ("summary", "groups", "group_by=policy")):
        whole = ask(store, name, query)[entries]
        ages = [entry.pop("age_seconds", None) for entry in whole]
        assert len(ages) == 7
        for limit in (2, 6, 7):
            found = list(walk(store, name, f"{query}&limit={limit}".strip("&"), entries))
            for entry in found:
                entry.pop("age_seconds", None)
            assert found == whole


def test_a_cursor_belongs_to_its_query(store: Store, take: Take) -> None:
    """One of other filters, of another report or of nothing is refused."""
    for number in range(3):
        take(number)
    cursor = ask(store, "latest", "limit=1")["next_cursor"]
    assert ask(store, "latest", f"limit=3&cursor={cursor}")["next_cursor"] is None  # another limit does not matter
    mismatch = "is of a query with other filters: begin again without it"
    assert problems(store, "latest", f"task_type=backup&cursor={cursor}") == {"cursor": mismatch}
    assert problems(store, "summary", f"group_by=policy&cursor={cursor}") == {"cursor": mismatch}
    for bad in ("%21", "A", "AAAA_%C3%A9", "_____w", "=", "AAAAAAAA.."):
        assert set(problems(store, "latest", f"cursor={bad}")) == {"cursor"}


def test_long_reports_end_before_they_are_too_long(store: Store, take: Take) -> None:
    """Error messages are cut as in a list, and a page of the longest runs ends at 8 MiB and says where to go on."""
    names = ["\x01" * 1_024] * 100  # which JSON writes as six bytes each
    for number in range(16):
        take(number, status="warning", errorMessage="x" * 65_536, stats={"failedItems": names})
    page = ask(store, "latest")
    assert 0 < len(page["latest"]) < 16
    shown = page["latest"][0]["last_run"]
    assert (len(shown["error_message"]), shown["error_message_truncated"]) == (1_024, True)
    seen, cursor = len(page["latest"]), page["next_cursor"]
    while cursor:
        page = ask(store, "latest", f"cursor={cursor}")
        seen, cursor = seen + len(page["latest"]), page["next_cursor"]
    assert seen == 16


# --- the summary --------------------------------------------------------------------------------------------------


def test_a_summary_adds_up_what_is_asked_for(store: Store, agent_id: UUID, take: Take) -> None:
    """Groups by day with the statuses, and filters as in a list of runs."""
    stats = {"dataAdded": 5, "totalBytesProcessed": 100}
    take(0, stats=stats, log="12345")
    take(0, status="failure")
    take(1, stats=stats)
    other = backuplog.register_agent(store, uuid4()).id
    take(2, agent=other, status="running", endTime=None)
    first, second, third = ask(store, "summary", "group_by=day")["groups"]
    assert first == {
        "key": "2020-01-01",
        "runs": 2,
        "by_status": {"failed": 1, "success": 1},
        "success_rate": 0.5,
        "duration_seconds": 25.0,
        "data_added": 5,
        "total_bytes_processed": 100,
        "log_bytes": 5,
    }
    assert (second["key"], second["success_rate"]) == ("2020-01-02", 1)
    assert (third["by_status"], third["success_rate"], third["data_added"]) == ({"running": 1}, None, None)
    [week] = ask(store, "summary", "group_by=week&status=success&status=failed")["groups"]
    assert (week["key"], week["runs"]) == ("2019-12-30", 3)
    [of_agent] = ask(store, "summary", "group_by=agent", agent=agent_id)["groups"]
    assert (of_agent["key"], of_agent["runs"]) == (str(agent_id), 3)
    assert ask(store, "summary", "group_by=day&since=2020-01-02T00:00:00Z&until=2020-01-03T00:00:00Z")["total"] == 1


def test_a_summary_needs_a_group(store: Store) -> None:
    """Without one, or with one that is not known, it says which there are, beside what else is wrong."""
    message = "must be one of agent, policy, task_type, status, day, week"
    response = http.get_run_summary(store, None, http.Request(), guard=OPEN)
    assert isinstance(response.body, bytes)
    assert json.loads(response.body)["errors"] == [{"path": "group_by", "message": message}]
    found = problems(store, "summary", "group_by=month&since=x")
    assert (found["group_by"], set(found)) == (message, {"group_by", "since"})


def test_statuses_that_an_agent_invents_do_not_fill_the_answer(store: Store, take: Take) -> None:
    """Of a group's statuses the most frequent are shown, and all are counted."""
    for number in range(60):
        take(0, status=f"odd {number}")
    for _ in range(2):
        take(0)
    [group] = ask(store, "summary", "group_by=day")["groups"]
    assert (group["runs"], len(group["by_status"]), group["by_status"]["success"]) == (62, 50, 2)


# --- what is overdue ----------------------------------------------------------------------------------------------


def overdue(store: Store, expectations: Any, query: str = "", **options: Any) -> dict[str, Any]:
    """Ask what is overdue of what is expected."""
    return ask(store, "overdue", query, expectations=expectations, **options)


def test_what_is_overdue_is_listed_worst_first(store: Store, agent_id: UUID, take: Take) -> None:
    """Expectations come from whoever serves, as they are or from a function that each request calls."""
    run = take(0)
    late = Expectation(policy_id=run["policyId"], interval=timedelta(days=1), grace=timedelta(hours=2))
    met = attrs.evolve(late, interval=timedelta(days=100_000))
    never = Expectation(policy_id=uuid4(), agent_id=agent_id, cron="30 2 * * *", time_zone="Europe/Berlin")
    report = overdue(store, [met, late, never])
    assert (report["total"], report["limit"]) == (2, 100)
    first, second = report["overdue"]
    assert first == {
        "expectation": {
            "policy_id": str(never.policy_id),
            "agent_id": str(agent_id),
            "task_type": "backup",
            "interval_seconds": None,
            "cron": "30 2 * * *",
            "time_zone": "Europe/Berlin",
            "grace_seconds": 0,
            "since": None,
        },
        "last_reported": None,
        "expected_at": None,
        "due_at": None,
        "late_seconds": None,
        "is_running": False,
    }
    assert (second["expectation"]["interval_seconds"], second["expectation"]["grace_seconds"]) == (86_400, 7_200)
    assert (second["expected_at"], second["due_at"]) == ("2020-01-02T00:00:12.500000Z", "2020-01-02T02:00:12.500000Z")
    assert second["last_reported"]["id"] == run["taskId"]
    assert second["late_seconds"] > 0
    one = overdue(store, lambda: iter([late, never]), "limit=1")
    assert (one["total"], one["overdue"]) == (2, [first])
    [of_agent] = overdue(store, [late, never], agent=agent_id)["overdue"]
    assert of_agent == first
    assert overdue(store, [])["overdue"] == []


def test_expectations_that_cannot_be_read_are_no_fault_of_the_client(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """500 without a word of them, and the operator's log says what is wrong."""
    expected: Callable[[], Any] = lambda: [Expectation(policy_id="x", interval=timedelta(days=1))]  # noqa: E731
    document = overdue(store, expected, status=500)
    assert (document["error_type"], "policy_id" in json.dumps(document)) == ("store_error", False)
    assert "policy_id" in caplog.text
    with pytest.raises(KeyError):
        overdue(store, lambda: {}["bug"])


# --- what is unusual ----------------------------------------------------------------------------------------------


def test_anomalies_are_those_of_the_report(store: Store, agent_id: UUID, take: Take) -> None:
    """A run that took a hundred times as long is found, by the threshold and the number of runs that are asked for."""
    policy = str(uuid4())
    for day in range(5):
        take(day, policyId=policy)
    odd = take(5, policyId=policy, durationSeconds=1250.0)
    assert ask(store, "anomalies")["anomalies"] == []
    query = f"minimum_runs=5&policy_id={policy}"
    for agent in (None, agent_id):
        report = ask(store, "anomalies", query, agent=agent)
        [anomaly] = report["anomalies"]
        assert (report["total"], anomaly["run"]["id"], anomaly["figure"]) == (1, odd["taskId"], "duration_seconds")
        assert (anomaly["value"], anomaly["median"], anomaly["compared"]) == (1250, 12.5, 5)
    assert ask(store, "anomalies", f"{query}&threshold=999999.5")["anomalies"] == []
    assert ask(store, "anomalies", f"{query}&until=2020-01-06T00:00:00Z")["anomalies"] == []


def test_numbers_out_of_range_are_refused(store: Store) -> None:
    """Each is named, with what it may be."""
    for threshold in ("0", "-1", "nan", "inf", "1e999", "x", "1_0", "%D9%A1", "9" * 5000):
        found = problems(store, "anomalies", f"threshold={threshold}&minimum_runs=2")
        assert found == {
            "threshold": "must be a number of more than 0, and at most 1,000,000",
            "minimum_runs": "must be a whole number from 3 to 30",
        }
    assert set(problems(store, "anomalies", "minimum_runs=31&limit=x")) == {"minimum_runs", "limit"}


# --- searching ----------------------------------------------------------------------------------------------------


def test_a_search_gives_lines_with_their_runs(store: Store, agent_id: UUID, take: Take) -> None:
    """Matches with line, place, run and context, filters as in a list of runs, and how far it came."""
    sent = take(0, log="one\nFatal: wrong password\nthree\n", status="failure")
    take(1, log="fatal: wrong\n", taskType="check")
    report = ask(store, "search", "q=Fatal%3A+wrong&context_lines=1")
    [match] = report.pop("matches")
    assert match == {
        "run_id": sent["taskId"],
        "agent_id": str(agent_id),
        "policy_id": sent["policyId"],
        "task_type": "backup",
        "status": "failed",
        "start_time": "2020-01-01T00:00:00Z",
        "line_number": 2,
        "offset": 4,
        "size": 12,
        "line": "Fatal: wrong password",
        "line_offset": 4,
        "before": ["one"],
        "after": ["three"],
    }
    assert report == {
        "runs_done": 2,
        "bytes_read": 45,
        "searched_back_to": "2020-01-01T00:00:00Z",
        "damaged": [],
        "replaced": [],
        "stopped_by": None,
        "next_cursor": None,
    }
    for agent in (None, agent_id):
        assert len(ask(store, "search", "q=FATAL&ignore_case=true", agent=agent)["matches"]) == 2
    assert ask(store, "search", "q=FATAL&ignore_case=false")["matches"] == []
    assert len(ask(store, "search", "q=wrong&status=failed&status=warning")["matches"]) == 1
    assert len(ask(store, "search", "q=wrong&task_type=check")["matches"]) == 1
    assert ask(store, "search", "q=wr.ng")["matches"] == []  # text, and no pattern


def test_what_cannot_be_searched_for_is_refused(store: Store) -> None:
    """A text that is missing, too long or of several lines; flags and numbers that are none; all at once."""
    response = http.get_log_matches(store, None, http.Request(query="context_lines=17&ignore_case=1"), guard=OPEN)
    assert isinstance(response.body, bytes)
    assert {error["path"]: error["message"] for error in json.loads(response.body)["errors"]} == {
        "q": "is required: the text to find",
        "context_lines": "must be a whole number from 0 to 16",
        "ignore_case": "must be true or false",
    }
    assert problems(store, "search", f"q={'x' * 257}") == {"q": "must be at most 256 characters"}
    assert set(problems(store, "search", "q=a%0Ab&max_bytes=1")) == {"max_bytes"}
    assert set(problems(store, "search", "q=a%0Ab")) == {"q"}
    for surrogate in ("\ud800", "%ED%A0%80"):
        assert set(problems(store, "search", f"q={surrogate}")) == {"query"}
    assert ask(store, "search", f"q={'%F1%8C%B0%80' * 256}")["matches"] == []


def test_a_search_goes_on_where_a_limit_ended_it(store: Store, take: Take) -> None:
    """Whatever ends it, the pages come to all lines, each once."""
    for day in range(3):
        take(day, log="".join(f"{day} {line} hit\n" for line in range(5)))
    limits: dict[str, dict[str, Any]] = {
        "matches": {"max_matches": 2},
        "bytes": {"max_bytes": 1},
        "seconds": {"max_seconds": 0},
    }
    expected = [f"{day} {line} hit" for day in (2, 1, 0) for line in range(5)]
    for stopped_by, options in limits.items():
        lines, cursor, pages = list[str](), "", 0
        while True:
            report = ask(store, "search", f"q=hit&limit=1000{cursor}", **options)
            pages += 1
            lines += [match["line"] for match in report["matches"]]
            assert report["stopped_by"] == (stopped_by if report["next_cursor"] else None)
            if report["next_cursor"] is None:
                break
            cursor = f"&cursor={report['next_cursor']}"
        assert lines == expected
        assert pages >= 3
    page = ask(store, "search", "q=hit&limit=4")
    assert (len(page["matches"]), page["stopped_by"]) == (4, "matches")
    assert set(problems(store, "search", f"q=hit&status=failed&cursor={page['next_cursor']}")) == {"cursor"}
    assert set(problems(store, "search", f"q=other&cursor={page['next_cursor']}")) == {"cursor"}


def test_the_most_matches_are_100_unless_whoever_serves_says_more(store: Store, take: Take) -> None:
    """A client's limit makes an answer shorter and never longer."""
    take(log="hit\n" * 300)
    assert len(ask(store, "search", "q=hit&limit=1000")["matches"]) == 100
    assert len(ask(store, "search", "q=hit&limit=200", max_matches=150)["matches"]) == 150


def test_hostile_lines_end_an_answer_at_8_mib(store: Store, agent_id: UUID, payload: Payload) -> None:
    """Lines of control characters, which JSON makes six times as long, and bytes that are no text, are bounded."""
    log = (b"x" + b"\x01" * 1_023 + b"\n") * 200 + b"x\xff</script>\n"
    task = attrs.evolve(backuplog.parse_task_result(payload()), log=log)
    backuplog.ingest_task_result(store, agent_id, task)
    lines, cursor, stops = 0, "", list[str | None]()
    while True:
        report = ask(store, "search", f"q=x&limit=1000&context_lines=16{cursor}", max_matches=1_000)
        lines += len(report["matches"])
        stops.append(report["stopped_by"])
        if report["next_cursor"] is None:
            break
        cursor = f"&cursor={report['next_cursor']}"
    assert (lines, stops) == (201, ["size"] * (len(stops) - 1) + [None])
    assert len(stops) > 1
    assert report["matches"][-1]["line"] == "x\ufffd</script>"


def test_a_search_passes_over_damaged_logs(store: Any, take: Take) -> None:
    """What is damaged is named, and the others are searched."""
    damaged, whole = take(1, log="hit\n"), take(0, log="hit\n")
    run_id = UUID(damaged["taskId"]).bytes
    statement = "UPDATE backup_run_logs SET data = zeroblob(4) WHERE run_id = ?"
    vars(store.backend)["_connections"].write(lambda cursor: cursor.execute(statement, [run_id]))
    report = ask(store, "search", "q=hit")
    assert [match["run_id"] for match in report["matches"]] == [whole["taskId"]]
    assert (report["damaged"], report["runs_done"]) == ([damaged["taskId"]], 2)
