"""backuplog behind Starlette: ``python starlette_app.py``, or ``uvicorn starlette_app:app --workers 4``."""

import functools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

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
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    """Open the store in the process that serves: one that was opened before a fork refuses to work."""
    with backuplog.open_store(os.environ.get("BACKUPLOG_URL", "sqlite:///backups.db")) as store:
        app.state.store = store
        yield


async def went_away(_request: Request, _error: Exception) -> Response:
    """Answer a client that broke its upload off, and no longer listens."""
    return Response(status_code=400)


def route(path: str, **endpoints: http.Endpoint) -> Route:
    """Make a route to the endpoints of a path; who has GET has HEAD too."""

    async def handle(request: Request) -> Response:
        # The body is read in the event loop, where slow clients cost nothing; the work is done in a thread.
        given = await http.respond(
            endpoints[request.method.replace("HEAD", "GET")],
            request.app.state.store,
            *([*request.path_params.values()] or [None]),
            request=http.Request(method=request.method, headers=request.headers, query=request.url.query),
            body=request.stream(),
            in_thread=run_in_threadpool,
            guard=guard,
        )
        if isinstance(given.body, bytes):
            return Response(given.body, given.status, given.headers)
        return StreamingResponse(given.body, given.status, given.headers)  # read piece by piece in a thread

    return Route(path, handle, methods=[*endpoints])


async def follow(request: Request) -> Response:
    """Send a log while it grows, until its task ends or who watches goes away. Waiting takes no thread."""
    given, body = await http.follow(
        request.app.state.store,
        *request.path_params.values(),
        request=http.Request(method=request.method, headers=request.headers, query=request.url.query),
        in_thread=run_in_threadpool,
        guard=guard,
    )
    return StreamingResponse(body, given.status, given.headers)


AGENT = "/agents/{agent_id}"
app = Starlette(
    lifespan=lifespan,
    exception_handlers={ClientDisconnect: went_away},
    routes=[
        route(f"{AGENT}/task-results", POST=http.post_task_result),
        route(f"{AGENT}/task-results/batch", POST=http.post_task_results),
        route(f"{AGENT}/backup-runs", GET=http.get_backup_runs),
        # No agent's token is enough: for operators, give it a guard of its own behind your login.
        route("/backup-runs", GET=http.get_backup_runs),
        *(route(f"{AGENT}/backup-runs/{name}", GET=report) for name, report in REPORTS.items()),
        *(route(f"/backup-runs/{name}", GET=report) for name, report in REPORTS.items()),
        route(f"{AGENT}/backup-runs/{{run_id}}", GET=http.get_backup_run),
        route(f"{AGENT}/backup-runs/{{run_id}}/log", GET=http.get_backup_run_log, PATCH=http.patch_backup_run_log),
        Route(f"{AGENT}/backup-runs/{{run_id}}/log/follow", follow),
    ],
)

if __name__ == "__main__":
    import uvicorn

    # Who still follows a log when the server stops is not waited for.
    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")), timeout_graceful_shutdown=5)
