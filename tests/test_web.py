"""The application: the whole contract at its addresses, wherever it is mounted, and the document of its parent."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

import backuplog
from backuplog import Store, http, web
from backuplog.http import openapi
from backuplog.web.contract import contract_routes
from backuplog.web.overview import view_overview
from backuplog.web.page import VIEWS_AT_ONCE, Site, page_route
from browsing import serving

Payload = Callable[..., dict[str, Any]]
OPEN = http.Guard(tokens=False)
FOLLOW = "/agents/{agent_id}/backup-runs/{run_id}/log/follow"  # which no document can describe: it does not end


@contextmanager
def open_client(app: ASGIApp) -> Iterator[httpx.Client]:
    """Serve an application, and give a client of it."""
    with serving(app) as address, httpx.Client(base_url=address) as client:
        yield client


def test_it_has_the_whole_contract_and_nothing_else(store: Store) -> None:
    """Its routes are the paths of the OpenAPI document, each with the methods that stand there, and HEAD."""
    app = web.application(store, guard=http.Guard(), page=False)
    routes = {route.path: route.methods for route in app.routes}  # type: ignore[attr-defined]
    paths = {
        path: {method.upper() for method in item if method != "parameters"} | ({"HEAD"} if "get" in item else set())
        for path, item in openapi.document()["paths"].items()
    }
    assert routes == {**paths, FOLLOW: {"GET", "HEAD"}}


@pytest.mark.parametrize("prefix", ["", "/backups", "/t/{tenant}/{agent}"])
def test_it_works_under_any_prefix(store: Store, agent_id: UUID, payload: Payload, prefix: str) -> None:
    """What an agent sends under a prefix is listed and read there, also if the prefix has parameters of its own."""
    app = Starlette(routes=[Mount(prefix, web.application(store, guard=OPEN))])
    sent = payload(log="done\n")
    with open_client(app) as client:
        agent = f"{prefix.format(tenant=1, agent=2)}/agents/{agent_id}"
        assert client.post(f"{agent}/task-results", json=sent).json() == {"status": "ok"}
        [run] = client.get(f"{agent}/backup-runs").json()["runs"]
        assert client.get(f"{agent}/backup-runs/{run['id']}/log").text == "done\n"
        assert client.get(f"{agent}/backup-runs/{run['id']}/log/follow").text == "done\n"
        assert client.get(f"{agent}/../../backup-runs/latest").json()["total"] == 1
        [only] = client.get(f"{agent}/backup-runs/latest").json()["latest"]
        assert only["last_run"]["id"] == sent["taskId"]


def test_a_path_names_all_its_methods(store: Store, agent_id: UUID) -> None:
    """What a path does not take is 405, and ``Allow`` says what it takes."""
    with open_client(web.application(store, guard=OPEN)) as client:
        answer = client.delete(f"/agents/{agent_id}/backup-runs/{agent_id}/log")
    assert (answer.status_code, set(answer.headers["Allow"].split(", "))) == (405, {"GET", "HEAD", "PATCH"})


def test_a_store_that_cannot_be_opened_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A function that finds no database is a 503 to agents, and a page with the same status to people."""

    def fail() -> Store:
        raise backuplog.StoreUnavailable("connection to 10.0.0.7 refused")

    agent = "/agents/d661a6d6-982d-4a1d-8b33-21fcdbd0371d"
    with open_client(web.application(fail, guard=http.Guard())) as client:
        problem = client.post(f"{agent}/task-results", json={})
        followed = client.get(f"{agent}/backup-runs/1/log/follow")
        page = client.get("/")
    assert [answer.status_code for answer in (problem, followed, page)] == [503, 503, 503]
    assert (problem.json()["error_type"], page.headers["Content-Type"]) == (
        "store_unavailable",
        "text/html; charset=utf-8",
    )
    assert not any("10.0.0.7" in answer.text for answer in (problem, followed, page))
    assert caplog.text.count("10.0.0.7") == 3


def test_the_page_may_be_left_out(store: Store) -> None:
    """Without the page there is nothing at the root, and no file of it."""
    with open_client(web.application(store, guard=http.Guard(), page=False)) as client:
        assert [client.get(path).status_code for path in ("/", "/history", "/static/page.css")] == [404, 404, 404]
    with open_client(web.application(store, guard=http.Guard())) as client:
        assert [client.get(path).status_code for path in ("/", "/history", "/static/page.css")] == [200, 200, 200]


def test_slow_views_leave_agents_their_threads(store: Store, agent_id: UUID) -> None:
    """However many people wait for a page, what an agent sends is answered."""
    begun, waiting = threading.Semaphore(0), threading.Event()

    def open_slowly() -> Store:
        begun.release()
        waiting.wait()
        return store

    site = Site(opened=open_slowly, expectations=(), recent=web.RECENT)
    agents = contract_routes(store, guard=http.Guard(), expectations=())
    with (
        open_client(Starlette(routes=[page_route("/", view_overview, site), *agents])) as client,
        ThreadPoolExecutor(45) as people,
    ):
        asked = [people.submit(httpx.get, client.base_url, timeout=60) for _ in range(45)]
        try:
            for _ in range(VIEWS_AT_ONCE):
                assert begun.acquire(timeout=20)
            for _ in range(20):  # while the others come
                assert client.post(f"/agents/{agent_id}/task-results", json={}, timeout=20).status_code == 401
            assert not any(each.done() for each in asked)
        finally:
            waiting.set()
        assert {each.result().status_code for each in asked} == {200}


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_no_other_site_writes(store: Store, agent_id: UUID, payload: Payload, site: str) -> None:
    """Without tokens a page of another site could write through the browser of somebody who is logged in: 403."""
    sent = payload(status="running")
    with open_client(web.application(store, guard=OPEN)) as client:
        agent = f"/agents/{agent_id}"
        client.post(f"{agent}/task-results", json=sent, headers={"Sec-Fetch-Site": "same-origin"}).raise_for_status()
        headers = {"Sec-Fetch-Site": site}
        log = f"{agent}/backup-runs/{sent['taskId']}/log"
        answers = [
            client.post(f"{agent}/task-results", json=payload(), headers=headers),
            client.post(f"{agent}/task-results/batch", json=[payload()], headers=headers),
            client.patch(log, content=b"x", headers={**headers, "Upload-Offset": "0"}),
        ]
        assert [answer.status_code for answer in answers] == [403, 403, 403]
        assert client.get(f"{agent}/backup-runs", headers=headers).json()["total"] == 1
    token = backuplog.issue_agent_token(store, agent_id)
    with open_client(web.application(store, guard=http.Guard())) as client:
        headers["Authorization"] = f"Bearer {token}"  # which no page of another site has
        assert client.post(f"{agent}/task-results", json=payload(), headers=headers).status_code == 200


def orchestrator() -> FastAPI:
    """Make an application with an endpoint, a schema and a path of its own."""
    app = FastAPI(title="Orchestrator")

    @app.get("/jobs/{job_id}")
    def get_job(job_id: int) -> dict[str, int]:
        return {"id": job_id}

    return app


@pytest.mark.parametrize("guard", [http.Guard(), OPEN], ids=["tokens", "open"])
def test_the_document_of_its_parent_shows_the_contract(store: Store, guard: http.Guard) -> None:
    """With one call FastAPI's document has our paths under the prefix, beside its own, which stay as they were."""
    app = orchestrator()
    own = {path: dict(item) for path, item in app.openapi()["paths"].items()}
    app.mount("/backups", web.application(store, guard=guard))
    openapi.extend(app, prefix="/backups/", guard=guard)
    with open_client(app) as client:
        for _ in range(2):
            document = client.get("/openapi.json").json()
            OpenAPIV31SpecValidator(document).validate()
            ours = openapi.document(prefix="/backups", guard=guard)["paths"]
            assert set(document["paths"]) == {*own, *ours}
            assert document["paths"]["/jobs/{job_id}"] == own["/jobs/{job_id}"]
            post = document["paths"]["/backups/agents/{agent_id}/task-results"]["post"]
            assert post["security"] == ([{"token": []}] if guard.tokens else [])
            assert "HTTPValidationError" in document["components"]["schemas"]
        assert client.get("/docs").status_code == 200


def test_two_prefixes_are_two_parts_of_the_document(store: Store) -> None:
    """The application may be mounted twice, each time with a guard of its own."""
    app = orchestrator()
    for prefix, guard in (("/for-agents", http.Guard()), ("/for-people", OPEN)):
        app.mount(prefix, web.application(store, guard=guard))
        openapi.extend(app, prefix=prefix, guard=guard)
    document = app.openapi()
    OpenAPIV31SpecValidator(document).validate()
    posts = [document["paths"][f"/for-{who}/agents/{{agent_id}}/task-results"]["post"] for who in ("agents", "people")]
    assert [post["security"] for post in posts] == [[{"token": []}], []]


@pytest.mark.parametrize("library", ["jinja2", "humanize"])
def test_a_missing_library_is_named_with_its_extra(library: str) -> None:
    """Without one of its libraries the import says what to install."""
    program = f"import sys; sys.modules[{library!r}] = None\nimport backuplog.web"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert done.stderr.splitlines()[-1].endswith(f"backuplog.web needs {library}: pip install 'backuplog[web]'")
