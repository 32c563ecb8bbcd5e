"""The contract between backuplog and a database, and every name that the author of a backend needs.

A backend supplies the primitives below and nothing more: what a change does to a stored run, how a log is split and
what a query means are decided above it, by pure functions. ``backuplog.testing.StoreContract`` holds a backend to
every sentence of this file.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Protocol, Self
from uuid import UUID

from .change import READABLE_STATES, Amendment, AnswerT, Change, Decision, StoredRun
from .chunk import CHUNK_BYTES, Chunk, Frame, Log, compress, decode, place, split
from .delivery import Answer, Submission
from .errors import (
    AgentNotFound,
    CorruptLog,
    RunConflict,
    SchemaOutdated,
    StoreError,
    StoreUnavailable,
    TransactionRolledBack,
)
from .model import (
    DEFAULT_TENANT,
    FIGURES,
    Agent,
    AgentToken,
    BackupRun,
    LogState,
    Receipt,
    RunQuery,
    RunStats,
)
from .normalise import as_duration, option
from .prepare import prepare_submission
from .row import (
    AGENT_COLUMNS,
    CHUNK_COLUMNS,
    GROUP_COLUMNS,
    NULLABLE_COLUMNS,
    RUN_COLUMNS,
    STORED_RUN_COLUMNS,
    TABLES,
    TOKEN_COLUMNS,
    GroupColumn,
    Row,
    SummaryColumn,
    Tally,
    Term,
    damaged_row,
    query_terms,
    read_agent,
    read_chunk,
    read_run,
    read_stored_run,
    read_tally,
    read_token,
    stored_run_row,
)

__all__ = [
    "AGENT_COLUMNS",
    "CHUNK_BYTES",
    "CHUNK_COLUMNS",
    "DEFAULT_TENANT",
    "FIGURES",
    "GROUP_COLUMNS",
    "NULLABLE_COLUMNS",
    "READABLE_STATES",
    "RUN_COLUMNS",
    "STORED_RUN_COLUMNS",
    "TABLES",
    "TOKEN_COLUMNS",
    "Agent",
    "AgentNotFound",
    "AgentToken",
    "Amendment",
    "Answer",
    "AnswerT",
    "Backend",
    "BackupRun",
    "Change",
    "Chunk",
    "CorruptLog",
    "Decision",
    "FindsLogs",
    "FindsOrphans",
    "Frame",
    "GroupColumn",
    "LimitsWriters",
    "Log",
    "LogState",
    "Receipt",
    "Row",
    "RunConflict",
    "RunQuery",
    "RunStats",
    "SchemaOutdated",
    "StoreError",
    "StoreUnavailable",
    "StoredLog",
    "StoredRun",
    "Submission",
    "SummaryColumn",
    "Tally",
    "Term",
    "TransactionRolledBack",
    "as_duration",
    "compress",
    "damaged_row",
    "decode",
    "option",
    "place",
    "prepare_submission",
    "query_terms",
    "read_agent",
    "read_chunk",
    "read_run",
    "read_stored_run",
    "read_tally",
    "read_token",
    "split",
    "stored_run_row",
]


class Backend(Protocol):
    """One tenant's view of a database of runs and logs.

    Many threads may use it at once. Every method acts for ``tenant_id`` only: it sees, changes and reveals nothing of
    another tenant. A write is durable when its method returns, except in a view that ``bound_to`` returned.

    Every failure of the database is raised as a ``StoreError`` that says what to do and contains no secret, with the
    driver's error as its cause. A failure that may pass by itself (busy, connection lost) is a ``StoreUnavailable``,
    and the caller retries it. After a failure, nothing of the failed call is stored.
    """

    @property
    def tenant_id(self) -> UUID:
        """The tenant whose view this is."""
        ...

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Return another tenant's view of the same database, which shares every connection and need not be closed.

        Args:
            tenant_id: The other tenant.
        """
        ...

    def bound_to(self, connection: Any) -> Self:
        """Return a view that works inside the open transaction of the caller's own connection and never commits.

        A method that fails undoes its own changes and leaves the rest of the transaction as it was. If the database
        has rolled back the whole transaction, it raises ``TransactionRolledBack``. The view need not be closed.

        Args:
            connection: A connection of the database's driver.

        Raises:
            StoreError: The database cannot take part in that connection's transactions.
        """
        ...

    def close(self) -> None:
        """Close every connection. Closing again, or closing a view, does nothing."""
        ...

    def put_agent(self, agent: Agent) -> Agent:
        """Store an agent of this tenant and return what is stored.

        An agent that is already stored keeps its ``registered_at``, and keeps its ``hostname`` if the new one is None.

        Args:
            agent: The agent.
        """
        ...

    def list_agents(self, ids: Collection[UUID] | None = None) -> Sequence[Agent]:
        """List agents, in any order.

        Args:
            ids: List only agents with these ids, and skip ids that are not stored. None lists all.
        """
        ...

    def remove_agent(self, agent_id: UUID) -> bool:
        """Remove an agent, and return whether it was stored. Its runs and tokens stay.

        Args:
            agent_id: The agent's id.
        """
        ...

    def submit(self, changes: Sequence[Change[AnswerT]], *, skip_locked: bool = False) -> list[AnswerT | AgentNotFound]:
        """Make changes in order, in one transaction: either all that are answered are stored, or none.

        If a change requires an agent that is not stored, its answer is ``AgentNotFound``. Otherwise find what is stored
        under its ``run_id``, call ``decide``, write what the decision says, and answer what it answers. Two
        simultaneous calls with the same ``run_id`` must see each other: whatever lock that takes, they must not decide
        from the same stored state. Changes in one call may share a ``run_id`` too.

        If a decision writes nothing, ignore its ``chunks`` and ``drop``, and delete the run and its log if it says
        ``remove``. Read ``chunks`` only once, one chunk at a time, so that a whole log is never in memory.

        Args:
            changes: The changes.
            skip_locked: Whether to treat runs that another transaction is changing as if they were not stored, instead
                of waiting for it. Nothing is created then. A database that locks no single run ignores it.

        Returns:
            One answer for each change, in order.
        """
        ...

    def reclaim(self) -> int | None:
        """Give a little of the room that removed logs took back to the operating system, in a few milliseconds.

        A database that reuses that room, or gives it back by itself, does nothing.

        Returns:
            How many bytes were given back; 0 if there is nothing to give back, or too little to be worth it; None if
            there is, and it takes another call.
        """
        ...

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with everything stored beside it, exactly as it was last written.

        Args:
            run_id: The run's id.
        """
        ...

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk with the greatest offset up to ``offset``, in one version of a run's log.

        Args:
            run_id: The run's id.
            log_version: The version of the log.
            offset: The position of a byte in the log.
        """
        ...

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that match every filter, by ``start_time`` then ``id``, both descending.

        Args:
            query: The filters. Ignore its ``cursor``, ``limit`` and ``with_total``.
            after: List only runs that come after this start time and id in that order; ids compare as 16 bytes. They
                are those of a run that meets the filters.
            limit: The most runs to list.
        """
        ...

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that match every filter.

        Args:
            query: The filters. Ignore its ``cursor``, ``limit`` and ``with_total``.
        """
        ...

    def list_newest(self, query: RunQuery, by: Sequence[GroupColumn], *, limit: int = 1) -> Sequence[BackupRun]:
        """List the newest runs of each group among those that match every filter, in any order.

        The newest runs are those that ``list_runs`` would list first. The cost must grow with the number of different
        triples of policy, agent and task type, not of runs, as long as most runs match.

        Args:
            query: The filters. Ignore its ``cursor``, ``limit`` and ``with_total``.
            by: The columns that the runs of a group have in common, at least one.
            limit: The most runs to list of a group.
        """
        ...

    def summarize_runs(self, query: RunQuery, by: SummaryColumn) -> Sequence[Tally]:
        """Count and add up the runs that match every filter, for each group and status, in any order.

        Args:
            query: The filters. Ignore its ``cursor``, ``limit`` and ``with_total``.
            by: What the runs of a group have in common.
        """
        ...

    def add_token(self, token: AgentToken) -> None:
        """Store a token, whose prefix is random. Storing it again, as a retry does, changes nothing.

        Args:
            token: The token.
        """
        ...

    def list_tokens(self, *, prefix: str | None = None, agent_id: UUID | None = None) -> Sequence[AgentToken]:
        """List the tokens that match every filter, oldest first, then by prefix.

        Args:
            prefix: Only the token with this prefix.
            agent_id: Only tokens of this agent.
        """
        ...

    def touch_token(self, prefix: str, used_at: datetime) -> None:
        """Record when a token was last used. If it is no longer stored, do nothing.

        A request waits for its answer meanwhile, so do not wait for a lock: do nothing, or raise ``StoreUnavailable``,
        which the caller ignores.

        Args:
            prefix: The token's prefix.
            used_at: When the token was used.
        """
        ...

    def remove_token(self, prefix: str) -> bool:
        """Remove a token, and return whether it was stored.

        Args:
            prefix: The token's prefix.
        """
        ...


class FindsLogs(Protocol):
    """What a backend may have besides: it finds a run and a chunk of its log in one round trip. Reading asks for it."""

    def find_log(self, run_id: UUID, offset: int) -> tuple[StoredRun, Chunk | None] | None:
        """Find a run, and a chunk of its log, both as they are at one moment.

        Args:
            run_id: The run's id.
            offset: The position of a byte in the log.

        Returns:
            What ``find_run`` finds, and what ``find_chunk`` then finds in the version of the log that the run refers
            to; None for a chunk that cannot be read, which ``find_chunk`` is then asked for. None without the run.
        """
        ...


class StoredLog(NamedTuple):
    """A log that is stored, or one that was, of which chunks are left.

    Attributes:
        run_id: The id of the run under which it is stored.
        log_version: The version under which it is stored.
        is_referred_to: Whether there is such a run, and this is the version of its log.
    """

    run_id: UUID
    log_version: int
    is_referred_to: bool


class FindsOrphans(Protocol):
    """What a backend may have besides: it finds logs that no run refers to. ``check_logs`` asks for it."""

    def list_logs(self, *, after: tuple[UUID, int] | None, limit: int) -> Sequence[StoredLog]:
        """List the logs of which chunks are stored, by ``run_id`` then ``log_version``, both ascending.

        The cost must not grow with the number of chunks, nor with what comes before: step from log to log in the key.

        Args:
            after: List only logs that come after this run and version in that order; ids compare as 16 bytes.
            limit: The most logs to list.
        """
        ...


class LimitsWriters(Protocol):
    """What a backend may have besides: it makes only so many calls of ``submit`` at once.

    Where more threads than that submit small results through one view, they share a transaction. So a run that another
    transaction holds delays all that are in one with it, until ``submit_together`` gives up, and each submits by
    itself. Who comes later waits until that has taken five seconds. It is asked for where the class has it: a wrapper
    whose ``submit`` may be in a transaction of each thread's own need not, and must not, say anything.
    """

    @property
    def writers(self) -> int | None:
        """How many calls of ``submit`` it makes at once; None for any number, and in a view of ``bound_to``."""
        ...

    def submit_together(self, changes: Sequence[Change[AnswerT]]) -> list[AnswerT | AgentNotFound]:
        """Make changes of several threads as ``submit`` does, and do not wait for long for what one of them waits for.

        A thread whose own transaction holds a run might else wait for itself: its result is in one with another's of
        that run.

        Args:
            changes: As for ``submit``.

        Raises:
            StoreUnavailable: As for ``submit``, or another transaction holds one of the runs. Nothing was written.
            StoreError: The store failed.
        """
        ...
