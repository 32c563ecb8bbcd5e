"""What the tests of the command share: a store of each kind, and a way to call it."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from click.testing import CliRunner, Result

import backuplog
from backuplog.cli import main

Call = Callable[..., Result]

RESULTS = Path(__file__).parent.parent / "data" / "results"


@pytest.fixture
def history(url: str) -> dict[str, Any]:
    """Fill the store with the results of real restic and borg runs, and give the file that describes them."""
    index: dict[str, Any] = json.loads((RESULTS / "results.json").read_text())
    with backuplog.open_store(url) as store:
        for hostname, agent_id in index["agents"].items():
            backuplog.register_agent(store, agent_id, hostname=hostname)
        for result in index["results"]:
            took = timedelta(seconds=result["durationSeconds"])
            ended = datetime.fromisoformat(result["startTime"]) + took
            payload = {**result, "endTime": ended.isoformat(), "log": (RESULTS / result["log"]).read_bytes()}
            agent_id = index["agents"][result["agent"]]
            backuplog.ingest_task_results(store, [(agent_id, payload)], received_at=ended)
    return index


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
