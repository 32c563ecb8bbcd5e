"""Make the pictures of the command and of the page in docs/pictures, from the results of real restic and borg runs.

Run ``python docs/pictures.py``. It needs the extra ``dev`` and a Chromium. The runs and logs are those of the
quickstart; each is repeated over the last month, so that there is a history to see.
"""

import io
import json
import os
import re
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid5

from playwright.sync_api import Browser
from rich.console import Console
from rich.text import Text

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import backuplog
from backuplog import http, web
from browsing import serving, start_browser

RESULTS: Final = ROOT / "tests" / "data" / "results"
PICTURES: Final = ROOT / "docs" / "pictures"
DAYS: Final = 30
COLUMNS: Final = 100


def fill(store: backuplog.Store, now: datetime) -> dict[str, UUID]:
    """Store a month of runs, and return the newest run of each log."""
    index = json.loads((RESULTS / "results.json").read_text())
    for hostname, agent_id in index["agents"].items():
        backuplog.register_agent(store, agent_id, hostname=hostname)
    newest: dict[str, UUID] = {}
    for day in range(DAYS, -1, -1):
        for place, result in enumerate(index["results"]):
            # What went wrong did so once in a while; the last day is as it was.
            if day and result["status"] != "success" and (day + place) % 9:
                continue
            task_id = uuid5(UUID(result["taskId"]), str(day))
            began = now - timedelta(days=day, hours=7, minutes=11 * place)
            payload: dict[str, Any] = {**result, "taskId": str(task_id), "startTime": began.isoformat()}
            payload["log"] = (RESULTS / result["log"]).read_bytes()
            received_at = began + timedelta(seconds=result["durationSeconds"])
            agent_id = index["agents"][result["agent"]]
            backuplog.ingest_task_result(store, agent_id, payload, received_at=received_at)
            newest[result["log"]] = task_id
    return newest


def picture_pages(browser: Browser, address: str, run_id: UUID) -> None:
    """Take a picture of each page, light and dark."""
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1180, "height": 860})
        page = context.new_page()
        for name, path in (("overview", ""), ("history", "history"), ("run", f"runs/{run_id}")):
            page.goto(f"{address}{path}", wait_until="networkidle")
            page.screenshot(path=PICTURES / f"{name}-{scheme}.png")
        context.close()


def picture_command(url: str, *arguments: str) -> None:
    """Run the command as on a terminal, and draw what it prints."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "BACKUPLOG_URL": url}
    command = [sys.executable, "-m", "backuplog", *arguments]
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed))
    drawn = console.export_svg(title=" ".join(("backuplog", *arguments)), unique_id="backuplog")
    # A font from another site, which no reader of a page should have to ask.
    (PICTURES / "command.svg").write_text(re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL))


def main() -> None:
    """Make all pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="backuplog-pictures-") as folder:
        url = f"sqlite:///{Path(folder) / 'backups.db'}"
        with backuplog.open_store(url) as store:
            newest = fill(store, datetime.now(UTC))
            with start_browser() as browser, serving(web.application(store, guard=http.Guard())) as address:
                picture_pages(browser, address, newest["restic-0.18.1-backup-unreadable-vv.log"])
        picture_command(url, "latest")


if __name__ == "__main__":
    main()
