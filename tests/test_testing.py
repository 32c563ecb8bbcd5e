"""The kit finds what is broken: each of these stores breaks one promise, and the test of that promise fails."""

import importlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog.parsers import find_tools
from backuplog.testing import StoreContract

EXAMPLE = Path(__file__).parent.parent / "examples" / "third_party_backend"


@pytest.fixture
def dict_backend(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the class of the example's backend."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.delitem(sys.modules, "backuplog_dict", raising=False)
    return importlib.import_module("backuplog_dict").DictBackend


def contract_of(backend: Callable[..., Any]) -> StoreContract:
    """Join a backend to the contract."""

    class Joined(StoreContract):
        @contextmanager
        def fresh_store(self) -> Any:
            with backuplog.Store(backend(tenant_id=backuplog.DEFAULT_TENANT), parsers=find_tools()) as store:
                yield store

    return Joined()


def kept_promises() -> Iterator[Any]:
    """Give the name of each test of the kit with each of its parameters, but for logs of every size."""
    for name in dir(StoreContract):
        if name.startswith("test_") and "around" not in name:
            marks = getattr(getattr(StoreContract, name), "pytestmark", [])
            [(argument, values)] = [mark.args for mark in marks] or [("", [None])]
            for value in values:
                given = {argument: value} if argument else {}
                yield pytest.param(name, given, id="-".join([name, *(f"{value}" for value in given.values())]))


@pytest.mark.parametrize(("name", "given"), [*kept_promises()])
def test_the_example_backend_keeps_the_contract(dict_backend: Any, name: str, given: dict[str, Any]) -> None:
    """The backend of the example passes every test of the kit."""
    getattr(contract_of(dict_backend), name)(**given)


class Altered:
    """A change that goes another way than it should."""

    def __init__(self, change: Any, **altered: Any) -> None:
        """Take the change, and what is otherwise about it."""
        self.change, self.altered = change, altered

    def __getattr__(self, name: str) -> Any:
        """Be the change in all else."""
        return self.altered[name] if name in self.altered else getattr(self.change, name)


def overwrites(base: Any) -> Any:
    """Make every change as if nothing were stored."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            return super().submit(
                [Altered(change, decide=lambda _, change=change: change.decide(None)) for change in changes]
            )

    return Broken


def shows_other_tenants(base: Any) -> Any:
    """Find a run under any tenant."""

    class Broken(base):  # type: ignore[misc]
        def find_run(self, run_id: UUID) -> Any:
            return next((row[0] for (_, key), row in self._open().runs.items() if key == run_id), None)

    return Broken


def counts_other_tenants(base: Any) -> Any:
    """Count the runs of all tenants."""

    class Broken(base):  # type: ignore[misc]
        def count_runs(self, query: backuplog.RunQuery) -> int:  # noqa: ARG002
            return len(self._open().runs)

    return Broken


def redecides(base: Any, **altered: Any) -> Any:
    """Do otherwise than a decision says."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            def decide(change: Any, stored: Any) -> Any:
                return attrs.evolve(change.decide(stored), **altered)

            return super().submit([Altered(change, decide=partial(decide, change)) for change in changes])

    return Broken


def keeps_the_old_log(base: Any) -> Any:
    """Drop nothing."""
    return redecides(base, drop=None)


def drops_everything(base: Any) -> Any:
    """Drop the whole log at each change."""
    return redecides(base, drop=0)


def drops_the_end(base: Any) -> Any:
    """Drop all that is behind an offset, where something behind that is to be kept."""
    return redecides(base, drop_until=None)


def stores_no_chunk(base: Any) -> Any:
    """Forget the log."""
    return redecides(base, chunks=())


def ignores_the_version(base: Any) -> Any:
    """Find the chunks of whichever log stands now."""

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


def forgets(base: Any, **forgotten: Any) -> Any:
    """Forget a part of what was written."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            answers = super().submit(changes)
            runs = self._open().runs
            for key, (stored, chunks) in runs.items():
                runs[key] = attrs.evolve(stored, **forgotten), chunks
            return answers

    return Broken


def forgets_superseded(base: Any) -> Any:
    """Forget which results were superseded."""
    return forgets(base, superseded=())


def stores_halves(base: Any) -> Any:
    """Store each change before the next one's log is read."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Sequence[Any]) -> Any:
            return [answer for change in changes for answer in base.submit(self, [change])]

    return Broken


def takes_any_agent(base: Any) -> Any:
    """Never look for the agent."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            return super().submit([Altered(change, requires_agent=None) for change in changes])

    return Broken


def resets_agents(base: Any) -> Any:
    """Register an agent anew each time."""

    class Broken(base):  # type: ignore[misc]
        def put_agent(self, agent: Any) -> Any:
            self._open().agents[self.tenant_id, agent.id] = agent
            return agent

    return Broken


def decides_outside_the_lock(base: Any) -> Any:
    """Look at what is stored, and write only when others may have written too."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Sequence[Any]) -> Any:
            stored = self.find_run(changes[0].run_id)
            time.sleep(0.01)
            return super().submit([Altered(changes[0], decide=lambda _: changes[0].decide(stored))])

    return Broken


def fails_readers_while_it_replaces(base: Any) -> Any:
    """Take the old log away before the run says that there is a new one."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            key = self.tenant_id, changes[0].run_id
            kept = self._open().runs.get(key)
            if kept:
                self._open().runs[key] = kept[0], []
                time.sleep(0.001)
                self._open().runs[key] = kept
            return super().submit(changes)

    return Broken


def gives_the_next_chunk(base: Any) -> Any:
    """Find the first chunk that begins at an offset or after it."""

    class Broken(base):  # type: ignore[misc]
        def find_chunk(self, run_id: UUID, log_version: int, offset: int) -> Any:  # noqa: ARG002
            _, chunks = self._open().runs.get((self.tenant_id, run_id), (None, []))
            return next((chunk for _, chunk in chunks if chunk.offset >= offset), None)

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
        def submit(self, changes: Sequence[Any]) -> Any:
            base.submit(self, [attrs.evolve(change, log=None) for change in changes])
            return base.submit(self, changes)

    return Broken


def relabels_chunks(base: Any) -> Any:
    """Keep all chunks under the version that the run has now."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            answers = super().submit(changes)
            runs = self._open().runs
            for key, (stored, chunks) in runs.items():
                runs[key] = stored, [(stored.log_version, chunk) for _, chunk in chunks]
            return answers

    return Broken


def drops_without_writing(base: Any) -> Any:
    """Take chunks away though nothing is written."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            runs = self._open().runs
            for change in changes:
                stored, _ = runs.get((self.tenant_id, change.run_id), (None, []))
                if stored and change.decide(stored).drop == 0:
                    runs[self.tenant_id, change.run_id] = stored, []
            return super().submit(changes)

    return Broken


def forgets_figures(base: Any) -> Any:
    """Keep a run without its figures."""

    class Broken(base):  # type: ignore[misc]
        def find_run(self, run_id: UUID) -> Any:
            stored = super().find_run(run_id)
            return stored and attrs.evolve(stored, run=attrs.evolve(stored.run, stats=None))

    return Broken


def answers_out_of_order(base: Any) -> Any:
    """Make the changes of one call from the last to the first."""

    class Broken(base):  # type: ignore[misc]
        def submit(self, changes: Any) -> Any:
            return super().submit(changes[::-1])[::-1]

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
    (drops_the_end, "test_the_end_of_a_log_outlives_its_middle"),
    (keeps_the_old_log, "test_a_replaced_log_takes_no_room"),
    (ignores_the_version, "test_a_reader_never_sees_a_mix"),
    (forgets_ties, "test_pages_skip_and_repeat_nothing_while_runs_arrive"),
    (includes_the_end, "test_since_is_inclusive_and_until_exclusive"),
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
    (keeps_the_old_log, "test_a_log_grows_is_merged_and_closed"),
    (drops_the_end, "test_a_log_that_is_much_too_long_keeps_its_ends"),
    (decides_outside_the_lock, "test_two_senders_leave_each_byte_once"),
    (keeps_the_old_log, "test_an_expired_log_is_gone_and_its_run_stays"),
    (drops_everything, "test_a_log_grows_is_merged_and_closed"),
    (drops_without_writing, "test_a_decision_that_writes_nothing_touches_no_chunk"),
    (relabels_chunks, "test_chunks_stay_under_the_version_they_were_stored_with"),
    (stores_no_chunk, "test_the_first_result_is_created"),
    (forgets_figures, "test_figures_are_recorded_later"),
    (answers_out_of_order, "test_changes_of_one_call_see_each_other"),
    (takes_any_agent, "test_changes_of_one_call_see_each_other"),
    (decides_outside_the_lock, "test_appends_at_once_leave_each_byte_once"),
]


@pytest.mark.parametrize(("breaks", "name"), BROKEN, ids=lambda value: getattr(value, "__name__", value))
def test_a_broken_store_fails(dict_backend: Any, breaks: Callable[[Any], Any], name: str) -> None:
    """The test of the promise that a store breaks fails on it."""
    broken = breaks(dict_backend)
    with pytest.raises((AssertionError, backuplog.BackuplogError, pytest.fail.Exception)):
        getattr(contract_of(broken), name)()


def test_a_third_partys_backend_is_found(dict_backend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution that registers the scheme, as the example's pyproject does, serves its URLs."""
    metadata = tmp_path / "backuplog_dict-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: backuplog-dict\nVersion: 0.1.0\n")
    (metadata / "entry_points.txt").write_text("[backuplog.backends]\ndict = backuplog_dict:open_backend\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with backuplog.open_store("dict://", tenant_id=uuid4()) as store:
        assert isinstance(store.backend, dict_backend)


def test_the_kit_says_what_it_needs() -> None:
    """Where Hypothesis is not installed, importing the kit says what to install."""
    program = "import sys; sys.modules['hypothesis'] = None; import backuplog.testing"
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert "backuplog.testing needs hypothesis: pip install pytest hypothesis" in done.stderr
