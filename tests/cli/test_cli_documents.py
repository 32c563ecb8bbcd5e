"""Taking a stream of JSON apart."""

import io
import json
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog import InvalidTaskResult
from backuplog.cli import documents
from backuplog.cli.documents import Document, read_documents

VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('ab"\\,[]{}\n é', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\,]', max_size=3), inner, max_size=3),
    max_leaves=8,
)


def read(text: bytes, **limits: int) -> list[Document]:
    """Read the documents of a stream."""
    return [*read_documents(io.BytesIO(text), **limits)]


@given(st.lists(st.dictionaries(st.text('a"', max_size=3), VALUES, max_size=3), max_size=5), st.integers(1, 20))
def test_every_form_gives_the_same_documents(values: list[Any], block: int) -> None:
    """An array, be it indented or not, and a document on each line are the same documents, however they are read."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "_BLOCK_BYTES", block)
        for text in (
            json.dumps(values),
            json.dumps(values, indent=1),
            " \n [\r\n" + ",\n\n".join(map(json.dumps, values)) + "\n]\n",
            "\n\n".join(map(json.dumps, values)),
        ):
            found = read(text.encode())
            assert [json.loads(document.content or b"") for document in found] == values


def test_each_document_has_its_line() -> None:
    """The line is that on which the document begins."""
    assert [found.line for found in read(b'\n{"a": 1}\n\n{"b": 2}\r\n{')] == [2, 4, 5]
    assert [found.line for found in read(b'\n[\n{"a":\n1}, {\n\n},\n\n3]')] == [3, 4, 8]
    assert read(b'{\n"a": 1\n}\n') == [Document(1, b'{\n"a": 1\n}\n')]


@pytest.mark.parametrize("text", [b"", b" \n\n", b"[]", b" [ \n ] "])
def test_an_empty_stream_has_no_documents(text: bytes) -> None:
    """Where there is nothing, there is no document."""
    assert read(text) == []


def test_a_broken_line_costs_no_other() -> None:
    """What is no JSON is given as it is, and the next line is the next document."""
    assert [found.content for found in read(b'{"a": 1}\n{"b\n{"c": 3}')] == [b'{"a": 1}\n', b'{"b\n', b'{"c": 3}']
    assert [found.content for found in read(b"[1,,2,]")] == [b"1", b"", b"2"]


@pytest.mark.parametrize("text", [b"[1, 2", b'["a]', b"[{]", b"[1] 2", b"[[1]", b'["\\"]'])
def test_an_array_that_does_not_end_is_refused(text: bytes) -> None:
    """What came before is given; then it is said that the rest is missing, or too much."""
    with pytest.raises(InvalidTaskResult, match=r"must (end with|not go on behind) the array that it begins with"):
        read(text)


@pytest.mark.parametrize("text", [b'{"a": "%s"}\n{"b": 1}\n', b'[{"a": "%s"},\n{"b": 1}]'])
def test_what_is_too_long_is_passed_over(text: bytes) -> None:
    """A document that is too long has its line, and what follows is read."""
    found = read(text % (b"x" * 5_000), max_bytes=1_000)
    assert [(one.line, one.content and one.content.strip()) for one in found] == [(1, None), (2, b'{"b": 1}')]
    assert read(b'{\n"a": "%s"}' % (b"x" * 5_000), max_bytes=1_000) == [Document(1, None)]


@pytest.mark.parametrize("form", [b'[{"a": "%s"}]', b'{"a": "%s"}', b"[%s"])
def test_what_is_too_long_is_not_kept(form: bytes) -> None:
    """Of a document of 32 MiB that may have 1 KiB no more than a few blocks are in memory."""
    stream = io.BytesIO(form % (b"x" * 2**25))
    tracemalloc.start()
    with suppress(InvalidTaskResult):
        assert [one.content for one in read_documents(stream, max_bytes=1_024)] == [None]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 6 * 2**20
