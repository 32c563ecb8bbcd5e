"""The tests of ``DurableStoreContract``, and those for a store that can work inside the caller's transaction."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import (
    AgentNotFound,
    Outcome,
    RunConflict,
    RunNotFound,
    Store,
)

from .common import NOON, broken_log, payload, submission_of, without_room_for_logs
from .durable import DurableStoreContract


class TransactionalStoreContract(DurableStoreContract):
    """The tests of ``DurableStoreContract``, and those for a store that can work inside the caller's transaction."""

    def connect(self, url: str) -> Any:
        """Open a connection as a caller would. Every transactional backend supplies this.

        Args:
            url: The URL of the store.

        Returns:
            A connection with ``commit()``, ``rollback()`` and ``close()``.
        """
        raise NotImplementedError("TransactionalStoreContract needs connect()")

    @contextmanager
    def _bound(self) -> Generator[tuple[Store, Store, Any, UUID]]:
        with self.fresh_url() as url, backuplog.open_store(url) as store:
            agent_id = backuplog.register_agent(store, uuid4()).id
            connection = self.connect(url)
            try:
                yield store, store.bound_to(connection), connection, agent_id
            finally:
                connection.close()

    def test_a_bound_result_commits_with_the_caller(self) -> None:
        """A result is seen inside the transaction at once, and outside when the caller commits."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="x" * 3_000_000)
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.CREATED
            assert backuplog.read_log(bound, sent["taskId"]) == b"x" * 3_000_000
            assert backuplog.query_runs(bound).total == 1
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"])
            connection.commit()
            assert backuplog.read_log(store, sent["taskId"]) == b"x" * 3_000_000

    def test_a_bound_result_rolls_back_with_the_caller(self) -> None:
        """Nothing is left of a transaction that the caller rolled back: no run, no log, no agent."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="log")
            backuplog.ingest_task_result(bound, agent_id, sent)
            new = backuplog.register_agent(bound, uuid4()).id
            connection.rollback()
            assert backuplog.query_runs(store).total == 0
            with pytest.raises(AgentNotFound):
                backuplog.get_agent(store, new)
            assert backuplog.ingest_task_result(store, agent_id, sent).outcome is Outcome.CREATED

    def test_a_refusal_leaves_the_callers_transaction_as_it_was(self) -> None:
        """A conflict, an unknown agent and a lost log undo themselves only; what stood before is committed."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="log")
            backuplog.ingest_task_result(bound, agent_id, sent)
            other = backuplog.register_agent(bound, uuid4()).id
            with pytest.raises(RunConflict):
                backuplog.ingest_task_result(bound, other, sent)
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(bound, uuid4(), payload())
            failing = without_room_for_logs(bound)
            assert backuplog.ingest_task_result(failing, other, payload(log="lost")).log_state == "lost"
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.REPLAYED
            connection.commit()
            assert backuplog.query_runs(store).total == 2

    def test_a_replacement_rolls_back_to_the_whole_of_what_was_there(self) -> None:
        """Replays and replacements in a transaction that is rolled back leave the first result and its log."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="a" * 2_000_000)
            backuplog.ingest_task_result(store, agent_id, sent)
            before = store.backend.find_run(UUID(sent["taskId"]))
            assert backuplog.ingest_task_result(bound, agent_id, sent).outcome is Outcome.REPLAYED
            assert backuplog.ingest_task_result(bound, agent_id, {**sent, "log": "b"}).outcome is Outcome.UPDATED
            assert backuplog.read_log(bound, sent["taskId"]) == b"b"
            connection.rollback()
            assert store.backend.find_run(UUID(sent["taskId"])) == before
            assert backuplog.read_log(store, sent["taskId"]) == b"a" * 2_000_000

    def test_an_error_inside_undoes_its_own_call_only(self) -> None:
        """An error while a log is read leaves the caller's transaction usable, with all that was done before it."""
        with self._bound() as (store, bound, connection, agent_id):
            sent = payload(log="kept")
            backuplog.ingest_task_result(bound, agent_id, sent)
            broken = submission_of(bound, agent_id, backuplog.parse_task_result(payload(log="x" * 200)), NOON)
            with pytest.raises(ZeroDivisionError):
                bound.backend.submit([attrs.evolve(broken, log=broken_log(broken))])
            connection.commit()
            assert [run.id for run in backuplog.query_runs(store).runs] == [UUID(sent["taskId"])]
            assert backuplog.read_log(store, sent["taskId"]) == b"kept"
            assert store.backend.find_chunk(broken.run.id, 1, 0) is None

    def test_closing_a_bound_view_leaves_the_connection_open(self) -> None:
        """A bound view may be used as a context manager; committing is still the caller's."""
        with self._bound() as (store, bound, connection, agent_id):
            with bound:
                backuplog.ingest_task_result(bound, agent_id, payload())
            assert backuplog.query_runs(store).total == 0
            connection.commit()
            assert backuplog.query_runs(store).total == 1

    def test_a_token_is_verified_while_others_write(self) -> None:
        """Whoever may read need not wait for a transaction that holds whatever noting the use of a token needs."""
        with self._bound() as (store, bound, connection, agent_id):
            token = backuplog.issue_agent_token(store, agent_id)
            [stored] = backuplog.list_agent_tokens(store, agent_id)
            backuplog.register_agent(bound, uuid4())
            bound.backend.touch_token(stored.prefix, NOON)
            verified: list[UUID] = []
            verify = threading.Thread(
                target=lambda: verified.append(backuplog.verify_agent_token(store, token).agent_id), daemon=True
            )
            verify.start()
            verify.join(5)
            assert verified == [agent_id]
            connection.rollback()

    def test_a_bound_view_has_tenants_too(self) -> None:
        """Another tenant's view of a bound store is in the same transaction."""
        with self._bound() as (store, bound, connection, agent_id):
            tenant = uuid4()
            backuplog.register_agent(bound.for_tenant(tenant), agent_id)
            backuplog.ingest_task_result(bound.for_tenant(tenant), agent_id, payload())
            assert backuplog.query_runs(store.for_tenant(tenant)).total == 0
            connection.commit()
            assert backuplog.query_runs(store.for_tenant(tenant)).total == 1
            assert backuplog.query_runs(store).total == 0
