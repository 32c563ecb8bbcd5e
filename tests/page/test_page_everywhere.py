"""What holds for the overview and the history alike, in a real browser."""

from collections.abc import Callable
from uuid import UUID, uuid4

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

import backuplog
from backuplog import http, web
from browsing import follow, serving
from reported import HOSTILE, report_run

OpenPage = Callable[..., Page]
PATHS = ["", "history"]
STATUSES = ("success", "warning", "failed", "cancelled", "running", "lost", "odd")


@pytest.fixture
def app(store: backuplog.Store, agent_id: UUID) -> ASGIApp:
    """Give an application whose pages have something of everything."""
    for hours, status in enumerate(STATUSES, start=1):
        stats = backuplog.RunStats(data_added=hours * 2**30, total_bytes_processed=2**40)
        report_run(store, agent_id, hours=hours, status=status, stats=stats, snapshot_id="8837c0dd")
        report_run(store, agent_id, hours=40, status=status, policy_id=uuid4(), error_message="no space left")
    return web.application(store, guard=http.Guard())


@pytest.fixture
def hostile(store: backuplog.Store) -> ASGIApp:
    """Give an application whose agents have sent hostile text in every field."""
    for hours, status in enumerate((HOSTILE[:50], "running", "failed"), start=1):
        agent = backuplog.register_agent(store, uuid4(), hostname=(HOSTILE * 20)[:253])
        text = (HOSTILE * 2000)[:50_000] if hours > 1 else "x" * 50_000
        report_run(
            store,
            agent.id,
            hours=hours,
            status=status,
            task_type=(HOSTILE * 2)[:50],
            error_message=None if status == "running" else text,
            snapshot_id=(HOSTILE * 9)[:255],
            progress=backuplog.Progress(step=text[:255]),
            stats=backuplog.RunStats(tool=HOSTILE[:50], failed_items=[text] * 100),
        )
    return web.application(store, guard=http.Guard())


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("path", [*PATHS, "history?limit=x&policy_id=7", "runs/x"])
def test_no_axe_rule_is_broken(app: ASGIApp, open_page: OpenPage, path: str, scheme: str) -> None:
    """Axe finds nothing wrong with contrast, names, roles and structure, in light and in dark."""
    with serving(app) as address:
        page = open_page(address, color_scheme=scheme)
        page.set_content(page.request.get(f"{address}{path}").text(), wait_until="networkidle")
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


@pytest.mark.parametrize("width", [320, 800, 1000, 1280])
@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_wider_than_the_screen(hostile: ASGIApp, open_page: OpenPage, path: str, width: int) -> None:
    """No page scrolls sideways, on a telephone or a screen, however long the words are that agents send."""
    with serving(hostile) as address:
        page = open_page(f"{address}{path}", viewport={"width": width, "height": 800})
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("path", PATHS)
def test_hostile_text_does_nothing(hostile: ASGIApp, open_page: OpenPage, path: str) -> None:
    """Text of agents is shown as it was sent, cut, and runs, turns or hides nothing."""
    with serving(hostile) as address:
        page = open_page(f"{address}{path}")
        assert page.locator("script").count() == 1
        assert page.locator("main script, main img, main iframe").count() == 0
        shown = page.locator("main").inner_text()
        source = page.content()
    assert "<script>alert(1)</script>\\u202e" in shown
    assert not {"\u202e", "\x1b", "\a"} & set(source)
    assert len(source) < 60_000


def test_everything_works_without_script(app: ASGIApp, open_page: OpenPage) -> None:
    """Where scripts are not allowed, filters, paging and links do what they do otherwise."""
    with serving(app) as address:
        page = open_page(address, java_script_enabled=False)
        assert page.locator("h1").inner_text().startswith("No.")
        follow(page.get_by_role("navigation", name="Pages").get_by_role("link", name="History"))
        page.get_by_text("Filter", exact=True).click()
        page.get_by_label("warning").check()
        page.get_by_label("Update by itself").check()
        follow(page.get_by_role("button", name="Show"))
        assert page.locator("tbody tr").count() == 2
        assert page.locator("#renewed").inner_text() == "The list updates by itself only where scripts are allowed."
        page.goto(f"{address}history?limit=3")
        follow(page.get_by_role("link", name="Older"))
        follow(page.get_by_role("link", name="Newer"))
        follow(page.locator("tbody a").first)
        assert "/runs/" in page.url


@pytest.mark.parametrize("path", PATHS)
def test_a_keyboard_reaches_everything(app: ASGIApp, open_page: OpenPage, path: str) -> None:
    """The first key skips to the content; further ones reach each control and row, and show where they are."""
    with serving(app) as address:
        page = open_page(f"{address}{path}")
        page.keyboard.press("Tab")
        assert page.locator(":focus").inner_text() == "Skip to the content"
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        expected = page.locator("main :is(a, button, input, select, summary):visible:not([tabindex='-1'])").count()
        reached = 0
        for _ in range(expected):
            page.keyboard.press("Tab")
            reached += page.locator("main :focus").evaluate("each => getComputedStyle(each).outlineStyle == 'solid'")
    assert reached == expected > 10


@pytest.mark.parametrize("entry", ["backups", "backups/"])
def test_it_works_under_a_prefix(app: ASGIApp, open_page: OpenPage, entry: str) -> None:
    """Mounted in another application, with its slash or without, every link stays under the prefix."""
    with serving(Starlette(routes=[Mount("/backups", app)])) as address:
        page = open_page(f"{address}{entry}")
        assert page.url == f"{address}backups/"
        assert page.evaluate("getComputedStyle(document.body).margin") == "0px"
        follow(page.get_by_role("navigation", name="Pages").get_by_role("link", name="History"))
        assert page.url == f"{address}backups/history"
        follow(page.locator("tbody a").first)
        assert page.url.startswith(f"{address}backups/runs/")
        follow(page.get_by_role("navigation", name="Pages").get_by_role("link", name="Overview"))
        assert page.url == f"{address}backups/"


@pytest.mark.parametrize("path", ["", "history", "history?status=failed"])
def test_a_store_that_is_down_is_told(path: str) -> None:
    """While the store cannot be reached, each page says so with status 503, and repeats nothing that is secret."""

    def down() -> backuplog.Store:
        raise backuplog.StoreUnavailable("no route to postgresql://backup:hunter2@vault")

    with serving(web.application(down, guard=http.Guard())) as address:
        answer = httpx.get(f"{address}{path}")
    assert answer.status_code == 503
    assert "The store cannot be reached or is busy: try again later." in answer.text
    assert "hunter2" not in answer.text
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
