"""JSON is decoded as the standard library does, but what it costs is bounded."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import decode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)
MIB = 2**20


def outcome(document: str, *, is_long: bool, max_items: int | None) -> object:
    """Decode a document as a short or a long one, and give what comes of it, or the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_FEW_CHARACTERS", 0 if is_long else len(document))
        try:
            return decode.decode_json(document, max_items=max_items)
        except backuplog.BackuplogError as error:
            return type(error), str(error)


@given(JSON, st.sampled_from([None, 1, " \n"]), st.sampled_from([None, 2]), st.data())
def test_a_long_document_gives_what_a_short_one_gives(
    value: object, indent: Any, max_items: int | None, data: st.DataObject
) -> None:
    """Any document gives the same value or the same error either way, also where it is cut or something is put in."""
    document = json.dumps(value, indent=indent, ensure_ascii=data.draw(st.booleans()))
    start = data.draw(st.integers(0, len(document)))
    stop = data.draw(st.integers(start, len(document)))
    new = data.draw(st.sampled_from(["", '"', "\\", ",", "{", "]", ":", "x", "NaN", "\x01"]))
    for text in (document, document[:start] + new + document[stop:]):
        short, long = (outcome(text, is_long=is_long, max_items=max_items) for is_long in (False, True))
        # A long batch is refused for its length where that shows, whatever comes behind.
        assert long in (short, (backuplog.PayloadTooLarge, f"a batch holds at most {max_items} results"))


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":[' + b"[]," * 300_000 + b"0]}",
        b'{"metadata":{"deep":[[' + b'"a",' * 300_000 + b'"a"]]}}',
        b'{"taskId":[' + b"0," * 300_000 + b"0]}",
        b"{" + b'"a":0,' * 300_000 + b'"a":0}',
        b'{"stats":{' + b'"a":{},' * 300_000 + b'"a":{}}}',
        b'{"metadata":[' + b'{"a":0},' * 300_000,
        b"[" + b"0," * 300_000 + b"0]",
        b'[{"metadata":' + b"[[],[]]," * 300_000 + b"[]}]",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_a_document_of_too_many_values_is_refused_before_it_is_built(body: bytes) -> None:
    """Whatever they are and wherever they stand, the memory is that of the text and of 200,000 values at most."""
    tracemalloc.start()
    with pytest.raises(backuplog.InvalidTaskResult, match=r"holds more than 200,000 values|must be one JSON document"):
        backuplog.parse_task_result(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(body) + 24 * MIB


def test_a_long_log_is_no_value_more(payload: Callable[..., dict[str, Any]]) -> None:
    """What looks like values inside of a log counts for nothing, however long it is and whatever is escaped in it."""
    log = '[[],{"a":"b\\\\"}],\n' * 100_000
    sent = payload(log=log, stats={"failedItems": ["[,"] * 10}, metadata={"a": ["{", '"', "\\"]})
    assert backuplog.parse_task_result(json.dumps(sent)).log == log


def test_as_many_values_as_allowed_are_taken(payload: Callable[..., dict[str, Any]]) -> None:
    """The limit is exact enough for any honest result: 199,900 values beside its own fields."""
    sent = payload(metadata=[0] * 199_900)
    assert str(backuplog.parse_task_result(json.dumps(sent)).task_id) == sent["taskId"]
