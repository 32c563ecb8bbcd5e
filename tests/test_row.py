"""Figures of rows, which are read in a fast way where they are what was written."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog import RunStats
from backuplog.backend import (
    FIGURES,
    RUN_COLUMNS,
    STORED_RUN_COLUMNS,
    StoredRun,
    StoreError,
    read_run,
    stored_run_row,
)
from backuplog.convert import stats_details, stats_from
from backuplog.model import as_stats
from backuplog.normalise import MAX_COUNT, MAX_DURATION_SECONDS

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
KINDS: dict[Any, st.SearchStrategy[Any]] = {
    int | None: st.none() | st.integers(0, MAX_COUNT),
    float | None: st.none() | st.floats(0, MAX_DURATION_SECONDS),
    str | None: st.none() | TEXT,
    bool | None: st.none() | st.booleans(),
    bool: st.booleans(),
    tuple[str, ...]: st.lists(TEXT, max_size=3),
}
STATS = st.builds(RunStats, **{field.name: KINDS[field.type] for field in attrs.fields(RunStats)})
MOMENT = datetime(2026, 11, 24, tzinfo=UTC)
ROW = dict.fromkeys(RUN_COLUMNS) | {
    "id": UUID(int=1),
    "duration_seconds": 1.0,
    "log_state": "none",
    "log_bytes": 0,
    "dropped_bytes": 0,
    "redactions": 0,
}


def read(**columns: object) -> RunStats | None:
    """Read the figures of a row."""
    row = tuple((ROW | columns).values())
    return read_run(UUID(int=0), row, lambda value: value, lambda _: MOMENT).stats


@given(STATS)
def test_any_figures_come_back(stats: RunStats) -> None:
    """What is written of figures, now or before it was written fast, is read as it was, whole and of the same types."""
    run = read_run(UUID(int=0), tuple((ROW | {"status": "success"}).values()), lambda value: value, lambda _: MOMENT)
    stored = StoredRun(run=attrs.evolve(run, stats=stats), digest=bytes(32), end_time_reported=True)
    row = dict(zip(STORED_RUN_COLUMNS, stored_run_row(stored, lambda value: value, lambda value: value), strict=True))
    written = {name: row[name] for name in (*FIGURES, "stats_details")}
    before = {**{name: getattr(stats, name) for name in FIGURES}, "stats_details": stats_details(stats)}
    for columns in (written, before):
        found = read(**columns)
        assert found == as_stats(stats)
        assert found is None or type(found) is RunStats
        assert repr(found) == repr(as_stats(stats))
    assert stats != RunStats() or set(written.values()) == {None}


@pytest.mark.parametrize(
    "details",
    [
        *(
            "[]",
            "{",
            "{}",
            '{"tool":null}',
            '{"duration":1}',
            '{"data_added":5}',
            '{"failed_items":[]}',
            '{"warnings":2.0}',
        ),
        *('{"tool":""}', '{"snapshot_id":""}', '{"tool":"%s"}' % ("x" * 51), '{"snapshot_id":"%s"}' % ("x" * 256)),
        *('{"failed_items":["%s"]}' % ("x" * 1_025), '{"failed_items":["x"%s]}' % (',"x"' * 100)),
        *(r'{"tool":"\u0000"}', r'{"failed_items":["\u0000"]}', r'{"tool":"\\u0000"}'),
    ],
)
def test_what_was_written_in_another_way_is_read_as_before(details: str) -> None:
    """Figures that another writer left are read, or refused, as the slow way does."""
    try:
        expected = as_stats(stats_from((None,) * len(FIGURES), details))
    except ValueError:
        with pytest.raises(StoreError):
            read(stats_details=details)
        return
    assert read(stats_details=details) == expected


@pytest.mark.parametrize(
    "columns",
    [
        {"files_new": -1},
        {"files_new": "1"},
        {"stats_details": '{"x":1}'},
        {"stats_details": '{"duration":-1}'},
        {"stats_details": '{"duration":"1"}'},
        {"stats_details": '{"warnings":-1}'},
        {"stats_details": '{"warnings":9223372036854775808}'},
        {"stats_details": '{"tool":"\\ud800"}'},
        {"stats_details": '{"dry_run":1}'},
        {"stats_details": "[" * 100_000},
    ],
)
def test_damaged_figures_are_refused(columns: dict[str, Any]) -> None:
    """A figure that no run can have makes the row one that is damaged."""
    with pytest.raises(StoreError, match="the row of run 00000000-0000-0000-0000-000000000001 is damaged"):
        read(**columns)


class SafeText(str):
    """Text of a class of its own, as Django's and MarkupSafe's is."""

    __slots__ = ()


class Count(int):
    """A number of a class of its own."""


def test_figures_may_be_of_classes_of_their_own() -> None:
    """What an agent in Python gives is written whatever subclass of text or number it is."""
    run = read_run(UUID(int=0), tuple(ROW.values()), lambda value: value, lambda _: MOMENT)
    stats = RunStats(tool=SafeText("restic"), snapshot_id=SafeText("abc"), warnings=Count(5))
    stored = StoredRun(run=attrs.evolve(run, stats=stats), digest=bytes(32), end_time_reported=True)
    row = dict(zip(STORED_RUN_COLUMNS, stored_run_row(stored, lambda value: value, lambda value: value), strict=True))
    assert read(stats_details=row["stats_details"]) == RunStats(tool="restic", snapshot_id="abc", warnings=5)
