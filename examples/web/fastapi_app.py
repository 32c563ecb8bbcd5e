"""backuplog behind FastAPI: ``python fastapi_app.py``, or ``uvicorn fastapi_app:app`` with any number of workers."""

import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response, StreamingResponse
from starlette.requests import ClientDisconnect

import backuplog
from backuplog import http

guard = http.Guard()  # every agent shows a token of backuplog.issue_agent_token
EXPECTATIONS: list[backuplog.Expectation] = []  # how often each policy should run: you know, clients do not say it
# No agent's token is enough for these: give them a guard of their own behind your login.
REPORTS: dict[str, http.Endpoint] = {
    "latest": http.get_latest_runs,
    "summary": http.get_run_summary,
    "overdue": functools.partial(http.get_overdue_runs, expectations=EXPECTATIONS),
    "anomalies": http.get_anomalies,
    "search": http.get_log_matches,
}


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Open the store in the process that serves: one that was opened before a fork refuses to work."""
    with backuplog.open_store(os.environ.get("BACKUPLOG_URL", "sqlite:///backups.db")) as store:
        app.state.store = store
        yield


async def went_away(_request: Request, _error: Exception) -> Response:
    """Answer a client that broke its upload off, and no longer listens."""
    return Response(status_code=400)


app = FastAPI(title="Orchestrator", lifespan=lifespan, exception_handlers={ClientDisconnect: went_away})
READ = ["GET", "HEAD"]


async def answer(endpoint: http.Endpoint, request: Request, *place: str | None) -> Response:
    """Read the body in the event loop, where slow clients cost nothing, and do the work in a thread."""
    parts = http.Request(method=request.method, headers=request.headers, query=request.url.query)
    given = await http.respond(
        endpoint,
        request.app.state.store,
        *place,
        request=parts,
        body=request.stream(),
        in_thread=run_in_threadpool,
        guard=guard,
    )
    if isinstance(given.body, bytes):
        return Response(given.body, given.status, given.headers)
    return StreamingResponse(given.body, given.status, given.headers)  # read piece by piece in a thread


@app.post("/agents/{agent_id}/task-results")
async def post_task_result(request: Request, agent_id: str) -> Response:
    return await answer(http.post_task_result, request, agent_id)


@app.post("/agents/{agent_id}/task-results/batch")
async def post_task_results(request: Request, agent_id: str) -> Response:
    return await answer(http.post_task_results, request, agent_id)


@app.api_route("/agents/{agent_id}/backup-runs", methods=READ)
async def get_backup_runs(request: Request, agent_id: str) -> Response:
    return await answer(http.get_backup_runs, request, agent_id)


# No agent's token is enough: for operators, give it a guard of its own behind your login.
@app.api_route("/backup-runs", methods=READ)
async def get_all_backup_runs(request: Request) -> Response:
    return await answer(http.get_backup_runs, request, None)


def add_report(name: str, report: http.Endpoint) -> None:
    async def get_report(request: Request) -> Response:
        return await answer(report, request, request.path_params.get("agent_id"))

    app.add_api_route(f"/agents/{{agent_id}}/backup-runs/{name}", get_report, methods=READ)
    app.add_api_route(f"/backup-runs/{name}", get_report, methods=READ)


for name, report in REPORTS.items():
    add_report(name, report)


@app.api_route("/agents/{agent_id}/backup-runs/{run_id}", methods=READ)
async def get_backup_run(request: Request, agent_id: str, run_id: str) -> Response:
    return await answer(http.get_backup_run, request, agent_id, run_id)


@app.api_route("/agents/{agent_id}/backup-runs/{run_id}/log", methods=[*READ, "PATCH"])
async def backup_run_log(request: Request, agent_id: str, run_id: str) -> Response:
    endpoint = http.patch_backup_run_log if request.method == "PATCH" else http.get_backup_run_log
    return await answer(endpoint, request, agent_id, run_id)


@app.api_route("/agents/{agent_id}/backup-runs/{run_id}/log/follow", methods=READ)
async def follow(request: Request, agent_id: str, run_id: str) -> Response:
    """Send a log while it grows, until its task ends or who watches goes away. Waiting takes no thread."""
    parts = http.Request(method=request.method, headers=request.headers, query=request.url.query)
    given, body = await http.follow(
        request.app.state.store, agent_id, run_id, request=parts, in_thread=run_in_threadpool, guard=guard
    )
    return StreamingResponse(body, given.status, given.headers)


if __name__ == "__main__":
    import uvicorn

    # Who still follows a log when the server stops is not waited for.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)
