"""What a policy says about one run, and the pace at which much is removed."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID

import attrs
import pytest

import backuplog
from backuplog import BackupRun, LogState, RetentionPolicy
from backuplog.retention import Due

Payload = Callable[..., dict[str, Any]]
NOW = datetime(2026, 11, 24, tzinfo=UTC)
DAY = timedelta(days=1)
RUN = BackupRun(
    id=UUID(int=1),
    tenant_id=UUID(int=0),
    agent_id=UUID(int=2),
    policy_id=UUID(int=3),
    task_type="backup",
    status="success",
    start_time=NOW - 10 * DAY,
    end_time=NOW - 10 * DAY,
    duration_seconds=1,
    error_message=None,
    snapshot_id=None,
    received_at=NOW - 10 * DAY,
    updated_at=NOW - 10 * DAY,
    log_state=LogState.COMPLETE,
    log_bytes=5,
    log_sha256=bytes(32),
)


@pytest.mark.parametrize(
    ("ages", "status", "log_state", "due"),
    [
        ({}, "success", "complete", None),
        ({"runs": 10}, "success", "complete", None),
        ({"runs": 9}, "success", "complete", "run"),
        ({"runs": 9, "logs": 1}, "failed", "none", "run"),
        ({"logs": 10}, "success", "complete", None),
        ({"logs": 9}, "success", "complete", "log"),
        ({"logs": 9}, "failed", "truncated", "log"),
        ({"logs": 9}, "lost", "open", "log"),
        ({"logs": 9}, "success", "expired", None),
        ({"logs": 9}, "success", "none", None),
        ({"logs": 9}, "success", "lost", None),
        ({"logs": 9, "failed_logs": 20}, "failed", "complete", None),
        ({"logs": 9, "failed_logs": 20}, "lost", "complete", None),
        ({"logs": 9, "failed_logs": 20}, "warning", "complete", "log"),
        ({"failed_logs": 9}, "failed", "complete", "log"),
        ({"failed_logs": 9}, "success", "complete", None),
    ],
)
def test_each_age_counts_for_its_own(ages: dict[str, int], status: str, log_state: str, due: str | None) -> None:
    """A run is due when it is older than the age that counts for it, and its log only if there is one."""
    policy = RetentionPolicy(**{name: days * DAY for name, days in ages.items()})
    run = attrs.evolve(RUN, status=status, log_state=LogState(log_state))
    assert policy.due(run, NOW) == (None if due is None else Due(due))


@pytest.mark.parametrize("year", [1, 1970, 9999])
def test_a_run_is_as_old_as_what_was_received_of_it(year: int) -> None:
    """An agent's clock, slow or fast, makes no run old and keeps none."""
    policy = RetentionPolicy(runs=9 * DAY)
    odd = attrs.evolve(RUN, start_time=datetime(year, 1, 1, tzinfo=UTC))
    assert policy.due(attrs.evolve(odd, updated_at=NOW - 8 * DAY), NOW) is None
    assert policy.due(attrs.evolve(odd, updated_at=NOW - 10 * DAY), NOW) is Due.RUN


def test_every_bad_field_of_a_policy_is_named() -> None:
    """A negative age, an age that is no time, odd numbers, and no function: one error names them all."""
    fields: dict[str, Any] = {"runs": -DAY, "logs": 5, "log_bytes": -1, "keep_last": 1001, "keep": "all"}
    with pytest.raises(backuplog.InvalidQuery) as caught:
        RetentionPolicy(**fields)
    assert [error.path for error in caught.value.errors] == list(fields)


def test_logs_are_not_kept_for_longer_than_their_runs() -> None:
    """An age of logs that can never come to count is an error, not a silent loss."""
    with pytest.raises(backuplog.InvalidQuery, match="failed_logs: must not be more than runs"):
        RetentionPolicy(runs=DAY, logs=DAY, failed_logs=2 * DAY)


class Timed:
    """A backend whose transactions take as long as the test says, by a clock of its own."""

    def __init__(self, backend: Any) -> None:
        """Take the backend that works."""
        self._backend = backend
        self.now = 0.0
        self.seconds_for_each = 0.0
        self.batches: list[int] = []

    def __getattr__(self, name: str) -> Any:
        """Be that backend in all else."""
        return getattr(self._backend, name)

    def submit(self, changes: Any, *, skip_locked: bool = False) -> Any:
        """Make changes, and let time pass."""
        if skip_locked:
            self.batches.append(len(changes))
            self.now += self.seconds_for_each * len(changes)
        return self._backend.submit(changes, skip_locked=skip_locked)


@pytest.mark.parametrize(
    ("milliseconds_for_each", "expected"),
    [
        (0.01, [50, 100, 200, 50]),
        (0.15, [50, 100, 100, 100]),
        (0.6, [50, 50]),
        (1.9, [50, 25, 25]),
        (60, [50, 25, 12, 6, 3, 1, 1]),
    ],
)
def test_batches_become_as_large_as_they_are_quick(
    payload: Payload, milliseconds_for_each: float, expected: list[int]
) -> None:
    """A batch that takes more than 50 ms halves the next, one of less than 10 ms doubles it, from 1 to 200 runs."""
    with backuplog.open_store("sqlite://") as opened:
        timed = Timed(opened.backend)
        store = attrs.evolve(opened, backend=timed)
        agent_id = backuplog.register_agent(store, UUID(int=1)).id
        results = [payload(status="failed") for _ in range(400)]
        backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=NOW - DAY)
        timed.seconds_for_each = milliseconds_for_each / 1000
        waited: list[float] = []
        with patch("time.monotonic", lambda: timed.now):
            backuplog.prune(store, RetentionPolicy(runs=timedelta(0)), now=NOW, pause=waited.append)
        assert timed.batches[: len(expected)] == expected
        assert sum(timed.batches) == 400
        assert waited == pytest.approx([size * timed.seconds_for_each for size in timed.batches])
