"""What reading the figures in a log costs: results taken in with and without it, in turns.

python tests/benchmarks/parsing.py
python tests/benchmarks/parsing.py --seconds 20 --only "2 KiB,64 KiB"
"""

import argparse
import random
import statistics
import tempfile
import time
from uuid import uuid4

from material import AGENT, SIZES, body_of, log_of
from server import make_database, server

import backuplog

HEAD = {
    "restic": "repository a1b2c3d4 opened (version 2, compression level auto)\nusing parent snapshot 8837c0dd\n",
    "json": "",
}
TAIL = {
    "restic": """
Files:         123 new,    12 changed,  7988 unmodified
Dirs:            3 new,    45 changed,   312 unmodified
Added to the repository: 27.135 MiB (13.222 MiB stored)

processed 8123 files, 1.230 GiB in 0:12
snapshot 8837c0dd saved
""",
    "json": """
{"message_type":"summary","files_new":123,"files_changed":12,"files_unmodified":7988,"dirs_new":3,"dirs_changed":45,\
"dirs_unmodified":312,"data_blobs":130,"tree_blobs":46,"data_added":28453120,"data_added_packed":13864222,\
"total_files_processed":8123,"total_bytes_processed":1320702443,"total_duration":12.345678,"snapshot_id":"8837c0dd"}
""",
}
FEWEST = 7


def whole_log(size: int, kind: str) -> str:
    """Return a log of so many bytes that begins and ends as restic's do."""
    listed = size - len(HEAD[kind]) - len(TAIL[kind])
    lines = log_of(listed, kind)
    return HEAD[kind] + lines[: lines.rindex("\n")] + TAIL[kind]


def measure(urls: tuple[str, str], size: str, kind: str, seconds: float) -> None:
    """Print what one result takes, and how many times as long with figures as without."""
    log = whole_log(SIZES[size], kind)
    taken: dict[bool, list[float]] = {True: [], False: []}
    with (
        backuplog.open_store(urls[0], observers=()) as reading,
        backuplog.open_store(urls[1], observers=(), parsers=()) as plain,
    ):
        turns = [(True, reading), (False, plain)]
        for _, store in turns:
            backuplog.register_agent(store, AGENT)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline or len(taken[True]) < FEWEST:
            random.shuffle(turns)
            for reads, store in turns:
                task_id = uuid4()
                body = body_of(log, task_id=task_id)
                begun = time.perf_counter()
                backuplog.ingest_task_result(store, AGENT, body)
                taken[reads].append(time.perf_counter() - begun)
                stats = backuplog.get_run(store, task_id).stats
                assert (stats is not None and stats.files_new == 123) == reads
    medians = {reads: statistics.median(samples) for reads, samples in taken.items()}
    tenths = {reads: statistics.quantiles(samples, n=10)[0] for reads, samples in taken.items()}
    ratios = (figures[True] / figures[False] for figures in (medians, tenths))
    cells = [f"{medians[reads] * 1e3:9.3f} ms" for reads in (True, False)] + [f"{ratio:5.2f}" for ratio in ratios]
    print(f"{urls[0].partition(':')[0]:<10} {kind:<6} {size:>7}", *cells, f"{len(taken[True]):6}", sep="  ", flush=True)


def main() -> None:
    """Measure each length and kind of log on both databases."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="how long to measure each (default: %(default)s)")
    parser.add_argument("--only", default=",".join(SIZES), help="lengths of logs (default: %(default)s)")
    chosen = parser.parse_args()
    print("database    log        size          with       without  ratio    p10  results")
    with tempfile.TemporaryDirectory() as folder, server() as server_url:
        databases = [
            (f"sqlite:///{folder}/with.db", f"sqlite:///{folder}/without.db"),
            (make_database(server_url, "figures"), make_database(server_url, "no_figures")),
        ]
        for size in chosen.only.split(","):
            for kind in HEAD:
                for urls in databases:
                    measure(urls, size, kind, chosen.seconds)


if __name__ == "__main__":
    main()
