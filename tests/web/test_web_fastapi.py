"""What the example for FastAPI has of its own: a page behind a login, and its document."""

from pathlib import Path

import httpx
import pytest

from web_site import running


@pytest.mark.parametrize(
    ("password", "shown", "status"),
    [("s3cret", "s3cret", 200), ("s3cret", "guess", 401), ("s3cret", None, 401), ("", "", 401)],
    ids=["right", "wrong", "none", "unset"],
)
def test_the_page_needs_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, password: str, shown: str | None, status: int
) -> None:
    """Nobody sees the page without the password, and nobody at all where none is set; agents need none."""
    monkeypatch.setenv("BACKUPLOG_PASSWORD", password)
    with running("fastapi", f"sqlite:///{tmp_path / 'backups.db'}", tmp_path) as site, site.client() as agent:
        address = f"http://127.0.0.1:{site.port}/backups/"
        page = httpx.get(address, auth=None if shown is None else ("anybody", shown))
        assert page.status_code == status
        assert ("WWW-Authenticate" in page.headers) == (status == 401)
        assert agent.get(f"{site.agent}/backup-runs").status_code == 200
        broken = httpx.get(address, headers={"Authorization": "Basic %%%"})
        assert broken.status_code == 401


def test_its_document_has_what_agents_may_send(tmp_path: Path) -> None:
    """``/openapi.json`` shows the contract, and ``/docs`` shows it to people."""
    with running("fastapi", f"sqlite:///{tmp_path / 'backups.db'}", tmp_path) as site, site.client() as client:
        document = client.get("/openapi.json").json()
        assert (document["info"]["title"], client.get("/docs").status_code) == ("Orchestrator", 200)
        assert "/agents/{agent_id}/task-results" in document["paths"]
