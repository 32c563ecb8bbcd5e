"""backuplog behind nothing at all: ``python wsgi_app.py``, or any WSGI server with ``wsgi_app:app``."""

import functools
import os
import re
import threading
from collections.abc import Callable, Iterable
from typing import Any

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

ENDPOINTS = [
    ("POST", re.compile(r"/agents/([^/]+)/task-results"), http.post_task_result),
    ("POST", re.compile(r"/agents/([^/]+)/task-results/batch"), http.post_task_results),
    ("GET", re.compile(r"/agents/([^/]+)/backup-runs"), http.get_backup_runs),
    # No agent's token is enough: for operators, give it a guard of its own behind your login.
    ("GET", re.compile(r"/backup-runs"), http.get_backup_runs),
    ("GET", re.compile(r"/agents/([^/]+)/backup-runs/([^/]+)"), http.get_backup_run),
    ("GET", re.compile(r"/agents/([^/]+)/backup-runs/([^/]+)/log"), http.get_backup_run_log),
    ("PATCH", re.compile(r"/agents/([^/]+)/backup-runs/([^/]+)/log"), http.patch_backup_run_log),
    # The last one that matches counts: the name of a report is no run.
    *(("GET", re.compile(rf"/agents/([^/]+)/backup-runs/{name}"), report) for name, report in REPORTS.items()),
    *(("GET", re.compile(rf"/backup-runs/{name}"), report) for name, report in REPORTS.items()),
]


def store() -> backuplog.Store:
    """Give the store, which the first request opens: a server may fork after it has imported this file."""
    if not opening.acquire(timeout=1):  # The database does not answer: a thread that waits for it is enough.
        raise backuplog.StoreUnavailable("the store is being opened: try again later")
    try:
        return open_once(URL)
    finally:
        opening.release()


def headers_of(environ: dict[str, Any]) -> dict[str, str]:
    """Give the headers that a WSGI server has put among the variables of a request."""
    names = [name for name in environ if name.startswith("HTTP_") or name in ("CONTENT_TYPE", "CONTENT_LENGTH")]
    return {name.removeprefix("HTTP_").replace("_", "-"): environ[name] for name in names}


def app(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    """Find the endpoint of a path, and answer what it gives."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    matching = {
        known: (endpoint, match.groups())
        for known, pattern, endpoint in ENDPOINTS
        if (match := pattern.fullmatch(path))
    }
    if not matching:
        start_response("404 Not Found", [])
        return []
    if method.replace("HEAD", "GET") not in matching:
        start_response("405 Method Not Allowed", [("Allow", ", ".join(matching))])
        return []
    endpoint, place = matching[method.replace("HEAD", "GET")]
    query, body = environ.get("QUERY_STRING", ""), environ["wsgi.input"]
    parts = http.Request(method=method, headers=headers_of(environ), query=query, body=body)
    given = endpoint(store, *(place or [None]), parts, guard=guard)
    start_response(f"{given.status} ", [*given.headers.items()])
    return given.pieces()


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
