"""What a log must go through at the least: JSON decoded, one zstd frame for each MiB; the same for every contender."""

import sys
import threading
from collections.abc import Iterator

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

decode = msgspec.json.Decoder().decode
CHUNK_BYTES = 1 << 20
_thread = threading.local()


def compress(piece: bytes) -> bytes:
    """Compress a piece of a log, by one compressor for each thread."""
    compressor: zstd.ZstdCompressor | None = getattr(_thread, "compressor", None)
    if compressor is None:
        compressor = _thread.compressor = zstd.ZstdCompressor(level=1)
    return compressor.compress(piece, zstd.ZstdCompressor.FLUSH_FRAME)


def decompress(data: bytes) -> bytes:
    """Decompress a piece of a log."""
    return zstd.decompress(data)


def split(log: bytes) -> Iterator[tuple[int, bytes]]:
    """Split a log into pieces of at most 1 MiB, each with its offset."""
    if 0 < len(log) <= CHUNK_BYTES:
        yield 0, log
        return
    for start in range(0, len(log), CHUNK_BYTES):
        yield start, log[start : start + CHUNK_BYTES]
