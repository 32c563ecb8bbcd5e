"""Taking a whole history over from one store to another."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import zip_longest
from typing import Final
from uuid import UUID

import attrs

from .change import READABLE_STATES, StoredRun
from .chunk import Chunk, is_intact
from .errors import CorruptLog, FieldError, InvalidQuery, LogReplaced
from .log import retry_if_replaced
from .merge import Fate, Taken, Takeover
from .model import LogState, RunQuery
from .normalise import argument, as_cursor, as_optional_duration
from .query import cursor_after, query_runs
from .store import Store, require_store

# One transaction in the target, as for a batch of results. A log that is longer has one of its own, and is never whole
# in memory.
_BATCH_RUNS: Final = 500
_BATCH_LOG_BYTES: Final = 8 * 1_048_576
_MOST_NAMED: Final = 1_000
_ALL_RUNS: Final = RunQuery(limit=_BATCH_RUNS, with_total=False)
_END_OF_ANY_LOG: Final = 2**62


@attrs.frozen(kw_only=True)
class CopyReport:
    """What a call of ``copy_store`` has done so far.

    A run that counts as copied, updated or equal was read back from the target with each chunk of its log, and is named
    if anything is wrong with it.

    Attributes:
        agents: How many agents were stored in the target.
        tokens: How many tokens of agents the target now has from the source.
        copied: How many runs the target did not have, and has now.
        updated: How many runs the target had in an earlier state, or without all of their log, and has now.
        equal: How many runs the target had already, exactly as the source has them.
        kept: How many runs the target has in a newer state, which stays.
        damaged: Runs whose logs are damaged or incomplete in the source. They are in the target as they are there:
            reading such a log raises ``CorruptLog`` in both.
        unsettled: Runs that changed each time they were read, because their logs grow: copy again.
        conflicting: Runs that were not copied, because the target has a run of another agent under the same id.
        differing: Runs that the target does not give back as they are in the source, though nothing newer has come: it
            is damaged.
        next_cursor: The ``cursor`` to go on with; None once all runs have been seen.
    """

    agents: int = 0
    tokens: int = 0
    copied: int = 0
    updated: int = 0
    equal: int = 0
    kept: int = 0
    damaged: tuple[UUID, ...] = ()
    unsettled: tuple[UUID, ...] = ()
    conflicting: tuple[UUID, ...] = ()
    differing: tuple[UUID, ...] = ()
    next_cursor: str | None = None


def copy_store(
    source: Store,
    target: Store,
    *,
    cursor: str | None = None,
    max_seconds: float | None = None,
    on_progress: Callable[[CopyReport], object] | None = None,
) -> CopyReport:
    """Copy the agents, tokens, runs and logs of a tenant to another store, byte for byte, newest runs first.

    Both stores may be in use meanwhile, and the source is only read. Agents may already send to the target: a newer
    result that it has stays. Retries of what either store has received are recognised by the target.

    You may stop it at any time, even with ``kill -9``, and call it again. Each run is stored with its whole log or not
    at all, and what is in the target already is compared and not written again. So call it once more after you have
    switched all agents to the target: it brings what has changed in the source since.

    Agents that the target has stay as they are. A copy brings back what only the target has removed. So do not prune
    the target before the last copy, and remove agents and tenants, and revoke tokens, in both stores, the source first.

    Args:
        source: The store to read. It may be read-only.
        target: The store to write, with the same ``tenant_id``. Copy each tenant by a call of its own.
        cursor: Where to go on: the ``next_cursor`` of an earlier report. By default it begins with the newest run, and
            only then copies agents and tokens.
        max_seconds: Stop after the batch during which so many seconds have passed; None for no limit.
        on_progress: Called with the report so far after each batch of up to 500 runs and 8 MiB of log.

    Returns:
        The report. ``next_cursor`` is not None if ``max_seconds`` have passed, or if 1,000 runs are named in it, which
        ends a call too.

    Raises:
        InvalidQuery: The two are the same store or of different tenants, or another argument is malformed.
        StoreError: One of the stores failed. What was copied before is stored.
    """
    _require_two(source, target)
    position = argument("cursor", as_cursor, cursor, InvalidQuery)
    seconds = argument("max_seconds", as_optional_duration, max_seconds, InvalidQuery)
    begun = time.monotonic()
    report = CopyReport() if position else _copy_agents(source, target)
    for run_ids, next_cursor in _batches(source, position):
        report = attrs.evolve(_copy_runs(source, target, run_ids, report), next_cursor=next_cursor)
        if on_progress is not None:
            on_progress(report)
        named = map(len, (report.damaged, report.unsettled, report.conflicting, report.differing))
        if sum(named) >= _MOST_NAMED or (seconds is not None and time.monotonic() - begun >= seconds):
            break
    return report


def _require_two(source: Store, target: Store) -> None:
    require_store(source)
    require_store(target)
    if source.backend is target.backend:
        raise InvalidQuery([FieldError("target", "must be another store than the source")])
    if source.tenant_id != target.tenant_id:
        raise InvalidQuery(
            [FieldError("target", "must be of the same tenant as the source: use for_tenant(source.tenant_id)")]
        )


def _copy_agents(source: Store, target: Store) -> CopyReport:
    known = {agent.id: agent for agent in target.call(target.backend.list_agents)}
    missing = [
        agent
        for agent in source.call(source.backend.list_agents)
        if agent.id not in known or (agent.hostname and known[agent.id].hostname is None)
    ]
    for agent in missing:
        target.call(target.backend.put_agent, agent)
    tokens = source.call(source.backend.list_tokens)
    for token in tokens:
        target.call(target.backend.add_token, token)
    return CopyReport(agents=len(missing), tokens=len(tokens))


def _batches(source: Store, cursor: str | None) -> Iterator[tuple[list[UUID], str | None]]:
    """List runs in batches for one transaction each, with the cursor to go on after each."""
    query = attrs.evolve(_ALL_RUNS, cursor=cursor)
    while True:
        page = query_runs(source, query)
        batch, size = list[UUID](), 0
        for before, run in zip((None, *page.runs), page.runs, strict=False):
            log_bytes = run.log_bytes if run.log_state in READABLE_STATES else 0
            if before is not None and batch and size + log_bytes > _BATCH_LOG_BYTES:
                yield batch, cursor_after(query, before)
                batch, size = [], 0
            batch.append(run.id)
            size += log_bytes
        if batch:
            yield batch, page.next_cursor
        if page.next_cursor is None:
            return
        query = attrs.evolve(query, cursor=page.next_cursor)


def _copy_runs(source: Store, target: Store, run_ids: Sequence[UUID], report: CopyReport) -> CopyReport:
    """Copy runs in one transaction, and read them back; each alone and again where a log changes while it is read."""
    try:
        if len(run_ids) == 1:
            takeovers, answers = retry_if_replaced(partial(_take, source, target, run_ids))
        else:
            takeovers, answers = _take(source, target, run_ids)
    except LogReplaced:
        if len(run_ids) == 1:
            return attrs.evolve(report, unsettled=(*report.unsettled, *run_ids))
        for run_id in run_ids:
            report = _copy_runs(source, target, [run_id], report)
        return report
    fates = Counter(answer.fate for answer in answers)
    findings = [_finding(target, *each) for each in zip(takeovers, answers, strict=True)]

    def found(finding: str) -> tuple[UUID, ...]:
        return tuple(one.run_id for one, its in zip(takeovers, findings, strict=True) if its == finding)

    return attrs.evolve(
        report,
        copied=report.copied + fates[Fate.COPIED],
        updated=report.updated + fates[Fate.UPDATED],
        equal=report.equal + fates[Fate.EQUAL],
        kept=report.kept + fates[Fate.KEPT],
        damaged=report.damaged + found("damaged"),
        unsettled=report.unsettled + found("unsettled"),
        conflicting=report.conflicting + found("conflicting"),
        differing=report.differing + found("differing"),
    )


def _take(source: Store, target: Store, run_ids: Sequence[UUID]) -> tuple[list[Takeover], list[Taken]]:
    read = (_read(source, run_id) for run_id in run_ids)
    takeovers = [takeover for takeover in read if takeover is not None]
    answers = target.call(target.backend.submit, takeovers) if takeovers else []
    return takeovers, [answer for answer in answers if isinstance(answer, Taken)]


def _read(source: Store, run_id: UUID) -> Takeover | None:
    """Read a run, and its log unless that is long; None if it was removed meanwhile."""
    stored = source.call(source.backend.find_run, run_id)
    if stored is None:
        return None
    chunks = partial(_chunks, source, stored)
    if stored.run.log_bytes > _BATCH_LOG_BYTES:
        return Takeover(read=stored, chunks=chunks)
    kept = tuple(chunks())
    return Takeover(read=stored, chunks=lambda: kept)


def _chunks(store: Store, stored: StoredRun) -> Iterator[Chunk]:
    """Read the chunks of a log as they are stored, damaged or not, from the last to the first.

    In this order none is missed where one before it is missing.

    Raises:
        LogReplaced: The run has changed meanwhile, so that they may not be those of its log.
    """
    run = stored.run
    if run.log_state not in READABLE_STATES:
        return
    offset, size = _END_OF_ANY_LOG, 0
    while offset >= 0:
        try:
            chunk = store.call(store.backend.find_chunk, run.id, stored.log_version, offset)
        except CorruptLog:  # A row that is no chunk: those before it cannot be reached, and are found to be missing.
            break
        if chunk is None:
            break
        yield chunk
        size += chunk.size
        offset = chunk.offset - 1
    if (size != run.log_bytes or run.log_state is LogState.OPEN) and stored != store.call(
        store.backend.find_run, run.id
    ):
        raise LogReplaced


def _finding(target: Store, takeover: Takeover, taken: Taken) -> str | None:
    """Read a run back from the target, and return under which name it is to be reported; None if all is well."""
    if taken.fate is Fate.CONFLICTING:
        return "conflicting"
    if taken.fate is Fate.KEPT:
        return None
    stored, size, is_same, is_whole = taken.stored, 0, True, True
    try:
        if taken.has_log:
            for found, expected in zip_longest(_chunks(target, stored), takeover.chunks_in(stored)):
                if found is None or found != expected:
                    is_same = False
                    break
                size += found.size
                is_whole = is_whole and is_intact(found, takeover.run_id, stored.log_version)
            is_whole = is_whole and (size == stored.run.log_bytes or stored.run.log_state not in READABLE_STATES)
        current = target.call(target.backend.find_run, takeover.run_id)
    except LogReplaced:
        return "unsettled"
    if current is None or _changes(current) != _changes(stored):
        return None  # Something newer has come since.
    if current != stored or not is_same:
        return "differing"
    return None if is_whole else "damaged"


def _changes(stored: StoredRun) -> tuple[object, ...]:
    """Return what differs once something has happened to a run."""
    return stored.digest, stored.superseded, stored.run.status, stored.run.updated_at, stored.log_version
