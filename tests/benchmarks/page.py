"""Measure how soon a long log is seen in a browser, and whether the browser ever stops while somebody scrolls.

Run it with ``python tests/benchmarks/page.py [MB]``. Server, browser and SQLite share one machine. "First line" is from
the click until the script has put the lines in place. The longest task is what the browser calls one (50 ms or
more), while the scroll bar goes from the end of a log to its beginning in 400 steps, one a frame, and while the wheel
turns.
"""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

sys.path.insert(0, str(Path(__file__).parent.parent))

from playwright.sync_api import Browser
from timing import row

import backuplog
from backuplog import http, web
from browsing import serving, start_browser

LINE = b"new       /srv/files/%07d.jpg, saved 1 KiB\n"
WATCH = """
window.tasks = [];
new PerformanceObserver((list) => tasks.push(...list.getEntries().map((each) => each.duration)))
  .observe({ type: "longtask", buffered: true });
const look = () => {
  if (document.querySelector(".viewer.scripted .row .text")) window.seen = performance.now();
  else requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
SCROLL = """async () => {
  tasks.length = 0;
  const gaps = [];
  let before = performance.now();
  const frame = () => new Promise(requestAnimationFrame);
  const end = viewer.scrollHeight - viewer.clientHeight;
  for (let step = 400; step >= 0; step -= 1) {
    viewer.scrollTop = (end * step) / 400;
    await frame();
    gaps.push(performance.now() - before);
    before = performance.now();
  }
  return { longest: Math.max(0, ...tasks), gap: Math.max(...gaps) };
}"""


def log_of(megabytes: int) -> bytes:
    """Return a log of so many MB with 20,000 lines each."""
    return b"".join(LINE % number for number in range(megabytes * 1_000_000 // len(LINE % 0)))


def measure(browser: Browser, address: str) -> None:
    """Print what it takes to look at one log."""
    page = browser.new_page()
    page.add_init_script(WATCH)
    page.goto(address)
    page.locator(".viewer.scripted .row .text").first.wait_for()
    page.wait_for_timeout(200)  # for what the browser says of its tasks
    row("first line in the browser", f"{page.evaluate('seen'):.0f} ms")
    row("longest task while it opens", f"{max([0, *page.evaluate('tasks')]):.0f} ms")
    begun = time.perf_counter()
    scrolled = page.evaluate(SCROLL)
    page.locator("#L1 .text").wait_for(state="attached")
    row("from the end to the beginning", f"{time.perf_counter() - begun:.1f} s")
    row("longest task meanwhile", f"{scrolled['longest']:.0f} ms")
    row("longest pause between two frames", f"{scrolled['gap']:.0f} ms")
    row("elements in the viewer", f"{page.locator('#viewer *').count():,}")
    page.locator("#viewer").hover()
    page.evaluate("tasks.length = 0")
    for _ in range(100):
        page.mouse.wheel(0, 400)
    page.wait_for_timeout(500)
    row("longest task while the wheel turns", f"{max([0, *page.evaluate('tasks')]):.0f} ms")
    page.reload()
    page.locator(".viewer.scripted .row .text").first.wait_for()
    row("first line when the log is known", f"{page.evaluate('seen'):.0f} ms")
    page.close()


def main(megabytes: str = "100") -> None:
    """Print the table."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="backuplog-benchmark-"))
        store = stack.enter_context(backuplog.open_store(f"sqlite:///{folder}/backups.db"))
        root = stack.enter_context(serving(web.application(store, guard=http.Guard())))
        browser = stack.enter_context(start_browser())
        agent_id = backuplog.register_agent(store, uuid4()).id
        logs = {
            f"{megabytes} MB of lines": log_of(int(megabytes)),
            f"{megabytes} MB of line ends": b"\n" * (int(megabytes) * 1_000_000),
            "one line of 10 MB": b"x" * 10_000_000,
            "1 MB of colours in a line": b"\x1b[31mx" * 166_000,
        }
        for name, log in logs.items():
            fields = {"task_type": "backup", "status": "success", "duration_seconds": 1}
            result = backuplog.TaskResult(task_id=uuid4(), policy_id=uuid4(), log=log, **fields)
            run_id = backuplog.ingest_task_result(store, agent_id, result).run_id
            row(name, f"{log.count(10):,} lines")
            row("---", "---")
            measure(browser, f"{root}runs/{run_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
