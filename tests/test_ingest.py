"""What ingest does above the store."""

import logging
from collections.abc import Callable
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog

Payload = Callable[..., dict[str, Any]]


class Spy:
    """A backend that notes how much each submit gets, and fails when told."""

    def __init__(self, backend: Any) -> None:
        """Wrap a backend."""
        self.backend = backend
        self.calls: list[tuple[int, int]] = []
        self.unavailable_after = 10**9
        self.refuses_logs = False

    def __getattr__(self, name: str) -> Any:
        """Be the backend in all else."""
        return getattr(self.backend, name)

    def submit(self, submissions: Any) -> Any:
        """Note, fail or pass on."""
        self.calls.append((len(submissions), sum(item.run.log_bytes for item in submissions)))
        if len(self.calls) > self.unavailable_after:
            raise backuplog.StoreUnavailable
        if self.refuses_logs and any(item.log for item in submissions):
            raise backuplog.StoreError("no room for logs")
        return self.backend.submit(submissions)


@pytest.fixture
def spy(store: backuplog.Store) -> Any:
    """Give a spy on the store's backend."""
    return Spy(store.backend)


@pytest.fixture
def spied(spy: Any) -> backuplog.Store:
    """Give a store that is spied on."""
    return backuplog.Store(spy, retry_timeout=0)


def test_transactions_are_bounded(spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A batch goes in transactions of at most 500 results and 8 MiB of logs; a longer log goes alone."""
    small = [(agent_id, payload()) for _ in range(1001)]
    large = [(agent_id, payload(log="x" * 3_000_000)) for _ in range(4)] + [(agent_id, payload(log=b"x" * 9_000_000))]
    backuplog.ingest_task_results(spied, small)
    assert [count for count, _ in spy.calls] == [500, 500, 1]
    spy.calls.clear()
    backuplog.ingest_task_results(spied, large)
    assert spy.calls == [(2, 6_000_000), (2, 6_000_000), (1, 9_000_000)]


def test_a_batch_is_taken_as_it_comes(spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Items are drawn one transaction at a time, so that a generator of any length works."""
    drawn: list[int] = []

    def items() -> Any:
        for _ in range(1200):
            drawn.append(len(spy.calls))
            yield agent_id, payload()

    backuplog.ingest_task_results(spied, items())
    assert drawn[499] == 0
    assert drawn[-1] == 2


def test_an_unavailable_store_answers_for_the_rest(
    spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """What was stored before has its receipts; all the rest is answered as unavailable, and waited for once."""
    spy.unavailable_after = 1
    answers = backuplog.ingest_task_results(spied, [(agent_id, payload()) for _ in range(1600)] + [(agent_id, b"{")])
    kinds = [type(answer).__name__ for answer in answers]
    assert kinds == ["Receipt"] * 500 + ["StoreUnavailable"] * 1100 + ["InvalidTaskResult"]
    assert len(spy.calls) == 2
    assert backuplog.query_runs(spied).total == 500


def test_a_store_that_goes_away_while_a_batch_is_taken_apart_is_asked_no_more(
    spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that is submitted one by one ends with the first StoreUnavailable, which answers all the rest."""
    submit = spy.submit

    def fail(changes: Any) -> Any:
        if len(changes) > 1:
            spy.calls.append((len(changes), 0))
            raise backuplog.StoreError("broken")
        return submit(changes)

    monkeypatch.setattr(spy, "submit", fail)
    spy.unavailable_after = 3
    answers = backuplog.ingest_task_results(spied, [(agent_id, payload()) for _ in range(600)])
    assert [type(answer).__name__ for answer in answers] == ["Receipt"] * 2 + ["StoreUnavailable"] * 598
    assert len(spy.calls) == 4


def test_a_transaction_of_one_that_fails_is_an_answer(
    spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that fails on the only result of a transaction is that result's answer; the next ones are tried."""
    submit = spy.submit
    large = payload(log=b"x" * 9_000_000)

    def fail(submissions: Any) -> Any:
        if str(submissions[0].run.id) == large["taskId"]:
            raise backuplog.StoreError("broken")
        return submit(submissions)

    monkeypatch.setattr(spy, "submit", fail)
    answers = backuplog.ingest_task_results(spied, [(agent_id, large), (agent_id, payload())])
    assert [type(answer) for answer in answers] == [backuplog.StoreError, backuplog.Receipt]


def test_a_lost_log_is_told_without_its_content(
    spy: Any, spied: backuplog.Store, agent_id: UUID, payload: Payload, caplog: pytest.LogCaptureFixture
) -> None:
    """The run is kept, the receipt and one log record say that the log is lost, and nobody prints it."""
    spy.refuses_logs = True
    sent = payload(log="a secret")
    store = backuplog.Store(spy, retry_timeout=0, observers=(backuplog.LoggingObserver(),))
    with caplog.at_level(logging.DEBUG):
        receipt = backuplog.ingest_task_result(store, agent_id, sent)
    assert (receipt.outcome, receipt.log_state, receipt.log_bytes) == ("created", "lost", 8)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert vars(caplog.records[0])["task_id"] == sent["taskId"]
    assert "no room for logs" in caplog.text
    assert "a secret" not in caplog.text
    batch = backuplog.ingest_task_results(spied, [(agent_id, payload(log="a")), (agent_id, payload())])
    assert [answer.log_state for answer in batch if isinstance(answer, backuplog.Receipt)] == ["lost", "none"]


def test_bad_arguments_are_named(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """An agent id that is none and a receipt time without a zone are the caller's errors, by name."""
    with pytest.raises(backuplog.InvalidTaskResult, match="agent_id: must be a UUID"):
        backuplog.ingest_task_result(store, "x", payload())
    with pytest.raises(backuplog.InvalidTaskResult, match="received_at: must be an RFC 3339 time with a zone"):
        backuplog.ingest_task_result(store, agent_id, payload(), received_at=datetime(2026, 1, 1))  # noqa: DTZ001
    for cap in (-1, 0, 4095, "x", True):
        with pytest.raises(backuplog.InvalidTaskResult, match=r"max_log_bytes: must be .* 4,096 or more"):
            backuplog.ingest_task_result(store, agent_id, payload(), max_log_bytes=cap)  # type: ignore[arg-type]
    with pytest.raises(backuplog.InvalidQuery, match="status: must be a status or several, not a number"):
        backuplog.RunQuery(status=5)  # type: ignore[arg-type]
    with pytest.raises(backuplog.InvalidAgent, match="hostname: must be at most 253"):
        backuplog.register_agent(store, uuid4(), hostname="x" * 254)


def test_an_integrators_agents_are_asked_for_once(payload: Payload) -> None:
    """A batch asks the integrator once for each agent, and not at all for a result that is refused before."""
    asked: list[UUID] = []
    agents = [uuid4(), uuid4()]

    def exists(agent_id: UUID) -> bool:
        asked.append(agent_id)
        return agent_id == agents[0]

    with backuplog.open_store("sqlite://", agent_exists=exists) as store:
        batch: list[tuple[UUID, Any]] = [(agents[number % 2], payload()) for number in range(20)]
        answers = backuplog.ingest_task_results(store, [*batch, (uuid4(), b"{")])
        assert [type(answer).__name__ for answer in answers[:2]] == ["Receipt", "AgentNotFound"]
        assert sorted(asked) == sorted(agents)


def test_an_integrators_error_costs_no_other_answer(payload: Payload) -> None:
    """Where the integrator's function fails, its results say so, and those of other agents are stored and answered."""
    agents = [uuid4(), uuid4()]

    def exists(agent_id: UUID) -> bool:
        return bool(1 // (agent_id == agents[0]))

    with backuplog.open_store("sqlite://", agent_exists=exists) as store:
        batch = [(agents[number // 600], payload()) for number in range(1200)]
        answers = backuplog.ingest_task_results(store, batch)
        assert [type(answer).__name__ for answer in answers] == ["Receipt"] * 600 + ["StoreError"] * 600
        assert isinstance(answers[-1], backuplog.StoreError)
        assert isinstance(answers[-1].__cause__, ZeroDivisionError)
        with pytest.raises(backuplog.StoreError, match=r"agent_exists failed \(ZeroDivisionError\)"):
            backuplog.issue_agent_token(store, agents[1])


def test_a_log_is_told_as_long_as_it_came(agent_id: UUID, payload: Payload) -> None:
    """Observers are told the length of the log that was sent, also where less of it is stored, or nothing."""
    events: list[backuplog.IngestEvent] = []
    observer: Any = type("Notes", (), {"delivered": lambda _, event: events.append(event)})()
    with backuplog.open_store("sqlite://", observers=[observer]) as store:
        backuplog.register_agent(store, agent_id)
        for log in ("x" * 10_000, None, ""):
            backuplog.ingest_task_result(store, agent_id, payload(log=log), max_log_bytes=4096)
        refusing = Spy(store.backend)
        refusing.refuses_logs = True
        lossy: Any = refusing
        backuplog.ingest_task_result(attrs.evolve(store, backend=lossy), agent_id, payload(log="lost"))
    assert [event.log_bytes for event in events] == [10_000, None, 0, 4]
