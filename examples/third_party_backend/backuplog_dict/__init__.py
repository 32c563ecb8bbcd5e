"""A backend that keeps everything in dicts, behind one lock, for as long as the process lives."""

import operator
import threading
from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, Self
from uuid import UUID

import attrs

from backuplog.backend import (
    DEFAULT_TENANT,
    READABLE_STATES,
    Agent,
    AgentNotFound,
    AgentToken,
    AnswerT,
    BackupRun,
    Change,
    Chunk,
    GroupColumn,
    RunQuery,
    StoredRun,
    StoreError,
    SummaryColumn,
    Tally,
    query_terms,
)

OPERATORS: Final = {
    "=": operator.eq,
    ">=": operator.ge,
    "<": operator.lt,
    "in": lambda value, values: value in values,
}


@attrs.define
class Tables:
    """What all tenants share. Every key leads with the tenant."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    agents: dict[tuple[UUID, UUID], Agent] = attrs.field(factory=dict)
    runs: dict[tuple[UUID, UUID], tuple[StoredRun, list[tuple[int, Chunk]]]] = attrs.field(factory=dict)
    tokens: dict[tuple[UUID, str], AgentToken] = attrs.field(factory=dict)
    closed: bool = False


@attrs.frozen(kw_only=True)
class DictBackend:
    """One tenant's view of the tables."""

    tenant_id: UUID
    tables: Tables = attrs.field(factory=Tables, repr=False)
    is_owner: bool = True

    def for_tenant(self, tenant_id: UUID) -> Self:
        """Return another tenant's view."""
        return attrs.evolve(self, tenant_id=tenant_id, is_owner=False)

    def bound_to(self, connection: Any) -> Self:
        """Refuse: a dict has no transactions."""
        raise StoreError(f"a dict cannot take part in the transaction of a {type(connection).__name__}")

    def close(self) -> None:
        """Close the tables, unless this is a view."""
        if self.is_owner:
            self.tables.closed = True

    def put_agent(self, agent: Agent) -> Agent:
        """Store an agent."""
        tables = self._open()
        with tables.lock:
            known = tables.agents.get((self.tenant_id, agent.id))
            if known:
                agent = attrs.evolve(known, hostname=agent.hostname or known.hostname)
            tables.agents[self.tenant_id, agent.id] = agent
        return agent

    def list_agents(self, ids: Collection[UUID] | None = None) -> Sequence[Agent]:
        """List agents, all or some."""
        tables = self._open()
        with tables.lock:
            agents = [agent for (tenant_id, _), agent in tables.agents.items() if tenant_id == self.tenant_id]
        return [agent for agent in agents if ids is None or agent.id in ids]

    def remove_agent(self, agent_id: UUID) -> bool:
        """Remove an agent."""
        return self._open().agents.pop((self.tenant_id, agent_id), None) is not None

    def submit(
        self,
        changes: Sequence[Change[AnswerT]],
        *,
        skip_locked: bool = False,  # noqa: ARG002 - one lock is all there is
    ) -> list[AnswerT | AgentNotFound]:
        """Make changes to copies, and keep them when all have been made, so that a failure leaves nothing."""
        tables = self._open()
        answers: list[AnswerT | AgentNotFound] = []
        written: dict[tuple[UUID, UUID], tuple[StoredRun, list[tuple[int, Chunk]]] | None] = {}
        with tables.lock:
            for change in changes:
                if change.requires_agent and (self.tenant_id, change.requires_agent) not in tables.agents:
                    answers.append(AgentNotFound())
                    continue
                key = self.tenant_id, change.run_id
                stored, chunks = written.get(key, tables.runs.get(key)) or (None, [])
                decision = change.decide(stored)
                answers.append(decision.answer)
                if decision.remove:
                    written[key] = None
                if decision.write is not None:
                    first, end = decision.drop, decision.drop_until
                    kept = [
                        (version, chunk)
                        for version, chunk in chunks
                        if first is None or chunk.offset < first or (end is not None and chunk.offset >= end)
                    ]
                    version = decision.write.log_version
                    written[key] = decision.write, [*kept, *((version, chunk) for chunk in decision.chunks)]
            for key, row in written.items():  # Run and log at once: readers take no lock.
                if row is None:
                    tables.runs.pop(key, None)
                else:
                    tables.runs[key] = row
        return answers

    def reclaim(self) -> int:
        """Do nothing: Python frees what is removed."""
        return 0

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run."""
        return self._open().runs.get((self.tenant_id, run_id), (None, []))[0]

    def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        """Find the chunk that holds the byte at an offset."""
        _, chunks = self._open().runs.get((self.tenant_id, run_id), (None, []))
        found = [chunk for version, chunk in chunks if version == log_version and chunk.offset <= offset]
        return max(found, key=lambda chunk: chunk.offset, default=None)

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
            runs = [stored.run for stored, _ in tables.runs.values()]
        terms = query_terms(self.tenant_id, query)
        return [run for run in runs if all(OPERATORS[how](getattr(run, name), value) for name, how, value in terms)]

    def list_newest(self, query: RunQuery, by: Sequence[GroupColumn], *, limit: int = 1) -> Sequence[BackupRun]:
        """List each group's newest runs."""
        groups: dict[tuple[object, ...], list[BackupRun]] = {}
        for run in sorted(self._matching(query), key=_place, reverse=True):
            groups.setdefault(tuple(getattr(run, column) for column in by), []).append(run)
        return [run for runs in groups.values() for run in runs[:limit]]

    def summarize_runs(self, query: RunQuery, by: SummaryColumn) -> Sequence[Tally]:
        """Count and add up runs by group and status."""
        groups: dict[tuple[Any, str], list[BackupRun]] = {}
        for run in self._matching(query):
            key = run.start_time.date() if by == "day" else getattr(run, by)
            groups.setdefault((key, run.status), []).append(run)
        return [
            Tally(
                key=key,
                status=status,
                runs=len(runs),
                duration_seconds=sum(run.duration_seconds for run in runs),
                data_added=_sum_of("data_added", runs),
                total_bytes_processed=_sum_of("total_bytes_processed", runs),
                log_bytes=sum(run.log_bytes for run in runs if run.log_state in READABLE_STATES),
            )
            for (key, status), runs in groups.items()
        ]

    def add_token(self, token: AgentToken) -> None:
        """Store a token."""
        self._open().tokens[self.tenant_id, token.prefix] = token

    def list_tokens(self, *, prefix: str | None = None, agent_id: UUID | None = None) -> Sequence[AgentToken]:
        """List tokens, oldest first."""
        tables = self._open()
        with tables.lock:
            tokens = [token for token in tables.tokens.values() if token.tenant_id == self.tenant_id]
        found = [token for token in tokens if prefix in (None, token.prefix) and agent_id in (None, token.agent_id)]
        return sorted(found, key=lambda token: (token.created_at, token.prefix))

    def touch_token(self, prefix: str, used_at: datetime) -> None:
        """Set when a token was last used."""
        tables = self._open()
        with tables.lock:
            token = tables.tokens.get((self.tenant_id, prefix))
            if token:
                tables.tokens[self.tenant_id, prefix] = attrs.evolve(token, last_used_at=used_at)

    def remove_token(self, prefix: str) -> bool:
        """Remove a token."""
        return self._open().tokens.pop((self.tenant_id, prefix), None) is not None

    def _open(self) -> Tables:
        if self.tables.closed:
            raise StoreError("the store is closed: open it again")
        return self.tables


def _sum_of(figure: str, runs: Sequence[BackupRun]) -> int | None:
    known = [value for run in runs if (value := getattr(run.stats, figure, None)) is not None]
    return sum(known) if known else None


def _place(run: BackupRun) -> tuple[datetime, bytes]:
    return run.start_time, run.id.bytes


def open_backend(
    url: str,  # noqa: ARG001 - dict:// says it all
    *,
    tenant_id: UUID = DEFAULT_TENANT,
    migrate: bool = True,  # noqa: ARG001 - a dict has no schema
) -> DictBackend:
    """Open an empty backend; ``backuplog.open_store`` calls it for ``dict://`` URLs."""
    return DictBackend(tenant_id=tenant_id)
