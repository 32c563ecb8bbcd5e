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
            f"  {'started UTC':<17} {'agent':<8} {'task':<7} {'status':<10} {'seconds':>8} {'log bytes':>10}  snapshot"
        )
        for run in page.runs:
            print(
                f"{MARKS.get(run.status, ' ')} {run.start_time:%Y-%m-%d %H:%M}  {hostnames[str(run.agent_id)]:<8} "
                f"{run.task_type:<7} {run.status:<10} {run.duration_seconds:>8.2f} {run.log_bytes:>10,}  "
                f"{run.snapshot_id or ''}"
            )
        print(f"  {page.total} runs\n")

        failures = backuplog.RunQuery(agent_id=index["agents"]["web-01"], status="failed", limit=1)
        failed = backuplog.query_runs(store, failures).runs[0]
        print(f"Why {failed.task_type} failed on {hostnames[str(failed.agent_id)]} ({failed.error_message}):")
        tail = backuplog.read_log(store, failed.id, start=-1024).decode(errors="replace")
        print("\n".join(f"  | {line}" for line in tail.splitlines()[-7:]))


if __name__ == "__main__":
    main(*sys.argv[1:])
