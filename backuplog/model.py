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


def refusing_with(error: type[InvalidInput]) -> Callable[[type[_Model]], type[_Model]]:
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
    """The first result of its task: the run and its log are stored."""
    UPDATED = "updated"
    """It replaced what was stored."""
    REPLAYED = "replayed"
    """It was stored already: nothing was written."""
    STALE = "stale"
    """Something newer is stored: the result was ignored."""


class LogState(StrEnum):
    """What is stored of a run's log."""

    NONE = "none"
    """The result came without a log."""
    OPEN = "open"
    """The task is still running, and its log grows with each ``append_log``."""
    COMPLETE = "complete"
    """The whole log is stored."""
    TRUNCATED = "truncated"
    """The log was too long: its head and its tail are stored, and ``dropped_bytes`` says how much is missing."""
    LOST = "lost"
    """The log was received but could not be stored. Sending the result again stores it."""
    EXPIRED = "expired"
    """The log was removed because of its age; ``log_bytes`` and ``log_sha256`` still describe it."""


@refusing_with(InvalidTaskResult)
@attrs.frozen(kw_only=True)
class RunStats:
    """Figures of a run, as its tool reported them. An unknown figure is None, never 0.

    The names are those of restic's summary. The first nine are stored in columns of their own, so that SQL can sum
    them.

    Attributes:
        files_new: Files that were not in the previous snapshot.
        files_changed: Files that have changed since the previous snapshot.
        files_unmodified: Files that have not changed.
        dirs_new: Folders that were not in the previous snapshot.
        dirs_changed: Folders that have changed since the previous snapshot.
        dirs_unmodified: Folders that have not changed.
        data_added: Bytes added to the repository, before compression.
        total_files_processed: Files that were read or found unmodified.
        total_bytes_processed: The size of those files, in bytes.
        data_added_packed: Bytes added to the repository, as stored there.
        data_compressed: Bytes of everything processed, after compression.
        duration: How long the run took according to the tool, in seconds.
        snapshot_id: The snapshot that the log names, at most 255 characters.
        has_snapshot: Whether a snapshot was saved.
        dry_run: Whether it was a dry run, which changes nothing.
        warnings: How many warnings the tool printed.
        errors: How many errors the tool printed.
        failed_items: The first 100 files or folders that could not be read, each cut to 1,024 characters.
        tool: The tool, such as ``restic`` or ``borg``, at most 50 characters.
        tool_version: The tool's version, at most 50 characters.
        format: The output format that the figures were read from, at most 50 characters.
        approximate: Whether the tool rounded sizes.

    Raises:
        InvalidTaskResult: Fields are malformed; the error names each of them.
    """

    files_new: int | None = attrs.field(default=None, converter=normalise.as_count)
    files_changed: int | None = attrs.field(default=None, converter=normalise.as_count)
    files_unmodified: int | None = attrs.field(default=None, converter=normalise.as_count)
    dirs_new: int | None = attrs.field(default=None, converter=normalise.as_count)
    dirs_changed: int | None = attrs.field(default=None, converter=normalise.as_count)
    dirs_unmodified: int | None = attrs.field(default=None, converter=normalise.as_count)
    data_added: int | None = attrs.field(default=None, converter=normalise.as_count)
    total_files_processed: int | None = attrs.field(default=None, converter=normalise.as_count)
    total_bytes_processed: int | None = attrs.field(default=None, converter=normalise.as_count)
    data_added_packed: int | None = attrs.field(default=None, converter=normalise.as_count)
    data_compressed: int | None = attrs.field(default=None, converter=normalise.as_count)
    duration: float | None = attrs.field(default=None, converter=normalise.as_optional_duration)
    snapshot_id: str | None = attrs.field(default=None, converter=normalise.as_snapshot_id)
    has_snapshot: bool | None = attrs.field(default=None, converter=normalise.as_optional_flag)
    dry_run: bool | None = attrs.field(default=None, converter=normalise.as_optional_flag)
    warnings: int | None = attrs.field(default=None, converter=normalise.as_count)
    errors: int | None = attrs.field(default=None, converter=normalise.as_count)
    failed_items: tuple[str, ...] = attrs.field(default=(), converter=normalise.as_failed_items)
    tool: str | None = attrs.field(default=None, converter=normalise.as_optional_word)
    tool_version: str | None = attrs.field(default=None, converter=normalise.as_optional_word)
    format: str | None = attrs.field(default=None, converter=normalise.as_optional_word)
    approximate: bool = attrs.field(default=False, converter=normalise.as_flag)


FIGURES: Final = tuple(field.name for field in attrs.fields(RunStats))[:9]
"""The fields of RunStats that are columns of their own."""

_NO_STATS: Final = RunStats()


def as_stats(value: RunStats | None) -> RunStats | None:
    """Return the figures; figures that say nothing are none."""
    if value is not None and not isinstance(value, RunStats):
        raise ValueError("must be an object of figures")
    return None if value == _NO_STATS else value


@refusing_with(InvalidTaskResult)
@attrs.frozen(kw_only=True)
class Progress:
    """How far a task that still runs has come. An unknown figure is None, never 0.

    Attributes:
        percent: How much is done, from 0 to 100.
        step: What it is doing, at most 255 characters.
        files_done: Files that were processed.
        files_total: Files that are to be processed.
        bytes_done: Bytes that were processed.
        bytes_total: Bytes that are to be processed.
        seconds_remaining: How long it will take, in seconds.

    Raises:
        InvalidTaskResult: Fields are malformed; the error names each of them.
    """

    percent: float | None = attrs.field(default=None, converter=normalise.as_percent)
    step: str | None = attrs.field(default=None, converter=normalise.as_step)
    files_done: int | None = attrs.field(default=None, converter=normalise.as_count)
    files_total: int | None = attrs.field(default=None, converter=normalise.as_count)
    bytes_done: int | None = attrs.field(default=None, converter=normalise.as_count)
    bytes_total: int | None = attrs.field(default=None, converter=normalise.as_count)
    seconds_remaining: float | None = attrs.field(default=None, converter=normalise.as_optional_duration)


_NO_PROGRESS: Final = Progress()


def as_progress(value: Progress | None) -> Progress | None:
    """Return the progress; one that says nothing is none."""
    if value is not None and not isinstance(value, Progress):
        raise ValueError("must be an object of figures")
    return None if value == _NO_PROGRESS else value


@refusing_with(InvalidTaskResult)
@attrs.frozen(kw_only=True)
class TaskResult:
    """The result of one task, as its agent sends it.

    Attributes:
        task_id: The task's id, which becomes the run's id.
        policy_id: The policy that was executed.
        task_type: The type of task, such as ``backup``, ``check`` or ``prune``, 1 to 50 characters.
        status: The task's status, 1 to 50 characters, in lower case. Known synonyms become one canonical word.
        duration_seconds: How long the task took, in seconds: finite, 0 or more.
        log: What the tool printed: any text or bytes. None means that no log was sent, which is not the same as an
            empty log.
        snapshot_id: The snapshot that the backup made, at most 255 characters.
        error_message: Why the task failed, at most 65,536 characters.
        start_time: When the task started according to the agent, in UTC. Year 1, which Go sends for "never", counts as
            None.
        end_time: When the task ended according to the agent, in UTC. Year 1 counts as None.
        stats: Figures that the agent read from its tool.
        progress: How far the task has come. It counts for a task that is pending or running.
        log_bytes: How long the whole log is, in bytes, to be compared with what was received of it.
        log_sha256: The SHA-256 of the whole log, 32 bytes, to be compared likewise.
        log_truncated: Whether no more of the log will come, though it is longer.

    Raises:
        InvalidTaskResult: Fields are missing or malformed; the error names each of them.
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
    stats: RunStats | None = attrs.field(default=None, converter=as_stats)
    progress: Progress | None = attrs.field(default=None, converter=as_progress)
    log_bytes: int | None = attrs.field(default=None, converter=normalise.as_count)
    log_sha256: bytes | None = attrs.field(default=None, converter=normalise.as_sha256)
    log_truncated: bool = attrs.field(default=False, converter=normalise.as_flag)

    @property
    def is_active(self) -> bool:
        """Whether the task is pending or running."""
        return self.status in normalise.ACTIVE_STATUSES


@refusing_with(InvalidAgent)
@attrs.frozen(kw_only=True)
class Agent:
    """A machine that runs backup tasks and may send their results.

    Attributes:
        id: The agent's id.
        tenant_id: The tenant that the agent belongs to.
        hostname: The agent's hostname, at most 253 characters.
        registered_at: When the agent was first registered, in UTC.

    Raises:
        InvalidAgent: Fields are missing or malformed; the error names each of them.
    """

    id: UUID = attrs.field(converter=normalise.as_uuid)
    tenant_id: UUID = attrs.field(converter=normalise.as_uuid)
    hostname: str | None = attrs.field(default=None, converter=normalise.as_hostname)
    registered_at: datetime = attrs.field(converter=normalise.as_time)


@attrs.frozen(kw_only=True)
class AgentToken:
    """What is stored of an agent's token, which is not enough to recover the token.

    Attributes:
        prefix: The public part of the token, 16 characters, by which it is found, listed and revoked.
        tenant_id: The tenant that the token speaks for.
        agent_id: The agent that the token speaks for.
        digest: SHA-256 of the secret part of the token, 32 bytes.
        created_at: When the token was issued, in UTC.
        expires_at: When the token expires, in UTC; None for never.
        last_used_at: When the token was last used, in UTC, to within a minute; None if it never was.
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
    """One run of one task, as stored.

    Attributes:
        id: The task's id.
        tenant_id: The tenant that the run belongs to.
        agent_id: The agent that ran it.
        policy_id: The policy that was executed.
        task_type: The type of task, such as ``backup``, ``check`` or ``prune``.
        status: The canonical status: ``success``, ``warning``, ``failed``, ``cancelled``, ``running``, ``pending``,
            ``lost`` (see ``reap_stale``), or another word in lower case.
        start_time: When the task started, in UTC. If the agent did not say, the end minus the duration, but not before
            year 1.
        end_time: When the task ended, in UTC. If the agent did not say, when the result was received. None while the
            task is active.
        duration_seconds: How long the task took, in seconds.
        error_message: Why the task failed.
        snapshot_id: The snapshot that the backup made.
        received_at: When the first result of this task was received, in UTC. This never changes.
        updated_at: When the stored result, or the last piece of its log, was received, in UTC.
        log_state: What is stored of the log.
        log_bytes: The size of the log, in bytes: of a truncated log what is stored, of a lost log what was lost.
        log_sha256: The SHA-256 of the log as it is stored, 32 bytes; None without a log, and while pieces are appended.
        dropped_bytes: How many bytes of a truncated log are not stored.
        stats: Figures of the run; None if none were reported.
        redactions: How many secrets are masked in the log.
        progress: How far a task that is pending or running has come; None if it does not say.
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
    stats: RunStats | None = attrs.field(default=None, converter=as_stats)
    redactions: int = 0
    progress: Progress | None = attrs.field(default=None, converter=as_progress)

    @property
    def is_active(self) -> bool:
        """Whether the task is pending or running."""
        return self.status in normalise.ACTIVE_STATUSES

    @property
    def began_at(self) -> datetime:
        """When the task began, in UTC, but no later than its last result was received by our own clock."""
        return min(self.start_time, self.updated_at)

    @property
    def ended_at(self) -> datetime:
        """When the task ended, in UTC, or else began; but no later than its last result was received by our clock."""
        return min(self.end_time or self.start_time, self.updated_at)

    @property
    def may_go_on(self) -> bool:
        """Whether more may come of the task: it is active, or was lost, and may be heard of again."""
        return self.is_active or self.status == normalise.LOST

    @property
    def is_dry_run(self) -> bool:
        """Whether the figures say that it was a dry run, which changes nothing."""
        return self.stats is not None and self.stats.dry_run is True


@refusing_with(InvalidQuery)
@attrs.frozen(kw_only=True)
class RunQuery:
    """Which runs to list: those that match every given filter, newest first.

    Attributes:
        agent_id: Only this agent's runs.
        policy_id: Only this policy's runs.
        status: Only runs with one of these statuses: one word or several; synonyms are allowed. Empty for any.
        task_type: Only this type of task.
        snapshot_id: Only runs that made this snapshot.
        since: Only runs that started at this time or later.
        until: Only runs that started before this time.
        limit: The most runs on a page, 1 to 1,000.
        cursor: The ``next_cursor`` of the previous page; None for the first page.
        with_total: Whether to count all runs that match the filters.

    Raises:
        InvalidQuery: Fields are malformed; the error names each of them.
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
        total: How many runs match the filters in all; None if the query said ``with_total=False``.
        limit: The limit that was applied.
        next_cursor: The ``cursor`` to query the next page with; None on the last page.
    """

    runs: tuple[BackupRun, ...]
    total: int | None
    limit: int
    next_cursor: str | None


@attrs.frozen(kw_only=True)
class Receipt:
    """What became of one submitted result, once it is durable.

    Attributes:
        run_id: The run's id, which is the task's id.
        outcome: What was done with the result.
        log_state: What is now stored of the run's log. Check it: ``lost`` means that the result should be sent again.
        log_bytes: The size of the run's log, in bytes.
    """

    run_id: UUID
    outcome: Outcome
    log_state: LogState
    log_bytes: int
