"""A history that moves from SQLite to PostgreSQL, and back."""

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import backuplog
from backuplog.testing.copies import assert_same, fill
from test_copying import COPY, ingest

AGENT = UUID(int=1)


def test_a_history_moves_there_and_back(store: backuplog.Store) -> None:
    """What PostgreSQL has taken over from SQLite is what SQLite takes over from PostgreSQL, to the last byte."""
    with backuplog.open_store("sqlite://") as source, backuplog.open_store("sqlite://") as back:
        agent_id = backuplog.register_agent(source, AGENT, hostname="db-01").id
        backuplog.issue_agent_token(source, agent_id)
        fill(source, agent_id)
        for one, other in ((source, store), (store, back)):
            assert backuplog.copy_store(one, other) == backuplog.CopyReport(agents=1, tokens=1, copied=12)
            assert_same(one, other)
        assert_same(source, back)
        assert backuplog.copy_store(source, store).equal == 12


def test_a_copy_that_is_killed_goes_on(
    store: backuplog.Store, url: str, tmp_path: Path, payload: Callable[..., dict[str, Any]]
) -> None:
    """After ``kill -9`` each run is there whole or not at all, and another copy brings the rest."""
    source_url = f"sqlite:///{tmp_path / 'source.db'}"
    with backuplog.open_store(source_url) as source:
        agent_id = backuplog.register_agent(source, AGENT).id
        ingest(source, agent_id, *(payload(log=f"{number} " * 900_000) for number in range(10, 40)))
        with subprocess.Popen([sys.executable, "-c", COPY, source_url, url], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        there = backuplog.query_runs(store).total
        assert there
        for run in backuplog.query_runs(store).runs:
            assert backuplog.read_log(store, run.id) == backuplog.read_log(source, run.id)
        report = backuplog.copy_store(source, store)
        assert (report.copied, report.equal + report.copied) == (30 - report.equal, 30)
        assert report.equal >= there
        assert_same(source, store)
