"""Payloads to models: the one cattrs converter, and the JSON that agents send."""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

import attrs
import cattrs

from .decode import decode_json, refuse, require_few_items, require_few_values
from .errors import FieldError, InvalidTaskResult
from .model import FIGURES, BackupRun, Progress, RunStats, TaskResult

converter: Final = cattrs.Converter()
"""Structures a ``TaskResult`` from its wire form: camelCase keys, ``null`` the same as absent, others ignored; gives a
``BackupRun`` the form that JSON can hold."""

converter.register_unstructure_hook(UUID, str)
converter.register_unstructure_hook(datetime, lambda moment: moment.isoformat().replace("+00:00", "Z"))
converter.register_unstructure_hook(date, date.isoformat)
converter.register_unstructure_hook(bytes, bytes.hex)


def wire_names(model: type[Any]) -> dict[str, str]:
    """Return the camelCase names of a model's fields, each with the field's name."""
    words = {field.name: field.name.split("_") for field in attrs.fields(model)}
    return {first + "".join(word.title() for word in rest): name for name, (first, *rest) in words.items()}


_RESULT_NAMES: Final = wire_names(TaskResult)
# What a result holds as objects of their own.
_PARTS: Final[Mapping[str, tuple[type[Any], Mapping[str, str]]]] = {
    name: (model, wire_names(model)) for name, model in (("stats", RunStats), ("progress", Progress))
}
# The fields that are stored as JSON, with their defaults, which say nothing.
_DETAILS: Final = tuple((field.name, field.default) for field in attrs.fields(RunStats))[len(FIGURES) :]
_PROGRESS: Final = tuple((field.name, field.default) for field in attrs.fields(Progress))
# In one form for ever: it is part of a submission's digest.
_encode: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_LONGEST_NAME: Final = 50
_SEPARATORS: Final = str.maketrans("", "", "_- ")

_logger: Final = logging.getLogger("backuplog")


def _take(document: Mapping[str, Any], names: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Take what stands under known keys.

    Returns:
        It, by the names of the fields; and the keys that differ from a known one, which is absent, by case or
        separators only, by the known one.
    """
    values: dict[str, Any] = {}
    unknown: list[str] = []
    for key, value in document.items():
        name = names.get(key)
        if name is None:
            unknown.append(key)
        elif value is not None:
            values[name] = value
    if not unknown:
        return values, {}
    known = {key.lower(): key for key, name in names.items() if name not in values}
    plain = {key: str(key).translate(_SEPARATORS).lower() for key in unknown if len(str(key)) <= _LONGEST_NAME}
    return values, {known[text]: key for key, text in plain.items() if text in known}


@converter.register_structure_hook
def _structure_task_result(payload: Mapping[str, Any], _: type[TaskResult]) -> TaskResult:
    values, misspelled = _take(payload, _RESULT_NAMES)
    errors: list[FieldError] = []
    for part, (model, names) in _PARTS.items():
        if not isinstance(values.get(part), Mapping):
            continue
        figures, odd = _take(values[part], names)
        misspelled |= {f"{part}.{known}": f"{part}.{key}" for known, key in odd.items()}
        try:
            values[part] = model(**figures)
        except InvalidTaskResult as invalid:
            del values[part]
            errors += _on_the_wire(invalid, names, f"$.{part}.")
    try:
        result = TaskResult(**values)
    except InvalidTaskResult as invalid:
        found = [*_on_the_wire(invalid, _RESULT_NAMES, "$."), *errors]
        raise InvalidTaskResult([_with_hint(error, misspelled) for error in found]) from None
    if errors:
        raise InvalidTaskResult(errors)
    for known, key in misspelled.items():
        _logger.warning("A payload has %s, which is ignored: write %s", key, known, extra={"key": key, "known": known})
    return result


_structure: Final[Callable[[Any, type[TaskResult]], TaskResult]] = converter.get_structure_hook(TaskResult)


def _with_hint(error: FieldError, misspelled: Mapping[str, str]) -> FieldError:
    known = error.path.removeprefix("$.")
    if known not in misspelled:
        return error
    return attrs.evolve(error, message=f"{error.message}; it came as {misspelled[known]}: write {known}")


def _on_the_wire(invalid: InvalidTaskResult, names: Mapping[str, str], prefix: str) -> list[FieldError]:
    paths = {name: f"{prefix}{key}" for key, name in names.items()}
    return [attrs.evolve(error, path=paths[error.path]) for error in invalid.errors]


def parse_task_result(payload: bytes | str | Mapping[str, Any] | TaskResult) -> TaskResult:
    """Parse a task result from what an agent sent.

    Args:
        payload: JSON as bytes (UTF-8) or text, the mapping that JSON decodes to, or a TaskResult, which is returned as
            it is.

    Returns:
        The result, with every field in its normal form.

    Raises:
        InvalidTaskResult: The payload is not one JSON object, or fields are missing or malformed; the error names each
            field with its JSON path (``$.taskId``).
    """
    result = take_task_result(payload)
    if isinstance(payload, bytes | str) and isinstance(result.log, bytes):
        return attrs.evolve(result, log=result.log.decode("utf-8", "surrogatepass"))
    return result


def take_task_result(payload: bytes | str | Mapping[str, Any] | TaskResult) -> TaskResult:
    """Parse a task result as ``parse_task_result`` does, but leave a long log of JSON as the bytes of its UTF-8."""
    if isinstance(payload, TaskResult):
        return payload
    document = decode_json(payload) if isinstance(payload, bytes | str) else payload
    if not isinstance(document, Mapping):
        kind = "an array" if isinstance(document, list) else f"a {type(document).__name__}"
        refuse(f"must be a JSON object, not {kind}")
    return _structure(document, TaskResult)


def parse_batch(body: bytes, *, is_lines: bool, max_items: int) -> list[bytes | Mapping[str, Any]]:
    """Take a batch apart into payloads, each for ``parse_task_result`` to judge by itself.

    Args:
        body: A JSON array, or documents of JSON on a line each.
        is_lines: Which of the two.
        max_items: The most payloads; of lines there may be twice as many, the others blank.

    Raises:
        InvalidTaskResult: It is not a JSON array.
        PayloadTooLarge: It holds more payloads, or they hold too many values.
    """
    if is_lines:
        require_few_items(body.count(b"\n") // 2, max_items)
        lines = [line for line in body.split(b"\n") if line.strip()]
        require_few_items(len(lines), max_items)
        require_few_values(lines)
        return [*lines]
    documents = decode_json(body, max_items=max_items)
    if not isinstance(documents, list):
        refuse("must be a JSON array of task results")
    items: list[Any] = documents  # pyright: ignore[reportUnknownVariableType]
    return [item if isinstance(item, Mapping) else _no_result(item) for item in items]


def _no_result(item: object) -> bytes:
    # A string would be read as a document of its own; written as JSON it is refused as what it is. So is an array
    # without its items, which may be nested too deeply to be written.
    return json.dumps([] if isinstance(item, list) else item).encode()


def run_document(run: BackupRun) -> dict[str, Any]:
    """Return a run as JSON shows it: every field but the tenant, in snake case, times in RFC 3339, bytes in hex."""
    document: dict[str, Any] = converter.unstructure(run)
    del document["tenant_id"]
    return document


def stats_details(stats: RunStats) -> str | None:
    """Return as JSON what figures say beyond those that are columns of their own; None where they say no more."""
    known = _known(stats, _DETAILS)
    return _encode(known) if known else None


def progress_text(progress: Progress) -> str:
    """Return as JSON what a task says of its progress."""
    return _encode(_known(progress, _PROGRESS))


def progress_from(text: str) -> Progress:
    """Return the progress that ``progress_text`` wrote.

    Raises:
        ValueError: It is not what that wrote.
    """
    return Progress(**_json_object(text))


def _json_object(text: str) -> dict[str, Any]:
    known: Any = json.loads(text)
    if not isinstance(known, dict):
        raise ValueError("what should be a JSON object is none")  # noqa: TRY004 - one kind of error
    return known  # pyright: ignore[reportUnknownVariableType]


def _known(model: RunStats | Progress, fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    return {name: value for name, default in fields if (value := getattr(model, name)) != default}


def stats_from(figures: Sequence[int | None], details: str | None) -> RunStats | None:
    """Return the figures that a row holds, which ``stats_details`` has taken apart; None where it holds none.

    Raises:
        ValueError: They are not what ``stats_details`` made.
    """
    known: dict[str, Any] = {name: value for name, value in zip(FIGURES, figures, strict=True) if value is not None}
    if details is not None:
        known |= _json_object(details)
    return RunStats(**known) if known else None
