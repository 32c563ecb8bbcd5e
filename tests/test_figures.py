"""The figures of a run: what the agent sends, and what its log tells."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog.backend import Amendment
from backuplog.parsers import Tool, Work
from test_open_store import install

Payload = Callable[..., dict[str, Any]]


@attrs.define
class Words:
    """Takes every ``name=value`` of a log for a figure."""

    work: Work
    found: dict[str, Any] = attrs.field(factory=dict[str, Any])

    def feed(self, block: bytes) -> None:
        """Keep them."""
        for name, value in re.findall(rb"(\w+)=(\w+)", block):
            self.found[name.decode()] = int(value) if value.isdigit() else value.decode()

    def figures(self) -> dict[str, Any]:
        """Give what was found, which is rounded."""
        return {**self.found, "approximate": True} if self.found else {}


WORDS = Tool(name="words", mark=re.compile(rb"\nwords"), parser=Words)
LOG = "words files_new=3 data_added=4096 snapshot_id=abcd has_it\n"


@pytest.fixture
def store() -> Iterator[backuplog.Store]:
    """Give a store that understands one tool."""
    with backuplog.open_store("sqlite://", parsers=[WORDS]) as opened:
        yield opened


def ingested(store: backuplog.Store, agent_id: UUID, sent: Any) -> backuplog.BackupRun:
    """Take a result in, and give its run."""
    return backuplog.get_run(store, backuplog.ingest_task_result(store, agent_id, sent).run_id)


@pytest.mark.parametrize("form", [str, bytes, json.dumps])
def test_a_log_fills_in_what_was_not_sent(
    store: backuplog.Store, agent_id: UUID, payload: Payload, form: Callable[..., Any]
) -> None:
    """The run has the figures and the snapshot of its log, and lists show them."""
    sent = payload(log=LOG.encode() if form is bytes else LOG)
    run = ingested(store, agent_id, json.dumps(sent) if form is json.dumps else sent)
    assert run.stats
    assert (run.stats.files_new, run.stats.data_added, run.stats.files_changed) == (3, 4096, None)
    assert (run.stats.tool, run.stats.approximate) == ("words", True)
    assert (run.snapshot_id, run.stats.snapshot_id) == ("abcd", "abcd")
    assert backuplog.query_runs(store, backuplog.RunQuery(snapshot_id="abcd")).runs == (run,)


def test_what_the_agent_sends_wins(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Its figures and its snapshot stand, the log fills in the rest; sizes that it sent are not rounded ones."""
    sent = payload(log=LOG, snapshotId="mine", stats={"filesNew": 5, "dataAdded": 4000, "warnings": 0})
    run = ingested(store, agent_id, sent)
    assert run.stats
    assert (run.snapshot_id, run.stats.snapshot_id) == ("mine", "abcd")
    assert (run.stats.files_new, run.stats.data_added, run.stats.warnings) == (5, 4000, 0)
    assert (run.stats.tool, run.stats.approximate) == ("words", False)
    run = ingested(store, agent_id, payload(log=LOG, stats={"filesNew": 5}))
    assert run.stats
    assert (run.stats.files_new, run.stats.data_added, run.stats.approximate) == (5, 4096, True)


def test_a_dry_run_is_known_as_one(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """A run is a dry run where its agent or its log says so, and not where nobody does."""
    log = "repository 12345678 opened successfully\nWould add to the repository: 3 B\nprocessed 1 files, 3 B in 0:00\n"
    with backuplog.open_store("sqlite://") as opened:
        backuplog.register_agent(opened, agent_id)
        assert ingested(opened, agent_id, payload(log=log)).is_dry_run
        assert not ingested(opened, agent_id, payload(log=log, stats={"dryRun": False})).is_dry_run
    assert ingested(store, agent_id, payload(stats={"dryRun": True})).is_dry_run
    assert not ingested(store, agent_id, payload(stats={"dryRun": None, "filesNew": 1})).is_dry_run
    assert not ingested(store, agent_id, payload()).is_dry_run


def test_a_replay_stays_a_replay_whatever_is_understood(tmp_path: Path, agent_id: UUID, payload: Payload) -> None:
    """What a parser has learned since makes no other result of one that is sent again."""
    url = f"sqlite:///{tmp_path / 'backups.db'}"
    sent = payload(log=LOG)
    with backuplog.open_store(url, parsers=()) as store:
        backuplog.register_agent(store, agent_id)
        run = ingested(store, agent_id, sent)
        assert (run.stats, run.snapshot_id) == (None, None)
    with backuplog.open_store(url, parsers=[WORDS]) as store:
        assert backuplog.ingest_task_result(store, agent_id, sent).outcome == "replayed"
        assert backuplog.get_run(store, sent["taskId"]) == run


def test_each_result_of_a_batch_has_its_own(store: backuplog.Store, agent_id: UUID, payload: Payload) -> None:
    """Figures are of the log that they were read from, and a result without a log has those that were sent."""
    sent = [payload(log="words files_new=1\n"), payload(), payload(log="words files_new=2\n"), payload(log="other\n")]
    backuplog.ingest_task_results(store, [(agent_id, one) for one in sent])
    found = [backuplog.get_run(store, one["taskId"]).stats for one in sent]
    assert [stats and stats.files_new for stats in found] == [1, None, 2, None]


@attrs.define
class Costly:
    """A parser that finds every log as costly as 400,000 lines."""

    work: Work

    def feed(self, block: bytes) -> None:
        """Say so."""
        assert block
        self.work.spend(400_000)

    def figures(self) -> dict[str, Any]:
        """Give a figure."""
        return {"files_new": 1}


def test_the_logs_of_a_batch_cost_no_more_than_one(agent_id: UUID, payload: Payload) -> None:
    """What reading costs is bounded for all of them together; those that are too many are stored without figures."""
    costly = Tool(name="costly", mark=re.compile(rb"\ncostly"), parser=Costly)
    with backuplog.open_store("sqlite://", parsers=[costly]) as opened:
        backuplog.register_agent(opened, agent_id)
        sent = [payload(log="costly\n") for _ in range(4)]
        backuplog.ingest_task_results(opened, [(agent_id, one) for one in sent])
        found = [backuplog.get_run(opened, one["taskId"]) for one in sent]
        assert [run.stats and run.stats.files_new for run in found] == [1, 1, None, None]
        assert {run.log_state for run in found} == {"complete"}


def test_a_package_can_add_a_tool(
    tmp_path: Path, payload: Payload, monkeypatch: pytest.MonkeyPatch, agent_id: UUID
) -> None:
    """What an installed package names by an entry point is understood without a word in the code."""
    install(tmp_path, "words", "words = test_figures:WORDS", group="backuplog.parsers")
    monkeypatch.syspath_prepend(tmp_path)
    with backuplog.open_store("sqlite://") as opened:
        backuplog.register_agent(opened, agent_id)
        assert ingested(opened, agent_id, payload(taskId=str(uuid4()), log=LOG)).snapshot_id == "abcd"


def test_what_the_log_says_may_replace_what_the_run_has(store: backuplog.Store, payload: Payload) -> None:
    """With ``overwrite`` the figures of the log win, and those that it does not tell stay."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    sent = payload(log=f"\n{LOG}", stats={"filesNew": 1, "filesChanged": 2})
    run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
    assert backuplog.reparse(store, backuplog.RunQuery()).changed == 0
    assert backuplog.reparse(store, backuplog.RunQuery(), overwrite=True).changed == 1
    stats = backuplog.get_run(store, run_id).stats
    assert stats is not None
    assert (stats.files_new, stats.files_changed, stats.data_added) == (3, 2, 4096)
    other = payload(log=f"\n{LOG}", snapshotId="0ther")
    run_id = backuplog.ingest_task_result(store, agent_id, other).run_id
    assert backuplog.reparse(store, backuplog.RunQuery(), overwrite=True).changed == 1
    assert backuplog.get_run(store, run_id).snapshot_id == "abcd"


def test_a_damaged_log_is_named_and_passed_over(store: backuplog.Store, payload: Payload) -> None:
    """A log that cannot be read does not keep the others from being read again."""
    agent_id = backuplog.register_agent(store, uuid4()).id
    blind = attrs.evolve(store, parsers=())
    damaged, whole = (backuplog.ingest_task_result(blind, agent_id, payload(log=f"\n{LOG}")).run_id for _ in range(2))
    stored = store.backend.find_run(damaged)
    assert stored is not None
    other = attrs.evolve(stored, run=attrs.evolve(stored.run, log_sha256=bytes(32)))
    assert store.backend.submit([Amendment(read=stored, write=other)]) == [True]
    report = backuplog.reparse(store, backuplog.RunQuery())
    assert (report.read, report.changed, report.damaged) == (1, 1, (damaged,))
    assert backuplog.get_run(store, damaged).stats is None
    assert backuplog.get_run(store, whole).stats is not None
