"""What the tests of the kit share: payloads, threads that start together, stores that fail."""

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import attrs
from hypothesis import HealthCheck, settings

import backuplog
from backuplog import RunQuery, Store, StoreError
from backuplog.backend import Answer, Backend, Chunk, Submission, prepare_submission
from backuplog.redact import Unredacted

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# A test of the kit may be inherited, slow on a slow store, and filter much: none of it is a fault.
UNCHECKED = (HealthCheck.too_slow, HealthCheck.differing_executors, HealthCheck.data_too_large)
FEW = settings(max_examples=25, deadline=None, suppress_health_check=[*UNCHECKED])

HOSTILE = (
    "'; DROP TABLE backup_runs; --",
    "' OR ''='",
    "$$; SELECT pg_sleep(9); $$",
    "%s %b %(name)s %% %",
    "\\'; \\x41 \\N \\.",
    "{schema} {0} {}",
    "\ufeff\u202e\u0000",
    "\U0010ffff\ue000\u2028",
    "\r\n\t\x1b[31m\x7f",
    "é" * 300,
    "\ud800",
    "NULL",
    "",
    " ",
)


def payload(**fields: object) -> dict[str, Any]:
    """Return a valid payload of a new task.

    Args:
        fields: The fields to replace, by their names in a payload; None removes a field.
    """
    valid: dict[str, object] = {
        "taskId": str(uuid4()),
        "policyId": str(uuid4()),
        "taskType": "backup",
        "status": "success",
        "durationSeconds": 12.5,
    }
    return {name: value for name, value in {**valid, **fields}.items() if value is not None}


class Failing:
    """A backend that refuses every change that brings a log, as one with a full disk for logs would."""

    def __init__(self, backend: Backend) -> None:
        """Take the backend that works."""
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        """Be that backend in all else."""
        return getattr(self._backend, name)

    def submit(self, changes: Sequence[Submission]) -> list[Answer]:
        """Refuse what has a log, or more of one."""
        if any(
            getattr(change, "log", None) or getattr(getattr(change, "closing", None), "parts", ()) for change in changes
        ):
            raise StoreError("no room for logs")
        return self._backend.submit(changes)


def without_room_for_logs(store: Store) -> Store:
    """Return a view of a store that can store no logs just now."""
    failing: Any = Failing(store.backend)
    return attrs.evolve(store, backend=failing)


class Reading:
    """A backend that looks for chunks in another way."""

    def __init__(self, backend: Backend, find_chunk: Callable[[UUID, int, int], Chunk | None]) -> None:
        """Take the backend that works, and how to look for a chunk."""
        self._backend = backend
        self.find_chunk = find_chunk

    def __getattr__(self, name: str) -> Any:
        """Be that backend in all else."""
        return getattr(self._backend, name)


def reading(store: Store, find_chunk: Callable[[UUID, int, int], Chunk | None]) -> Store:
    """Return a view of a store that looks for chunks in another way."""
    backend: Any = Reading(store.backend, find_chunk)
    return attrs.evolve(store, backend=backend)


def counting(store: Store) -> tuple[Store, list[UUID]]:
    """Return a view of a store, and a list that grows by a run's id whenever a chunk of its log is looked for."""
    found: list[UUID] = []

    def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        found.append(run_id)
        return store.backend.find_chunk(run_id, log_version, offset)

    return reading(store, find_chunk), found


def unmasked(store: Store) -> Store:
    """Return a view of a store that masks nothing: Hypothesis makes logs of the words that tests and code hold."""
    return attrs.evolve(store, redactor=Unredacted())


def at_once(*works: Callable[[], object]) -> list[object]:
    """Run functions in threads that start together, and give what they returned or raised."""
    barrier = threading.Barrier(len(works))
    results: list[object] = [None] * len(works)

    def run(index: int, work: Callable[[], object]) -> None:
        barrier.wait()
        try:
            results[index] = work()
        except Exception as error:  # noqa: BLE001 - given back to the test, which decides
            results[index] = error

    threads = [threading.Thread(target=run, args=numbered) for numbered in enumerate(works)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # Threads take turns so often that what they must not do between two lines shows.
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    return results


def walk(store: Store, query: RunQuery) -> list[backuplog.BackupRun]:
    """List all pages of a query."""
    page = backuplog.query_runs(store, query)
    runs = list(page.runs)
    while page.next_cursor:
        page = backuplog.query_runs(store, attrs.evolve(query, cursor=page.next_cursor))
        runs += page.runs
    return runs


def submission_of(store: Store, agent_id: UUID, result: backuplog.TaskResult, received_at: datetime) -> Submission:
    """Make a result ready for a store."""
    return prepare_submission(
        result, tenant_id=store.tenant_id, agent_id=agent_id, received_at=received_at, requires_agent=agent_id
    )


def broken_log(submission: Submission) -> Any:
    """Make a log whose second chunk cannot be read."""

    class BrokenLog:
        def chunks(self, run_id: UUID, log_version: int) -> Iterator[Chunk]:
            assert submission.log is not None
            yield from submission.log.chunks(run_id, log_version)
            raise ZeroDivisionError

    return BrokenLog()


def begin(store: Store, agent_id: UUID) -> UUID:
    """Report a task that runs."""
    sent = payload(status="running", startTime=NOON.isoformat())
    return backuplog.ingest_task_result(store, agent_id, sent).run_id


def result_of(store: Store, run_id: UUID) -> dict[str, Any]:
    """Make a result of a task that has been reported."""
    return payload(taskId=str(run_id), policyId=str(backuplog.get_run(store, run_id).policy_id))


def end(store: Store, agent_id: UUID, run_id: UUID, **fields: object) -> str:
    """Report that a task has ended, and say what became of that."""
    return backuplog.ingest_task_result(store, agent_id, {**result_of(store, run_id), **fields}).outcome.value


def follow_steps(store: Store, run_id: UUID) -> Sequence[bytes]:
    """Follow what there is of a log, without waiting for more."""
    steps = [backuplog.read_log_since(store, run_id)]
    while not steps[-1].retry_after and not steps[-1].is_final:
        steps.append(backuplog.read_log_since(store, run_id, steps[-1].offset))
    return [step.data for step in steps]
