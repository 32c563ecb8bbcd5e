"""What is read from logs of borg: real ones, made ones, and ones that are cut, changed or hostile."""

import json
import tracemalloc
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog.model import RunStats
from backuplog.parsers import TOOLS, Work, parse_log
from backuplog.parsers.borg import BORG
from parsers.corpus import cases

DATA = Path(__file__).parent.parent / "data"
CASES = {case["name"]: (case, log) for case, log in cases(DATA / "parsers" / "borg")}
LOGS = {name: log for name, (_, log) in CASES.items()}
FIELDS = {
    "archive_id": "snapshot_id",
    "nfiles": "total_files_processed",
    "original_size": "total_bytes_processed",
    "compressed_size": "data_compressed",
    "deduplicated_size": "data_added",
    "duration": "duration",
}
FIGURES = [*FIELDS.values(), "has_snapshot", "tool_version"]
UNREAD = (
    "/srv/data/private/unreadable.key",
    "/srv/data/private/größer-geheim.bin",
    "/srv/data/private/locked-dir",
    "/srv/data/does-not-exist",
)
STATS = LOGS["borg-1.2.4-create-first-stats"]
DOCUMENT = LOGS["borg-1.2.4-create-first-json"]
DRY_RUN: dict[str, object] = {"dry_run": True, "encryption": {"encryption": "none"}, "repository": {"id": "ab" * 32}}
DRY_RUN["stats"] = {"nfiles": 5, "original_size": 1234}
REFUSED = "/srv/a: open: [Errno 13] Permission denied: 'a'"


def read(log: bytes | str, **options: Any) -> RunStats:
    """Return the figures of a log that tells some."""
    stats = parse_log(log, tools=(BORG,), **options)
    assert stats is not None
    return stats


def message(text: str, level: str = "WARNING", name: str = "borg.archiver") -> str:
    """Return a line of --log-json."""
    return json.dumps({"type": "log_message", "time": 1.5, "message": text, "levelname": level, "name": name}) + "\n"


@pytest.mark.parametrize("name", [name for name, (case, _) in CASES.items() if "archive_id" in case["expected"]])
def test_figures_of_real_logs(name: str) -> None:
    """Each figure is the one that the corpus expects, or as near to it as the log rounds."""
    case, log = CASES[name]
    stats = read(log, task_type=case["task_type"])
    assert stats.tool == "borg"
    assert stats.has_snapshot is True
    for theirs, ours in FIELDS.items():
        if theirs in case["expected"]:
            expected = case["expected"][theirs]
            if slack := case.get("tolerance", {}).get(theirs):
                expected = pytest.approx(expected, abs=slack, rel=0)
            assert getattr(stats, ours) == expected
    assert stats.approximate is bool(case.get("tolerance"))


@pytest.mark.parametrize("command", ["delete-stats", "info-archive", "list-json", "prune-list-stats"])
def test_commands_that_make_no_archive(command: str) -> None:
    """Sizes that belong to other archives, or to the repository, are no figures of a run."""
    assert parse_log(LOGS[f"borg-1.2.4-{command}"], tools=TOOLS) is None


@pytest.mark.parametrize("path", sorted((DATA / "results").glob("restic*.log")), ids=lambda path: path.stem)
def test_other_tools(path: Path) -> None:
    """A log of another tool is not taken for one of borg."""
    assert parse_log(path.read_bytes(), tools=(BORG,)) is None


def test_items_that_text_names() -> None:
    """What could not be read is known from text, whose warnings are not counted, because it does not mark them."""
    stats = read(LOGS["borg-1.2.4-create-unreadable-stats-list"])
    assert (stats.failed_items, stats.warnings, stats.errors, stats.format) == (UNREAD, None, None, "text")


def test_items_that_messages_name() -> None:
    """Messages are counted as printed, and what borg 2 tried ten times to read is one item."""
    stats = read(LOGS["borg-2.0.0b5-create-unreadable-log-json"])
    assert (stats.failed_items, stats.warnings, stats.errors, stats.format) == (UNREAD, 22, 0, "json")


def test_an_error_without_an_archive() -> None:
    """A run that fails at once has an error, and no more is known."""
    stats = read(LOGS["borg-1.4.5-create-missing-repo-log-json"])
    assert stats == RunStats(warnings=0, errors=1, tool="borg", format="log-json")


def test_a_traceback() -> None:
    """A traceback tells the version, and names no item."""
    stats = read(LOGS["borg-2.0.0b5-create-disk-full"])
    assert stats.tool_version == "2.0.0b5"
    assert stats.failed_items == (
        *(f"/srv/data/media/video-0{n}.mp4" for n in range(1, 6)),
        "/srv/data/media/img_0000.jpg",
    )


def test_the_version_that_borgmatic_tells() -> None:
    """Borgmatic prints the version of borg behind the name of the repository."""
    assert read(LOGS["borgmatic-check-verbosity-2"]) == RunStats(tool="borg", tool_version="1.4.5", format="text")


@pytest.mark.parametrize(
    "log",
    [
        json.dumps(DRY_RUN, indent=4) + "\n",
        "local: Creating archive (dry run; not making any changes)\n- /srv/a\n",
        "Creating archive (dry run; not making any changes)\n",
        "Ignoring --stats. It is not supported when using --dry-run.\n- /srv/a\n",
        message("Ignoring --stats. It is not supported when using --dry-run."),
    ],
)
def test_dry_runs(log: str) -> None:
    """A dry run makes no archive; borg 2 says in JSON how large one would be."""
    stats = read(log)
    assert (stats.dry_run, stats.has_snapshot, stats.snapshot_id) == (True, False, None)
    sizes = (5, 1234) if stats.format == "json" else (None, None)
    assert (stats.total_files_processed, stats.total_bytes_processed) == sizes


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0.20 seconds", 0.2),
        ("0.203 seconds", 0.203),
        ("1 hours 2 minutes 3.45 seconds", 3723.45),
        ("2 days 3.00 seconds", 172_803.0),
        ("9" * 400 + " seconds", None),
        ("nan seconds", None),
        ("-1 days 3.00 seconds", None),
        ("3 fortnights", None),
        ("3", None),
        ("", None),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    """A duration is in days, hours, minutes and seconds; what is none is unknown, and harms no other figure."""
    stats = read(STATS.replace(b"0.19 seconds", text.encode()))
    assert (stats.duration, stats.total_files_processed) == (seconds, 282)


@pytest.mark.parametrize(
    ("row", "sizes", "rounded"),
    [
        ("838 B 12 B 0 B", (838, 12, 0), False),
        ("1.50 KiB 2.00 MiB 838 B", (1536, 2_097_152, 838), True),
        ("1.50 kB 2.00 TB 3.00 PB", (1500, 2 * 10**12, 3 * 10**15), True),
        ("1.50 YB 2.00 XB 99999999.00 EB", (None, None, None), True),
        ("1.50 kB 2.00 kB", (None, None, None), False),
        ("123456789012345678901.50 kB 2.00 kB 838 B", (None, None, None), False),
        ("838 B " * 4, (None, None, None), False),
    ],
)
def test_sizes(row: str, sizes: tuple[int | None, ...], rounded: bool) -> None:  # noqa: FBT001 - pytest passes it
    """Sizes are decimal, or binary with --iec, and bytes are exact."""
    lines = [b"This archive: " + row.encode() if line.startswith(b"This") else line for line in STATS.split(b"\n")]
    stats = read(b"\n".join(lines))
    assert (stats.total_bytes_processed, stats.data_compressed, stats.data_added) == sizes
    assert stats.approximate is rounded


def test_statistics_of_borg_2() -> None:
    """Borg 2 has no table, and counts against a cache which files it added."""
    id_ = "ab" * 32
    log = f"""Archive fingerprint: {id_}\nTime (start): Tue\nDuration: 0.22 seconds\nNumber of files: 282
Original size: 4.78 MB\nDeduplicated size: 3.42 MB\nAdded files: 282\nUnchanged files: 0\nError files: 0
Original size: 1 B\n"""
    assert read(log) == RunStats(
        total_files_processed=282,
        total_bytes_processed=4_780_000,
        data_added=3_420_000,
        duration=0.22,
        snapshot_id=id_,
        has_snapshot=True,
        tool="borg",
        format="text",
        approximate=True,
    )


def test_statistics_in_messages() -> None:
    """With --log-json the statistics are messages, each of a line."""
    log = "".join(message(line, "INFO", "borg.output.stats") for line in STATS.decode().split("\n"))
    log = message("borgbackup version 1.4.5", "INFO", "borg.output.show-version") + log
    told, text = read(log), read(STATS)
    assert (told.format, told.tool_version, told.warnings) == ("log-json", "1.4.5", 0)
    assert [getattr(told, name) for name in FIELDS.values()] == [getattr(text, name) for name in FIELDS.values()]


def test_the_last_archive_counts() -> None:
    """Of two archives in a log, the figures are all of the second."""
    assert read(DOCUMENT + STATS) == read(STATS)
    assert read(STATS + DOCUMENT) == read(DOCUMENT)
    assert read(STATS + LOGS["borg-1.2.4-info-archive"] + LOGS["borg-1.2.4-list-json"]) == read(STATS)


def test_messages_within_a_document() -> None:
    """Lines of stderr within a document, and a document of megabytes, do no harm."""
    names = b"".join(b'            "/srv/%d",\n' % n for n in range(100_000))
    lines = DOCUMENT.replace(b'            "create",\n', names).replace(
        b'        "name"', REFUSED.encode() + b'\n        "name"'
    )
    stats = read(lines)
    assert stats.failed_items == ("/srv/a",)
    assert [getattr(stats, name) for name in FIGURES] == [getattr(read(DOCUMENT), name) for name in FIGURES]


def test_no_id_but_the_archive_s() -> None:
    """Where the archive's id is damaged, that of the repository is not taken for it."""
    lines = [line for line in DOCUMENT.split(b"\n") if b'"id": "62126' not in line]
    assert len(lines) == DOCUMENT.count(b"\n")
    assert parse_log(b"\n".join(lines), tools=(BORG,)) is None


def test_names_with_newlines() -> None:
    """A message is decoded as one, so that a name in it cannot pass for lines of text."""
    name = "/srv/x\nBorg: 6.6  Python: 3\nE y\n/srv/z"
    stats = read(message(f"{name}: open: [Errno 13] Permission denied: 'z'"))
    assert (stats.failed_items, stats.tool_version) == ((name,), None)


def test_status_lines() -> None:
    """Of the lines that --list makes, only those of failures are read."""
    lines = [{"type": "file_status", "status": status, "path": f"/srv/{status}"} for status in "AMUCEdhs-"]
    assert read("".join(json.dumps(line) + "\n" for line in lines)).failed_items == ("/srv/E",)
    assert read("A /srv/x/a\nE /srv/x/b\nd /srv/x\n").failed_items == ("/srv/x/b",)
    assert parse_log("A /srv/x/a\nM /srv/x/b\nd /srv/x\n", tools=(BORG,)) is None


def test_progress_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of progress, and status lines other than of failures, are passed over as bytes."""
    decoded: list[bytes] = []
    monkeypatch.setattr("backuplog.parsers.borg.read_json", lambda line: decoded.append(line) or {})
    kinds = ["archive_progress", "progress_percent", "progress_message"]
    lines = [{"original_size": 1, "nfiles": 2, "path": "/E", "type": kind, "finished": False} for kind in kinds]
    lines += [{"type": "file_status", "status": "A", "path": "E"}, {"type": "log_message", "levelname": "INFO"}]
    assert parse_log("".join(json.dumps(line) + "\n" for line in lines) * 9, tools=(BORG,)) is None
    assert decoded == []
    parse_log(json.dumps({"type": "log_message", "time": 1, "levelname": "ERROR"}) + "\n", tools=(BORG,))
    assert len(decoded) == 1


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "log_message", "time": 1, "message": ' + b"[" * 60_000 + b', "levelname": "ERROR"}',
        b'{"type": "log_message", "time": NaN, "message": ' + b"9" * 9_999 + b', "levelname": "ERROR"}',
        b'{"type": "log_message", "time": 1, "message": "\xff\\ud800\\u0000: read: [Errno 5] x", "levelname": "ERROR"}',
        b'{"type": "log_message", "time": 1, "message": "' + b"x" * 999_999 + b'", "levelname": "ERROR"}',
        b'{"type": "log_message", "time": 1, "message": {}, "levelname": ["x"], "path": 1, "levelname": "ERROR"',
        b'{"type": "file_status", "status": "E", "path": [], "levelname": {}, "message": null}',
        b'{"type": "file_status", "status": "E"',
        b'{"archive": {"duration": NaN, "id": "x", "stats": {"nfiles": 1e999, "original_size": ' + b"9" * 60 + b"}}}",
        b'    "archive": {\n        "duration": 1e999,\n            "nfiles": -1,\n            "original_size": 1.5,',
        b"E \xff\0" + b"x" * 99_999,
        b"Number of files: " + b"9" * 999,
    ],
    ids=lambda line: line[:60].decode("ascii", "replace"),
)
def test_hostile_lines(line: bytes) -> None:
    """A line that makes no sense raises nothing, and what stands around it counts."""
    stats = read(STATS + line + b"\n" + STATS)
    assert (stats.snapshot_id, stats.total_files_processed) == (read(STATS).snapshot_id, 282)


@given(name=st.sampled_from(sorted(LOGS)), share=st.floats(0, 1))
def test_cut_logs(name: str, share: float) -> None:
    """A log that was cut off tells no figure that the whole one does not tell."""
    whole, cut = (
        parse_log(LOGS[name], tools=(BORG,)),
        parse_log(LOGS[name][: int(share * len(LOGS[name]))], tools=(BORG,)),
    )
    if cut is not None:
        assert whole is not None
        assert all(getattr(cut, figure) in (None, getattr(whole, figure)) for figure in FIGURES)
        assert cut.failed_items == whole.failed_items[: len(cut.failed_items)]


@given(data=st.data(), name=st.sampled_from(sorted(LOGS)))
def test_changed_logs(data: st.DataObject, name: str) -> None:
    """A log with bytes changed, added or taken out raises nothing."""
    log = bytearray(LOGS[name])
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(log)))
        log[start : start + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=9))
    parse_log(bytes(log), tools=(BORG,))


@given(names=st.lists(st.sampled_from(sorted(LOGS)), max_size=4), noise=st.binary(max_size=99))
def test_joined_logs(names: list[str], noise: bytes) -> None:
    """Logs one behind another, with bytes between them, raise nothing."""
    parse_log(noise.join(LOGS[name] for name in names), tools=(BORG,))


@given(
    st.lists(
        st.sampled_from([*STATS.split(b"\n"), *DOCUMENT.split(b"\n"), b"E a", REFUSED.encode(), b"\xff"]), max_size=40
    )
)
def test_shuffled_lines(lines: list[bytes]) -> None:
    """Lines in any order raise nothing, and an id that they tell is one of theirs."""
    stats = parse_log(b"\n".join(lines), tools=(BORG,))
    assert stats is None or (stats.snapshot_id or "").encode() in b"\n".join(lines)


@given(name=st.sampled_from(sorted(LOGS)), size=st.integers(1, 9_999))
def test_pieces(name: str, size: int) -> None:
    """Pieces of any size tell the same as the whole."""
    log = LOGS[name]
    pieces = [log[start : start + size] for start in range(0, len(log), size)]
    assert parse_log(pieces, tools=(BORG,)) == parse_log(log, tools=(BORG,))


@pytest.mark.parametrize(
    "line",
    [
        b"A /srv/data/docs/libisl23/changelog.gz\n",
        b"E /srv/data/docs/libisl23/changelog.gz\n",
        b'{"archive": ' + b'"id": "a", ' * 90_000 + b"\n",
        message("[" * 9_000).encode(),
        b'{"type": "log_message", "time": 1, "message": [' + b"[]," * 20_000 + b'[]], "levelname": "ERROR"}\n',
        b'            "/srv/data/docs/libisl23/changelog.gz",\n',
    ],
    ids=lambda line: line[:45].decode(),
)
def test_memory(line: bytes) -> None:
    """A long log takes less than 8 MiB, whatever its lines are."""
    count = max(1, 262_144 // len(line))
    tracemalloc.start()
    try:
        parse_log(chain([STATS], repeat(line * count, 3 * 1_048_576 // (count * len(line)))), tools=(BORG,))
        assert tracemalloc.get_traced_memory()[1] < 8 * 1_048_576
    finally:
        tracemalloc.stop()


def test_each_line_of_a_message_is_counted() -> None:
    """A message may have 50 lines, and reading them costs more than decoding it."""
    log = "Archive fingerprint: " + "a" * 64 + "\n" + message("\n".join(["a"] * 50)) * 10
    assert parse_log(log, work=Work(left=10 * 61 + 2)) is not None
    assert parse_log(log, work=Work(left=10 * 61)) is None
