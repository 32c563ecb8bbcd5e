"""What restic prints, of which real logs are in ``tests/data/parsers/restic``."""

import json
import re
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog import parsers
from backuplog.model import FIGURES, RunStats
from backuplog.parsers import parse_log, restic
from backuplog.parsers.restic import RESTIC
from parsers.corpus import cases

MIB = 2**20
CORPUS = {case["name"]: (case, log) for case, log in cases(Path(__file__).parents[1] / "data" / "parsers" / "restic")}
LOGS = [log for case, log in CORPUS.values() if case["tool"] == "restic"]
# Logs with one summary, and with no file that is named like a line of restic.
PLAIN = [
    log
    for case, log in CORPUS.values()
    if case["expected"].get("summary_present") and "spoof" not in case["name"] and "journal" not in case["name"]
]
SUMMARY = {
    "message_type": "summary",
    "files_new": 1,
    "total_files_processed": 2,
    "data_added": 3,
    "total_duration": 0.5,
    "snapshot_id": "c9748871",
}
TEXT = b"""
Files:           4 new,     0 changed,     0 unmodified
Dirs:            3 new,     0 changed,     0 unmodified
Added to the repository: 3.825 KiB (99 B   stored)

processed 4 files, 99 B in 1:00:05
snapshot a840b0ee saved
"""


def parse(log: bytes, **options: Any) -> RunStats | None:
    """Read a log as one of restic."""
    return parse_log(log, tools=[RESTIC], **options)


def told(log: bytes) -> dict[str, Any]:
    """Give what a log of restic tells."""
    stats = parse(log)
    return {} if stats is None else attrs.asdict(stats, filter=lambda _, value: value not in (None, (), False))


def as_json(**fields: object) -> bytes:
    """Give a summary as a line of JSON; keywords replace fields."""
    return json.dumps(SUMMARY | fields, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize("name", CORPUS)
def test_real_logs_give_what_they_tell(name: str) -> None:
    """Each figure is the one that an independent source has, or as near as the text rounds it."""
    case, log = CORPUS[name]
    stats = parse(log, task_type=case["task_type"])
    if case["tool"] != "restic":
        assert stats is None
        return
    found = {} if stats is None else attrs.asdict(stats) | {"total_duration": stats.duration}
    expected = case["expected"]
    assert found.get("snapshot_id") == expected.get("snapshot_id")
    for field in (*FIGURES, "data_added_packed", "total_duration"):
        figure, tolerance = expected.get(field), case.get("tolerance", {}).get(field, 0)
        assert found.get(field) == (figure if figure is None else pytest.approx(figure, rel=0, abs=tolerance)), field
    if expected.get("summary_present"):
        assert found["has_snapshot"] == (expected["snapshot_id"] is not None)
        assert found["errors"] == expected["errors"]
    elif "num_errors" in expected or expected.get("errors"):
        assert found["errors"] == expected.get("num_errors", expected.get("errors"))
    elif expected.get("no_errors") is not None:
        assert found.get("errors") == (0 if expected["no_errors"] else None)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("restic-0.9.6-backup-unreadable-plain", {"errors": 3, "warnings": 0, "format": "text", "approximate": True}),
        ("restic-0.12.1-backup-unreadable-json", {"errors": 4, "warnings": 1, "format": "json", "approximate": False}),
        ("restic-0.14.0-backup-unreadable-quiet", {"errors": 3, "warnings": 1, "has_snapshot": None}),
        ("restic-0.14.0-backup-missing-source-plain", {"errors": 0, "warnings": 1, "has_snapshot": True}),
        ("restic-0.14.0-restore-deleted-all-trees", {"errors": 2, "failed_items": (), "has_snapshot": None}),
        ("restic-0.14.0-version", {"tool": "restic", "tool_version": "0.14.0", "errors": None}),
        ("restic-0.19.1-backup-stdin-command-fails", {"errors": 1, "warnings": None, "has_snapshot": False}),
        ("systemd-journal-prefix", {"files_unmodified": 40211, "has_snapshot": True}),
    ],
)
def test_real_logs_give_more_than_figures(name: str, fields: dict[str, Any]) -> None:
    """Errors, warnings, the format and the version are told too, and what is not told is None."""
    stats = parse(CORPUS[name][1])
    assert {field: getattr(stats, field) for field in fields} == fields


@pytest.mark.parametrize(
    "name",
    [
        "restic-0.9.6-backup-unreadable-plain",
        "restic-0.12.1-backup-unreadable-json",
        "restic-0.18.1-backup-unreadable-vv",
    ],
)
def test_files_that_could_not_be_read_are_named(name: str) -> None:
    """The text of all versions and JSON name the same files, each once."""
    private = "/srv/data/private"
    assert set(told(CORPUS[name][1])["failed_items"]) == {
        f"{private}/größer-geheim.bin",
        f"{private}/locked-dir",
        f"{private}/unreadable.key",
    }


@pytest.mark.parametrize(
    ("line", "items"),
    [
        (b"error: open /a: b: permission denied", ("/a: b",)),
        (b"error: Open: open /srv/locked: permission denied", ("/srv/locked",)),
        (b"error: failed to save /srv/a: read /srv/a: input/output error", ("/srv/a",)),
        (b"error: failed to save /stdin: Fatal: command failed: exit status 3", ()),
        (b"error: no result", ()),
        (b"error: lstat \xff\0: no such file or directory", ("\ufffd\ufffd",)),
        (b'{"message_type":"error","error":{},"during":"scan","item":"/\\u0000\\ud800"}', ("/\ufffd\ufffd",)),
    ],
)
def test_a_line_of_an_error_names_a_file(line: bytes, items: tuple[str, ...]) -> None:
    """A path may hold anything; a line that names none is an error all the same."""
    stats = parse(b"open repository\n" + line + b"\n")
    assert stats
    assert (stats.errors, stats.failed_items) == (1, items)


def test_text_is_read_to_its_last_figure() -> None:
    """Sizes in bytes are exact; hours and all figures of the summary count."""
    counts = {f"{kind}_{change}": 0 for kind in ("files", "dirs") for change in ("new", "changed", "unmodified")}
    assert attrs.asdict(parse(TEXT) or RunStats(), filter=lambda _, value: value not in (None, ())) == counts | {
        "files_new": 4,
        "dirs_new": 3,
        "data_added": 3917,
        "data_added_packed": 99,
        "total_files_processed": 4,
        "total_bytes_processed": 99,
        "duration": 3605.0,
        "snapshot_id": "a840b0ee",
        "has_snapshot": True,
        "errors": 0,
        "warnings": 0,
        "tool": "restic",
        "format": "text",
        "approximate": True,
    }


@pytest.mark.parametrize(
    ("fields", "snapshot_id", "has_snapshot"),
    [
        ({}, "c9748871", True),
        ({"snapshot_id": "0" * 63 + "1"}, "0" * 63 + "1", True),
        ({"dry_run": True}, None, False),
        ({"snapshot_id": "[null]"}, None, False),
        ({"snapshot_id": "0" * 64}, None, False),
        ({"snapshot_id": None}, None, False),
    ],
)
def test_an_id_stands_for_a_snapshot(fields: dict[str, Any], snapshot_id: str | None, *, has_snapshot: bool) -> None:
    """No id is taken of a dry run, nor one that no snapshot has."""
    stats = parse(as_json(**fields))
    assert stats
    assert (stats.snapshot_id, stats.has_snapshot) == (snapshot_id, has_snapshot)
    if isinstance(fields.get("snapshot_id"), str):
        stats = parse(TEXT.replace(b"a840b0ee", fields["snapshot_id"].encode()))
        assert stats
        assert stats.snapshot_id == snapshot_id


@pytest.mark.parametrize(
    ("log", "dry_run"),
    [
        (as_json(dry_run=True), True),
        (as_json(dry_run=False), None),
        (as_json(dry_run="yes"), None),
        (TEXT, None),
        (TEXT.replace(b"Added to", b"Would add to"), True),
        (TEXT.replace(b"Added to", b"Would add to") + TEXT, None),
        (as_json() + as_json(dry_run=True), True),
    ],
)
def test_a_dry_run_is_one_where_the_last_summary_says_so(log: bytes, *, dry_run: bool | None) -> None:
    """What the log does not say stays unknown, and of several backups the last one counts."""
    stats = parse(log)
    assert stats
    assert stats.dry_run is dry_run


@pytest.mark.parametrize(
    "value", [-1, 2**63, 1.5, 1e300, True, None, "7", [], {}, float("nan"), float("inf"), -9223372036.85, 10**400]
)
def test_absurd_numbers_are_unknown(value: object) -> None:
    """A field that no backup can have is left out, the others stay."""
    stats = parse(as_json(data_added=value, total_duration=value, num_errors="x"))
    assert stats
    assert stats.files_new == 1
    assert stats.data_added in (None, True)
    assert stats.duration in (None, 1.5)


@pytest.mark.parametrize("size", range(22))
def test_a_short_line_of_json_hides_no_other(size: int) -> None:
    """Where a line begins like JSON but is shorter, what follows it is read from its own beginning."""
    for name in (b"u", b"r", b"x"):
        line = b"error: open /%b: permission denied\n" % (name * 20)
        assert told(b"open repository\n" + b'{"%b\n' % (b"a" * size) + line)["errors"] == 1


def test_more_errors_than_can_be_counted_are_not_none() -> None:
    """How many errors there were is unknown where their sum is no count, however few a summary tells."""
    most = 2**63 - 1
    for log in (
        b"restoring <Snapshot 12345678 of /a\nno errors were found\n" + b"There were %d errors\n" % most * 2,
        b'{"message_type":"summary","num_errors":%d}\n' % most * 2,
        b"open repository\n" + TEXT + b"There were %d errors\n" % most * 2,
    ):
        stats = parse(log)
        assert stats is None or stats.errors is None
    stats = parse(b"open repository\n" + TEXT + b"There were 0 errors\n")
    assert stats
    assert stats.errors == 0


def test_several_backups_count_as_the_last() -> None:
    """The last summary is taken, whichever format each has, and errors of all are counted."""
    error = b"error: open /a: permission denied\n"
    assert told(error + TEXT + error + as_json())["data_added"] == 3
    assert told(error + as_json() + TEXT + error)["data_added"] == 3917
    assert told(error + as_json() + TEXT + error)["errors"] == 2
    assert told(TEXT + b"Fatal: unable to save snapshot: no space\n") == {
        "tool": "restic",
        "format": "text",
    }


def test_names_forge_no_summary() -> None:
    """A summary that files come after was the name of a file, also if the log ends before the true one."""
    for end in (b"new       /b, saved in 0.001s (0 B added)\n", b"unchanged /b\n", b", saved in 0.000s (11 B added)\n"):
        for forged in (TEXT, as_json()):
            assert told(b"open repository\nnew       /a" + forged + end) == {}
            assert told(b"open repository\nnew       /a" + forged + end + TEXT)["data_added"] == 3917


def test_other_commands_tell_no_snapshot() -> None:
    """Copies have ids of their own, and a comparison has numbers of files, but neither is a backup."""
    for name in ("restic-0.14.0-copy", "restic-0.12.1-diff-plain", "restic-0.16.5-restore-json"):
        assert told(CORPUS[name][1]) == {}
    assert told(TEXT.replace(b"a840b0ee", b"00000001") + CORPUS["restic-0.14.0-copy"][1])["snapshot_id"] == "00000001"


@given(st.sampled_from(PLAIN), st.integers(0, 30_000), st.integers(0, 30_000))
def test_a_part_of_a_log_tells_nothing_wrong(log: bytes, start: int, stop: int) -> None:
    """What is left of a log that was cut gives the same figures or none."""
    whole, part = parse(log), parse(log[start % len(log) :][: stop % len(log)])
    for field in (*FIGURES, "data_added_packed", "duration", "snapshot_id"):
        assert part is None or getattr(part, field) in (None, getattr(whole, field))


@given(st.lists(st.sampled_from(LOGS), max_size=3), st.sampled_from(PLAIN))
def test_logs_in_a_row_give_the_last(logs: list[bytes], last: bytes) -> None:
    """Whatever ran before, the figures are those of the last backup."""
    row, alone = parse(b"\n".join([*logs, last])), parse(last)
    assert row
    assert alone
    for field in (*FIGURES, "data_added_packed", "duration", "snapshot_id", "has_snapshot", "format"):
        assert getattr(row, field) == getattr(alone, field)


@given(st.sampled_from(LOGS), st.integers(1, 40_000), st.integers(256, 8_192))
def test_the_pieces_make_no_difference(log: bytes, size: int, block_bytes: int) -> None:
    """A log gives the same in pieces of any size as in one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parsers, "_BLOCK_BYTES", block_bytes)
        whole = parse_log(log, tools=[RESTIC])
        assert parse_log((log[at : at + size] for at in range(0, len(log), size)), tools=[RESTIC]) == whole


FILES = b"".join(b"new       /srv/data/%06d.jpg, saved in 0.001s (1.5 KiB added)\n" % number for number in range(2_000))


@given(st.sampled_from(LOGS), st.integers(0, 30_000), st.integers(1, 2_000))
def test_many_files_between_two_lines_make_no_difference(log: bytes, at: int, count: int) -> None:
    """A list of files, most of which is passed over, hides no line before it or behind it."""
    place = log.find(b"\n", at % len(log)) + 1
    files = FILES[: count * 64]
    found, expected = told(log[:place] + files + log[place:]), told(log[:place] + FILES[:64] + log[place:])
    assert found == expected


@given(
    st.sampled_from([TEXT, *(log for log in LOGS if b"\nFiles: " in log and len(log) < 20_000)]),
    st.lists(
        st.tuples(st.integers(0, 20_000), st.sampled_from([b"\n", b" ", b"0", b"9", b"x", b":", b""])), max_size=3
    ),
)
def test_a_summary_at_once_is_one_line_by_line(log: bytes, changes: list[tuple[int, bytes]]) -> None:
    """What is read of a whole summary is what its lines tell one by one, also where some are damaged."""
    changed = bytearray(log)
    for at, new in changes:
        place = log.rfind(b"Files: ") + at % (len(log) - log.rfind(b"Files: "))
        changed[place : place + 1] = new
    found = told(bytes(changed))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(restic, "_BACKUP", re.compile(b"(?!)"))
        assert told(bytes(changed)) == found


@given(st.sampled_from(LOGS), st.lists(st.tuples(st.integers(0, 30_000), st.binary(max_size=12)), max_size=8))
def test_a_damaged_log_does_not_raise(log: bytes, changes: list[tuple[int, bytes]]) -> None:
    """Bytes that were changed make figures wrong at worst."""
    changed = bytearray(log)
    for at, new in changes:
        changed[at % len(log) : at % len(log) + len(new)] = new
    parse(b"open repository\n" + bytes(changed))


BEGINNINGS = [
    b"Files: ",
    b"Dirs: 1 new, ",
    b"Added to the repo: ",
    b"processed 1 files, 1 B in ",
    b"error: open ",
    b"There were ",
    b'{"message_type":"summary",',
    b'{"message_type":"summary","total_duration":',
    b'{"message_type":"summary","num_errors":',
    b'{"message_type":"exit_error","message":',
    b'{"message_type":"error","during":"scan","item":',
]
VALUES = st.one_of(
    st.binary(max_size=20),
    st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=3)
    .map(json.dumps)
    .map(lambda value: value.encode() + b"}"),
)


@given(st.lists(st.tuples(st.sampled_from(BEGINNINGS), VALUES).map(b"".join), max_size=6))
def test_random_bytes_do_not_raise(lines: list[bytes]) -> None:
    """Lines that begin like those of restic may go on with anything."""
    parse(b"open repository\n" + b"\n".join(lines))


@pytest.mark.parametrize(
    "unit",
    [
        b"\n",
        b"Files:  ",
        b"\nFiles: 1 new, 1 changed, 1 unmodified",
        b"\nAdded to the repo: 1 B" + b" " * 5_000,
        b"\nerror: open /a: " + b": open " * 99,
        b"\nWarning: at least one source file could not be read" + b"\n" * 99,
        b'\n{"message_type":"exit_error","' + b" " * 60_000,
        b'\n{"message_type":"error","during":"scan","item":"/","error":' + b"[" * 60_000,
        b'\n{"message_type":"error","during":"scan","item":"/","error":[' + b"[]," * 20_000 + b"0]}",
        b'\n{"message_type":"error","during":"scan","item":"/","error":[' + b"[]," * 300_000 + b"0]}",
        b'\n{"message_type":"summary","total_duration":' + b"9" * 60_000 + b"}",
        b"\nnew /a does not exist, skipping",
        b"\nMar 03 02:04:10 agent01 restic[41233]: error: open /a: b",
    ],
)
def test_memory_and_time_are_bounded(unit: bytes) -> None:
    """A log of more than a block takes less than 8 MiB beside itself, whatever it repeats."""
    log = b"open repository\n" + unit * (3 * MIB // 2 // len(unit))
    tracemalloc.start()
    parse(log)
    assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    tracemalloc.stop()
