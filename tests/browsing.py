"""A real browser in front of the page, served by uvicorn at a real socket."""

import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import uvicorn
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from starlette.types import ASGIApp

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
NO_BROWSER = f"needs a browser: install one of {', '.join(BROWSERS)}, or name it in BACKUPLOG_TEST_BROWSER"
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def find_browser() -> str | None:
    """Find the machine's Chromium."""
    return os.environ.get("BACKUPLOG_TEST_BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start the machine's Chromium."""
    path = find_browser()
    if path is None:
        raise SystemExit(NO_BROWSER)
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=SWITCHES) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Give the machine's Chromium. Without one the tests are skipped; ``.ci/run`` installs one, and names it.

    It lasts as long as a module, because its event loop is in the way of tests that run one of their own.
    """
    if find_browser() is None:
        pytest.skip(NO_BROWSER)
    with start_browser() as started:
        yield started


def follow(link: Locator) -> None:
    """Click on what leads to another document, and wait for that: otherwise a count may see it half read."""
    with link.page.expect_navigation():
        link.click()


@contextmanager
def serving(app: ASGIApp) -> Iterator[str]:
    """Serve an application at a free port, and give the address of its root."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Give what opens an address; the test fails if the page asks elsewhere, or does what its policy forbids."""
    complaints: list[str] = []
    contexts = []

    def open_at(address: str, **options: object) -> Page:
        context = browser.new_context(**options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        origin = "/".join(address.split("/")[:3])
        page.on("request", lambda request: request.url.startswith(origin) or complaints.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console", lambda message: complaints.append(message.text) if message.type in ("error", "warning") else None
        )
        page.goto(address)
        return page

    yield open_at
    for context in contexts:
        context.close()
    assert complaints == []
