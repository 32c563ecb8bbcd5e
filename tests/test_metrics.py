"""What a scrape shows."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest

import backuplog
from backuplog import Expectation, RunQuery
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


NOON = datetime(2020, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def take(store: backuplog.Store, agent_id: UUID, payload: Payload) -> Callable[..., str]:
    """Give a function that takes in a result of an hour on one day in 2020, and gives its policy."""

    def taken(hour: int, **fields: object) -> str:
        end = f"2020-11-24T{hour:02}:00:00Z"
        sent = payload(**{"startTime": end, "endTime": end, **fields})
        backuplog.ingest_task_result(store, agent_id, sent)
        return str(sent["policyId"])

    return taken


Take = Callable[..., str]


def collected(store: backuplog.Store, now: datetime = NOON, **options: Any) -> dict[str, float]:
    """Give what a scrape reads from a store."""
    registry = CollectorRegistry()
    registry.register(LastSuccesses(store, now=lambda: now, **options))
    return scrape(registry)


def test_the_last_success_of_each_policy_is_read_from_the_store(store: backuplog.Store, take: Take) -> None:
    """Time and age come from what is stored, at each scrape, and registering asks nothing."""
    registry = CollectorRegistry()
    registry.register(LastSuccesses(store, now=lambda: NOON))
    policy = take(9)
    for status, hour in (("success", 10), ("failure", 11)):
        take(hour, policyId=policy, status=status)
    samples = scrape(registry)
    assert samples[f'backup_last_success_age_seconds{{policy_id="{policy}"}}'] == 7_200
    stamp = samples[f'backup_last_success_timestamp_seconds{{policy_id="{policy}"}}']
    assert datetime.fromtimestamp(stamp, UTC) == NOON.replace(hour=10)
    store.close()
    with pytest.raises(backuplog.StoreError):
        generate_latest(registry)


def test_a_clock_that_is_ahead_makes_no_negative_age(store: backuplog.Store, take: Take) -> None:
    """No success counts as later than its result was received."""
    end = "2999-01-01T00:00:00Z"
    policy = take(0, startTime=end, endTime=end)
    now = backuplog.query_runs(store).runs[0].received_at + timedelta(hours=1)
    assert collected(store, now)[f'backup_last_success_age_seconds{{policy_id="{policy}"}}'] == 3_600


def test_a_clock_that_was_ahead_hides_no_later_success(
    store: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A check from the future, received long ago, is not the last success of its policy for ever."""
    end = "2999-01-01T00:00:00Z"
    check = payload(taskType="check", startTime=end, endTime=end)
    backup = payload(policyId=check["policyId"], startTime="2020-11-24T09:00:00Z", endTime="2020-11-24T10:00:00Z")
    for sent, days in ((check, 90), (backup, 0)):
        backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON - timedelta(days=days))
    samples = collected(store, NOON)
    assert samples[f'backup_last_success_age_seconds{{policy_id="{check["policyId"]}"}}'] == 7_200


def test_a_clock_that_is_behind_makes_no_negative_age(store: backuplog.Store, take: Take) -> None:
    """Where the machine that is scraped lags behind the one that took the result in, the age is 0."""
    policy = take(9)
    samples = collected(store, NOON.replace(hour=8))
    assert samples[f'backup_last_success_age_seconds{{policy_id="{policy}"}}'] == 0


def test_the_size_is_that_of_the_last_successful_backup(store: backuplog.Store, take: Take) -> None:
    """What a check or a failed backup says since is no size of a backup; one that is not known is left out."""
    policy = take(8, stats={"totalBytesProcessed": 5})
    take(9, policyId=policy, stats={"totalBytesProcessed": 7_000})
    take(10, policyId=policy, stats={"totalBytesProcessed": 3}, status="failure")
    take(11, policyId=policy, stats={"totalBytesProcessed": 1, "dryRun": True})
    take(11, policyId=policy, stats={"totalBytesProcessed": 2}, taskType="check")
    for hour in range(7):
        take(hour, policyId=policy, taskType=f"check {hour}")
    unknown = take(9, policyId=take(8, stats={"totalBytesProcessed": 5}))
    samples = collected(store)
    assert samples[f'backup_last_size_bytes{{policy_id="{policy}"}}'] == 7_000
    assert samples[f'backup_last_success_age_seconds{{policy_id="{policy}"}}'] == 3_600
    assert samples[f'backup_last_success_age_seconds{{policy_id="{unknown}"}}'] == 3 * 3_600
    assert f'backup_last_size_bytes{{policy_id="{unknown}"}}' not in samples


def test_what_is_overdue_is_shown_for_each_expectation(store: backuplog.Store, agent_id: UUID, take: Take) -> None:
    """1 and for how long, 0 for what is met, and no time for what never ran; nothing without expectations."""
    policy = take(9)
    assert not [name for name in collected(store) if name.startswith("backup_overdue")]
    late = Expectation(policy_id=policy, interval=timedelta(hours=2), grace=timedelta(minutes=30))
    met = attrs.evolve(late, agent_id=agent_id, interval=timedelta(hours=4))
    never = attrs.evolve(late, task_type="check")
    asked: list[int] = []

    def expectations() -> Iterator[Expectation]:
        asked.append(1)
        yield from (late, met, never)

    samples = collected(store, expectations=expectations)
    assert asked == [1]
    of_late = f'agent_id="",policy_id="{policy}",task_type="backup"'
    of_met = f'agent_id="{agent_id}",policy_id="{policy}",task_type="backup"'
    of_never = f'agent_id="",policy_id="{policy}",task_type="check"'
    assert {name: value for name, value in samples.items() if name.startswith("backup_overdue")} == {
        f"backup_overdue{{{of_late}}}": 1,
        f"backup_overdue_seconds{{{of_late}}}": 1_800,
        f"backup_overdue{{{of_met}}}": 0,
        f"backup_overdue_seconds{{{of_met}}}": 0,
        f"backup_overdue{{{of_never}}}": 1,
    }


def test_of_several_expectations_of_the_same_the_worst_counts(store: backuplog.Store, take: Take) -> None:
    """A scrape never has the same series twice, which Prometheus would refuse."""
    policy = take(9)
    several = [Expectation(policy_id=policy, interval=timedelta(hours=hours)) for hours in (2, 1, 9)]
    registry = CollectorRegistry()
    registry.register(LastSuccesses(store, expectations=several, now=lambda: NOON))
    lines = [line for line in generate_latest(registry).decode().splitlines() if line.startswith("backup_overdue")]
    assert [line.rpartition(" ")[2] for line in lines] == ["1.0", "7200.0"]


def test_a_scrape_asks_the_store_twice(store: backuplog.Store, take: Take, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many policies and expectations there are, it lists the newest runs, and nothing else."""
    policies = [take(9) for _ in range(20)]
    asked: list[RunQuery] = []
    list_newest = store.backend.list_newest

    def count(query: RunQuery, *arguments: Any, **options: Any) -> Any:
        asked.append(query)
        return list_newest(query, *arguments, **options)

    def fail(*_arguments: object, **_options: object) -> Any:
        pytest.fail("a scrape reads no lists of runs")

    monkeypatch.setattr(store.backend, "list_newest", count)
    monkeypatch.setattr(store.backend, "list_runs", fail)
    expected = [Expectation(policy_id=policy, interval=timedelta(hours=2)) for policy in policies]
    samples = collected(store, expectations=expected)
    assert sum(value for name, value in samples.items() if name.startswith("backup_overdue{")) == 20
    assert len(asked) == 2
