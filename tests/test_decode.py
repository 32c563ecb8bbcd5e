"""JSON is decoded as the standard library does, but what it costs is bounded."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import decode
from backuplog.convert import parse_batch, take_task_result

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=30,
)
MIB = 2**20


def outcome(document: str, *, is_long: bool, max_items: int | None) -> object:
    """Decode a document as a short or a long one, and give what comes of it, or the error."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "_FEW_BYTES", 0 if is_long else 4 * len(document))
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


def refuse_all(_: bytes) -> object:
    """Refuse every document, so that the standard library decodes it."""
    raise msgspec.DecodeError


def with_and_without(document: bytes) -> tuple[str, str]:
    """Decode a document by the fast decoder, and by the standard library alone; give what comes of it, or the error."""
    outcomes: list[str] = []
    for is_fast in (True, False):
        with pytest.MonkeyPatch.context() as patch:
            if not is_fast:
                patch.setattr(decode, "decode_quickly", refuse_all)
            try:
                outcomes.append(repr(decode.decode_json(document)))  # 1, 1.0 and True are not the same
            except backuplog.BackuplogError as error:
                outcomes.append(str(error))
    fast, exact = outcomes
    return fast, exact


RAW = [b"\x01", b"\\", b"\\u12", b"\\x", b"\xff", b"\xe2\x82", b'"', b"\\ud83d", b"\\ude00", b"\\u005c"]
ODD = [
    *(
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-1e400",
        b"1.7976931348623159e308",
        b"8.5e-324",
        b"-0",
        b"-0.0",
        b"1.0",
        b"1E5",
    ),
    *(b"18446744073709551616", b"-9223372036854775809", b"12345678901234567890.5", b"1" + b"0" * 4_400, b"01", b"1."),
    *(b"1E5", b".5", b"+1", b"1e", b"-", b"0x10", b"tru", b"null", b"[1,]", b'{"a":1,}', b'{"a":1,"a":2}', b"{'a':1}"),
    *(b'{"a" 1}', b'{"":{}}', b"[" * 900 + b"]" * 900, b"[" * 100_000, rb'"\ud800"', rb'"\ud83d\ude00"', rb'"\ud83dx"'),
    *(rb'"\u0000"', rb'"\x"', rb'"\u12"', rb'"\/"', b'"\\', b'"a\tb"', b'"\x7f"', b'"\xff"', b'"\xed\xa0\x80"'),
    *(b'"\xc0\x80"', b'"\xf4\x90\x80\x80"', b'{"\xff":1}', b"\xef\xbb\xbf1", b"1\xef\xbb\xbf", b"", b" \r\n\t", b" 1 "),
    *(b"\x0b1", b"1\x0b", b"1 2", b"/**/1", b"\xa01", '"é"'.encode("utf-16"), '"é"'.encode("latin-1"), b"\0", b'"\0"'),
]


@pytest.mark.parametrize("document", ODD, ids=range(len(ODD)))
def test_odd_json_is_what_the_standard_library_says(document: bytes) -> None:
    """What the fast decoder takes is the standard library's value, and what it refuses the standard library judges."""
    fast, exact = with_and_without(document)
    assert fast == exact


@pytest.mark.parametrize("number", [b"1e308", b"1e999", b"-1.5e-320", b"0.1"])
def test_a_number_is_read_by_the_standard_library(number: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fast decoder by itself would take 16 us for 1e308: 1 s for 400 KB of them."""
    document = b'{"metadata":[' + number + b"]}"
    expected = decode.decode_json(document)
    monkeypatch.setattr(decode, "_decode_exactly", refuse_all)
    assert decode.decode_json(document) == expected == json.loads(document)


@given(JSON, st.booleans(), st.data())
def test_any_json_is_what_the_standard_library_says(value: object, is_ascii: bool, data: st.DataObject) -> None:  # noqa: FBT001
    """Any document, whole or damaged, gives the same value or the same error with and without the fast decoder."""
    document = json.dumps(value, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    start = data.draw(st.integers(0, len(document)))
    stop = data.draw(st.integers(start, len(document)))
    new = data.draw(st.sampled_from([*ODD[:20], *RAW, b",", b"[", b"}", b":", b"e5", b"."]))
    for text in (document, document[:start] + new + document[stop:]):
        fast, exact = with_and_without(text)
        assert fast == exact


PARTS = ["a", "é", "€", "😀", '"', "\\", "\n", "\ud83d", "\ude00", r"\ud83d", r"\ude00", "\\" * 5]


@given(st.lists(st.sampled_from(PARTS)).map("".join), st.booleans(), st.integers(16, 32), st.data())
def test_a_log_in_pieces_is_the_log(log: str, is_ascii: bool, piece_bytes: int, data: st.DataObject) -> None:  # noqa: FBT001
    """Wherever a long log is cut to decode it, it is the same text or the same error, escapes and all."""
    document = json.dumps({"log": log}, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    start = data.draw(st.integers(0, len(document)))
    new = data.draw(st.sampled_from([b"", *RAW]))
    outcomes: list[object] = []
    for few_bytes, size in ((len(document) + 10, 2**20), (0, piece_bytes)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(decode, "_FEW_BYTES", few_bytes)
            patch.setattr(decode, "_PIECE_BYTES", size)
            patch.setattr(decode, "_FIRST_PIECE_BYTES", size)
            try:
                decoded: Any = decode.decode_json(document[:start] + new + document[start:])
                found = decoded.get("log", "")
                outcomes.append(found if isinstance(found, bytes) else found.encode("utf-8", "surrogatepass"))
            except backuplog.BackuplogError as error:
                outcomes.append(str(error))
    short, long = outcomes
    # A long document is not read to its end before its beginning is: what is no UTF-8 may be refused for its place.
    assert short == long or (isinstance(short, str) and isinstance(long, str) and "JSON in UTF-8" in short)


@pytest.mark.parametrize(
    "body",
    [
        b'{"metadata":[' + b"[]," * 30_000 + b"0]}",
        b'{"metadata":{"deep":[[' + b'"a",' * 30_000 + b'"a"]]}}',
        b'{"taskId":[' + b"0," * 30_000 + b"0]}",
        b"{" + b'"a":0,' * 30_000 + b'"a":0}',
        b'{"stats":{' + b'"a":{},' * 30_000 + b'"a":{}}}',
        b'{"metadata":[' + b'{"a":0},' * 30_000,
        b"[" + b"0," * 30_000 + b"0]",
        b'[{"metadata":' + b"[[],[]]," * 30_000 + b"[]}]",
    ],
    ids=lambda body: body[:24].decode(),
)
def test_a_document_of_too_many_values_is_refused_before_it_is_built(
    body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever they are and wherever they stand, the memory is that of the text and of so many values at most."""
    monkeypatch.setattr(decode, "MAX_VALUES", 20_000)
    monkeypatch.setattr(decode, "_FEW_BYTES", 40_000)
    tracemalloc.start()
    with pytest.raises(backuplog.InvalidTaskResult, match=r"holds more than 20,000 values|must be one JSON document"):
        backuplog.parse_task_result(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(body) + 3 * MIB


def test_a_long_log_is_no_value_more(payload: Callable[..., dict[str, Any]]) -> None:
    """What looks like values inside of a log counts for nothing, however long it is and whatever is escaped in it."""
    log = '[[],{"a":"b\\\\"}],\n' * 100_000
    sent = payload(log=log, stats={"failedItems": ["[,"] * 10}, metadata={"a": ["{", '"', "\\"]})
    assert backuplog.parse_task_result(json.dumps(sent)).log == log
    assert take_task_result(json.dumps(sent)).log == log.encode()


@pytest.mark.parametrize("letter", ["x", "\U0001f600", "\\n", r"\ud83d\ude00"])
def test_a_long_log_is_held_once(letter: str) -> None:
    """Whatever is in a log, no more than itself and some pieces of it are in memory beside the body."""
    body = b'{"log":"' + letter.encode() * (32 * MIB // len(letter.encode())) + b'"}'
    tracemalloc.start()
    with pytest.raises(backuplog.InvalidTaskResult, match="taskId"):
        backuplog.parse_task_result(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < len(body) * 9 // 8 + 14 * MIB


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"errorMessage":"%s"}' % ("😀" * MIB), r"errorMessage: must be at most 65,536 characters"),
        ('{"other":"%s","taskType":1}' % ("😀" * MIB), r"taskType: must be a string"),
        ('{"%s":1}' % ("😀" * MIB), r"taskId: is required"),
        (
            '{"other":["%s"]}' % ("x" * 17 * MIB),
            r"array or object that does not end within 16,777,216 bytes, at byte 9",
        ),
        ('{"other":["' + '\\"' * 5 * MIB, r"must be one JSON document: Unterminated string"),
    ],
    ids=["field", "unknown", "name", "nested", "unterminated"],
)
def test_other_text_is_not_held(text: str, message: str) -> None:
    """Long text where none is expected is refused or ignored as short text is, and little of it is kept."""
    body = text.encode()
    tracemalloc.start()
    with pytest.raises(backuplog.InvalidTaskResult, match=message):
        backuplog.parse_task_result(body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 * MIB


@pytest.mark.parametrize("size", [1_500, 3_000_000])
def test_what_is_no_utf8_ends(size: int) -> None:
    """A string of bytes that only continue a character is refused, however long it is."""
    padding = b'"other":"' + b"x" * 400_000 + b'",'
    with pytest.raises(backuplog.InvalidTaskResult, match=r"JSON in UTF-8: the byte at [\d,]+ is not"):
        backuplog.parse_task_result(b"{" + padding + b'"log":"' + b"\x80" * size + b'"}')


@pytest.mark.parametrize("letter", ["x", "語", "\\n"])
def test_no_byte_is_decoded_many_times(letter: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of strings a little longer than the first piece of one cost no more than their length."""
    name = letter * (1_100 // len(letter.encode()))
    body = ("{" + ",".join(f'"{name}{number}":"{name}"' for number in range(400)) + "}").encode()
    decoded = 0
    text = decode._Walk._text

    def count(walk: Any, start: int, stop: int) -> str:
        nonlocal decoded
        decoded += stop - start
        return text(walk, start, stop)

    monkeypatch.setattr(decode._Walk, "_text", count)
    with pytest.raises(backuplog.InvalidTaskResult, match="taskId: is required"):
        backuplog.parse_task_result(body)
    assert decoded < 4 * len(body)


def test_a_short_string_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A string that ends within its first piece is none for the fast decoder, which would have to decode it twice."""
    body = ("{" + ",".join(rf'"\n{number}":"\n"' for number in range(400)) + "}").encode()
    calls = 0

    def count(_: bytes) -> object:
        nonlocal calls
        calls += 1
        raise msgspec.DecodeError

    monkeypatch.setattr(decode, "_FEW_BYTES", 0)
    monkeypatch.setattr(decode, "decode_quickly", count)
    assert decode.decode_json(body) == {f"\n{number}": "\n" for number in range(400)}
    assert calls <= 1


def test_a_number_of_any_length_is_told_apart() -> None:
    """A fraction of more digits than anybody can mean is refused for that."""
    body = b'{"other":"' + b"x" * 400_000 + b'","x":1.' + b"1" * 150_000 + b"}"
    with pytest.raises(backuplog.InvalidTaskResult, match="number of too many digits"):
        backuplog.parse_task_result(body)


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600", "\n", '"'])
def test_a_long_message_is_whole(payload: Callable[..., dict[str, Any]], letter: str) -> None:
    """As much text as a field takes comes whole out of a long document."""
    sent = payload(errorMessage=letter * 65_536, log="x" * MIB)
    for is_ascii in (True, False):
        assert backuplog.parse_task_result(json.dumps(sent, ensure_ascii=is_ascii)).error_message == letter * 65_536


def test_as_many_values_as_allowed_are_taken(payload: Callable[..., dict[str, Any]]) -> None:
    """The limit is exact enough for any honest result: 199,900 values beside its own fields."""
    sent = payload(metadata=[0] * 199_900)
    assert str(backuplog.parse_task_result(json.dumps(sent)).task_id) == sent["taskId"]


def test_lines_hold_no_more_values_than_an_array(payload: Callable[..., dict[str, Any]]) -> None:
    """The limit is that of a whole batch, whichever form it has; what is in logs counts in neither."""
    sent = [payload(metadata=[0] * 1_000, log="[,{" * 1_000, taskType="\\") for _ in range(190)]
    lines, array = "\n".join(map(json.dumps, sent)).encode(), json.dumps(sent).encode()
    for is_lines, body in ((True, lines), (False, array)):
        assert len(parse_batch(body, is_lines=is_lines, max_items=1_000)) == 190
    lines, array = lines + b"\n" + lines[: len(lines) // 10], json.dumps(sent + sent[:20]).encode()
    for is_lines, body in ((True, lines), (False, array)):
        with pytest.raises(backuplog.PayloadTooLarge, match="at most 200,000 values: send fewer results at a time"):
            parse_batch(body, is_lines=is_lines, max_items=1_000)


def test_texts_with_escapes_count_as_several_values() -> None:
    """A member with a text or a name that has escapes takes three times as long as another."""
    for name, text, count, is_accepted in (
        ("a", "b", 60_000, True),
        ("a", "\\n", 30_000, True),
        ("a", "\\n", 60_000, False),
        ("\\n", "b", 60_000, False),
    ):
        document = "{" + ",".join(f'"{name}{number}":"{text}"' for number in range(count)) + "}" + " " * 400_000
        if is_accepted:
            assert len(cast("dict[str, str]", decode.decode_json(document.encode()))) == count
        else:
            with pytest.raises(backuplog.InvalidTaskResult, match="holds more than 200,000 values"):
                decode.decode_json(document.encode())
