"""The examples in servers of several processes, which fork after they have imported the application."""

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

import backuplog
from web_site import EXAMPLES, Site, running

GUNICORN = (
    "-m",
    "gunicorn",
    "--no-control-socket",
    "--preload",
    "--workers",
    "2",
    "--bind",
    "127.0.0.1:{port}",
    "--pythonpath",
)
SERVERS = {
    "flask": (*GUNICORN, str(EXAMPLES), "flask_app:app"),
    "django": (*GUNICORN, str(EXAMPLES), "django_app:app"),
    "wsgi": (*GUNICORN, str(EXAMPLES), "wsgi_app:app"),
    "fastapi": ("-m", "uvicorn", "--workers", "2", "--port", "{port}", "--app-dir", str(EXAMPLES), "fastapi_app:app"),
}


@pytest.fixture(scope="module", params=SERVERS)
def forked(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Give an example in two processes, on a SQLite file."""
    folder = tmp_path_factory.mktemp(request.param)
    url = f"sqlite:///{folder / 'backups.db'}"
    with running(request.param, url, folder, *SERVERS[request.param]) as started:
        yield started


def payload() -> dict[str, object]:
    """Make a result of a new task."""
    ids = {"taskId": str(uuid4()), "policyId": str(uuid4())}
    return {**ids, "taskType": "backup", "status": "success", "durationSeconds": 1, "log": "log"}


def test_each_process_opens_the_store_after_the_fork(forked: Site) -> None:
    """Results are taken in and read by whichever process is asked, also when the application was loaded before."""
    for _ in range(10):
        sent = payload()
        with forked.client() as client:
            assert client.post(f"{forked.agent}/task-results", json=sent).json() == {"status": "ok"}
        with forked.client() as client:
            assert client.get(f"{forked.agent}/backup-runs/{sent['taskId']}/log").text == "log"
    assert backuplog.query_runs(forked.store).total == 10
    assert "Traceback" not in forked.output.read_text()


def test_uploads_that_break_off_are_no_errors(forked: Site) -> None:
    """A server that hands the socket itself to the application logs no traceback either."""
    forked.break_uploads_off()
    with forked.client() as client:
        assert client.post(f"{forked.agent}/task-results", json=payload()).status_code == 200
    assert "Traceback" not in forked.output.read_text()


OPENED_AT_IMPORT = """
import os
import backuplog
from backuplog import http

store = backuplog.open_store(os.environ["BACKUPLOG_URL"], retry_timeout=0)

def app(environ, start_response):
    agent_id = environ["PATH_INFO"].split("/")[2]
    parts = http.Request(method=environ["REQUEST_METHOD"])
    given = http.get_backup_runs(store, agent_id, parts, guard=http.Guard(tokens=False))
    start_response(f"{given.status} ", [*given.headers.items()])
    return given.pieces()
"""


def test_a_store_that_was_opened_before_the_fork_says_so_where_it_is_seen(tmp_path: Path) -> None:
    """The answer is 500 and says nothing; standard error says what to do, once for each request, without logging."""
    (tmp_path / "early_app.py").write_text(OPENED_AT_IMPORT)
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with running("early", url, tmp_path, *GUNICORN, str(tmp_path), "early_app:app") as site, site.client() as client:
        for _ in range(3):
            answer = client.get(f"{site.agent}/backup-runs")
            assert (answer.status_code, "fork" in answer.text) == (500, False)
        deadline = time.monotonic() + 30
        while len(advice := re.findall(r"^.*open it after the fork$", site.output.read_text(), flags=re.MULTILINE)) < 3:
            assert time.monotonic() < deadline, site.output.read_text()
            time.sleep(0.05)
        assert len(advice) == 3


def test_several_processes_are_counted_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recipe of docs/http.md adds the counts of two workers up, whichever is scraped, and asks the store once."""
    page = (EXAMPLES.parent.parent / "docs" / "http.md").read_text().split("### In several processes")[1]
    app, configuration = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "metrics_app.py").write_text(app)
    (tmp_path / "gunicorn.conf.py").write_text(configuration)
    counts = tmp_path / "counts"
    counts.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(counts))
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    sent = payload()
    with running("metrics", url, tmp_path, *GUNICORN, str(tmp_path), "metrics_app:app") as site:

        def ask(path: str, **keywords: Any) -> str:
            with site.client() as client:  # A connection of its own, which either process may take.
                return client.request("POST" if keywords else "GET", path, **keywords).raise_for_status().text

        results = 0
        deadline = time.monotonic() + 30
        while len({path.name.split("_")[-1] for path in counts.glob("counter_*.db")}) < 2:
            assert time.monotonic() < deadline, site.output.read_text()
            ask(f"{site.agent}/task-results", json=sent)
            results += 1
        for _ in range(5):
            lines = ask("/metrics").splitlines()
            assert f'task_results_ingested_total{{status="success"}} {results:.1f}' in lines
            assert f'task_results_outcomes_total{{outcome="replayed"}} {results - 1:.1f}' in lines
            assert f"task_result_ingest_seconds_count {results:.1f}" in lines
            last = f'backup_last_success_timestamp_seconds{{policy_id="{sent["policyId"]}"}}'
            assert sum(line.startswith(last) for line in lines) == 1
