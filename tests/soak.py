"""Many agents that send everything twice, late and out of order, all at once; then the store against a plain model.

``python tests/soak.py URL [AGENTS [RESULTS]]`` runs it at full scale on any store: 100 agents, 50 results of 64 KiB.
"""

import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import backuplog
from backuplog.testing.common import walk

THREADS = 8
VERSIONS = 3
NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
LINE = b"new       /srv/data/vol%d/photo-%06d.jpg, saved in 0.%03ds (%d.2 KiB added)\n"


def log_of(generator: random.Random, size: int) -> bytes:
    """Make a log like that of restic -v."""
    lines = (
        LINE
        % (generator.randrange(97), generator.randrange(10**6), generator.randrange(1000), generator.randrange(911))
        for _ in range(size // len(LINE) + 1)
    )
    return b"".join(lines)[:size]


def results_of(generator: random.Random, size: int) -> tuple[backuplog.TaskResult, list[backuplog.TaskResult]]:
    """Make what an agent sends of one task: the result that must stand in the end, and all of them in any order."""
    task, policy = uuid4(), UUID(int=generator.randrange(5))
    begun = NOON + timedelta(minutes=generator.randrange(10_000))
    common: dict[str, Any] = {"task_id": task, "policy_id": policy, "task_type": "backup", "start_time": begun}
    sent = [
        backuplog.TaskResult(**common, status="running", duration_seconds=0, log=b"begun"),
        *(
            backuplog.TaskResult(
                **common,
                status=generator.choice(("success", "failed", "warning")),
                duration_seconds=version + 1,
                end_time=begun + timedelta(seconds=version + 1),
                snapshot_id=f"{version}",
                log=log_of(generator, generator.randrange(size * 2)),
            )
            for version in range(generator.randint(1, VERSIONS))
        ),
    ]
    deliveries = sent + generator.choices(sent, k=2)
    generator.shuffle(deliveries)
    return sent[-1], deliveries


def soak(store: backuplog.Store, agents: int, results: int, size: int = 65_536) -> None:
    """Send everything from many threads, one by one and in batches, and compare what stands."""
    generator = random.Random(agents * results)  # noqa: S311 - sample data
    expected: dict[UUID, tuple[UUID, backuplog.TaskResult]] = {}
    deliveries: list[tuple[UUID, backuplog.TaskResult]] = []
    for _ in range(agents):
        agent_id = backuplog.register_agent(store, uuid4()).id
        for _ in range(results):
            stands, sent = results_of(generator, size)
            expected[stands.task_id] = agent_id, stands
            deliveries += [(agent_id, result) for result in sent]
    generator.shuffle(deliveries)
    answers: list[object] = []

    def work(number: int) -> None:
        mine = deliveries[number::THREADS]
        for start in range(0, len(mine), 40):
            some = mine[start : start + 40]
            answers.extend(backuplog.ingest_task_results(store, some[:30]))
            answers.extend(backuplog.ingest_task_result(store, *one) for one in some[30:])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(deliveries)
    assert all(isinstance(answer, backuplog.Receipt) for answer in answers)
    compare(store, expected)


def compare(store: backuplog.Store, expected: dict[UUID, tuple[UUID, backuplog.TaskResult]]) -> None:
    """Hold every run and log against what must stand: of each task the final result that ended last."""
    runs = walk(store, backuplog.RunQuery(limit=1000))
    assert backuplog.query_runs(store).total == len(runs) == len(expected)
    assert runs == sorted(runs, key=lambda run: (run.start_time, run.id.bytes), reverse=True)
    for run in runs:
        agent_id, result = expected[run.id]
        assert (run.agent_id, run.policy_id, run.status) == (agent_id, result.policy_id, result.status)
        assert (run.start_time, run.end_time, run.snapshot_id) == (
            result.start_time,
            result.end_time,
            result.snapshot_id,
        )
        assert backuplog.read_log(store, run.id) == result.log
    for agent_id in {agent_id for agent_id, _ in expected.values()}:
        total = backuplog.query_runs(store, backuplog.RunQuery(agent_id=agent_id, limit=1)).total
        assert total == sum(owner == agent_id for owner, _ in expected.values())


def main() -> None:
    """Run it at full scale."""
    url, agents, results = sys.argv[1], *(int(number) for number in [*sys.argv[2:], "100", "50"][:2])
    begun = time.perf_counter()
    with backuplog.open_store(url) as store:
        soak(store, agents, results)
    sys.stdout.write(f"{agents} agents x {results} results: all as it must be, {time.perf_counter() - begun:.1f} s\n")


if __name__ == "__main__":
    main()
