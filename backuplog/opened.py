"""The store that open_store gives: a backend's, with retries and observers around it.

Delivery is idempotent, so that a retry counts nothing twice.
"""

import time
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar
from uuid import UUID

import stamina

from .delivery import StoredRun, Submission
from .errors import AgentNotFound, RunConflict, StoreUnavailable
from .log import Chunk
from .model import Agent, AgentToken, BackupRun, Receipt, RunQuery
from .observe import Observer
from .store import Store

_LONGEST_PAUSE: Final = 1.0
_JITTER: Final = 0.1

_Given = ParamSpec("_Given")
_Answer = TypeVar("_Answer")


class OpenedStore:
    """A store that tries again, with growing and random pauses, what raised ``StoreUnavailable``, and has observers.

    A connection that is lost after a commit but before its answer ends as
    ``replayed``. Nothing is tried again in a view that ``bound_to`` gave: the transaction is the caller's to begin
    anew.
    """

    def __init__(self, store: Store, *, timeout: float, observers: Sequence[Observer]) -> None:
        """Take the store; after ``timeout`` seconds nothing is tried again."""
        self._store = store
        self._timeout = timeout
        self.observers = tuple(observers)

    def __repr__(self) -> str:
        """Show the store."""
        return repr(self._store)

    @property
    def tenant_id(self) -> UUID:
        """Whose view this is."""
        return self._store.tenant_id

    @property
    def agent_exists(self) -> Callable[[UUID], bool] | None:
        """The integrator's own answer to whether an agent exists."""
        return self._store.agent_exists

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Give another tenant's view, which tries again as this one does."""
        return type(self)(self._store.for_tenant(tenant_id), timeout=self._timeout, observers=self.observers)

    def bound_to(self, connection: Any) -> Self:
        """Give a view inside the caller's transaction, which tries nothing again."""
        return type(self)(self._store.bound_to(connection), timeout=0, observers=self.observers)

    def add_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        return self._retry(self._store.add_agent, agent)

    def find_agent(self, agent_id: UUID) -> Agent | None:
        """Find an agent."""
        return self._retry(self._store.find_agent, agent_id)

    def submit(self, submissions: Sequence[Submission]) -> list[Receipt | AgentNotFound | RunConflict]:
        """Take submissions in."""
        return self._retry(self._store.submit, submissions)

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run with all that stands beside it."""
        return self._retry(self._store.find_run, run_id)

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        return self._retry(self._store.find_chunk, run_id, log_version, offset)

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter."""
        return self._retry(self._store.list_runs, query, after=after, limit=limit)

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        return self._retry(self._store.count_runs, query)

    def list_last_successes(self) -> Sequence[BackupRun]:
        """List each policy's newest success."""
        return self._retry(self._store.list_last_successes)

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        self._retry(self._store.add_token, token)

    def find_token(self, prefix: str) -> AgentToken | None:
        """Find a token."""
        return self._retry(self._store.find_token, prefix)

    def list_tokens(self, agent_id: UUID) -> Sequence[AgentToken]:
        """List an agent's tokens."""
        return self._retry(self._store.list_tokens, agent_id)

    def note_token_use(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        self._retry(self._store.note_token_use, prefix, used_at)

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        return self._retry(self._store.remove_token, prefix)

    def close(self) -> None:
        """Close the store."""
        self._store.close()

    def __enter__(self) -> Self:
        """Give the store itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _retry(self, method: Callable[_Given, _Answer], *arguments: _Given.args, **keywords: _Given.kwargs) -> _Answer:
        begun = time.monotonic()
        try:
            return method(*arguments, **keywords)
        except StoreUnavailable:
            remaining = self._timeout - (time.monotonic() - begun)
            if remaining <= 0 or not stamina.is_active():
                raise
        # At once the first time: a pool has other connections, and whoever won a deadlock has gone on.
        for attempt in stamina.retry_context(
            on=StoreUnavailable, attempts=None, timeout=remaining, wait_max=_LONGEST_PAUSE, wait_jitter=_JITTER
        ):
            with attempt:
                return method(*arguments, **keywords)
        raise AssertionError  # The last attempt answers or raises.


def observers_of(store: Store) -> tuple[Observer, ...]:
    """Give the observers of a store: those it was opened with, and none for a backend's own."""
    return store.observers if isinstance(store, OpenedStore) else ()
