"""Small charts: figures of runs become points and bars in a box. Pure."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

import attrs

SLOTS: Final = 30
"""How many runs a chart has room for; fewer stand at its right, as in the strip of statuses above it."""
SLOT_WIDTH: Final = 8
"""How wide one run is, in units of the chart."""
HEIGHT: Final = 20
"""How high a chart is, in units of the chart."""

_LEAST: Final = 1.0


@attrs.frozen(kw_only=True)
class Bar:
    """A bar that stands on the bottom of a chart.

    Attributes:
        x: Where it begins.
        y: Where its top is, from the top of the chart.
        height: How high it is.
    """

    x: int
    y: float
    height: float


def bars(values: Sequence[float | None]) -> list[Bar]:
    """Return a bar for each known figure, the greatest as high as the chart.

    Args:
        values: The figures, oldest first, at most ``SLOTS``. What is unknown has no bar; 0 has a low one.
    """
    return [
        Bar(x=x, y=HEIGHT - height, height=height)
        for x, share in _placed(values)
        if share is not None
        for height in [round(_LEAST + share * (HEIGHT - _LEAST), 1)]
    ]


def lines(values: Sequence[float | None]) -> list[str]:
    """Return the ``points`` of a line through figures, which is broken where one is unknown.

    Args:
        values: The figures, oldest first, at most ``SLOTS``.
    """
    placed = [(x + SLOT_WIDTH // 2, share) for x, share in _placed(values)]
    stretches = (list(points) for known, points in groupby(placed, key=lambda point: point[1] is not None) if known)
    # A line of one point is drawn only if it is said twice.
    return [" ".join(map(_point, points if len(points) > 1 else points * 2)) for points in stretches]


def _placed(values: Sequence[float | None]) -> list[tuple[int, float | None]]:
    greatest = max((value for value in values if value is not None), default=0) or 1
    first = SLOTS - len(values)
    return [((first + at) * SLOT_WIDTH, None if value is None else value / greatest) for at, value in enumerate(values)]


def _point(point: tuple[int, float | None]) -> str:
    x, share = point
    return f"{x},{round(HEIGHT - _LEAST - (share or 0) * (HEIGHT - 2 * _LEAST), 1)}"
