"""Rate limits: one agent's requests are its own."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import http
from backuplog.http.limit import RateLimiter


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Give the time that limiters see, ten minutes past an hour, to set."""
    moment = [1_000_000 * 3_600.0 + 600]
    monkeypatch.setattr(time, "time", lambda: moment[0])
    return moment


def test_one_request_too_many_is_refused_with_when_to_come_back(clock: list[float]) -> None:
    """So many are let in, the next is told how long to wait, and no other agent or tenant is concerned."""
    limiter = RateLimiter("3/hour")
    tenant, agent = uuid4(), uuid4()
    for _ in range(3):
        limiter.check(tenant, agent)
    for _ in range(5):
        with pytest.raises(backuplog.RateLimited) as caught:
            limiter.check(tenant, agent)
        assert caught.value.retry_after == 3_000
    limiter.check(tenant, uuid4())
    limiter.check(uuid4(), agent)
    clock[0] += 3_000 + 600  # A sixth of the window before is out of sight.
    limiter.check(tenant, agent)
    with pytest.raises(backuplog.RateLimited) as caught:
        limiter.check(tenant, agent)
    assert 0 < caught.value.retry_after <= 3_000


def test_a_batch_counts_for_what_it_holds_and_is_never_too_long(clock: list[float]) -> None:
    """Its results take the room that the window has, and no more: a batch longer than any window gets in."""
    tenant, agent = uuid4(), uuid4()
    for results, others in ((3, 6), (9, 0), (1_000, 0)):
        limiter = RateLimiter("10/hour")
        limiter.check(tenant, agent)
        limiter.count(tenant, agent, results)
        for _ in range(others):
            limiter.check(tenant, agent)
        with pytest.raises(backuplog.RateLimited):
            limiter.check(tenant, agent)
    assert clock


def test_who_asks_no_more_is_forgotten(clock: list[float]) -> None:
    """Ids that anybody can make up do not fill the memory for good."""
    limiter = RateLimiter("10/second")
    tenant, agent = uuid4(), uuid4()
    for _ in range(1_000):
        limiter.check(tenant, uuid4())
    counted: Any = limiter._strategy.storage
    assert len(counted.storage) == 1_000
    clock[0] += 60
    deadline = time.monotonic() + 30  # a thread of the library forgets
    while len(counted.storage) + len(counted.events) + len(counted.locks) > 3:
        limiter.check(tenant, agent)
        clock[0] += 1
        assert time.monotonic() < deadline


def test_a_rate_that_cannot_be_read_is_refused() -> None:
    """What is no rate is a ValueError when the limiter is made, not when a request comes."""
    with pytest.raises(ValueError, match="parse"):
        RateLimiter("many")


def test_an_agent_over_its_limit_is_answered_429(
    store: backuplog.Store, agent_id: UUID, payload: Callable[..., dict[str, Any]], clock: list[float]
) -> None:
    """429 with Retry-After, for posts and reads alike; what was refused is not stored, and others go on."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("2/hour"))
    other = backuplog.register_agent(store, uuid4()).id
    body = json.dumps(payload()).encode()
    statuses = [
        http.post_task_result(store, str(agent_id), http.Request(body=body), guard=guard).status for _ in range(3)
    ]
    assert statuses == [200, 200, 429]
    clock[0] += 600
    answer = http.get_backup_runs(store, str(agent_id), http.Request(), guard=guard)
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2400")
    assert http.post_task_result(store, str(other), http.Request(body=b"{}"), guard=guard).status == 400
    assert backuplog.query_runs(store).total == 1


def test_the_results_of_a_batch_are_counted(
    store: backuplog.Store, agent_id: UUID, payload: Callable[..., dict[str, Any]], clock: list[float]
) -> None:
    """A batch of four leaves room for one of five; the next waits, whatever it is."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("5/hour"))
    batch = http.Request(body=json.dumps([payload() for _ in range(4)]).encode())
    one = http.Request(body=json.dumps(payload()).encode())
    assert http.post_task_results(store, str(agent_id), batch, guard=guard).status == 200
    assert http.post_task_result(store, str(agent_id), one, guard=guard).status == 200
    assert http.post_task_result(store, str(agent_id), one, guard=guard).status == 429
    assert http.post_task_results(store, str(agent_id), batch, guard=guard).status == 429
    assert clock


def test_what_the_store_did_not_take_may_come_again(
    store: Any,
    agent_id: UUID,
    payload: Callable[..., dict[str, Any]],
    clock: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch that is answered 503 counts as a request: the same batch gets in when the store is back."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("10/hour"))
    batch = http.Request(body=json.dumps([payload() for _ in range(20)]).encode())

    def fail(*_: object, **__: object) -> None:
        raise backuplog.StoreUnavailable

    with monkeypatch.context() as patch:
        patch.setattr(type(store.backend), "submit", fail)
        once = attrs.evolve(store, retry_timeout=0)
        assert http.post_task_results(once, str(agent_id), batch, guard=guard).status == 503
    assert http.post_task_results(store, str(agent_id), batch, guard=guard).status == 200
    assert http.post_task_results(store, str(agent_id), batch, guard=guard).status == 429
    assert clock
