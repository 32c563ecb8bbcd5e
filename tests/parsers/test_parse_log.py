"""Reading a log: which tool it is of, in blocks of whole lines, whatever the pieces are that it comes in."""

import json
import math
import re
import tracemalloc
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import RunStats, parsers
from backuplog.parsers import Tool, Work, parse_log
from backuplog.parsers.borg import BORG
from backuplog.parsers.kopia import KOPIA
from backuplog.parsers.tool import as_text, read_json

MIB = 2**20


@attrs.define
class Adder:
    """Adds up what lines of the form ``sum 5`` say."""

    work: Work
    total: int = 0

    def feed(self, block: bytes) -> None:
        """Add the numbers in a block."""
        assert block.startswith(b"\n")
        self.total += sum(map(int, re.findall(rb"\nsum (\d+)(?=\n|\Z)", block)))

    def figures(self) -> dict[str, Any]:
        """Give the sum, and a snapshot."""
        return {"files_new": self.total, "snapshot_id": "5", "has_snapshot": True} if self.total else {}


ADDER = Tool(name="adder", mark=re.compile(rb"\nadder"), parser=Adder)
OTHER = Tool(name="other", mark=re.compile(rb"\nother"), parser=Adder)


def total(log: Any, *, block_bytes: int = 1_024, **options: Any) -> int | None:
    """Give the sum of a log, which is read in short blocks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsers, "_BLOCK_BYTES", block_bytes)
        patch.setattr(parsers, "_WINDOW_BYTES", block_bytes)
        stats = parse_log(log, tools=[OTHER, ADDER], **options)
    return stats and stats.files_new


LINES = st.lists(st.sampled_from([b"adder\n", b"sum 5\n", b"sum 70\r\n", b"sum 8\r", b"\x1b[1mbold\x1b[0m x\n", b"\n"]))


@given(LINES.map(b"".join), st.integers(1, 9), st.integers(16, 64))
def test_the_pieces_make_no_difference(log: bytes, size: int, block_bytes: int) -> None:
    """A log gives the same in pieces of any size as in one, as bytes and as text."""
    log = b"adder\n" + log
    pieces = [log[start : start + size] for start in range(0, len(log), size)]
    expected = total(log, block_bytes=10**6)
    assert total(log, block_bytes=block_bytes) == total(iter(pieces), block_bytes=block_bytes) == expected
    assert total(log.decode(), block_bytes=block_bytes) == expected


def test_a_terminal_makes_no_difference() -> None:
    """Escape sequences and carriage returns are no part of a line."""
    assert total(b"\x1b[32madder\x1b[0m\r\nprogress 1\rprogress 2\rsum 5\r\n\r\x1b[2Ksum 6\n") == 11
    assert total(b"adder\nprogress 1\x1b[2K\x1b[1A\x1b[2K\x1b[1Gsum 5\r\nx\x1b[1Gsum 6\n") == 11
    assert total(b"adder\n\x1b]0;title\x07\x1b]0;title\x1b\\\x1b[1m\x1bMsum 5\n\x1b\x1b[1msum 6\n") == 5


def test_the_first_tool_that_shows_itself_is_taken() -> None:
    """A line of another tool comes too late; what came before the mark is read as well."""
    stats = parse_log(b"sum 1\nadder\nother\nsum 2\n", tools=[OTHER, ADDER])
    assert stats
    assert (stats.tool, stats.files_new) == ("adder", 3)


@pytest.mark.parametrize("tool", parsers.TOOLS, ids=[tool.name for tool in parsers.TOOLS])
@given(st.data())
@settings(max_examples=50)
def test_a_mark_begins_as_its_tool_says(tool: Tool, data: st.DataObject) -> None:
    """No line that the mark matches is left out because of how it begins."""
    text = data.draw(st.from_regex(tool.mark))
    mark = tool.mark.search(text)
    assert mark
    assert re.match(b"(?:%b)" % tool.beginning, text[mark.start() + 1 :])


@pytest.mark.parametrize(
    ("lines_before", "lines_after", "found"), [(10, 5_000, 9), (5_000, 10, 9), (5_000, 5_000, None)]
)
def test_a_tool_shows_itself_at_the_beginning_or_the_end(
    lines_before: int, lines_after: int, found: int | None
) -> None:
    """The middle of a long log of nobody knows what is not searched, however long it is."""
    log = b"another line\n" * lines_before + b"adder\nsum 9\n" + b"another line\n" * lines_after
    assert total(log) == found


def test_a_tool_that_shows_itself_at_the_end_has_its_last_mebibytes_read() -> None:
    """What it said before the files that it lists counts, in any log of up to 2 MiB."""
    files = b"/srv/a\n" * 100_000
    for log in (files, files + files):
        stats = parse_log(b"x\n" * 10_000 + b"sum 9\n" + log + b"adder\n", tools=[ADDER])
        assert stats
        assert stats.files_new == 9


def test_a_log_of_nothing_has_no_figures() -> None:
    """Nothing, an unknown tool, a known one that says nothing, and no tools at all."""
    for log in (b"", "", [], b"\n", b"adder\n", b"sum 5\n"):
        assert total(log) is None
    assert parse_log(b"adder\nsum 5\n", tools=()) is None


def test_a_task_that_is_no_backup_has_no_snapshot() -> None:
    """What a check says of snapshots is not its own; a type that is not known may well be a backup."""
    for task_type, snapshot_id in (("check", None), ("prune", None), ("backup", "5"), (None, "5"), ("nightly", "5")):
        stats = parse_log(b"adder\nsum 5\n", task_type=task_type, tools=[ADDER])
        assert stats
        assert (stats.snapshot_id, stats.has_snapshot) == (snapshot_id, snapshot_id and True)


@pytest.mark.parametrize("unit", [b"x", b"\r", b"\x1b[", b"\x1b]", b"\x1b[1", b"\n", b"a\n"])
def test_memory_and_time_are_bounded(unit: bytes) -> None:
    """A log of 16 MiB takes less than 8 MiB beside itself, whatever it is made of."""
    log = unit * (16 * MIB // len(unit))
    tracemalloc.start()
    for whole in (log, (log[start : start + 50_000] for start in range(0, len(log), 50_000))):
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        assert parse_log(whole, tools=[ADDER]) is None
        assert tracemalloc.get_traced_memory()[1] - before < 8 * MIB
    tracemalloc.stop()


@attrs.define
class Broken:
    """A parser of somebody else's, with a fault."""

    work: Work

    def feed(self, block: bytes) -> None:
        """Fail, in one way or another."""
        if b"fault" in block:
            raise ZeroDivisionError
        self.work.spend(block.count(b"\n") * 10)

    def figures(self) -> dict[str, Any]:
        """Give figures that are none."""
        return {"files_new": -1} if self.work.left % 20 else {"files_new": 1}


@pytest.mark.parametrize(
    ("log", "is_logged"),
    [(b"broken\nfault\n", True), (b"broken\n" * 2, True), (b"broken\n" + b"line\n" * 300_000, False)],
    ids=["raises", "gives nonsense", "would cost too much"],
)
def test_a_parser_that_fails_tells_nothing(log: bytes, caplog: pytest.LogCaptureFixture, *, is_logged: bool) -> None:
    """Whatever a parser does, the log has no figures then, and nothing is raised; a fault is in the log."""
    broken = Tool(name="broken", mark=re.compile(rb"\nbroken"), parser=Broken)
    assert parse_log(log, tools=[broken]) is None
    assert ("The parser of broken failed" in caplog.text) == is_logged


FIGURES: dict[Any, st.SearchStrategy[Any]] = {
    int | None: st.integers(-1, 5) | st.sampled_from([True, 5.0, 5.5, 2**63 - 1, 2**63, 10**400, "5"]),
    float | None: st.integers(-1, 5) | st.sampled_from([0.5, -0.0, math.nan, math.inf, 1e300, "1", True]),
    str | None: st.text(max_size=3)
    | st.sampled_from(["", "x" * 50, "x" * 51, "x" * 255, "x" * 256, "a\nb", "\n", "a\0", "\ud800", b"x", 5]),
    bool | None: st.sampled_from([True, False, 1, "true"]),
    bool: st.sampled_from([True, False, 1, None]),
    tuple[str, ...]: st.lists(st.text(max_size=2) | st.sampled_from(["x" * 1_100, 5]), max_size=3)
    | st.sampled_from([("a",), ["a"] * 101, "a"]),
}


NAMED = {field.name: FIGURES[field.type] for field in attrs.fields(RunStats)}


@given(
    st.sets(st.sampled_from(sorted(NAMED)), max_size=2).flatmap(
        lambda names: st.fixed_dictionaries({name: NAMED[name] for name in sorted(names)})
    )
)
def test_figures_of_any_parser_are_checked(figures: dict[str, Any]) -> None:
    """What a parser returns becomes figures in their normal form, or none if one of them is malformed."""

    class Reading:
        def feed(self, block: bytes) -> None:
            """Read nothing."""

        def figures(self) -> dict[str, Any]:
            return figures

    try:
        expected = RunStats(**{"tool": "odd", **figures}) if figures else None
    except backuplog.InvalidTaskResult:
        expected = None
    found = parse_log(b"odd", tools=[Tool(name="odd", mark=re.compile(b"\nodd"), parser=lambda _: Reading())])
    assert found == expected
    assert found is None or type(found) is RunStats
    assert repr(found) == repr(expected)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
        max_leaves=5,
    ).map(json.dumps)
    | st.text(st.sampled_from('{}[]",:0e+\\u9d8ab \x00\ud800'), max_size=20),
    st.binary(max_size=3),
)
def test_json_is_what_the_standard_library_reads(text: str, rest: bytes) -> None:
    """An object at the beginning of a line is decoded as json decodes it, and nothing raises."""
    for raw in (text.encode("utf-8", "surrogatepass"), b'{"a":' + text.encode("utf-8", "surrogatepass") + b"}" + rest):
        try:
            expected, _ = json.JSONDecoder().raw_decode(raw.decode("utf-8", "replace"))
        except ValueError:
            expected = {}
        assert repr(read_json(raw)) == repr(expected if isinstance(expected, dict) else {})


def test_little_json_is_decoded_at_once() -> None:
    """An object of more than 64 KiB, which would take 30 times as much memory, is none."""
    assert read_json(b'{"a":"%b"}' % (b"x" * 65_528)) == {"a": "x" * 65_528}
    assert read_json(b'{"a":"%b"}' % (b"x" * 65_529)) == {}


def test_what_the_pieces_raise_is_raised() -> None:
    """A log that cannot be read on is no log without figures."""

    def pieces() -> Iterator[bytes]:
        yield b"adder\n"
        raise backuplog.LogReplaced

    with pytest.raises(backuplog.LogReplaced):
        parse_log(pieces(), tools=[ADDER])


def test_colours_take_no_memory() -> None:
    """What stands between escape sequences is joined bit by bit."""
    log = b"\x1b[0mxxxxxxxxxxxxxxxxxxx\n" * (3 * MIB // 24)
    tracemalloc.start()
    assert parse_log(log, tools=[ADDER]) is None
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()


@pytest.mark.parametrize("number", ["1e308", "1e999", "-1.5e-320", "0.1"])
def test_a_number_in_json_is_read_by_the_standard_library(number: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast decoder by itself would take 16 us for 1e308: 3 s for 1 MiB of a log."""
    monkeypatch.setattr("backuplog.parsers.tool._DECODER", None)
    assert read_json(f'{{"x":{number}}}'.encode()) == {"x": float(number)}


def test_a_block_with_too_many_colours_is_read_as_it_is() -> None:
    """Taking out each escape sequence that 64 MiB can hold would take 5 s; that is decided block by block."""
    for colours, read in ((26_000, 5), (27_000, None)):
        log = b"adder\n" + b"\x1b[msum 5\n" + b"\x1b[m" * (colours - 1)
        stats = parse_log(log + b"\n", tools=[ADDER])
        assert (stats and stats.files_new) == read


def test_what_cannot_be_stored_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern would take 100 us for a name of 1,024 NUL, and 10 s for 64 MiB of them."""
    assert as_text("a\0\ud800b") == "a\ufffd\ufffdb"
    monkeypatch.setattr("backuplog.parsers.tool._SURROGATES", None)
    assert as_text(b"\0\xff" * 2_000, longest=4) == "\ufffd" * 4


@pytest.mark.parametrize(
    "log", [b'Creating archive at "/srv/repo::monday"\n', b"Snapshotting root@host:/srv ...\n"], ids=["borg", "kopia"]
)
def test_lines_that_say_nothing_are_counted_where_they_cost_most(log: bytes) -> None:
    """To pass over each of the 33 million short lines that 64 MiB can hold could take 10 s."""
    for left, is_read in ((1_000, True), (50, False)):
        work = Work(left=left)
        parse_log(log + b" \n" * 6_400, tools=[BORG, KOPIA], work=work)
        assert (work.left >= 0) == is_read
