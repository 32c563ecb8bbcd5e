"""Finding log files in folders and reading them, whatever lies there: links that go round, pipes, what is forbidden."""

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Final, NamedTuple

from backuplog import MAX_LOG_BYTES

# What gzip, zstd, xz, bzip2 and zip begin with.
_COMPRESSED: Final = (b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00", b"BZh", b"PK\x03\x04")


class Skipped(NamedTuple):
    """A file or a folder that is passed over.

    Attributes:
        path: Its path.
        why: What is wrong with it.
    """

    path: str
    why: str


class Found(NamedTuple):
    """A file that was found.

    Attributes:
        path: Its path.
        size: Its length in bytes.
    """

    path: str
    size: int


class LogFile(NamedTuple):
    """What a file holds.

    Attributes:
        content: All of it.
        modified_at: When it was last written, in UTC.
    """

    content: bytes
    modified_at: datetime


def find_files(paths: Sequence[str]) -> Iterator[Found | Skipped]:
    """Find the files that are named, and all that lie in the folders that are named, in the order of their names.

    Links to files are followed, and links to folders only where they are named, so that no link leads round and round.
    What is no file, such as a pipe or a device, is passed over.

    Args:
        paths: Files and folders.
    """
    unseen = [(path, True) for path in reversed(paths)]
    while unseen:
        path, is_named = unseen.pop()
        try:
            found = os.stat(path, follow_symlinks=is_named)  # noqa: PTH116 - Path would take "" for a folder
            if stat.S_ISDIR(found.st_mode):
                with os.scandir(path) as entries:
                    unseen += [(entry.path, False) for entry in sorted(entries, key=attrgetter("name"), reverse=True)]
                continue
            found = os.stat(path)  # noqa: PTH116
        except (OSError, ValueError) as error:  # a name that holds a NUL
            yield Skipped(path, _why(error))
            continue
        if stat.S_ISREG(found.st_mode):
            yield Found(path, found.st_size)
        elif not stat.S_ISDIR(found.st_mode):
            yield Skipped(path, "is no file but a pipe, a socket or a device")
        else:
            yield Skipped(path, "is a link to a folder: name that folder to import it")


def read_file(path: str) -> LogFile | Skipped:
    """Read a file, which may have become something else since it was found.

    Args:
        path: Its path.
    """
    try:
        # A pipe would be waited for without O_NONBLOCK, which does nothing to a file.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                return Skipped(path, "is no file but a pipe, a socket or a device")
            if found.st_size > MAX_LOG_BYTES:
                return Skipped(path, f"is longer than {MAX_LOG_BYTES:,} bytes: send it in pieces with append_log()")
            content = file.read(found.st_size)
            modified_at = datetime.fromtimestamp(found.st_mtime, UTC)
    except (OSError, ValueError, OverflowError) as error:
        return Skipped(path, _why(error))
    if not content:
        return Skipped(path, "is empty")
    if content.startswith(_COMPRESSED):
        return Skipped(path, "is compressed: decompress it first")
    return LogFile(content, modified_at)


def _why(error: Exception) -> str:
    """Say what is wrong without the path, which stands before it."""
    return f"cannot be read: {(isinstance(error, OSError) and error.strerror) or error}"
