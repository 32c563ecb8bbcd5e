"""Logs that are read again to see that they are whole, and logs that no run refers to."""

from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID, uuid4

import attrs

import backuplog
from backuplog import LogState, RunQuery, Store
from backuplog.backend import Amendment, Chunk, StoredLog

from .common import begin, payload, reading
from .contract import Contract
from .copies import fill

LONG = "a line of the log\n" * 150_000


def forsake(store: Store, run_id: UUID) -> tuple[UUID, int]:
    """Let a run have no log any more, and leave the log where it is."""
    stored = store.backend.find_run(run_id)
    assert stored is not None
    run = attrs.evolve(stored.run, log_state=LogState.NONE, log_bytes=0, log_sha256=None)
    write = attrs.evolve(stored, run=run, log_version=stored.log_version + 1)
    assert store.backend.submit([Amendment(read=stored, write=write)]) == [True]
    return run_id, stored.log_version


class CheckContract(Contract):
    """Logs that are read again to see that they are whole, and logs that no run refers to."""

    def test_a_whole_store_is_found_whole(self) -> None:
        """A log in each state that there is: what can be read is, and what is lost or expired is no damage."""
        with self._known() as (store, agent_id):
            fill(store, agent_id)
            told: list[backuplog.CheckReport] = []
            report = backuplog.check_logs(store, on_progress=told.append)
            runs = backuplog.query_runs(store).runs
            logs = [run.log_bytes for run in runs if run.log_state in ("open", "complete", "truncated")]
            assert (report.runs, report.logs, report.log_bytes) == (12, len(logs), sum(logs))
            assert (report.damaged_logs, report.lost_logs, report.unsettled_logs) == (0, 1, 0)
            assert (report.orphaned_logs or 0, report.next_cursor, told[-1]) == (0, None, report)

    def test_damage_is_named(self) -> None:
        """A log without its middle, and one with another SHA-256, are named with what is wrong; others are read."""
        with self._known() as (store, agent_id):
            cut, other, sound = (
                backuplog.ingest_task_result(store, agent_id, payload(log=log)).run_id for log in (LONG, "other", LONG)
            )
            stored = store.backend.find_run(cut)
            second = store.backend.find_chunk(cut, 1, 1_500_000)
            assert stored is not None
            assert second is not None
            hole = Amendment(read=stored, write=stored, drop=second.offset, drop_until=second.offset + 1)
            stored = store.backend.find_run(other)
            assert stored is not None
            run = attrs.evolve(stored.run, log_sha256=bytes(32))
            changed = Amendment(read=stored, write=attrs.evolve(stored, run=run))
            assert store.backend.submit([hole, changed]) == [True, True]
            report = backuplog.check_logs(store)
            assert (report.runs, report.logs, report.damaged_logs) == (3, 1, 2)
            assert set(report.damaged) == {cut, other}
            assert "has no chunk for its byte" in report.damaged[cut]
            assert "SHA-256" in report.damaged[other]
            assert backuplog.read_log(store, sound) == LONG.encode()

    def test_logs_that_no_run_refers_to_are_found(self) -> None:
        """They are counted and named, those of this tenant only; a backend that cannot tell says nothing of them."""
        with self._known() as (store, agent_id):
            run_ids = [
                backuplog.ingest_task_result(store, agent_id, payload(log=log)).run_id for log in ("one", LONG, "three")
            ]
            elsewhere = store.for_tenant(uuid4())
            backuplog.register_agent(elsewhere, agent_id)
            other = backuplog.ingest_task_result(elsewhere, agent_id, payload(log="other"))
            forsake(elsewhere, other.run_id)
            orphaned = sorted(forsake(store, run_id) for run_id in run_ids[:2])
            report = backuplog.check_logs(store)
            assert (report.runs, report.logs, report.damaged_logs) == (3, 1, 0)
            if report.orphaned_logs is None:
                assert not hasattr(store.backend, "list_logs")
                return
            assert (report.orphaned_logs, [*report.orphaned]) == (2, orphaned)
            assert backuplog.check_logs(store, RunQuery(agent_id=agent_id)).orphaned_logs is None

    def test_stored_logs_are_listed_a_page_at_a_time(self) -> None:
        """Each is listed once, in the order of its key, however few are asked for and however many chunks it has."""
        with self._known() as (store, agent_id):
            backend: Any = store.backend
            if not hasattr(backend, "list_logs"):
                return
            list_logs: Callable[..., Sequence[StoredLog]] = backend.list_logs
            sent = [payload(log=log) for log in ("one", LONG, "", None, "three", "four")]
            for one in sent:
                backuplog.ingest_task_result(store, agent_id, one)
            backuplog.ingest_task_result(store, agent_id, {**sent[0], "log": "two", "status": "failed"})
            expected = sorted((UUID(one["taskId"]), 2 if one is sent[0] else 1, True) for one in sent if one.get("log"))
            for limit in (1, 3, 4, 1_000):
                found = list[StoredLog]()
                while page := list_logs(after=found[-1][:2] if found else None, limit=limit):
                    assert len(page) <= limit
                    found += page
                assert found == expected

    def test_what_happens_meanwhile_is_no_damage(self) -> None:
        """Logs that are replaced, removed or appended to while they are read are neither damaged nor orphans."""
        with self._known() as (store, agent_id):
            replaced, removed = payload(log=LONG), payload(log=LONG, status="failed")
            for one in (replaced, removed):
                backuplog.ingest_task_result(store, agent_id, one)
            growing = begin(store, agent_id)
            line = b"a line of the log\n" * 100
            backuplog.append_log(store, agent_id, growing, line, offset=0)
            seen = list[int]()

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                seen.append(offset)
                if len(seen) == 2:
                    backuplog.ingest_task_result(store, agent_id, {**replaced, "log": "new", "status": "failed"})
                    backuplog.expire_log(store, removed["taskId"])
                if len(seen) <= 20:
                    length = backuplog.get_run(store, growing).log_bytes
                    backuplog.append_log(store, agent_id, growing, line, offset=length)
                return store.backend.find_chunk(run_id, log_version, offset)

            report = backuplog.check_logs(reading(store, find_chunk))
            assert (report.runs, report.damaged_logs, report.unsettled_logs) == (3, 0, 0)
            assert not report.orphaned_logs

    def test_an_orphan_that_vanishes_is_none(self) -> None:
        """What is listed as an orphan and is gone, referred to or left of an expired log when looked for is none."""
        with self._known() as (store, agent_id):
            sent = payload(log="log")
            run_id, expired = (
                backuplog.ingest_task_result(store, agent_id, one).run_id for one in (sent, payload(log="expired"))
            )
            backuplog.expire_log(store, expired)
            stale = [(run_id, 1), (run_id, 2), (expired, 1), (uuid4(), 1)]
            chunk = store.backend.find_chunk(run_id, 1, 0)

            def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
                if log_version == 2:
                    later = {**sent, "log": "another", "status": "failed"}
                    backuplog.ingest_task_result(store, agent_id, later)
                return chunk if run_id == expired else store.backend.find_chunk(run_id, log_version, offset)

            def list_logs(**_: object) -> list[StoredLog]:
                return [StoredLog(*place, is_referred_to=False) for place in stale]

            view = reading(store, find_chunk)
            vars(view.backend)["list_logs"] = list_logs
            assert backuplog.check_logs(view).orphaned_logs == 0
