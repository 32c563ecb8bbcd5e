"""Payloads to models: the one cattrs converter, and the JSON that agents send."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NoReturn
from uuid import UUID

import attrs
import cattrs

from .errors import FieldError, InvalidTaskResult
from .model import BackupRun, TaskResult

converter: Final = cattrs.Converter()
"""Structures a ``TaskResult`` from its wire form: camelCase keys, ``null`` the same as absent, others ignored; gives a
``BackupRun`` the form that JSON can hold."""

converter.register_unstructure_hook(UUID, str)
converter.register_unstructure_hook(datetime, lambda moment: moment.isoformat().replace("+00:00", "Z"))
converter.register_unstructure_hook(bytes, bytes.hex)

# taskId -> task_id ...
WIRE_NAMES: Final = {
    (words := field.name.split("_"))[0] + "".join(word.title() for word in words[1:]): field.name
    for field in attrs.fields(TaskResult)
}
_PATHS: Final = {name: f"$.{wire_name}" for wire_name, name in WIRE_NAMES.items()}


@converter.register_structure_hook
def _structure_task_result(payload: Mapping[str, Any], _: type[TaskResult]) -> TaskResult:
    present = ((name, payload.get(wire_name)) for wire_name, name in WIRE_NAMES.items())
    try:
        return TaskResult(**{name: value for name, value in present if value is not None})
    except InvalidTaskResult as invalid:
        errors = [attrs.evolve(error, path=_PATHS[error.path]) for error in invalid.errors]
        raise InvalidTaskResult(errors) from None


def parse_task_result(payload: bytes | str | Mapping[str, Any] | TaskResult) -> TaskResult:
    """Read a task result from what an agent sent.

    Args:
        payload: JSON as bytes (UTF-8) or text, the mapping that JSON decodes to, or a TaskResult, which is given back.

    Returns:
        The result, every field in its normal form.

    Raises:
        InvalidTaskResult: It is not one JSON object, or fields are missing or malformed; it names each with its
            JSON path (``$.taskId``).
    """
    if isinstance(payload, TaskResult):
        return payload
    document = _loads(payload) if isinstance(payload, bytes | str) else payload
    if not isinstance(document, Mapping):
        kind = "an array" if isinstance(document, list) else f"a {type(document).__name__}"
        _refuse(f"must be a JSON object, not {kind}")
    return converter.structure(document, TaskResult)


def parse_batch(body: bytes, *, is_lines: bool) -> list[bytes | Mapping[str, Any]]:
    """Take a batch apart into payloads, each for ``parse_task_result`` to judge by itself.

    Args:
        body: A JSON array, or documents of JSON on a line each.
        is_lines: Which of the two.

    Raises:
        InvalidTaskResult: It is not a JSON array.
    """
    if is_lines:
        return [line for line in body.split(b"\n") if line.strip()]
    documents = _loads(body)
    if not isinstance(documents, list):
        _refuse("must be a JSON array of task results")
    items: list[Any] = documents  # pyright: ignore[reportUnknownVariableType]
    # A string in the array would be read as a document of its own: written as JSON it is refused as what it is.
    return [item if isinstance(item, Mapping) else json.dumps(item).encode() for item in items]


def run_document(run: BackupRun) -> dict[str, Any]:
    """Give a run as JSON shows it: every field but the tenant, in snake case, times in RFC 3339, bytes in hex."""
    document: dict[str, Any] = converter.unstructure(run)
    del document["tenant_id"]
    return document


def _loads(document: bytes | str) -> object:
    if not isinstance(document, str):
        try:
            document = str(document, "utf-8")
        except UnicodeDecodeError as error:
            _refuse(f"must be JSON in UTF-8: the byte at {error.start:,} is not ({error.reason})")
    if document.startswith("\ufeff"):
        _refuse("must not begin with a byte order mark")
    if not document.strip():
        _refuse("must be a JSON object, but the document is empty")
    try:
        return json.loads(document, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        _refuse(f"must be one JSON document: {error.msg} at character {error.pos:,}")
    except RecursionError:
        _refuse("is nested too deeply")
    except InvalidTaskResult:
        raise
    except ValueError:  # CPython converts no integer of more than 4,300 digits.
        _refuse("holds a number of too many digits")


def _refuse_constant(name: str) -> NoReturn:
    _refuse(f"must be JSON, which has no {name}")


def _refuse(message: str) -> NoReturn:
    raise InvalidTaskResult([FieldError("$", message)])
