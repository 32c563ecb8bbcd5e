"""Seeing that every log can be read, and that nothing is stored that belongs to none."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final
from uuid import UUID

import attrs

from .backend import StoredLog
from .change import READABLE_STATES, StoredRun
from .errors import InvalidQuery, LogReplaced, StoreError, StoreUnavailable
from .log import pieces_of, retry_if_replaced
from .model import LogState, RunQuery
from .normalise import argument, as_optional_duration
from .query import cursor_after, query_runs, require_query
from .store import Store, require_store

_PAGE: Final = 100
_PAGE_OF_LOGS: Final = 1_000
_MOST_NAMED: Final = 1_000
_ALL_RUNS: Final = RunQuery(limit=_PAGE, with_total=False)
_END_OF_ANY_LOG: Final = 2**62


@attrs.frozen(kw_only=True)
class CheckReport:
    """What a call of ``check_logs`` has found so far.

    Attributes:
        runs: How many runs were looked at.
        logs: How many logs were read to their end and are whole.
        log_bytes: Bytes of those logs, as they are read. They take less room, because logs are compressed.
        damaged_logs: How many logs cannot be read.
        damaged: Why the log of a run cannot be read, by the run's id; the first 1,000 of them.
        lost_logs: How many logs are lost: they could not be stored when they came, which is no damage of the store.
            Their runs have the state ``lost``, and sending the result again stores the log.
        unsettled_logs: How many logs were replaced during each of ten attempts to read them.
        orphaned_logs: How many logs are stored that no run refers to; None if that is not known, because the call ended
            before, or looked at some runs only, or because the backend cannot tell.
        orphaned: The id of the run and the version under which each of those is stored; the first 1,000 of them.
        next_cursor: The ``cursor`` of the query to go on with; None once all runs have been seen.
    """

    runs: int = 0
    logs: int = 0
    log_bytes: int = 0
    damaged_logs: int = 0
    damaged: Mapping[UUID, str] = attrs.field(factory=dict[UUID, str])
    lost_logs: int = 0
    unsettled_logs: int = 0
    orphaned_logs: int | None = None
    orphaned: tuple[tuple[UUID, int], ...] = ()
    next_cursor: str | None = None


def check_logs(
    store: Store,
    query: RunQuery | None = None,
    *,
    max_seconds: float | None = None,
    on_progress: Callable[[CheckReport], object] | None = None,
) -> CheckReport:
    """Read every log, and see that it is what was received: each chunk by its checksum, the whole by its SHA-256.

    Nothing is written, and nobody waits: one chunk at a time is read, outside of any transaction. Runs that are
    changed or removed meanwhile are no damage. You may stop it at any time.

    Once all runs of the tenant have been seen, what is stored is looked through for logs that no run refers to. They
    take room and do no other harm. There are none, unless somebody has removed runs by hand or restored a part of the
    database only. What is left of expired logs in a partition, with which it goes, is not among them.

    Args:
        store: The store to use.
        query: The runs whose logs to read, newest first; by default all of the tenant's. Give the report's
            ``next_cursor`` as its ``cursor`` to go on. Its ``limit`` has no effect.
        max_seconds: Stop after the log during which so many seconds have passed; None for no limit.
        on_progress: Called with the report so far after each log, and after each 1,000 that are looked through.

    Returns:
        The report.

    Raises:
        InvalidQuery: The cursor does not belong to this query, or another argument is malformed.
        AgentNotFound: The query names an agent that this tenant does not have.
        StoreError: The store failed, or a run in a list is damaged: the message names it.
    """
    require_store(store)
    query = attrs.evolve(require_query(query), limit=_PAGE, with_total=False)
    seconds = argument("max_seconds", as_optional_duration, max_seconds, InvalidQuery)
    tell = on_progress or _nobody
    begun = time.monotonic()
    report = CheckReport()
    while True:
        page = query_runs(store, query)
        for run in page.runs:
            report = _read_log(store, run.id, report)
            tell(report)
            if seconds is not None and time.monotonic() - begun >= seconds:
                return attrs.evolve(report, next_cursor=cursor_after(query, run))
        if page.next_cursor is None:
            break
        query = attrs.evolve(query, cursor=page.next_cursor)
    if attrs.evolve(query, cursor=None) != _ALL_RUNS:
        return report
    return _look_for_orphans(store, report, tell)


def _nobody(report: CheckReport) -> None:
    """Hear of a report, and do nothing."""


def _read_log(store: Store, run_id: UUID, report: CheckReport) -> CheckReport:
    """Read the log of a run, and count what became of it."""
    try:
        stored = retry_if_replaced(partial(_read_whole, store, run_id))
    except LogReplaced:
        return attrs.evolve(report, runs=report.runs + 1, unsettled_logs=report.unsettled_logs + 1)
    except StoreUnavailable:
        raise
    except StoreError as error:
        if len(report.damaged) < _MOST_NAMED:
            report = attrs.evolve(report, damaged={**report.damaged, run_id: str(error)})
        return attrs.evolve(report, runs=report.runs + 1, damaged_logs=report.damaged_logs + 1)
    if stored is None:
        return report
    is_read = stored.run.log_state in READABLE_STATES
    return attrs.evolve(
        report,
        runs=report.runs + 1,
        logs=report.logs + is_read,
        log_bytes=report.log_bytes + (stored.run.log_bytes if is_read else 0),
        lost_logs=report.lost_logs + (stored.run.log_state is LogState.LOST),
    )


def _read_whole(store: Store, run_id: UUID) -> StoredRun | None:
    """Read a run and all of its log; None if the run was removed meanwhile."""
    stored = store.call(store.backend.find_run, run_id)
    if stored is not None and stored.run.log_state in READABLE_STATES:
        for _ in pieces_of(store, stored, 0, stored.run.log_bytes):
            pass
    return stored


def _look_for_orphans(store: Store, report: CheckReport, tell: Callable[[CheckReport], object]) -> CheckReport:
    """Walk through what is stored of logs, and name what no run refers to."""
    # Not isinstance: a backend that is wrapped in another has the method by __getattr__.
    list_logs: Callable[..., Sequence[StoredLog]] | None = getattr(store.backend, "list_logs", None)
    if list_logs is None:
        return report
    report = attrs.evolve(report, orphaned_logs=0)
    after: tuple[UUID, int] | None = None
    while True:
        page = store.call(list_logs, after=after, limit=_PAGE_OF_LOGS)
        found = [(log.run_id, log.log_version) for log in page if not log.is_referred_to]
        found = [place for place in found if _is_orphaned(store, *place)]
        report = attrs.evolve(
            report,
            orphaned_logs=(report.orphaned_logs or 0) + len(found),
            orphaned=(*report.orphaned, *found)[:_MOST_NAMED],
        )
        tell(report)
        if len(page) < _PAGE_OF_LOGS:
            return report
        after = page[-1].run_id, page[-1].log_version


def _is_orphaned(store: Store, run_id: UUID, log_version: int) -> bool:
    """Return whether a log is stored that its run, which is the same before and after, does not refer to."""
    while True:
        before = store.call(store.backend.find_run, run_id)
        if before is not None and (before.log_version == log_version or before.run.log_state is LogState.EXPIRED):
            return False
        if store.call(store.backend.find_chunk, run_id, log_version, _END_OF_ANY_LOG) is None:
            return False
        if before == store.call(store.backend.find_run, run_id):
            return True
