"""Copying a history to another store: what it refuses, how it goes on, what meanwhile happens, what breaks."""

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import CopyReport
from backuplog.backend import Backend, Chunk, StoredRun
from backuplog.chunk import is_intact
from backuplog.merge import merge, moved
from backuplog.redact import Unredacted
from backuplog.testing.common import NOON, at_once, begin, reading, without_room_for_logs
from backuplog.testing.copies import assert_same, fill

Payload = Callable[..., dict[str, Any]]

AGENT = UUID(int=1)


@pytest.fixture
def target() -> Iterator[backuplog.Store]:
    """Give an empty store to copy to."""
    with backuplog.open_store("sqlite://") as opened:
        yield opened


def ingest(store: backuplog.Store, agent_id: UUID, *sent: dict[str, Any]) -> list[UUID]:
    """Take results in, and give the ids of their runs."""
    answers = backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
    return [answer.run_id for answer in answers if isinstance(answer, backuplog.Receipt)]


# --- what is refused ---------------------------------------------------------------------------------------------


def test_a_store_is_not_copied_to_itself_or_to_another_tenant(store: backuplog.Store, target: backuplog.Store) -> None:
    """The two must be different stores of one tenant, and the message says how."""
    with pytest.raises(backuplog.InvalidQuery, match="another store than the source"):
        backuplog.copy_store(store, attrs.evolve(store, parsers=()))
    with pytest.raises(backuplog.InvalidQuery, match=r"for_tenant\(source\.tenant_id\)"):
        backuplog.copy_store(store, target.for_tenant(uuid4()))
    with pytest.raises(TypeError, match="must be a Store"):
        backuplog.copy_store(store, "sqlite://")  # type: ignore[arg-type]


@pytest.mark.parametrize(("name", "value"), [("cursor", "nonsense"), ("cursor", 1), ("max_seconds", -1.0)])
def test_malformed_arguments_are_named(
    store: backuplog.Store, target: backuplog.Store, name: str, value: object
) -> None:
    """A cursor of nowhere and a negative time are refused, and nothing is written."""
    backuplog.register_agent(store, AGENT)
    given: dict[str, Any] = {name: value}
    with pytest.raises(backuplog.InvalidQuery, match=name):
        backuplog.copy_store(store, target, **given)
    assert backuplog.list_agents(target) == []


def test_two_handles_of_one_store_do_no_harm(tmp_path: Path, payload: Payload) -> None:
    """A store that is copied to itself by another handle has everything already."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    with backuplog.open_store(url) as one, backuplog.open_store(url) as other:
        ingest(one, backuplog.register_agent(one, AGENT).id, payload(log="a"), payload(log="b" * 9_000_000))
        assert backuplog.copy_store(one, other) == CopyReport(equal=2)


# --- how it goes on ----------------------------------------------------------------------------------------------


def test_it_stops_and_goes_on(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """Out of time it stops after a batch of 8 MiB of logs, says where, and goes on there with nothing left out."""
    ingest(store, agent_id, *(payload(log=f"{number}" * 3_000_000) for number in range(5)))
    told: list[CopyReport] = []
    report = backuplog.copy_store(store, target, max_seconds=0, on_progress=told.append)
    assert (report.copied, report.agents, told) == (2, 1, [report])
    copied = report.copied
    while report.next_cursor is not None:
        report = backuplog.copy_store(store, target, cursor=report.next_cursor, max_seconds=0)
        copied += report.copied
        assert (report.agents, report.equal) == (0, 0)
    assert copied == 5
    assert_same(store, target)


def test_pages_and_long_logs_have_their_batches(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """More runs than a page has, and a log longer than a batch takes among them, all come over once."""
    sent = [payload(startTime=(NOON + timedelta(seconds=number)).isoformat()) for number in range(1_100)]
    sent[700]["log"] = "a line of the log\n" * 600_000
    ingest(store, agent_id, *sent)
    told: list[CopyReport] = []
    assert backuplog.copy_store(store, target, on_progress=told.append).copied == 1_100
    assert [one.copied for one in told] == [399, 400, 500, 1_000, 1_100]
    assert len(assert_same(store, target)) == 1_000
    assert backuplog.copy_store(store, target).equal == 1_100


def test_an_empty_store_is_copied(store: backuplog.Store, target: backuplog.Store) -> None:
    """Where there is nothing, nothing is done."""
    assert backuplog.copy_store(store, target) == CopyReport()


def test_it_ends_where_too_much_is_to_be_named(
    store: backuplog.Store, target: backuplog.Store, payload: Payload
) -> None:
    """A report names some 1,000 runs at most: then the call ends, and the next goes on."""
    sent = [payload() for _ in range(1_200)]
    for view, agent_id in ((store, AGENT), (target, UUID(int=2))):
        ingest(view, backuplog.register_agent(view, agent_id).id, *sent)
    report = backuplog.copy_store(store, target)
    assert len(report.conflicting) == 1_000
    assert len(backuplog.copy_store(store, target, cursor=report.next_cursor).conflicting) == 200


def test_an_agent_keeps_what_the_target_knows_of_it(store: backuplog.Store, target: backuplog.Store) -> None:
    """A newer hostname stays, and a missing one comes from the source."""
    for number, names in enumerate([("old", "new"), ("old", None), (None, "new")]):
        for view, hostname in zip((store, target), names, strict=True):
            backuplog.register_agent(view, UUID(int=number), hostname=hostname)
    assert backuplog.copy_store(store, target).agents == 1
    assert [backuplog.get_agent(target, UUID(int=number)).hostname for number in range(3)] == ["new", "old", "new"]


def test_no_agent_need_be_stored(target: backuplog.Store, payload: Payload) -> None:
    """Where the integrator keeps agents in a table of their own, runs and tokens are copied without."""
    with backuplog.open_store("sqlite://", agent_exists=lambda _: True) as source:
        ingest(source, AGENT, payload(log="log"))
        token = backuplog.issue_agent_token(source, AGENT)
        assert backuplog.copy_store(source, target) == CopyReport(tokens=1, copied=1)
        assert_same(source, target)
        assert backuplog.verify_agent_token(target, token).agent_id == AGENT


def test_what_only_the_target_has_removed_comes_back(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A run or an agent that was removed in the target alone is copied again; a log that has expired is not."""
    old = NOON - timedelta(days=90)
    sent = [payload(log="log", startTime=(old + timedelta(days=day)).isoformat()) for day in range(3)]
    for one in sent:
        one["policyId"] = sent[0]["policyId"]
        backuplog.ingest_task_result(store, agent_id, one, received_at=old)
    backuplog.copy_store(store, target)
    backuplog.expire_log(target, sent[0]["taskId"])
    assert backuplog.copy_store(store, target) == CopyReport(kept=1, equal=2)
    policy = backuplog.RetentionPolicy(runs=timedelta(days=30))
    assert backuplog.prune(target, policy, now=NOON, pause=lambda _: None).runs_removed == 2
    assert backuplog.copy_store(store, target) == CopyReport(copied=2, equal=1)
    backuplog.remove_agent(target, agent_id, pause=lambda _: None)
    assert backuplog.copy_store(store, target) == CopyReport(agents=1, copied=3)
    assert_same(store, target)


# --- what happens meanwhile --------------------------------------------------------------------------------------


def test_a_log_that_is_replaced_while_it_is_read_is_read_again(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """What arrives is one log and never a mix of two, also where it is read while it is written."""
    for size in (2_000_000, 9_000_000):
        sent = payload(log="a" * size)
        [run_id] = ingest(store, agent_id, sent)
        later = [{**sent, "log": "b" * size}]

        def find_chunk(run_id: UUID, version: int, offset: int, later: Any = later) -> Chunk | None:
            if later and offset < 2**62:
                ingest(store, agent_id, later.pop())
            return store.backend.find_chunk(run_id, version, offset)

        assert backuplog.copy_store(reading(store, find_chunk), target).copied == 1
        assert later == []
        assert backuplog.read_log(target, run_id) == b"b" * size
    assert_same(store, target)


def test_a_log_that_never_rests_is_named(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A run whose log grows each time it is read is left for the next copy, and does not keep others from coming."""
    ingest(store, agent_id, payload(log="log"))
    run_id, length = begin(store, agent_id), 0

    def find_chunk(key: UUID, version: int, offset: int) -> Chunk | None:
        nonlocal length
        if key == run_id and offset == 2**62:
            length = backuplog.append_log(store, agent_id, run_id, b"more ", offset=length)
        return store.backend.find_chunk(key, version, offset)

    length = backuplog.append_log(store, agent_id, run_id, b"some ", offset=0)
    report = backuplog.copy_store(reading(store, find_chunk), target)
    assert (report.copied, report.unsettled) == (1, (run_id,))
    assert backuplog.copy_store(store, target).copied == 1
    assert_same(store, target)


def test_agents_send_to_both_while_it_copies(tmp_path: Path, payload: Payload) -> None:
    """With agents that send to either store, retries included, nothing is lost and nothing counts twice."""
    with (
        backuplog.open_store(f"sqlite:///{tmp_path / 'source.db'}", synchronous="normal") as source,
        backuplog.open_store(f"sqlite:///{tmp_path / 'target.db'}", synchronous="normal") as target,
    ):
        agent_id = backuplog.register_agent(source, AGENT).id
        backuplog.register_agent(target, AGENT)
        old, new = ([payload(log=f"{name} {number}") for number in range(120)] for name in ("old", "new"))
        ingest(source, agent_id, *old)
        failures: list[BaseException] = []

        def send(store: backuplog.Store, *sent: dict[str, Any]) -> None:
            try:
                for one in sent:
                    backuplog.ingest_task_result(store, agent_id, one)
            except BaseException as error:  # noqa: BLE001 - whatever a thread raises is the test's to show
                failures.append(error)

        threads = [
            threading.Thread(target=send, args=(source, *new[:60])),
            threading.Thread(target=send, args=(target, *new[60:], *old[:60])),
        ]
        for thread in threads:
            thread.start()
        reports = [backuplog.copy_store(source, target) for _ in range(3)]
        for thread in threads:
            thread.join()
        reports.append(backuplog.copy_store(source, target))
        assert failures == []
        assert [report.differing + report.damaged + report.conflicting for report in reports] == [()] * 4
        assert backuplog.query_runs(target).total == 240
        for one in (*old, *new):
            assert backuplog.ingest_task_result(target, agent_id, one).outcome == "replayed"
            assert backuplog.read_log(target, one["taskId"]) == one["log"].encode()


class OnlyRead:
    """A backend that must not be written."""

    def __init__(self, backend: Backend) -> None:
        """Take the backend."""
        self._backend = backend

    def __getattr__(self, name: str) -> Any:
        """Be that backend where it reads."""
        assert name in {"tenant_id", "list_agents", "list_tokens", "list_runs", "find_run", "find_chunk"}
        return getattr(self._backend, name)


def test_the_source_is_only_read(store: backuplog.Store, target: backuplog.Store, agent_id: UUID) -> None:
    """A copy calls nothing of the source that could write to it or lock it."""
    fill(store, agent_id)
    source: Any = OnlyRead(store.backend)
    assert backuplog.copy_store(attrs.evolve(store, backend=source), target).copied == 12
    assert_same(store, target)


def test_two_copies_at_once_make_one(tmp_path: Path, payload: Payload) -> None:
    """Of two that copy the same at the same time, each run is copied by one, and both see it whole."""
    with (
        backuplog.open_store(f"sqlite:///{tmp_path / 'source.db'}", synchronous="normal") as source,
        backuplog.open_store(f"sqlite:///{tmp_path / 'target.db'}", synchronous="normal") as target,
    ):
        agent_id = backuplog.register_agent(source, AGENT).id
        ingest(source, agent_id, *(payload(log=f"{number} " * 1_500_000) for number in range(10, 20)))
        reports = at_once(*[partial(backuplog.copy_store, source, target)] * 2)
        seen = [(report.copied, report.equal) for report in reports if isinstance(report, CopyReport)]
        assert [sum(counts) for counts in zip(*seen, strict=True)] == [10, 10]
        assert_same(source, target)


COPY = """
import sys
import backuplog
with backuplog.open_store(sys.argv[1]) as source, backuplog.open_store(sys.argv[2]) as target:
    print(backuplog.copy_store(source, target, on_progress=lambda report: print(report.copied, flush=True)))
"""


def test_a_copy_that_is_killed_goes_on(tmp_path: Path, payload: Payload) -> None:
    """After ``kill -9`` at any point each run is there whole or not at all, and another copy brings the rest."""
    urls = [f"sqlite:///{tmp_path / name}" for name in ("source.db", "target.db")]
    with backuplog.open_store(urls[0]) as source, backuplog.open_store(urls[1]) as target:
        agent_id = backuplog.register_agent(source, AGENT).id
        logs = [os.urandom(1_500_000 + number) for number in range(12)]
        ids = ingest(source, agent_id, *(payload(log=log) for log in logs))
        with subprocess.Popen([sys.executable, "-c", COPY, *urls], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        there = [run.id for run in backuplog.query_runs(target).runs]
        assert there
        for run_id, log in zip(ids, logs, strict=True):
            if run_id in there:
                assert backuplog.read_log(target, run_id) == log
        report = backuplog.copy_store(source, target)
        assert (report.copied, report.equal) == (12 - len(there), len(there))
        assert_same(source, target)


# --- what breaks -------------------------------------------------------------------------------------------------


def test_what_the_target_does_not_keep_is_named(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """Each chunk is read back: one that is another by then is no copy, and the report says so."""
    ingest(store, agent_id, payload(log="whole"))
    [run_id] = ingest(store, agent_id, payload(log="broken"))

    def find_chunk(key: UUID, version: int, offset: int) -> Chunk | None:
        chunk = target.backend.find_chunk(key, version, offset)
        return chunk and attrs.evolve(chunk, data=chunk.data if key != run_id else b"brXken")

    assert backuplog.copy_store(store, reading(target, find_chunk)).differing == (run_id,)
    missing = backuplog.copy_store(store, reading(target, lambda *_: None))
    assert set(missing.differing) == {run.id for run in backuplog.query_runs(store).runs}


class Forgetful(OnlyRead):
    """A backend that does not give back the snapshot of a run."""

    def __getattr__(self, name: str) -> Any:
        """Be that backend in all else."""
        return getattr(self._backend, name)

    def find_run(self, run_id: UUID) -> StoredRun | None:
        """Find a run without its snapshot."""
        stored = self._backend.find_run(run_id)
        return stored and attrs.evolve(stored, run=attrs.evolve(stored.run, snapshot_id=None))


def test_a_field_that_the_target_does_not_keep_is_named(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """The run itself is read back too."""
    [run_id] = ingest(store, agent_id, payload(snapshotId="8837c0dd"))
    forgetful: Any = Forgetful(target.backend)
    assert backuplog.copy_store(store, attrs.evolve(target, backend=forgetful)).differing == (run_id,)


def test_what_comes_while_it_is_read_back_is_no_damage(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer result that reaches the target right after the copy stays, and nothing is named."""
    sent = payload(log="log")
    [run_id] = ingest(store, agent_id, sent)
    find_run = target.backend.find_run

    def ingest_and_find(key: UUID) -> StoredRun | None:
        ingest(target, agent_id, {**sent, "log": "newer"})
        return find_run(key)

    monkeypatch.setattr(target.backend, "find_run", ingest_and_find)
    assert backuplog.copy_store(store, target) == CopyReport(agents=1, copied=1)
    assert backuplog.read_log(target, run_id) == b"newer"


def test_a_task_that_is_given_up_while_it_is_read_back_is_no_damage(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copied task that the target gives up at once, as it has been silent for long, is not named."""
    [run_id] = ingest(store, agent_id, payload(status="running"))
    find_run = target.backend.find_run
    later = backuplog.get_run(store, run_id).updated_at + timedelta(days=1)

    def reap_and_find(key: UUID) -> StoredRun | None:
        backuplog.reap_stale(target, after=timedelta(hours=1), now=later)
        return find_run(key)

    monkeypatch.setattr(target.backend, "find_run", reap_and_find)
    assert backuplog.copy_store(store, target) == CopyReport(agents=1, copied=1)
    assert backuplog.get_run(target, run_id).status == "lost"


def test_a_failure_of_either_store_is_raised(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """No run is passed over because a store fails: the error comes out, and another copy goes on."""
    ingest(store, agent_id, payload(log="a" * 9_000_000), payload(log="log"))

    def find_chunk(*_: Any) -> Chunk | None:
        raise backuplog.StoreError("the disk is gone")

    for source, to in ((reading(store, find_chunk), target), (store, reading(target, find_chunk))):
        with pytest.raises(backuplog.StoreError, match="the disk is gone"):
            backuplog.copy_store(source, to)
    report = backuplog.copy_store(store, target)
    assert report.copied + report.equal == 2
    assert_same(store, target)


def test_a_chunk_that_fails_its_checksum_is_copied_and_named(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A flipped byte in the source is the same flipped byte in the target, where reading fails as it does there."""
    [run_id] = ingest(store, agent_id, payload(log="log"))

    def find_chunk(key: UUID, version: int, offset: int) -> Chunk | None:
        chunk = store.backend.find_chunk(key, version, offset)
        return chunk and attrs.evolve(chunk, data=b"lXg")

    report = backuplog.copy_store(reading(store, find_chunk), target)
    assert (report.copied, report.damaged) == (1, (run_id,))
    assert target.backend.find_chunk(run_id, 1, 0) == find_chunk(run_id, 1, 0)
    with pytest.raises(backuplog.CorruptLog):
        backuplog.read_log(target, run_id)


def test_a_row_that_is_no_chunk_is_damage(tmp_path: Path, payload: Payload, target: backuplog.Store) -> None:
    """Where a column of a chunk is of another type, the run comes without what cannot be read, and is named."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'source.db'}") as source:
        [run_id] = ingest(source, backuplog.register_agent(source, AGENT).id, payload(log="log"))

        def find_chunk(*_: Any) -> Chunk | None:
            raise backuplog.CorruptLog

        report = backuplog.copy_store(reading(source, find_chunk), target)
        assert (report.copied, report.damaged) == (1, (run_id,))
        assert backuplog.get_run(target, run_id) == backuplog.get_run(source, run_id)


def test_a_long_log_is_never_whole_in_memory(tmp_path: Path, payload: Payload) -> None:
    """Copying a log of 48 MiB that cannot be compressed takes a fraction of that."""
    with (
        backuplog.open_store(f"sqlite:///{tmp_path / 'source.db'}", synchronous="normal") as source,
        backuplog.open_store(f"sqlite:///{tmp_path / 'target.db'}", synchronous="normal") as target,
    ):
        agent_id = backuplog.register_agent(source, AGENT).id
        ingest(attrs.evolve(source, redactor=Unredacted()), agent_id, payload(log=os.urandom(48 << 20)))
        tracemalloc.start()
        try:
            assert backuplog.copy_store(source, target).copied == 1
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 12 << 20


# --- whatever happens --------------------------------------------------------------------------------------------

STEPS = st.one_of(
    st.fixed_dictionaries(
        {
            "task": st.integers(1, 3),
            "status": st.sampled_from(["success", "failed", "running"]),
            "log": st.sampled_from([None, "", "short", "other"]),
            "ended": st.none() | st.integers(0, 3),
            "is_lost": st.booleans(),
        }
    ),
    st.fixed_dictionaries({"task": st.integers(1, 3), "data": st.sampled_from([b"a line\n", b"https://user:pa"])}),
    st.fixed_dictionaries({"task": st.integers(1, 3)}),
    st.fixed_dictionaries({"silent": st.integers(0, 3)}),
)
SOME = settings(max_examples=60, deadline=None)


def make(store: backuplog.Store, step: dict[str, Any], minute: int) -> None:
    """Give up tasks that are silent for so many minutes, deliver a result, append to a log or remove one."""
    now = NOON + timedelta(minutes=minute)
    if "silent" in step:
        backuplog.reap_stale(store, after=timedelta(minutes=step["silent"]), now=now)
        return
    run_id = UUID(int=step["task"])
    with suppress(backuplog.BackuplogError):  # such as a log that is not there: nothing happens then
        if "status" in step:
            ended = step["ended"] and NOON + timedelta(hours=step["ended"])
            result = backuplog.TaskResult(
                task_id=run_id,
                policy_id=UUID(int=9),
                task_type="backup",
                status=step["status"],
                duration_seconds=1,
                log=step["log"],
                end_time=ended,
            )
            view = without_room_for_logs(store) if step["is_lost"] else store
            backuplog.ingest_task_result(view, AGENT, result, received_at=now)
        elif "data" in step:
            offset = getattr(store.backend.find_run(run_id), "log_end", 0)
            backuplog.append_log(store, AGENT, run_id, step["data"], offset=offset, received_at=now)
        else:
            backuplog.expire_log(store, run_id)


@pytest.fixture(scope="module")
def three() -> Iterator[Callable[[], list[backuplog.Store]]]:
    """Give a maker of three empty stores: of a new tenant each time, because opening one takes longer than a test."""
    with ExitStack() as stack:
        stores = [stack.enter_context(backuplog.open_store("sqlite://", observers=())) for _ in range(3)]

        def make_empty() -> list[backuplog.Store]:
            tenant_id = uuid4()
            views = [store.for_tenant(tenant_id) for store in stores]
            for view in views:
                view.backend.put_agent(backuplog.Agent(id=AGENT, tenant_id=tenant_id, registered_at=NOON))
            return views

        yield make_empty


RUNNING = {"task": 1, "status": "running", "log": None, "ended": None, "is_lost": False}
GIVE_UP, LINE, EMPTY = {"silent": 0}, {"task": 1, "data": b"a line\n"}, {**RUNNING, "status": "success", "log": ""}


@pytest.mark.parametrize(
    ("here", "there", "status", "heard"),
    [
        ([GIVE_UP], [], "lost", 0),
        ([], [GIVE_UP], "lost", 0),
        ([GIVE_UP], [LINE], "running", 2),
        ([LINE], [GIVE_UP], "running", 1),
        ([LINE, GIVE_UP], [], "lost", 1),
        ([GIVE_UP, RUNNING], [], "running", 2),
        ([GIVE_UP, RUNNING], [GIVE_UP], "running", 2),
        ([GIVE_UP], [GIVE_UP, RUNNING], "running", 3),
    ],
    ids=str,
)
@pytest.mark.parametrize("is_copied", [True, False])
def test_a_task_is_lost_unless_it_was_heard_of_later(
    three: Callable[[], list[backuplog.Store]],
    here: list[dict[str, Any]],
    there: list[dict[str, Any]],
    status: str,
    heard: int,
    is_copied: bool,  # noqa: FBT001 - pytest gives it by name
) -> None:
    """Where one store has given up a task of which the other has heard since, it runs, with all that came of it."""
    source, target, _ = three()
    make(source, RUNNING, 0)
    if is_copied:
        backuplog.copy_store(source, target)
    else:
        make(target, RUNNING, 0)
    for minute, (store, step) in enumerate([(source, step) for step in here] + [(target, step) for step in there], 1):
        make(store, step, minute)
    backuplog.copy_store(source, target)
    run = backuplog.get_run(target, UUID(int=1))
    assert (run.status, run.end_time, run.updated_at) == (status, None, NOON + timedelta(minutes=heard))
    log = b"a line\n" if LINE in here + there else b""
    assert backuplog.read_log(target, run.id) == log
    again = backuplog.copy_store(source, target)
    assert (again.updated, backuplog.get_run(target, run.id)) == (0, run)


@pytest.mark.parametrize(
    ("lost", "minutes", "status", "heard"),
    [(0, (0, 5), "running", 5), (1, (5, 0), "running", 5), (1, (0, 5), "lost", 5)],
)
def test_a_result_that_both_received_is_lost_unless_it_came_later(
    three: Callable[[], list[backuplog.Store]], lost: int, minutes: tuple[int, int], status: str, heard: int
) -> None:
    """A retry that reaches the other store after the task was given up is as good as one that reaches the same."""
    source, target, _ = three()
    for store, minute in zip((source, target), minutes, strict=True):
        make(store, RUNNING, minute)
    make((source, target)[lost], GIVE_UP, 9)
    for _ in range(2):
        backuplog.copy_store(source, target)
        run = backuplog.get_run(target, UUID(int=1))
        assert (run.status, run.received_at, run.updated_at) == (status, NOON, NOON + timedelta(minutes=heard))


@SOME
@example(before=[RUNNING], between=[GIVE_UP, RUNNING], after=[GIVE_UP])
@example(before=[RUNNING, GIVE_UP], between=[LINE, GIVE_UP], after=[RUNNING])
@example(before=[{**EMPTY, "is_lost": True}], between=[EMPTY], after=[])
@given(before=st.lists(STEPS, max_size=6), between=st.lists(STEPS, max_size=4), after=st.lists(STEPS, max_size=6))
def test_copies_make_of_two_stores_one(
    three: Callable[[], list[backuplog.Store]],
    before: list[dict[str, Any]],
    between: list[dict[str, Any]],
    after: list[dict[str, Any]],
) -> None:
    """A source in use that is copied twice, and a target that goes on, end as one store to which all had come."""
    source, target, single = three()
    minutes = iter(range(99))
    for steps in (before, between):
        for step in steps:
            minute = next(minutes)
            make(source, step, minute)
            make(single, step, minute)
        backuplog.copy_store(source, target)
        assert_same(source, target)
    for step in after:
        minute = next(minutes)
        make(target, step, minute)
        make(single, step, minute)
    for _ in range(2):
        assert_same(single, target)
        backuplog.copy_store(source, target)


@SOME
@given(here=st.lists(STEPS, min_size=1, max_size=6), there=st.lists(STEPS, min_size=1, max_size=6))
def test_whatever_each_has_a_second_copy_changes_nothing(
    three: Callable[[], list[backuplog.Store]], here: list[dict[str, Any]], there: list[dict[str, Any]]
) -> None:
    """Of two stores that know nothing of each other, the first copy settles everything: logs can be read after it."""
    source, target, _ = three()
    for store, steps in ((source, here), (target, there)):
        for minute, step in enumerate(steps):
            make(store, step, minute)
    report = backuplog.copy_store(source, target)
    assert (report.damaged, report.differing, report.unsettled) == ((), (), ())
    settled = {run.id: target.backend.find_run(run.id) for run in backuplog.query_runs(target).runs}
    again = backuplog.copy_store(source, target)
    assert (again.copied, again.updated) == (0, 0)
    for run_id, stored in settled.items():
        assert target.backend.find_run(run_id) == stored
        with suppress(backuplog.LogLost, backuplog.LogExpired):
            backuplog.read_log(target, run_id)
        other = source.backend.find_run(run_id)
        if stored is not None and other is not None:
            assert merge(other, stored) == (stored, False)
            assert other.digest in (stored.digest, *stored.superseded)


def test_what_came_too_late_is_remembered(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A result that the source has ignored since the last copy is ignored by the target too."""
    task = payload(endTime="2026-11-24T02:00:00Z")
    late = {**task, "endTime": "2026-11-24T01:00:00Z"}
    ingest(store, agent_id, task)
    for count in ("copied", "updated", "equal"):
        assert getattr(backuplog.copy_store(store, target), count) == 1
        assert_same(store, target)
        assert backuplog.ingest_task_result(store, agent_id, late).outcome == "stale"


def test_a_long_history_is_joined_once(
    store: backuplog.Store, target: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """Where more was superseded than a run remembers, the newest is remembered, and another copy changes nothing."""
    task = payload()
    for number in range(40):
        ingest(store, agent_id, {**task, "errorMessage": f"{number}"})
    ingest(target, backuplog.register_agent(target, agent_id).id, {**task, "snapshotId": "newest"})
    assert backuplog.copy_store(store, target).kept == 1
    joined = target.backend.find_run(UUID(task["taskId"]))
    assert backuplog.copy_store(store, target).kept == 1
    assert target.backend.find_run(UUID(task["taskId"])) == joined
    again = backuplog.ingest_task_result(target, agent_id, {**task, "errorMessage": "39"})
    assert (again.outcome, backuplog.get_run(target, again.run_id).snapshot_id) == ("stale", "newest")


def test_a_damaged_chunk_stays_damaged_under_another_version(
    store: backuplog.Store, agent_id: UUID, payload: Payload
) -> None:
    """A chunk that moves gets the checksum of its new place, but for one that does not have that of its old."""
    [run_id] = ingest(store, agent_id, payload(log="log"))
    chunk = store.backend.find_chunk(run_id, 1, 0)
    assert chunk is not None
    assert is_intact(moved(chunk, run_id, 1, 2), run_id, 2)
    damaged = attrs.evolve(chunk, data=b"lXg")
    assert moved(damaged, run_id, 1, 2) == damaged
    assert not is_intact(damaged, run_id, 2)
