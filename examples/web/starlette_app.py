"""backuplog behind Starlette: ``python starlette_app.py``, or ``uvicorn starlette_app:app --workers 4``."""

import os
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

import backuplog
from backuplog import http

store = backuplog.open_store(os.environ.get("BACKUPLOG_URL", "sqlite:///backups.db"))
guard = http.Guard()  # every agent shows a token of backuplog.issue_agent_token


def handler(endpoint: http.Endpoint) -> Callable[[Request], Awaitable[Response]]:
    """Make a handler of an endpoint."""

    async def handle(request: Request) -> Response:
        # The body is read in the event loop, where slow clients cost nothing; the work is done in a thread.
        body = await http.collect_body(request.headers, request.stream(), max_bytes=guard.max_body_bytes)
        parts = http.Request(method=request.method, headers=request.headers, query=request.url.query, body=body)
        place = [*request.path_params.values()] or [None]
        given = await run_in_threadpool(endpoint, store, *place, parts, guard=guard)
        if isinstance(given.body, bytes):
            return Response(given.body, given.status, given.headers)
        return StreamingResponse(given.body, given.status, given.headers)  # read piece by piece in a thread

    return handle


AGENT = "/agents/{agent_id}"
app = Starlette(
    routes=[
        Route(f"{AGENT}/task-results", handler(http.post_task_result), methods=["POST"]),
        Route(f"{AGENT}/task-results/batch", handler(http.post_task_results), methods=["POST"]),
        Route(f"{AGENT}/backup-runs", handler(http.get_backup_runs)),
        # No agent's token is enough: for operators, give it a guard of its own behind your login.
        Route("/backup-runs", handler(http.get_backup_runs)),
        Route(f"{AGENT}/backup-runs/{{run_id}}", handler(http.get_backup_run)),
        Route(f"{AGENT}/backup-runs/{{run_id}}/log", handler(http.get_backup_run_log)),
    ]
)

if __name__ == "__main__":
    import uvicorn

    uvicorn.run(app, port=int(os.environ.get("PORT", "8000")))
