"""The kit finds what is broken: each of these stores breaks one promise, and the test of that promise fails."""

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog.testing import StoreContract

EXAMPLE = Path(__file__).parent.parent / "examples" / "third_party_backend"


@pytest.fixture
def dict_store(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the class of the example's store."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "backuplog_dict", raising=False)
    return importlib.import_module("backuplog_dict").DictStore


def contract_of(store: Callable[..., Any]) -> StoreContract:
    """Join a store to the contract."""

    class Joined(StoreContract):
        @contextmanager
        def fresh_store(self) -> Any:
            with store(tenant_id=backuplog.DEFAULT_TENANT) as opened:
                yield opened

    return Joined()


PLAIN_TESTS = [name for name in dir(StoreContract) if name.startswith("test_") and "around" not in name]


@pytest.mark.parametrize("name", PLAIN_TESTS)
def test_the_example_backend_keeps_the_contract(dict_store: Any, name: str) -> None:
    """The store of the example passes every test of the kit."""
    getattr(contract_of(dict_store), name)()


def overwrites(base: Any) -> Any:
    """Take every result as if it were the first."""

    class Broken(base):  # type: ignore[misc]
        def _take(self, tables: Any, submission: Any, chunks: Any) -> Any:
            tables.runs.pop((self.tenant_id, submission.run.id), None)
            return super()._take(tables, submission, chunks)

    return Broken


def shows_other_tenants(base: Any) -> Any:
    """Find a run under any tenant."""

    class Broken(base):  # type: ignore[misc]
        def find_run(self, run_id: UUID) -> Any:
            return next((run for (_, key), run in self._open().runs.items() if key == run_id), None)

    return Broken


def counts_other_tenants(base: Any) -> Any:
    """Count the runs of all tenants."""

    class Broken(base):  # type: ignore[misc]
        def count_runs(self, query: backuplog.RunQuery) -> int:  # noqa: ARG002
            return len(self._open().runs)

    return Broken


def keeps_the_old_log(base: Any) -> Any:
    """Append a new log to the chunks of the old one."""

    class Broken(base):  # type: ignore[misc]
        def _take(self, tables: Any, submission: Any, chunks: Any) -> Any:
            old = [log for key, log in tables.logs.items() if key[1] == submission.run.id]
            return super()._take(tables, submission, chunks + [chunk for log in old for chunk in log])

    return Broken


def ignores_the_version(base: Any) -> Any:
    """Give the chunks of whichever log stands now."""

    class Broken(base):  # type: ignore[misc]
        def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Any:  # noqa: ARG002
            stored = self.find_run(run_id)
            return stored and super().find_chunk(run_id, stored.log_version, offset)

    return Broken


def forgets_ties(base: Any) -> Any:
    """Go on by the start time alone."""

    class Broken(base):  # type: ignore[misc]
        def list_runs(self, query: Any, *, after: Any, limit: int) -> Any:
            runs = sorted(self._matching(query), key=lambda run: run.start_time, reverse=True)
            return [run for run in runs if not after or run.start_time < after[0]][:limit]

    return Broken


def includes_the_end(base: Any) -> Any:
    """Take ``until`` as inclusive."""

    class Broken(base):  # type: ignore[misc]
        def _matching(self, query: Any) -> Any:
            until, wider = query.until, attrs.evolve(query, until=None)
            return [run for run in super()._matching(wider) if until is None or run.start_time <= until]

    return Broken


def forgets_superseded(base: Any) -> Any:
    """Forget which results were superseded."""

    class Broken(base):  # type: ignore[misc]
        def _take(self, tables: Any, submission: Any, chunks: Any) -> Any:
            answer = super()._take(tables, submission, chunks)
            key = self.tenant_id, submission.run.id
            if key in tables.runs:
                tables.runs[key] = attrs.evolve(tables.runs[key], superseded=())
            return answer

    return Broken


def stores_halves(base: Any) -> Any:
    """Store each submission before the next one's log is read."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, submissions: Sequence[Any]) -> Any:
            return [answer for submission in submissions for answer in base.submit(self, [submission])]

    return Broken


def takes_any_agent(base: Any) -> Any:
    """Never look for the agent."""

    class Broken(base):  # type: ignore[misc]
        def _take(self, tables: Any, submission: Any, chunks: Any) -> Any:
            return super()._take(tables, attrs.evolve(submission, agent_known=True), chunks)

    return Broken


def resets_agents(base: Any) -> Any:
    """Register an agent anew each time."""

    class Broken(base):  # type: ignore[misc]
        def add_agent(self, agent: Any) -> Any:
            self._open().agents[self.tenant_id, agent.id] = agent
            return agent

    return Broken


def decides_outside_the_lock(base: Any) -> Any:
    """Look at what is stored, and write only when others may have written too."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, submissions: Sequence[Any]) -> Any:
            stored = self.find_run(submissions[0].run.id)
            time.sleep(0.01)
            decision = backuplog.decide(stored, submissions[0])
            if decision.write is not None:
                self._open().runs[self.tenant_id, submissions[0].run.id] = decision.write
            return [decision.answer]

    return Broken


def fails_readers_while_it_replaces(base: Any) -> Any:
    """Take the old log away before the run says that there is a new one."""

    class Broken(base):  # type: ignore[misc]
        def _take(self, tables: Any, submission: Any, chunks: Any) -> Any:
            for key in [key for key in tables.logs if key[1] == submission.run.id]:
                removed = tables.logs.pop(key)
                time.sleep(0.001)
                tables.logs[key] = removed
            return super()._take(tables, submission, chunks)

    return Broken


def gives_the_next_chunk(base: Any) -> Any:
    """Find the first chunk that begins at an offset or after it."""

    class Broken(base):  # type: ignore[misc]
        def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Any:
            chunks = self._open().logs.get((self.tenant_id, run_id, log_version), [])
            return next((chunk for chunk in chunks if chunk.offset >= offset), None)

    return Broken


def counts_the_page(base: Any) -> Any:
    """Count at most as many runs as a page shows."""

    class Broken(base):  # type: ignore[misc]
        def count_runs(self, query: backuplog.RunQuery) -> int:
            return min(super().count_runs(query), query.limit)

    return Broken


def forgets_the_first_receipt(base: Any) -> Any:
    """Say that a run was received when its last result was."""

    class Broken(base):  # type: ignore[misc]
        def find_run(self, run_id: UUID) -> Any:
            stored = super().find_run(run_id)
            return stored and attrs.evolve(stored, run=attrs.evolve(stored.run, received_at=stored.run.updated_at))

    return Broken


def rounds_times(base: Any) -> Any:
    """Keep times to the millisecond."""

    class Broken(base):  # type: ignore[misc]
        def find_run(self, run_id: UUID) -> Any:
            stored = super().find_run(run_id)
            if stored is None:
                return None
            start = stored.run.start_time
            start = start.replace(microsecond=start.microsecond // 1000 * 1000)
            return attrs.evolve(stored, run=attrs.evolve(stored.run, start_time=start))

    return Broken


def writes_before_the_log(base: Any) -> Any:
    """Write the run before its log has been read."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, submissions: Sequence[Any]) -> Any:
            base.submit(self, [attrs.evolve(submission, log=None) for submission in submissions])
            return base.submit(self, submissions)

    return Broken


def goes_on_when_closed(base: Any) -> Any:
    """Never close."""

    class Broken(base):  # type: ignore[misc]
        def close(self) -> None:
            pass

    return Broken


BROKEN = [
    (overwrites, "test_the_same_content_is_replayed"),
    (overwrites, "test_fifty_identical_submissions_leave_one_run"),
    (shows_other_tenants, "test_tenants_are_apart"),
    (counts_other_tenants, "test_tenants_are_apart"),
    (keeps_the_old_log, "test_a_shorter_log_leaves_no_tail"),
    (ignores_the_version, "test_a_reader_never_sees_a_mix"),
    (forgets_ties, "test_pages_skip_and_repeat_nothing_while_runs_arrive"),
    (includes_the_end, "test_queries_answer_as_a_plain_list_would"),
    (forgets_superseded, "test_a_superseded_result_is_stale"),
    (stores_halves, "test_a_failure_in_the_middle_stores_nothing_of_the_call"),
    (takes_any_agent, "test_an_unknown_agent_is_refused"),
    (resets_agents, "test_registering_again_keeps_what_is_known"),
    (decides_outside_the_lock, "test_threads_that_replace_one_result_all_count"),
    (decides_outside_the_lock, "test_fifty_identical_submissions_leave_one_run"),
    (fails_readers_while_it_replaces, "test_replacing_and_reading_at_once_is_never_mixed"),
    (gives_the_next_chunk, "test_a_chunk_is_found_by_any_of_its_bytes"),
    (counts_the_page, "test_a_page_is_as_long_as_its_limit"),
    (forgets_the_first_receipt, "test_an_active_run_is_updated"),
    (rounds_times, "test_any_valid_result_comes_back_equal"),
    (writes_before_the_log, "test_a_failed_replacement_leaves_what_was_stored"),
    (goes_on_when_closed, "test_a_closed_store_says_so"),
]


@pytest.mark.parametrize(("breaks", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_store_fails(dict_store: Any, breaks: Callable[[Any], Any], name: str) -> None:
    """The test of the promise that a store breaks fails on it."""
    broken = breaks(dict_store)
    with pytest.raises((AssertionError, backuplog.BackuplogError, pytest.fail.Exception)):
        getattr(contract_of(broken), name)()


def test_a_third_partys_backend_is_found(dict_store: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that registers the scheme, as the example's pyproject does, serves its URLs."""
    metadata = tmp_path / "backuplog_dict-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: backuplog-dict\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[backuplog.backends]\ndict = backuplog_dict:open_store\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with backuplog.open_store("dict://", tenant_id=uuid4()) as store:
        assert repr(store).startswith(dict_store.__name__)


def test_the_kit_says_what_it_needs() -> None:
    """Where Hypothesis is not installed, importing the kit says what to install."""
    program = "import sys; sys.modules['hypothesis'] = None; import backuplog.testing"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "backuplog.testing needs hypothesis: pip install pytest hypothesis" in done.stderr
