"""Where the lines of a log begin, what is read of them, and at which of them a log opens."""

from collections.abc import Callable
from typing import Any
from unittest.mock import patch
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import backuplog
from backuplog.change import StoredRun
from backuplog.query import find_stored_run
from backuplog.web import index as indexing
from backuplog.web import lines as reading
from backuplog.web.index import Indexes, LineIndex, extended
from backuplog.web.lines import LINE_BYTES, Line, last_failing, read_lines, shown_line

BLOCKS = st.sampled_from([b"\n", b"ab\n", b"a", b"\r", b"\n" * 50, b"x" * 40, b"x" * 300, b"\xe2\x82\xac"])
PIECES = st.lists(st.lists(BLOCKS, min_size=1, max_size=8).map(b"".join), max_size=12)
Payload = Callable[..., dict[str, Any]]


def lines_of(log: bytes) -> list[bytes]:
    """Return the lines of a log without their ends."""
    return log.removesuffix(b"\n").split(b"\n") if log else []


def stored_log(store: backuplog.Store, agent_id: UUID, payload: dict[str, Any]) -> StoredRun:
    """Store a result, and find it."""
    return find_stored_run(store, backuplog.ingest_task_result(store, agent_id, payload).run_id, None)


@given(PIECES, st.integers(1, 200), st.integers(1, 9))
def test_an_index_is_right_however_the_log_comes(pieces: list[bytes], spacing: int, most: int) -> None:
    """However a log is cut, its index counts its lines and names places where they begin, no more than a limit."""
    log = b"".join(pieces)
    with patch.object(indexing, "MOST_ENTRIES", most):
        index = LineIndex(spacing=spacing)
        for piece in pieces:
            index = extended(index, [piece])
        assert (index.size, index.lines) == (len(log), len(lines_of(log)))
        assert len(index.positions) == len(index.numbers) <= most
        for position, number in zip(index.positions, index.numbers, strict=True):
            assert position == 0 or log[position - 1 : position] == b"\n"
            assert number == log.count(b"\n", 0, position) + 1
        for position, following in zip(index.positions, [*index.positions[1:], len(log)], strict=True):
            # But for the last line, all begin within the spacing.
            assert log.rfind(b"\n", position, max(position, following - 1)) < position + index.spacing


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(pieces=PIECES, spacing=st.integers(1, 200), first=st.integers(1, 120), count=st.integers(1, 64))
def test_any_lines_are_read(
    store: backuplog.Store, agent_id: UUID, payload: Payload, pieces: list[bytes], spacing: int, first: int, count: int
) -> None:
    """Any lines of any log are read, with their numbers, sizes, beginnings and ends."""
    log = b"".join(pieces)
    stored = stored_log(store, agent_id, payload(log=log))
    with patch.object(reading, "LINE_BYTES", 64):
        index = extended(LineIndex(spacing=spacing), pieces)
        read = read_lines(store, stored, index, first, count)
    expected = list(enumerate(lines_of(log), 1))[first - 1 : first - 1 + count]
    assert [(line.number, line.size, line.head) for line in read] == [
        (number, len(line), line[:64]) for number, line in expected
    ]
    assert [line.tail for line in read] == [line[-64:] if len(line) > 64 else b"" for _, line in expected]


def test_a_log_is_read_once(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """What is known of a log is kept, and of a log that grows only what is new is read."""
    result = payload(status="running")
    run_id = backuplog.ingest_task_result(store, agent_id, result).run_id
    offset = backuplog.append_log(store, agent_id, run_id, b"a\nb", offset=0)
    indexes, reads = Indexes(), list[tuple[int, int]]()

    def pieces_of(_store: object, stored: StoredRun, start: int, stop: int) -> list[bytes]:
        if start < stop:
            reads.append((start, stop))
        return [backuplog.read_log(store, stored.run.id, start=start, stop=stop)]

    with patch.object(indexing, "pieces_of", pieces_of):
        assert indexes.of(store, find_stored_run(store, run_id, None)).lines == 2
        assert indexes.of(store, find_stored_run(store, run_id, None)).lines == 2
        backuplog.append_log(store, agent_id, run_id, b"b\nc\n", offset=offset)
        assert indexes.of(store, find_stored_run(store, run_id, None)).lines == 3
    assert reads == [(0, 3), (3, 7)]


def test_a_long_line_is_cut(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Of a line of 3 MB a beginning is shown, and how long it is; the lines behind it are found."""
    log = "é".encode() * 1_500_000 + b"\nlast\n"
    stored = stored_log(store, agent_id, payload(log=log))
    first, last = read_lines(store, stored, Indexes().of(store, stored), 1, 64)
    shown = shown_line(first)
    assert (shown.html, shown.size) == ("é" * 2_048, 3_000_000)
    assert shown_line(last).html == "last"
    assert shown_line(Line(number=1, size=3_000_000, head=first.head[:-1]), longest=LINE_BYTES).html.strip("é") == ""


def test_of_long_progress_the_end_is_shown(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Of a long line that was overwritten all the time, its last words are shown; as written, its first."""
    log = b"".join(b"%d of 100000\r" % number for number in range(100_001)) + b"\n"
    stored = stored_log(store, agent_id, payload(log=log))
    (line,) = read_lines(store, stored, Indexes().of(store, stored), 1, 64)
    shown = shown_line(line)
    assert (shown.html, shown.is_overwritten, shown.size) == ("100000 of 100000", True, None)
    written = shown_line(line, as_written=True)
    assert written.html.startswith('0 of 100000<span class="unseen">^M</span>')
    assert (written.is_overwritten, written.size) == (False, len(log) - 1)


@pytest.mark.parametrize(
    ("line", "is_failing"),
    [
        (b"Fatal: unable to open config file", True),
        (b"error: open /srv/key: permission denied", True),
        (b"2026-11-27 10:00:00 ERROR : something", True),
        (b"ValueError: no", True),
        (b"\x1b[1;31mFatal:\x1b[0m it broke", True),
        (b'{"message_type":"error","during":"archival"}', True),
        (b"terminating with error status, rc 2", True),
        (b"no errors were found", False),
        (b"0 failed", False),
        (b"new       /srv/error.log, saved in 0.1s", False),
        (b"new       /srv/error/a, saved", False),
        (b'"num_errors":0', False),
        (b"Errors: 0", False),
    ],
)
def test_what_tells_of_an_error(line: bytes, is_failing: bool) -> None:  # noqa: FBT001 - a parameter of pytest
    """A word tells of an error that is no part of a name of a file, and no count of none."""
    log = b"a\n" * 5_000 + line + b"\n" + b"b\n" * 5_000
    at = last_failing(log)
    assert (None if at is None else log.count(b"\n", 0, at) + 1) == (5_001 if is_failing else None)


@given(st.binary(max_size=300))
def test_any_end_of_a_log_can_be_looked_at(end: bytes) -> None:
    """Whatever bytes a log ends with, looking for an error there raises nothing."""
    at = last_failing(end)
    assert at is None or 0 <= at < len(end)
