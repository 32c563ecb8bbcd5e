"""The page in a real browser: what holds for all of it."""

from collections.abc import Callable

from playwright.sync_api import Page

import backuplog
from backuplog import http, web
from browsing import serving


def test_the_overview_opens(store: backuplog.Store, open_page: Callable[..., Page]) -> None:
    """The application shows the overview at its root."""
    with serving(web.application(store, guard=http.Guard())) as address:
        assert open_page(address).title() == "Backups"
