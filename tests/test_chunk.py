"""Logs to chunks and back."""

import hashlib
import os
from collections.abc import Iterable
from typing import Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog.chunk import Chunk, compress, decode, place, prepare_log, split, truncate

RUN = UUID(int=7)

TEXT = st.text() | st.text(alphabet="aЖ√😀\ud800\0\r\n", min_size=1)


def chunks_of(pieces: Iterable[bytes]) -> list[Chunk]:
    """Make the chunks of a log of run 7, version 3."""
    return list(place(map(compress, pieces), RUN, 3))


def as_bytes(text: str) -> bytes:
    """Encode as logs are."""
    return text.encode("utf-8", "surrogatepass")


@given(TEXT | st.binary(), st.integers(4, 64))
def test_pieces_join_to_the_log(log: str | bytes, size: int) -> None:
    """Every text and every bytes are the same after splitting and joining, and no piece is too long or empty."""
    pieces = list(split(log, size))
    assert b"".join(pieces) == (as_bytes(log) if isinstance(log, str) else log)
    assert all(0 < len(piece) <= size for piece in pieces)


@given(TEXT, st.integers(4, 64))
def test_text_is_cut_between_characters_and_as_its_bytes_are(log: str, size: int) -> None:
    """A border never lies inside a character, and text and its UTF-8 give the same pieces."""
    pieces = list(split(log, size))
    for piece in pieces:
        piece.decode("utf-8", "surrogatepass")
    assert pieces == list(split(as_bytes(log), size))


@pytest.mark.parametrize("size", [-1, 0, 1])
@pytest.mark.parametrize("letter", ["x", "é", "√", "😀"])
def test_real_borders(letter: str, size: int) -> None:
    """Around 1 MiB the pieces are as long as they may be, for characters of one to four bytes."""
    log = letter * ((backuplog.CHUNK_BYTES + 4) // len(letter.encode()) + size)
    pieces = list(split(log))
    assert b"".join(pieces).decode() == log
    assert all(backuplog.CHUNK_BYTES - 3 <= len(piece) <= backuplog.CHUNK_BYTES for piece in pieces[:-1])
    assert [len(piece) % len(letter.encode()) for piece in pieces] == [0] * len(pieces)


@given(st.lists(st.binary(min_size=1, max_size=3000), max_size=4))
def test_chunks_decode_to_their_pieces(pieces: list[bytes]) -> None:
    """Chunks lie end to end, wherever the first begins, and hold their pieces; none grows."""
    chunks = chunks_of(pieces)
    assert [decode(chunk, RUN, 3) for chunk in chunks] == pieces
    assert [chunk.offset for chunk in chunks] == [sum(map(len, pieces[:n])) for n in range(len(pieces))]
    assert all(len(chunk.data) <= chunk.size for chunk in chunks)


def test_what_cannot_be_compressed_is_kept_raw() -> None:
    """Random bytes are stored as they are; repetitive ones as a small frame."""
    random, same = chunks_of([os.urandom(100_000), b"same " * 20_000])
    assert (random.codec, len(random.data)) == ("raw", 100_000)
    assert (same.codec, len(same.data) < 200) == ("zstd", True)


@given(st.binary(min_size=1, max_size=400), st.data())
def test_a_flipped_bit_is_found(piece: bytes, data: Any) -> None:
    """A flip of any bit of a chunk's stored bytes is an error, never other bytes."""
    chunk = chunks_of([piece * 3])[0]
    bit = data.draw(st.integers(0, len(chunk.data) * 8 - 1))
    flipped = bytearray(chunk.data)
    flipped[bit // 8] ^= 1 << bit % 8
    with pytest.raises(backuplog.CorruptLog):
        decode(attrs.evolve(chunk, data=bytes(flipped)), RUN, 3)


def test_a_swapped_chunk_is_found() -> None:
    """A chunk's data in another chunk's place is an error, though both are whole."""
    first, second = chunks_of([b"a" * 1000, b"b" * 1000])
    for swapped in (attrs.evolve(first, data=second.data), attrs.evolve(first, offset=second.offset)):
        with pytest.raises(backuplog.CorruptLog, match="fails its checksum"):
            decode(swapped, RUN, 3)


@pytest.mark.parametrize(("run_id", "version", "offset"), [(UUID(int=8), 3, 0), (RUN, 4, 0), (RUN, 3, 1)])
def test_a_chunk_of_another_place_is_found(run_id: UUID, version: int, offset: int) -> None:
    """A chunk that stands under another run, version or offset than it was made for is an error, whole as it is."""
    chunk = chunks_of([b"a" * 1000])[0]
    assert decode(chunk, RUN, 3) == b"a" * 1000
    with pytest.raises(backuplog.CorruptLog, match="fails its checksum"):
        decode(attrs.evolve(chunk, offset=offset), run_id, version)


@pytest.mark.parametrize("change", [{"size": 999}, {"size": 1001}, {"codec": "raw"}, {"size": -1}, {"size": 2**63 - 1}])
def test_a_chunk_that_lies_about_itself_is_found(change: dict[str, Any]) -> None:
    """A wrong size or codec is an error, and no more than the size promised is decompressed."""
    chunk = attrs.evolve(chunks_of([b"a" * 1000])[0], **change)
    with pytest.raises(backuplog.CorruptLog):
        decode(chunk, RUN, 3)


def test_garbage_with_a_right_checksum_is_corrupt() -> None:
    """Data that is no frame at all is a clear error too."""
    raw = chunks_of([b"not a frame"])[0]
    with pytest.raises(backuplog.CorruptLog, match="cannot be decompressed"):
        decode(attrs.evolve(raw, codec="zstd"), RUN, 3)


@pytest.mark.parametrize("log", ["", "é" * 10, b"x" * 5_000_000, "ж" * 3_000_000])
def test_a_log_is_prepared(log: str | bytes) -> None:
    """Length and SHA-256 are those of the bytes, and the chunks can be read more than once."""
    content = as_bytes(log) if isinstance(log, str) else log
    measured, sha256 = prepare_log(log)
    assert (measured.size, measured.sha256, sha256) == (len(content), hashlib.sha256(content).digest(), measured.sha256)
    for _ in range(2):
        assert b"".join(decode(chunk, RUN, 1) for chunk in measured.chunks(RUN, 1)) == content


@given(st.text(min_size=20, max_size=40).map(lambda text: text * 100), st.integers(100, 1500))
def test_a_truncated_log_keeps_its_head_and_its_tail(text: str, cap: int) -> None:
    """What is kept and what is dropped add up, both ends are the log's own, and characters stay whole."""
    log = text.encode()
    kept, dropped = truncate(log, cap)
    assert len(kept) <= len(log)
    if not dropped:
        assert kept == log
        assert len(log) < cap + 80
        return
    note = b"\n[backuplog: %d bytes of this log were dropped here]\n" % dropped
    head, tail = kept.split(note)
    assert log.startswith(head)
    assert log.endswith(tail)
    assert len(head) + dropped + len(tail) == len(log)
    assert cap - 6 <= len(head) + len(tail) <= cap + 4
    head.decode()
    tail.decode()


@given(st.integers(4090, 4300), st.sampled_from(["x", "é", "√", "😀"]))
def test_a_log_just_over_the_cap_is_what_it_says_it_is(size: int, letter: str) -> None:
    """A log is either whole and complete, or shorter than it came and truncated, wherever its characters lie."""
    log = ("x" * (2048 - 2) + letter + "y" * size)[:size]
    prepared, sha256 = prepare_log(log, max_bytes=4096)
    content = b"".join(decode(chunk, RUN, 1) for chunk in prepared.chunks(RUN, 1))
    assert (prepared.size, prepared.received_bytes) == (len(content), len(log.encode()))
    assert prepared.sha256 == hashlib.sha256(content).digest()
    if prepared.dropped_bytes:
        assert len(content) < len(log.encode())
    else:
        assert (content, sha256) == (log.encode(), prepared.sha256)


def test_a_log_over_the_cap_is_truncated_and_says_so(store: backuplog.Store, agent_id: Any, payload: Any) -> None:
    """The run says how much was dropped, the log reads whole and verified, and a retry is a replay."""
    sent = payload(log="x" * 10_000 + "the end")
    receipt = backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4096)
    run = backuplog.get_run(store, sent["taskId"])
    assert (receipt.log_state, run.log_state, run.dropped_bytes) == ("truncated", "truncated", 10_007 - 4096)
    assert backuplog.read_log(store, run.id).endswith(b"the end")
    assert backuplog.ingest_task_result(store, agent_id, sent, max_log_bytes=4096).outcome == "replayed"
