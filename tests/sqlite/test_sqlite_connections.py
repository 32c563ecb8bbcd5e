"""The caller's own connection, with any settings; and what the process has registered with sqlite3."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

Payload = Callable[..., dict[str, Any]]


class OddConnection(sqlite3.Connection):
    """A connection whose cursors are another's."""

    def cursor(self, *_: Any) -> Any:
        """Give nothing of use."""
        raise AssertionError("the store makes its own cursors")


def use(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Do a little of everything, and compare what comes back."""
    task = {"taskId": str(uuid4()), "errorMessage": "größer", "stats": {"filesNew": 3, "tool": "büro"}}
    sent = payload(**task, log="prüfe", snapshotId="4bba301e", endTime="2026-11-24T02:00:00Z")
    assert backuplog.get_agent(store, agent_id).hostname == "büro"
    assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "created"
    assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
    assert backuplog.ingest_task_result(store, agent_id, {**sent, "log": "neu: ü"}).outcome == "updated"
    run = backuplog.get_run(store, sent["taskId"])
    assert (run.error_message, run.snapshot_id, run.duration_seconds) == ("größer", "4bba301e", 12.5)
    assert run.stats is not None
    assert run.stats.files_new == 3
    assert backuplog.read_log(store, run.id) == "neu: ü".encode()
    assert backuplog.query_runs(store, backuplog.RunQuery(status=("running", "success"))).runs[0] == run
    assert backuplog.query_runs(store, backuplog.RunQuery(status=("running", "failed"))).total == 0
    assert backuplog.last_successes(store) == [run]
    token = backuplog.issue_agent_token(store, agent_id)
    assert backuplog.verify_agent_token(store, token).agent_id == agent_id


@pytest.mark.parametrize(
    "settings",
    [
        {"text_factory": bytes},
        {"text_factory": lambda text: text.decode("latin-1")},
        {"row_factory": sqlite3.Row},
        {"row_factory": lambda cursor, row: {"columns": len(row), "of": cursor}},
    ],
    ids=["bytes", "latin-1", "Row", "dict"],
)
def test_the_callers_connection_keeps_its_ways(tmp_path: Path, payload: Payload, settings: dict[str, Any]) -> None:
    """How a connection reads text and rows is neither used nor changed."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(f"sqlite:///{path}") as store, closing(sqlite3.connect(path)) as connection:
        agent_id = backuplog.register_agent(store, uuid4(), hostname="büro").id
        for name, value in settings.items():
            setattr(connection, name, value)
        use(store.bound_to(connection), agent_id, payload)
        assert {name: getattr(connection, name) for name in settings} == settings
        connection.commit()
        assert backuplog.query_runs(store).total == 1


@pytest.mark.parametrize("kind", ["TEXT", "BLOB", "INTEGER", "REAL"])
def test_converters_of_the_process_see_nothing_of_ours(
    tmp_path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A converter that somebody registered for a type of our columns changes nothing that is read."""
    monkeypatch.setitem(sqlite3.converters, kind, lambda value: value.decode("latin-1").upper())
    path = tmp_path / "backups.db"
    types = sqlite3.PARSE_DECLTYPES | sqlite3.PARSE_COLNAMES
    with (
        backuplog.open_store(f"sqlite:///{path}") as store,
        closing(sqlite3.connect(path, detect_types=types, factory=OddConnection)) as connection,
    ):
        agent_id = backuplog.register_agent(store, uuid4(), hostname="büro").id
        use(store.bound_to(connection), agent_id, payload)
        connection.commit()
        assert backuplog.query_runs(store).total == 1


def test_an_adapter_for_bool_changes_nothing(monkeypatch: pytest.MonkeyPatch, payload: Payload) -> None:
    """What a process stores of its own booleans is not what is stored of ours."""
    monkeypatch.setitem(sqlite3.adapters, (bool, sqlite3.PrepareProtocol), lambda value: f"{value}")
    with backuplog.open_store("sqlite://") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        for sent, reported in ((payload(), False), (payload(endTime="2026-11-24T02:00:00Z"), True)):
            backuplog.ingest_task_result(store, agent_id, sent)
            stored = store.backend.find_run(UUID(sent["taskId"]))
            assert stored is not None
            assert stored.end_time_reported is reported


@pytest.mark.parametrize("kind", [int, float, str, bytes])
def test_an_adapter_for_a_type_of_ours_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Any]
) -> None:
    """Where sqlite3 would store other values than ours, nothing is stored."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(f"sqlite:///{path}") as store, closing(sqlite3.connect(path)) as connection:
        monkeypatch.setitem(sqlite3.adapters, (kind, sqlite3.PrepareProtocol), repr)
        message = rf"register_adapter\(\) has changed how {kind.__name__} is stored"
        with pytest.raises(backuplog.StoreError, match=message):
            store.bound_to(connection)
        with pytest.raises(backuplog.StoreError, match=message):
            backuplog.open_store(f"sqlite:///{path}")
