"""A run and its log in a real browser, and without script."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect
from starlette.applications import Starlette
from starlette.routing import Mount

import backuplog
from backuplog import http, web
from browsing import follow, serving
from reported import HOSTILE

OpenPage = Callable[..., Page]
Payload = Callable[..., dict[str, Any]]
Ingest = Callable[..., UUID]
RESTIC = Path(__file__).parent.parent / "data" / "parsers" / "restic" / "restic-0.18.1-backup-unreadable-vv.log"
LINE = b"new       /srv/files/%07d.jpg, saved in 0.001s\n"
BOMBS = [
    b"\x1b[31m" * 200_000,
    b"\x1b[1;4;31;44m" * 300 + b"nested",
    b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07 <script>alert(1)</script> <a href=javascript:alert(1)>x</a>",
    b"\x1b[2J\x1b[H\x1b[999;999Hmoved\x1b]0;title\x07",
    HOSTILE.encode(),
    "\u202eevil\u2066 \u05e9\u05dc\u05d5\u05dd".encode(),
    b"\xff\xfe\x00\x80\xed\xa0\x80",
    b"".join(b"\x1b[%dmx" % (30 + at % 8) for at in range(20_000)),
    b"z" * 10_000_000,
    b"\r".join(b"%d %%" % at for at in range(101)),
]


@pytest.fixture
def ingest(store: backuplog.Store, agent_id: UUID, payload: Payload) -> Ingest:
    """Give what stores a result, and returns the id of its run."""
    return lambda **fields: backuplog.ingest_task_result(store, agent_id, payload(**fields)).run_id


@contextmanager
def shown(store: backuplog.Store, open_page: OpenPage, run_id: UUID, query: str = "", **options: Any) -> Iterator[Page]:
    """Open a run in a browser."""
    with serving(web.application(store, guard=http.Guard())) as address:
        yield open_page(f"{address}runs/{run_id}{query}", **options)


@pytest.fixture
def asked(store: backuplog.Store) -> Iterator[httpx.Client]:
    """Give what asks the page without a browser."""
    with serving(web.application(store, guard=http.Guard())) as address, httpx.Client(base_url=address) as client:
        yield client


def test_a_failed_run_opens_where_it_fails(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """Of a failed run the page says first what went wrong, and its log stands at the last line that tells of it."""
    log = LINE * 1_000 % tuple(range(1_000)) + RESTIC.read_bytes() + LINE * 200 % tuple(range(200))
    run_id = ingest(status="failed", errorMessage="exit status 3", log=log)
    failing = log.decode().split("\n").index("error: open /srv/data/private/unreadable.key: permission denied") + 1
    with shown(store, open_page, run_id) as page:
        assert page.get_by_role("heading", name="What went wrong").is_visible()
        assert page.get_by_text("exit status 3").is_visible()
        assert page.get_by_role("link", name="/srv/data/private/unreadable.key").is_visible()
        row = page.locator(".row.target")
        assert row.inner_text().split("\n") == [
            str(failing),
            "error: open /srv/data/private/unreadable.key: permission denied",
        ]
        page.locator("#viewer").scroll_into_view_if_needed()
        expect(row).to_be_in_viewport()


def test_a_run_without_script_is_read_whole(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """Without script, links lead from the beginning of a log to its end, and the form finds a line."""
    run_id = ingest(log=LINE * 1_000 % tuple(range(1_000)))
    with shown(store, open_page, run_id, "?line=1", java_script_enabled=False) as page:
        seen = list[int]()
        while True:
            numbers = [int(text) for text in page.locator(".row .at").all_inner_texts()]
            assert numbers == list(range(numbers[0], numbers[-1] + 1))
            seen += [number for number in numbers if number > (seen or [0])[-1]]
            later = page.get_by_role("link", name="Later")
            if not later.count():
                break
            follow(later)
        assert seen == list(range(1, 1_001))
        page.get_by_label("Find in this log").fill("0000500.JPG")
        follow(page.get_by_role("button", name="Find"))
        assert page.get_by_text("1 line has it.").is_visible()
        follow(page.locator("#log-found a").first)
        assert page.url.endswith("?line=501#L501")
        assert "0000500.jpg" in page.locator(".row.target").inner_text()


def test_a_log_is_followed_to_its_end(
    store: backuplog.Store, agent_id: UUID, open_page: OpenPage, payload: Payload
) -> None:
    """What is appended while somebody looks is shown, a line that was half too; at the end the page says so."""
    result = payload(status="running", progress={"percent": 40, "step": "/srv"})
    run_id = backuplog.ingest_task_result(store, agent_id, result).run_id
    offset = backuplog.append_log(store, agent_id, run_id, b"begun\nhal", offset=0)
    with shown(store, open_page, run_id) as page:
        expect(page.get_by_role("progressbar")).to_be_visible()
        expect(page.locator(".row .text").last).to_have_text("hal")
        offset = backuplog.append_log(
            store, agent_id, run_id, b"f and more\n" + LINE * 100 % tuple(range(100)), offset=offset
        )
        expect(page.locator(".row .text").last).to_have_text(LINE.decode().strip() % 99)
        page.get_by_role("link", name="First").click()
        expect(page.locator(".row .text").nth(1)).to_have_text("half and more")
        backuplog.append_log(store, agent_id, run_id, b"the end\n", offset=offset)
        backuplog.ingest_task_result(store, agent_id, {**result, "status": "success", "progress": None})
        expect(page.get_by_role("link", name="Show how it ended")).to_be_visible()
        expect(page.locator(".row .text").nth(1)).to_have_text(
            "half and more"
        )  # Nobody is taken away from where they look.
        page.get_by_role("link", name="Last").click()
        expect(page.locator(".row .text").last).to_have_text("the end")
        page.get_by_role("link", name="Show how it ended").click()
        expect(page.get_by_text("complete.")).to_be_visible()


def test_a_log_appears_when_it_begins(
    store: backuplog.Store, agent_id: UUID, open_page: OpenPage, ingest: Ingest
) -> None:
    """Who looks at a run that has sent no log yet sees it when it comes."""
    run_id = ingest(status="running")
    with shown(store, open_page, run_id) as page:
        assert page.get_by_text("The task has sent no log so far.").is_visible()
        backuplog.append_log(store, agent_id, run_id, b"here it is\n", offset=0)
        expect(page.locator(".row .text")).to_have_text("here it is")


def test_a_long_log_is_scrolled(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """Of two million lines each can be reached: by keys, by the wheel, by the scroll bar; few are in the page."""
    count = 2_000_000  # higher than any browser can lay out
    run_id = ingest(log=b"".join(b"line %d\n" % at for at in range(1, count + 1)))
    with shown(store, open_page, run_id) as page:
        rows = page.locator(".row .text")
        expect(rows.last).to_have_text(f"line {count}")
        page.locator("#viewer").focus()
        page.keyboard.press("Home")
        expect(rows.first).to_have_text("line 1")
        page.keyboard.press("ArrowDown")
        expect(rows.first).to_have_text("line 2")
        page.keyboard.press("PageDown")
        expect(rows.first).to_have_text(f"line {rows.count()}")
        page.keyboard.press("PageUp")
        expect(rows.first).to_have_text("line 2")
        page.locator("#viewer").hover()
        page.mouse.wheel(0, 2_000)
        expect(rows.first).to_have_text("line 102")
        page.evaluate("viewer.scrollTop = (viewer.scrollHeight - viewer.clientHeight) / 2")
        expect(rows.first).to_have_text(re.compile(r"line (9999\d\d|1000\d\d\d)"))
        expect(page.locator("#log-where")).to_contain_text("of 2,000,000")
        page.keyboard.press("End")
        expect(rows.last).to_have_text(f"line {count}")
        assert page.locator("#viewer *").count() < 500
        assert page.evaluate("viewer.scrollHeight") < 17_000_000  # Firefox takes what is higher than 17.8 million for 0


def test_a_link_leads_to_a_line(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """The number of a line is a link to it, and whoever opens it sees that line."""
    run_id = ingest(log=LINE * 5_000 % tuple(range(5_000)))
    with shown(store, open_page, run_id, "?line=2500") as page:
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 2_499)
        page.locator("#L2503 .at").click()
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 2_502)
        assert page.url.endswith("?line=2503#L2503")
        page.reload()
        expect(page.locator(".row.target")).to_be_in_viewport()
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 2_502)
        page.evaluate("location.hash = '#L4000'")
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 3_999)


def test_a_search_goes_on_by_itself(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """A search shows what it finds while it goes on, leads to the first line, and to others; it can ask for more."""
    log = LINE * 3_000 % tuple(range(3_000))
    run_id = ingest(log=log)
    with patch("backuplog.web.log.STEP_MATCHES", 50), shown(store, open_page, run_id) as page:
        page.keyboard.press("/")
        page.keyboard.type("/00012")
        page.keyboard.press("Enter")
        expect(page.locator("#log-found-said")).to_have_text("100 lines have it.")
        assert page.locator("#log-found li").count() == 100
        assert page.locator("#log-found mark").first.inner_text() == "/00012"
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 1_200)
        page.locator("#log-found a").nth(9).click()
        expect(page.locator(".row.target .text")).to_have_text(LINE.decode().strip() % 1_209)
        page.get_by_label("Find in this log").fill("jpg")
        page.get_by_role("button", name="Find", exact=True).click()
        expect(page.locator("#log-found-said")).to_have_text("500 lines have it so far.")
        page.get_by_role("button", name="Find more").click()
        expect(page.locator("#log-found-said")).to_have_text("1,000 lines have it so far.")
        page.get_by_label("Find in this log").fill("nowhere")
        page.keyboard.press("Enter")
        expect(page.locator("#log-found-said")).to_have_text("0 lines have it.")


def test_a_failed_item_leads_to_its_line(store: backuplog.Store, open_page: OpenPage, ingest: Ingest) -> None:
    """What could not be read is a link to the line of the log that says why, under any prefix."""
    log = LINE * 1_000 % tuple(range(1_000)) + RESTIC.read_bytes() + b"1 %\r2 %\n"
    run_id = ingest(status="warning", log=log)
    prefixed = Starlette(routes=[Mount("/some/where", web.application(store, guard=http.Guard()))])
    with serving(prefixed) as address:
        page = open_page(f"{address}some/where/runs/{run_id}")
        page.get_by_role("link", name="/srv/data/private/locked-dir").click()
        expect(page.locator("#log-found-said")).to_have_text("2 lines have it.")
        expect(page.locator(".row.target .text")).to_contain_text("/srv/data/private/locked-dir: permission denied")
        page.get_by_role("link", name="Last").click()
        page.get_by_role("link", name="overwritten").click()
        expect(page.locator(".row.target .text")).to_have_text("1 %^M2 %")


def test_a_log_that_is_replaced_is_said(
    store: backuplog.Store, agent_id: UUID, open_page: OpenPage, payload: Payload
) -> None:
    """Who looks at a log that is replaced is told to reload, and sees no mix of two logs."""
    result = payload(log=LINE * 5_000 % tuple(range(5_000)))
    run_id = backuplog.ingest_task_result(store, agent_id, result).run_id
    app = web.application(store, guard=http.Guard())
    with serving(app) as address:
        page = open_page(f"{address}runs/{run_id}")
        expect(page.locator(".row .text").last).to_have_text(LINE.decode().strip() % 4_999)
        backuplog.ingest_task_result(store, agent_id, {**result, "log": "another\n" * 5_000})
        page.get_by_role("link", name="First").click()
        expect(page.locator("#log-where")).to_have_text("The log is another by now: reload the page.")
        assert page.get_by_text("another").count() == 1


@pytest.mark.parametrize("script", [True, False])
def test_hostile_text_does_nothing(
    store: backuplog.Store, open_page: OpenPage, ingest: Ingest, *, script: bool
) -> None:
    """Markup, links, escapes, turned text and endless lines of a log and of every field stay text, in their place."""
    run_id = ingest(
        status="failed",
        taskType=HOSTILE[:50],
        errorMessage=(HOSTILE * 2_000)[:50_000],
        snapshotId=HOSTILE[:255],
        log=b"\n".join(BOMBS),
        stats={"failed_items": [HOSTILE * 9] * 100, "tool": HOSTILE[:50]},
    )
    with shown(store, open_page, run_id, "?line=1", java_script_enabled=script) as page:
        assert page.title() != "title"
        assert page.locator("main script, main a[href^=javascript], main img").count() == 0
        expect(page.locator(".row")).to_have_count(len(BOMBS))
        tall = (
            page.locator(".row").evaluate_all("rows => rows.map(row => row.getBoundingClientRect().height)")
            if script
            else []
        )
        assert len(set(tall)) <= 1
        assert page.locator("#L9 .cut").inner_text() == "… 9.5 MiB in this line: download the log to see all of it"
        assert page.locator("#L10 .text").inner_text().startswith("100 %")
        assert len(page.content()) < 400_000
        page.locator("#L10 .note").click()
        expect(page.locator("#L10 .text")).to_contain_text("0 %^M1 %^M2 %")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1200])
def test_no_axe_rule_is_broken_by_a_log(
    store: backuplog.Store, open_page: OpenPage, ingest: Ingest, scheme: str, width: int
) -> None:
    """Axe finds nothing wrong with a run, its log in all colours and what is found in it; nothing is too wide."""
    colours = b"".join(b"\x1b[%d;%dmtext\x1b[0m " % (fg, bg) for fg in (31, 32, 37, 90, 97) for bg in (41, 47, 104))
    styles = b"\n\x1b[1;2;3mdim\x1b[0m \x1b[7;31minverse\x1b[0m\nTicks\rto\nabc\x00\n" + b"x" * 50_000 + b"\n"
    run_id = ingest(status="failed", errorMessage="no", log=RESTIC.read_bytes() + colours + styles, snapshotId="a1b2")
    with shown(
        store, open_page, run_id, "?q=error", color_scheme=scheme, viewport={"width": width, "height": 900}
    ) as page:
        page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_log_is_downloaded(
    store: backuplog.Store, asked: httpx.Client, open_page: OpenPage, ingest: Ingest
) -> None:
    """The log is saved byte for byte under the run's id; parts of it are given too."""
    log = b"\x00\xff<script>\r\n" * 1_000
    run_id = ingest(log=log)
    with shown(store, open_page, run_id) as page:
        with page.expect_download() as download:
            page.get_by_role("link", name="Download").click()
        assert download.value.suggested_filename == f"backup-run-{run_id}.log"
        assert Path(download.value.path()).read_bytes() == log
    answer = asked.get(f"/runs/{run_id}/log", headers={"Range": "bytes=2-5"})
    assert (answer.status_code, answer.content) == (206, log[2:6])
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert asked.head(f"/runs/{run_id}/log").headers["content-length"] == str(len(log))


def test_what_is_known_of_a_log_is_not_read_again(store: backuplog.Store, asked: httpx.Client, ingest: Ingest) -> None:
    """The state of a log has a tag, and who knows it is told so without reading the log."""
    run_id = ingest(log=b"a\nb\n")
    first = asked.get(f"/runs/{run_id}/log/index")
    assert first.json() == {
        "tag": backuplog.get_run(store, run_id).log_sha256.hex(),  # type: ignore[union-attr]
        "lines": 2,
        "bytes": 4,
        "active": False,
    }
    with patch.object(store.backend, "find_chunk", side_effect=AssertionError):
        again = asked.get(f"/runs/{run_id}/log/index", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_lines_are_given_of_one_log_only(asked: httpx.Client, ingest: Ingest) -> None:
    """Lines are given in bounded numbers, and of one log."""
    run_id = ingest(log=b"a\n" * 1_000)
    assert asked.get(f"/runs/{run_id}/log/lines?first=3&count=2").text.count('class="row"') == 2
    assert asked.get(f"/runs/{run_id}/log/lines?first=2000&count=2").text.strip() == ""
    assert asked.get(f"/runs/{run_id}/log/lines?first=1&count=65").status_code == 400
    assert asked.get(f"/runs/{run_id}/log/lines?first=0&count=1").status_code == 400
    assert asked.get(f"/runs/{UUID(int=1)}/log/lines?first=1&count=1").status_code == 404
    assert asked.get(f"/runs/{run_id}?line=x").status_code == 400
    assert asked.get(f"/runs/{run_id}?line=99999").status_code == 200
    assert "must have 1 to 1,024 bytes" in asked.get(f"/runs/{run_id}?q={'x' * 2_000}").text


def test_each_state_of_a_log_is_said(
    store: backuplog.Store, asked: httpx.Client, agent_id: UUID, ingest: Ingest, payload: Payload
) -> None:
    """Whatever became of a log, the page says it in words."""
    said = {ingest(): "came without a log", ingest(log=""): "The log is empty"}
    expired = ingest(log="a\n")
    backuplog.expire_log(store, expired)
    said[expired] = "was removed because of its age"
    long = payload(log="a\n" * 5_000)
    backuplog.ingest_task_result(store, agent_id, long, max_log_bytes=4_096)
    said[UUID(long["taskId"])] = "of its middle are missing"
    masked = ingest(log="restic -r rest:https://user:secret@host/\n")
    said[masked] = "1 secret is masked"
    for run_id, words in said.items():
        assert words in asked.get(f"/runs/{run_id}").text
    number = backuplog.read_log(store, long["taskId"]).split(b"\n[backuplog: ")[0].count(b"\n") + 2
    gap = asked.get(f"/runs/{long['taskId']}?line={number}").text
    assert f'class="row gap target" id="L{number}"' in gap


def test_a_damaged_log_is_said(asked: httpx.Client, ingest: Ingest) -> None:
    """A log that is damaged is said to be, and the run is shown nevertheless."""
    run_id = ingest(log="a\n", errorMessage="it broke")
    with patch("backuplog.web.log.read_lines", side_effect=backuplog.CorruptLog("the chunk at byte 0 fails")):
        page = asked.get(f"/runs/{run_id}").text
    assert "The stored log is damaged" in page
    assert "it broke" in page
    assert "the chunk at" not in page
