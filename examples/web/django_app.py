"""backuplog behind Django, in one file: ``python django_app.py``, or any WSGI server with ``django_app:app``."""

import functools
import os
import secrets
import threading
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods

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


def store() -> backuplog.Store:
    """Give the store, which the first request opens: a server may fork after it has imported this file."""
    if not opening.acquire(timeout=1):  # The database does not answer: a thread that waits for it is enough.
        raise backuplog.StoreUnavailable("the store is being opened: try again later")
    try:
        return open_once(URL)
    finally:
        opening.release()


def view(**endpoints: http.Endpoint) -> Callable[..., Any]:
    """Make a view of the endpoints of a path. A token is no cookie: no other site can make a browser send it."""

    @csrf_exempt
    @require_http_methods([*endpoints, *(["HEAD"] if "GET" in endpoints else [])])
    def handle(request: HttpRequest, **place: str) -> HttpResponse | StreamingHttpResponse:
        endpoint = endpoints[(request.method or "").replace("HEAD", "GET")]
        parts = http.Request(
            method=request.method or "", headers=request.headers, query=request.META["QUERY_STRING"], body=request
        )
        given = endpoint(store, *(place.values() or [None]), parts, guard=guard)
        kind = HttpResponse if isinstance(given.body, bytes) else StreamingHttpResponse
        return kind(given.body, status=given.status, headers=given.headers)

    return handle


AGENT = "agents/<agent_id>"
urlpatterns = [
    path(f"{AGENT}/task-results", view(POST=http.post_task_result)),
    path(f"{AGENT}/task-results/batch", view(POST=http.post_task_results)),
    path(f"{AGENT}/backup-runs", view(GET=http.get_backup_runs)),
    # No agent's token is enough: for operators, give it a guard of its own behind your login.
    path("backup-runs", view(GET=http.get_backup_runs)),
    *(path(f"{AGENT}/backup-runs/{name}", view(GET=report)) for name, report in REPORTS.items()),
    *(path(f"backup-runs/{name}", view(GET=report)) for name, report in REPORTS.items()),
    path(f"{AGENT}/backup-runs/<run_id>", view(GET=http.get_backup_run)),
    path(
        f"{AGENT}/backup-runs/<run_id>/log",
        view(GET=http.get_backup_run_log, PATCH=http.patch_backup_run_log),
    ),
]

settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY=secrets.token_hex(), USE_TZ=True)
app = WSGIHandler()

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
