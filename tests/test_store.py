"""The store that people hold: what could not be done just then is tried again, for a time."""

import functools
import logging
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

Payload = Callable[..., dict[str, Any]]


class Faulty:
    """A backend whose next calls fail, before or after they have done their work."""

    def __init__(self, backend: Any) -> None:
        """Take the backend that works."""
        self.backend = backend
        self.failures: list[Exception] = []
        self.calls = 0
        self.works_first = False
        self.only = ""

    def __getattr__(self, name: str) -> Any:
        """Give a method that fails while failures are left."""
        method = getattr(self.backend, name)
        if not callable(method) or name == "close" or self.only not in ("", name):
            return method

        @functools.wraps(method)
        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.failures and self.works_first:
                method(*arguments, **keywords)
            if self.failures:
                raise self.failures.pop(0)
            return method(*arguments, **keywords)

        return call


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the pauses between attempts, which take no time but on the clock."""
    taken: list[float] = []
    monkeypatch.setattr("time.sleep", taken.append)
    monkeypatch.setattr("time.monotonic", lambda: 100.0 + sum(taken))
    return taken


@pytest.fixture
def faulty(store: backuplog.Store) -> Faulty:
    """Give a faulty backend."""
    return Faulty(store.backend)


@pytest.fixture
def shaky(faulty: Any, pauses: list[float]) -> backuplog.Store:  # noqa: ARG001 - nobody waits here
    """Give a store on the faulty backend."""
    return backuplog.Store(faulty)


VERBS: list[Callable[[Any, UUID, dict[str, Any]], object]] = [
    lambda store, agent_id, _: backuplog.register_agent(store, agent_id),
    lambda store, agent_id, _: backuplog.get_agent(store, agent_id),
    backuplog.ingest_task_result,
    lambda store, agent_id, sent: backuplog.ingest_task_results(store, [(agent_id, sent)]),
    lambda store, agent_id, _: backuplog.query_runs(store, backuplog.RunQuery(agent_id=agent_id)),
    lambda store, _, sent: backuplog.get_run(store, sent["taskId"]),
    lambda store, _, sent: backuplog.read_log(store, sent["taskId"]),
    lambda store, _, sent: list(backuplog.iter_log(store, sent["taskId"])),
]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_tries_again(
    shaky: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty, verb: Any
) -> None:
    """A verb that finds the store unavailable gives in the end what it would have given at once."""
    sent = payload(log="log")
    backuplog.ingest_task_result(shaky, agent_id, sent)
    expected = verb(shaky, agent_id, sent)
    for failures in (1, 3):
        faulty.failures = [backuplog.StoreUnavailable() for _ in range(failures)]
        assert verb(shaky, agent_id, sent) == expected
        assert faulty.failures == []


def test_an_answer_that_was_lost_ends_as_replayed(
    shaky: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty
) -> None:
    """A result whose commit was done, but whose answer never came, is not stored twice."""
    faulty.failures, faulty.works_first = [backuplog.StoreUnavailable()], True
    assert backuplog.ingest_task_result(shaky, agent_id, payload()).outcome == "replayed"
    assert backuplog.query_runs(shaky).total == 1


def test_tokens_whose_answers_were_lost_are_issued_and_revoked(
    shaky: backuplog.Store, agent_id: UUID, faulty: Faulty
) -> None:
    """A token whose storing was done is valid, and one whose removal was done counts as revoked."""
    faulty.works_first = True
    faulty.only = "add_token"
    faulty.failures = [backuplog.StoreUnavailable()]
    token = backuplog.issue_agent_token(shaky, agent_id)
    assert faulty.failures == []
    assert backuplog.verify_agent_token(shaky, token).agent_id == agent_id
    faulty.only = "remove_token"
    faulty.failures = [backuplog.StoreUnavailable()]
    assert backuplog.revoke_agent_token(shaky, token)
    assert faulty.failures == []
    assert not backuplog.revoke_agent_token(shaky, token)


def test_it_gives_up(shaky: backuplog.Store, agent_id: UUID, faulty: Faulty, pauses: list[float]) -> None:
    """A store that stays unavailable for the whole budget is reported, a second after its end at most."""
    faulty.failures = [backuplog.StoreUnavailable() for _ in range(10_000)]
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(shaky, agent_id)
    assert faulty.calls == len(pauses) + 2
    assert max(pauses) <= 1
    assert 30 <= sum(pauses) < 31


def test_what_is_tried_again_is_logged(
    shaky: backuplog.Store,
    agent_id: UUID,
    faulty: Faulty,
    pauses: list[float],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Each retry is a warning of the logger backuplog, with the operation and the pause, and nothing is printed."""
    faulty.failures = [backuplog.StoreUnavailable("it sleeps") for _ in range(3)]
    with caplog.at_level(logging.WARNING, "backuplog"):
        backuplog.get_agent(shaky, agent_id)
    waited = [0.0, *pauses]
    assert [record.getMessage() for record in caplog.records] == [
        f"list_agents is retried in {pause:.2f} s: it sleeps" for pause in waited
    ]
    assert {record.name for record in caplog.records} == {"backuplog"}
    assert [(vars(record)["operation"], vars(record)["pause_seconds"]) for record in caplog.records] == [
        ("list_agents", pause) for pause in waited
    ]
    assert capfd.readouterr() == ("", "")


def test_a_budget_is_checked_before_anything_is_opened(tmp_path: Path) -> None:
    """A store that cannot be made leaves no file behind."""
    with pytest.raises(backuplog.StoreError, match="retry_timeout"):
        backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}", retry_timeout=-1)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seconds", [-1, float("nan"), "30", True, None])
def test_a_budget_that_is_no_number_of_seconds_is_refused(seconds: Any) -> None:
    """What would fail only during an outage fails at once."""
    with pytest.raises(backuplog.StoreError, match=r"retry_timeout must be a (finite )?number of seconds"):
        backuplog.open_store("sqlite://", retry_timeout=seconds)


@pytest.mark.parametrize("error", [backuplog.StoreError, backuplog.SchemaOutdated, ZeroDivisionError])
def test_what_does_not_pass_is_not_tried_again(
    shaky: backuplog.Store, agent_id: UUID, faulty: Faulty, error: type[Exception]
) -> None:
    """Only what may pass by itself is waited for."""
    faulty.failures = [error()]
    with pytest.raises(error):
        backuplog.get_agent(shaky, agent_id)
    assert faulty.calls == 1


def test_a_replaced_log_is_not_tried_again_piece_by_piece(
    shaky: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty
) -> None:
    """An iterator over a log that was replaced says so at once: to begin again is the reader's to decide."""
    sent = payload(log=b"a" * 2_000_000)
    backuplog.ingest_task_result(shaky, agent_id, sent)
    pieces = backuplog.iter_log(shaky, sent["taskId"])
    next(pieces)
    backuplog.ingest_task_result(shaky, agent_id, {**sent, "log": "b"})
    faulty.calls = 0
    with pytest.raises(backuplog.LogReplaced):
        next(pieces)
    assert faulty.calls == 2


def test_a_bound_view_tries_nothing_again(faulty: Any, shaky: backuplog.Store) -> None:
    """In the caller's transaction an error is the caller's at once."""
    bound = Faulty(faulty.backend)
    bound.failures = [backuplog.StoreUnavailable()]
    vars(faulty)["bound_to"] = lambda _: bound
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(shaky.bound_to(object()), uuid4())
    assert bound.calls == 1


def test_retries_can_be_turned_off(faulty: Any) -> None:
    """A store with ``retry_timeout=0`` fails at the first attempt."""
    faulty.failures = [backuplog.StoreUnavailable()]
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(backuplog.Store(faulty, retry_timeout=0), uuid4())
    assert faulty.calls == 1


def test_the_time_of_the_first_attempt_counts(
    monkeypatch: pytest.MonkeyPatch, faulty: Faulty, shaky: backuplog.Store
) -> None:
    """A first attempt that took as long as all may take, as a busy database does, is the last."""
    faulty.failures = [backuplog.StoreUnavailable()]
    clock = iter([100.0, 130.0])
    monkeypatch.setattr("backuplog.store.time.monotonic", lambda: next(clock))
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(shaky, uuid4())
    assert faulty.calls == 1


def test_a_view_keeps_what_the_store_was_opened_with(tmp_path: Path) -> None:
    """Another tenant's view and a bound one have the store's observers and agents; only a bound one has no retries."""
    observers = (backuplog.LoggingObserver(),)
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    known = uuid4()
    with backuplog.open_store(url, agent_exists=known.__eq__, observers=observers, retry_timeout=7) as store:
        tenant = store.for_tenant(uuid4())
        connection = sqlite3.connect(tmp_path / "backups.db")
        bound = tenant.bound_to(connection)
        for view in (tenant, bound):
            assert (view.observers, view.agent_exists) == (observers, store.agent_exists)
            assert view.tenant_id == tenant.tenant_id != store.tenant_id
        assert (store.retry_timeout, tenant.retry_timeout, bound.retry_timeout) == (7, 7, 0)
        connection.close()


def test_a_store_shows_where_it_is_and_no_more(tmp_path: Path) -> None:
    """Its repr is that of its backend: nothing of the integrator's is in it."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}", agent_exists=lambda _: True) as store:
        assert repr(store) == f"Store(backend={store.backend!r})"
        assert str(tmp_path / "backups.db") in repr(store)
