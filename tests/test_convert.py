"""Payloads to task results."""

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog.convert import parse_batch

Payload = Callable[..., dict[str, Any]]
PAYLOADS = sorted((Path(__file__).parent / "data" / "payloads").glob("*.json"))


def paths(sent: object) -> set[str]:
    """Give the paths that a payload is refused for."""
    with pytest.raises(backuplog.InvalidTaskResult) as caught:
        backuplog.parse_task_result(sent)  # type: ignore[arg-type]
    return {error.path for error in caught.value.errors}


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_real_payloads_are_taken_once_they_name_their_policy(path: Path) -> None:
    """What agents really send passes, unknown keys and year 1 included; without a policy it is refused for that."""
    sent = json.loads(path.read_text())
    assert paths(sent) == {"$.policyId"}
    result = backuplog.parse_task_result(json.dumps({**sent, "policyId": str(uuid4())}).encode())
    assert result.log == sent["log"]
    assert result.status in ("success", "failed")
    assert (result.start_time is None) == sent["startTime"].startswith("0001")


def test_every_form_gives_the_same_result(payload: Payload) -> None:
    """Bytes, text, a mapping and a result are one."""
    sent = payload(log="é", snapshotId=None)
    result = backuplog.parse_task_result(sent)
    for form in (json.dumps(sent), json.dumps(sent).encode(), {**sent, "snapshotId": None, "metadata": {}}, result):
        assert backuplog.parse_task_result(form) == result


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "the document is empty"),
        (b"  \n", "the document is empty"),
        (b"[]", "not an array"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"{} {}", "must be one JSON document"),
        (b"{}x", "must be one JSON document"),
        (b'{"a": NaN}', "JSON, which has no NaN"),
        (b'{"a": -Infinity}', "JSON, which has no -Infinity"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'{"a": "\xff"}', "JSON in UTF-8: the byte at 7"),
        (b"[" * 200_000, "nested too deeply"),
        (b"9" * 5000, "too many digits"),
    ],
)
def test_what_is_not_one_json_object_is_refused(document: bytes, message: str) -> None:
    """Each broken document is refused as a whole, and the error says what is wrong with it."""
    with pytest.raises(backuplog.InvalidTaskResult, match=message) as caught:
        backuplog.parse_task_result(document)
    assert [error.path for error in caught.value.errors] == ["$"]


@pytest.mark.parametrize("form", ["{}", "urn:uuid:{}", "{{{}}}"])
def test_a_uuid_has_four_forms_and_one_meaning(payload: Payload, form: str) -> None:
    """A task that is named by 36 characters, a URN, braces or digits alone is one task, in either case."""
    known = uuid4()
    for text in (str(known), str(known).upper()):
        assert backuplog.parse_task_result(payload(taskId=form.format(text))).task_id == known
    assert backuplog.parse_task_result(payload(taskId=known.hex)).task_id == known


def test_a_misspelled_key_is_named(payload: Payload, caplog: pytest.LogCaptureFixture) -> None:
    """A key that differs by case or separators is named: in the error if its field is missing, else in the log."""
    sent = payload(snapshotID="4bba301e", error_message="x", stats={"files_new": 3, "other": 1}, Metadata=[])
    assert str(backuplog.parse_task_result({**sent, 7: "no name"}).task_id) == sent["taskId"]  # type: ignore[dict-item]
    caplog.clear()
    task_id = sent.pop("taskId")
    with pytest.raises(backuplog.InvalidTaskResult, match=r"^\$\.taskId: .*; it came as task_id: write taskId$"):
        backuplog.parse_task_result({**sent, "task_id": task_id})
    assert caplog.records == []
    result = backuplog.parse_task_result({**sent, "taskId": task_id, "task_id": "x"})
    assert (result.snapshot_id, result.error_message) == (None, None)
    assert [record.getMessage() for record in caplog.records] == [
        "A payload has snapshotID, which is ignored: write snapshotId",
        "A payload has error_message, which is ignored: write errorMessage",
        "A payload has stats.files_new, which is ignored: write stats.filesNew",
    ]


def test_all_missing_fields_are_named() -> None:
    """An empty object is refused for each required field at once."""
    assert paths({}) == {"$.taskId", "$.policyId", "$.taskType", "$.status", "$.durationSeconds"}


@pytest.mark.parametrize(
    ("field", "values"),
    [
        (
            "taskId",
            [
                1,
                "",
                "x" * 36,
                "{" + str(uuid4()),
                "urn:" + str(uuid4()),
                uuid4().hex[1:],
                "1_" + str(uuid4())[2:],
                True,
                [],
            ],
        ),
        ("taskType", ["", " ", "x" * 51, 7, "a\0b", "\ud800"]),
        ("status", ["", "   ", "x" * 5000, False, {}, "a\0b"]),
        ("durationSeconds", [True, "1", -1, -0.001, 1e300, float("inf"), float("nan"), 10**400, [], 9.3e9]),
        ("log", [7, ["a"], {}, True]),
        ("snapshotId", ["x" * 256, 7, "a\0", "\udfff"]),
        ("errorMessage", ["x" * 65_537, 7, "a\0"]),
        (
            "startTime",
            ["2026-11-24", "2025-11-24T02:00:00", "2026-W48-2T02:00:00Z", 1, "9999-12-31T23:59:59-01:00"],
        ),
        ("endTime", ["now", "2026-13-24T02:00:00Z", "2026-11-24T02:00:00+25:00", True]),
    ],
)
def test_a_bad_field_is_named_and_not_repeated(payload: Payload, field: str, values: list[object]) -> None:
    """Each bad value is refused with the path of its field, and the message never repeats a text."""
    for value in values:
        with pytest.raises(backuplog.InvalidTaskResult) as caught:
            backuplog.parse_task_result(payload(**{field: value}))
        assert [error.path for error in caught.value.errors] == [f"$.{field}"]
        assert not (isinstance(value, str) and len(value) > 10) or value not in str(caught.value)


def test_a_long_text_is_not_looked_at_letter_by_letter(payload: Payload) -> None:
    """To look at each of the 65,536 characters of an error message takes 2.7 ms: 2.7 s for a batch."""

    class Text(str):
        __slots__ = ()

        def __iter__(self) -> Iterator[str]:
            raise AssertionError

    assert backuplog.parse_task_result(payload(errorMessage=Text("é"))).error_message == "é"
    assert paths(payload(errorMessage=Text("é\udfff"))) == {"$.errorMessage"}


def test_all_bad_fields_are_named_at_once(payload: Payload) -> None:
    """Several bad fields make one error with a path each."""
    assert paths(payload(status="", durationSeconds="1", endTime="x")) == {"$.status", "$.durationSeconds", "$.endTime"}


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("succeeded", "success"),
        ("OK", "success"),
        ("completed", "success"),
        ("partial", "warning"),
        ("Failure", "failed"),
        ("error", "failed"),
        ("canceled", "cancelled"),
        ("in_progress", "running"),
        ("started", "running"),
        (" queued ", "pending"),
        ("Timed Out", "timed out"),
    ],
)
def test_known_synonyms_become_one_word(payload: Payload, said: str, stored: str) -> None:
    """What agents say becomes the canonical word, in results and in queries; other words are kept in lower case."""
    assert backuplog.parse_task_result(payload(status=said)).status == stored
    assert backuplog.RunQuery(status=said).status == (stored,)


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2026-11-24T03:55:01.633832138Z", datetime(2026, 11, 24, 3, 55, 1, 633_832, tzinfo=UTC)),
        ("2026-11-24t03:55:01z", datetime(2026, 11, 24, 3, 55, 1, tzinfo=UTC)),
        ("2026-11-24T03:55:01.5+05:30", datetime(2026, 11, 23, 22, 25, 1, 500_000, tzinfo=UTC)),
        ("2016-12-31T23:59:60Z", datetime(2017, 1, 1, tzinfo=UTC)),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_times_are_utc_microseconds(payload: Payload, said: str, moment: datetime | None) -> None:
    """RFC 3339 with nanoseconds, either case, any zone and leap seconds; year 1 is never."""
    assert backuplog.parse_task_result(payload(startTime=said)).start_time == moment


def test_empty_optional_text_is_none(payload: Payload) -> None:
    """An empty snapshot id or error message is none; an empty log is a log."""
    result = backuplog.parse_task_result(payload(snapshotId="", errorMessage="", log=""))
    assert (result.snapshot_id, result.error_message, result.log) == (None, None, "")


def test_models_made_in_python_are_checked_too() -> None:
    """A result or a query that is made by hand names all its bad fields, and shows no log."""
    with pytest.raises(backuplog.InvalidTaskResult, match=r"policy_id: is required; .*status: must be"):
        backuplog.TaskResult(task_id=uuid4(), task_type="x", status="", duration_seconds=1)  # type: ignore[call-arg]
    with pytest.raises(backuplog.InvalidQuery, match=r"agent_id: .*limit: "):
        backuplog.RunQuery(agent_id="x", limit=0)
    for limit in (0, -1, 1001, True, "abc", 1.5):
        with pytest.raises(backuplog.InvalidQuery):
            backuplog.RunQuery(limit=limit)  # type: ignore[arg-type]
    result = backuplog.TaskResult(
        task_id=UUID(int=1), policy_id=UUID(int=2), task_type="x", status="ok", duration_seconds=1, log="a secret"
    )
    assert "a secret" not in repr(result)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=2)
)


@given(st.dictionaries(st.sampled_from(["taskId", "policyId", "status", "durationSeconds", "log", "endTime"]), JSON))
def test_no_object_breaks_the_parser(sent: dict[str, object]) -> None:
    """Any object is a result or an InvalidTaskResult, nothing else."""
    valid = {"taskId": str(uuid4()), "policyId": str(uuid4()), "taskType": "b", "status": "ok", "durationSeconds": 1}
    with suppress(backuplog.InvalidTaskResult):
        assert backuplog.parse_task_result({**valid, **sent}).duration_seconds >= 0


@given(st.binary() | st.text())
def test_no_document_breaks_the_parser(document: bytes | str) -> None:
    """No bytes and no text that are not a result raise anything but InvalidTaskResult."""
    with pytest.raises(backuplog.InvalidTaskResult):
        backuplog.parse_task_result(document)


# --- figures -----------------------------------------------------------------------------------------------------


def test_figures_are_taken_by_their_names_on_the_wire(payload: Payload) -> None:
    """Each figure comes under its camelCase name; null, absent and unknown ones say nothing; whole floats are whole."""
    sent = {
        "filesNew": 5.0,
        "totalBytesProcessed": 2**63 - 1,
        "dataAddedPacked": 0,
        "duration": 1,
        "hasSnapshot": True,
        "failedItems": ["/a", "/b"],
        "tool": "restic",
        "filesChanged": None,
        "approximate": None,
        "files_unmodified": 7,
    }
    expected = backuplog.RunStats(
        files_new=5,
        total_bytes_processed=2**63 - 1,
        data_added_packed=0,
        duration=1.0,
        has_snapshot=True,
        failed_items=("/a", "/b"),
        tool="restic",
    )
    assert backuplog.parse_task_result(payload(stats=sent)).stats == expected


@pytest.mark.parametrize(
    "stats", [None, {}, {"filesNew": None}, {"failedItems": []}, {"tool": "", "approximate": False}]
)
def test_figures_that_say_nothing_are_none(payload: Payload, stats: object) -> None:
    """An object without a figure is the same as none, so that a result that is sent again is a replay."""
    result = backuplog.parse_task_result({**payload(), "stats": stats})
    assert result.stats is None


def test_every_bad_figure_is_named_beside_the_other_fields(payload: Payload) -> None:
    """Bad figures and bad fields are refused at once, each by its path, and never repeated."""
    stats = {
        "filesNew": -1,
        "filesChanged": 1.5,
        "dirsNew": True,
        "dataAdded": 2**63,
        "duration": "1",
        "failedItems": "abc",
        "tool": "x" * 51,
        "hasSnapshot": 1,
        "dryRun": 0,
        "errors": [],
    }
    assert paths(payload(status="", stats=stats)) == {"$.status", *(f"$.stats.{name}" for name in stats)}
    for odd in (5, "secret", [1], True):
        assert paths(payload(stats=odd)) == {"$.stats"}


def test_failed_items_are_cut_not_refused(payload: Payload) -> None:
    """Names of files that cannot be stored are shown as far as they can; no result is lost for them."""
    items = ["\ud800/a\0b", "x" * 2000, *map(str, range(200))]
    stats = backuplog.parse_task_result(payload(stats={"failedItems": items})).stats
    assert stats is not None
    assert stats.failed_items[:2] == ("\ufffd/a\ufffdb", "x" * 1024)
    assert len(stats.failed_items) == 100


def test_a_deep_array_in_a_batch_is_refused_for_what_it_is() -> None:
    """However deep an array in a batch is, it is no result, or the whole batch is nested too deeply."""
    refusals: set[str] = set()
    for depth in range(700, 1_000):
        with pytest.raises(backuplog.InvalidTaskResult) as caught:
            backuplog.parse_task_result(parse_batch(b"[" * depth + b"]" * depth, is_lines=False, max_items=1)[0])
        refusals.add(str(caught.value))
    assert refusals == {"$: must be a JSON object, not an array", "$: is nested too deeply"}
