"""Metrics for Prometheus. Needs the extra ``prometheus``."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import GaugeMetricFamily
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.metrics needs {missing.name}: pip install 'backuplog[prometheus]'", name=missing.name
    ) from missing

from .errors import LogLost
from .normalise import STATUSES
from .observe import IngestEvent
from .query import last_successes
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

    The metrics are ``backup_last_success_timestamp_seconds{policy_id}`` and
    ``backup_last_success_age_seconds{policy_id}``. A policy that never succeeded is in neither. If the store fails, so
    does the scrape. Register it with ``registry.register(LastSuccesses(store))``.
    """

    def __init__(self, store: Store, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Make a collector.

        Args:
            store: The store to read, which is one tenant's view.
            now: The clock to measure ages with.
        """
        self._store = store
        self._now = now

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Name the metrics, so that registering does not read the store."""
        yield from _gauges()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the store."""
        timestamps, ages = _gauges()
        now = self._now()
        for run in last_successes(self._store):
            ended = run.end_time or run.start_time
            timestamps.add_metric([str(run.policy_id)], ended.timestamp())
            ages.add_metric([str(run.policy_id)], (now - ended).total_seconds())
        yield from (timestamps, ages)


def _gauges() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
    labels = ["policy_id"]
    return (
        GaugeMetricFamily(
            "backup_last_success_timestamp_seconds", "When a policy's last success ended.", labels=labels
        ),
        GaugeMetricFamily(
            "backup_last_success_age_seconds", "How long ago a policy's last success ended.", labels=labels
        ),
    )
