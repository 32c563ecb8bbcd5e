"""A consumer's code, which is type-checked against the installed package and never run."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import attrs

import backuplog
from backuplog import http
from backuplog.backend import Backend, Change, Decision, StoredRun
from backuplog.http import openapi
from backuplog.http.limit import RateLimiter
from backuplog.metrics import PrometheusObserver
from backuplog_postgres import PostgresBackend
from backuplog_sqlite import SqliteBackend


def handle(store: backuplog.Store, agent_id: UUID, body: bytes) -> dict[str, str]:
    """Use every verb as a web handler would."""
    agent: backuplog.Agent = backuplog.register_agent(store, agent_id, hostname="db-01")
    receipt: backuplog.Receipt = backuplog.ingest_task_result(store, agent.id, body)
    answers = backuplog.ingest_task_results(store, [(agent_id, body), (str(agent_id), {"taskId": "x"})])
    refused = [answer for answer in answers if isinstance(answer, backuplog.BackuplogError)]
    query = backuplog.RunQuery(agent_id=str(agent_id), status=["failed", "warning"], since="2026-11-24T00:00:00Z")
    page: backuplog.RunPage = backuplog.query_runs(store, query)
    run: backuplog.BackupRun = backuplog.get_run(store, page.runs[0].id, agent_id=agent_id)
    log: bytes = backuplog.read_log(store, run.id, start=-1024)
    pieces: Iterator[bytes] = backuplog.iter_log(store, str(run.id))
    outcome: backuplog.Outcome = receipt.outcome
    return {"outcome": outcome, "log": log.decode(), "pieces": str(len(list(pieces))), "refused": str(len(refused))}


def open_and_handle() -> None:
    """Use a store and its views."""
    with backuplog.open_store("sqlite://", tenant_id=uuid4()) as store:
        view: backuplog.Store = store.for_tenant(uuid4())
        result = backuplog.TaskResult(
            task_id=uuid4(), policy_id=str(uuid4()), task_type="backup", status="ok", duration_seconds=3, log="text"
        )
        backuplog.ingest_task_result(view, uuid4(), result)


def answer(store: backuplog.Store, agent_id: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str]]:
    """Use the HTTP contract as an integrator would."""
    guard = http.Guard(tokens=False, limiter=RateLimiter("5/second"))
    response: http.Response = http.post_task_result(
        store, agent_id, http.Request(headers=headers, body=body), guard=guard
    )
    pieces: Iterator[bytes] = response.pieces()
    token: str = backuplog.issue_agent_token(store, agent_id)
    verified: backuplog.AgentToken = backuplog.verify_agent_token(store, token)
    observers: list[backuplog.Observer] = [backuplog.LoggingObserver(), PrometheusObserver()]
    document = openapi.document(title=verified.prefix, guard=guard)
    return response.status + len(observers) + len(list(pieces)), {**response.headers, "title": str(document["info"])}


@attrs.frozen
class Rename:
    """A change of a backend's author's own."""

    run_id: UUID
    task_type: str
    requires_agent: UUID | None = None

    def decide(self, stored: StoredRun | None) -> Decision[bool]:
        """Write the run alone."""
        if stored is None:
            return Decision(answer=False)
        run = attrs.evolve(stored.run, task_type=self.task_type)
        return Decision(answer=True, write=attrs.evolve(stored, run=run))


def hold_to_the_protocol(sqlite: SqliteBackend, postgres: PostgresBackend) -> list[bool | backuplog.AgentNotFound]:
    """Use backends as what they must be, and make a change of one's own."""
    backends: list[Backend] = [sqlite, postgres]
    store = backuplog.Store(backends[0], retry_timeout=5)
    change: Change[bool] = Rename(uuid4(), "prune")
    found: StoredRun | None = store.call(store.backend.find_run, change.run_id)
    agents: list[backuplog.Agent] = backuplog.list_agents(store)
    return store.call(store.backend.submit, [change, Rename(agents[0].id, found.run.task_type if found else "check")])
