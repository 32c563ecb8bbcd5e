"""Metrics for Prometheus. Needs the extra ``prometheus``."""

from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.metrics needs {missing.name}: pip install 'backuplog[prometheus]'", name=missing.name
    ) from missing

from .errors import LogLost
from .model import BackupRun, RunQuery
from .normalise import STATUSES
from .observe import IngestEvent
from .overdue import Expectation, expectations_now, find_overdue
from .query import newest_runs
from .report import place_of
from .store import Store

__all__ = ["LastSuccesses", "PrometheusObserver"]

_TASK_TYPES: Final = ("backup", "check", "forget", "prune", "restore")
_LOG_BUCKETS: Final = tuple(1024 * 4**power for power in range(11))
_OTHER: Final = "other"


class PrometheusObserver:
    """Counts results, for Prometheus.

    The metrics are ``task_results_ingested_total{status}``, ``task_results_errors_total{error_type}``,
    ``task_results_outcomes_total{outcome}``, ``task_result_log_bytes{type}`` (1 KiB to 1 GiB) and
    ``task_result_ingest_seconds``. Labels are bounded: a status or type that an agent invents counts as ``other``. A
    lost log counts as an error of type ``log_lost``, although its result is ingested.
    """

    def __init__(self, *, registry: CollectorRegistry = REGISTRY, task_types: Iterable[str] = _TASK_TYPES) -> None:
        """Register the metrics.

        Args:
            registry: The registry to register in.
            task_types: The types of tasks to count separately; all others count as ``other``.

        Raises:
            ValueError: The metrics are already registered there.
        """
        self._task_types = frozenset(task_types)
        self._ingested = Counter(
            "task_results_ingested", "Results taken in, by the status they report.", ["status"], registry=registry
        )
        self._errors = Counter(
            "task_results_errors", "Results refused, and logs lost.", ["error_type"], registry=registry
        )
        self._outcomes = Counter(
            "task_results_outcomes", "Results taken in, by what was done.", ["outcome"], registry=registry
        )
        self._log_bytes = Histogram(
            "task_result_log_bytes", "Bytes of the logs that came.", ["type"], buckets=_LOG_BUCKETS, registry=registry
        )
        self._seconds = Histogram("task_result_ingest_seconds", "Seconds to take a result in.", registry=registry)

    def delivered(self, event: IngestEvent) -> None:
        """Count an event.

        Args:
            event: What became of a result.
        """
        if event.error is not None:
            error_type = event.error.error_type if event.outcome is None else LogLost.error_type
            self._errors.labels(error_type).inc()
        if event.outcome is None:
            return
        self._ingested.labels(event.status if event.status in STATUSES else _OTHER).inc()
        self._outcomes.labels(event.outcome.value).inc()
        self._seconds.observe(event.seconds)
        if event.log_bytes is not None:
            task_type = event.task_type if event.task_type in self._task_types else _OTHER
            self._log_bytes.labels(task_type).observe(event.log_bytes)


class LastSuccesses:
    """Reads from the store, at each scrape, when each policy last succeeded. The metrics therefore survive restarts.

    The metrics are ``backup_last_success_timestamp_seconds{policy_id}``,
    ``backup_last_success_age_seconds{policy_id}`` and ``backup_last_size_bytes{policy_id}``. A policy that never
    succeeded is in none of them, and one whose last successful run of the type ``backup`` does not say how much it
    processed is not in the last. No success counts as later than its result was received, and no age is negative, also
    where the clock of the scrape is behind.

    With expectations, ``backup_overdue{policy_id,agent_id,task_type}`` is 1 or 0 for each of them, and
    ``backup_overdue_seconds`` says for how long, 0 for one that is met. It is left out where that is not known, because
    the policy never ran and the expectation has no ``since``. Of several for the same labels, the worst counts.

    A scrape costs one query of the database, and one more with expectations. They take longer the more different
    triples of policy, agent and task type there are, not the more runs. If the store fails, so does the scrape.
    Register it with ``registry.register(LastSuccesses(store))``.
    """

    def __init__(
        self,
        store: Store,
        *,
        expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]] = (),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Make a collector.

        Args:
            store: The store to read, which is one tenant's view.
            expectations: What you expect, or a function that returns it and is called by each scrape. There are as many
                series as you expect runs.
            now: The clock to measure ages with.
        """
        self._store = store
        self._expectations = expectations
        self._now = now

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics, so that registering does not read the store."""
        yield from (_gauge(name) for name in _GAUGES)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the store."""
        now = self._now()
        yield from self._successes(now)
        expected = expectations_now(self._expectations)
        if expected:
            yield from self._overdue(expected, now)

    def _successes(self, now: datetime) -> Iterator[GaugeMetricFamily]:
        timestamps, ages, sizes = (
            _gauge(f"backup_last_{name}") for name in ("success_timestamp_seconds", "success_age_seconds", "size_bytes")
        )
        last = dict[UUID, BackupRun]()
        for run in newest_runs(self._store, RunQuery(status="success"), ["policy_id", "task_type"]):
            last[run.policy_id] = max(last.get(run.policy_id, run), run, key=place_of)
            if run.task_type == "backup" and run.stats and run.stats.total_bytes_processed is not None:
                sizes.add_metric([str(run.policy_id)], run.stats.total_bytes_processed)
        for policy_id, run in last.items():
            timestamps.add_metric([str(policy_id)], run.ended_at.timestamp())
            ages.add_metric([str(policy_id)], max(0.0, (now - run.ended_at).total_seconds()))
        yield from (timestamps, ages, sizes)

    def _overdue(self, expected: list[Expectation], now: datetime) -> Iterator[GaugeMetricFamily]:
        overdue, seconds = _gauge("backup_overdue"), _gauge("backup_overdue_seconds")
        late: dict[tuple[str, str, str], list[float | None]] = {_labels(each): [] for each in expected}
        for each in find_overdue(self._store, expected, now=now):
            late[_labels(each.expectation)].append(each.late_seconds)
        for labels, lateness in late.items():
            known = [each for each in lateness if each is not None]
            overdue.add_metric(labels, bool(lateness))
            if len(known) == len(lateness):
                seconds.add_metric(labels, max(known, default=0))
        yield from (overdue, seconds)


_POLICY: Final = ("policy_id",)
_EXPECTED: Final = ("policy_id", "agent_id", "task_type")
_GAUGES: Final = {
    "backup_last_success_timestamp_seconds": ("When a policy's last success ended.", _POLICY),
    "backup_last_success_age_seconds": ("How long ago a policy's last success ended.", _POLICY),
    "backup_last_size_bytes": ("How much a policy's last successful backup processed.", _POLICY),
    "backup_overdue": ("Whether a run that was expected has not been reported in time.", _EXPECTED),
    "backup_overdue_seconds": ("How long ago such a run should have been reported.", _EXPECTED),
}


def _gauge(name: str) -> GaugeMetricFamily:
    meaning, labels = _GAUGES[name]
    return GaugeMetricFamily(name, meaning, labels=labels)


def _labels(expectation: Expectation) -> tuple[str, str, str]:
    """Return the labels of what is expected; one that is empty is the same as none."""
    agent_id = "" if expectation.agent_id is None else str(expectation.agent_id)
    return str(expectation.policy_id), agent_id, expectation.task_type
