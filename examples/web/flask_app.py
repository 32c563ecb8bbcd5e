"""backuplog behind Flask: ``python flask_app.py``, or any WSGI server with ``flask_app:app``."""

import functools
import os
import threading

from flask import Flask, Response, request

import backuplog
from backuplog import http

URL = os.environ.get("BACKUPLOG_URL", "sqlite:///backups.db")
opening = threading.Lock()
open_once = functools.cache(backuplog.open_store)
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
app = Flask(__name__)


def store() -> backuplog.Store:
    """Give the store, which the first request opens: a server may fork after it has imported this file."""
    if not opening.acquire(timeout=1):  # The database does not answer: a thread that waits for it is enough.
        raise backuplog.StoreUnavailable("the store is being opened: try again later")
    try:
        return open_once(URL)
    finally:
        opening.release()


def answer(endpoint: http.Endpoint, *place: str | None) -> Response:
    """Hand the parts of the request over; the body is read no further than the guard allows."""
    query = request.query_string.decode("latin-1")
    parts = http.Request(method=request.method, headers=request.headers, query=query, body=request.stream)
    given = endpoint(store, *place, parts, guard=guard)
    return Response(given.pieces(), given.status, given.headers)


@app.post("/agents/<agent_id>/task-results")
def post_task_result(agent_id: str) -> Response:
    return answer(http.post_task_result, agent_id)


@app.post("/agents/<agent_id>/task-results/batch")
def post_task_results(agent_id: str) -> Response:
    return answer(http.post_task_results, agent_id)


@app.get("/agents/<agent_id>/backup-runs")
def get_backup_runs(agent_id: str) -> Response:
    return answer(http.get_backup_runs, agent_id)


@app.get("/backup-runs")  # no agent's token is enough: for operators, give it a guard of its own behind your login
def get_all_backup_runs() -> Response:
    return answer(http.get_backup_runs, None)


def get_report(report: http.Endpoint, agent_id: str | None = None) -> Response:
    return answer(report, agent_id)


for name, report in REPORTS.items():
    view = functools.partial(get_report, report)
    app.add_url_rule(f"/agents/<agent_id>/backup-runs/{name}", name, view)
    app.add_url_rule(f"/backup-runs/{name}", name, view)


@app.get("/agents/<agent_id>/backup-runs/<run_id>")
def get_backup_run(agent_id: str, run_id: str) -> Response:
    return answer(http.get_backup_run, agent_id, run_id)


@app.get("/agents/<agent_id>/backup-runs/<run_id>/log")
def get_backup_run_log(agent_id: str, run_id: str) -> Response:
    return answer(http.get_backup_run_log, agent_id, run_id)


@app.patch("/agents/<agent_id>/backup-runs/<run_id>/log")
def patch_backup_run_log(agent_id: str, run_id: str) -> Response:
    return answer(http.patch_backup_run_log, agent_id, run_id)


if __name__ == "__main__":
    import waitress

    store()
    # A thread serves one request at a time, and waits for as long as a client does not read a long log.
    waitress.serve(
        app,
        host="127.0.0.1",
        port=int(os.environ.get("PORT", "8000")),
        threads=16,
        max_request_body_size=guard.max_body_bytes + 1,
    )
