"""The tests of ``StoreContract``, and those for a store that outlives its process."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest

import backuplog
from backuplog import (
    Outcome,
    Receipt,
    RetentionPolicy,
    RunQuery,
    Store,
)

from .changes import chunk_offsets
from .common import NOON, at_once, payload, walk
from .store import StoreContract

_INGEST_FOREVER = """
import os, sys, threading, uuid
import backuplog
with backuplog.open_store(sys.argv[1]) as store:
    agent_id = backuplog.register_agent(store, uuid.UUID(int=1)).id
    def acknowledge(*tasks):
        os.write(1, "".join(f"{task}\\n" for task in tasks).encode())
    def result(task):
        return {
            "taskId": task, "policyId": task, "taskType": "backup", "status": "success", "durationSeconds": 1,
            "log": task * (60_000 if task[0] in "01234567" else 10),
        }
    def ingest(size):
        while True:
            one, *batch = [str(uuid.uuid4()) for _ in range(1 + size)]
            backuplog.ingest_task_result(store, agent_id, result(one))
            acknowledge(one)
            backuplog.ingest_task_results(store, [(agent_id, result(task)) for task in batch])
            acknowledge(*batch)
    for _ in range(int(sys.argv[2]) - 1):
        threading.Thread(target=ingest, args=(0,), daemon=True).start()
    ingest(4)
"""

_INGEST_ONE = """
import sys, uuid
import backuplog
print("ready", flush=True)
sys.stdin.readline()
with backuplog.open_store(sys.argv[1]) as store:
    agent_id = backuplog.register_agent(store, uuid.UUID(int=1)).id
    one = str(uuid.UUID(int=2))
    print(backuplog.ingest_task_result(store, agent_id, {
        "taskId": one, "policyId": one, "taskType": "backup", "status": "success", "durationSeconds": 1,
        "startTime": "2026-11-24T02:00:00Z", "log": "the same",
    }).outcome)
"""


_PRUNE = """
import sys
from datetime import UTC, datetime, timedelta
import backuplog
def told(report):
    print(report.batches, flush=True)
    sys.stdin.readline()
policy = backuplog.RetentionPolicy(runs=timedelta(days=20), logs=timedelta(days=1))
backuplog.sweep._FIRST_BATCH = backuplog.sweep._LARGEST_BATCH = 10
with backuplog.open_store(sys.argv[1]) as store:
    backuplog.prune(store, policy, now=datetime(2026, 11, 24, 12, tzinfo=UTC), pause=lambda _: None, on_progress=told)
"""


class DurableStoreContract(StoreContract):
    """The tests of ``StoreContract``, and those for a store that outlives its process."""

    kills: ClassVar[int] = 5
    """How many times the crash test kills a process."""

    def fresh_url(self) -> AbstractContextManager[str]:
        """Return a context manager with the URL of an empty store.

        Every durable backend supplies this, instead of ``fresh_store``.
        """
        raise NotImplementedError("DurableStoreContract needs fresh_url()")

    @contextmanager
    def fresh_store(self) -> Generator[Store]:
        """Open a store at a fresh URL."""
        with self.fresh_url() as url, backuplog.open_store(url) as store:
            yield store

    def test_what_is_acknowledged_survives_reopening(self) -> None:
        """Another open of the same URL finds every run and its log, also without migrating."""
        with self.fresh_url() as url:
            sent = payload(log="kept")
            with backuplog.open_store(url) as store:
                agent_id = backuplog.register_agent(store, uuid4()).id
                backuplog.ingest_task_result(store, agent_id, sent)
            with backuplog.open_store(url, migrate=False) as store:
                assert backuplog.read_log(store, sent["taskId"]) == b"kept"
                assert backuplog.ingest_task_result(store, agent_id, sent).outcome is Outcome.REPLAYED

    def test_without_migration_a_fresh_place_is_refused(self) -> None:
        """``migrate=False`` refuses a place that has no schema, and changes nothing there."""
        with self.fresh_url() as url:
            with pytest.raises(backuplog.SchemaOutdated):
                backuplog.open_store(url, migrate=False)
            backuplog.open_store(url).close()
            backuplog.open_store(url, migrate=False).close()

    def test_two_stores_on_one_place_see_each_other(self) -> None:
        """What one open store has acknowledged, another one reads."""
        with self.fresh_url() as url, backuplog.open_store(url) as one, backuplog.open_store(url) as other:
            agent_id = backuplog.register_agent(one, uuid4()).id
            sent = payload(log="seen")
            backuplog.ingest_task_result(one, agent_id, sent)
            assert backuplog.read_log(other, sent["taskId"]) == b"seen"
            assert backuplog.ingest_task_result(other, agent_id, sent).outcome is Outcome.REPLAYED

    def test_two_stores_that_replace_one_result_wait_for_each_other(self) -> None:
        """Results of one task that come through two stores at once all count, as they do through one."""
        with self.fresh_url() as url, backuplog.open_store(url) as one, backuplog.open_store(url) as other:
            agent_id = backuplog.register_agent(one, uuid4()).id
            for _ in range(5):
                sent = payload()
                works = [
                    partial(backuplog.ingest_task_result, store, agent_id, {**sent, "log": f"{store is one} {number}"})
                    for number in range(4)
                    for store in (one, other)
                ]
                receipts = at_once(*works)
                outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
                assert outcomes == ["created", *["updated"] * 7]
                stored = other.backend.find_run(UUID(sent["taskId"]))
                assert stored is not None
                assert (len({stored.digest, *stored.superseded}), stored.log_version) == (8, 8)

    def test_processes_that_start_at_once_agree(self) -> None:
        """Six processes migrate one fresh place at once and submit the same result: one created, five replayed."""
        with self.fresh_url() as url:
            command = [sys.executable, "-c", _INGEST_ONE, url]
            pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
            children = [subprocess.Popen(command, text=True, **pipes) for _ in range(6)]  # noqa: S603
            for child in children:
                assert child.stdout is not None
                assert child.stdout.readline() == "ready\n"
            for child in children:
                assert child.stdin is not None
                child.stdin.write("go\n")
                child.stdin.flush()
            results = [child.communicate() for child in children]
            assert [errors for _, errors in results] == [""] * 6
            assert sorted(output.strip() for output, _ in results) == ["created", *["replayed"] * 5]

    @pytest.mark.parametrize("threads", [1, 12])
    def test_a_killed_process_loses_nothing_it_acknowledged(self, threads: int) -> None:
        """After kill -9 in the middle of ingesting, all acknowledged results are whole and nothing is half-written."""
        with self.fresh_url() as url:
            acknowledged: list[str] = []
            kills = self.kills if threads == 1 else min(self.kills, 3)
            for kill in range(kills):
                child = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-c", _INGEST_FOREVER, url, str(threads)], stdout=subprocess.PIPE, text=True
                )
                assert child.stdout is not None
                # A different number of results each time, then at whatever the next one is doing.
                acknowledged += [child.stdout.readline().strip() for _ in range(1 + kill * 7 % 23)]
                child.kill()
                acknowledged += [line for line in child.stdout.read().splitlines(keepends=False) if len(line) == 36]
                child.stdout.close()
                child.wait()
                with backuplog.open_store(url) as store:
                    for task in acknowledged:
                        assert backuplog.get_run(store, task).log_state == "complete"
                    for run in walk(store, RunQuery(limit=1000)):
                        letters = 60_000 if str(run.id)[0] in "01234567" else 10
                        assert backuplog.read_log(store, run.id) == str(run.id).encode() * letters
            assert len(acknowledged) >= kills

    def test_a_killed_prune_leaves_nothing_half_removed(self) -> None:
        """After kill -9 in the middle of pruning, each run has its whole log or none, and the next prune goes on."""
        with self.fresh_url() as url, backuplog.open_store(url) as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            for days in range(1, 31):
                start = NOON - timedelta(days=days)
                results = [payload(status="failed", log="a line\n", startTime=start.isoformat()) for _ in range(8)]
                backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=start)
            for kill in range(min(self.kills, 3)):
                with subprocess.Popen(  # noqa: S603
                    [sys.executable, "-c", _PRUNE, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                ) as child:
                    assert child.stdin is not None
                    assert child.stdout is not None
                    for number in range(2 + kill):
                        assert child.stdout.readline() == f"{number + 1}\n"
                        print("go on", file=child.stdin, flush=True)
                    child.kill()  # at whatever the next transaction is doing
                for run in walk(store, RunQuery(limit=1000)):
                    assert (run.log_state, chunk_offsets(store, run.id)) in (("complete", [0]), ("expired", []))
            policy = RetentionPolicy(runs=timedelta(days=20), logs=timedelta(days=1))
            assert backuplog.prune(store, policy, now=NOON, pause=lambda _: None).is_finished
            left = walk(store, RunQuery(limit=1000))
            assert (len(left), sum(run.log_state == "complete" for run in left)) == (160, 8)
