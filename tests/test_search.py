"""Searching logs."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import UUID, uuid4

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import InvalidQuery, LogMatch, RunQuery, Store, StoreUnavailable, scan, search
from backuplog.backend import Amendment, Chunk
from backuplog.testing.common import begin, reading

Payload = Callable[..., dict[str, Any]]

MANY = settings(max_examples=100, deadline=None)
TEXTS = st.text("aAb\n", max_size=60) | st.text("ab", max_size=60)


def ingested(store: Store, agent_id: UUID, sent: dict[str, Any]) -> UUID:
    """Take a result in, and give its run's id."""
    return backuplog.ingest_task_result(store, agent_id, sent).run_id


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make all that is held of a log so short that short logs meet every border."""
    monkeypatch.setattr(scan, "LINE_BYTES", 7)
    monkeypatch.setattr(scan, "EXCERPT_BYTES", 4)
    monkeypatch.setattr(scan, "CONTEXT_BYTES", 9)
    monkeypatch.setattr(search, "CONTEXT_BYTES", 9)


def oracle(
    log: bytes, matcher: Callable[[bytes, int, int], tuple[int, int] | None], context: int
) -> list[tuple[object, ...]]:
    """Give every match in a log, by looking at each line of at most 7 bytes with nothing but slices."""
    found: list[tuple[object, ...]] = []
    start, number = 0, 1
    while start < len(log):
        newline = log.find(b"\n", start, start + 7)
        stop = newline + 1 if newline >= 0 else min(start + 7, len(log))
        end = stop - (newline >= 0)
        matched = matcher(log, start, end)
        if matched:
            shown = max(start, min(matched[0] - 2, end - 4))
            head, tail = log[max(0, start - 9) : start], log[stop : stop + 9]
            before = head.removesuffix(b"\n").split(b"\n")[-context:] if head and context else []
            after = tail.removesuffix(b"\n").split(b"\n")[:context] if tail and context else []
            cut = tuple(tuple(line[:4] for line in lines) for lines in (before, after))
            found.append((number, *matched, log[shown : min(end, shown + 4)], shown, *cut))
        number += newline >= 0
        start = stop
    return found


def told(match: LogMatch) -> tuple[object, ...]:
    """Give what a match says, in the order of the oracle."""
    return (
        match.line_number,
        match.offset,
        match.size,
        match.line,
        match.line_offset,
        match.before,
        match.after,
    )


def in_text(text: bytes, log: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Find where a text begins in a line; it may go on in the next part of a long one."""
    return next(((at, len(text)) for at in range(start, end) if log[at : at + len(text)] == text), None)


def in_line(pattern: re.Pattern[bytes], log: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Find a pattern in a line by itself."""
    found = pattern.search(log[start:end])
    return (start + found.start(), len(found[0])) if found else None


def stored_in_pieces(store: Store, pieces: list[bytes]) -> bytes:
    """Store a log, each piece as a chunk, as the only one of its tenant."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    run_id, offset = begin(store, agent_id), 0
    for piece in pieces:
        offset = backuplog.append_log(store, agent_id, run_id, piece, offset=offset)
    return backuplog.read_log(store, run_id)


def in_steps(store: Store, text: Any, **options: Any) -> Iterator[LogMatch]:
    """Search until all is searched, however often a limit ends it, and see that each search comes further."""
    cursor = None
    while True:
        found = backuplog.search_logs(store, text, RunQuery(cursor=cursor), **options)
        yield from found
        assert (found.stopped_by is None) == (found.next_cursor is None)
        if found.next_cursor is None:
            return
        assert found.next_cursor != cursor
        cursor = found.next_cursor


LIMITS = st.sampled_from([{}, {"max_matches": 1}, {"max_matches": 2}, {"max_bytes": 1}, {"max_seconds": 0}])


CUT = st.lists(TEXTS.filter(bool).map(str.encode), min_size=1, max_size=6)


@pytest.mark.usefixtures("small")
def test_text_is_found_as_in_a_plain_search(store: Store) -> None:
    """In chunks of any size, with any limit, a search says what looking at each byte of the whole log says."""

    @MANY
    @given(CUT, st.text("aAb", min_size=1, max_size=9).map(str.encode), st.integers(0, 4), LIMITS, st.booleans())
    def check(pieces: list[bytes], text: bytes, context: int, limits: dict[str, int], ignore_case: bool) -> None:  # noqa: FBT001
        tenant = store.for_tenant(uuid4())
        log = stored_in_pieces(tenant, pieces)
        found = in_steps(tenant, text, context_lines=context, ignore_case=ignore_case, **limits)

        def matcher(log: bytes, start: int, end: int) -> tuple[int, int] | None:
            return in_text(text.lower(), log.lower(), start, end) if ignore_case else in_text(text, log, start, end)

        assert [told(match) for match in found] == oracle(log, matcher, context)

    check()


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("before", [b"x", b"\n"])
def test_text_is_found_at_every_place(store: Store, before: bytes) -> None:
    """In a long line and behind short ones, across each border of chunks, and where a long line is divided."""
    for position in range(40):
        tenant = store.for_tenant(uuid4())
        log = before * position + b"needle" + b"x" * (40 - position)
        stored_in_pieces(tenant, [log[start : start + 5] for start in range(0, len(log), 5)])
        for limits in ({}, {"max_bytes": 1}):
            found = [(match.offset, match.line_number) for match in in_steps(tenant, "needle", **limits)]
            assert found == [(position, log.count(b"\n") + 1)]


@pytest.mark.usefixtures("small")
def test_a_pattern_is_found_in_each_line_by_itself(store: Store) -> None:
    """In chunks of any size, with any limit, a pattern is found as it is in each line alone."""
    patterns = [rb"^a", rb"b$", rb"a.*b", rb"^$", rb"", rb"\Aab\Z", rb"[^b]+", rb"(?i)AAB", rb"a\s"]

    @MANY
    @given(CUT, st.sampled_from(patterns), st.integers(0, 4), LIMITS)
    def check(pieces: list[bytes], pattern: bytes, context: int, limits: dict[str, int]) -> None:
        tenant, compiled = store.for_tenant(uuid4()), re.compile(pattern)
        log = stored_in_pieces(tenant, pieces)
        found = [told(match) for match in in_steps(tenant, compiled, context_lines=context, **limits)]
        assert found == oracle(log, lambda *line: in_line(compiled, *line), context)

    check()


def test_a_match_says_where_it_is(store: Store, agent_id: UUID, payload: Payload) -> None:
    """A command prints what it needs: run, line, number, context, and what to highlight."""
    log = "open repository\nload índex\nFatal: wrong password\nexit 1\n"
    run_id = ingested(store, agent_id, payload(log=log, status="failed"))
    (match,) = backuplog.search_logs(store, "wrong", context_lines=1)
    assert (match.run, match.line_number) == (backuplog.get_run(store, run_id), 3)
    assert (match.before, match.line, match.after) == (("load índex".encode(),), b"Fatal: wrong password", (b"exit 1",))
    begin = match.offset - match.line_offset
    assert match.line[begin : begin + match.size] == b"wrong"
    assert backuplog.read_log(store, run_id, start=match.offset, stop=match.offset + match.size) == b"wrong"
    assert [match.size for match in backuplog.search_logs(store, "Í".lower())] == [2]


def test_case_is_ignored_where_that_is_asked_for(store: Store, agent_id: UUID, payload: Payload) -> None:
    """Of ASCII letters, in text and in patterns."""
    ingested(store, agent_id, payload(log="Fatal: É\nfatal: é\n"))
    for text in ("FATAL", b"FATAL", re.compile(rb"^FATAL")):
        assert list(backuplog.search_logs(store, text)) == []
        assert len(list(backuplog.search_logs(store, text, ignore_case=True))) == 2
    assert len(list(backuplog.search_logs(store, "é", ignore_case=True))) == 1


def test_only_what_can_be_read_is_searched(store: Store, agent_id: UUID, payload: Payload) -> None:
    """Runs without a log, with an empty or an expired one have no match; what a task wrote so far counts."""
    expired = ingested(store, agent_id, payload(log="word\n"))
    backuplog.expire_log(store, expired)
    ingested(store, agent_id, payload())
    ingested(store, agent_id, payload(log=""))
    running = ingested(store, agent_id, payload(status="running"))
    backuplog.append_log(store, agent_id, running, b"a word without an end", offset=0)
    found = backuplog.search_logs(store, "word")
    assert [match.run.id for match in found] == [running]
    assert (found.runs_done, found.damaged, found.replaced, found.next_cursor) == (4, (), (), None)


def test_a_line_longer_than_64_kib_is_divided(store: Store) -> None:
    """Of a long line each 64 KiB can match once, also across where it is divided, and 1 KiB of it is shown."""
    line = b"x" * 65_533 + b"needle" + b"x" * 1_500_000 + b"needle"
    stored_in_pieces(store, [b"\n" + line])
    found = list(backuplog.search_logs(store, "needle", context_lines=16))
    assert [(match.line_number, match.offset) for match in found] == [(2, 65_534), (2, len(line) - 5)]
    assert all(len(match.line) == 1_024 for match in found)
    assert all(len(line) <= 1_024 for match in found for line in (*match.before, *match.after))


def test_each_limit_ends_a_search_and_says_so(store: Store, agent_id: UUID, payload: Payload) -> None:
    """A page shows what was found so far, how far back that is, and goes on with the cursor."""
    for hour in range(3):
        ingested(store, agent_id, payload(log="a\nb\n" * 500_000, startTime=f"2026-11-24T1{hour}:00:00Z"))
    seconds = iter([0.0, 1.0, 2.0, 99.0])
    with patch("backuplog.search.time", SimpleNamespace(monotonic=lambda: next(seconds))):
        slow = backuplog.search_logs(store, "c", max_seconds=3)
        assert list(slow) == []
    searches = [
        backuplog.search_logs(store, "a", max_matches=3),
        backuplog.search_logs(store, "c", max_bytes=1_500_000),
        slow,
        backuplog.search_logs(store, "c"),
    ]
    assert [len(list(each)) for each in searches] == [3, 0, 0, 0]
    assert [each.stopped_by for each in searches] == ["matches", "bytes", "seconds", None]
    assert [each.runs_done for each in searches] == [0, 1, 1, 3]
    assert [each.bytes_read for each in searches] == [1_048_576, 2_000_000, 3_048_576, 6_000_000]
    back_to = [each.searched_back_to and each.searched_back_to.hour for each in searches]
    assert back_to == [None, 12, 12, 10]


def test_runs_without_logs_cost_time_too(store: Store, agent_id: UUID, payload: Payload) -> None:
    """The limit of seconds also ends a search that has nothing to read, after one run at the least."""
    for _ in range(3):
        ingested(store, agent_id, payload())
    found = backuplog.search_logs(store, "a", max_seconds=0)
    assert list(found) == []
    assert (found.runs_done, found.stopped_by) == (1, "seconds")


def test_more_runs_than_a_page_holds_are_searched(store: Store, agent_id: UUID, payload: Payload) -> None:
    """All runs that meet the query are searched, in the order in which they are listed, and none of the others."""
    sent = [payload(log="a\n", status=("success", "failed")[number % 2]) for number in range(240)]
    backuplog.ingest_task_results(store, [(agent_id, each) for each in sent])
    found = backuplog.search_logs(store, "a", RunQuery(status="failed"))
    listed = backuplog.query_runs(store, RunQuery(status="failed", limit=1000)).runs
    assert [match.run for match in found] == list(listed)
    assert (len(listed), found.runs_done) == (120, 120)


def test_a_run_that_comes_late_shifts_no_search(store: Store, agent_id: UUID, payload: Payload) -> None:
    """A search that ended within a log goes on there, although a run has come before that one in the list."""
    ingested(store, agent_id, payload(log="a 1\na 2\n", startTime="2026-11-24T10:00:00Z"))
    first = backuplog.search_logs(store, "a", max_matches=1)
    assert [match.line for match in first] == [b"a 1"]
    ingested(store, agent_id, payload(log="a 3\n", startTime="2026-11-24T11:00:00Z"))
    rest = backuplog.search_logs(store, "a", RunQuery(cursor=first.next_cursor))
    assert [match.line for match in rest] == [b"a 2"]


def test_runs_that_are_passed_over_cost_time_too(store: Store, agent_id: UUID, payload: Payload) -> None:
    """Where runs come before the place of a cursor, the limit of seconds holds, and each search comes further."""
    ingested(store, agent_id, payload(log="a 1\na 2\n", startTime="2026-11-24T10:00:00Z"))
    found = backuplog.search_logs(store, "a", max_matches=1)
    assert [match.line for match in found] == [b"a 1"]
    for hour in range(11, 14):
        ingested(store, agent_id, payload(log="a\n", startTime=f"2026-11-24T{hour}:00:00Z"))
    for hour in (13, 12, 11):
        found = backuplog.search_logs(store, "a", RunQuery(cursor=found.next_cursor), max_seconds=0)
        assert list(found) == []
        assert (found.runs_done, found.stopped_by) == (0, "seconds")
        assert found.searched_back_to
        assert found.searched_back_to.hour == hour
    found = backuplog.search_logs(store, "a", RunQuery(cursor=found.next_cursor), max_seconds=0)
    assert [match.line for match in found] == [b"a 2"]
    assert found.next_cursor is None


def test_a_reader_that_stops_early_can_go_on(store: Store, agent_id: UUID, payload: Payload) -> None:
    """The cursor is right after each match, not only at the end, and after a page of ``query_runs``."""
    for hour in range(3):
        ingested(store, agent_id, payload(log="a\n", startTime=f"2026-11-24T1{hour}:00:00Z"))
    found = backuplog.search_logs(store, "a")
    first = next(found).run
    rest = [match.run for match in backuplog.search_logs(store, "a", RunQuery(cursor=found.next_cursor))]
    page = backuplog.query_runs(store, RunQuery(limit=1))
    assert [first, *rest] == list(backuplog.query_runs(store).runs)
    assert [match.run for match in backuplog.search_logs(store, "a", RunQuery(cursor=page.next_cursor))] == rest


def test_a_damaged_log_is_named_and_ends_no_search(store: Store, agent_id: UUID, payload: Payload) -> None:
    """A log without one of its chunks, and one that is not what it was, are listed; the others are searched."""
    runs = [
        ingested(store, agent_id, payload(log=log, startTime=f"2026-11-24T1{hour}:00:00Z"))
        for hour, log in enumerate(["a\n", "a\n", "a\n" + "b\n" * 700_000])
    ]
    stored = store.backend.find_run(runs[1])
    assert stored
    other = attrs.evolve(stored, run=attrs.evolve(stored.run, log_sha256=bytes(32)))
    assert store.backend.submit([Amendment(read=stored, write=other)]) == [True]

    def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        return None if offset > 1_000_000 else store.backend.find_chunk(run_id, log_version, offset)

    found = backuplog.search_logs(reading(store, find_chunk), "a")
    assert [match.run.id for match in found] == [runs[2], runs[0]]
    assert (found.damaged, found.runs_done, found.next_cursor) == ((runs[2], runs[1]), 3, None)


def test_too_many_damaged_logs_end_a_search(
    store: Store, agent_id: UUID, payload: Payload, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a search lists has a limit, and the next one goes on behind it."""
    monkeypatch.setattr(search, "_MAX_UNREADABLE", 2)
    for _ in range(3):
        ingested(store, agent_id, payload(log="a\n"))
    broken = reading(store, lambda *_: None)
    found = backuplog.search_logs(broken, "a")
    assert list(found) == []
    assert (len(found.damaged), found.stopped_by) == (2, "unreadable")
    rest = backuplog.search_logs(broken, "a", RunQuery(cursor=found.next_cursor))
    assert list(rest) == []
    assert (len(rest.damaged), rest.next_cursor) == (1, None)


def test_a_log_that_is_replaced_while_it_is_read_is_named(store: Store, agent_id: UUID, payload: Payload) -> None:
    """What was found before stands, and the search goes on with the next run."""
    old = ingested(store, agent_id, payload(log="a\n", startTime="2026-11-24T10:00:00Z"))
    sent = payload(log="a\n" + "b\n" * 900_000, startTime="2026-11-24T11:00:00Z")
    run_id = ingested(store, agent_id, sent)
    found = backuplog.search_logs(store, "a")
    assert next(found).run.id == run_id
    ingested(store, agent_id, {**sent, "log": "a\na\n", "durationSeconds": 9})
    assert [match.run.id for match in found] == [old]
    assert (found.replaced, found.next_cursor) == ((run_id,), None)


def test_a_search_that_the_store_failed_can_go_on(store: Store, agent_id: UUID, payload: Payload) -> None:
    """An error is raised, and the cursor says where to go on: nothing is skipped or found twice."""
    for hour in range(2):
        log = "a\n" + "b\n" * 600_000 + "a\n"
        ingested(store, agent_id, payload(log=log, startTime=f"2026-11-24T1{hour}:00:00Z"))
    calls = iter(range(9))

    def find_chunk(run_id: UUID, log_version: int, offset: int) -> Chunk | None:
        if next(calls) == 3:
            raise StoreUnavailable("gone")
        return store.backend.find_chunk(run_id, log_version, offset)

    found = backuplog.search_logs(attrs.evolve(reading(store, find_chunk), retry_timeout=0.0), "a")
    seen: list[LogMatch] = []
    with pytest.raises(StoreUnavailable, match="gone"):
        seen.extend(iter(found))
    assert found.next_cursor
    assert len(seen) == 3
    seen += backuplog.search_logs(store, "a", RunQuery(cursor=found.next_cursor))
    assert [match.offset for match in seen] == [0, 1_200_002] * 2


@pytest.mark.parametrize(
    ("arguments", "fields"),
    [
        ({"text": ""}, ["text"]),
        ({"text": b"a\nb"}, ["text"]),
        ({"text": "é" * 513}, ["text"]),
        ({"text": 7}, ["text"]),
        ({"text": re.compile("a")}, ["text"]),
        ({"context_lines": 17}, ["context_lines"]),
        ({"context_lines": True}, ["context_lines"]),
        ({"max_matches": 0, "max_bytes": -1, "max_seconds": float("nan")}, ["max_matches", "max_bytes", "max_seconds"]),
        ({"max_bytes": 1.5}, ["max_bytes"]),
        ({"query": "failed"}, ["query"]),
        ({"query": RunQuery(cursor="a.b")}, ["cursor"]),
        ({"query": RunQuery(cursor="..AAAA")}, ["cursor"]),
        ({"query": RunQuery(cursor=".é.")}, ["cursor"]),
        ({"query": RunQuery(cursor=f"..{'A' * 34}")}, ["cursor"]),
    ],
)
def test_what_is_not_valid_is_named(store: Store, arguments: dict[str, Any], fields: list[str]) -> None:
    """Every argument that cannot be used is named before anything is read."""
    with pytest.raises(InvalidQuery) as caught:
        backuplog.search_logs(store, **{"text": "a", **arguments})
    assert [error.path for error in caught.value.errors] == fields


def test_a_cursor_belongs_to_its_search(store: Store, agent_id: UUID, payload: Payload) -> None:
    """A cursor of another text, another way or with other filters is refused; one that was invented harms nobody."""
    ingested(store, agent_id, payload(log="a b\na\n"))
    found = backuplog.search_logs(store, "a", max_matches=1)
    assert len(list(found)) == 1
    query = RunQuery(cursor=found.next_cursor)
    for text, options in (("b", {}), ("a", {"ignore_case": True}), (re.compile(rb"a"), {})):
        with pytest.raises(InvalidQuery, match="of a search for something else"):
            backuplog.search_logs(store, text, query, **options)
    with pytest.raises(InvalidQuery, match="other filters"):
        backuplog.search_logs(store, "a", attrs.evolve(query, status="success"))
    assert found.next_cursor
    beyond = attrs.evolve(query, cursor=found.next_cursor[:-16] + "_" * 16)
    assert list(backuplog.search_logs(store, "a", beyond)) == []
    with pytest.raises(backuplog.AgentNotFound):
        backuplog.search_logs(store, "a", RunQuery(agent_id=UUID(int=99)))


def test_a_store_is_needed() -> None:
    """Whoever gives a URL hears what is wanted."""
    store: Any = "sqlite://"
    with pytest.raises(TypeError, match="must be a Store"):
        backuplog.search_logs(store, "a")


MEMORY = """
import sys, uuid
from pathlib import Path
import backuplog

def peak():
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(fields["VmHWM"].split()[0]) * 1024

with backuplog.open_store(sys.argv[1], redactor=None) as store:
    agent_id = backuplog.register_agent(store, uuid.uuid4()).id
    for log in (b"\\n" * 3_000_000, b"a line of text\\n" * 200_000, b"q" * 3_000_000):
        backuplog.ingest_task_result(store, agent_id, backuplog.TaskResult(
            task_id=uuid.uuid4(), policy_id=uuid.uuid4(), task_type="backup", status="ok", duration_seconds=1, log=log
        ))
    del log
    list(backuplog.search_logs(store, "warm", max_bytes=1))
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    for text in ("nothing", "q", __import__("re").compile(b"^$")):
        options = {"ignore_case": True, "context_lines": 2, "max_matches": 9_999}
        print(sum(1 for match in backuplog.search_logs(store, text, **options)))
    print(peak() - before)
"""


def test_a_search_takes_little_memory(tmp_path: Path) -> None:
    """Whatever logs hold: empty lines, text or a line without an end, a search takes at most 8 MiB."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("a process's peak can be measured on Linux only")
    command = [sys.executable, "-c", MEMORY, f"sqlite:///{tmp_path / 'backups.db'}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    *found, memory = (int(line) for line in done.stdout.split())
    assert found[0] == 0
    assert found[1] == 3_000_000 // 65_536 + 1
    assert found[2] == 9_999
    assert memory <= 8 << 20
