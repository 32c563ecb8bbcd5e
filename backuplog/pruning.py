"""Removing the runs and logs that a policy does not keep."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import attrs

from .model import BackupRun, RunQuery
from .normalise import REPORTED_STATUSES
from .query import all_runs, newest_run
from .report import kind_of, moment, place_of
from .retention import Due, RetentionPolicy, has_log
from .row import GROUP_COLUMNS
from .store import Store, require_store
from .sweep import Pause, PruneReport, Removal, Sweep, removal_of

_ROUND: Final = 20_000

_Kind = tuple[UUID, UUID, str]


def prune(
    store: Store,
    policy: RetentionPolicy,
    *,
    now: datetime | None = None,
    dry_run: bool = False,
    budget: timedelta | None = None,
    pause: Pause = time.sleep,
    on_progress: Callable[[PruneReport], object] | None = None,
) -> PruneReport:
    """Remove the runs and logs that a policy does not keep, while agents go on sending results.

    What is due is looked for without any lock, and removed in transactions of at most 200 runs and 4 MiB of logs, each
    of which aims to take less than 50 ms and is followed by a pause of the same length. A run that was changed
    meanwhile stays. It may be stopped at any time, be it by ``kill -9``: nothing is half removed, and the next call
    goes on. If two processes prune the same store, one of them stops.

    Do not call it on a view that ``bound_to`` returned: all would be one transaction.

    Args:
        store: The store to use. Only its tenant's runs are removed.
        policy: What to keep.
        now: The time to measure ages at; by default the present.
        dry_run: Whether to remove nothing, and say what would be removed.
        budget: For how long to go on; by default until all is done.
        pause: How to wait between two transactions. Give the ``wait`` of a ``threading.Event`` to be able to stop it.
        on_progress: Called after each transaction with the report so far.

    Returns:
        What was removed and what was kept, and whether all is done. If the answer of the database to a transaction was
        lost, what that transaction removed is not counted.

    Raises:
        InvalidQuery: ``now`` has no time zone, or ``budget`` is negative.
        TypeError: ``policy`` is none.
        StoreError: The store failed. What was removed before stays removed.
    """
    require_store(store)
    given: object = policy
    if not isinstance(given, RetentionPolicy):
        raise TypeError(f"policy must be a RetentionPolicy, not a {type(given).__name__}")
    sweep = Sweep(store, budget=budget, pause=pause, on_progress=on_progress, dry_run=dry_run)
    due = _due(store, policy, moment(now), sweep)
    # In rounds by kind, so that what keeps the runs of one kind is asked for by few batches.
    while found := list(islice(due, _ROUND)):
        found.sort(key=lambda pair: pair[0])
        kinds = {removal.run_id: kind for kind, removal in found}
        removals = deque(removal for _, removal in found)
        while removals and not sweep.is_over:
            batch = sweep.take(removals)
            kept = _kept(store, policy, {kinds[removal.run_id] for removal in batch})
            if policy.keep is not None:
                kept |= _held(store, policy.keep, [removal for removal in batch if removal.run_id not in kept])
            sweep.kept.update(kept[removal.run_id] for removal in batch if removal.run_id in kept)
            sweep.remove([removal for removal in batch if removal.run_id not in kept])
        if sweep.is_over:
            return sweep.report()
    return sweep.report(is_finished=not sweep.is_over and sweep.give_all_back())


def _due(store: Store, policy: RetentionPolicy, now: datetime, sweep: Sweep) -> Iterator[tuple[_Kind, Removal]]:
    """Find what is due, newest first, but for what is active."""
    for run, due in _aged(store, policy, now):
        if sweep.is_over:
            return
        if due is not None and run.is_active:
            sweep.kept["active"] += 1
        elif due is not None:
            yield kind_of(run), removal_of(run, log_only=due is Due.LOG)


def _aged(store: Store, policy: RetentionPolicy, now: datetime) -> Iterator[tuple[BackupRun, Due | None]]:
    """List runs with what is due for them because of their age, or because newer logs fill the room for logs."""
    room = policy.log_bytes
    for query in _where_to_look(policy, now):
        for run in all_runs(store, query):
            due = policy.due(run, now)
            if due is None and room is not None and has_log(run):
                room -= run.log_bytes
                # Once one does not fit in, no older one does, be it ever so short.
                due = Due.LOG if room < 0 else None
            yield run, due


def _where_to_look(policy: RetentionPolicy, now: datetime) -> list[RunQuery]:
    """Return which runs may be due: those that are old, and those that an agent's clock has put into the future."""
    if policy.log_bytes is not None:
        return [RunQuery()]
    try:
        return [] if policy.youngest is None else [RunQuery(since=now), RunQuery(until=now - policy.youngest)]
    except OverflowError:  # No run is older than year 1.
        return []


def _kept(store: Store, policy: RetentionPolicy, kinds: set[_Kind]) -> dict[UUID, str]:
    """Find the runs of some kinds that are kept whatever their age, and say which rule keeps them."""
    kept: dict[UUID, str] = {}
    for policy_id, agent_id, task_type in kinds:
        kind = RunQuery(policy_id=policy_id, agent_id=agent_id, task_type=task_type)
        if policy.keep_last:
            first = store.call(store.backend.list_newest, kind, GROUP_COLUMNS, limit=policy.keep_last)
            kept |= {run.id: "keep_last" for run in first}
        # One search for each status: for both at once, a database would sort all runs of the kind.
        newest = (newest_run(store, attrs.evolve(kind, status=status)) for status in REPORTED_STATUSES)
        ended = [run for run in newest if run]
        success = [run for run in ended if run.status == "success"]
        kept |= {run.id: "last_success" for run in [*success, *sorted(ended, key=place_of)[-1:]]}
    return kept


def _held(store: Store, keep: Callable[[BackupRun], bool], removals: list[Removal]) -> dict[UUID, str]:
    """Ask of runs as they are now whether they are to be kept."""
    held: dict[UUID, str] = {}
    for removal in removals:
        stored = store.call(store.backend.find_run, removal.run_id)
        if stored is not None and keep(stored.run):
            held[removal.run_id] = "keep"
    return held
