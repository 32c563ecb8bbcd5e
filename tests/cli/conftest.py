"""What the tests of the command share: a store of each kind, and a way to call it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

from backuplog.cli import main

Call = Callable[..., Result]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the URL of a store that is not there yet, on each backend."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'backups.db'}"
    address: str = request.getfixturevalue("database_url")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS backuplog CASCADE")
    return address


@pytest.fixture
def call(url: str) -> Call:
    """Give what calls the command on that store."""

    def invoke(*arguments: object, code: int = 0, **options: Any) -> Result:
        result = CliRunner().invoke(main, ["--url", url, *map(str, arguments)], **options)
        assert result.exit_code == code, (result.output, result.exception)
        return result

    return invoke


@pytest.fixture
def ask(call: Call) -> Callable[..., Any]:
    """Give what calls the command for one document of JSON."""

    def invoke(*arguments: object, **options: Any) -> Any:
        return json.loads(call(*arguments, "--json", **options).stdout)

    return invoke
