"""Taking results in, one or many."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import attrs

from .agent import ask_integrator
from .change import Amendment, StoredRun
from .chunk import MAX_LOG_BYTES
from .close import close_again, close_log, close_unread
from .convert import take_task_result
from .delivery import OpenLog, Submission
from .errors import (
    AgentNotFound,
    BackuplogError,
    InvalidTaskResult,
    LogReplaced,
    StoreError,
    StoreUnavailable,
    TransactionRolledBack,
)
from .model import Receipt, TaskResult
from .normalise import argument, as_log_cap, as_time, as_uuid
from .observe import IngestEvent
from .parsers import Work, is_backup, parse_log
from .prepare import prepare_submission
from .store import Store, require_store

# One transaction of a batch: long enough that the commit is a small part of it, short enough to let others write.
_BATCH_RESULTS: Final = 500
_BATCH_LOG_BYTES: Final = 8 * 1_048_576
# Each holds up to 1 MiB of its log.
_MOST_KEPT: Final = 8
# As many as a batch over HTTP has. Each takes up to 20 KiB.
_MOST_KNOWN: Final = 1_000
# A log that grows is read again where more came while it was read.
_MOST_READINGS: Final = 10

Result: TypeAlias = bytes | str | Mapping[str, Any] | TaskResult


def ingest_task_result(
    store: Store,
    agent_id: UUID | str,
    result: bytes | str | Mapping[str, Any] | TaskResult,
    *,
    received_at: datetime | None = None,
    max_log_bytes: int = MAX_LOG_BYTES,
) -> Receipt:
    """Take in one result, exactly once however often it is sent.

    When this returns, the run and its log are durable. If only the log cannot be stored, the run is stored with
    ``log_state="lost"``; the receipt says so, and sending the result again stores the log.

    Args:
        store: The store to use.
        agent_id: The agent that sent it.
        result: JSON as bytes or text, the mapping it decodes to, or a TaskResult.
        received_at: When it was received, with a time zone; now by default.
        max_log_bytes: The longest log to store whole, in bytes, at least 4,096. Of a longer log, only the head and the
            tail are stored (``log_state="truncated"``).

    Returns:
        The receipt, which says what became of the result.

    Raises:
        InvalidTaskResult: The result or another argument is malformed; nothing was written.
        AgentNotFound: This tenant has no such agent.
        RunConflict: The task id belongs to another agent.
        LogOffsetMismatch: The log that ``append_log`` has stored is not the one that the result describes. The error
            says where to go on; send the result again afterwards.
        StoreUnavailable: The store is busy or cannot be reached. Send the result again; nothing is counted twice.
        StoreError: The store failed.
    """
    answer = ingest_task_results(store, [(agent_id, result)], received_at=received_at, max_log_bytes=max_log_bytes)[0]
    if isinstance(answer, BackuplogError):
        raise answer
    return answer


def ingest_task_results(
    store: Store,
    results: Iterable[tuple[UUID | str, bytes | str | Mapping[str, Any] | TaskResult]],
    *,
    received_at: datetime | None = None,
    max_log_bytes: int = MAX_LOG_BYTES,
) -> list[Receipt | BackuplogError]:
    """Take in many results, several per transaction. This is many times faster than one by one.

    A transaction takes up to 500 results and 8 MiB of logs. Results do not affect each other: a bad one is answered
    with its error, and the rest are stored. A result that is answered with a receipt is durable.

    Args:
        store: The store to use.
        results: Pairs of an agent's id and a result, in any form that ``ingest_task_result`` takes.
        received_at: When they were received, with a time zone; now by default.
        max_log_bytes: As in ``ingest_task_result``.

    Returns:
        For each result, in order: its receipt, or the error that ``ingest_task_result`` would have raised. Once the
        store is unavailable, every result that is not yet stored is answered with ``StoreUnavailable``.

    Raises:
        InvalidTaskResult: ``received_at`` or ``max_log_bytes`` is malformed; nothing was written.
        TransactionRolledBack: In a bound view, the caller's transaction is gone, with all that was taken in before.
    """
    require_store(store)
    if received_at is not None:
        received_at = argument("received_at", as_time, received_at, InvalidTaskResult)
    argument("max_log_bytes", as_log_cap, max_log_bytes, InvalidTaskResult)

    reading = _Reading()
    is_known = cache(partial(ask_integrator, store))

    def arrive(sent: tuple[UUID | str, Result]) -> _Item:
        item = _Item(agent_id=sent[0])
        try:
            agent_id = argument("agent_id", as_uuid, sent[0], InvalidTaskResult)
            result = take_task_result(sent[1])
            if is_known(agent_id) is False:
                item.answer = AgentNotFound()
            else:
                item.submission = prepare_submission(
                    result,
                    tenant_id=store.tenant_id,
                    agent_id=agent_id,
                    received_at=received_at or datetime.now(UTC),
                    requires_agent=agent_id if store.agent_exists is None else None,
                    max_log_bytes=max_log_bytes,
                    redactor=store.redactor,
                    read=partial(parse_log, task_type=result.task_type, tools=store.parsers, work=reading.work),
                )
                if item.submission.log is not None:
                    item.log_bytes = item.submission.log.received_bytes + len(item.submission.log_held)
        except BackuplogError as error:
            # Its frames hold what was decoded: a batch of bad results would keep all of that until it is answered.
            error.__traceback__ = error.__context__ = None
            item.answer = error
        return item

    answers: list[Receipt | BackuplogError] = []
    unavailable: StoreUnavailable | None = None
    begun = time.perf_counter()
    for batch in _batches(map(arrive, results)):
        waiting = [item for item in batch if item.answer is None]
        unavailable = unavailable or _submit(store, waiting, reading)
        for item in waiting:
            item.answer = item.answer or unavailable
        answers += [item.answer for item in batch if item.answer is not None]
        if store.observers:
            seconds = (time.perf_counter() - begun) / len(batch)
            for item in batch:
                store.tell(_event(store.tenant_id, item, seconds))
        begun = time.perf_counter()
    return answers


@attrs.define
class _Item:
    """A result on its way.

    Attributes:
        agent_id: The agent that it is said to come from.
        submission: What it is for a store; None where it was refused before.
        log_bytes: How long the log is that came with it; None for a result without one.
        answer: What it is answered with; None where nothing is known yet.
        lost: Why its log was not stored or not read, though the result was stored.
        readings: How often the log that it closes was read.
    """

    agent_id: UUID | str
    submission: Submission | None = None
    log_bytes: int | None = None
    answer: Receipt | BackuplogError | None = None
    lost: StoreError | None = None
    readings: int = 0


@attrs.define
class _Reading:
    """What it may cost to read the logs of one call, and the logs that were read to be closed.

    However many results of a call are of one run, its log is read about once: results that are refused, or that change
    nothing in it, could else make it be read a thousand times.

    Attributes:
        work: Bounds what it costs to read them for figures.
        closings: What closes a log, by its run and whether the figures are those of a backup: all that store nothing
            of it anew, and the last of the others.
        closed: What each log is that was read: enough to refuse another result.
    """

    work: Work = attrs.field(factory=Work)
    closings: dict[tuple[UUID, bool], Amendment] = attrs.field(factory=dict[tuple[UUID, bool], Amendment])
    closed: dict[UUID, Amendment] = attrs.field(factory=dict[UUID, Amendment])

    def close(self, store: Store, stored: StoredRun, submission: Submission) -> Amendment:
        """Return what closes the log of a run; or, for a result that is of another, what tells that it is."""
        task_type = submission.run.task_type
        key = stored.run.id, is_backup(task_type)
        known = self.closings.get(key)
        if known is not None and (closing := close_again(known, stored)):
            return closing
        known = self.closed.get(stored.run.id)
        if known is not None and (closing := close_again(known, stored)) and not submission.describes(closing.write):
            return closing
        known = close_log(store, stored, task_type=task_type, work=self.work)
        if len(self.closed) >= _MOST_KNOWN:
            self.closed.clear()
            self.closings.clear()
        if sum(bool(each.parts) for each in self.closings.values()) >= _MOST_KEPT:
            self.closings = {key: each for key, each in self.closings.items() if not each.parts}
        self.closings[key] = known
        self.closed[stored.run.id] = attrs.evolve(known, parts=(), drop=None)
        return known


def _batches(items: Iterable[_Item]) -> Iterator[list[_Item]]:
    batch: list[_Item] = []
    log_bytes = 0
    ended = set[UUID]()  # Those that may have an appended log to be read first: what comes after them waits.
    for item in items:
        size = item.submission.run.log_bytes if item.submission else 0
        is_closed = item.submission is not None and item.submission.run_id in ended
        if batch and (len(batch) == _BATCH_RESULTS or log_bytes + size > _BATCH_LOG_BYTES or is_closed):
            yield batch
            batch, log_bytes = [], 0
            ended.clear()
        batch.append(item)
        log_bytes += size
        if item.submission is not None and item.submission.log is None:
            ended.add(item.submission.run_id)
    if batch:
        yield batch


def _submit(store: Store, items: Sequence[_Item], reading: _Reading) -> StoreUnavailable | None:
    """Submit in one transaction; where that fails, each by itself; where that fails, each without its log.

    Returns:
        Why the store became unavailable; those that were stored before have their answers. None if it did not.
    """
    submissions = [item.submission for item in items if item.submission]
    if not submissions:
        return None
    try:
        answers = store.submit(submissions)
    except TransactionRolledBack:
        raise  # What was answered before is gone with it.
    except StoreUnavailable as error:
        return error
    except StoreError as error:
        if len(items) > 1:
            return next(filter(None, (_submit(store, [item], reading) for item in items)), None)
        lesser = _without_log(submissions[0])
        if lesser is None:
            items[0].answer = error
            return None
        items[0].lost, items[0].submission = error, lesser
        return _submit(store, items, reading)
    opened: list[tuple[_Item, StoredRun]] = []
    for item, answer in zip(items, answers, strict=True):
        if isinstance(answer, OpenLog):
            opened.append((item, answer.stored))
        else:
            item.answer = answer
    return next(filter(None, (_end(store, item, stored, reading) for item, stored in opened)), None)


def _without_log(submission: Submission) -> Submission | None:
    """Return a submission without what could not be stored of its log; None if there was nothing."""
    closing = submission.closing
    if closing is not None and closing.parts:
        return attrs.evolve(submission, closing=close_unread(closing.read))
    return None if submission.log is None else submission.without_log()


def _end(store: Store, item: _Item, stored: StoredRun, reading: _Reading) -> StoreUnavailable | None:
    """Read the log that a result closes, and submit the result with it."""
    submission = item.submission
    if submission is None or item.readings == _MOST_READINGS:
        item.answer = StoreUnavailable("the log that the result closes grew during each attempt to read it")
        return None
    closing: Amendment | None = None
    item.lost = None
    try:
        closing = reading.close(store, stored, submission)
    except LogReplaced:
        pass  # Submitted as it is, it is answered with the log that is there by now.
    except TransactionRolledBack:
        raise
    except StoreUnavailable as error:
        return error
    except StoreError as error:  # The result is not to be lost for that. Reading its log raises the same.
        item.lost, closing = error, close_unread(stored)
    item.readings += 1
    item.submission = attrs.evolve(submission, closing=closing)
    unavailable = _submit(store, [item], reading)
    item.submission = submission  # The end of each log of a batch would stay in memory.
    return unavailable


def _event(tenant_id: UUID, item: _Item, seconds: float) -> IngestEvent:
    receipt, error = (item.answer, item.lost) if isinstance(item.answer, Receipt) else (None, item.answer)
    if item.submission is None:
        agent_id: UUID | None = None
        with suppress(ValueError):
            agent_id = as_uuid(item.agent_id)
        return IngestEvent(tenant_id=tenant_id, agent_id=agent_id, error=error, seconds=seconds)
    run = item.submission.run
    return IngestEvent(
        tenant_id=tenant_id,
        agent_id=run.agent_id,
        task_id=run.id,
        policy_id=run.policy_id,
        task_type=run.task_type,
        status=run.status,
        duration_seconds=run.duration_seconds,
        log_bytes=item.log_bytes,
        outcome=None if receipt is None else receipt.outcome,
        log_state=None if receipt is None else receipt.log_state,
        error=error,
        seconds=seconds,
    )
