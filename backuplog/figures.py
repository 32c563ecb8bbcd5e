"""Reading stored logs again for their figures."""

from uuid import UUID

import attrs

from .change import READABLE_STATES, Amendment, StoredRun
from .delivery import joined
from .errors import CorruptLog, LogReplaced
from .log import pieces_of
from .model import RunQuery, RunStats
from .parsers import parse_log
from .query import query_runs
from .store import Store


@attrs.frozen(kw_only=True)
class ReparseReport:
    """What became of the logs of one page of runs.

    Attributes:
        read: How many logs were read.
        changed: How many runs have other figures now.
        damaged: The runs whose logs could not be read, because they are damaged.
        next_cursor: The ``cursor`` to go on with; None after the last page.
    """

    read: int
    changed: int
    damaged: tuple[UUID, ...]
    next_cursor: str | None


def reparse(store: Store, query: RunQuery, *, overwrite: bool = False) -> ReparseReport:
    """Read the logs of a page of runs again, such as after an update that understands more of them.

    Call it again with the ``next_cursor`` of the report until that is None. It may be stopped and gone on with at any
    time; one log at a time is read, one chunk of it at a time, outside of any transaction.

    Args:
        store: The store to use. Its ``parsers`` read the logs.
        query: The runs, and how many in this call. Those without a log, or whose task has not ended, are left as they
            are.
        overwrite: Whether figures from the log replace those that the run has, which may have come from its agent. By
            default they only fill in what is missing.

    Returns:
        How many logs were read, and where to go on.

    Raises:
        InvalidQuery: The cursor is malformed, or belongs to another query.
        StoreError: The store failed. What was done before is stored.
    """
    page = query_runs(store, attrs.evolve(query, with_total=False))
    read, changed, damaged = 0, 0, list[UUID]()
    for run in page.runs:
        stored = store.call(store.backend.find_run, run.id)
        if stored is None or stored.run.is_active or stored.run.log_state not in READABLE_STATES:
            continue
        try:
            told = parse_log(
                pieces_of(store, stored, 0, stored.run.log_bytes), task_type=run.task_type, tools=store.parsers
            )
        except LogReplaced:  # Whatever took its place has been read when it came.
            continue
        except CorruptLog:
            damaged.append(run.id)
            continue
        read += 1
        write = _with_figures(stored, told, overwrite=overwrite)
        if write != stored:
            changed += store.call(store.backend.submit, [Amendment(read=stored, write=write)]) == [True]
    return ReparseReport(read=read, changed=changed, damaged=tuple(damaged), next_cursor=page.next_cursor)


def _with_figures(stored: StoredRun, told: RunStats | None, *, overwrite: bool) -> StoredRun:
    run = stored.run
    stats = joined(told, run.stats) if overwrite else joined(run.stats, told)
    named = told.snapshot_id if told and overwrite else None
    snapshot_id = named or run.snapshot_id or (stats.snapshot_id if stats else None)
    return attrs.evolve(stored, run=attrs.evolve(run, stats=stats, snapshot_id=snapshot_id))
