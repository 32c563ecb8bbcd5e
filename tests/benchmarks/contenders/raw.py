"""The physical limit: the same compressed bytes, written over those of before and synchronised."""

import os
from pathlib import Path

from codec import compress, decode, split

FILE_BYTES = 32 << 20


class RawWrite:
    """A file that is as long as it will ever be, as the log of a database is once it has grown."""

    works = ("ingest", "batch")

    def __init__(self, url: str, folder: Path) -> None:
        """Make the file."""
        del url
        self.file = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
        for _ in range(FILE_BYTES >> 20):
            os.write(self.file, bytes(1 << 20))
        os.fsync(self.file)
        self.position = 0

    def prepare(self, body: bytes) -> bytes:
        """Do what is not measured here: everything but the write."""
        return b"".join(compress(piece) for _, piece in split(decode(body)["log"].encode()))

    def ingest(self, data: bytes) -> None:
        """Write and synchronise."""
        if self.position + len(data) > FILE_BYTES:
            self.position = 0
        os.pwrite(self.file, data, self.position)
        os.fdatasync(self.file)
        self.position += len(data)

    def ingest_batch(self, written: list[bytes]) -> None:
        """Write many at once."""
        self.ingest(b"".join(written))

    def written(self, data: bytes) -> bool:
        """Whether what was written last ends with these bytes."""
        return os.pread(self.file, len(data), self.position - len(data)) == data
