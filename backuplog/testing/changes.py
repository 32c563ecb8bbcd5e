"""Changes of every kind: a backend makes those that it has never heard of."""

from contextlib import suppress
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import CorruptLog, LogExpired, LogReplaced, LogState, RunStats, Store
from backuplog.backend import Change, Decision, StoredRun, compress, place
from backuplog.parsers import TOOLS

from .common import NOON, at_once, payload, submission_of
from .contract import Contract


@attrs.frozen
class _Toy:
    """A change of a run that is there."""

    run_id: UUID
    requires_agent: UUID | None = attrs.field(default=None, kw_only=True)

    def decide(self, stored: StoredRun | None) -> Decision[int]:
        """Answer with the length of the log, or -1 where there is no such run."""
        return Decision(answer=-1) if stored is None else self.change(stored)

    def change(self, stored: StoredRun) -> Decision[int]:
        """Change what is stored."""
        raise NotImplementedError


@attrs.frozen
class Append(_Toy):
    """Add to the log of a task that still runs."""

    data: bytes

    def change(self, stored: StoredRun) -> Decision[int]:
        """Store a chunk behind those that are there, unless they have expired."""
        if stored.run.log_state is LogState.EXPIRED:
            return Decision(answer=-1)
        offset = stored.run.log_bytes
        length = offset + len(self.data)
        run = attrs.evolve(stored.run, log_state=LogState.OPEN, log_bytes=length, log_sha256=None)
        chunks = place([compress(self.data)], self.run_id, stored.log_version, offset)
        return Decision(answer=run.log_bytes, write=attrs.evolve(stored, run=run), chunks=chunks)


@attrs.frozen
class Merge(_Toy):
    """Make one chunk of those from an offset on."""

    offset: int
    data: bytes

    def change(self, stored: StoredRun) -> Decision[int]:
        """Drop the small chunks and store their bytes again, of the same version."""
        chunks = place([compress(self.data)], self.run_id, stored.log_version, self.offset)
        return Decision(answer=stored.run.log_bytes, write=stored, chunks=chunks, drop=self.offset)


@attrs.frozen
class Close(_Toy):
    """End the log of a task."""

    def change(self, stored: StoredRun) -> Decision[int]:
        """Write the run alone."""
        run = attrs.evolve(stored.run, log_state=LogState.COMPLETE, status="success", end_time=NOON)
        return Decision(answer=run.log_bytes, write=attrs.evolve(stored, run=run))


@attrs.frozen
class Record(_Toy):
    """Keep figures that were read later."""

    stats: RunStats

    def change(self, stored: StoredRun) -> Decision[int]:
        """Write the run alone."""
        run = attrs.evolve(stored.run, stats=self.stats)
        return Decision(answer=run.log_bytes, write=attrs.evolve(stored, run=run))


@attrs.frozen
class Expire(_Toy):
    """Take the log away and keep the run."""

    def change(self, stored: StoredRun) -> Decision[int]:
        """Drop the whole log."""
        run = attrs.evolve(stored.run, log_state=LogState.EXPIRED)
        write = attrs.evolve(stored, run=run, log_version=stored.log_version + 1)
        return Decision(answer=run.log_bytes, write=write, drop=0)


@attrs.frozen
class Remove(_Toy):
    """Take the run and its log away."""

    def change(self, stored: StoredRun) -> Decision[int]:
        """Write nothing."""
        return Decision(answer=stored.run.log_bytes, remove=True)


@attrs.frozen
class Renumber(_Toy):
    """Give the log a number that it has no chunks under."""

    def change(self, stored: StoredRun) -> Decision[int]:
        """Write the run alone."""
        return Decision(answer=0, write=attrs.evolve(stored, log_version=stored.log_version + 1))


@attrs.frozen
class Refuse(_Toy):
    """Write nothing, and say what would have been written."""

    def change(self, stored: StoredRun) -> Decision[int]:
        """Answer alone."""
        chunks = place([compress(b"never")], self.run_id, stored.log_version, stored.run.log_bytes)
        return Decision(answer=7, chunks=chunks, drop=0)


class ChangeContract(Contract):
    """Changes of every kind: a backend makes those that it has never heard of."""

    def test_a_log_grows_is_merged_and_closed(self) -> None:
        """Appends, one chunk made of several, and an end are changes; the bytes are the same before and after."""
        with self._known() as (store, agent_id):
            sent = payload(status="running")
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            words = [b"one ", b"two ", b"three ", b"four "]
            lengths = [store.backend.submit([Append(run_id, word)])[0] for word in words]
            assert lengths == [4, 8, 14, 19]
            assert (backuplog.get_run(store, run_id).log_state, chunk_offsets(store, run_id)) == ("open", [0, 4, 8, 14])
            assert backuplog.read_log(store, run_id) == b"one two three four "
            assert store.backend.submit([Merge(run_id, 4, b"two three four ")]) == [19]
            assert chunk_offsets(store, run_id) == [0, 4]
            assert backuplog.read_log(store, run_id, start=2, stop=16) == b"e two three fo"
            assert store.backend.submit([Append(run_id, b"five"), Close(run_id)]) == [23, 23]
            run = backuplog.get_run(store, run_id)
            assert (run.log_state, run.status, run.end_time) == ("complete", "success", NOON)
            assert backuplog.read_log(store, run_id) == b"one two three four five"

    def test_a_result_without_a_log_closes_what_was_appended(self) -> None:
        """What was appended stays when the task's result comes without a log, and goes when it brings one."""
        with self._known() as (store, agent_id):
            for log, expected in ((None, b"so far"), ("all", b"all")):
                sent = payload(status="running")
                run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
                store.backend.submit([Append(run_id, b"so "), Append(run_id, b"far")])
                backuplog.ingest_task_result(store, agent_id, {**sent, "status": "success", "log": log})
                run = backuplog.get_run(store, run_id)
                assert (run.log_state, run.log_bytes) == ("complete", len(expected))
                assert backuplog.read_log(store, run_id) == expected

    def test_figures_are_recorded_later(self) -> None:
        """Figures that are read after the result has come stand with the run, and nothing else has changed."""
        with self._known() as (store, agent_id):
            sent = payload(log="log")
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            before = backuplog.get_run(store, run_id)
            stats = RunStats(files_new=0, data_added=2**63 - 1, tool="restic", failed_items=["a", "é"], duration=0.1)
            assert store.backend.submit([Record(run_id, stats)]) == [3]
            assert backuplog.get_run(store, run_id) == attrs.evolve(before, stats=stats)
            assert list(backuplog.query_runs(store).runs) == [attrs.evolve(before, stats=stats)]
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            assert backuplog.read_log(store, run_id) == b"log"

    def test_an_expired_log_is_gone_and_its_run_stays(self) -> None:
        """A log that has expired takes no room, says so when it is read, and is not brought back by a replay."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"x" * 2_500_000)
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            before = backuplog.get_run(store, run_id)
            pieces = backuplog.iter_log(store, run_id)
            next(pieces)
            assert store.backend.submit([Expire(run_id)]) == [2_500_000]
            assert backuplog.get_run(store, run_id) == attrs.evolve(before, log_state=LogState.EXPIRED)
            assert chunk_offsets(store, run_id) == []
            for read in (backuplog.read_log, backuplog.tail_log, backuplog.iter_log):
                with pytest.raises(LogExpired):
                    read(store, run_id)
            with suppress(LogReplaced):  # A reader that had begun may read on what it sees, and nothing else.
                assert b"".join(pieces) == b"x" * (2_500_000 - 1_048_576)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            assert backuplog.ingest_task_result(store, agent_id, {**sent, "log": "new"}).outcome == "updated"
            assert backuplog.read_log(store, run_id) == b"new"

    def test_a_run_is_removed_with_its_log(self) -> None:
        """A removed run is nowhere any more, nor is its log; others stay, and the same result creates it anew."""
        with self._known() as (store, agent_id):
            sent = [payload(log=b"x" * 1_500_000), payload(log="short"), payload(log="stays")]
            ids = [backuplog.ingest_task_result(store, agent_id, result).run_id for result in sent]
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            backuplog.ingest_task_result(other, agent_id, sent[0])
            assert store.backend.submit([Remove(ids[0]), Remove(ids[1]), Remove(ids[0]), Remove(uuid4())]) == [
                1_500_000,
                5,
                -1,
                -1,
            ]
            for run_id in ids[:2]:
                with pytest.raises(backuplog.RunNotFound):
                    backuplog.get_run(store, run_id)
                assert chunk_offsets(store, run_id) == []
            assert [run.id for run in backuplog.query_runs(store).runs] == [ids[2]]
            assert backuplog.read_log(store, ids[2]) == b"stays"
            assert len(backuplog.read_log(other, ids[0])) == 1_500_000
            assert backuplog.ingest_task_result(store, agent_id, sent[0]).outcome == "created"
            assert len(backuplog.read_log(store, ids[0])) == 1_500_000

    def test_a_run_is_removed_and_created_in_one_call(self) -> None:
        """Changes see those before them: a run that is removed comes anew, and one that comes is removed."""
        with self._known() as (store, agent_id):
            result = backuplog.TaskResult(
                task_id=uuid4(), policy_id=uuid4(), task_type="backup", status="success", duration_seconds=1, log="log"
            )
            arriving = submission_of(store, agent_id, result, NOON)
            remove: Any = Remove(result.task_id)
            backend: Any = store.backend
            assert backend.submit([arriving, remove])[1] == 3
            assert backuplog.query_runs(store).total == 0
            assert backend.submit([arriving])[0].outcome == "created"
            answers = backend.submit([remove, arriving, arriving, remove, arriving])
            outcomes = [getattr(answer, "outcome", answer) for answer in answers]
            assert outcomes == [3, "created", "replayed", 3, "created"]
            assert backuplog.read_log(store, result.task_id) == b"log"

    def test_changes_that_skip_what_is_locked_create_nothing(self) -> None:
        """With ``skip_locked``, runs that are there are changed as ever, and no run is created."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(log="log")).run_id
            assert store.backend.submit([Expire(run_id), Expire(uuid4())], skip_locked=True) == [3, -1]
            assert store.backend.submit([Remove(run_id)], skip_locked=True) == [3]
            assert store.backend.submit([Remove(run_id)], skip_locked=True) == [-1]

    def test_a_log_is_removed_and_its_run_kept(self) -> None:
        """``expire_log`` removes a log, whole or growing, once; the run says what it was, and a replay is a replay."""
        with self._known() as (store, agent_id):
            ended, running = payload(log=b"x" * 1_500_000), payload(status="running")
            for sent in (ended, running):
                run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
                if sent is running:
                    backuplog.append_log(store, agent_id, run_id, b"so far https://a:b", offset=0)
                before = backuplog.get_run(store, run_id)
                expired = backuplog.expire_log(store, str(run_id))
                assert expired == attrs.evolve(before, log_state=LogState.EXPIRED)
                assert backuplog.get_run(store, run_id) == backuplog.expire_log(store, run_id) == expired
                assert chunk_offsets(store, run_id) == []
                with pytest.raises(LogExpired):
                    backuplog.read_log(store, run_id)
                assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
            without = backuplog.ingest_task_result(store, agent_id, payload()).run_id
            assert backuplog.expire_log(store, without).log_state == "none"
            for view, unknown in ((store, uuid4()), (store.for_tenant(UUID(int=7)), run_id)):
                with pytest.raises(backuplog.RunNotFound):
                    backuplog.expire_log(view, unknown)

    def test_logs_are_read_again_for_their_figures(self) -> None:
        """``reparse`` goes through all runs page by page, fills in what is missing, and changes nothing twice."""
        with self._known() as (opened, agent_id):
            store, blind = (attrs.evolve(opened, parsers=tools) for tools in (TOOLS, ()))
            log = (
                "\nAdded to the repository: 5 B (5 B stored)\n\nprocessed 6 files, 14 B in 0:00\nsnapshot %08x saved\n"
            )
            sent = [payload(log=log % number, stats={"filesNew": number}) for number in range(1, 6)]
            others = [payload(), payload(log="no figures"), payload(log=log % 9, status="running")]
            backuplog.ingest_task_results(blind, [(agent_id, result) for result in (*sent, *others)])
            expired = backuplog.ingest_task_result(blind, agent_id, payload(log=log % 8)).run_id
            backuplog.expire_log(store, expired)
            for changed in (5, 0):
                query: backuplog.RunQuery | None = backuplog.RunQuery(limit=2)
                reports: list[backuplog.ReparseReport] = []
                while query:
                    reports.append(backuplog.reparse(store, query))
                    cursor = reports[-1].next_cursor
                    query = attrs.evolve(query, cursor=cursor) if cursor else None
                assert sum(report.read for report in reports) == 6
                assert sum(report.changed for report in reports) == changed
                assert len(reports) == 5
            for number, result in enumerate(sent, start=1):
                run = backuplog.get_run(store, result["taskId"])
                assert run.stats is not None
                assert (run.stats.files_new, run.stats.data_added) == (number, 5)
                assert run.snapshot_id == f"{number:08d}"
                assert backuplog.ingest_task_result(store, agent_id, result).outcome == "replayed"

    def test_a_change_of_nothing_changes_nothing(self) -> None:
        """A change that nothing can come of without a run is answered, alone and beside others, in order."""
        with self._known() as (store, agent_id):
            sent = payload(status="running")
            run_id = UUID(sent["taskId"])
            assert store.backend.submit([Append(run_id, b"lost")]) == [-1]
            assert store.backend.submit([Append(run_id, b"lost"), Close(run_id)]) == [-1, -1]
            assert store.backend.find_run(run_id) is None
            backuplog.ingest_task_result(store, agent_id, sent)
            other = store.for_tenant(UUID(int=7)).backend
            assert other.submit([Append(run_id, b"theirs")]) == [-1]
            assert backuplog.read_log(store, run_id) == b""

    def test_a_decision_that_writes_nothing_touches_no_chunk(self) -> None:
        """Of a decision without a run to write, neither chunks nor what is to go counts."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(log="kept")).run_id
            assert store.backend.submit([Refuse(run_id), Refuse(run_id)]) == [7, 7]
            assert chunk_offsets(store, run_id) == [0]
            assert backuplog.read_log(store, run_id) == b"kept"

    def test_chunks_stay_under_the_version_they_were_stored_with(self) -> None:
        """A run whose log gets another version without chunks has none; those of the older one are not its own."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(log="log")).run_id
            store.backend.submit([Renumber(run_id)])
            assert store.backend.find_chunk(run_id, 2, 0) is None
            with pytest.raises(CorruptLog, match="has no chunk for its byte 0"):
                backuplog.read_log(store, run_id)

    def test_figures_that_say_nothing_are_none(self) -> None:
        """A run with empty figures comes back without any, wherever it is kept."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(stats={"filesNew": 1})).run_id
            store.backend.submit([Record(run_id, RunStats())])
            assert backuplog.get_run(store, run_id).stats is None

    def test_changes_of_one_call_see_each_other(self) -> None:
        """Changes of one run in one call are made in order, whether they create it or find it, results among them."""
        with self._known() as (store, agent_id):
            running = backuplog.parse_task_result(payload(status="running"))
            other = backuplog.parse_task_result(payload(log="other"))
            run_id = running.task_id
            results = [submission_of(store, agent_id, result, NOON) for result in (running, other)]
            changes: list[Change[Any]] = [
                Append(run_id, b"before"),
                results[0],
                Append(run_id, b"a"),
                Append(run_id, b"x", requires_agent=uuid4()),
                results[1],
                Append(run_id, b"bc"),
                Append(other.task_id, b"!"),
                Record(run_id, RunStats(files_new=1)),
                Expire(other.task_id),
            ]
            answers = store.backend.submit(changes)
            assert [str(getattr(answer, "outcome", type(answer).__name__)) for answer in answers] == [
                "int",
                "created",
                "int",
                "AgentNotFound",
                "created",
                *["int"] * 4,
            ]
            assert [answer for answer in answers if isinstance(answer, int)] == [-1, 1, 3, 6, 3, 6]
            assert backuplog.read_log(store, run_id) == b"abc"
            assert backuplog.get_run(store, run_id).stats == RunStats(files_new=1)
            assert chunk_offsets(store, other.task_id) == []

    def test_appends_at_once_leave_each_byte_once(self) -> None:
        """Threads that append to one log leave all that each of them added, whole, and nothing twice."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(status="running")).run_id

            letters = (b"a", b"b", b"c", b"d")

            def append(letter: bytes) -> None:
                for _ in range(10):
                    store.backend.submit([Append(run_id, letter * 7)])

            assert at_once(*[partial(append, letter) for letter in letters]) == [None] * 4
            log = backuplog.read_log(store, run_id)
            words = sorted(log[start : start + 7] for start in range(0, len(log), 7))
            assert words == sorted(letter * 7 for letter in letters * 10)


def chunk_offsets(store: Store, run_id: UUID) -> list[int]:
    """List where the chunks of a run's log begin, of whichever version."""
    offsets: list[int] = []
    for version in range(1, 4):
        end = 2**40
        while end >= 0 and (chunk := store.backend.find_chunk(run_id, version, end)) is not None:
            offsets.append(chunk.offset)
            end = chunk.offset - 1
    return sorted(offsets)
