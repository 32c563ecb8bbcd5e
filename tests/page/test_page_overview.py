"""The overview in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from playwright.sync_api import Page

import backuplog
from backuplog import http, web
from backuplog.overdue import Expectation
from browsing import follow, serving
from reported import report_run

OpenPage = Callable[..., Page]
Report = Callable[..., backuplog.Receipt]


@pytest.fixture
def report(store: backuplog.Store, agent_id: UUID) -> Report:
    """Give what reports a run of one agent."""
    return partial(report_run, store, agent_id)


@contextmanager
def shown(store: backuplog.Store, open_page: OpenPage, path: str = "", **options: Any) -> Iterator[Page]:
    """Open the page in a browser."""
    expectations = options.pop("expectations", ())
    with serving(web.application(store, guard=http.Guard(), expectations=expectations)) as address:
        yield open_page(f"{address}{path}", **options)


def test_everything_has_a_recent_backup(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """The top line says yes, and the title too, where all backups are recent."""
    report(hours=3)
    report(hours=2, policy_id=uuid4(), status="warning")
    with shown(store, open_page) as page:
        assert page.locator("h1").inner_text() == "Yes. All 2 backups have a recent good run."
        assert page.title() == "Yes · Backups"


def test_other_tasks_are_not_called_backups(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """Where other tasks are expected too, the answer speaks of tasks."""
    report(hours=3, policy_id=(policy_id := uuid4()), task_type="check")
    expected = [Expectation(policy_id=policy_id, task_type="check", interval=timedelta(days=7))]
    with shown(store, open_page, expectations=expected) as page:
        assert page.locator("h1").inner_text() == "Yes. The only task has a recent good run."


def test_some_have_none(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """The top line says no, how many, and which, and the table begins with them."""
    report(hours=3)
    for name in ("mail", "files", "web-01", "web-02"):
        report_run(store, backuplog.register_agent(store, uuid4(), hostname=name).id, hours=50)
    with shown(store, open_page) as page:
        assert (
            page.locator("h1").inner_text()
            == "No. 4 of 5 backups have no recent good run: files, mail, web-01 and 1 more."
        )
        assert page.locator("tbody tr").first.inner_text().startswith("files")
        assert page.locator("tbody tr.late").count() == 4


def test_what_is_overdue_is_listed(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """What was expected and did not come is said before the table, also if it never ran."""
    report(hours=3, policy_id=(hourly := uuid4()))
    expected = [
        Expectation(policy_id=hourly, task_type="backup", interval=timedelta(hours=1)),
        Expectation(policy_id=uuid4(), task_type="verify", interval=timedelta(days=1)),
    ]
    with shown(store, open_page, expectations=expected) as page:
        items = page.locator("section:has(#overdue) li").all_inner_texts()
    assert items[0].endswith("(verify) never had a good run.")
    assert items[1] == f"policy {str(hourly)[:8]} was expected 2 hours ago, and last had a good run 3 hours ago."


def test_a_row_tells_of_the_last_runs(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """A row has the last run, the last success, the failures since, and a strip whose cells lead to runs."""
    report(hours=5)
    report(hours=4, status="failed")
    last = report(hours=3, status="failed")
    with shown(store, open_page) as page:
        cells = page.locator("tbody tr").first.locator("td")
        assert cells.nth(0).inner_text().split("\n") == ["x", "failed", "3 hours ago"]
        assert "5 hours ago" in cells.nth(1).inner_text()
        assert "2 failures since" in cells.nth(1).inner_text()
        strip = cells.nth(2).get_by_role("link")
        assert [name.split(",")[0] for name in (each.get_attribute("aria-label") or "" for each in strip.all())] == [
            "success",
            "failed",
            "failed",
        ]
        follow(strip.last)
        assert page.url.endswith(f"runs/{last.run_id}")


def test_a_strip_ends_with_the_newest_run(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """Of many runs the last 30 are shown, oldest first."""
    ids = [report(hours=hours).run_id for hours in range(35, 0, -1)]
    with shown(store, open_page) as page:
        links = [link.get_attribute("href") or "" for link in page.locator(".strip a").all()]
    assert [link.removeprefix("./runs/") for link in links] == [str(each) for each in ids[5:]]


def test_what_is_unusual_is_told(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """A run that added far more than those before it says so, in its row, and a chart tells the sizes in words."""
    for hours in range(10, 1, -1):
        stats = backuplog.RunStats(data_added=2**30 * (100 if hours == 2 else 1), total_bytes_processed=2**40)
        report(hours=hours, stats=stats)
    with shown(store, open_page) as page:
        assert page.locator(".notice").inner_text() == "unusual data added: 100.0 GiB, usually 1.0 GiB"
        label = page.get_by_role("img").get_attribute("aria-label")
    assert label == (
        "Processed: 1.0 TiB at last, 1.0 TiB to 1.0 TiB in these runs. "
        "Added: 100.0 GiB at last, 1.0 GiB to 100.0 GiB in these runs."
    )


def test_many_kinds_take_several_pages(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """However many policies agents invent, a page has 50 rows, and the next ones follow once each."""
    for each in range(100):
        report(hours=1, task_type=f"type {each:03}")
    with shown(store, open_page) as page:
        assert "100 in all · shown: 1 to 50" in page.locator("#counts").inner_text()
        seen = [page.locator("tbody th").all_inner_texts()]
        while page.get_by_role("link", name="Next").count():
            follow(page.get_by_role("link", name="Next"))
            seen.append(page.locator("tbody th").all_inner_texts())
        assert [len(rows) for rows in seen] == [50, 50]
        assert len({row for rows in seen for row in rows}) == 100
        follow(page.get_by_role("link", name="First"))
        assert page.locator("tbody th").all_inner_texts() == seen[0]


def test_what_is_unusual_is_found_on_all_pages(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """Where not all rows are shown, a link finds what is unusual among all of them."""
    for each in range(51):
        report(hours=1, task_type=f"type {each:03}")
    for hours in range(10, 1, -1):
        report(hours=hours, task_type="zzz", stats=backuplog.RunStats(data_added=100 if hours == 2 else 1))
    with shown(store, open_page) as page:
        assert page.locator(".notice").count() == 0
        follow(page.get_by_role("link", name="Find what is unusual in all"))
        assert page.locator("section:has(#unusual) li").all_inner_texts() == [
            "db-01 (zzz) unusual data added: 100 Bytes, usually 1 Byte"
        ]


@pytest.mark.parametrize("query", ["other=1", "unusual=some"])
def test_what_the_page_does_not_know_is_refused(store: backuplog.Store, query: str) -> None:
    """A parameter that is misspelled is an error that names it, and never ignored."""
    with serving(web.application(store, guard=http.Guard())) as address:
        answer = httpx.get(f"{address}?{query}")
    assert answer.status_code == 400
    assert "is no filter of this page" in answer.text


@pytest.mark.parametrize("cursor", ["x", "W10", "WzEsMiwzXQ", "W0luZmluaXR5LDEsMiwzLDRd", "%F0%9F%98%80"])
def test_a_cursor_that_is_none_is_refused(store: backuplog.Store, open_page: OpenPage, cursor: str) -> None:
    """Whatever stands in the address as a cursor, the page says what is wrong with it."""
    with serving(web.application(store, guard=http.Guard())) as address:
        page = open_page(address)
        answer = page.request.get(f"{address}?cursor={cursor}")
    assert answer.status == 400
    assert "cursor: is not of a page of this list: begin again without it" in answer.text()


def test_an_empty_store_helps_to_begin(store: backuplog.Store, open_page: OpenPage) -> None:
    """Before the first result, the page shows how to send one, to its own address."""
    with shown(store, open_page) as page:
        assert page.locator("h1").inner_text() == "No run has been reported yet"
        assert f"curl {page.url}agents/$AGENT_ID/task-results" in page.get_by_label("How to send a result").inner_text()
