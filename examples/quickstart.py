"""Keep the results of real restic and borg runs in a SQLite file, then look at them as an operator would.

Run it with ``python examples/quickstart.py [backups.db]``. Run it again: every result is recognised, nothing changes.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import backuplog

RESULTS = Path(__file__).parent.parent / "tests" / "data" / "results"
MARKS = {"success": "+", "warning": "!", "failed": "x", "cancelled": "-"}


def known(figure: int | None) -> str:
    """Show a figure that the log told; one that nobody knows is no 0."""
    return "-" if figure is None else f"{figure:,}"


def main(path: str = "backups.db") -> None:
    """Ingest, list, and show why one run failed."""
    index = json.loads((RESULTS / "results.json").read_text())
    hostnames = {agent_id: hostname for hostname, agent_id in index["agents"].items()}

    with backuplog.open_store(f"sqlite:///{path}") as store:
        for agent_id, hostname in hostnames.items():
            backuplog.register_agent(store, agent_id, hostname=hostname)

        outcomes: Counter[str] = Counter()
        for result in index["results"]:
            payload = {**result, "log": (RESULTS / result["log"]).read_bytes()}
            receipt = backuplog.ingest_task_result(store, index["agents"][result["agent"]], payload)
            outcomes[receipt.outcome] += 1
        print(f"{path}: " + ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()) + "\n")

        page = backuplog.query_runs(store)
        print(
            f"  {'started UTC':<17} {'agent':<7} {'task':<7} {'status':<9} {'seconds':>7} {'files':>6} "
            f"{'bytes added':>12} {'log bytes':>9}  snapshot"
        )
        for run in page.runs:
            stats = run.stats or backuplog.RunStats()
            print(
                f"{MARKS.get(run.status, ' ')} {run.start_time:%Y-%m-%d %H:%M}  {hostnames[str(run.agent_id)]:<7} "
                f"{run.task_type:<7} {run.status:<9} {run.duration_seconds:>7.2f} "
                f"{known(stats.total_files_processed):>6} {known(stats.data_added):>12} "
                f"{run.log_bytes:>9,}  {run.snapshot_id or ''}"
            )
        print(f"  {page.total} runs\n")

        failures = backuplog.RunQuery(agent_id=index["agents"]["web-01"], status="failed", limit=1)
        failed = backuplog.query_runs(store, failures).runs[0]
        print(f"Why {failed.task_type} failed on {hostnames[str(failed.agent_id)]} ({failed.error_message}):")
        tail = backuplog.read_log(store, failed.id, start=-1024).decode(errors="replace")
        print("\n".join(f"  | {line}" for line in tail.splitlines()[-7:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
