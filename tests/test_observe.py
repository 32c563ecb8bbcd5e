"""Who is told what became of a result."""

import json
import logging
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn
from uuid import UUID, uuid4

import pytest
import structlog
from pythonjsonlogger.json import JsonFormatter

import backuplog
from backuplog import http

Payload = Callable[..., dict[str, Any]]


class Notes:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        """Begin empty."""
        self.deliveries: list[backuplog.IngestEvent] = []

    def delivered(self, delivery: backuplog.IngestEvent) -> None:
        """Keep it."""
        self.deliveries.append(delivery)


class Fails:
    """An observer that cannot."""

    def delivered(self, delivery: backuplog.IngestEvent) -> None:
        """Fail."""
        raise ZeroDivisionError(delivery)


@pytest.fixture
def notes() -> Notes:
    """Give an observer."""
    return Notes()


@pytest.fixture
def store(notes: Notes) -> Iterator[backuplog.Store]:
    """Give a store with a failing observer before the one that notes."""
    with backuplog.open_store("sqlite://", observers=[Fails(), notes]) as opened:
        yield opened


def test_each_delivery_is_told(store: backuplog.Store, notes: Notes, agent_id: UUID, payload: Payload) -> None:
    """What was stored, replayed and refused is told once each, with what is known of it."""
    sent = payload(log="four", status="ok", taskType="check")
    other = backuplog.register_agent(store, uuid4()).id
    backuplog.ingest_task_result(store, agent_id, sent)
    answers = backuplog.ingest_task_results(
        store, [(agent_id, sent), (agent_id, b"{"), ("x", sent), (uuid4(), payload()), (other, sent)]
    )
    assert len(answers) == 5
    told = [(item.outcome, item.error and item.error.error_type) for item in notes.deliveries]
    assert told == [
        ("created", None),
        ("replayed", None),
        (None, "invalid_task_result"),
        (None, "invalid_task_result"),
        (None, "agent_not_found"),
        (None, "run_conflict"),
    ]
    first, _, malformed, nobody, unknown, _ = notes.deliveries
    assert (first.tenant_id, first.agent_id, first.task_id) == (store.tenant_id, agent_id, UUID(sent["taskId"]))
    assert (first.policy_id, first.task_type, first.status) == (UUID(sent["policyId"]), "check", "success")
    assert (first.duration_seconds, first.log_bytes, first.log_state) == (12.5, 4, "complete")
    assert (malformed.agent_id, malformed.task_id) == (agent_id, None)
    assert nobody.agent_id is None
    assert unknown.task_id is not None
    assert all(item.seconds > 0 for item in notes.deliveries)


def test_an_observer_that_fails_costs_nothing(
    store: backuplog.Store, agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    """What an observer raises is logged; the result is stored."""
    assert backuplog.ingest_task_result(store, agent_id, payload()).outcome == "created"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Fails failed" in caplog.text


def test_views_have_the_observers_of_their_store(
    store: backuplog.Store, notes: Notes, agent_id: UUID, payload: Payload
) -> None:
    """Another tenant's view tells the same observers, and says whose result it was."""
    view = store.for_tenant(uuid4())
    backuplog.register_agent(view, agent_id)
    backuplog.ingest_task_result(view, agent_id, payload())
    assert [item.tenant_id for item in notes.deliveries] == [view.tenant_id]


def test_a_record_names_the_result_and_nothing_secret(
    agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    """Each record has the same fields, and none of them is what the log or the error message says."""
    with backuplog.open_store("sqlite://") as store, caplog.at_level(logging.INFO, logger="backuplog"):
        backuplog.register_agent(store, agent_id)
        backuplog.ingest_task_result(store, agent_id, payload(log="hunter2", errorMessage="hunter2"))
        with pytest.raises(backuplog.InvalidTaskResult):
            backuplog.ingest_task_result(store, agent_id, payload(taskId="hunter2"))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    stored, refused = (vars(record) for record in caplog.records)
    assert (stored["agent_id"], stored["outcome"], stored["log_bytes"]) == (str(agent_id), "created", 7)
    assert (refused["outcome"], refused["error_type"]) == (None, "invalid_task_result")
    assert "$.taskId: must be a UUID" in caplog.text
    assert "hunter2" not in str([vars(record) for record in caplog.records])


def test_an_agents_word_forges_no_line(agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture) -> None:
    """Line ends, escape sequences and turns of direction in a type or status are written as what they are."""
    with backuplog.open_store("sqlite://") as store, caplog.at_level(logging.INFO, logger="backuplog"):
        backuplog.register_agent(store, agent_id)
        sent = payload(taskType="check\nERROR disk failed", status="\x1b[2Jgrün\u2028\u202e\x85!")
        backuplog.ingest_task_result(store, agent_id, sent)
    fields = vars(caplog.records[0])
    assert fields["task_type"] == r"check\u000aERROR disk failed"
    assert fields["status"] == r"\u001b[2jgrün\u2028\u202e\u0085!"


def test_observers_hear_of_what_is_committed_when_the_caller_says_so(
    tmp_path: Path, notes: Notes, agent_id: UUID, payload: Payload
) -> None:
    """With ``after_commit`` nothing is told of a result that is rolled back; what is refused is told at once."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with backuplog.open_store(url, observers=[notes]) as store, closing(sqlite3.connect(store_path(url))) as connection:
        backuplog.register_agent(store, agent_id)
        waiting: list[Callable[[], None]] = []
        bound = store.bound_to(connection, after_commit=waiting.append)
        view = bound.for_tenant(store.tenant_id)
        backuplog.ingest_task_results(bound, [(agent_id, payload()), (agent_id, b"{"), (agent_id, payload())])
        assert [event.outcome for event in notes.deliveries] == [None]
        connection.rollback()
        waiting.clear()
        backuplog.ingest_task_result(view, agent_id, payload(taskType="check"))
        connection.commit()
        assert len(notes.deliveries) == 1
        for tell in waiting:
            tell()
        assert [event.task_type for event in notes.deliveries] == [None, "check"]
        backuplog.ingest_task_result(store.bound_to(connection), agent_id, payload())
        assert len(notes.deliveries) == 3


def test_a_broken_after_commit_costs_nothing(
    tmp_path: Path, notes: Notes, agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    """What raises is logged, and the batch goes on; what cannot be called is refused before anything is written."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"

    def fail(_: Callable[[], None]) -> NoReturn:
        raise RuntimeError("no transaction hook")

    broken: Any = []
    with backuplog.open_store(url, observers=[notes]) as store, closing(sqlite3.connect(store_path(url))) as connection:
        backuplog.register_agent(store, agent_id)
        with pytest.raises(TypeError, match="after_commit must be a function"):
            store.bound_to(connection, after_commit=broken)
        view = store.bound_to(connection, after_commit=fail)
        backuplog.ingest_task_results(view, [(agent_id, payload()) for _ in range(3)])
        connection.commit()
        assert backuplog.query_runs(store).total == 3
        assert (len(notes.deliveries), caplog.text.count("after_commit failed")) == (0, 3)


def store_path(url: str) -> str:
    """Give the path in a URL."""
    return url.removeprefix("sqlite:///")


UNCONFIGURED = """
import logging, sqlite3, sys, uuid
import backuplog
from backuplog import http

observers = [backuplog.LoggingObserver()]
if sys.argv[1] == "configured":
    logging.basicConfig(format="%(levelname)s %(message)s", level=logging.ERROR)
if sys.argv[1] == "child":
    child = logging.getLogger("backuplog.results")
    child.addHandler(logging.StreamHandler())
    child.setLevel(logging.ERROR)
    observers = [backuplog.LoggingObserver(child)]
payload = {"taskId": str(uuid.uuid4()), "policyId": str(uuid.uuid4()), "taskType": "backup", "status": "ok",
           "durationSeconds": 1}
with backuplog.open_store("sqlite:///backups.db", busy_timeout=0.01, retry_timeout=0, observers=observers) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    http.post_task_result(store, str(agent_id), http.Request(body=b"{}"), guard=http.Guard(tokens=False))
    other = sqlite3.connect("backups.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    body = __import__("json").dumps(payload).encode()
    answer = http.post_task_result(store, str(agent_id), http.Request(body=body), guard=http.Guard(tokens=False))
    assert answer.status == 503
    other.close()
"""


@pytest.mark.parametrize("how", ["unconfigured", "configured", "child"])
def test_a_failure_of_the_store_is_seen_once(tmp_path: Path, how: str) -> None:
    """Where nobody has configured logging, standard error has the store's failures, and not what agents can cause."""
    command = [sys.executable, "-c", UNCONFIGURED, how]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    [line] = done.stderr.splitlines()
    assert line.startswith("ERROR A result of agent" if how == "configured" else "A result of agent")
    assert "try again later" in line


def test_a_failure_without_a_logging_observer_is_logged_all_the_same(
    notes: Notes, agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has only observers of their own, or only reads, finds the failure in the log, once for each request."""
    guard = http.Guard(tokens=False)
    batch = http.Request(body=json.dumps([payload(), payload()]).encode())
    heard: list[tuple[list[Any], type[backuplog.StoreError], int]] = [
        ([notes], backuplog.StoreError, 1),
        ([backuplog.LoggingObserver()], backuplog.StoreError, 2),  # once for each result
        ([backuplog.LoggingObserver()], backuplog.TransactionRolledBack, 1),
    ]
    for observers, kind, post_count in heard:

        def fail(*_: object, kind: type[backuplog.StoreError] = kind, **__: object) -> NoReturn:
            raise kind("the disk is full: make room")

        with backuplog.open_store("sqlite://", observers=observers, retry_timeout=0) as store:
            for method in ("submit", "list_runs"):
                monkeypatch.setattr(type(store.backend), method, fail)
            caplog.clear()
            assert http.post_task_results(store, str(agent_id), batch, guard=guard).status == kind.http_status
            assert caplog.text.count("make room") == post_count
            caplog.clear()
            assert http.get_backup_runs(store, None, http.Request(), guard=guard).status == kind.http_status
            assert caplog.text.count("make room") == 1


def test_the_fields_come_through_structlog(
    capsys: pytest.CaptureFixture[str], agent_id: UUID, payload: Payload
) -> None:
    """With structlog's formatter and its extra fields each record is one JSON line with every field."""
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.ExtraAdder(), structlog.stdlib.add_log_level],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logger = logging.getLogger("test_observe")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    observer = backuplog.LoggingObserver(logger)
    with backuplog.open_store("sqlite://", observers=[observer]) as store:
        backuplog.register_agent(store, agent_id)
        backuplog.ingest_task_result(store, agent_id, payload(taskType="prune"))
    logger.removeHandler(handler)
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["task_type"], line["outcome"]) == ("info", "prune", "created")
    assert line["event"] == f"A result of agent {agent_id} was taken in: created"


def test_the_fields_come_through_a_json_formatter(agent_id: UUID, payload: Payload) -> None:
    """A formatter that writes extra fields as JSON, without any configuration, writes all of them."""
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("test_observe_json")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    with backuplog.open_store("sqlite://", observers=[backuplog.LoggingObserver(logger)]) as store:
        backuplog.register_agent(store, agent_id)
        backuplog.ingest_task_result(store, agent_id, payload(status="failure", log="four"))
    line = json.loads(stream.getvalue())
    assert (line["agent_id"], line["status"], line["log_bytes"]) == (str(agent_id), "failed", 4)
    assert line["error_type"] is None
