"""The small charts of the overview."""

from hypothesis import given
from hypothesis import strategies as st

from backuplog.normalise import MAX_COUNT
from backuplog.web.chart import HEIGHT, SLOT_WIDTH, SLOTS, bars, lines

FIGURES = st.lists(st.none() | st.integers(0, MAX_COUNT), max_size=SLOTS)


def test_the_greatest_bar_is_as_high_as_the_chart() -> None:
    """Bars are in proportion to what they stand for, and what is unknown has none."""
    assert [(bar.x, bar.height) for bar in bars([0, None, 50, 100])] == [
        ((SLOTS - 4) * SLOT_WIDTH, 1.0),
        ((SLOTS - 2) * SLOT_WIDTH, 10.5),
        ((SLOTS - 1) * SLOT_WIDTH, HEIGHT),
    ]


def test_a_line_is_broken_where_a_figure_is_unknown() -> None:
    """A line joins what is known only; a figure that stands alone is a point."""
    assert lines([10, 10, None, 5, None]) == ["204,1.0 212,1.0", "228,10.0 228,10.0"]


@given(FIGURES)
def test_charts_stay_in_their_box(values: list[int | None]) -> None:
    """Whatever agents report, nothing is drawn outside, and each known figure is drawn once."""
    known = sum(value is not None for value in values)
    drawn = bars(values)
    assert len(drawn) == known
    for bar in drawn:
        assert 0 <= bar.x <= (SLOTS - 1) * SLOT_WIDTH
        assert 0 <= bar.y <= HEIGHT - 1
        assert round(bar.y + bar.height, 6) == HEIGHT
    points = [point.split(",") for line in lines(values) for point in dict.fromkeys(line.split())]
    assert len(points) == known
    assert all(0 <= float(x) <= SLOTS * SLOT_WIDTH and 0 <= float(y) <= HEIGHT for x, y in points)
