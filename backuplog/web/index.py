r"""Where the lines of a log begin, as far apart as is needed to find any of them quickly.

A line ends with ``\n``; the last one need not.
"""

import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import attrs

from backuplog.change import StoredRun
from backuplog.log import pieces_of
from backuplog.store import Store

SPACING: Final = 65_536
"""How far apart the lines of an index begin at least, in bytes."""

MOST_ENTRIES: Final = 4_096
"""The most lines that an index names. Where a log has more, those are left out that are near to the one before."""

_KEPT: Final = 32


@attrs.frozen
class LineIndex:
    """Where some lines of a log begin.

    Attributes:
        size: How many bytes of the log were read.
        breaks: How many line ends are in them.
        ends_line: Whether the last of them is one.
        spacing: Of the lines between two that are named, all begin within so many bytes.
        positions: Where each of the lines begins, in bytes of what is stored.
        numbers: Their numbers, from 1.
    """

    size: int = 0
    breaks: int = 0
    ends_line: bool = True
    spacing: int = SPACING
    positions: tuple[int, ...] = (0,)
    numbers: tuple[int, ...] = (1,)

    @property
    def lines(self) -> int:
        """How many lines the log has."""
        return self.breaks + (not self.ends_line)

    def before(self, number: int) -> tuple[int, int]:
        """Return where the last line begins that is named and comes no later than another, and its number."""
        at = bisect_right(self.numbers, number) - 1
        return self.positions[at], self.numbers[at]

    def after(self, position: int) -> tuple[int, int] | None:
        """Return where the first line begins that is named and comes after a position, and its number."""
        at = bisect_right(self.positions, position)
        return (self.positions[at], self.numbers[at]) if at < len(self.positions) else None


def extended(index: LineIndex, pieces: Iterable[bytes]) -> LineIndex:
    """Return the index of a log after its next pieces.

    Args:
        index: The index of what came before.
        pieces: What follows, a piece at a time.
    """
    size, breaks, ends_line, spacing = index.size, index.breaks, index.ends_line, index.spacing
    positions, numbers = [*index.positions], [*index.numbers]
    for piece in pieces:
        counted = 0
        # A line is named that begins in what has been read: one that only may follow is not there yet.
        start = max(0, positions[-1] + spacing - 1 - size)
        if ends_line and size >= positions[-1] + spacing:
            positions.append(size)
            numbers.append(breaks + 1)
            start = spacing - 1
        while 0 <= (found := piece.find(b"\n", start)) < len(piece) - 1:
            breaks += piece.count(b"\n", counted, found + 1)
            counted = found + 1
            positions.append(size + counted)
            numbers.append(breaks + 1)
            start = counted + spacing - 1
        breaks += piece.count(b"\n", counted)
        size, ends_line = size + len(piece), piece.endswith(b"\n")
        while len(positions) > MOST_ENTRIES:
            spacing *= 4
            positions, numbers = _thinned(positions, numbers, spacing)
    return LineIndex(size, breaks, ends_line, spacing, tuple(positions), tuple(numbers))


def _thinned(positions: list[int], numbers: list[int], spacing: int) -> tuple[list[int], list[int]]:
    """Leave out what is near to the one before, as long as all lines between two begin within the new spacing."""
    kept = [0]
    for at in range(1, len(positions)):
        if positions[at] - positions[kept[-1]] > spacing * 3 // 4:
            kept.append(at)
    return [positions[at] for at in kept], [numbers[at] for at in kept]


def tag_of(stored: StoredRun) -> str:
    """Return a text that tells a log from any other: of one that is finished its SHA-256, so that it never changes."""
    if stored.run.log_sha256:
        return stored.run.log_sha256.hex()
    start, stop = stored.log_gap
    return f"open-{stored.log_version}-{start}-{stop}"


@attrs.frozen
class Indexes:
    """The indexes of the logs that were looked at last, in one process: each log is read through once."""

    _kept: OrderedDict[tuple[object, ...], LineIndex] = attrs.field(
        factory=OrderedDict[tuple[object, ...], LineIndex], init=False
    )
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def of(self, store: Store, stored: StoredRun) -> LineIndex:
        """Return the index of a log. Of one that has grown, only what is new is read.

        Args:
            store: The store to use.
            stored: The run whose log it is.

        Raises:
            LogReplaced: The log is another by now.
            CorruptLog: The log is damaged.
            StoreError: The store failed.
        """
        run = stored.run
        key = (store.tenant_id, run.id, tag_of(stored))
        with self._lock:
            index = self._kept.get(key, LineIndex())
        if index.size > run.log_bytes:  # A log that began anew under the same name, in another database.
            index = LineIndex()
        index = extended(index, pieces_of(store, stored, index.size, run.log_bytes))
        with self._lock:
            self._kept[key] = index
            self._kept.move_to_end(key)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return index
