"""Adding to the log of a task that still runs."""

from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Final
from uuid import UUID

import attrs

from .amend import amend
from .change import Amendment, StoredRun
from .chunk import CHUNK_BYTES, DROPPED, MAX_LOG_BYTES, WHOLE_BYTES, border
from .errors import FieldError, InvalidQuery, LogClosed, LogExpired, LogOffsetMismatch, LogReplaced
from .log import piece_at, pieces_of
from .model import LogState
from .normalise import LOST, argument, as_log_cap, as_time
from .redact import feed
from .store import Store

_MAX_OFFSET: Final = 2**62
# Longer data is taken in parts, so that 64 MiB take no more memory than that, and hold no lock for long.
_MOST_AT_ONCE: Final = 4 * CHUNK_BYTES
# Small chunks become one where the log grows past a multiple of these. One step from 1 byte to 1 MiB would read a
# million rows in one call; with three, each byte is written at most four times, and no call reads over 4,096 rows.
_STEPS: Final = (CHUNK_BYTES, 65_536, 4_096)
# Bits that count: none of a masked byte, all of any other.
_UNMASKED: Final = bytes(0 if byte == ord("*") else 255 for byte in range(256))


def append_log(
    store: Store,
    agent_id: UUID | str,
    run_id: UUID | str,
    data: bytes,
    *,
    offset: int,
    max_log_bytes: int = MAX_LOG_BYTES,
    received_at: datetime | None = None,
) -> int:
    """Add to the log of a task that is pending or running, exactly once however often the same bytes are sent.

    When this returns, all bytes up to the returned length are durable, and readers see them. What is stored already is
    compared with what is sent and not stored again, so that an agent that saw no answer sends the same piece again. A
    piece that may be the beginning of a secret is shown to readers once the next one has come, or the result.

    Args:
        store: The store to use.
        agent_id: The agent that sent it.
        run_id: The run's id, which is its task's id. A result with status ``running`` must have come before.
        data: The next bytes of the log; none to learn how many have come.
        offset: How many bytes of the log come before them.
        max_log_bytes: The longest log to store whole, in bytes, at least 4,096. Of a longer log, the head and the tail
            are stored, a half of it and at least a quarter.
        received_at: When it was received, with a time zone; now by default.

    Returns:
        How many bytes of the log have been received: the offset of the next piece.

    Raises:
        InvalidQuery: An argument is malformed.
        RunNotFound: There is no such run, or it belongs to another agent.
        LogOffsetMismatch: Bytes are missing before ``offset``, or others were received. The error says where to go on.
        LogClosed: The task has ended.
        LogExpired: The log was removed because of its age.
        StoreUnavailable: The store is busy or cannot be reached. Send the piece again.
        StoreError: The store failed.
    """
    argument("max_log_bytes", as_log_cap, max_log_bytes, InvalidQuery)
    if isinstance(offset, bool) or not isinstance(offset, int) or not 0 <= offset < _MAX_OFFSET:
        raise InvalidQuery([FieldError("offset", "must be a whole number of bytes, 0 or more")])
    if not isinstance(data, bytes):
        raise InvalidQuery([FieldError("data", "must be bytes")])
    now = datetime.now(UTC) if received_at is None else argument("received_at", as_time, received_at, InvalidQuery)

    def grow(stored: StoredRun, data: bytes, offset: int) -> Amendment | None:
        rest = _unknown(store, stored, data, offset)
        return _growth(store, stored, rest, now) if rest else None

    length = offset
    for start in range(0, max(1, len(data)), _MOST_AT_ONCE):
        piece = partial(grow, data=data[start : start + _MOST_AT_ONCE], offset=offset + start)
        grown = amend(store, run_id, agent_id, piece)
        if grown.run.may_go_on and grown.run.log_state is LogState.OPEN and grown.run.log_bytes > max_log_bytes:
            with suppress(LogReplaced):  # The next piece sees to it.
                _keep_ends(store, grown, max_log_bytes)
        length = grown.log_end
    return length


def _unknown(store: Store, stored: StoredRun, data: bytes, offset: int) -> bytes:
    """Compare what is stored with what is sent, and return what is not stored yet."""
    end, stop = stored.log_end, offset + len(data)
    if offset > end:
        raise LogOffsetMismatch(end)
    if stop > end and not stored.run.may_go_on:
        raise LogClosed(end)
    if stored.run.log_state is LogState.EXPIRED:
        raise LogExpired
    gap_start, gap_stop = stored.log_gap
    # What was dropped from the middle cannot be compared.
    for first, last in ((0, gap_start - len(DROPPED)), (gap_stop, end)):
        known_from, known_to = max(offset, first), min(stop, last)
        if known_from < known_to:
            sent = data[known_from - offset : known_to - offset]
            known = _received(store, stored, known_from, known_to)
            if not _is_same(known, sent, is_masked=stored.run.redactions > 0):
                raise LogOffsetMismatch(end)
    return data[end - offset :] if stop > end else b""


def _received(store: Store, stored: StoredRun, start: int, stop: int) -> bytes:
    """Read what was received between two offsets, none of them in a gap, and what is held back."""
    missing = stored.offset_of(stored.run.log_bytes) - stored.run.log_bytes if start >= stored.log_gap[1] else 0
    shown = stored.run.log_bytes + missing
    pieces = pieces_of(store, stored, start - missing, min(stop, shown) - missing)
    return b"".join([*pieces, stored.log_held[max(0, start - shown) : max(0, stop - shown)]])


def _is_same(known: bytes, sent: bytes, *, is_masked: bool) -> bool:
    """Compare bytes; those that are masked are like any."""
    if known == sent or not is_masked:
        return known == sent
    # As numbers, because a step of Python for each mask took 3 s for 16 MiB of them.
    differs = int.from_bytes(known) ^ int.from_bytes(sent)
    return not differs & int.from_bytes(known.translate(_UNMASKED))


def _growth(store: Store, stored: StoredRun, data: bytes, now: datetime) -> Amendment:
    """Return the amendment that stores more of a log, with the small chunks before it where it completes a larger."""
    run = stored.run
    log = stored
    if stored.begins_anew:
        empty = attrs.evolve(run, log_bytes=0, dropped_bytes=0, redactions=0)
        version = stored.log_version + 1
        log = attrs.evolve(stored, run=empty, log_version=version, log_context=b"", log_held=b"")
    redacted = feed(store.redactor, log.log_context, log.log_held, data, is_last=False)
    shown = redacted.shown
    grown = attrs.evolve(
        log.run,
        status="running" if run.status == LOST else run.status,  # It is heard of again.
        end_time=None if run.status == LOST else run.end_time,
        log_state=LogState.OPEN,
        log_bytes=log.run.log_bytes + len(shown),
        log_sha256=None,
        redactions=log.run.redactions + redacted.count,
        updated_at=now,
    )
    end = log.offset_of(log.run.log_bytes)
    start, before = _small_chunks(store, log, end, end + len(shown))
    return Amendment(
        read=stored,
        write=attrs.evolve(log, run=grown, log_context=redacted.context, log_held=redacted.held),
        parts=((start, before + shown),) if shown else (),
        drop=0 if stored.begins_anew else start if before else None,
    )


def _small_chunks(store: Store, log: StoredRun, end: int, grown: int) -> tuple[int, bytes]:
    """Read the chunks at the end of a log that are to become one with what is added; and where they begin."""
    step = next((step for step in _STEPS if end // step < grown // step), None)
    if step is None or end % step == 0:  # What is before a multiple is of that length already.
        return end, b""
    start, pieces = end, list[bytes]()
    while start > log.log_gap[1]:
        offset, piece = piece_at(store, log, start - 1)
        if len(piece) >= min(step, WHOLE_BYTES):
            break
        pieces.append(piece[: start - offset])
        start = offset
    return start, b"".join(reversed(pieces))


def _keep_ends(store: Store, stored: StoredRun, max_log_bytes: int) -> None:
    """Drop what is in the middle of a log that has become too long, unless it has changed since."""
    run = stored.run
    end, half = stored.offset_of(run.log_bytes), max_log_bytes // 2
    gap_start, gap_stop = stored.log_gap
    # Not at each piece: a quarter of the cap must come before the tail is cut again.
    tail = end - half // 2
    if gap_stop and end - gap_stop <= half:
        return
    parts: list[tuple[int, bytes]] = []
    if gap_stop:
        drop, kept_until = gap_start, gap_stop
    else:
        drop, piece = piece_at(store, stored, half)
        head = piece[: border(piece, half - drop)]
        parts.append((drop, head + DROPPED))
        kept_until = drop + len(head)
        gap_start = kept_until + len(DROPPED)
    offset, piece = piece_at(store, stored, tail)
    tail = offset + border(piece, tail - offset)
    parts.append((tail, piece[tail - offset :]))
    kept = attrs.evolve(
        run,
        log_bytes=gap_start + end - tail,
        log_sha256=None,
        dropped_bytes=run.dropped_bytes + tail - kept_until,
    )
    cut = Amendment(
        read=stored,
        write=attrs.evolve(stored, run=kept, log_gap=(gap_start, tail)),
        parts=tuple(parts),
        drop=drop,
        drop_until=offset + len(piece),
    )
    store.call(store.backend.submit, [cut])
