"""What a scrape shows."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import backuplog
from backuplog.metrics import LastSuccesses, PrometheusObserver

Payload = Callable[..., dict[str, Any]]


@pytest.fixture
def registry() -> CollectorRegistry:
    """Give a registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture
def store(registry: CollectorRegistry) -> Iterator[backuplog.Store]:
    """Give a store that is counted."""
    with backuplog.open_store("sqlite://", observers=[PrometheusObserver(registry=registry)]) as opened:
        yield opened


def scrape(registry: CollectorRegistry) -> dict[str, float]:
    """Give every sample by its name and labels."""
    lines = generate_latest(registry).decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_results_are_counted(
    store: backuplog.Store, registry: CollectorRegistry, agent_id: UUID, payload: Payload
) -> None:
    """Statuses, outcomes, sizes and times of what was taken in; slugs of what was not."""
    sent = payload(log="x" * 5_000, status="ok")
    backuplog.ingest_task_result(store, agent_id, sent)
    backuplog.ingest_task_result(store, agent_id, sent)
    backuplog.ingest_task_results(store, [(agent_id, payload(status="failure")), (agent_id, b"{"), (uuid4(), sent)])
    samples = scrape(registry)
    assert samples['task_results_ingested_total{status="success"}'] == 2
    assert samples['task_results_ingested_total{status="failed"}'] == 1
    assert samples['task_results_outcomes_total{outcome="created"}'] == 2
    assert samples['task_results_outcomes_total{outcome="replayed"}'] == 1
    assert samples['task_results_errors_total{error_type="invalid_task_result"}'] == 1
    assert samples['task_results_errors_total{error_type="agent_not_found"}'] == 1
    assert samples['task_result_log_bytes_bucket{le="4096.0",type="backup"}'] == 0
    assert samples['task_result_log_bytes_bucket{le="16384.0",type="backup"}'] == 2
    assert samples['task_result_log_bytes_sum{type="backup"}'] == 10_000
    assert samples["task_result_ingest_seconds_count"] == 3


def test_what_agents_invent_makes_one_series(
    store: backuplog.Store, registry: CollectorRegistry, agent_id: UUID, payload: Payload
) -> None:
    """A thousand statuses and types count as one each."""
    results = [payload(status=f"s{number}", taskType=f"t{number}", log="x") for number in range(1_000)]
    backuplog.ingest_task_results(store, [(agent_id, result) for result in results])
    samples = scrape(registry)
    assert samples['task_results_ingested_total{status="other"}'] == 1_000
    assert samples['task_result_log_bytes_count{type="other"}'] == 1_000
    assert len([name for name in samples if name.startswith("task_results_ingested_total")]) == 1


def test_a_lost_log_is_an_error(
    store: Any, registry: CollectorRegistry, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The result counts as taken in, and its log as lost."""
    submit = store.backend.submit

    def fail(submissions: Any) -> Any:
        if submissions[0].log:
            raise backuplog.StoreError
        return submit(submissions)

    monkeypatch.setattr(store.backend, "submit", fail)
    backuplog.ingest_task_result(store, agent_id, payload(log="x"))
    samples = scrape(registry)
    assert samples['task_results_errors_total{error_type="log_lost"}'] == 1
    assert samples['task_results_ingested_total{status="success"}'] == 1


def test_the_last_success_of_each_policy_is_read_from_the_store(agent_id: UUID, payload: Payload) -> None:
    """Time and age come from what is stored, at each scrape, and registering asks nothing."""
    registry = CollectorRegistry()
    with backuplog.open_store("sqlite://") as store:
        registry.register(LastSuccesses(store, now=lambda: datetime(2026, 11, 24, 12, tzinfo=UTC)))
        backuplog.register_agent(store, agent_id)
        policy = str(uuid4())
        times = (("success", "09"), ("success", "10"), ("failure", "11"))
        for status, hour in times:
            end = f"2026-11-24T{hour}:00:00Z"
            sent = payload(policyId=policy, status=status, startTime=end, endTime=end)
            backuplog.ingest_task_result(store, agent_id, sent)
        samples = scrape(registry)
        assert samples[f'backup_last_success_age_seconds{{policy_id="{policy}"}}'] == 7_200
        stamp = samples[f'backup_last_success_timestamp_seconds{{policy_id="{policy}"}}']
        assert datetime.fromtimestamp(stamp, UTC) == datetime(2026, 11, 24, 10, tzinfo=UTC)
    with pytest.raises(backuplog.StoreError):
        generate_latest(registry)
