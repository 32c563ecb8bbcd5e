"""Which runs are unlike those before them."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import attrs

from .errors import FieldError, InvalidQuery
from .model import FIGURES, BackupRun, LogState, RunQuery
from .normalise import REPORTED_STATUSES
from .report import kind_of, place_of, report_query
from .row import GROUP_COLUMNS
from .store import Store

COMPARED_FIGURES: Final = ("duration_seconds", "data_added", "total_bytes_processed", "total_files_processed")
"""The figures that are compared, if nothing else is said."""

FEWEST_RUNS: Final = 3
"""The fewest runs that a run can be compared with."""

_KNOWN: Final = frozenset({"duration_seconds", "log_bytes", *FIGURES, "data_added_packed", "data_compressed"})
# https://en.wikipedia.org/wiki/Median_absolute_deviation: with this the MAD of normally distributed values is their
# standard deviation.
_AS_DEVIATION: Final = 1.4826
_LEAST_SPREAD: Final = 0.05
_MOST_COMPARED: Final = 1_000


@attrs.frozen(kw_only=True)
class Anomaly:
    """A figure of a run that is far from what it was in the runs before.

    Attributes:
        run: The run.
        figure: The name of the figure, such as ``data_added``.
        value: What it is, in seconds, bytes or files.
        median: The median of the runs before.
        spread: How far a run usually is from the median: the median absolute deviation times 1.4826, but at least 5 %
            of the median, and at least 1.
        compared: How many runs before it have the figure.
        score: How many spreads the value is above the median, or below it if negative.
    """

    run: BackupRun
    figure: str
    value: float
    median: float
    spread: float
    compared: int
    score: float


def find_anomalies(
    store: Store,
    query: RunQuery | None = None,
    *,
    figures: Iterable[str] = COMPARED_FIGURES,
    compared: int = 30,
    minimum_runs: int = 7,
    threshold: float = 3.5,
) -> list[Anomaly]:
    """Find the newest runs whose figures are far from those of the runs before them.

    The newest run of each agent, policy and task type is compared with up to ``compared`` runs before it, by the rule
    of ``anomalies_of``. The runs of one policy at a time are read, and held in memory.

    Args:
        store: The store to use.
        query: Which runs to look at; by default all of the tenant's. It takes no ``status`` and no ``cursor``; its
            ``limit`` does not matter.
        figures: The figures to compare, as in ``anomalies_of``.
        compared: How many runs before the newest to compare it with at most, up to 1,000.
        minimum_runs: How many of them must have a figure, 3 or more; with fewer, nothing is said of it.
        threshold: From which score on, above or below, a figure is an anomaly; more than 0.

    Returns:
        What is unusual, the greatest score first, whichever its sign.

    Raises:
        InvalidQuery: A figure is not known, a number is out of its range, or the query has a filter that makes no sense
            here; the error names each of them.
        StoreError: The store failed.
    """
    query = attrs.evolve(report_query(store, query, refused=("status", "cursor")), status=REPORTED_STATUSES)
    names = tuple(figures)
    _require_sense(names, minimum_runs, threshold)
    if isinstance(compared, bool) or not isinstance(compared, int) or not minimum_runs <= compared <= _MOST_COMPARED:
        raise InvalidQuery([FieldError("compared", f"must be a whole number from minimum_runs to {_MOST_COMPARED:,}")])
    found: list[Anomaly] = []
    for policy in store.call(store.backend.list_newest, query, ["policy_id"]):
        of_policy = attrs.evolve(query, policy_id=policy.policy_id)
        history = store.call(store.backend.list_newest, of_policy, GROUP_COLUMNS, limit=compared + 1)
        found += anomalies_of(history, figures=names, minimum_runs=minimum_runs, threshold=threshold)
    return sorted(found, key=_worst_first)


def anomalies_of(
    history: Iterable[BackupRun],
    *,
    figures: Iterable[str] = COMPARED_FIGURES,
    minimum_runs: int = 7,
    threshold: float = 3.5,
) -> list[Anomaly]:
    """Compare the newest run of each agent, policy and type with those before it.

    Only runs with the status ``success`` or ``warning`` that were no dry runs take part. The score is the modified
    z-score of Iglewicz and Hoaglin (How to Detect and Handle Outliers, 1993), who recommend 3.5: a few odd runs in the
    history do not move it. As the spread is at least 5 % of the median and 1, a figure that was always the same may
    change by 17.5 %.

    Args:
        history: Runs in any order, such as the newest 30 of each agent, policy and type. All are held in memory.
        figures: The figures to compare: ``duration_seconds``, ``log_bytes`` and figures of ``RunStats`` that are sizes
            or numbers of files or folders. A run in which one is unknown does not count for it.
        minimum_runs: How many runs before the newest must have a figure, 3 or more; with fewer, nothing is said of it.
        threshold: From which score on, above or below, a figure is an anomaly; more than 0.

    Returns:
        What is unusual, the greatest score first, whichever its sign.

    Raises:
        InvalidQuery: A figure is not known, or a number is out of its range; the error names each of them.
    """
    names = tuple(dict.fromkeys(figures))
    _require_sense(names, minimum_runs, threshold)
    groups: defaultdict[tuple[UUID, UUID, str], list[BackupRun]] = defaultdict(list)
    for run in history:
        if run.status in REPORTED_STATUSES and not run.is_dry_run:
            groups[kind_of(run)].append(run)
    found = list[Anomaly]()
    for runs in groups.values():
        newest = max(runs, key=place_of)
        for name in names:
            value = _figure(newest, name)
            before = [known for run in runs if run is not newest and (known := _figure(run, name)) is not None]
            if value is None or len(before) < minimum_runs:
                continue
            anomaly = _compared(newest, name, value, before)
            if abs(anomaly.score) > threshold:
                found.append(anomaly)
    return sorted(found, key=_worst_first)


def _worst_first(anomaly: Anomaly) -> tuple[float, UUID, str]:
    return -abs(anomaly.score), anomaly.run.id, anomaly.figure


def _require_sense(names: tuple[str, ...], minimum_runs: int, threshold: float) -> None:
    errors = list[FieldError]()
    if not set(names) <= _KNOWN:
        errors.append(FieldError("figures", f"must be among {', '.join(sorted(_KNOWN))}"))
    if isinstance(minimum_runs, bool) or not isinstance(minimum_runs, int) or minimum_runs < FEWEST_RUNS:
        errors.append(FieldError("minimum_runs", f"must be a whole number, {FEWEST_RUNS} or more"))
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not threshold > 0:
        errors.append(FieldError("threshold", "must be a number of more than 0"))
    if errors:
        raise InvalidQuery(errors)


def _figure(run: BackupRun, name: str) -> float | None:
    """Return a figure of a run; None if it is unknown."""
    if name == "duration_seconds":
        return run.duration_seconds
    if name == "log_bytes":
        return None if run.log_state == LogState.NONE else run.log_bytes + run.dropped_bytes
    figure: float | None = None if run.stats is None else getattr(run.stats, name)
    return figure


def _compared(run: BackupRun, figure: str, value: float, before: list[float]) -> Anomaly:
    from statistics import median  # noqa: PLC0415 - with it come fractions, decimal and random: 2 % of all to import

    middle = median(before)
    deviation = median(abs(each - middle) for each in before)
    spread = max(_AS_DEVIATION * deviation, _LEAST_SPREAD * middle, 1.0)
    return Anomaly(
        run=run,
        figure=figure,
        value=value,
        median=middle,
        spread=spread,
        compared=len(before),
        score=(value - middle) / spread,
    )
