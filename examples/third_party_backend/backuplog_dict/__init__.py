"""A store that keeps everything in dicts, behind one lock, for as long as the process lives."""

import threading
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self
from uuid import UUID

import attrs

from backuplog import (
    DEFAULT_TENANT,
    Agent,
    AgentNotFound,
    AgentToken,
    BackupRun,
    Chunk,
    Receipt,
    RunConflict,
    RunQuery,
    StoredRun,
    StoreError,
    Submission,
    decide,
)


@attrs.define
class Tables:
    """What all tenants share. Every key leads with the tenant."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    agents: dict[tuple[UUID, UUID], Agent] = attrs.field(factory=dict)
    runs: dict[tuple[UUID, UUID], StoredRun] = attrs.field(factory=dict)
    logs: dict[tuple[UUID, UUID, int], list[Chunk]] = attrs.field(factory=dict)
    tokens: dict[tuple[UUID, str], AgentToken] = attrs.field(factory=dict)
    closed: bool = False


@attrs.frozen(kw_only=True)
class DictStore:
    """One tenant's view of the tables."""

    tenant_id: UUID
    agent_exists: Callable[[UUID], bool] | None = None
    tables: Tables = attrs.field(factory=Tables, repr=False)
    owned: bool = True

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Give another tenant's view."""
        return attrs.evolve(self, tenant_id=tenant_id, owned=False)

    def bound_to(self, connection: Any) -> Self:
        """Refuse: a dict has no transactions."""
        raise StoreError(f"a dict cannot take part in the transaction of a {type(connection).__name__}")

    def add_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        tables = self._open()
        with tables.lock:
            known = tables.agents.get((self.tenant_id, agent.id))
            if known:
                agent = attrs.evolve(known, hostname=agent.hostname or known.hostname)
            tables.agents[self.tenant_id, agent.id] = agent
        return agent

    def find_agent(self, agent_id: UUID) -> Agent | None:
        """Find an agent."""
        return self._open().agents.get((self.tenant_id, agent_id))

    def submit(self, submissions: Sequence[Submission]) -> list[Receipt | AgentNotFound | RunConflict]:
        """Take submissions in: read every log first, so that a failure leaves nothing."""
        tables = self._open()
        logs = [list(submission.log.chunks()) if submission.log else [] for submission in submissions]
        with tables.lock:
            return [self._take(tables, *pair) for pair in zip(submissions, logs, strict=True)]

    def _take(
        self, tables: Tables, submission: Submission, chunks: list[Chunk]
    ) -> Receipt | AgentNotFound | RunConflict:
        if not submission.agent_known and (self.tenant_id, submission.run.agent_id) not in tables.agents:
            return AgentNotFound()
        key = self.tenant_id, submission.run.id
        stored = tables.runs.get(key)
        decision = decide(stored, submission)
        if decision.write is not None:
            tables.logs.setdefault((*key, decision.write.log_version), chunks)
            tables.runs[key] = decision.write
            # Last, for readers take no lock: one that finds no chunk must find a run that says why.
            if stored and stored.log_version != decision.write.log_version:
                del tables.logs[*key, stored.log_version]
        return decision.answer

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run."""
        return self._open().runs.get((self.tenant_id, run_id))

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        chunks = self._open().logs.get((self.tenant_id, run_id, log_version), [])
        return next((chunk for chunk in reversed(chunks) if chunk.offset <= offset), None)

    def list_runs(self, query: RunQuery, *, after: tuple[datetime, UUID] | None, limit: int) -> Sequence[BackupRun]:
        """List the runs that meet every filter, newest first."""
        runs = sorted(self._matching(query), key=_place, reverse=True)
        if after:
            runs = [run for run in runs if _place(run) < (after[0], after[1].bytes)]
        return runs[:limit]

    def count_runs(self, query: RunQuery) -> int:
        """Count the runs that meet every filter."""
        return len(self._matching(query))

    def _matching(self, query: RunQuery) -> list[BackupRun]:
        tables = self._open()
        with tables.lock:
            runs = [stored.run for (tenant_id, _), stored in tables.runs.items() if tenant_id == self.tenant_id]
        return [
            run
            for run in runs
            if query.agent_id in (None, run.agent_id)
            and query.policy_id in (None, run.policy_id)
            and (not query.status or run.status in query.status)
            and query.task_type in (None, run.task_type)
            and query.snapshot_id in (None, run.snapshot_id)
            and (query.since is None or run.start_time >= query.since)
            and (query.until is None or run.start_time < query.until)
        ]

    def list_last_successes(self) -> Sequence[BackupRun]:
        """List each policy's newest success."""
        runs = sorted(self._matching(RunQuery(status="success")), key=_place)
        return list({run.policy_id: run for run in runs}.values())

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        self._open().tokens[self.tenant_id, token.prefix] = token

    def find_token(self, prefix: str) -> AgentToken | None:
        """Find a token."""
        return self._open().tokens.get((self.tenant_id, prefix))

    def list_tokens(self, agent_id: UUID) -> Sequence[AgentToken]:
        """List an agent's tokens, oldest first."""
        tables = self._open()
        with tables.lock:
            tokens = [token for (tenant_id, _), token in tables.tokens.items() if tenant_id == self.tenant_id]
        mine = [token for token in tokens if token.agent_id == agent_id]
        return sorted(mine, key=lambda token: (token.created_at, token.prefix))

    def note_token_use(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        tables = self._open()
        with tables.lock:
            token = tables.tokens.get((self.tenant_id, prefix))
            if token:
                tables.tokens[self.tenant_id, prefix] = attrs.evolve(token, last_used_at=used_at)

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        return self._open().tokens.pop((self.tenant_id, prefix), None) is not None

    def close(self) -> None:
        """Close the store, unless this is a view."""
        if self.owned:
            self.tables.closed = True

    def __enter__(self) -> Self:
        """Give the store itself."""
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _open(self) -> Tables:
        if self.tables.closed:
            raise StoreError("the store is closed: open it again")
        return self.tables


def _place(run: BackupRun) -> tuple[datetime, bytes]:
    return run.start_time, run.id.bytes


def open_store(
    url: str,  # noqa: ARG001 - dict:// says it all
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    agent_exists: Callable[[UUID], bool] | None = None,
    migrate: bool = True,  # noqa: ARG001 - a dict has no schema
) -> DictStore:
    """Open an empty store; ``backuplog.open_store`` calls it for ``dict://`` URLs."""
    return DictStore(tenant_id=tenant_id, agent_exists=agent_exists)
