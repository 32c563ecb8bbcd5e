"""Finding log files and reading them, whatever lies there."""

import os
import socket
import stat
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backuplog.cli import files
from backuplog.cli.files import Found, LogFile, Skipped, find_files, read_file


def test_files_are_found_in_the_order_of_their_names(tmp_path: Path) -> None:
    """Files in folders of folders are found once each, and those that are named in the order in which they are."""
    for name in ("b/2.log", "b/1.log", "b/c/deep/3.log", "a.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    paths = [str(tmp_path / "b"), str(tmp_path / "a.log")]
    found = [one.path.removeprefix(f"{tmp_path}/") for one in find_files(paths)]
    assert found == ["b/1.log", "b/2.log", "b/c/deep/3.log", "a.log"]
    assert next(find_files(paths)) == Found(str(tmp_path / "b/1.log"), 7)


def test_no_link_leads_round(tmp_path: Path) -> None:
    """Links to files are followed; those to folders, to themselves and to nothing are named and passed over."""
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.log").write_text("a")
    for name, target in (("b", "a.log"), ("c", "."), ("d", ".."), ("e", "e"), ("f", "nothing")):
        (folder / name).symlink_to(target)
    (tmp_path / "link").symlink_to("logs")
    found = [*find_files([str(tmp_path / "link")])]
    assert [Path(one.path).name for one in found] == ["a.log", "b", "c", "d", "e", "f"]
    assert [isinstance(one, Found) for one in found] == [True, True, False, False, False, False]


def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no file is passed over, also where it takes a file's place after that was found."""
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.chdir(tmp_path)  # a socket's path has 107 bytes
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        found = [*find_files([str(tmp_path), "/dev/zero"])]
    assert [isinstance(one, Skipped) for one in found] == [True] * 3
    reading = threading.Thread(target=read_file, args=(str(tmp_path / "pipe"),), daemon=True)
    reading.start()
    reading.join(timeout=5)
    assert not reading.is_alive()
    for path in (str(tmp_path / "pipe"), "/dev/zero"):
        assert isinstance(read_file(path), Skipped)


def test_what_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder or a file that may not be read costs no other; what is missing and what is empty are named too."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b.log").write_text("b")
    (tmp_path / "c.log").write_text("")
    scandir = os.scandir

    def forbidden(path: str) -> object:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", forbidden)
    found = [*find_files([str(tmp_path), str(tmp_path / "missing"), "nul\0"])]
    assert found[0] == Skipped(str(tmp_path / "a"), "cannot be read: Permission denied")
    assert found[1:3] == [Found(str(tmp_path / "b.log"), 1), Found(str(tmp_path / "c.log"), 0)]
    assert found[3] == Skipped(str(tmp_path / "missing"), "cannot be read: No such file or directory")
    assert found[4] == Skipped("nul\0", "cannot be read: embedded null byte")
    assert read_file(str(tmp_path / "missing")) == found[3]
    assert read_file(str(tmp_path / "c.log")) == Skipped(str(tmp_path / "c.log"), "is empty")


def test_a_file_is_read_with_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All bytes come as they are, and the time in UTC; what is too long or compressed is passed over."""
    path = tmp_path / os.fsdecode(b"odd \xff\n\x1b[31m name")
    path.write_bytes(b"\xff\x00log")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    assert stat.S_ISREG(path.stat().st_mode)
    assert [one.path for one in find_files([str(tmp_path)])] == [str(path)]
    assert read_file(str(path)) == LogFile(b"\xff\x00log", datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC))
    monkeypatch.setattr(files, "MAX_LOG_BYTES", 4)
    assert isinstance(read_file(str(path)), Skipped)
    path.write_bytes(b"\x1f\x8b")
    assert read_file(str(path)) == Skipped(str(path), "is compressed: decompress it first")
