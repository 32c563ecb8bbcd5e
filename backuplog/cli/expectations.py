"""What is expected of policies, from a file."""

import tomllib
from pathlib import Path
from typing import Any, Final, cast

import attrs
import click

from backuplog.errors import InvalidQuery
from backuplog.overdue import Expectation

from .filters import length_of_time
from .frame import ExitCode, Refusal

_LENGTHS: Final = frozenset({"interval", "grace"})
_KNOWN: Final = frozenset(field.name for field in attrs.fields(Expectation))


def read_expectations(path: Path) -> list[Expectation]:
    """Read a file of expectations in TOML.

    Args:
        path: The file. It has a table ``[[expectation]]`` for each, with the fields of ``Expectation``; ``interval``
            and ``grace`` are like ``1d`` and ``2h``.

    Raises:
        Refusal: The file cannot be read, or fields are malformed; the message names the table and each of them.
    """
    name = click.format_filename(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, RecursionError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(f"{name} cannot be read: {error}", ExitCode.USAGE) from error
    tables = document.get("expectation")
    if not isinstance(tables, list) or set(document) != {"expectation"}:
        raise Refusal(f"{name} must have tables [[expectation]] and nothing else", ExitCode.USAGE)
    return [
        _expectation(table, f"{name}, expectation {place}")
        for place, table in enumerate(cast("list[object]", tables), 1)
    ]


def _expectation(table: object, where: str) -> Expectation:
    if not isinstance(table, dict):
        raise Refusal(f"{where}: must be a table", ExitCode.USAGE)
    fields = cast("dict[str, Any]", table)
    errors = [f"{name}: is not known" for name in sorted(fields.keys() - _KNOWN)]
    for name in sorted(_LENGTHS & fields.keys()):
        try:
            fields[name] = length_of_time(str(fields[name]))
        except ValueError as refusal:
            errors.append(f"{name}: {refusal}")
    if errors:
        raise Refusal(f"{where}: {'; '.join(errors)}", ExitCode.USAGE)
    try:
        return Expectation(**fields)
    except (InvalidQuery, ModuleNotFoundError) as refusal:
        raise Refusal(f"{where}: {refusal}", ExitCode.USAGE) from refusal
