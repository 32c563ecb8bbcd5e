"""What retention removes and keeps, against a plain model, while results come in."""

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import BackupRun, InvalidQuery, LogExpired, PruneReport, RetentionPolicy, RunNotFound, RunQuery, Store
from backuplog.backend import READABLE_STATES

from .changes import Remove, chunk_offsets
from .common import FEW, NOON, at_once, payload, walk
from .contract import Contract

_DAY = timedelta(days=1)
_STATUSES = ("success", "success", "warning", "failed", "lost", "cancelled", "running")


class PruningContract(Contract):
    """What retention removes and keeps, against a plain model, while results come in."""

    def test_what_is_kept_is_what_a_plain_model_keeps(self) -> None:
        """Whatever the history, the policy, and what comes between two transactions: each removes only what is due."""
        contract = self

        @FEW
        @given(history=st.lists(_results(), max_size=24), policy=_policies(), later=st.lists(_results(), max_size=12))
        def check(history: Sequence[Any], policy: RetentionPolicy, later: Sequence[Any]) -> None:
            with contract._known() as (store, agent_id), _batches_of(2):
                agents = [agent_id, backuplog.register_agent(store, uuid4()).id]
                _deliver(store, agents, history)
                before = walk(store, RunQuery())
                rest = list(later)

                def look(_: PruneReport) -> None:
                    nonlocal before
                    _check_step(before, walk(store, RunQuery()), policy)
                    _deliver(store, agents, rest[:3])
                    del rest[:3]
                    before = walk(store, RunQuery())

                planned = backuplog.prune(store, policy, now=NOON, dry_run=True)
                assert walk(store, RunQuery()) == before
                assert _what_is_removed(planned) == _expected(before, policy)
                backuplog.prune(store, policy, now=NOON, pause=_at_once, on_progress=look)
                before = walk(store, RunQuery())
                due = _due(before, policy)
                report = backuplog.prune(store, policy, now=NOON, pause=_at_once)
                assert report.is_finished
                assert _what_is_removed(report) == _expected(before, policy)
                _check_step(before, walk(store, RunQuery()), policy)
                after = {run.id: run for run in walk(store, RunQuery())}
                assert after.keys() == {run.id for run in before if due[run.id] != "run"}
                for run in before:
                    if due[run.id] is None:
                        assert after[run.id] == run
                    else:
                        assert chunk_offsets(store, run.id) == []
                again = backuplog.prune(store, policy, now=NOON, pause=_at_once)
                assert (again.runs_removed, again.logs_removed, again.is_finished) == (0, 0, True)

        check()

    def test_each_reason_to_keep_a_run_is_told(self) -> None:
        """The report says how many runs were removed, how many bytes, and why others that are old were kept."""
        with self._known() as (store, agent_id):
            policy_id = str(uuid4())
            ages = {"success": (50, 40), "warning": (30,), "failed": (20, 10, 9), "running": (60,)}
            sent = [
                payload(policyId=policy_id, status=status, log="x" * 100, **_started(days))
                for status, many in ages.items()
                for days in many
            ]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result, received_at=_received(result))
            policy = RetentionPolicy(runs=8 * _DAY, keep_last=1, keep=lambda run: run.start_time == NOON - 20 * _DAY)
            told: list[PruneReport] = []
            report = backuplog.prune(store, policy, now=NOON, pause=_at_once, on_progress=told.append)
            assert (report.runs_removed, report.logs_removed, report.log_bytes_removed) == (2, 2, 200)
            assert report.kept == {"active": 1, "keep": 1, "keep_last": 1, "last_success": 2}
            assert (report.is_finished, report.batches, len(told), told[-1].runs_removed) == (True, 1, 1, 2)
            assert report.slowest_batch_seconds > 0
            for result in sent:
                if result["startTime"] in (_started(50)["startTime"], _started(10)["startTime"]):
                    with pytest.raises(RunNotFound):
                        backuplog.get_run(store, result["taskId"])
                    assert chunk_offsets(store, UUID(result["taskId"])) == []

    def test_a_run_that_changes_after_it_was_found_stays(self) -> None:
        """What comes between the look and the transaction counts: the run stays, with what has come, and is told of."""
        with self._known() as (store, agent_id), _batches_of(1):
            results = [payload(status="failed", log="old", **_started(9)) for _ in range(2)]
            for sent in results:
                backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))

            def bring(report: PruneReport) -> None:
                for sent in results if report.batches == 1 else []:
                    later = {**sent, "status": "cancelled", "log": "new"}
                    backuplog.ingest_task_result(store, agent_id, later, received_at=NOON)

            for policy in (RetentionPolicy(logs=_DAY), RetentionPolicy(runs=_DAY)):
                report = backuplog.prune(store, policy, now=NOON + _DAY / 2, pause=_at_once, on_progress=bring)
                assert (report.logs_removed, report.kept) == (1, {"changed": 1})
                assert {(run.status, run.log_state) for run in walk(store, RunQuery())} == {("cancelled", "complete")}
                for run in walk(store, RunQuery()):
                    assert backuplog.read_log(store, run.id) == b"new"
                store.backend.submit([Remove(run.id) for run in walk(store, RunQuery())])
                for sent in results:
                    backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))

    def test_what_is_held_is_asked_at_the_last_moment(self) -> None:
        """A legal hold that is placed while a prune runs counts from the next transaction on."""
        with self._known() as (store, agent_id), _batches_of(1):
            results = [payload(status="failed", **_started(9)) for _ in range(3)]
            for sent in results:
                backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))
            held: set[UUID] = set()
            policy = RetentionPolicy(runs=_DAY, keep=lambda run: run.id in held)

            def hold(_: PruneReport) -> None:
                held.update(run.id for run in walk(store, RunQuery()))

            report = backuplog.prune(store, policy, now=NOON, pause=_at_once, on_progress=hold)
            assert (report.runs_removed, report.kept, report.is_finished) == (1, {"keep": 2}, True)
            assert backuplog.query_runs(store).total == 2

    def test_an_older_warning_does_not_stay_beside_a_success(self) -> None:
        """The last run with warnings is kept only if no success came after it."""
        with self._known() as (store, agent_id):
            policy_id = str(uuid4())
            for days, status in ((9, "warning"), (8, "success"), (7, "success"), (6, "warning")):
                sent = payload(policyId=policy_id, status=status, **_started(days))
                backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))
            assert backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=_at_once).runs_removed == 2
            left = [(run.status, run.start_time) for run in walk(store, RunQuery())]
            assert left == [("warning", NOON - 6 * _DAY), ("success", NOON - 7 * _DAY)]

    def test_a_clock_that_was_ahead_hides_no_success(self) -> None:
        """A run from the future is as old as its result is, and not the last success for ever."""
        with self._known() as (store, agent_id):
            policy_id = str(uuid4())
            for start, received in ((-9999, 400), (30, 30), (20, 20)):
                sent = payload(policyId=policy_id, **_started(start))
                backuplog.ingest_task_result(store, agent_id, sent, received_at=NOON - received * _DAY)
            [entry] = backuplog.latest_runs(store, now=NOON)
            newest = NOON - 20 * _DAY
            assert [run and run.start_time for run in (entry.last_run, entry.last_success)] == [newest, newest]
            assert entry.age_seconds == 20 * 86400
            report = backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=_at_once)
            assert (report.runs_removed, report.kept) == (2, {"last_success": 1})
            assert [run.start_time for run in walk(store, RunQuery())] == [newest]

    def test_an_expired_log_leaves_its_run_and_a_replay_is_one(self) -> None:
        """Logs go before runs, those of failures later; the run says what its log was, and a replay stays one."""
        with self._known() as (store, agent_id):
            old, failed = (payload(status=status, log="a line\n", **_started(9)) for status in ("success", "failed"))
            newer = payload(policyId=old["policyId"], log="newer\n", **_started(1))
            newest = payload(policyId=failed["policyId"], **_started(1))
            for sent in (old, failed, newer, newest):
                backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))
            policy = RetentionPolicy(runs=99 * _DAY, logs=7 * _DAY, failed_logs=14 * _DAY)
            report = backuplog.prune(store, policy, now=NOON, pause=_at_once)
            assert (report.runs_removed, report.logs_removed, report.log_bytes_removed) == (0, 1, 7)
            run = backuplog.get_run(store, old["taskId"])
            assert (run.log_state, run.log_bytes) == ("expired", 7)
            with pytest.raises(LogExpired):
                backuplog.read_log(store, run.id)
            assert backuplog.ingest_task_result(store, agent_id, old).outcome == "replayed"
            assert backuplog.read_log(store, failed["taskId"]) == b"a line\n"
            assert backuplog.prune(store, policy, now=NOON + 6 * _DAY, pause=_at_once).logs_removed == 1

    def test_what_expired_is_no_part_of_a_later_log(self) -> None:
        """Chunks that may be dropped later are read neither in a new log of their run nor in a run of the same id."""
        with self._known() as (store, agent_id):
            policy = RetentionPolicy(logs=7 * _DAY)
            for is_removed in (False, True):
                sent = payload(status="failed", log=b"x" * 1_500_000, **_started(9))
                backuplog.ingest_task_result(store, agent_id, sent, received_at=_received(sent))
                assert backuplog.prune(store, policy, now=NOON, pause=_at_once).logs_removed == 1
                with pytest.raises(LogExpired):
                    backuplog.read_log(store, sent["taskId"])
                if is_removed:
                    oldest = RetentionPolicy(runs=7 * _DAY)
                    assert backuplog.prune(store, oldest, now=NOON, pause=_at_once).runs_removed == 1
                newer = {**sent, "log": "newer", "endTime": NOON.isoformat()}
                outcome = backuplog.ingest_task_result(store, agent_id, newer, received_at=NOON).outcome
                assert outcome == ("created" if is_removed else "updated")
                assert backuplog.read_log(store, sent["taskId"]) == b"newer"
                assert chunk_offsets(store, UUID(sent["taskId"])) == [0]

    def test_a_log_of_many_chunks_goes_with_its_run(self) -> None:
        """Long logs are removed one at a time, and each whole, whatever else is due."""
        with self._known() as (store, agent_id):
            sent = [payload(status="failed", log=b"x" * size, **_started(9)) for size in (5_000_000, 10, 3_000_000)]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result, received_at=_received(result))
            report = backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=_at_once)
            assert (report.runs_removed, report.log_bytes_removed) == (3, 8_000_010)
            assert 2 <= report.batches <= 3  # the 5 MB by themselves
            assert all(chunk_offsets(store, UUID(result["taskId"])) == [] for result in sent)

    def test_other_tenants_are_left_alone(self) -> None:
        """Pruning one tenant, or removing it, changes nothing of another."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            token = backuplog.issue_agent_token(other, agent_id)
            sent = payload(status="failed", log="log", **_started(9))
            for view in (store, other):
                backuplog.ingest_task_result(view, agent_id, sent, received_at=_received(sent))
            assert backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=_at_once).runs_removed == 1
            assert backuplog.remove_agent(store, agent_id, pause=_at_once).is_finished
            assert backuplog.remove_tenant(other, store.tenant_id, pause=_at_once).is_finished
            assert backuplog.read_log(other, sent["taskId"]) == b"log"
            assert backuplog.verify_agent_token(other, token).agent_id == agent_id

    def test_it_stops_when_it_is_told_to_and_goes_on_later(self) -> None:
        """A budget that is used up and an event that is set end it between two transactions; the next call goes on."""
        with self._known() as (store, agent_id), _batches_of(2):
            sent = [payload(status="failed", **_started(9)) for _ in range(7)]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result, received_at=_received(result))
            policy = RetentionPolicy(runs=_DAY)
            nothing = backuplog.prune(store, policy, now=NOON, budget=timedelta(0))
            assert (nothing.runs_removed, nothing.is_finished) == (0, False)
            stop = threading.Event()
            stop.set()
            pauses: list[Callable[[float], object]] = [stop.wait, lambda _: True]
            for pause in pauses:
                report = backuplog.prune(store, policy, now=NOON, pause=pause)
                assert (report.runs_removed, report.is_finished) == (2, False)
            stop.clear()
            waited: list[float] = []
            report = backuplog.prune(store, policy, now=NOON, pause=waited.append)
            assert (report.runs_removed, report.is_finished, report.batches) == (3, True, 2)
            assert len(waited) >= report.batches  # Giving room back may be followed by pauses too.
            assert max(waited) >= report.slowest_batch_seconds
            assert backuplog.query_runs(store).total == 0

    def test_it_is_not_finished_while_there_is_room_to_give_back(self) -> None:
        """A prune that is stopped while it gives room back says so, and one that need not give any is finished."""
        with self._known() as (store, _):
            for given_back, is_finished in ((None, False), (1, False), (0, True)):
                with patch.object(type(store.backend), "reclaim", return_value=given_back):
                    report = backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=lambda _: True)
                assert report.is_finished == is_finished

    def test_two_processes_that_prune_at_once_remove_all_once(self) -> None:
        """Together they remove what is due, each run once; whoever is behind may stop before the end."""
        with self._known() as (store, agent_id), _batches_of(2):
            results = [payload(status="failed", log="log", **_started(9)) for _ in range(60)]
            backuplog.ingest_task_results(store, [(agent_id, sent) for sent in results], received_at=NOON - 8 * _DAY)

            def prune() -> PruneReport:
                return backuplog.prune(store, RetentionPolicy(runs=_DAY), now=NOON, pause=_at_once)

            reports: list[Any] = at_once(prune, prune)
            last = prune()
            assert last.is_finished
            assert sum(report.runs_removed for report in [*reports, last]) == 60
            assert backuplog.query_runs(store).total == 0

    def test_an_agent_goes_with_all_that_is_its_own(self) -> None:
        """An agent's runs, logs and tokens are removed, running tasks too; its results are refused; others stay."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4()).id
            token = backuplog.issue_agent_token(store, agent_id)
            kept = backuplog.ingest_task_result(store, other, payload(log="stays")).run_id
            sent = [payload(status=status, log="log") for status in ("success", "running", "failed")]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result)
            report = backuplog.remove_agent(store, str(agent_id), pause=_at_once)
            assert (report.runs_removed, report.logs_removed, report.is_finished) == (3, 3, True)
            for result in sent:
                assert chunk_offsets(store, UUID(result["taskId"])) == []
                with pytest.raises(RunNotFound):
                    backuplog.get_run(store, result["taskId"])
            with pytest.raises(backuplog.AgentNotFound):
                backuplog.ingest_task_result(store, agent_id, payload())
            with pytest.raises(backuplog.Unauthenticated):
                backuplog.verify_agent_token(store, token)
            assert backuplog.read_log(store, kept) == b"stays"
            again = backuplog.remove_agent(store, agent_id, pause=_at_once)
            assert (again.runs_removed, again.is_finished) == (0, True)

    def test_a_tenant_goes_with_all_that_is_its_own(self) -> None:
        """A tenant's agents, tokens, runs and logs are removed, in steps if there is no time for all at once."""
        with self._known() as (store, agent_id), _batches_of(2):
            backuplog.issue_agent_token(store, agent_id)
            for _ in range(5):
                backuplog.ingest_task_result(store, agent_id, payload(log="log"))
            view = store.for_tenant(uuid4())
            first = backuplog.remove_tenant(view, store.tenant_id, pause=lambda _: True)
            assert (first.runs_removed, first.is_finished) == (2, False)
            second = backuplog.remove_tenant(view, str(store.tenant_id), pause=_at_once)
            assert (second.runs_removed, second.is_finished) == (3, True)
            assert backuplog.list_agents(store) == []
            assert list(store.backend.list_tokens()) == []
            assert backuplog.query_runs(store).total == 0

    def test_what_cannot_be_meant_is_refused(self) -> None:
        """A negative budget, one that is no time and an id that is none are errors, and nothing is removed."""
        with self._known() as (store, agent_id):
            backuplog.ingest_task_result(store, agent_id, payload())
            for budget in (timedelta(-1), 5):
                with pytest.raises(InvalidQuery, match="budget"):
                    backuplog.prune(store, RetentionPolicy(runs=timedelta(0)), budget=budget)  # type: ignore[arg-type]
            with pytest.raises(TypeError, match="must be a RetentionPolicy, not a timedelta"):
                backuplog.prune(store, timedelta(0))  # type: ignore[arg-type]
            with pytest.raises(InvalidQuery, match="agent_id"):
                backuplog.remove_agent(store, "all")
            with pytest.raises(InvalidQuery, match="tenant_id"):
                backuplog.remove_tenant(store, "all")
            for policy in (RetentionPolicy(), RetentionPolicy(runs=timedelta.max)):
                report = backuplog.prune(store, policy)
                assert (report.runs_removed, report.is_finished) == (0, True)
            assert backuplog.query_runs(store).total == 1


def _at_once(seconds: float) -> None:
    """Do not wait."""
    assert seconds >= 0


@contextmanager
def _batches_of(size: int) -> Generator[None]:
    """Remove few runs in a transaction, so that there are many of them."""
    with patch("backuplog.sweep._FIRST_BATCH", size), patch("backuplog.sweep._LARGEST_BATCH", size):
        yield


def _started(days: float) -> dict[str, str]:
    return {"startTime": (NOON - days * _DAY).isoformat()}


def _received(sent: dict[str, Any]) -> Any:
    return backuplog.parse_task_result(sent).start_time


def _results() -> st.SearchStrategy[tuple[int, dict[str, Any], int]]:
    """Give results of a few tasks of a few policies, of all ages; the same tasks again, so that some are replaced."""
    return st.tuples(
        st.integers(0, 1),
        st.builds(
            payload,
            taskId=st.integers(1, 16).map(lambda number: str(UUID(int=number))),
            policyId=st.integers(1, 2).map(lambda number: str(UUID(int=number))),
            taskType=st.sampled_from(["backup", "backup", "check"]),
            status=st.sampled_from(_STATUSES),
            log=st.sampled_from([None, "", "x" * 10, "y" * 30]),
            stats=st.sampled_from([None, None, None, {"dryRun": True}]),
            startTime=st.integers(-2, 12).map(lambda days: _started(days)["startTime"]),
        ),
        st.integers(0, 12),
    )


def _policies() -> st.SearchStrategy[RetentionPolicy]:
    days = st.none() | st.integers(0, 10).map(lambda number: number * _DAY)
    longer = st.none() | st.integers(10, 12).map(lambda number: number * _DAY)
    rules: Any = {"keep_last": st.integers(0, 3), "keep": st.sampled_from([None, _is_held])}
    room = st.none() | st.integers(0, 120)
    of_logs = st.builds(RetentionPolicy, runs=longer, logs=days, failed_logs=days, log_bytes=room, **rules)
    return of_logs | st.builds(RetentionPolicy, runs=days, **rules)


def _is_held(run: BackupRun) -> bool:
    return run.id.int % 4 == 0


def _deliver(store: Store, agents: list[UUID], results: Sequence[tuple[int, dict[str, Any], int]]) -> None:
    """Deliver results, each received so many days before noon; one whose task is another agent's is refused."""
    for index, sent, days in results:
        received_at = NOON - days * _DAY
        backuplog.ingest_task_results(store, [(agents[index], sent)], received_at=received_at)


def _due(runs: Sequence[BackupRun], policy: RetentionPolicy) -> dict[UUID, str | None]:
    """Say what a policy removes of all runs of a store, newest first, in the plainest way."""
    kinds = defaultdict[Any, list[BackupRun]](list)
    for run in runs:
        kinds[run.agent_id, run.policy_id, run.task_type].append(run)
    kept: set[UUID] = set()
    for kind in kinds.values():
        kept |= {run.id for run in kind[: policy.keep_last]}
        real = [run for run in kind if not run.is_dry_run]
        for statuses in (("success",), ("success", "warning")):
            reported = [run for run in real if run.status in statuses]
            kept |= {max(reported, key=lambda run: run.began_at).id} if reported else set()
    due: dict[UUID, str | None] = {}
    room = float("inf") if policy.log_bytes is None else policy.log_bytes
    ages = [age for age in (policy.runs, policy.logs, policy.failed_logs) if age is not None]
    for run in runs:
        age = NOON - run.updated_at
        since_start = NOON - run.start_time
        is_looked_at = policy.log_bytes is not None or not timedelta(0) < since_start <= min(ages, default=_DAY)
        is_failed = run.status in ("failed", "lost")
        log_age = policy.failed_logs if is_failed and policy.failed_logs is not None else policy.logs
        wanted = None
        if policy.runs is not None and age > policy.runs:
            wanted = "run"
        elif run.log_state in READABLE_STATES:
            if log_age is not None and age > log_age:
                wanted = "log"
            else:
                room -= run.log_bytes
                wanted = "log" if room < 0 else None
        is_kept = run.id in kept or (policy.keep is not None and policy.keep(run))
        if run.status in ("running", "pending") or is_kept or not is_looked_at:
            wanted = None
        due[run.id] = wanted
    return due


def _expected(runs: Sequence[BackupRun], policy: RetentionPolicy) -> tuple[int, int, int]:
    due = _due(runs, policy)
    logs = [run for run in runs if due[run.id] and run.log_state in READABLE_STATES]
    return Counter(due.values())["run"], len(logs), sum(run.log_bytes for run in logs)


def _what_is_removed(report: PruneReport) -> tuple[int, int, int]:
    return report.runs_removed, report.logs_removed, report.log_bytes_removed


def _check_step(before: Sequence[BackupRun], after: Sequence[BackupRun], policy: RetentionPolicy) -> None:
    """Make sure that one transaction removed only what was due, and changed nothing else."""
    due, stands = _due(before, policy), {run.id: run for run in after}
    assert stands.keys() <= due.keys()
    for run in before:
        if run.id not in stands:
            assert due[run.id] == "run"
        elif stands[run.id] != run:
            assert due[run.id] == "log"
            assert stands[run.id].log_state == "expired"
