"""The contract between backuplog and a database.

A backend supplies the primitives below and nothing more: what a result does to a stored one, how a log is cut and
what a query means are decided above it, by pure functions. ``backuplog.testing.StoreContract`` holds a backend to
every sentence of this file.
"""

from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self
from uuid import UUID

from .delivery import StoredRun, Submission
from .errors import AgentNotFound, RunConflict
from .log import Chunk
from .model import Agent, AgentToken, BackupRun, Receipt, RunQuery


class Store(Protocol):
    """A place for runs and logs, seen by one tenant.

    May be used from many threads at once. Whatever a method does, it does for ``tenant_id`` only: nothing of another
    tenant is seen, changed or revealed. A write is durable when its method returns, except in a view that
    ``bound_to`` gave.

    Every failure of the database is a ``StoreError`` that names what to do and never a secret, with the driver's
    error as its cause; one that may pass by itself (busy, connection lost) is a ``StoreUnavailable``. After a
    failure nothing of the failed call is stored.
    """

    @property
    def tenant_id(self) -> UUID:
        """Whose view this is."""
        ...

    @property
    def agent_exists(self) -> Callable[[UUID], bool] | None:
        """The integrator's own answer to whether an agent exists; None where the agents table answers."""
        ...

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Give another tenant's view of the same store. It is cheap, shares every connection and need not be closed."""
        ...

    def bound_to(self, connection: Any) -> Self:
        """Give a view that works inside the open transaction of the caller's own connection and never commits.

        A method that fails undoes what it did itself and leaves the rest of the transaction as it was. The view
        belongs to whoever uses the connection; it need not be closed.

        Raises:
            StoreError: The store cannot take part in transactions of that connection.
        """
        ...

    def add_agent(self, agent: Agent) -> Agent:
        """Store an agent of this tenant and give what is stored.

        An agent that is there keeps its ``registered_at``, and its ``hostname`` too where the new one is None.
        """
        ...

    def find_agent(self, agent_id: UUID) -> Agent | None:
        """Find an agent."""
        ...

    def submit(self, submissions: Sequence[Submission]) -> list[Receipt | AgentNotFound | RunConflict]:
        """Take submissions in, in order and in one transaction: all that are answered are stored, or none.

        For each of them: unless it says ``agent_known``, the answer is ``AgentNotFound`` where the agent is not
        stored. Else find what is stored under ``run.id``, call ``decide(stored, submission)``, write what the
        decision says and answer what it answers. Two calls at once with the same ``run.id`` must see each other:
        whatever lock it takes, no two may decide from the same stored state. Submissions of one call may share
        an id too.

        ``submission.log.chunks()`` may be read once per call, one chunk at a time: a log is never held whole.

        Returns:
            One answer for each submission, in order.
        """
        ...

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with all that stands beside it, equal to what was written last."""
        ...

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk with the greatest offset that is not beyond ``offset``, among the chunks of that version."""
        ...

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter, by ``start_time`` then ``id``, both descending.

        Args:
            query: The filters. Its cursor, limit and total are not the store's concern.
            after: Only runs that come after this start time and id in that order; ids compare as 16 bytes.
            limit: At most this many.
        """
        ...

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        ...

    def list_last_successes(self) -> Sequence[BackupRun]:
        """List, of each policy that has runs of status ``success``, the newest of them, in any order of policies.

        The newest is the first that ``list_runs`` would give. The cost grows with the policies, not with the runs.
        """
        ...

    def add_token(self, token: AgentToken) -> None:
        """Store a token. Its prefix is new: it is random."""
        ...

    def find_token(self, prefix: str) -> AgentToken | None:
        """Find a token."""
        ...

    def list_tokens(self, agent_id: UUID) -> Sequence[AgentToken]:
        """List an agent's tokens, oldest first, then by prefix."""
        ...

    def note_token_use(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used; one that is not there any more stays away."""
        ...

    def remove_token(self, prefix: str) -> bool:
        """Remove a token, and say whether it was there."""
        ...

    def close(self) -> None:
        """Close every connection; a second time does nothing. In a view it does nothing at all."""
        ...

    def __enter__(self) -> Self:
        """Give the store itself."""
        ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it."""
        ...
