"""What is expected of policies, from a file."""

import tomllib
from pathlib import Path
from typing import Any

import click

from backuplog.errors import InvalidQuery
from backuplog.overdue import Expectation

from .filters import length_of_time
from .frame import ExitCode, Refusal

_LENGTHS = ("interval", "grace")


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
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise Refusal(f"{name} cannot be read: {error}", ExitCode.USAGE) from error
    tables: object = document.get("expectation")
    if not isinstance(tables, list) or set(document) != {"expectation"}:
        raise Refusal(f"{name} must have tables [[expectation]] and nothing else", ExitCode.USAGE)
    given: list[Any] = tables  # pyright: ignore[reportUnknownVariableType] - whatever TOML can hold
    return [_expectation(table, f"{name}, expectation {place}") for place, table in enumerate(given, 1)]


def _expectation(table: Any, where: str) -> Expectation:
    if not isinstance(table, dict):
        raise Refusal(f"{where}: must be a table", ExitCode.USAGE)
    fields: dict[str, Any] = {**table}
    try:
        fields |= {name: length_of_time(str(fields[name])) for name in _LENGTHS if name in fields}
        return Expectation(**fields)
    except (InvalidQuery, ModuleNotFoundError, TypeError, ValueError) as refusal:
        raise Refusal(f"{where}: {refusal}", ExitCode.USAGE) from refusal
