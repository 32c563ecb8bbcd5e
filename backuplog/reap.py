"""Giving up tasks that were not heard of for too long."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import attrs

from .change import Decision, StoredRun
from .errors import AgentNotFound, FieldError, InvalidQuery
from .model import BackupRun, RunQuery
from .normalise import ACTIVE_STATUSES, LOST
from .query import all_runs
from .report import moment
from .store import Store, require_store

_BATCH: Final = 200


@attrs.frozen(kw_only=True)
class _Reaping:
    """The change that gives up a task, if it was still not heard of."""

    run_id: UUID
    silent_since: datetime
    requires_agent: None = None

    def decide(self, stored: StoredRun | None) -> Decision[BackupRun | None]:
        """Decide to make the run a lost one, and answer with it; with None if it is to stay as it is."""
        if stored is None or stored.run.updated_at >= self.silent_since:
            return Decision(answer=None)
        if stored.run.status == LOST:  # already, such as by a call whose answer was lost
            return Decision(answer=stored.run)
        if not stored.run.is_active:
            return Decision(answer=None)
        run = attrs.evolve(stored.run, status=LOST)
        return Decision(answer=run, write=attrs.evolve(stored, run=run))


def reap_stale(store: Store, *, after: timedelta, now: datetime | None = None) -> list[BackupRun]:
    """Give up tasks that are pending or running and were not heard of for too long: their runs become ``lost``.

    A task is heard of by a result that says something new, or by a piece of its log. What comes of a lost task after
    all, a result or more of its log, takes the place of what is stored, as if the task had been running all the time.

    Args:
        store: The store to use.
        after: For how long a task must not have been heard of. Allow more than your agents ever leave between two
            reports.
        now: The time to count back from; by default the present.

    Returns:
        The runs that are lost now and were not before, newest first.

    Raises:
        InvalidQuery: ``after`` is negative or no ``timedelta``, or ``now`` has no time zone.
        StoreError: The store failed. What was given up before is stored.
    """
    require_store(store)
    if not isinstance(after, timedelta) or after < timedelta(0):
        raise InvalidQuery([FieldError("after", "must be a timedelta of 0 or more")])
    try:
        silent_since = moment(now) - after
    except OverflowError:  # Nothing was heard of before year 1.
        return []
    active = all_runs(store, RunQuery(status=sorted(ACTIVE_STATUSES)))
    silent = (run for run in active if run.updated_at < silent_since)
    reaped: list[BackupRun] = []
    while batch := [_Reaping(run_id=run.id, silent_since=silent_since) for run in islice(silent, _BATCH)]:
        # A run that is being changed just now is being heard of.
        answers = store.call(store.backend.submit, batch, skip_locked=True)
        reaped += [run for run in answers if run is not None and not isinstance(run, AgentNotFound)]
    return reaped
