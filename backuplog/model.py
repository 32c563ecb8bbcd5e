"""The nouns: what agents send, what is stored, what is asked and what is answered.

Every class is frozen. Those that people fill in (``TaskResult``, ``RunQuery``, ``Agent``) bring each field into its
normal form when they are made and name every field that they refuse, not only the first.
"""

from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import wraps
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs

from . import normalise
from .errors import FieldError, InvalidAgent, InvalidInput, InvalidQuery, InvalidTaskResult

DEFAULT_TENANT: Final = UUID(int=0)
"""The tenant of a store that was opened without one."""

_Model = TypeVar("_Model")


def _refusing_with(error: type[InvalidInput]) -> Callable[[type[_Model]], type[_Model]]:
    """Make a class raise one error that names every bad field, where attrs alone stops at the first converter."""

    def decorate(cls: type[_Model]) -> type[_Model]:
        construct: Callable[..., None] = cls.__init__

        @wraps(construct)
        def constructor(self: _Model, **values: Any) -> None:
            try:
                construct(self, **values)
            except (TypeError, ValueError):
                errors = _field_errors(cls, values)
                if not errors:
                    raise
                raise error(errors) from None

        cls.__init__ = constructor  # type: ignore[assignment]
        return cls

    return decorate


def _field_errors(cls: type[Any], values: Mapping[str, object]) -> list[FieldError]:
    errors: list[FieldError] = []
    for field in attrs.fields(cls):
        if field.name not in values:
            if field.default is attrs.NOTHING:
                errors.append(FieldError(field.name, "is required"))
            continue
        try:
            field.converter(values[field.name])
        except (TypeError, ValueError) as error:
            errors.append(FieldError(field.name, str(error)))
    return errors


class Outcome(StrEnum):
    """What became of a submitted result."""

    CREATED = "created"
    """It is the first of its task: run and log are stored."""
    UPDATED = "updated"
    """It takes the place of what was stored."""
    REPLAYED = "replayed"
    """It had been stored already: nothing was written."""
    STALE = "stale"
    """Something newer is stored: it was ignored."""


class LogState(StrEnum):
    """What is stored of a run's log."""

    NONE = "none"
    """The result came without a log."""
    OPEN = "open"
    """The task still runs and its log grows."""
    COMPLETE = "complete"
    """The whole log is stored."""
    TRUNCATED = "truncated"
    """The log was over the cap: its head and its tail are stored, ``dropped_bytes`` are not."""
    LOST = "lost"
    """A log came but could not be stored. Submitting the result again stores it."""


@_refusing_with(InvalidTaskResult)
@attrs.frozen(kw_only=True)
class TaskResult:
    """The result of one task, as its agent sends it.

    Attributes:
        task_id: The task; it becomes the run's id.
        policy_id: The policy that was executed.
        task_type: ``backup``, ``check``, ``prune`` ...: 1 to 50 characters.
        status: 1 to 50 characters, in lower case; known synonyms become one canonical word.
        duration_seconds: Seconds: finite, 0 or more.
        log: What the tool printed: any text, any bytes. None for none sent, which is not the same as an empty log.
        snapshot_id: The snapshot that the backup made, at most 255 characters.
        error_message: Why it failed, at most 65,536 characters.
        start_time: When the agent says it started, in UTC. Year 1, which Go sends for "never", counts as None.
        end_time: When the agent says it ended, in UTC, likewise.

    Raises:
        InvalidTaskResult: Fields are missing or malformed; it names each of them.
    """

    task_id: UUID = attrs.field(converter=normalise.as_uuid)
    policy_id: UUID = attrs.field(converter=normalise.as_uuid)
    task_type: str = attrs.field(converter=normalise.as_task_type)
    status: str = attrs.field(converter=normalise.as_status)
    duration_seconds: float = attrs.field(converter=normalise.as_duration)
    log: str | bytes | None = attrs.field(default=None, converter=normalise.as_log, repr=False)
    snapshot_id: str | None = attrs.field(default=None, converter=normalise.as_snapshot_id)
    error_message: str | None = attrs.field(default=None, converter=normalise.as_error_message)
    start_time: datetime | None = attrs.field(default=None, converter=normalise.as_reported_time)
    end_time: datetime | None = attrs.field(default=None, converter=normalise.as_reported_time)


@_refusing_with(InvalidAgent)
@attrs.frozen(kw_only=True)
class Agent:
    """A machine that runs backup tasks and may send their results.

    Attributes:
        id: The agent.
        tenant_id: Whose agent it is.
        hostname: What people call it, at most 253 characters.
        registered_at: When it was first registered, in UTC.

    Raises:
        InvalidAgent: Fields are malformed; it names each of them.
    """

    id: UUID = attrs.field(converter=normalise.as_uuid)
    tenant_id: UUID = attrs.field(converter=normalise.as_uuid)
    hostname: str | None = attrs.field(default=None, converter=normalise.as_hostname)
    registered_at: datetime = attrs.field(converter=normalise.as_time)


@attrs.frozen(kw_only=True)
class AgentToken:
    """What is stored of a token that an agent sends as its credential: nothing that would let anybody in.

    Attributes:
        prefix: Its public part, 16 characters, by which it is found, listed and revoked.
        tenant_id: The tenant and
        agent_id: the agent that it speaks for.
        digest: SHA-256 of its secret part, 32 bytes.
        created_at: When it was issued, in UTC.
        expires_at: From when on it is refused, in UTC; None: never.
        last_used_at: When it last let its agent in, in UTC, to a minute; None: not yet.
    """

    prefix: str
    tenant_id: UUID
    agent_id: UUID
    digest: bytes = attrs.field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None
    last_used_at: datetime | None = None


@attrs.frozen(kw_only=True)
class BackupRun:
    """One run of one task, as it is stored.

    Attributes:
        id: The task's id.
        tenant_id: Whose run it is.
        agent_id: The agent that ran it.
        policy_id: The policy that was executed.
        task_type: ``backup``, ``check``, ``prune`` ...
        status: The canonical word: ``success``, ``warning``, ``failed``, ``cancelled``, ``running``, ``pending``, or
            another in lower case.
        start_time: UTC. Where the agent did not say: the end minus the duration, but not before year 1.
        end_time: UTC. Where the agent did not say: when the result was received. None while the task is active.
        duration_seconds: Seconds.
        error_message: Why it failed.
        snapshot_id: The snapshot that the backup made.
        received_at: When the first result of this task was received, in UTC. It never moves.
        updated_at: When the stored result was received, in UTC.
        log_state: What is stored of the log.
        log_bytes: How many bytes the log has; for a lost log, how many were lost.
        log_sha256: The log's SHA-256 (32 bytes), None without a log.
        dropped_bytes: How many bytes of a truncated log are not stored.
        stats: Figures read from the log; None where nothing has read them.
    """

    id: UUID
    tenant_id: UUID
    agent_id: UUID
    policy_id: UUID
    task_type: str
    status: str
    start_time: datetime
    end_time: datetime | None
    duration_seconds: float
    error_message: str | None
    snapshot_id: str | None
    received_at: datetime
    updated_at: datetime
    log_state: LogState
    log_bytes: int
    log_sha256: bytes | None
    dropped_bytes: int = 0
    stats: Mapping[str, float] | None = None

    @property
    def is_active(self) -> bool:
        """Whether the task has not ended: it is pending or running."""
        return self.status in normalise.ACTIVE_STATUSES


@_refusing_with(InvalidQuery)
@attrs.frozen(kw_only=True)
class RunQuery:
    """Which runs to list: those that meet every filter given, newest first.

    Attributes:
        agent_id: Only this agent's runs.
        policy_id: Only this policy's runs.
        status: Only runs with one of these statuses; one word or several, synonyms allowed. Empty: any.
        task_type: Only this type of task.
        snapshot_id: Only runs that made this snapshot.
        since: Only runs that started at this moment or later.
        until: Only runs that started before this moment.
        limit: At most this many runs a page, 1 to 1,000.
        cursor: The ``next_cursor`` of the page before; None for the first page.
        with_total: Whether to count all the runs that meet the filters.

    Raises:
        InvalidQuery: Fields are malformed; it names each of them.
    """

    agent_id: UUID | None = attrs.field(default=None, converter=normalise.as_optional_uuid)
    policy_id: UUID | None = attrs.field(default=None, converter=normalise.as_optional_uuid)
    status: tuple[str, ...] = attrs.field(default=(), converter=normalise.as_statuses)
    task_type: str | None = attrs.field(default=None, converter=normalise.as_optional_task_type)
    snapshot_id: str | None = attrs.field(default=None, converter=normalise.as_snapshot_id)
    since: datetime | None = attrs.field(default=None, converter=normalise.as_optional_time)
    until: datetime | None = attrs.field(default=None, converter=normalise.as_optional_time)
    limit: int = attrs.field(default=100, converter=normalise.as_limit)
    cursor: str | None = attrs.field(default=None, converter=normalise.as_cursor)
    with_total: bool = attrs.field(default=True, converter=normalise.as_flag)


@attrs.frozen(kw_only=True)
class RunPage:
    """One page of a list of runs.

    Attributes:
        runs: The runs, newest first: by start time, then by id, both descending.
        total: How many runs meet the filters in all; None where the query said ``with_total=False``.
        limit: The limit that was applied.
        next_cursor: Give it to the next query to go on; None on the last page.
    """

    runs: tuple[BackupRun, ...]
    total: int | None
    limit: int
    next_cursor: str | None


@attrs.frozen(kw_only=True)
class Receipt:
    """What became of one submitted result, once it is durable.

    Attributes:
        run_id: The run, which has the task's id.
        outcome: What was done.
        log_state: What is now stored of the run's log. Look at it: ``lost`` means that the log should be sent again.
        log_bytes: How many bytes the run's log now has.
    """

    run_id: UUID
    outcome: Outcome
    log_state: LogState
    log_bytes: int
