"""Removing many runs or logs without making anybody wait: small transactions, and a pause after each."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from enum import Enum, auto
from typing import Final
from uuid import UUID

import attrs

from .change import Decision, StoredRun
from .errors import FieldError, InvalidQuery
from .expire import expiry
from .model import BackupRun
from .retention import has_log
from .store import Store

_FIRST_BATCH: Final = 50
_LARGEST_BATCH: Final = 200
_BATCH_BYTES: Final = 4 * 1024 * 1024
_SLOW_SECONDS: Final = 0.05
_QUICK_SECONDS: Final = 0.01
_GONE_BATCHES: Final = 3

Pause = Callable[[float], object]
"""Waits for so many seconds, as ``time.sleep`` does; True ends the work, as ``threading.Event.wait`` returns it."""


class Removed(Enum):
    """What became of a run that was to be removed."""

    YES = auto()
    """It is removed, or its log is."""
    CHANGED = auto()
    """It is not as it was read any more, and stays."""
    GONE = auto()
    """It is not there, or somebody is changing it just now."""


@attrs.frozen(kw_only=True)
class Removal:
    """The change that removes a run, or its log only, if it is still as it was read.

    Attributes:
        run_id: The id of the run.
        log_bytes: How many bytes of its log are stored; None if none is.
        read: The hash of the run as it was read; None to remove it however it is.
        log_only: Whether the run stays.
    """

    run_id: UUID
    log_bytes: int | None
    read: int | None = None
    log_only: bool = False
    requires_agent: None = None

    def decide(self, stored: StoredRun | None) -> Decision[Removed]:
        """Decide to remove what is stored, and answer what became of it."""
        if stored is None:
            return Decision(answer=Removed.GONE)
        if self.read not in (None, hash(stored.run)):
            return Decision(answer=Removed.CHANGED)
        if not self.log_only:
            return Decision(answer=Removed.YES, remove=True)
        expired = expiry(stored)
        if expired is None:
            return Decision(answer=Removed.CHANGED)
        return Decision(answer=Removed.YES, write=expired.write, drop=expired.drop, drop_later=True)


def removal_of(run: BackupRun, *, log_only: bool = False, is_checked: bool = True) -> Removal:
    """Return the removal of a run as it was read; unchecked, of whatever it has become."""
    return Removal(
        run_id=run.id,
        log_bytes=run.log_bytes if has_log(run) else None,
        read=hash(run) if is_checked else None,
        log_only=log_only,
    )


@attrs.frozen(kw_only=True)
class PruneReport:
    """What was removed, and what was kept.

    Attributes:
        runs_removed: Runs that were removed, with their logs.
        logs_removed: Logs that were removed, with their runs or without.
        log_bytes_removed: Bytes of those logs, as they were read. They took less room, because logs are compressed.
        bytes_given_back: Bytes by which the file of a SQLite database became smaller, or that partitions of PostgreSQL
            took which were dropped. What is not given back is used again.
        kept: How many runs were due and kept, by the reason: ``keep_last``, ``last_success``, ``keep``, ``active``,
            ``changed`` for those that were changed since they were found, or ``busy`` for those that somebody else was
            changing or removing.
        batches: Transactions that it took.
        slowest_batch_seconds: How long the slowest of them took, in seconds.
        is_finished: Whether all that is due is removed and, after ``prune``, no room is left to give back: neither a
            part of the file of a SQLite database, nor a partition of PostgreSQL that can be dropped now. If not,
            because of the budget, or because others were changing or removing the same runs, call it again.
        is_dry_run: Whether nothing was removed, and the report says what would have been.
    """

    runs_removed: int = 0
    logs_removed: int = 0
    log_bytes_removed: int = 0
    bytes_given_back: int = 0
    kept: Mapping[str, int] = attrs.field(factory=dict[str, int])
    batches: int = 0
    slowest_batch_seconds: float = 0.0
    is_finished: bool = False
    is_dry_run: bool = False


class Sweep:
    """One call that removes much: its pace, its budget, and its report so far."""

    def __init__(
        self,
        store: Store,
        *,
        budget: timedelta | None,
        pause: Pause,
        on_progress: Callable[[PruneReport], object] | None,
        dry_run: bool = False,
    ) -> None:
        """Begin.

        Args:
            store: The store to remove from.
            budget: When to stop, as ``prune`` takes it.
            pause: How to wait between batches.
            on_progress: Whom to tell after each batch.
            dry_run: Whether to count only.

        Raises:
            InvalidQuery: The budget is negative or no ``timedelta``.
        """
        if budget is not None and not (isinstance(budget, timedelta) and budget >= timedelta(0)):
            raise InvalidQuery([FieldError("budget", "must be a timedelta of 0 or more")])
        self.kept = Counter[str]()
        self._report = PruneReport(is_dry_run=dry_run)
        self._store = store
        self._deadline = None if budget is None else time.monotonic() + budget.total_seconds()
        self._pause = pause
        self._on_progress = on_progress
        self._size = _LARGEST_BATCH if dry_run else _FIRST_BATCH
        self._gone = 0
        self._is_stopped = False

    @property
    def is_over(self) -> bool:
        """Whether to stop: the budget is used up, or somebody wants it, or somebody else is doing the same."""
        return self._is_stopped or (self._deadline is not None and time.monotonic() >= self._deadline)

    def report(self, *, is_finished: bool = False) -> PruneReport:
        """Return what has been done so far."""
        is_finished = is_finished and not self.kept["busy"]
        return attrs.evolve(self._report, kept=dict(sorted((+self.kept).items())), is_finished=is_finished)

    def take(self, removals: deque[Removal]) -> list[Removal]:
        """Take as many removals as one transaction should make, at least one."""
        batch: list[Removal] = []
        room = _BATCH_BYTES
        while removals and len(batch) < self._size and (not batch or room >= (removals[0].log_bytes or 0)):
            batch.append(removals.popleft())
            room -= batch[-1].log_bytes or 0
        return batch

    def remove(self, batch: list[Removal]) -> int:
        """Remove runs and logs in one transaction, and wait for as long as it took.

        Returns:
            How many were removed.
        """
        if not batch:
            return 0
        if self._report.is_dry_run:
            self._count(batch)
            return len(batch)
        begun = time.monotonic()
        # What somebody is changing just now is left to the next time: nobody is to wait for another's transaction.
        answers = self._store.call(self._store.backend.submit, batch, skip_locked=True)
        removed = [removal for removal, answer in zip(batch, answers, strict=True) if answer is Removed.YES]
        self._count(removed)
        self.kept["changed"] += sum(answer is Removed.CHANGED for answer in answers)
        self.kept["busy"] += sum(answer is Removed.GONE for answer in answers)
        self._set_pace(time.monotonic() - begun)
        self._stop_if_behind(batch, answers)
        if removed:
            self._give_back()
        return len(removed)

    def give_all_back(self) -> bool:
        """Give room back until there is too little to be worth it.

        Returns:
            Whether it came so far, and did not have to stop before.
        """
        if self._report.is_dry_run:
            return True
        while not self.is_over:
            if self._give_back() == 0:
                return True
        return False

    def _count(self, removed: list[Removal]) -> None:
        report = self._report
        logs = [removal.log_bytes for removal in removed if removal.log_bytes is not None]
        self._report = attrs.evolve(
            report,
            runs_removed=report.runs_removed + sum(not removal.log_only for removal in removed),
            logs_removed=report.logs_removed + len(logs),
            log_bytes_removed=report.log_bytes_removed + sum(logs),
        )

    def _stop_if_behind(self, batch: list[Removal], answers: Sequence[object]) -> None:
        """Stop if somebody else removes the same runs, and is ahead: this one would only slow them down."""
        is_behind = (
            all(answer is Removed.GONE for answer in answers)
            and self._store.call(self._store.backend.find_run, batch[0].run_id) is None
        )
        self._gone = self._gone + 1 if is_behind else 0
        self._is_stopped = self._is_stopped or self._gone >= _GONE_BATCHES

    def _set_pace(self, seconds: float) -> None:
        """Fit the next batch to how long this one took, and let others have their turn."""
        if seconds > _SLOW_SECONDS:
            self._size = max(1, self._size // 2)
        elif seconds < _QUICK_SECONDS:
            self._size = min(_LARGEST_BATCH, self._size * 2)
        slowest = max(self._report.slowest_batch_seconds, seconds)
        self._report = attrs.evolve(self._report, batches=self._report.batches + 1, slowest_batch_seconds=slowest)
        if self._on_progress is not None:
            self._on_progress(self.report())
        self._wait(seconds)

    def _give_back(self) -> int | None:
        begun = time.monotonic()
        given_back = self._store.call(self._store.backend.reclaim)
        if given_back != 0:
            given_so_far = self._report.bytes_given_back + (given_back or 0)
            self._report = attrs.evolve(self._report, bytes_given_back=given_so_far)
            self._wait(time.monotonic() - begun)
        return given_back

    def _wait(self, seconds: float) -> None:
        if self._pause(seconds) is True:
            self._is_stopped = True
