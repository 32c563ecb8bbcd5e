"""A consumer's code, which is type-checked against the installed package and never run."""

from collections.abc import Iterator
from uuid import UUID, uuid4

import backuplog
from backuplog import http, openapi
from backuplog.limit import RateLimiter
from backuplog.metrics import PrometheusObserver


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
