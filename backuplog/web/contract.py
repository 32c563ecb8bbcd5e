"""The routes of the HTTP contract: what ``backuplog.http`` answers, at the addresses that its document names."""

from collections.abc import Callable, Collection, Iterable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from backuplog import http
from backuplog.overdue import Expectation
from backuplog.store import Store


def contract_routes(
    store: Store | Callable[[], Store],
    *,
    guard: http.Guard,
    expectations: Collection[Expectation] | Callable[[], Iterable[Expectation]],
) -> list[BaseRoute]:
    """Return the routes of the contract; who has GET has HEAD too."""

    def route(path: str, **endpoints: http.Endpoint) -> Route:
        names = [name for name in ("agent_id", "run_id") if f"{{{name}}}" in path]  # The prefix may have others.

        async def handle(request: Request) -> Response:
            # The body is read in the event loop, where slow clients cost nothing; the work is done in a thread.
            given = await http.respond(
                endpoints[request.method.replace("HEAD", "GET")],
                store,
                *([request.path_params[name] for name in names] or [None]),
                request=request_of(request),
                body=request.stream(),
                in_thread=run_in_threadpool,
                guard=guard,
            )
            return response_of(given)

        return Route(path, handle, methods=[*endpoints])

    async def follow(request: Request) -> Response:
        given, body = await http.follow(
            store if isinstance(store, Store) else await run_in_threadpool(store),
            request.path_params["agent_id"],
            request.path_params["run_id"],
            request=request_of(request),
            in_thread=run_in_threadpool,
            guard=guard,
        )
        return StreamingResponse(body, given.status, given.headers)

    reports: dict[str, http.Endpoint] = {
        "latest": http.get_latest_runs,
        "summary": http.get_run_summary,
        "overdue": partial(http.get_overdue_runs, expectations=expectations),
        "anomalies": http.get_anomalies,
        "search": http.get_log_matches,
    }
    agent = "/agents/{agent_id}"
    run = f"{agent}/backup-runs/{{run_id}}"
    return [
        route(f"{agent}/task-results", POST=http.post_task_result),
        route(f"{agent}/task-results/batch", POST=http.post_task_results),
        route(f"{agent}/backup-runs", GET=http.get_backup_runs),
        route("/backup-runs", GET=http.get_backup_runs),
        # Before the runs: the first route that matches counts.
        *(route(f"{agent}/backup-runs/{name}", GET=report) for name, report in reports.items()),
        *(route(f"/backup-runs/{name}", GET=report) for name, report in reports.items()),
        route(run, GET=http.get_backup_run),
        route(f"{run}/log", GET=http.get_backup_run_log, PATCH=http.patch_backup_run_log),
        Route(f"{run}/log/follow", follow),
    ]


def request_of(request: Request) -> http.Request:
    """Return the parts of a request, without its body."""
    return http.Request(method=request.method, headers=request.headers, query=request.url.query)


def response_of(given: http.Response) -> Response:
    """Return an answer as Starlette sends it."""
    if isinstance(given.body, bytes):
        return Response(given.body, given.status, given.headers)
    return StreamingResponse(given.body, given.status, given.headers)  # read piece by piece in a thread
