"""Store a result and the orchestrator's own row together, or neither.

Run it with ``python examples/embedded_transaction.py``. The orchestrator keeps its jobs in the same SQLite file.
"""

import sqlite3
import tempfile
from pathlib import Path
from uuid import UUID, uuid4

import backuplog


def finish_job(store: backuplog.Store, connection: sqlite3.Connection, agent_id: UUID, job: int, log: str) -> None:
    """Mark a job as done and take its result in: both when the block ends well, none when it raises."""
    with connection:  # sqlite3 commits at the end, and rolls back on an error
        connection.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (job,))
        result = backuplog.TaskResult(
            task_id=uuid4(), policy_id=uuid4(), task_type="backup", status="success", duration_seconds=3.5, log=log
        )
        backuplog.ingest_task_result(store.bound_to(connection), agent_id, result)
        if not log:
            raise ValueError("a backup that printed nothing is not done")


def main() -> None:
    """Finish one job well and one badly."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "orchestrator.db"
        with backuplog.open_store(f"sqlite:///{path}") as store:
            agent_id = backuplog.register_agent(store, uuid4(), hostname="db-01").id
            connection = sqlite3.connect(path)
            connection.execute("CREATE TABLE jobs (id INTEGER PRIMARY KEY, state TEXT)")
            connection.execute("INSERT INTO jobs VALUES (1, 'running'), (2, 'running')")
            connection.commit()

            finish_job(store, connection, agent_id, 1, "snapshot 8837c0dd saved\n")
            try:
                finish_job(store, connection, agent_id, 2, "")
            except ValueError as error:
                print(f"job 2: {error}")

            for job, state in connection.execute("SELECT id, state FROM jobs"):
                print(f"job {job} is {state}")
            print(f"{backuplog.query_runs(store).total} run is stored")
            connection.close()


if __name__ == "__main__":
    main()
