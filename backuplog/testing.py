"""The conformance kit: every promise that a store must keep, as tests to inherit.

A backend joins with one hook::

    class TestMyStore(StoreContract):
        @contextmanager
        def fresh_store(self):
            with backuplog.open_store("mine://") as store:
                yield store

and one line in ``conftest.py``, so that failing assertions show their values::

    pytest.register_assert_rewrite("backuplog.testing")

``DurableStoreContract`` is for stores that outlive their process: its one hook gives a URL instead.
"""

import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar, cast
from uuid import UUID, uuid4

import attrs

try:
    import pytest
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st
    from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.testing needs {missing.name}: pip install pytest hypothesis", name=missing.name
    ) from missing

import backuplog
from backuplog import (
    AgentNotFound,
    LogReplaced,
    Outcome,
    Receipt,
    RunConflict,
    RunNotFound,
    RunQuery,
    Store,
    StoredRun,
    StoreError,
    Submission,
)
from backuplog.delivery import arrive

_NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
# A test of the kit may be inherited, slow on a slow store, and filter much: none of it is a fault.
_UNCHECKED = (HealthCheck.too_slow, HealthCheck.differing_executors, HealthCheck.data_too_large)
_FEW = settings(max_examples=25, deadline=None, suppress_health_check=[*_UNCHECKED])

_HOSTILE = (
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
    """Make a valid payload of a new task; keywords replace fields, None takes one out."""
    valid: dict[str, object] = {
        "taskId": str(uuid4()),
        "policyId": str(uuid4()),
        "taskType": "backup",
        "status": "success",
        "durationSeconds": 12.5,
    }
    return {name: value for name, value in {**valid, **fields}.items() if value is not None}


class _Failing:
    """A store that refuses every submission with a log, as one with a full disk for logs would."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def submit(self, submissions: Sequence[Submission]) -> list[Receipt | AgentNotFound | RunConflict]:
        if any(submission.log for submission in submissions):
            raise StoreError("no room for logs")
        return self._store.submit(submissions)


def _at_once(*works: Callable[[], object]) -> list[object]:
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


class StoreContract:
    """What every store must keep."""

    def fresh_store(self) -> AbstractContextManager[Store]:
        """Give a store in which nothing is stored yet. This is the hook."""
        raise NotImplementedError("StoreContract needs fresh_store()")

    @contextmanager
    def _known(self) -> Generator[tuple[Store, UUID]]:
        with self.fresh_store() as store:
            yield store, backuplog.register_agent(store, uuid4(), hostname="db-01").id

    # --- the delivery table -------------------------------------------------------------------------------------

    def _deliver(self, *payloads: Mapping[str, object]) -> tuple[list[str], backuplog.BackupRun, bytes]:
        """Send results of one task, a minute apart, and give the outcomes, the run and its log."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            outcomes = [
                str(
                    backuplog.ingest_task_result(
                        store, agent_id, {**sent, "taskId": task}, received_at=_NOON + timedelta(minutes=minute)
                    ).outcome
                )
                for minute, sent in enumerate(payloads)
            ]
            return outcomes, backuplog.get_run(store, task), backuplog.read_log(store, task)

    def test_the_first_result_is_created(self) -> None:
        """A first result is stored with its log."""
        outcomes, run, log = self._deliver(payload(log="all is well"))
        assert (outcomes, log, run.log_state, run.log_bytes) == (["created"], b"all is well", "complete", 11)

    def test_the_same_content_is_replayed(self) -> None:
        """The same content in another spelling writes nothing and moves nothing."""
        sent = payload(log="log", status="failure")
        outcomes, run, log = self._deliver(sent, {**sent, "status": "FAILED"}, {**sent, "extra": 1})
        assert (outcomes, log) == (["created", "replayed", "replayed"], b"log")
        assert (run.received_at, run.updated_at, run.end_time) == (_NOON, _NOON, _NOON)

    def test_an_active_run_is_updated(self) -> None:
        """Whatever follows a running task's result takes its place."""
        sent = payload()
        outcomes, run, log = self._deliver({**sent, "status": "running"}, {**sent, "log": "done"})
        assert (outcomes, run.status, log) == (["created", "updated"], "success", b"done")
        assert (run.received_at, run.updated_at) == (_NOON, _NOON + timedelta(minutes=1))

    def test_the_last_final_result_wins(self) -> None:
        """Optional fields that are absent now become None, and the log goes."""
        sent = payload()
        outcomes, run, log = self._deliver(
            {**sent, "log": "old" * 9, "errorMessage": "e", "snapshotId": "s"}, {**sent, "status": "failed"}
        )
        assert (outcomes, log, run.log_state, run.log_sha256) == (["created", "updated"], b"", "none", None)
        assert (run.error_message, run.snapshot_id, run.status) == (None, None, "failed")

    def test_an_active_runs_log_stays_until_another_comes(self) -> None:
        """A final result without a log keeps what the running task's result brought, and nothing else of it."""
        sent = payload(status="running", log="so far", errorMessage="e", snapshotId="s")
        outcomes, run, log = self._deliver(sent, payload())
        assert (outcomes, log, run.log_state) == (["created", "updated"], b"so far", "complete")
        assert (run.error_message, run.snapshot_id) == (None, None)

    def test_a_late_running_is_stale(self) -> None:
        """A late "running" never hides a result."""
        sent = payload(log="log")
        outcomes, run, log = self._deliver(sent, {**sent, "status": "running", "log": "early"})
        assert (outcomes, run.status, log) == (["created", "stale"], "success", b"log")

    def test_a_superseded_result_is_stale(self) -> None:
        """A retry of a result that was superseded undoes nothing, sixteen results back."""
        sent = [payload(status="failed", policyId=str(UUID(int=1)), log=str(number)) for number in range(17)]
        outcomes, _, log = self._deliver(*sent, *sent[:16])
        assert outcomes == ["created", *["updated"] * 16, *["stale"] * 16]
        assert log == b"16"

    def test_the_seventeenth_result_back_is_forgotten(self) -> None:
        """Sixteen superseded results are remembered and no more: the one before them counts as new."""
        sent = [payload(log=str(number)) for number in range(18)]
        outcomes, _, log = self._deliver(*sent, sent[1], sent[0])
        assert (outcomes[-2:], log) == (["stale", "updated"], b"0")

    def test_an_older_end_is_stale_and_stays_so(self) -> None:
        """A result that ended before the stored one is ignored, also when it is sent again later."""
        new, old = payload(endTime="2026-11-24T11:00:00Z"), payload(endTime="2026-11-24T10:00:00Z", status="failed")
        outcomes, run, _ = self._deliver(new, old, payload(status="warning"), old)
        assert (outcomes, run.status) == (["created", "stale", "updated", "stale"], "warning")

    def test_a_lost_log_is_stored_by_the_retry(self) -> None:
        """A run whose log could not be stored is kept and says so, and the same content brings the log."""
        with self._known() as (store, agent_id):
            sent = payload(log="precious")
            failing: Any = _Failing(store)
            lost = backuplog.ingest_task_result(failing, agent_id, sent)
            assert (lost.outcome, lost.log_state) == (Outcome.CREATED, "lost")
            assert backuplog.get_run(store, sent["taskId"]).log_state == "lost"
            found = backuplog.ingest_task_result(store, agent_id, sent)
            assert (found.outcome, found.log_state) == (Outcome.UPDATED, "complete")
            assert backuplog.read_log(store, sent["taskId"]) == b"precious"
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome is Outcome.REPLAYED

    def test_another_agents_task_is_a_conflict(self) -> None:
        """Another agent that reuses a task id is refused and changes nothing."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4()).id
            sent = payload(log="mine")
            backuplog.ingest_task_result(store, agent_id, sent)
            with pytest.raises(RunConflict):
                backuplog.ingest_task_result(store, other, {**sent, "log": "yours"})
            assert backuplog.read_log(store, sent["taskId"]) == b"mine"
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"], agent_id=other)

    # --- fields and times ---------------------------------------------------------------------------------------

    def test_every_field_comes_back_equal(self) -> None:
        """What was sent is what is read, to the microsecond and to the longest text."""
        with self._known() as (store, agent_id):
            sent = payload(
                taskType="prüne ✓",
                status="timed out",
                snapshotId="s" * 255,
                errorMessage="é😀" * 32_000,
                startTime="1970-01-01T00:00:00.000001Z",
                endTime="2999-12-31T23:59:59.999999+00:00",
                durationSeconds=0.1,
            )
            backuplog.ingest_task_result(store, agent_id, sent, received_at=_NOON)
            run = backuplog.get_run(store, sent["taskId"])
            assert (run.task_type, run.status, run.snapshot_id) == ("prüne ✓", "timed out", "s" * 255)
            assert (run.error_message, run.duration_seconds) == ("é😀" * 32_000, 0.1)
            assert run.start_time == datetime(1970, 1, 1, 0, 0, 0, 1, tzinfo=UTC)
            assert run.end_time == datetime(2999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
            assert (run.agent_id, run.tenant_id, run.policy_id) == (agent_id, store.tenant_id, UUID(sent["policyId"]))
            assert run.start_time.utcoffset() == timedelta(0)

    def test_times_that_were_not_sent_come_from_the_receipt(self) -> None:
        """The end is when it was received, the start lies the duration before; an active run has no end."""
        _, run, _ = self._deliver(payload(durationSeconds=0.000001))
        assert (run.start_time, run.end_time) == (_NOON - timedelta(microseconds=1), _NOON)
        _, active, _ = self._deliver(payload(status="running", endTime="2026-11-24T10:00:00Z"))
        assert active.end_time is None

    def test_any_valid_result_comes_back_equal(self) -> None:
        """Whatever a result may hold, the stored run is the decided one in every field, also in a list."""
        text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=255)
        word = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=25).filter(str.strip)
        time = st.none() | st.datetimes(datetime(2, 1, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
        with self._known() as (store, agent_id):

            @_FEW
            @given(
                st.builds(
                    backuplog.TaskResult,
                    task_id=st.uuids(),
                    policy_id=st.uuids(),
                    task_type=word,
                    status=word,
                    duration_seconds=st.floats(0, 9_223_372_036),
                    log=st.none() | st.binary(max_size=200),
                    snapshot_id=st.none() | text,
                    error_message=st.none() | text,
                    start_time=time,
                    end_time=time,
                )
            )
            def check(result: backuplog.TaskResult) -> None:
                view = store.for_tenant(uuid4())
                backuplog.register_agent(view, agent_id)
                arriving = _arrive(view, agent_id, result, _NOON)
                view.submit([arriving])
                decided = backuplog.decide(None, arriving).write
                assert decided is not None
                assert view.find_run(result.task_id) == decided
                assert list(backuplog.query_runs(view).runs) == [decided.run]

            check()

    def test_a_stored_run_is_equal_to_what_was_decided(self) -> None:
        """All that stands beside a run comes back, so that later decisions are right."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            for log in ("one", "two", None):
                sent = payload(taskId=task, log=log, endTime="2026-11-24T10:00:00Z")
                backuplog.ingest_task_result(store, agent_id, sent)
            stored = store.find_run(UUID(task))
            assert stored is not None
            assert (len(stored.superseded), stored.log_version, stored.end_time_reported) == (2, 3, True)
            assert {len(digest) for digest in (stored.digest, *stored.superseded)} == {32}

    # --- agents -------------------------------------------------------------------------------------------------

    def test_a_token_comes_back_equal_in_its_tenant_only(self) -> None:
        """What is stored of a token is found by its prefix and listed by its agent, and not by another tenant."""
        with self._known() as (store, agent_id):
            times = (_NOON, _NOON - timedelta(microseconds=1))
            tokens = [
                backuplog.AgentToken(
                    prefix=f"{number:016x}",
                    tenant_id=store.tenant_id,
                    agent_id=agent_id,
                    digest=bytes([number]) * 32,
                    created_at=created_at,
                    expires_at=_NOON if number else None,
                )
                for number, created_at in enumerate(times)
            ]
            for token in tokens:
                store.add_token(token)
            assert [store.find_token(token.prefix) for token in tokens] == tokens
            assert list(store.list_tokens(agent_id)) == tokens[::-1]
            assert list(store.list_tokens(uuid4())) == []
            other = store.for_tenant(uuid4())
            assert (other.find_token(tokens[0].prefix), list(other.list_tokens(agent_id))) == (None, [])
            other.note_token_use(tokens[0].prefix, _NOON)
            assert not other.remove_token(tokens[0].prefix)
            assert store.find_token(tokens[0].prefix) == tokens[0]
            store.note_token_use(tokens[0].prefix, _NOON)
            assert store.find_token(tokens[0].prefix) == attrs.evolve(tokens[0], last_used_at=_NOON)
            assert store.find_token(tokens[1].prefix) == tokens[1]

    def test_a_removed_token_stays_away(self) -> None:
        """A token is removed once, and noting its use does not bring it back."""
        with self._known() as (store, agent_id):
            token = backuplog.issue_agent_token(store, agent_id)
            prefix = backuplog.verify_agent_token(store, token).prefix
            assert (store.remove_token(prefix), store.remove_token(prefix)) == (True, False)
            store.note_token_use(prefix, _NOON)
            assert store.find_token(prefix) is None
            with pytest.raises(backuplog.Unauthenticated):
                backuplog.verify_agent_token(store, token)

    # --- last successes -----------------------------------------------------------------------------------------

    def test_the_last_success_of_each_policy_is_the_newest(self) -> None:
        """Each policy with a success is listed once, with the run that a list would show first; ties go by id."""
        with self._known() as (store, agent_id):
            policies = [str(uuid4()) for _ in range(6)]
            start = "2026-11-24T02:00:00Z"
            results = [
                payload(policyId=policies[number % 5], status=status, startTime=start.replace("02", f"{hour:02}", 1))
                for number in range(10)
                for hour, status in enumerate(("success", "success", "failed", "running"), start=number % 3)
                if number % 5 != 4 or status != "success"
            ]
            results.append(payload(policyId=policies[0], startTime="2026-11-24T20:00:00Z"))
            results.append(payload(policyId=policies[0], startTime="2026-11-24T20:00:00Z"))
            backuplog.ingest_task_results(store, [(agent_id, result) for result in results])
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            backuplog.ingest_task_result(other, agent_id, payload(policyId=policies[5]))
            expected: dict[UUID, backuplog.BackupRun] = {}
            for run in _walk(store, RunQuery(status="success", limit=3)):
                expected.setdefault(run.policy_id, run)
            assert len(expected) == 4
            assert backuplog.last_successes(store) == sorted(expected.values(), key=lambda run: run.policy_id)
            assert [run.policy_id for run in backuplog.last_successes(other)] == [UUID(policies[5])]
            assert backuplog.last_successes(store.for_tenant(uuid4())) == []

    def test_registering_again_keeps_what_is_known(self) -> None:
        """A second registration keeps the time, takes a new hostname, and never forgets one."""
        with self._known() as (store, agent_id):
            first = backuplog.get_agent(store, agent_id)
            assert backuplog.register_agent(store, agent_id) == first
            renamed = backuplog.register_agent(store, agent_id, hostname="db-02")
            assert renamed == attrs.evolve(first, hostname="db-02") == backuplog.get_agent(store, agent_id)

    def test_an_unknown_agent_is_refused(self) -> None:
        """An unknown agent can send, list and be found nothing."""
        with self.fresh_store() as store:
            sent = payload()
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(store, uuid4(), sent)
            with pytest.raises(AgentNotFound):
                backuplog.query_runs(store, RunQuery(agent_id=uuid4()))
            with pytest.raises(AgentNotFound):
                backuplog.get_agent(store, uuid4())
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"])

    # --- tenants ------------------------------------------------------------------------------------------------

    def test_tenants_are_apart(self) -> None:
        """The same ids in two tenants are two agents, two runs and two logs."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            sent = payload(log="mine")
            backuplog.ingest_task_result(store, agent_id, sent)
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(other, agent_id, sent)
            backuplog.register_agent(other, agent_id)
            with pytest.raises(RunNotFound):
                backuplog.read_log(other, sent["taskId"])
            assert backuplog.query_runs(other).total == 0
            assert other.find_chunk(UUID(sent["taskId"]), 1, 0) is None
            assert backuplog.ingest_task_result(other, agent_id, {**sent, "log": "yours"}).outcome is Outcome.CREATED
            assert backuplog.read_log(store, sent["taskId"]) == b"mine"
            assert backuplog.read_log(other, sent["taskId"]) == b"yours"
            assert [backuplog.query_runs(view).total for view in (store, other)] == [1, 1]
            assert backuplog.get_run(other, sent["taskId"]).tenant_id == other.tenant_id

    def test_a_replaced_log_is_replaced_in_its_tenant_only(self) -> None:
        """Replacing a run's log leaves the log of another tenant's run with the same id."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            sent = payload()
            for view in (store, other):
                backuplog.ingest_task_result(view, agent_id, {**sent, "log": "first"})
            backuplog.ingest_task_result(other, agent_id, {**sent, "log": "second"})
            assert backuplog.read_log(store, sent["taskId"]) == b"first"
            assert backuplog.read_log(other, sent["taskId"]) == b"second"

    def test_closing_a_view_closes_nothing(self) -> None:
        """A tenant's view may be used as a context manager while the store goes on."""
        with self._known() as (store, agent_id):
            with store.for_tenant(uuid4()) as view:
                assert backuplog.query_runs(view).total == 0
            assert backuplog.get_agent(store, agent_id).id == agent_id

    def test_a_closed_store_says_so(self) -> None:
        """Every use of a store after it was closed is a StoreError, and closing it twice is none."""
        with self._known() as (store, agent_id):
            arriving = _arrive(store, agent_id, backuplog.parse_task_result(payload()), _NOON)
            store.close()
            store.close()
            uses: list[Callable[[], object]] = [
                lambda: backuplog.register_agent(store, agent_id),
                lambda: store.find_agent(agent_id),
                lambda: store.submit([arriving]),
                lambda: store.find_run(arriving.run.id),
                lambda: store.find_chunk(arriving.run.id, 1, 0),
                lambda: store.list_runs(RunQuery(), after=None, limit=1),
                lambda: store.count_runs(RunQuery()),
            ]
            for use in uses:
                with pytest.raises(StoreError):
                    use()

    # --- queries ------------------------------------------------------------------------------------------------

    def test_queries_answer_as_a_plain_list_would(self) -> None:
        """Every filter and every combination selects, orders and counts as the same filter on a list."""
        with self._known() as (store, agent_id):
            agents = [agent_id, backuplog.register_agent(store, uuid4()).id]
            policies = [uuid4(), uuid4()]
            statuses = ["success", "failed", "warning"]
            for number in range(60):
                sent = payload(
                    policyId=str(policies[number % 2]),
                    status=statuses[number % 3],
                    taskType=["backup", "check"][number // 2 % 2],
                    snapshotId=f"s{number % 5}",
                    startTime=f"2026-11-24T0{number % 7}:00:00Z",
                )
                backuplog.ingest_task_result(store, agents[number % 4 // 2], sent)
            runs = backuplog.query_runs(store, RunQuery(limit=1000)).runs
            assert list(runs) == sorted(runs, key=lambda run: (run.start_time, run.id.bytes), reverse=True)
            assert len(runs) == 60
            hour = st.none() | st.integers(0, 7).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC))

            @_FEW
            @given(
                agent=st.sampled_from([None, *agents]),
                policy=st.sampled_from([None, *policies]),
                status=st.lists(st.sampled_from(statuses), max_size=3),
                task_type=st.sampled_from([None, "backup", "check"]),
                snapshot=st.sampled_from([None, "s1", "absent"]),
                since=hour,
                until=hour,
            )
            def check(
                agent: Any, policy: Any, status: Any, task_type: Any, snapshot: Any, since: Any, until: Any
            ) -> None:
                query = RunQuery(
                    agent_id=agent,
                    policy_id=policy,
                    status=status,
                    task_type=task_type,
                    snapshot_id=snapshot,
                    since=since,
                    until=until,
                    limit=7,
                )
                expected = [
                    run
                    for run in runs
                    if agent in (None, run.agent_id)
                    and policy in (None, run.policy_id)
                    and (not status or run.status in status)
                    and task_type in (None, run.task_type)
                    and snapshot in (None, run.snapshot_id)
                    and (since is None or run.start_time >= since)
                    and (until is None or run.start_time < until)
                ]
                assert _walk(store, query) == expected
                assert backuplog.query_runs(store, query).total == len(expected)

            check()

    def test_pages_skip_and_repeat_nothing_while_runs_arrive(self) -> None:
        """A walk over pages sees each run that was there exactly once, whatever is inserted meanwhile."""
        with self._known() as (store, agent_id):
            time = "2026-11-24T01:00:00Z"  # all at once: only the id keeps them apart
            old = [payload(startTime=time) for _ in range(25)]
            backuplog.ingest_task_results(store, [(agent_id, sent) for sent in old])
            seen: list[UUID] = []
            cursor = None
            while True:
                page = backuplog.query_runs(store, RunQuery(limit=4, cursor=cursor, agent_id=agent_id))
                seen += [run.id for run in page.runs]
                backuplog.ingest_task_result(store, agent_id, payload(startTime=time))
                if page.next_cursor is None:
                    break
                cursor = page.next_cursor
            assert len(seen) == len(set(seen))
            assert {UUID(sent["taskId"]) for sent in old} <= set(seen)

    def test_the_total_can_be_left_out(self) -> None:
        """A query without a total says None, never a number that is not true."""
        with self._known() as (store, _):
            assert backuplog.query_runs(store, RunQuery(with_total=False)).total is None
            assert backuplog.query_runs(store).total == 0

    def test_a_page_is_as_long_as_its_limit(self) -> None:
        """A page has at most ``limit`` runs, its total counts all, and only the last has no next one."""
        with self._known() as (store, agent_id):
            backuplog.ingest_task_results(store, [(agent_id, payload()) for _ in range(6)])
            first = backuplog.query_runs(store, RunQuery(limit=3))
            assert (len(first.runs), first.total, first.limit) == (3, 6, 3)
            last = backuplog.query_runs(store, RunQuery(limit=3, cursor=first.next_cursor))
            assert (len(last.runs), last.total, last.next_cursor) == (3, 6, None)

    # --- logs ---------------------------------------------------------------------------------------------------

    def test_any_log_comes_back(self) -> None:
        """Whatever text or bytes came, the same bytes are read, whole and in ranges."""
        with self._known() as (store, agent_id):

            @_FEW
            @given(
                log=st.text() | st.binary(max_size=5000) | st.text(alphabet=st.characters(min_codepoint=0xD800)),
                start=st.none() | st.integers(-60, 60),
                stop=st.none() | st.integers(-60, 60),
            )
            def check(log: str | bytes, start: int | None, stop: int | None) -> None:
                sent = payload(log=log)
                backuplog.ingest_task_result(store, agent_id, sent)
                expected = log if isinstance(log, bytes) else log.encode("utf-8", "surrogatepass")
                assert backuplog.read_log(store, sent["taskId"]) == expected
                assert backuplog.read_log(store, sent["taskId"], start=start, stop=stop) == expected[start:stop]

            check()

    @pytest.mark.parametrize("size", [0, 1, 128, 129, 1_048_575, 1_048_576, 1_048_577, 3_145_728, 5_242_881])
    def test_logs_around_a_chunks_border_come_back(self, size: int) -> None:
        """A log of any size near a border is read whole, and in ranges that cross it."""
        with self._known() as (store, agent_id):
            log = (bytes(range(256)) * (size // 256 + 1))[:size]
            sent = payload(log=log)
            receipt = backuplog.ingest_task_result(store, agent_id, sent)
            assert (receipt.log_bytes, receipt.log_state) == (size, "complete")
            assert backuplog.read_log(store, sent["taskId"]) == log
            for start, stop in ((1_048_570, 1_048_580), (-3, None), (0, 1), (size // 2, size // 2 + 9)):
                assert backuplog.read_log(store, sent["taskId"], start=start, stop=stop) == log[start:stop]

    def test_a_chunk_is_found_by_any_of_its_bytes(self) -> None:
        """The chunk with the greatest offset that is not beyond the byte is found; without chunks there is none."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"x" * 1_500_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            task = UUID(sent["taskId"])
            found = [store.find_chunk(task, 1, offset) for offset in (0, 1_048_575, 1_048_576, 9_999_999)]
            assert [chunk and (chunk.number, chunk.offset) for chunk in found] == [
                (0, 0),
                (0, 0),
                (1, 1_048_576),
                (1, 1_048_576),
            ]
            assert store.find_chunk(task, 2, 0) is None
            assert store.find_chunk(uuid4(), 1, 0) is None

    def test_a_shorter_log_leaves_no_tail(self) -> None:
        """A log that takes the place of a longer one is read alone."""
        sent = payload()
        _, run, log = self._deliver({**sent, "log": b"a" * 3_000_000}, {**sent, "log": "short"})
        assert (log, run.log_bytes) == (b"short", 5)

    def test_a_replaced_log_takes_no_room(self) -> None:
        """Of a log that was replaced or removed no chunk is kept."""
        with self._known() as (store, agent_id):
            sent = payload()
            for version, log in enumerate((b"a" * 2_500_000, b"b", b"c" * 1_500_000, None), start=1):
                backuplog.ingest_task_result(store, agent_id, {**sent, "log": log})
                kept = [number for number in range(1, version) if store.find_chunk(UUID(sent["taskId"]), number, 0)]
                assert kept == []

    def test_a_reader_never_sees_a_mix(self) -> None:
        """A log that is replaced under a reader is read on as the old one whole, or as replaced."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"a" * 3_000_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            begun, waiting = (backuplog.iter_log(store, sent["taskId"]) for _ in range(2))
            first = next(begun)
            backuplog.ingest_task_result(store, agent_id, {**sent, "log": b"b" * 3_000_000})
            for head, pieces in ((first, begun), (b"", waiting)):
                with suppress(LogReplaced):
                    assert head + b"".join(pieces) == b"a" * 3_000_000
            assert backuplog.read_log(store, sent["taskId"]) == b"b" * 3_000_000

    def test_the_last_lines_are_those_of_the_log(self) -> None:
        """The tail of any log, across chunks, is what a plain split gives."""
        lines = st.lists(st.binary(max_size=4) | st.just(b"x" * 700_000), max_size=6)
        with self._known() as (store, agent_id):

            @_FEW
            @given(lines.map(b"\n".join), st.integers(1, 8))
            def check(log: bytes, count: int) -> None:
                sent = payload()
                result = backuplog.TaskResult(
                    task_id=sent["taskId"],
                    policy_id=sent["policyId"],
                    task_type="backup",
                    status="success",
                    duration_seconds=1,
                    log=log,
                )
                backuplog.ingest_task_result(store, agent_id, result)
                wanted = log[: len(log) - 1].split(b"\n")[-count:]
                expected = b"\n".join(wanted) + log[len(log) - 1 :]
                assert backuplog.tail_log(store, sent["taskId"], count) == expected

            check()

    def test_a_log_over_the_cap_says_what_it_leaves_out(self) -> None:
        """Of a log over the cap its head and its tail are read, and the run says how many bytes are not."""
        with self._known() as (store, agent_id):
            sent = payload(log=b"a" * 3000 + b"b" * 3000)
            receipt = backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4096)
            run, log = backuplog.get_run(store, sent["taskId"]), backuplog.read_log(store, sent["taskId"])
            assert (receipt.log_state, run.log_state, run.dropped_bytes) == ("truncated", "truncated", 6000 - 4096)
            assert log.startswith(b"a" * 2048 + b"\n")
            assert log.endswith(b"\n" + b"b" * 2048)
            assert len(log) == run.log_bytes == receipt.log_bytes

    # --- batches ------------------------------------------------------------------------------------------------

    def test_a_batch_answers_in_order_and_spoils_nothing(self) -> None:
        """Good, bad, double, foreign and unknown items of one batch each get their own answer."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4()).id
            good = payload(log="good")
            batch: list[tuple[UUID, Any]] = [
                (agent_id, good),
                (agent_id, b"{"),
                (agent_id, good),
                (other, good),
                (uuid4(), payload()),
                (other, payload()),
                (agent_id, {**good, "log": "better"}),
            ]
            answers = backuplog.ingest_task_results(store, batch)
            said = [str(answer.outcome) if isinstance(answer, Receipt) else answer.error_type for answer in answers]
            assert said == [
                "created",
                "invalid_task_result",
                "replayed",
                "run_conflict",
                "agent_not_found",
                "created",
                "updated",
            ]
            assert backuplog.read_log(store, good["taskId"]) == b"better"
            assert backuplog.query_runs(store).total == 2

    def test_a_long_batch_is_stored_whole(self) -> None:
        """Far more results than one transaction takes are all stored."""
        with self._known() as (store, agent_id):
            batch = [(agent_id, payload(log=str(number))) for number in range(1200)]
            answers = backuplog.ingest_task_results(store, batch)
            assert {answer.outcome for answer in answers if isinstance(answer, Receipt)} == {Outcome.CREATED}
            assert (len(answers), backuplog.query_runs(store).total) == (1200, 1200)
            assert backuplog.read_log(store, batch[-1][1]["taskId"]) == b"1199"

    def test_a_failure_in_the_middle_stores_nothing_of_the_call(self) -> None:
        """An error while a log is read leaves no run and no chunk of that call, and the store works on."""
        with self._known() as (store, agent_id):
            results = [backuplog.parse_task_result(payload(log="x" * 200)) for _ in range(2)]
            submissions = [_arrive(store, agent_id, result, _NOON) for result in results]
            broken = attrs.evolve(submissions[1], log=_broken_log(submissions[1]))
            with pytest.raises(ZeroDivisionError):
                store.submit([submissions[0], broken])
            assert backuplog.query_runs(store).total == 0
            assert store.find_chunk(submissions[0].run.id, 1, 0) is None
            store.submit(submissions)
            assert backuplog.query_runs(store).total == 2

    def test_a_failed_replacement_leaves_what_was_stored(self) -> None:
        """An error while the log of a second result is read leaves the first one with its log."""
        with self._known() as (store, agent_id):
            sent = payload(log="first")
            backuplog.ingest_task_result(store, agent_id, sent)
            second = _arrive(store, agent_id, backuplog.parse_task_result({**sent, "log": "second"}), _NOON)
            before = store.find_run(second.run.id)
            with pytest.raises(ZeroDivisionError):
                store.submit([attrs.evolve(second, log=_broken_log(second))])
            assert store.find_run(second.run.id) == before
            assert backuplog.read_log(store, sent["taskId"]) == b"first"

    def test_a_batch_may_lose_a_log_but_no_result(self) -> None:
        """Of a batch whose logs cannot be stored every run is kept, and those that had a log say that it was lost."""
        with self._known() as (store, agent_id):
            batch = [(agent_id, payload(log="log")), (agent_id, payload())]
            failing: Any = _Failing(store)
            answers = backuplog.ingest_task_results(failing, batch)
            assert [answer.log_state for answer in answers if isinstance(answer, Receipt)] == ["lost", "none"]
            again = backuplog.ingest_task_results(store, batch)
            assert [answer.outcome for answer in again if isinstance(answer, Receipt)] == ["updated", "replayed"]
            assert backuplog.read_log(store, batch[0][1]["taskId"]) == b"log"

    # --- threads ------------------------------------------------------------------------------------------------

    def test_fifty_identical_submissions_leave_one_run(self) -> None:
        """Fifty threads that submit the same result: one created, 49 replayed, one log."""
        with self._known() as (store, agent_id):
            sent = payload(log="log " * 1000)
            receipts = _at_once(*[lambda: backuplog.ingest_task_result(store, agent_id, sent)] * 50)
            outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
            assert outcomes == ["created", *["replayed"] * 49]
            assert backuplog.query_runs(store).total == 1
            assert backuplog.read_log(store, sent["taskId"]) == b"log " * 1000

    def test_threads_that_replace_one_result_all_count(self) -> None:
        """Twelve threads with results of one task: one creates, each other supersedes another, none is lost."""
        with self._known() as (store, agent_id):
            sent = payload()
            works = [
                lambda log=log: backuplog.ingest_task_result(store, agent_id, {**sent, "log": log})
                for log in map(str, range(12))
            ]
            receipts = _at_once(*works)
            outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
            assert outcomes == ["created", *["updated"] * 11]
            stored = store.find_run(UUID(sent["taskId"]))
            assert stored is not None
            assert (len({stored.digest, *stored.superseded}), stored.log_version) == (12, 12)

    def test_replacing_and_reading_at_once_is_never_mixed(self) -> None:
        """While four threads replace logs of three chunks and of one, every read is one of them, whole."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            backuplog.ingest_task_result(store, agent_id, payload(taskId=task, log=b"0" * 2_100_000))

            writing = [1, 2, 3, 4]

            def replace(writer: int) -> None:
                try:
                    for number in range(50):
                        log = b"%d" % writer * (9 if number % 10 else 2_100_000)
                        sent = payload(taskId=task, log=log, errorMessage=f"{writer} {number}")
                        backuplog.ingest_task_result(store, agent_id, sent)
                finally:
                    writing.remove(writer)

            def read() -> set[tuple[int, int]]:
                seen: set[tuple[int, int]] = set()
                while writing:
                    with suppress(LogReplaced):
                        log = backuplog.read_log(store, task)
                        seen.add((len(set(log)), len(log)))
                return seen

            for result in _at_once(*[partial(replace, writer) for writer in writing], read, read):
                assert result is None or isinstance(result, set), result
                assert not result or result <= {(1, 2_100_000), (1, 9)}

    def test_an_empty_log_is_not_no_log(self) -> None:
        """An empty log is complete and has a SHA-256; no log is none and has none."""
        _, empty, log = self._deliver(payload(log=""))
        assert (empty.log_state, empty.log_bytes, log) == ("complete", 0, b"")
        assert empty.log_sha256 is not None
        _, none, log = self._deliver(payload())
        assert (none.log_state, none.log_bytes, none.log_sha256, log) == ("none", 0, None, b"")

    def test_a_known_agent_need_not_be_registered(self) -> None:
        """A submission whose agent the integrator knows is taken without looking into the agents."""
        with self.fresh_store() as store:
            arriving = _arrive(store, uuid4(), backuplog.parse_task_result(payload()), _NOON)
            assert isinstance(store.submit([arriving])[0], AgentNotFound)
            answer = store.submit([attrs.evolve(arriving, agent_known=True)])[0]
            assert isinstance(answer, Receipt)
            assert answer.outcome is Outcome.CREATED

    def test_an_empty_submit_does_nothing(self) -> None:
        """No submissions, no answers."""
        with self._known() as (store, _):
            assert list(store.submit([])) == []

    def test_since_is_inclusive_and_until_exclusive(self) -> None:
        """A run that starts at the very moment is after ``since`` and not before ``until``."""
        with self._known() as (store, agent_id):
            sent = payload(startTime="2026-11-24T02:00:00.000001Z")
            backuplog.ingest_task_result(store, agent_id, sent)
            moment = datetime(2026, 11, 24, 2, 0, 0, 1, tzinfo=UTC)
            assert backuplog.query_runs(store, RunQuery(since=moment)).total == 1
            assert backuplog.query_runs(store, RunQuery(until=moment)).total == 0

    def test_equal_start_times_are_ordered_by_id(self) -> None:
        """Runs that start at once come by their id's 16 bytes, greatest first."""
        with self._known() as (store, agent_id):
            ids = [UUID(int=number << 56 | 0x80 << 120) for number in (1, 127, 128, 255)] + [UUID(int=5)]
            for run_id in ids:
                sent = payload(taskId=str(run_id), startTime="2026-11-24T02:00:00Z")
                backuplog.ingest_task_result(store, agent_id, sent)
            listed = [run.id for run in backuplog.query_runs(store).runs]
            assert listed == sorted(ids, key=lambda run_id: run_id.bytes, reverse=True)

    def test_text_that_looks_like_sql_is_text(self) -> None:
        """Quotes, statements and wildcards are stored and looked for as they are."""
        with self._known() as (store, agent_id):
            odd = "%'; DROP TABLE agents; -- \\ \" $1 ?"
            backuplog.ingest_task_result(store, agent_id, payload(taskType=odd, snapshotId=odd, status=odd))
            backuplog.ingest_task_result(store, agent_id, payload(snapshotId="other"))
            found = backuplog.query_runs(store, RunQuery(task_type=odd, snapshot_id=odd, status=odd))
            assert [run.snapshot_id for run in found.runs] == [odd]

    texts: ClassVar[int] = 1_000
    """How many texts the test of odd texts tries."""

    def test_any_text_comes_back_or_is_refused(self) -> None:
        """Whatever stands in a field or a filter comes back equal and is found, or is refused by name."""
        text = st.text(max_size=40) | st.sampled_from(_HOSTILE)
        text |= st.tuples(st.text(max_size=9), st.sampled_from(_HOSTILE)).map("".join)
        fields = ("taskType", "status", "snapshotId", "errorMessage", "log")
        with self._known() as (store, agent_id):

            def check_result(sent: dict[str, Any]) -> None:
                try:
                    backuplog.ingest_task_result(store, agent_id, sent)
                except backuplog.InvalidTaskResult as error:
                    assert {item.path for item in error.errors} <= {f"$.{name}" for name in fields[:4]}  # noqa: PT017
                    return
                run = backuplog.get_run(store, sent["taskId"])
                assert run.task_type == sent["taskType"]
                assert (run.snapshot_id or "", run.error_message or "") == (sent["snapshotId"], sent["errorMessage"])
                assert backuplog.read_log(store, run.id) == sent["log"].encode("utf-8", "surrogatepass")
                query = RunQuery(
                    task_type=sent["taskType"], status=sent["status"], snapshot_id=run.snapshot_id, limit=1000
                )
                assert run in backuplog.query_runs(store, query).runs

            def check_agent(hostname: str) -> None:
                try:
                    agent = backuplog.register_agent(store, uuid4(), hostname=hostname)
                except backuplog.InvalidAgent:
                    return
                assert (backuplog.get_agent(store, agent.id).hostname or "") == hostname

            @settings(_FEW, max_examples=-(-self.texts // 36))
            @given(st.lists(st.tuples(*[text] * 6), min_size=6, max_size=6))
            def check(batch: list[tuple[str, ...]]) -> None:
                for *texts, hostname in batch:
                    check_result(payload(**dict(zip(fields, texts, strict=True))))
                    check_agent(hostname)

            check()
            assert backuplog.get_agent(store, agent_id).hostname == "db-01"

    def test_batches_in_opposite_order_all_count(self) -> None:
        """Batches of the same results, first and last one first, at once: each result counts, and nobody gives way."""
        with self._known() as (store, agent_id):
            for _ in range(3):
                sent = [payload() for _ in range(20)]
                works = [
                    partial(
                        backuplog.ingest_task_results,
                        store,
                        [(agent_id, {**result, "log": f"{number}"}) for result in sent[::step]],
                    )
                    for number, step in enumerate((1, -1, 1, -1))
                ]
                answers: list[Any] = [answer for some in _at_once(*works) for answer in cast("list[Any]", some)]
                outcomes = sorted(str(getattr(answer, "outcome", answer)) for answer in answers)
                assert outcomes == ["created"] * 20 + ["updated"] * 60

    def test_threads_store_different_results(self) -> None:
        """Eight threads that submit results of their own lose none."""
        with self._known() as (store, agent_id):

            def work() -> None:
                for _ in range(10):
                    backuplog.ingest_task_result(store, agent_id, payload(log="log"))

            assert _at_once(*[work] * 8) == [None] * 8
            assert backuplog.query_runs(store).total == 80

    # --- everything together ------------------------------------------------------------------------------------

    def test_it_behaves_as_a_plain_model(self) -> None:
        """Any sequence of deliveries, readings and listings gives what a dict and ``decide`` give."""
        contract = self

        class Machine(RuleBasedStateMachine):
            def __init__(self) -> None:
                super().__init__()
                self.scope = contract.fresh_store()
                self.store = self.scope.__enter__()
                self.tenants = [self.store, self.store.for_tenant(UUID(int=7))]
                self.agents = [UUID(int=1), UUID(int=2)]
                for view in self.tenants:
                    for agent_id in self.agents:
                        backuplog.register_agent(view, agent_id)
                self.model: dict[tuple[int, UUID], tuple[StoredRun, bytes]] = {}
                self.clock = _NOON

            @rule(
                tenant=st.integers(0, 1),
                agent=st.sampled_from([0, 0, 0, 1]),
                task=st.integers(1, 4).map(lambda number: UUID(int=number)),
                status=st.sampled_from(["success", "failed", "running", "pending"]),
                log=st.sampled_from([None, b"", b"short", b"long" * 400_000]),
                ended=st.none() | st.integers(0, 3).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC)),
                error=st.none() | st.sampled_from(["a", "b"]),
            )
            def deliver(
                self, tenant: int, agent: int, task: UUID, status: str, log: Any, ended: Any, error: Any
            ) -> None:
                self.clock += timedelta(seconds=1)
                sent = backuplog.TaskResult(
                    task_id=task,
                    policy_id=UUID(int=3),
                    task_type="backup",
                    status=status,
                    duration_seconds=1,
                    log=log,
                    end_time=ended,
                    error_message=error,
                )
                arriving = _arrive(self.tenants[tenant], self.agents[agent], sent, self.clock)
                stored, old_log = self.model.get((tenant, task), (None, b""))
                decision = backuplog.decide(stored, arriving)
                if decision.write is not None:
                    replaced = stored is None or decision.write.log_version != stored.log_version
                    self.model[tenant, task] = decision.write, (log or b"") if replaced else old_log
                answer = self.tenants[tenant].submit([arriving])[0]
                if isinstance(decision.answer, RunConflict):
                    assert isinstance(answer, RunConflict)
                else:
                    assert answer == decision.answer

            @invariant()
            def is_the_model(self) -> None:
                for tenant, view in enumerate(self.tenants):
                    expected = {task: kept for (owner, task), kept in self.model.items() if owner == tenant}
                    runs = backuplog.query_runs(view, RunQuery(limit=1000))
                    assert {run.id for run in runs.runs} == set(expected)
                    assert runs.total == len(expected)
                    for task, (stored, log) in expected.items():
                        assert view.find_run(task) == stored
                        assert backuplog.read_log(view, task) == log

            @rule(
                tenant=st.integers(0, 1),
                agent=st.sampled_from([None, 0, 1]),
                status=st.lists(st.sampled_from(["success", "failed", "running", "pending"]), max_size=2),
                since=st.none() | st.integers(0, 3).map(lambda h: datetime(2026, 11, 24, h, tzinfo=UTC)),
                limit=st.integers(1, 3),
            )
            def list_some(self, tenant: int, agent: int | None, status: Any, since: Any, limit: int) -> None:
                agent_id = None if agent is None else self.agents[agent]
                query = RunQuery(agent_id=agent_id, status=status, since=since, limit=limit)
                expected = [
                    kept.run
                    for (owner, _), (kept, _) in self.model.items()
                    if owner == tenant
                    and agent_id in (None, kept.run.agent_id)
                    and (not status or kept.run.status in status)
                    and (since is None or kept.run.start_time >= since)
                ]
                expected.sort(key=lambda run: (run.start_time, run.id.bytes), reverse=True)
                assert _walk(self.tenants[tenant], query) == expected

            @rule(tenant=st.integers(0, 1), task=st.integers(1, 4), start=st.integers(-9, 9), stop=st.integers(-9, 9))
            def read_some(self, tenant: int, task: int, start: int, stop: int) -> None:
                kept = self.model.get((tenant, UUID(int=task)))
                if kept is None:
                    with pytest.raises(RunNotFound):
                        backuplog.read_log(self.tenants[tenant], UUID(int=task))
                else:
                    log = backuplog.read_log(self.tenants[tenant], UUID(int=task), start=start, stop=stop)
                    assert log == kept[1][start:stop]

            def teardown(self) -> None:
                self.scope.__exit__(None, None, None)

        bounds = settings(max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=[*_UNCHECKED])
        run_state_machine_as_test(Machine, settings=bounds)


_INGEST_FOREVER = """
import sys, uuid
import backuplog
with backuplog.open_store(sys.argv[1]) as store:
    agent_id = backuplog.register_agent(store, uuid.UUID(int=1)).id
    def result(task):
        return {
            "taskId": task, "policyId": task, "taskType": "backup", "status": "success", "durationSeconds": 1,
            "log": task * (60_000 if task[0] in "01234567" else 10),
        }
    while True:
        one, *batch = [str(uuid.uuid4()) for _ in range(5)]
        backuplog.ingest_task_result(store, agent_id, result(one))
        print(one, flush=True)
        backuplog.ingest_task_results(store, [(agent_id, result(task)) for task in batch])
        for task in batch:
            print(task)
        sys.stdout.flush()
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


class DurableStoreContract(StoreContract):
    """What a store that outlives its process must keep besides."""

    kills: ClassVar[int] = 5
    """How often the crash test kills a process."""

    def fresh_url(self) -> AbstractContextManager[str]:
        """Give the URL of a place where nothing is stored yet. This is the hook."""
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
                receipts = _at_once(*works)
                outcomes = sorted(str(receipt.outcome) for receipt in receipts if isinstance(receipt, Receipt))
                assert outcomes == ["created", *["updated"] * 7]
                stored = other.find_run(UUID(sent["taskId"]))
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

    def test_a_killed_process_loses_nothing_it_acknowledged(self) -> None:
        """After kill -9 in the middle of ingesting, all acknowledged results are whole and nothing is half-written."""
        with self.fresh_url() as url:
            acknowledged: list[str] = []
            for kill in range(self.kills):
                child = subprocess.Popen(  # noqa: S603
                    [sys.executable, "-c", _INGEST_FOREVER, url], stdout=subprocess.PIPE, text=True
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
                    for run in _walk(store, RunQuery(limit=1000)):
                        letters = 60_000 if str(run.id)[0] in "01234567" else 10
                        assert backuplog.read_log(store, run.id) == str(run.id).encode() * letters
            assert len(acknowledged) >= self.kills


class TransactionalStoreContract(DurableStoreContract):
    """What a store that can work inside the caller's transaction must keep besides."""

    def connect(self, url: str) -> Any:
        """Open a connection of the caller's own, with commit(), rollback() and close(). This is the hook."""
        raise NotImplementedError("TransactionalStoreContract needs connect()")

    @contextmanager
    def _bound(self) -> Generator[tuple[Store, Store, Any, UUID]]:
        with self.fresh_url() as url, backuplog.open_store(url) as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            connection = self.connect(url)
            try:
                yield store, store.bound_to(connection), connection, agent_id
            finally:
                connection.close()

    def test_a_bound_result_commits_with_the_caller(self) -> None:
        """A result is seen inside the transaction at once, and outside when the caller commits."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="x" * 3_000_000)
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.CREATED
            assert backuplog.read_log(bound, sent["taskId"]) == b"x" * 3_000_000
            assert backuplog.query_runs(bound).total == 1
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"])
            connection.commit()
            assert backuplog.read_log(store, sent["taskId"]) == b"x" * 3_000_000

    def test_a_bound_result_rolls_back_with_the_caller(self) -> None:
        """Nothing is left of a transaction that the caller rolled back: no run, no log, no agent."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="log")
            backuplog.ingest_task_result(bound, agent_id, sent)
            new = backuplog.register_agent(bound, uuid4()).id
            connection.rollback()
            assert backuplog.query_runs(store).total == 0
            with pytest.raises(AgentNotFound):
                backuplog.get_agent(store, new)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome is Outcome.CREATED

    def test_a_refusal_leaves_the_callers_transaction_as_it_was(self) -> None:
        """A conflict, an unknown agent and a lost log undo themselves only; what stood before is committed."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="log")
            backuplog.ingest_task_result(bound, agent_id, sent)
            other = backuplog.register_agent(bound, uuid4()).id
            with pytest.raises(RunConflict):
                backuplog.ingest_task_result(bound, other, sent)
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(bound, uuid4(), payload())
            failing: Any = _Failing(bound)
            assert backuplog.ingest_task_result(failing, other, payload(log="lost")).log_state == "lost"
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.REPLAYED
            connection.commit()
            assert backuplog.query_runs(store).total == 2

    def test_a_replacement_rolls_back_to_the_whole_of_what_was_there(self) -> None:
        """Replays and replacements in a transaction that is rolled back leave the first result and its log."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="a" * 2_000_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            before = store.find_run(UUID(sent["taskId"]))
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.REPLAYED
            assert backuplog.ingest_task_result(bound, agent_id, {**sent, "log": "b"}).outcome is Outcome.UPDATED
            assert backuplog.read_log(bound, sent["taskId"]) == b"b"
            connection.rollback()
            assert store.find_run(UUID(sent["taskId"])) == before
            assert backuplog.read_log(store, sent["taskId"]) == b"a" * 2_000_000

    def test_an_error_inside_undoes_its_own_call_only(self) -> None:
        """An error while a log is read leaves the caller's transaction usable, with all that was done before it."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="kept")
            backuplog.ingest_task_result(bound, agent_id, sent)
            broken = _arrive(bound, agent_id, backuplog.parse_task_result(payload(log="x" * 200)), _NOON)
            with pytest.raises(ZeroDivisionError):
                bound.submit([attrs.evolve(broken, log=_broken_log(broken))])
            connection.commit()
            assert [run.id for run in backuplog.query_runs(store).runs] == [UUID(sent["taskId"])]
            assert backuplog.read_log(store, sent["taskId"]) == b"kept"
            assert store.find_chunk(broken.run.id, 1, 0) is None

    def test_closing_a_bound_view_leaves_the_connection_open(self) -> None:
        """A bound view may be used as a context manager; committing is still the caller's."""
        with self._bound() as (store, bound, connection, agent_id):
            with bound:
                backuplog.ingest_task_result(bound, agent_id, payload())
            assert backuplog.query_runs(store).total == 0
            connection.commit()
            assert backuplog.query_runs(store).total == 1

    def test_a_bound_view_has_tenants_too(self) -> None:
        """Another tenant's view of a bound store is in the same transaction."""
        with self._bound() as (store, bound, connection, agent_id):
            tenant = uuid4()
            backuplog.register_agent(bound.for_tenant(tenant), agent_id)
            backuplog.ingest_task_result(bound.for_tenant(tenant), agent_id, payload())
            assert backuplog.query_runs(store.for_tenant(tenant)).total == 0
            connection.commit()
            assert backuplog.query_runs(store.for_tenant(tenant)).total == 1
            assert backuplog.query_runs(store).total == 0


def _walk(store: Store, query: RunQuery) -> list[backuplog.BackupRun]:
    """List all pages of a query."""
    page = backuplog.query_runs(store, query)
    runs = list(page.runs)
    while page.next_cursor:
        page = backuplog.query_runs(store, attrs.evolve(query, cursor=page.next_cursor))
        runs += page.runs
    return runs


def _arrive(store: Store, agent_id: UUID, result: backuplog.TaskResult, received_at: datetime) -> Submission:
    return arrive(result, tenant_id=store.tenant_id, agent_id=agent_id, received_at=received_at)


def _broken_log(submission: Submission) -> Any:
    """Make a log whose second chunk cannot be read."""

    class BrokenLog:
        def chunks(self) -> Iterator[backuplog.Chunk]:
            assert submission.log is not None
            yield from submission.log.chunks()
            raise ZeroDivisionError

    return BrokenLog()
