"""What could not be done just then is tried again, for a time."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

import pytest
import stamina

import backuplog

Payload = Callable[..., dict[str, Any]]


class Faulty:
    """A store whose next calls fail, before or after they have done their work."""

    def __init__(self, store: Any) -> None:
        """Take the store that works."""
        self.store = store
        self.failures: list[Exception] = []
        self.calls = 0
        self.works_first = False

    def __getattr__(self, name: str) -> Any:
        """Give a method that fails while failures are left."""
        method = getattr(self.store, name)
        if not callable(method) or name in ("agent_exists", "close"):
            return method

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls += 1
            if self.failures and self.works_first:
                method(*arguments, **keywords)
            if self.failures:
                raise self.failures.pop(0)
            return method(*arguments, **keywords)

        return call


@pytest.fixture
def faulty(store: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Faulty]:
    """Put a faulty store below the retries, which do not pause."""
    faulty = Faulty(vars(store)["_store"])
    monkeypatch.setattr(store, "_store", faulty)
    with stamina.set_testing(True, attempts=3):
        yield faulty


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
    store: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty, verb: Any
) -> None:
    """A verb that finds the store unavailable gives in the end what it would have given at once."""
    sent = payload(log="log")
    backuplog.ingest_task_result(store, agent_id, sent)
    expected = verb(store, agent_id, sent)
    for failures in (1, 3):
        faulty.failures = [backuplog.StoreUnavailable() for _ in range(failures)]
        assert verb(store, agent_id, sent) == expected
        assert faulty.failures == []


def test_an_answer_that_was_lost_ends_as_replayed(
    store: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty
) -> None:
    """A result whose commit was done, but whose answer never came, is not stored twice."""
    faulty.failures, faulty.works_first = [backuplog.StoreUnavailable()], True
    assert backuplog.ingest_task_result(store, agent_id, payload()).outcome == "replayed"
    assert backuplog.query_runs(store).total == 1


def test_it_gives_up(store: backuplog.Store, agent_id: UUID, faulty: Faulty) -> None:
    """A store that stays unavailable is reported in the end."""
    faulty.failures = [backuplog.StoreUnavailable() for _ in range(9)]
    with pytest.raises(backuplog.StoreUnavailable):
        backuplog.get_agent(store, agent_id)
    assert faulty.calls == 4


@pytest.mark.parametrize("error", [backuplog.StoreError, backuplog.SchemaOutdated, ZeroDivisionError])
def test_what_does_not_pass_is_not_tried_again(
    store: backuplog.Store, agent_id: UUID, faulty: Faulty, error: type[Exception]
) -> None:
    """Only what may pass by itself is waited for."""
    faulty.failures = [error()]
    with pytest.raises(error):
        backuplog.get_agent(store, agent_id)
    assert faulty.calls == 1


def test_a_replaced_log_is_not_tried_again_piece_by_piece(
    store: backuplog.Store, agent_id: UUID, payload: Payload, faulty: Faulty
) -> None:
    """An iterator over a log that was replaced says so at once: to begin again is the reader's to decide."""
    sent = payload(log=b"a" * 2_000_000)
    backuplog.ingest_task_result(store, agent_id, sent)
    pieces = backuplog.iter_log(store, sent["taskId"])
    next(pieces)
    backuplog.ingest_task_result(store, agent_id, {**sent, "log": "b"})
    faulty.calls = 0
    with pytest.raises(backuplog.LogReplaced):
        next(pieces)
    assert faulty.calls == 2


def test_a_bound_view_tries_nothing_again(store: backuplog.Store, faulty: Faulty) -> None:
    """In the caller's transaction an error is the caller's at once."""
    bound = Faulty(faulty.store)
    bound.failures = [backuplog.StoreUnavailable()]
    vars(faulty)["bound_to"] = lambda _: bound
    with pytest.raises(backuplog.StoreUnavailable):
        store.bound_to(object()).find_agent(uuid4())
    assert bound.calls == 1


def test_retries_can_be_turned_off(tmp_path: Any) -> None:
    """A store that was opened with ``retry_timeout=0`` fails at the first attempt."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}", retry_timeout=0) as store:
        faulty = Faulty(vars(store)["_store"])
        vars(store)["_store"] = faulty
        faulty.failures = [backuplog.StoreUnavailable()]
        with pytest.raises(backuplog.StoreUnavailable):
            store.find_agent(uuid4())
        assert faulty.calls == 1


def test_the_time_of_the_first_attempt_counts(monkeypatch: pytest.MonkeyPatch, store: Any) -> None:
    """A first attempt that took as long as all may take, as a busy database does, is the last."""
    faulty = Faulty(vars(store)["_store"])
    monkeypatch.setattr(store, "_store", faulty)
    faulty.failures = [backuplog.StoreUnavailable()]
    clock = iter([100.0, 130.0])
    monkeypatch.setattr("backuplog.opened.time.monotonic", lambda: next(clock))
    with pytest.raises(backuplog.StoreUnavailable):
        store.find_agent(uuid4())
    assert faulty.calls == 1
