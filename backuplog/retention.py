"""What may go, and what stays: the policy, and the pure decision about one run."""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import attrs

from . import normalise
from .change import READABLE_STATES
from .errors import FieldError, InvalidQuery
from .model import BackupRun, refusing_with

_MOST_KEPT: Final = 1_000


class Due(StrEnum):
    """What is due for a run because of its age."""

    RUN = "run"
    """The run is to be removed, with its log."""
    LOG = "log"
    """Its log is to be removed."""


def _as_age(value: timedelta | None) -> timedelta | None:
    if value is not None and not (isinstance(value, timedelta) and value >= timedelta(0)):
        raise ValueError("must be a timedelta of 0 or more")
    return value


def _as_keep_last(value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _MOST_KEPT:
        raise ValueError(f"must be a whole number from 0 to {_MOST_KEPT:,}")
    return value


def _as_predicate(value: Callable[[BackupRun], bool] | None) -> Callable[[BackupRun], bool] | None:
    if value is not None and not callable(value):
        raise ValueError("must be a function that takes a run")
    return value


@refusing_with(InvalidQuery)
@attrs.frozen(kw_only=True)
class RetentionPolicy:
    """How long runs and their logs are kept.

    A run's age counts from the last time that anything was received of it, by our own clock: an agent's clock makes no
    run old, and keeps none. Tasks that are pending or running are never touched. What is not given removes nothing.

    Attributes:
        runs: The age at which a run is removed, with its log.
        logs: The age at which the log of a run is removed; the run stays.
        failed_logs: The same for runs that failed or were lost; by default as ``logs``.
        log_bytes: How many bytes of logs to keep: the newest that fit in. Older logs are removed, whatever their age. A
            log that its age removes, or that only one of the rules below keeps, does not count.
        keep_last: How many of the newest runs of each agent, policy and task type to keep, with their logs, at most
            1,000. The last run with status ``success``, and the last with status ``success`` or ``warning``, are always
            kept with their logs; dry runs are none.
        keep: Says of a run that is due whether it stays nevertheless, such as because of a legal hold. It is asked
            right before the transaction that would remove the run or its log, and outside of it.

    Raises:
        InvalidQuery: Fields are malformed, or logs are to be kept for longer than runs; the error names each of them.
    """

    runs: timedelta | None = attrs.field(default=None, converter=_as_age)
    logs: timedelta | None = attrs.field(default=None, converter=_as_age)
    failed_logs: timedelta | None = attrs.field(default=None, converter=_as_age)
    log_bytes: int | None = attrs.field(default=None, converter=normalise.as_count)
    keep_last: int = attrs.field(default=0, converter=_as_keep_last)
    keep: Callable[[BackupRun], bool] | None = attrs.field(default=None, converter=_as_predicate)

    def __attrs_post_init__(self) -> None:
        """Make sure that no log is to outlive its run."""
        errors = [
            FieldError(name, "must not be more than runs: a log goes with its run")
            for name in ("logs", "failed_logs")
            if self.runs is not None and (getattr(self, name) or timedelta(0)) > self.runs
        ]
        if errors:
            raise InvalidQuery(errors)

    @property
    def youngest(self) -> timedelta | None:
        """The age below which nothing is due; None if nothing ever is because of its age."""
        return min((age for age in (self.runs, self.logs, self.failed_logs) if age is not None), default=None)

    def due(self, run: BackupRun, now: datetime) -> Due | None:
        """Return what the age of a run makes due, not counting what keeps it.

        Args:
            run: The run.
            now: The time at which to measure its age.
        """
        age = now - run.updated_at
        if self.runs is not None and age > self.runs:
            return Due.RUN
        is_failed = run.status in normalise.FAILED_STATUSES
        logs = self.failed_logs if is_failed and self.failed_logs is not None else self.logs
        return Due.LOG if logs is not None and age > logs and has_log(run) else None


def has_log(run: BackupRun) -> bool:
    """Return whether bytes of a run's log are stored."""
    return run.log_state in READABLE_STATES
