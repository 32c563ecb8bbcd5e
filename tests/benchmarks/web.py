"""Measure how many results a second the FastAPI example takes in, on SQLite and on PostgreSQL.

Run it with ``python tests/benchmarks/web.py``. Server, clients and database share one machine. Each client keeps its
connection; "direct" is ``ingest_task_result`` in as many threads of one process, with the same bodies and store.
"""

import http.client
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from material import SIZES, body_of, log_of
from server import server
from timing import row

import backuplog
from web_site import Site, running

RESULTS = {"2 KiB": 1_200, "64 KiB": 600}


def post(site: Site, bodies: list[bytes]) -> None:
    """Post results through one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", site.port)
    headers = {"Authorization": f"Bearer {site.token}", "Content-Type": "application/json"}
    for body in bodies:
        connection.request("POST", f"{site.agent}/task-results", body, headers)
        answer = connection.getresponse()
        if (answer.status, answer.read()) != (200, b'{"status": "ok"}'):
            raise SystemExit(f"answered {answer.status}")
    connection.close()


def ingest(site: Site, bodies: list[bytes]) -> None:
    """Take the same results in without HTTP."""
    for body in bodies:
        backuplog.ingest_task_result(site.store, site.agent_id, body)


def rate(work: Callable[[list[bytes]], None], label: str, clients: int) -> float:
    """Give how many results a second so many threads are done with."""
    log = log_of(SIZES[label])
    shares = [[body_of(log) for _ in range(RESULTS[label] // clients)] for _ in range(clients)]
    threads = [threading.Thread(target=work, args=(share,)) for share in shares]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(map(len, shares)) / (time.perf_counter() - begun)


def measure(name: str, url: str, folder: Path) -> None:
    """Print the rows of one database."""
    with running("fastapi", url, folder) as site:
        for label in RESULTS:
            for clients in (1, 8):
                rates = [
                    (rate(partial(post, site), label, clients), rate(partial(ingest, site), label, clients))
                    for _ in range(3)
                ]
                over_http, direct = (statistics.median(column) for column in zip(*rates, strict=True))
                row(f"{name}, {label}, {clients} clients", f"{over_http:,.0f}", f"{direct:,.0f}")


def main() -> None:
    """Print the table."""
    row("work", "requests a second", "direct, results a second")
    row("---", "---", "---")
    with tempfile.TemporaryDirectory(prefix="backuplog-benchmark-") as name, server() as url:
        measure("SQLite", f"sqlite:///{Path(name) / 'backups.db'}", Path(name))
        measure("PostgreSQL", url, Path(name))


if __name__ == "__main__":
    main()
