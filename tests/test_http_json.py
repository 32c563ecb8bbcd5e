"""The JSON of runs, which two ways of writing it make of the same bytes."""

import json
from datetime import UTC, datetime
from typing import Any

import attrs
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backuplog import BackupRun, LogState, Progress, RunStats
from backuplog.http.response import listed_run, listed_run_json, to_json

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
COUNTS = st.none() | st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, 9_223_372_036) | st.sampled_from([1e-05, 1e-04, 0.0, 1e-300])
TIMES = st.datetimes(timezones=st.just(UTC))
STATS = st.builds(
    RunStats,
    data_added=COUNTS,
    total_bytes_processed=COUNTS,
    duration=st.none() | SECONDS,
    dry_run=st.none() | st.booleans(),
    failed_items=st.lists(TEXT),
    tool=st.none() | TEXT,
)
PROGRESS = st.builds(
    Progress, percent=st.none() | st.floats(0, 100), step=st.none() | TEXT, seconds_remaining=st.none() | SECONDS
)
RUNS = st.builds(
    BackupRun,
    id=st.uuids(),
    tenant_id=st.uuids(),
    agent_id=st.uuids(),
    policy_id=st.uuids(),
    task_type=TEXT,
    status=TEXT,
    start_time=TIMES,
    end_time=st.none() | TIMES,
    duration_seconds=SECONDS,
    error_message=st.none() | TEXT | TEXT.map(lambda text: text * 100),
    snapshot_id=st.none() | TEXT,
    received_at=TIMES,
    updated_at=TIMES,
    log_state=st.sampled_from(LogState),
    log_bytes=st.integers(0, 2**40),
    log_sha256=st.none() | st.binary(min_size=32, max_size=32),
    stats=st.none() | STATS,
    progress=st.none() | PROGRESS,
)


@settings(max_examples=50)
@given(RUNS)
def test_a_listed_run_is_written_as_by_the_standard_library(run: BackupRun) -> None:
    """Every byte is the same, for any run that can be stored."""
    assert listed_run_json(run) == to_json(listed_run(run)) == json.dumps(listed_run(run), ensure_ascii=False).encode()


class SafeText(str):
    """Text of a class of its own, as Django's and MarkupSafe's is."""

    __slots__ = ()


@settings(max_examples=5)
@given(RUNS)
def test_text_may_be_of_a_class_of_its_own(run: BackupRun) -> None:
    """A backend that keeps objects gives text back as it came: it is listed as any text is."""
    assert listed_run_json(attrs.evolve(run, task_type=SafeText(run.task_type))) == listed_run_json(run)


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example('\0\x1f\x7f\x80\u2028"\\/\b\f\n\r\t')
def test_text_is_written_as_by_the_standard_library(text: str) -> None:
    """Every byte of a log's text is the same."""
    assert to_json(text) == json.dumps(text, ensure_ascii=False).encode()


def test_a_list_names_no_tenant() -> None:
    """A run is listed with every field but its tenant."""
    moment = datetime(2026, 11, 24, tzinfo=UTC)
    values: dict[str, Any] = dict.fromkeys(field for field in BackupRun.__slots__ if field != "__weakref__")
    values |= {"start_time": moment, "received_at": moment, "updated_at": moment, "log_state": LogState.NONE}
    run = BackupRun(**{**values, "duration_seconds": 1.0})
    assert json.loads(listed_run_json(run)).keys() == values.keys() - {"tenant_id"}
