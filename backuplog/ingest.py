"""Taking results in, one or many."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs

from .convert import parse_task_result
from .delivery import Submission, arrive
from .errors import AgentNotFound, BackuplogError, FieldError, InvalidTaskResult, StoreError, StoreUnavailable
from .log import MAX_LOG_BYTES
from .model import Receipt, TaskResult
from .normalise import as_log_cap, as_time, as_uuid
from .observe import Delivery, notify
from .opened import observers_of
from .store import Store

# One transaction of a batch: long enough that the commit is a small part of it, short enough to let others write.
_BATCH_RESULTS: Final = 500
_BATCH_LOG_BYTES: Final = 8 * 1_048_576

_Given = TypeVar("_Given")
_Normal = TypeVar("_Normal")


def ingest_task_result(
    store: Store,
    agent_id: UUID | str,
    result: bytes | str | Mapping[str, Any] | TaskResult,
    *,
    received_at: datetime | None = None,
    max_log_bytes: int = MAX_LOG_BYTES,
) -> Receipt:
    """Take one result in, exactly once however often it is sent.

    When it returns, the run and its log are durable. A log that cannot be stored does not cost the result: the run
    is stored with ``log_state="lost"``, the receipt says so, and sending the result again stores the log.

    Args:
        store: Where.
        agent_id: The agent that sent it.
        result: JSON as bytes or text, the mapping it decodes to, or a TaskResult.
        received_at: When it was received, with a zone; now by default.
        max_log_bytes: Of a log longer than this, in bytes, only the head and the tail are stored
            (``log_state="truncated"``). At least 4,096.

    Returns:
        What was done.

    Raises:
        InvalidTaskResult: The result is malformed; nothing was written.
        AgentNotFound: This tenant has no such agent.
        RunConflict: The task id belongs to another agent.
        StoreUnavailable: The store is busy or cannot be reached: send the result again, nothing is counted twice.
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
    """Take many results in, several to a transaction: many times as fast as one by one.

    A transaction takes up to 500 results and 8 MiB of logs. What one result does never depends on another: a
    bad one is an error in its place and the rest are stored. A result that is answered with a receipt is durable.

    Args:
        store: Where.
        results: Pairs of an agent's id and a result, in any form that ``ingest_task_result`` takes.
        received_at: When they were received, with a zone; now by default.
        max_log_bytes: As in ``ingest_task_result``.

    Returns:
        For each result, in order: its receipt, or the error that ``ingest_task_result`` would have raised. Once the
        store is unavailable, all that was not stored yet is answered so.
    """
    answers: list[Receipt | BackuplogError] = []
    unavailable: StoreUnavailable | None = None
    observers = observers_of(store)
    begun = time.perf_counter()
    for batch in _batches(
        _attempt(store, agent_id, result, received_at, max_log_bytes) for agent_id, result in results
    ):
        submissions = [item for item in batch if isinstance(item, Submission)]
        stored: Sequence[_Answer]
        try:
            stored = [_Answer(unavailable)] * len(submissions) if unavailable else _submit(store, submissions)
        except StoreError as error:
            unavailable = error if isinstance(error, StoreUnavailable) else None
            stored = [_Answer(error)] * len(submissions)
        following = iter(stored)
        settled = [next(following) if isinstance(item, Submission) else _Answer(item.error) for item in batch]
        answers += [answer.given for answer in settled]
        if observers:
            ended = time.perf_counter()
            for item, answer in zip(batch, settled, strict=True):
                delivery = _delivery(store.tenant_id, item, answer, (ended - begun) / len(batch))
                notify(observers, delivery)
            begun = time.perf_counter()
    return answers


@attrs.frozen
class _Refused:
    """A result that never came to the store."""

    agent_id: UUID | str
    error: BackuplogError


@attrs.frozen
class _Answer:
    """What a result is answered with, and why its log was lost, if it was."""

    given: Receipt | BackuplogError
    lost: StoreError | None = None


def _delivery(tenant_id: UUID, item: Submission | _Refused, answer: _Answer, seconds: float) -> Delivery:
    receipt, error = (answer.given, answer.lost) if isinstance(answer.given, Receipt) else (None, answer.given)
    if isinstance(item, _Refused):
        agent_id: UUID | None = None
        with suppress(ValueError):
            agent_id = as_uuid(item.agent_id)
        return Delivery(tenant_id=tenant_id, agent_id=agent_id, error=error, seconds=seconds)
    run = item.run
    return Delivery(
        tenant_id=tenant_id,
        agent_id=run.agent_id,
        task_id=run.id,
        policy_id=run.policy_id,
        task_type=run.task_type,
        status=run.status,
        duration_seconds=run.duration_seconds,
        log_bytes=None if item.log is None else item.log.size + item.log.dropped_bytes,
        outcome=None if receipt is None else receipt.outcome,
        log_state=None if receipt is None else receipt.log_state,
        error=error,
        seconds=seconds,
    )


def _submission(
    store: Store,
    agent_id: UUID | str,
    result: bytes | str | Mapping[str, Any] | TaskResult,
    received_at: datetime | None,
    max_log_bytes: int,
) -> Submission:
    agent = _argument("agent_id", as_uuid, agent_id)
    received = datetime.now(UTC) if received_at is None else _argument("received_at", as_time, received_at)
    cap = _argument("max_log_bytes", as_log_cap, max_log_bytes)
    parsed = parse_task_result(result)
    if store.agent_exists is not None and not store.agent_exists(agent):
        raise AgentNotFound
    return arrive(
        parsed,
        tenant_id=store.tenant_id,
        agent_id=agent,
        received_at=received,
        agent_known=store.agent_exists is not None,
        max_log_bytes=cap,
    )


def _argument(name: str, normalise: Callable[[_Given], _Normal], value: _Given) -> _Normal:
    try:
        return normalise(value)
    except ValueError as error:
        raise InvalidTaskResult([FieldError(name, str(error))]) from None


def _attempt(
    store: Store,
    agent_id: UUID | str,
    result: bytes | str | Mapping[str, Any] | TaskResult,
    received_at: datetime | None,
    max_log_bytes: int,
) -> Submission | _Refused:
    try:
        return _submission(store, agent_id, result, received_at, max_log_bytes)
    except BackuplogError as error:
        return _Refused(agent_id, error)


def _batches(items: Iterable[Submission | _Refused]) -> Iterator[list[Submission | _Refused]]:
    batch: list[Submission | _Refused] = []
    log_bytes = 0
    for item in items:
        size = item.run.log_bytes if isinstance(item, Submission) else 0
        if batch and (len(batch) == _BATCH_RESULTS or log_bytes + size > _BATCH_LOG_BYTES):
            yield batch
            batch, log_bytes = [], 0
        batch.append(item)
        log_bytes += size
    if batch:
        yield batch


def _submit(store: Store, submissions: Sequence[Submission]) -> Sequence[_Answer]:
    """Submit in one transaction; where that fails, each by itself; where that fails, each without its log."""
    try:
        return [_Answer(answer) for answer in store.submit(submissions)]
    except StoreUnavailable:
        raise
    except StoreError as error:
        if len(submissions) > 1:
            return [_submit_alone(store, submission) for submission in submissions]
        if submissions[0].log is None:
            raise
        return [_Answer(answer, error) for answer in store.submit([submissions[0].without_log()])]


def _submit_alone(store: Store, submission: Submission) -> _Answer:
    try:
        return _submit(store, [submission])[0]
    except BackuplogError as error:
        return _Answer(error)
