"""The history in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from playwright.sync_api import Page, expect
from starlette.datastructures import QueryParams

import backuplog
from backuplog import http, web
from backuplog.errors import InvalidQuery
from backuplog.web.history import STEPS, links_of, query_of
from browsing import follow, serving
from reported import report_run

OpenPage = Callable[..., Page]
Report = Callable[..., backuplog.Receipt]
SEEN = """({hidden}) => {
    Object.defineProperty(document, "hidden", {value: hidden, configurable: true});
    document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture
def report(store: backuplog.Store, agent_id: UUID) -> Report:
    """Give what reports a run of one agent."""
    return partial(report_run, store, agent_id)


@contextmanager
def shown(store: backuplog.Store, open_page: OpenPage, query: str = "", **options: Any) -> Iterator[Page]:
    """Open the history in a browser."""
    with serving(web.application(store, guard=http.Guard())) as address:
        yield open_page(f"{address}history{query}", **options)


def test_filters_make_the_address(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """What is chosen in the form stands in the address, narrows the list, and is still chosen afterwards."""
    report(hours=30, status="failed", error_message="no space left")
    report(hours=3, status="failed", error_message="wrong password")
    report(hours=2)
    other = backuplog.register_agent(store, uuid4(), hostname="mail")
    report_run(store, other.id, hours=1, status="failed")
    with shown(store, open_page) as page:
        assert page.locator("tbody tr").count() == 4
        page.get_by_text("Filter", exact=True).click()
        page.get_by_label("Agent").select_option("db-01")
        page.get_by_label("failed").check()
        page.get_by_label("Started since").fill(f"{datetime.now(UTC) - timedelta(hours=20):%Y-%m-%dT%H:%M:%S}")
        follow(page.get_by_role("button", name="Show"))
        assert "status=failed" in page.url
        assert page.locator("tbody tr").count() == 1
        assert "wrong password" in page.locator("tbody tr").inner_text()
        assert page.get_by_label("failed").is_checked()
        assert page.get_by_label("Started since").input_value()
        follow(page.get_by_role("link", name="Clear"))
        assert page.locator("tbody tr").count() == 4


def test_totals_are_told_by_status(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """The totals count each status, all unknown ones together, and lead to the runs that have it."""
    for status in ("success", "success", "warning", "odd", "odder"):
        report(hours=1, status=status)
    with shown(store, open_page) as page:
        totals = [" ".join(text.split()) for text in page.locator(".totals li").all_inner_texts()]
        assert totals == ["5 runs", "2 + success", "1 ! warning", "2 ? other"]
        follow(page.get_by_role("link", name="2 success"))
        assert page.locator("tbody tr").count() == 2
        assert page.locator(".totals [aria-current]").inner_text().split() == ["2", "+", "success"]


def test_pages_lead_to_the_end_and_back(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """Older pages show every run once, down to the last, and newer ones lead the same way back."""
    ids = [str(report(hours=hours).run_id) for hours in range(1, 11)]

    def rows(page: Page) -> list[str]:
        return [(row.get_attribute("id") or "").removeprefix("run-") for row in page.locator("tbody tr").all()]

    with shown(store, open_page, "?limit=4") as page:
        seen = [rows(page)]
        while page.get_by_role("link", name="Older").count():
            follow(page.get_by_role("link", name="Older"))
            seen.append(rows(page))
        assert seen == [ids[:4], ids[4:8], ids[8:]]
        for expected in reversed(seen[:-1]):
            follow(page.get_by_role("link", name="Newer"))
            assert rows(page) == expected
        assert not page.get_by_role("link", name="Newer").count()
        follow(page.get_by_role("link", name="Older"))
        follow(page.get_by_role("link", name="Newest"))
        assert rows(page) == seen[0]


def test_what_is_wrong_is_told_at_its_field(store: backuplog.Store, open_page: OpenPage) -> None:
    """Each field that is malformed says so beside itself, with what was given still in it."""
    with serving(web.application(store, guard=http.Guard())) as address:
        page = open_page(address)
        answer = page.request.get(
            f"{address}history?policy_id=7&since=yesterday&limit=5000&agent_id=x&cursor=y&other=1&task_type=a&task_type=b"
        )
        page.set_content(answer.text())
        assert answer.status == 400
        for label in ("Policy id", "Started since", "Runs on a page", "Agent id", "Type of task"):
            field = page.get_by_label(label)
            described = field.get_attribute("aria-describedby")
            assert field.get_attribute("aria-invalid") == "true", label
            assert page.locator(f"#{described}").inner_text().startswith(("This must", "This is given twice")), label
        assert page.get_by_label("Started since").input_value() == "yesterday"
        alerts = page.get_by_role("alert").all_inner_texts()
    assert alerts == ["other: this is no filter of this page. Begin again"]


def test_a_cursor_of_other_filters_is_refused(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """A cursor that does not belong to the filters is an error that says what to do, not another list."""
    for hours in (1, 2):
        report(hours=hours)
    cursor = backuplog.query_runs(store, backuplog.RunQuery(limit=1)).next_cursor
    with serving(web.application(store, guard=http.Guard())) as address:
        page = open_page(address)
        answer = page.request.get(f"{address}history?status=success&cursor={cursor}")
    assert answer.status == 400
    assert "is of a query with other filters: begin again without it" in answer.text()


def test_an_agent_that_is_not_registered(store: backuplog.Store, open_page: OpenPage) -> None:
    """An agent that nobody has registered is told at the field, with the status of what is not found."""
    with serving(web.application(store, guard=http.Guard())) as address:
        page = open_page(address)
        answer = page.request.get(f"{address}history?agent_id={uuid4()}")
    assert answer.status == 404
    assert "This is not registered: choose another agent." in answer.text()


def test_nothing_matches(store: backuplog.Store, open_page: OpenPage) -> None:
    """A list without runs says so, and leads to all of them."""
    with shown(store, open_page, "?status=lost") as page:
        assert "No run matches. Show all" in page.locator("main").inner_text()


def test_empty_fields_are_not_given() -> None:
    """What a browser sends of an untouched form asks for all runs."""
    untouched = "agent_id=&policy_id=&task_type=&since=&until=&limit=50"
    assert query_of(QueryParams(untouched)) == query_of(QueryParams("")) == backuplog.RunQuery(limit=50)


@pytest.mark.parametrize("time", ["2026-11-24T02:00", "2026-11-24T02:00:00", "2026-11-24T02:00:00Z"])
def test_times_of_the_form_are_utc(time: str) -> None:
    """A time from a picker, which has no zone, counts as UTC; one with a zone is taken too."""
    assert query_of(QueryParams({"since": time})).since == datetime(2026, 11, 24, 2, tzinfo=UTC)


@pytest.mark.parametrize("limit", ["0", "251", "-1", "1e2", "9" * 5000])
def test_a_page_has_a_limit(limit: str) -> None:
    """Nobody may ask for a page of any length."""
    with pytest.raises(InvalidQuery, match="limit: must be a whole number from 1 to 250"):
        query_of(QueryParams({"limit": limit}))


def test_an_address_remembers_so_many_pages() -> None:
    """However far somebody goes back, the address does not grow without limit."""
    given = QueryParams({"cursor": "c0", "back": "first"})
    for each in range(1, 3 * STEPS):
        given = QueryParams(links_of(given, f"c{each}").older or "")
    assert given["back"].count(".") == STEPS - 1
    assert QueryParams(links_of(given, None).newer or "")["cursor"] == f"c{3 * STEPS - 2}"
    assert links_of(given, None).older is None


def list_that_renews(page: Page) -> Page:
    """Wait until the list says how often it renews itself."""
    expect(page.locator("#renewed")).to_have_text("Updates every 15 seconds")
    return page


def test_a_list_renews_itself(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """New runs and totals come by themselves, and what is looked at stays where it is on the screen."""
    for hours in range(1, 41):
        report(hours=hours)
    with shown(store, open_page) as page:
        page.clock.install()
        page.get_by_text("Filter", exact=True).click()
        page.get_by_label("Update by itself").check()
        page.wait_for_url("**renew=on**")
        list_that_renews(page)
        row = page.locator("tbody tr").nth(20)
        row.scroll_into_view_if_needed()
        row_id, before = row.get_attribute("id"), row.bounding_box()
        for _ in range(5):
            report(hours=0)
        page.clock.run_for(15_000)
        expect(page.locator(".totals li").first).to_contain_text("45")
        expect(page.locator("#renewed")).to_contain_text("Updated ")
        after = page.locator(f"#{row_id}").bounding_box()
    assert before
    assert after
    assert abs(before["y"] - after["y"]) < 2


def test_nothing_moves_under_a_selection(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """While something in the list is in focus or selected, the list waits, and goes on afterwards."""
    report(hours=1)
    with shown(store, open_page) as page:
        page.clock.install()
        page.goto(f"{page.url}?renew=on")
        list_that_renews(page)
        page.locator("tbody a").first.focus()
        report(hours=0)
        page.clock.run_for(15_000)
        expect(page.locator("#renewed")).to_contain_text("Waits")
        assert page.locator("tbody tr").count() == 1
        page.evaluate(
            "document.activeElement.blur(); getSelection().selectAllChildren(document.querySelector('tbody'))"
        )
        page.evaluate("document.getElementById('renewed').textContent = ''")
        page.clock.run_for(15_000)
        expect(page.locator("#renewed")).to_contain_text("Waits")
        assert page.locator("tbody tr").count() == 1
        page.evaluate("getSelection().removeAllRanges()")
        page.clock.run_for(15_000)
        expect(page.locator("tbody tr")).to_have_count(2)


def test_a_hidden_list_rests(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """A tab that nobody sees asks for nothing, and is renewed at once when somebody looks again."""
    report(hours=1)
    with shown(store, open_page) as page:
        page.clock.install()
        page.goto(f"{page.url}?renew=on")
        list_that_renews(page)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.evaluate(SEEN, {"hidden": True})
        page.clock.run_for(120_000)
        assert asked == []
        report(hours=0)
        page.evaluate(SEEN, {"hidden": False})
        expect(page.locator("tbody tr")).to_have_count(2)


def test_a_server_that_is_gone_is_told(store: backuplog.Store, open_page: OpenPage, report: Report) -> None:
    """A list that cannot be renewed says so, keeps what it has, and tries again."""
    report(hours=1)
    with shown(store, open_page) as page:
        page.clock.install()
        page.goto(f"{page.url}?renew=on")
        list_that_renews(page)
        page.route("**/history*", lambda route: route.fulfill(status=200, body="<p>Log in"))
        page.clock.run_for(15_000)
        expect(page.locator("#renewed")).to_contain_text("the server answered something else. It is asked again.")
        assert page.locator("tbody tr").count() == 1
        page.unroute_all()
        page.clock.run_for(15_000)
        expect(page.locator("#renewed")).to_contain_text("Updated ")
