"""How the page writes figures, times and what agents say."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog.normalise import MAX_COUNT
from backuplog.web import text

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize("write", [text.number, text.size, text.duration])
def test_what_is_unknown_is_no_zero(write: object) -> None:
    """An unknown figure is shown as a dash, and 0 as 0."""
    assert write(None) == "—"  # type: ignore[operator]
    assert write(0).startswith("0")  # type: ignore[operator]


def test_figures_are_for_people() -> None:
    """Figures have separators, sizes binary units, and durations words."""
    assert text.number(1234567) == "1,234,567"
    assert text.size(3 * 2**30 // 2) == "1.5 GiB"
    assert text.duration(300) == "5 minutes"
    assert text.duration(0.25) == "250 milliseconds"


def test_ages_are_told_from_now() -> None:
    """An age is told in words; a time that is ahead says so."""
    assert text.age(NOON - timedelta(hours=3), NOON) == "3 hours ago"
    assert text.age(NOON + timedelta(hours=3), NOON) == "3 hours from now"


@given(st.datetimes(timezones=st.just(UTC)), st.datetimes(timezones=st.just(UTC)))
def test_every_time_can_be_written(time: datetime, now: datetime) -> None:
    """Whatever clock an agent has, its times can be shown, and read again to the second."""
    text.age(time, now)
    assert datetime.fromisoformat(text.iso(time)) == time
    assert datetime.fromisoformat(text.exact(time).removesuffix(" UTC")) == time.replace(tzinfo=None, microsecond=0)


@given(st.integers(0, MAX_COUNT), st.floats(0, 9_223_372_036))
def test_every_figure_can_be_written(count: int, seconds: float) -> None:
    """Every figure that can be stored can be shown."""
    assert text.size(count)
    assert text.number(count)
    assert text.duration(seconds)


@given(st.text(st.characters(exclude_categories=())), st.integers(2, 100))
def test_what_is_unseen_becomes_visible(said: str, longest: int) -> None:
    """No control character, turn of direction or lone surrogate reaches the page, and long text is cut."""
    shown = text.cut(said, longest)
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert len(shown) <= 6 * longest


def test_long_text_is_cut() -> None:
    """A text of the greatest length is whole, and a longer one says that there is more."""
    assert text.cut("abc", 3) == "abc"
    assert text.cut("abcd", 3) == "ab…"


def test_a_turned_name_is_told_as_it_is() -> None:
    """What would show a name turned around is written as an escape instead."""
    assert text.visible("invoice\u202efdp.exe") == "invoice\\u202efdp.exe"
    assert text.visible("\x1b[31mred\a") == "\\u001b[31mred\\u0007"
    assert text.visible("שלום, мир") == "שלום, мир"


@pytest.mark.parametrize(
    ("status", "tone", "mark"),
    [
        ("success", "success", "+"),
        ("warning", "warning", "!"),
        ("failed", "failed", "x"),
        ("lost", "failed", "x"),
        ("cancelled", "cancelled", "-"),
        ("running", "running", "…"),
        ("pending", "running", "…"),
        ('"><script>', "other", "?"),
    ],
)
def test_each_status_has_a_mark(status: str, tone: str, mark: str) -> None:
    """A status is told by its mark beside its colour, and one that nobody knows has those of all others."""
    assert (text.tone(status), text.mark(status)) == (tone, mark)


def test_a_time_is_shown_in_a_picker() -> None:
    """A time of an address is turned into what a date picker takes; what is no time is left."""
    assert text.local_time("2026-11-24T02:00:00+02:00") == "2026-11-24T00:00:00"
    assert text.local_time("2026-11-24T02:00") == "2026-11-24T02:00"
    assert text.local_time("yesterday") == "yesterday"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(None, "—"), (0, "0.00 s"), (0.686, "0.69 s"), (59.9, "59.90 s"), (7_500, "2:05:00")]
)
def test_a_column_shows_short_durations(seconds: float | None, shown: str) -> None:
    """Seconds have two decimals; from a minute on there are hours, minutes and seconds."""
    assert text.clock(seconds) == shown
