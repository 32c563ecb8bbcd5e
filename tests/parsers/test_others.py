"""The figures of tools other than restic and borg: of real logs, of made ones, and of logs that are broken."""

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog import RunStats
from backuplog.parsers import TOOLS, Work, parse_log
from backuplog.parsers.tool import as_count, as_seconds, read_json
from parsers.corpus import cases

DATA = Path(__file__).parents[1] / "data" / "parsers"
OTHERS = ("dar", "duplicity", "pgbackrest", "rclone", "rdiff-backup", "rsync", "tar")
MINE = [tool for tool in TOOLS if tool.name in {*OTHERS, "kopia"}]
REAL = {case["name"]: (case, log) for tool in OTHERS for case, log in cases(DATA / tool)}

UNREADABLE = ("locked-dir", "größer-geheim.bin", "unreadable.key")
EXPECTED: dict[str, dict[str, Any] | None] = {
    "dar-create": {"errors": 0, "warnings": 0},
    "dar-test": {"errors": 0},
    "dar-unreadable": {"errors": 2, "warnings": 0},
    "duplicity-full": {
        "files_new": 350,
        "files_changed": 0,
        "data_added": 4_778_980,
        "data_added_packed": 4_233_184,
        "total_files_processed": 350,
        "total_bytes_processed": 5_049_372,
        "duration": 0.9,
        "has_snapshot": True,
        "errors": 0,
    },
    "duplicity-restore": None,
    "duplicity-missing-source": None,
    "pgbackrest-backup-full": {
        "data_added": 22_963_814,
        "total_files_processed": 964,
        "total_bytes_processed": 22_963_814,
        "duration": 3.431,
        "snapshot_id": "20261124-043007F",
        "has_snapshot": True,
        "warnings": 0,
        "errors": 0,
        "tool_version": "2.45",
        "approximate": True,
    },
    "pgbackrest-backup-server-down": {"has_snapshot": False, "warnings": 1, "errors": 1, "tool_version": "2.45"},
    "pgbackrest-expire": None,
    "pgbackrest-info-json": None,
    "rclone-1.60.1-sync-first-progress-tty": {
        "data_added": 62_933_434,
        "errors": 0,
        "duration": 3.1,
        "approximate": True,
    },
    "rclone-1.60.1-sync-first-stats-lines": {"data_added": 62_933_434, "approximate": True},
    "rclone-1.60.1-sync-incr-json-log": {
        "data_added": 160_844,
        "errors": 0,
        "duration": 0.271707562,
        "format": "json",
    },
    "rclone-1.60.1-sync-incr-nothing": {"data_added": 0, "errors": 0, "duration": 0.2},
    "rclone-1.60.1-sync-sigint": None,
    "rclone-1.75.2-sync-incr-dry-run": {"has_snapshot": False, "dry_run": True, "errors": 0, "duration": 0.0},
    "rclone-1.75.2-sync-missing-source-json-log": {
        "data_added": 0,
        "errors": 1,
        "duration": 0.000600401,
        "format": "json",
    },
    "rclone-1.75.2-sync-unreadable": {
        "data_added": 1_050,
        "errors": 3,
        "duration": 0.0,
        "approximate": True,
        "failed_items": ("locked-dir", "größer-geheim.bin", "unreadable.key"),
    },
    "rdiff-backup-after-kill": {
        "files_new": 523,
        "files_changed": 2,
        "total_files_processed": 2_248,
        "total_bytes_processed": 21_963_076,
        "duration": 1.28,
        "errors": 0,
    },
    "rdiff-backup-verify": None,
    "rsync-first-a-stats-human": {"files_new": 282, "dirs_new": 66, "total_files_processed": 282},
    "rsync-incr-dry-run-itemize": {
        "files_new": 12,
        "dirs_new": 3,
        "data_added": 0,
        "total_files_processed": 289,
        "total_bytes_processed": 4_880_360,
        "has_snapshot": False,
        "dry_run": True,
    },
    "rsync-sigint": {"tool_version": "3.5.0"},
    "rsync-vanished": {
        "files_new": 46,
        "dirs_new": 1,
        "data_added": 15_630_839,
        "total_files_processed": 46,
        "total_bytes_processed": 62_933_414,
        "warnings": 5,
        "failed_items": tuple(f"/srv/data/van/video-0{n}.mp4" for n in range(1, 6)),
        "tool_version": "3.5.0",
    },
    "tar-create-missing-source": {"data_added": 5_038_080, "warnings": 1, "failed_items": ("/srv/data/nope",)},
    "tar-create-quiet": {"warnings": 0},
    "tar-disk-full": {"data_added": 6_287_360, "warnings": 2},
    "tar-incremental-level1": {"data_added": 256_000, "warnings": 3},
}


def stats_of(name: str, log: bytes, **options: Any) -> RunStats | None:
    """Give the figures of a log, and make sure that it does not matter in which pieces it comes."""
    stats = parse_log(log, **options)
    size = 1 + len(log) // 7
    assert parse_log([log[start : start + size] for start in range(0, len(log), size)], **options) == stats, name
    return stats


@pytest.mark.parametrize("name", EXPECTED)
def test_real_logs_give_their_figures(name: str) -> None:
    """Each figure is the tool's own, and there is no other."""
    case, log = REAL[name]
    stats, expected = stats_of(name, log), EXPECTED[name]
    if expected is None:
        assert stats is None
    else:
        failed_items = stats.failed_items if stats and "failed_items" not in expected else ()
        assert stats == RunStats(
            **{"tool": case["tool"], "format": "text", "failed_items": failed_items, **expected},
        )


NAMES = {
    "duplicity": {
        "SourceFiles": "total_files_processed",
        "SourceFileSize": "total_bytes_processed",
        "NewFiles": "files_new",
        "ChangedFiles": "files_changed",
        "RawDeltaSize": "data_added",
        "TotalDestinationSizeChange": "data_added_packed",
        "Errors": "errors",
        "ElapsedTime": "duration",
    },
    "rdiff-backup": {
        "SourceFiles": "total_files_processed",
        "SourceFileSize": "total_bytes_processed",
        "NewFiles": "files_new",
        "ChangedFiles": "files_changed",
        "Errors": "errors",
        "ElapsedTime": "duration",
    },
    "pgbackrest": {"backup_label": "snapshot_id", "file_total": "total_files_processed"},
    "rclone": {"bytes": "data_added", "errors": "errors", "elapsedTime": "duration"},
    "rsync": {"total_file_size": "total_bytes_processed", "literal_data": "data_added"},
    "tar": {"total_bytes_written": "data_added", "warnings": "warnings"},
    "dar": {"inodes_failed": "errors"},
}


def test_figures_are_those_of_the_tool() -> None:
    """What the corpus tells under the tool's own name is found under ours."""
    for name, (case, log) in REAL.items():
        expected = {ours: case["expected"].get(own) for own, ours in NAMES[case["tool"]].items()}
        told = {ours: value for ours, value in expected.items() if value is not None}
        stats = stats_of(name, log)
        assert told == {ours: getattr(stats, ours) for ours in told}, name


@pytest.mark.parametrize("name", [name for name in REAL if name.endswith("-unreadable")])
def test_what_could_not_be_read_is_named(name: str) -> None:
    """Each tool names the same two files and the folder."""
    stats = stats_of(name, REAL[name][1])
    assert stats
    assert {item.rpartition("/")[2] for item in stats.failed_items} == set(UNREADABLE)


MANIFEST = {
    "id": "618f83d08a9938351e8d385a24aca252",
    "source": {"host": "nas", "userName": "root", "path": "/mnt/pictures"},
    "description": "",
    "startTime": "2023-10-05T09:01:36.265095891Z",
    "endTime": "2023-10-05T09:01:55.028680144Z",
    "stats": {"totalSize": 162_291_781_350, "fileCount": 8_054, "cachedFiles": 42_506, "nonCachedFiles": 8_054},
    "rootEntry": {
        "name": "pictures",
        "type": "d",
        "obj": "kd4656c46f03377cbc01c2a7843f28b44",
        "summ": {
            "size": 162_291_781_350,
            "files": 50_560,
            "dirs": 221,
            "numFailed": 2,
            "numIgnoredErrors": 1,
            "errors": [{"path": "private/a", "error": "permission denied"}, {"path": "b"}, None, {"path": 5}],
        },
    },
}
KOPIA = """Snapshotting root@mgmt:/home/rhys ...
 | 3 hashing, 12 hashed (1.5 MB), 0 cached (0 B), uploaded 1 MB, estimated 2 GB (0.1%) 9s left\r\
 * 0 hashing, 37356 hashed (2 GB), 12 cached (1.5 MB), uploaded 1.3 GB, estimated 2 GB (100.0%) 0s left
 ! Error when processing "Photos/a.jpg": unable to read
Created snapshot with root k1ec1fe89bba7206a48c6f3a5d7adf2ce and ID 787184263559f186d6c0c68a94ca9a71 in 2m35s
Ignored 1 error(s) while snapshotting root@mgmt:/home/rhys.
kopia: error: Found 2 fatal error(s) while snapshotting root@mgmt:/home/rhys.
"""


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("before", ["", KOPIA.partition("Created")[0]])
def test_kopia_prints_a_manifest(indent: int | None, before: str) -> None:
    """All files are those of the root's summary: ``fileCount`` leaves out what was cached."""
    log = f"{before}{json.dumps(MANIFEST, indent=indent)}\n"
    assert stats_of("kopia", log.encode()) == RunStats(
        files_unmodified=42_506,
        total_files_processed=50_560,
        total_bytes_processed=162_291_781_350,
        duration=18.763585,
        snapshot_id="618f83d08a9938351e8d385a24aca252",
        has_snapshot=True,
        warnings=1,
        errors=2,
        failed_items=("private/a", "b"),
        tool="kopia",
        format="json",
    )


def test_kopia_prints_progress_and_a_closing_line() -> None:
    """The last progress counts, sizes are rounded, and what was uploaded is not known yet."""
    stats = stats_of("kopia", KOPIA.encode())
    assert stats == RunStats(
        files_unmodified=12,
        total_files_processed=37_368,
        total_bytes_processed=2_001_500_000,
        duration=155.0,
        snapshot_id="787184263559f186d6c0c68a94ca9a71",
        has_snapshot=True,
        warnings=1,
        errors=2,
        failed_items=("Photos/a.jpg",),
        tool="kopia",
        format="text",
        approximate=True,
    )


def test_kopia_saves_no_identical_snapshot() -> None:
    """It says so, and there is no id."""
    log = (
        b"Snapshotting a@b:/c ...\n\n Not saving snapshot because no files have been changed since previous snapshot\n"
    )
    assert stats_of("kopia", log) == RunStats(has_snapshot=False, tool="kopia", format="text")


STATISTICS = b"""Transferred:   \t   %b, 100%%, 0 B/s, ETA -
Errors:                 2 (retrying may help)
Elapsed time:       %b
"""


@pytest.mark.parametrize(
    ("sizes", "time", "data_added", "duration"),
    [
        (b"1.500 MiB / 2 MiB", b"1m2.3s", 1_572_864, 62.3),
        (b"1.500Mi / 2 MiByte", b"2h0.1s", 1_572_864, 7_200.1),
        (b"1.500M / 2 MBytes", b"1d2h3m4.5s", 1_572_864, 93_784.5),
        (b"157.074k / 157.074 kBytes", b"1w0.5s", 160_844, 604_800.5),
        (b"0 / 0 Bytes", b"0.0s", 0, 0.0),
        (b"860 B / 860 B", b"0.5s", 860, 0.5),
    ],
)
def test_rclone_has_had_other_units(sizes: bytes, time: bytes, data_added: int, duration: float) -> None:
    """All are powers of 1,024, whatever they are called."""
    stats = stats_of("rclone", STATISTICS % (sizes, time))
    assert stats
    assert (stats.data_added, stats.duration, stats.errors) == (data_added, duration, 2)
    assert stats.approximate == (data_added > 1_000)


def test_what_rclone_copied_at_last_has_not_failed() -> None:
    """Each attempt begins anew, in text and in JSON; failures of the last one stand."""
    text = b"2026/11/24 04:24:03 ERROR : %b\n"
    record = b'{"level":"error","msg":"%b","object":"%b","source":"a/b.go:1"}\n'
    for first, again, last, second in (
        (
            text % b"a: Failed to copy: x",
            b"Attempt 1/2 failed with 1 errors",
            b"Attempt 2/2 failed with 1 errors",
            text,
        ),
        (record % (b"Failed to copy: x", b"a"), b"Attempt 1/2 failed with 1", b"Attempt 2/2 failed with 1", record),
    ):
        end = b"b: Failed to copy: y" if second is text else (b"Failed to copy: y", b"b")
        attempts = [second % (each if second is text else (each, b"")) for each in (again, last)]
        stats = stats_of("rclone", first + attempts[0] + second % end + attempts[1])
        assert stats
        assert stats.failed_items == ("b",)


def test_old_rsync_does_not_tell_folders_from_files() -> None:
    """Up to 3.0 it printed how many entries there are; a locale may set thousands apart by points."""
    log = b"Number of files: 350\nNumber of files transferred: 2\nTotal file size: 4.779.036 bytes\n"
    stats = stats_of("rsync", log)
    assert stats == RunStats(total_bytes_processed=4_779_036, tool="rsync", format="text")


def test_a_long_word_of_rsync_takes_linear_time() -> None:
    """A word in the place of "reg: 282" is read once, and not again from each of its letters."""

    def seconds(size: int) -> float:
        log = b"sending incremental file list\nNumber of files: 350 (%b)\n" % (b"x" * size)
        begun = time.process_time()
        assert stats_of("rsync", log)
        return time.process_time() - begun

    # From each of its letters, 16 times the length takes 256 times the time.
    assert min(seconds(4_000) for _ in range(5)) < 100 * min(seconds(250) for _ in range(20))


def test_a_label_is_a_snapshot_once_the_backup_is_complete() -> None:
    """A log that ends early does not tell; without times it is read as well."""
    log = REAL["pgbackrest-backup-full"][1]
    without_times = b"".join(line[24:] for line in log.splitlines(keepends=True))
    assert stats_of("pgbackrest", without_times) == parse_log(log)
    cut = parse_log(log.partition(b"backup command end")[0])
    assert cut
    assert (cut.has_snapshot, cut.snapshot_id, cut.errors) == (None, None, None)
    again = parse_log(log + REAL["pgbackrest-backup-server-down"][1])
    assert again
    assert (again.has_snapshot, again.snapshot_id, again.total_files_processed) == (False, None, None)


def test_a_dry_run_of_duplicity_saves_nothing() -> None:
    """It writes 0 bytes, and the size of differences is not what was added."""
    log = REAL["duplicity-full"][1].replace(b"SizeChange 4233184 (4.04 MB)", b"SizeChange 0 (0 bytes)")
    stats = stats_of("duplicity", log)
    assert stats
    assert (stats.has_snapshot, stats.data_added, stats.data_added_packed) == (False, None, 0)
    assert stats.dry_run is None  # It does not say so.


def test_tar_in_another_language_is_not_read() -> None:
    """Its messages are not recognised, and so they are not counted."""
    assert parse_log("tar: Entferne führende „/“ von Elementnamen\ntar: /x: Kann stat nicht ausführen\n") is None


LOGS = [log for _, log in REAL.values()] + [KOPIA.encode(), json.dumps(MANIFEST, indent=2).encode()]
NUMBERS = [b"99999999999999999999", b"-1", b"9" * 5_000, b"1.2.3", b"NaN", b"1e999", "١٢".encode()]


@given(st.sampled_from(LOGS), st.data())
def test_what_is_cut_tells_no_other_figures(log: bytes, data: st.DataObject) -> None:
    """A figure of a log that ends anywhere is one that a log which ends with that line would have."""
    log = log.replace(b"\r", b"\n")
    stop = data.draw(st.integers(0, len(log)))
    cut, line = parse_log(log[:stop]), parse_log(log[: log.rfind(b"\n", 0, stop) + 1])
    whole = parse_log(log[: (log + b"\n").find(b"\n", stop) + 1])
    told: list[dict[str, Any]] = [attrs.asdict(stats) if stats else {} for stats in (line, whole)]
    for name, value in attrs.asdict(cut).items() if cut else ():
        assert value in {(stats.get(name) or None) for stats in told} | {None, 0, ()}, name


@given(st.sampled_from(LOGS), st.data())
def test_what_is_broken_raises_nothing(log: bytes, data: st.DataObject) -> None:
    """Numbers of any size, bytes of any kind and lines of another log do no harm, in pieces of any size."""
    lines = log.split(b"\n")
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(lines) - 1))
        words = lines[at].split(b" ")
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(NUMBERS) | st.binary(max_size=9))
        lines[at] = b" ".join(words)
    broken = b"\n".join(lines) + data.draw(st.sampled_from([b"", *LOGS]))
    size = data.draw(st.integers(1, 999))
    assert parse_log(broken[at : at + size] for at in range(0, len(broken), size)) == parse_log(broken)


@given(st.sampled_from(LOGS), st.sampled_from(NUMBERS))
def test_absurd_numbers_raise_nothing(log: bytes, number: bytes) -> None:
    """Every digit of a log may be any number."""
    for digit in (b"0", b"1", b"2", b"8"):
        parse_log(log.replace(digit, number, 20))


@given(st.binary(max_size=99))
def test_noise_raises_nothing(noise: bytes) -> None:
    """Every parser reads anything."""
    for tool in MINE:
        parser = tool.parser(Work())
        parser.feed(b"\n" + noise)
        RunStats(**parser.figures())


@pytest.mark.parametrize(
    "value",
    ['"' + "x" * 99_999, "[" * 99_999, "9" * 9_999, "NaN", "[[],[]]", '{"a":{}}', "-1", "1e400", "null", "true"],
)
def test_absurd_json_raises_nothing(value: str) -> None:
    """Any field may be of any type, without end, and deep."""
    for log in (json.dumps(MANIFEST), REAL["rclone-1.60.1-sync-incr-json-log"][1].decode()):
        for field in (
            "id",
            "path",
            "endTime",
            "files",
            "summ",
            "errors",
            "stats",
            "bytes",
            "elapsedTime",
            "level",
            "msg",
        ):
            parse_log(log.replace(f'"{field}": ', f'"{field}": {value},"": '))
            parse_log(log.replace(f'"{field}":', f'"{field}":{value},"":'))
    assert read_json(b"[" * 99_999) == read_json(b"[]") == read_json(b'{"a":1') == {}


@pytest.mark.parametrize("tool", MINE, ids=lambda tool: tool.name)
def test_memory_is_bounded(tool: Any) -> None:
    """A log of 9 MiB of one kind takes less than 8 MiB beside itself, even in lines without end."""
    log = next(log for log in reversed(LOGS) if (stats := parse_log(log)) and stats.tool == tool.name)
    line = max(log.split(b"\n"), key=len)
    for unit in (line + b"\n", line, b"\n " + b"1" * 1_000_000, b'\n{"id":' + b"[" * 70_000):
        whole = log + b"\n" + unit * (9 * 2**20 // len(unit))
        tracemalloc.start()
        try:
            parse_log(whole)
            assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        finally:
            tracemalloc.stop()


def test_no_tool_is_taken_for_another() -> None:
    """Each mark finds the logs of its tool alone."""
    for case, log in REAL.values():
        marked = {tool.name for tool in TOOLS if tool.mark.search(b"\n" + log.replace(b"\r", b"\n"))}
        assert marked <= {case["tool"]}, case["name"]


def test_numbers_are_counts_or_nothing() -> None:
    """What JSON can hold beside numbers is none."""
    assert [as_count(value) for value in (5, 5.0, b"5", "5")] == [5] * 4
    nothing: list[object] = [None, True, [], {}, -1, 5.5, float("nan"), float("inf"), 2**63, b"", "x", b"1" * 20]
    assert [as_count(value) for value in nothing] == [None] * len(nothing)
    times: list[object] = [b"1h2m3.5s", b"10.8362ms", "1µs".encode(), b"64.8", 5, 0.5]
    assert [as_seconds(value) for value in times] == [3_723.5, 0.0108362, 1e-6, 64.8, 5.0, 0.5]
    nothing = [None, True, b"", b"5x", b"1.2.3s", -1, float("nan"), float("inf"), b"9" * 30 + b"y", "5"]
    assert [as_seconds(value) for value in nothing] == [None] * len(nothing)


@pytest.mark.parametrize("before", [2**20 - 700, 2**20 - 300, 2**20 - 5])
def test_a_manifest_may_go_on_in_the_next_block(before: int) -> None:
    """Wherever a block ends, all of it is read; a second one counts instead."""
    first = (json.dumps(MANIFEST | {"id": "first"}, indent=2) + "\n").encode()
    progress = b" * 0 hashing, 1 hashed (2 GB), 0 cached (0 B), uploaded 1 B, estimating...\r"
    log = first + progress * ((before - len(first)) // len(progress))
    for filler in (b"", b"\n" * (before - len(log))):
        stats = stats_of("kopia", log + filler + json.dumps(MANIFEST, indent=2).encode() + b"\n" + progress * 20_000)
        assert stats
        assert (stats.snapshot_id, stats.errors, stats.format) == (MANIFEST["id"], 2, "json")


@pytest.mark.parametrize("name", ["\ud800", "\0", "x" * 9_999, "", 'a"b'])
def test_names_in_json_can_be_stored(name: str) -> None:
    """Half a character, NUL and length do no harm in a version, an id or a name."""
    for record in (
        {"level": "debug", "msg": f'Version "v1{name}" starting with', "object": "rclone", "source": "a/b.go:1"},
        {"level": "error", "msg": f"Failed to copy: {name}", "object": name, "source": "a/b.go:1"},
    ):
        stats = stats_of("rclone", json.dumps(record, separators=(",", ":")).encode() + b"\n")
        assert stats is None or (stats.tool_version or "1").startswith("1")
    stats_of("kopia", json.dumps(MANIFEST).encode() + b"\n" + json.dumps(MANIFEST | {"id": name}).encode())
