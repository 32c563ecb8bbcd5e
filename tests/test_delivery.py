"""The delivery contract as a pure function."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog.backend import Amendment, StoredRun, Submission, prepare_submission
from backuplog.delivery import OpenLog

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def submission(*, agent: int = 1, received_at: datetime = NOON, **fields: Any) -> Submission:
    """Make a submission of task 2 by agent 1."""
    valid: dict[str, Any] = {
        "task_id": UUID(int=2),
        "policy_id": UUID(int=3),
        "task_type": "backup",
        "status": "success",
        "duration_seconds": 60,
    }
    result = backuplog.TaskResult(**{**valid, **fields})
    return prepare_submission(
        result, tenant_id=UUID(int=0), agent_id=UUID(int=agent), received_at=received_at, requires_agent=None
    )


def deliver(*submissions: Submission) -> tuple[list[str], StoredRun]:
    """Deliver submissions in order and give the outcomes and what is stored in the end."""
    stored, outcomes = None, []
    for arriving in submissions:
        decision = arriving.decide(stored)
        if isinstance(decision.answer, OpenLog):
            read = decision.answer.stored
            decision = attrs.evolve(arriving, closing=Amendment(read=read, write=read)).decide(stored)
        stored = decision.write or stored
        answer = decision.answer
        outcomes.append(str(answer.outcome) if isinstance(answer, backuplog.Receipt) else answer.error_type)
    assert stored is not None
    return outcomes, stored


def test_nothing_stored_is_created() -> None:
    """The first result is stored as it is."""
    first = submission(log="log")
    outcomes, stored = deliver(first)
    assert (outcomes, stored.run, stored.log_version) == (["created"], first.run, 1)


def test_same_content_is_replayed() -> None:
    """The same content writes nothing."""
    first = submission(log="log")
    decision = submission(log=b"log", received_at=NOON + HOUR).decide(deliver(first)[1])
    assert decision.write is None
    assert isinstance(decision.answer, backuplog.Receipt)
    assert (decision.answer.outcome, decision.answer.log_bytes) == ("replayed", 3)


def test_active_is_replaced_and_its_open_log_closed() -> None:
    """A final result without a log keeps what the task appended, and closes it."""
    stored = deliver(submission(status="running"))[1]
    growing = attrs.evolve(stored, run=attrs.evolve(stored.run, log_state=backuplog.LogState.OPEN, log_bytes=7))
    asked = submission().decide(growing)
    assert (asked.answer, asked.write) == (OpenLog(stored=growing), None)
    closed = attrs.evolve(growing, run=attrs.evolve(growing.run, log_state=backuplog.LogState.COMPLETE))
    closing = Amendment(read=growing, write=closed, parts=((4, b"end"),), drop=4)
    decision = attrs.evolve(submission(), closing=closing).decide(growing)
    assert decision.write is not None
    assert (decision.write.run.log_state, decision.write.run.log_bytes) == ("complete", 7)
    assert (decision.write.log_version, decision.drop) == (1, 4)
    assert [chunk.data for chunk in decision.chunks] == [b"end"]
    grown = attrs.evolve(growing, run=attrs.evolve(growing.run, log_bytes=8))
    assert attrs.evolve(submission(), closing=closing).decide(grown).answer == OpenLog(stored=grown)
    replaced = submission(log="all").decide(growing).write
    assert replaced is not None
    assert (replaced.run.log_bytes, replaced.log_version) == (3, 2)


def test_a_later_final_result_wins() -> None:
    """Absent optional fields become None, the log goes, the first receipt stays."""
    outcomes, stored = deliver(
        submission(snapshot_id="s", log="x"), submission(status="failed", received_at=NOON + HOUR)
    )
    run = stored.run
    assert outcomes == ["created", "updated"]
    assert (run.snapshot_id, run.log_state, run.received_at, run.updated_at) == (None, "none", NOON, NOON + HOUR)
    assert stored.log_version == 2


def test_a_late_active_result_is_stale() -> None:
    """Running or pending never hides a result."""
    assert deliver(submission(), submission(status="running"), submission(status="queued"))[0][1:] == ["stale"] * 2


def test_superseded_content_is_stale() -> None:
    """Sixteen superseded contents are remembered, the seventeenth back is not."""
    contents = [submission(error_message=str(number)) for number in range(18)]
    outcomes, stored = deliver(*contents, contents[1], contents[16], contents[0])
    assert outcomes[-3:] == ["stale", "stale", "updated"]
    assert len(stored.superseded) == 16


def test_an_older_end_is_stale_even_later() -> None:
    """A result of an older end is ignored, and its retry too when no end is left to compare with."""
    new, old = submission(end_time=NOON), submission(end_time=NOON - HOUR, status="failed")
    assert deliver(new, old, submission(status="warning"), old)[0] == ["created", "stale", "updated", "stale"]


def test_late_results_push_out_none_that_was_stored() -> None:
    """However many results with an older end come, a superseded one is still known and undoes nothing."""
    failed, won = submission(status="failed"), submission(end_time=NOON)
    late = [submission(end_time=NOON - number * HOUR, status="failed") for number in range(1, 41)]
    outcomes, stored = deliver(
        failed, won, *late, failed, submission(status="warning"), *late[-16:], late[0], failed, won
    )
    assert outcomes[:2] == ["created", "updated"]
    assert outcomes[2:43] == ["stale"] * 41
    assert outcomes[43:60] == ["updated", *["stale"] * 16]  # also where no end is left to compare with
    assert len(stored.superseded) <= 32
    assert outcomes[-2:] == ["stale", "stale"]


def test_a_lost_log_is_found() -> None:
    """The same content brings a lost log; without one it is a replay."""
    first = submission(log="log")
    outcomes, stored = deliver(first.without_log(), first.without_log(), first, first)
    assert outcomes == ["created", "replayed", "updated", "replayed"]
    assert (stored.run.log_state, stored.log_version) == ("complete", 2)


def test_a_decision_says_which_chunks_come_and_go() -> None:
    """A first log comes, a replay touches none, another result takes the old log away, a closed one is left alone."""
    first = submission(log="log")
    decisions = [first.decide(None), first.decide(deliver(first)[1])]
    decisions += [submission(status="failed", log=log).decide(deliver(first)[1]) for log in ("new", None)]
    decisions.append(submission().decide(deliver(submission(status="running", log="so far"))[1]))
    effects = [(decision.drop, sum(chunk.size for chunk in decision.chunks)) for decision in decisions]
    assert effects == [(None, 3), (None, 0), (0, 3), (0, 0), (None, 0)]


def test_a_superseded_result_delivers_the_log_that_is_missing() -> None:
    """A log that was lost while the task ran comes with the first body, though a result without one has followed."""
    first, last = submission(status="running", log="so far"), submission()
    outcomes, stored = deliver(first.without_log(), last, first, first, last)
    assert outcomes == ["created", "updated", "updated", "stale", "replayed"]
    assert (stored.run.status, stored.run.log_state, stored.run.log_bytes) == ("success", "complete", 6)
    assert stored.digest == last.digest


def test_a_lost_log_is_told_to_its_sender_only() -> None:
    """Whoever sent no log, or a superseded other one, is not told that a log was lost: they cannot send it again."""
    other, first, last = submission(log="other"), submission(status="running", log="so far"), submission()
    stored = deliver(submission(status="running", log="other"), first.without_log())[1]
    told = [
        arriving.decide(stored).answer for arriving in (first.without_log(), submission(status="running", log="other"))
    ]
    assert [answer.log_state for answer in told if isinstance(answer, backuplog.Receipt)] == ["lost", "none"]
    after = deliver(other, first.without_log(), last)[1]
    assert after.run.log_state != "lost"
    kept = deliver(first.without_log(), last)[1]
    assert kept.run.log_state == "lost"
    silent = [last.decide(kept).answer, submission(status="running", error_message="late").decide(kept).answer]
    assert [(answer.log_state, answer.log_bytes) for answer in silent if isinstance(answer, backuplog.Receipt)] == [
        ("none", 0),
        ("none", 0),
    ]


def test_another_agent_is_a_conflict() -> None:
    """Nothing is written and nothing told, whatever the other agent sends."""
    stored = deliver(submission())[1]
    decision = submission(agent=9).decide(stored)
    assert decision.write is None
    assert isinstance(decision.answer, backuplog.RunConflict)


def test_times_are_settled_on_arrival() -> None:
    """Absent times come from the receipt and the duration, an active run has no end."""
    run = submission().run
    assert (run.start_time, run.end_time) == (NOON - timedelta(minutes=1), NOON)
    assert submission(end_time=NOON - HOUR).run.start_time == NOON - HOUR - timedelta(minutes=1)
    assert submission(start_time=NOON - HOUR).run.start_time == NOON - HOUR
    assert submission(status="running", end_time=NOON).run.end_time is None


def test_a_duration_that_reaches_before_all_time_is_kept() -> None:
    """An agent whose clock is not set loses no result: its start is the earliest moment there is."""
    run = submission(end_time=datetime(2, 1, 1, tzinfo=UTC), duration_seconds=9e9).run
    assert (run.start_time, run.duration_seconds) == (datetime(1, 1, 1, tzinfo=UTC), 9e9)


def test_the_digest_never_changes() -> None:
    """The stored digest has one form for ever: another would turn every retry across an upgrade into an update."""
    full = submission(log="log", snapshot_id="s", error_message="e", start_time=NOON, end_time=NOON)
    assert full.digest.hex() == "4250a7e4dee60237378765ce66ea171711f936b920cd40faad09b4d4822e7b7b"


@pytest.mark.parametrize(
    "change",
    [
        {"policy_id": UUID(int=9)},
        {"task_type": "check"},
        {"status": "failed"},
        {"duration_seconds": 61},
        {"snapshot_id": "s"},
        {"error_message": "s"},
        {"start_time": NOON},
        {"end_time": NOON},
        {"log": ""},
        {"log": "x"},
        {"stats": backuplog.RunStats(files_new=0)},
        {"stats": backuplog.RunStats(approximate=True)},
    ],
)
def test_every_field_is_in_the_digest(change: dict[str, Any]) -> None:
    """A change of any one field is another content."""
    assert submission(**change).digest != submission().digest


CONTENTS = st.fixed_dictionaries(
    {
        "status": st.sampled_from(["success", "failed", "running", "pending"]),
        "log": st.none() | st.sampled_from(["", "a", "bb"]),
        "end_time": st.none() | st.integers(0, 3).map(lambda hour: NOON + hour * HOUR),
        "error_message": st.none() | st.sampled_from(["a", "b"]),
    }
)


@given(st.lists(CONTENTS, min_size=1, max_size=10, unique_by=lambda content: repr(sorted(content.items()))), st.data())
def test_retries_change_nothing(contents: list[dict[str, Any]], data: Any) -> None:
    """Any interleaving of retries leaves what each distinct submission once leaves, and no retry counts."""
    once = [submission(**content) for content in contents]
    assert len({arriving.digest for arriving in once}) == len(once)
    sent: list[Submission] = []
    retries: list[int] = []
    for number, arriving in enumerate(once):
        sent.append(arriving)
        for index in data.draw(st.lists(st.integers(0, number), max_size=3)):
            retries.append(len(sent))
            sent.append(once[index])
    outcomes, stored = deliver(*sent)
    assert stored == deliver(*once)[1]
    assert {outcomes[index] for index in retries} <= {"replayed", "stale"}
