"""Taking a stream of JSON apart into documents, each for ``parse_task_result`` to judge by itself. Bounded memory."""

import re
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import attrs

from backuplog.decode import refuse

MAX_DOCUMENT_BYTES: Final = 67_108_864
"""The longest document that is read, in bytes: 64 MiB, as over HTTP."""

_BLOCK_BYTES: Final = 1_048_576
_MARK: Final = re.compile(rb'["\[\]{},]')
_IN_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)


class Document(NamedTuple):
    """One document of a stream.

    Attributes:
        line: The number of the line on which it begins, from 1.
        content: The document; None if it is longer than ``MAX_DOCUMENT_BYTES``.
    """

    line: int
    content: bytes | None


def read_documents(stream: BinaryIO, *, max_bytes: int = MAX_DOCUMENT_BYTES) -> Iterator[Document]:
    """Read the documents of a stream: one, an array of them, or one on each line. One at a time is in memory.

    Args:
        stream: What to read. It need not be a file.
        max_bytes: The longest document to read, in bytes. Of a longer one only its line is told.

    Raises:
        InvalidTaskResult: The stream begins like an array, and does not end like one.
    """
    line, first = 1, stream.readline(max_bytes + 1)
    while first and not first.strip():
        line, first = line + first.count(b"\n"), stream.readline(max_bytes + 1)
    opens, closes = first.lstrip()[:1], first.rstrip()[-1:]
    if opens == b"[":
        yield from _items(stream, first, line, max_bytes)
    elif opens == b"{" and closes != b"}" and len(first) <= max_bytes:
        # A document that goes on behind its first line is the only one.
        content = first + stream.read(max_bytes + 1 - len(first))
        yield Document(line, content if len(content) <= max_bytes else None)
    elif first:
        yield from _lines(stream, first, line, max_bytes)


def _lines(stream: BinaryIO, text: bytes, line: int, max_bytes: int) -> Iterator[Document]:
    while text:
        if len(text.rstrip(b"\r\n")) > max_bytes:
            yield Document(line, None)
            while text and not text.endswith(b"\n"):
                text = stream.readline(_BLOCK_BYTES)
        elif text.strip():
            yield Document(line, text)
        text = b""  # before the next one is there: two of 64 MiB would be twice the memory
        line, text = line + 1, stream.readline(max_bytes + 1)


def _items(stream: BinaryIO, block: bytes, line: int, max_bytes: int) -> Iterator[Document]:
    """Cut an array at the commas between its items, without looking at what else is in them."""
    scanner = _Scanner()
    line += block[: block.index(b"[")].count(b"\n")
    block = block[block.index(b"[") + 1 :]
    item, first_line = bytearray(), None
    while block:
        start = 0
        while start <= len(block):
            end = scanner.end_of_item(block, start)
            part = block[start:end]
            if first_line is None and part.strip():
                first_line = line + part[: len(part) - len(part.lstrip())].count(b"\n")
            line += part.count(b"\n")
            if len(item) <= max_bytes:
                item += part
            if end is None:
                break
            is_last = scanner.depth < 0
            if first_line is not None or not is_last:  # A comma ends something, be it nothing.
                yield Document(first_line or line, bytes(item) if len(item) <= max_bytes else None)
            if is_last:
                if (block[end + 1 :] + stream.read(_BLOCK_BYTES)).strip():
                    refuse("must not go on behind the array that it begins with")
                return
            item, first_line, start = bytearray(), None, end + 1
        block = stream.read(_BLOCK_BYTES)
    refuse("must end with the array that it begins with: some of it is missing")


@attrs.define
class _Scanner:
    """Follows JSON from block to block, knowing no more than strings and brackets.

    Attributes:
        depth: How many brackets are open that opened in this array.
        in_string: Whether the block ended in a string.
        is_escaped: Whether it ended with the backslash that takes the meaning from the next byte.
    """

    depth: int = 0
    in_string: bool = False
    is_escaped: bool = False

    def end_of_item(self, block: bytes, position: int) -> int | None:
        """Return where the item ends that goes on at a position; None if that is not in this block."""
        while position < len(block):
            if self.in_string:
                rest = _IN_STRING.match(block, position + self.is_escaped)
                position = rest.end() if rest else len(block)
                self.in_string = block[position : position + 1] != b'"'
                self.is_escaped = block[position : position + 1] == b"\\"  # the last byte of the block
                position += 1
                continue
            mark = _MARK.search(block, position)
            if mark is None:
                return None
            position = mark.end()
            self.in_string = mark[0] == b'"'
            self.depth += (mark[0] in b"[{") - (mark[0] in b"]}")
            if self.depth < 0 or (self.depth == 0 and mark[0] == b","):
                return mark.start()
        return None
