"""Rate limits: one agent's requests are its own."""

import json
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog
from backuplog import http
from backuplog.http.limit import RateLimiter


def test_one_request_too_many_is_refused_with_when_to_come_back() -> None:
    """So many are let in, the next is told how long to wait, and no other agent or tenant is concerned."""
    limiter = RateLimiter("3/hour")
    tenant, agent = uuid4(), uuid4()
    for _ in range(3):
        limiter.check(tenant, agent)
    for _ in range(5):
        with pytest.raises(backuplog.RateLimited) as caught:
            limiter.check(tenant, agent)
        assert 3_500 < caught.value.retry_after <= 3_600
    limiter.check(tenant, uuid4())
    limiter.check(uuid4(), agent)


def test_a_rate_that_cannot_be_read_is_refused() -> None:
    """What is no rate is a ValueError when the limiter is made, not when a request comes."""
    with pytest.raises(ValueError, match="parse"):
        RateLimiter("many")


def test_an_agent_over_its_limit_is_answered_429(
    store: backuplog.Store, agent_id: UUID, payload: Callable[..., dict[str, Any]]
) -> None:
    """429 with Retry-After, for posts and reads alike; what was refused is not stored, and others go on."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("2/hour"))
    other = backuplog.register_agent(store, uuid4()).id
    body = json.dumps(payload()).encode()
    statuses = [
        http.post_task_result(store, str(agent_id), http.Request(body=body), guard=guard).status for _ in range(3)
    ]
    assert statuses == [200, 200, 429]
    answer = http.get_backup_runs(store, str(agent_id), http.Request(), guard=guard)
    assert (answer.status, 3_500 < int(answer.headers["Retry-After"]) <= 3_600) == (429, True)
    assert http.post_task_result(store, str(other), http.Request(body=b"{}"), guard=guard).status == 400
    assert backuplog.query_runs(store).total == 1
