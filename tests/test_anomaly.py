"""Runs that are unlike those before them."""

import random
import statistics
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog.anomaly import Anomaly, anomalies_of
from backuplog.model import LogState, RunStats

BEGIN = datetime(2026, 11, 1, 2, tzinfo=UTC)
SIZES = st.integers(0, 2**63 - 1)


def a_run(day: int, added: int | None = None, **fields: Any) -> backuplog.BackupRun:
    """Give a run of a day that has added so many bytes."""
    start = BEGIN + timedelta(days=day)
    values: dict[str, Any] = {
        "id": UUID(int=day),
        "tenant_id": UUID(int=0),
        "agent_id": UUID(int=1),
        "policy_id": UUID(int=2),
        "task_type": "backup",
        "status": "success",
        "start_time": start,
        "end_time": start,
        "duration_seconds": 60.0,
        "error_message": None,
        "snapshot_id": None,
        "received_at": start,
        "updated_at": start,
        "log_state": LogState.NONE,
        "log_bytes": 0,
        "log_sha256": None,
        "stats": RunStats(data_added=added),
    }
    return backuplog.BackupRun(**{**values, **fields})


def runs_of(sizes: list[int]) -> list[backuplog.BackupRun]:
    """Give a run a day, the last of which is the newest."""
    return [a_run(day, size) for day, size in enumerate(sizes)]


def found(history: list[backuplog.BackupRun], **options: Any) -> list[tuple[str, float]]:
    """Give the figures that are unusual, with their values."""
    return [(each.figure, each.value) for each in anomalies_of(history, **options)]


@pytest.mark.parametrize("usual", [1_000, 3_000_000_000, 2**62])
def test_ten_times_as_much_is_unusual_and_a_byte_more_is_not(usual: int) -> None:
    """A figure that was always the same may change a little, and not much."""
    before = [usual] * 10
    for value in (usual, usual + 1, round(usual * 1.17), round(usual * 0.83)):
        assert found(runs_of([*before, value])) == []
    for value in (min(usual * 10, 2**63 - 1), round(usual * 1.18), round(usual * 0.82), 0):
        assert found(runs_of([*before, value])) == [("data_added", value)]


def test_what_is_said_of_an_anomaly() -> None:
    """It names the run and all that it was judged by, and a few odd runs before it do not matter."""
    runs = runs_of([100, 110, 90, 105, 95, 100, 100_000, 100, 500])
    assert anomalies_of(runs) == [
        Anomaly(
            run=runs[-1],
            figure="data_added",
            value=500,
            median=100.0,
            spread=1.4826 * 5,
            compared=8,
            score=400 / (1.4826 * 5),
        )
    ]


def test_too_few_runs_say_nothing() -> None:
    """Fewer than the minimum with that figure, beside the newest, are no history."""
    assert found(runs_of([100] * 6 + [9_000])) == []
    assert found(runs_of([100] * 7 + [9_000])) == [("data_added", 9_000)]
    unknown = [a_run(day) for day in range(20)]
    assert found([*unknown, *runs_of([100] * 6), a_run(30, 9_000)]) == []
    assert found(runs_of([100] * 3 + [9_000]), minimum_runs=3) == [("data_added", 9_000)]


@pytest.mark.parametrize(
    "fields", [{"stats": None}, {"stats": RunStats()}, {"stats": RunStats(data_added=9_000, dry_run=True)}]
    + [{"status": word} for word in ("failed", "cancelled", "running", "pending", "lost", "odd")]
)  # fmt: skip
def test_what_takes_no_part(fields: dict[str, Any]) -> None:
    """Unknown figures, dry runs and runs that did not succeed are neither judged nor compared with."""
    usual = runs_of([100] * 10)
    assert found([*usual, a_run(30, 9_000, **fields)]) == []
    odd = [a_run(day, 9_000, **fields) for day in range(40, 60)]
    assert found([*usual, *odd, a_run(90, 9_000)]) == [("data_added", 9_000)]


def test_a_warning_takes_part() -> None:
    """A run with warnings has figures like any other."""
    assert found([*runs_of([100] * 10), a_run(30, 9_000, status="warning")]) == [("data_added", 9_000)]


@pytest.mark.parametrize("field", ["agent_id", "policy_id", "task_type"])
def test_each_agent_policy_and_type_is_judged_by_itself(field: str) -> None:
    """What is usual for one is not for another."""
    other: dict[str, Any] = {field: "check" if field == "task_type" else UUID(int=7)}
    small, large = runs_of([100] * 10), [a_run(day, 9_000, **other) for day in range(20, 31)]
    assert found(small + large) == []
    assert found([*small, *large, a_run(40, 100, **other)]) == [("data_added", 100)]


def test_other_figures_of_a_run() -> None:
    """Its duration and its log are compared too; no log is not a log of 0 bytes, and what was dropped counts."""
    logs = [a_run(day, log_state=LogState.COMPLETE, log_bytes=1_000) for day in range(10)]
    assert found([*logs, a_run(20, duration_seconds=600.0)]) == [("duration_seconds", 600.0)]
    assert found([*logs, a_run(20)], figures=["log_bytes"]) == []
    cut = a_run(20, log_state=LogState.TRUNCATED, log_bytes=1_000, dropped_bytes=8_000)
    assert found([*logs, cut], figures=["log_bytes"]) == [("log_bytes", 9_000)]
    assert found([*logs, cut]) == []


def test_the_greatest_score_comes_first() -> None:
    """The figure that is most unusual is named first, above or below."""
    usual = [a_run(day, 1_000) for day in range(10)]
    assert found([*usual, a_run(20, 0, duration_seconds=100.0)]) == [("data_added", 0), ("duration_seconds", 100.0)]
    assert found([*usual, a_run(20, 0, duration_seconds=10_000.0)])[0][0] == "duration_seconds"


def test_bad_arguments_are_named() -> None:
    """Each argument that makes no sense is named."""
    with pytest.raises(backuplog.InvalidQuery) as refused:
        anomalies_of([], figures=["snapshot_id"], minimum_runs=2, threshold=float("nan"))
    assert [error.path for error in refused.value.errors] == ["figures", "minimum_runs", "threshold"]


@given(SIZES, st.integers(7, 20))
def test_an_equal_history_is_never_unusual(size: int, count: int) -> None:
    """Runs that are all alike have nothing to tell."""
    assert found(runs_of([size] * (count + 1))) == []


@given(st.lists(st.integers(2**20, 2**59), min_size=8, max_size=20), st.sampled_from([2, 3, 8]))
def test_the_unit_does_not_matter(sizes: list[int], factor: int) -> None:
    """In units that are smaller, the same runs are unusual, by the same score."""
    scores = [each.score for each in anomalies_of(runs_of(sizes))]
    larger = [size * factor for size in sizes]
    assert [each.score for each in anomalies_of(runs_of(larger))] == pytest.approx(scores)


@given(st.lists(SIZES, min_size=8, max_size=15), st.randoms())
def test_the_order_does_not_matter(sizes: list[int], shuffle: random.Random) -> None:
    """Runs may come in any order."""
    runs = runs_of(sizes)
    expected = anomalies_of(runs)
    shuffle.shuffle(runs)
    assert anomalies_of(iter(runs)) == expected


@given(st.lists(st.integers(0, 1_000), min_size=8, max_size=15))
def test_the_score_is_that_of_the_book(sizes: list[int]) -> None:
    """The score is 0.6745 deviations of the median, where these are not too small to count."""
    *before, value = sizes
    middle = statistics.median(before)
    deviation = statistics.median(abs(size - middle) for size in before)
    least = max(0.05 * middle, 1)
    score = 0.6745 * (value - middle) / deviation if deviation / 0.6745 > least else (value - middle) / least
    if abs(abs(score) - 3.5) > 0.01:
        reported = [each.score for each in anomalies_of(runs_of(sizes))]
        assert reported == pytest.approx([score] if abs(score) > 3.5 else [], rel=1e-3)


def test_a_clock_that_was_ahead_hides_no_run() -> None:
    """The newest run is the one that began last by our own clock too, and not one from the future for ever."""
    ahead = a_run(3, 1_000, id=UUID(int=99), start_time=BEGIN + timedelta(days=9_999))
    history = [*runs_of([1_000] * 10), a_run(10, 9_000), ahead]
    assert found(history) == [("data_added", 9_000)]
