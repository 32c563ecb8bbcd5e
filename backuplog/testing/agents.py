"""Agents, their tokens, and tenants, which are apart."""

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID, uuid4

import attrs
import pytest

import backuplog
from backuplog import (
    AgentNotFound,
    Outcome,
    Receipt,
    RunNotFound,
    RunQuery,
    StoreError,
)

from .common import NOON, payload, submission_of
from .contract import Contract


class AgentContract(Contract):
    """Agents, their tokens, and tenants, which are apart."""

    def test_a_token_comes_back_equal_in_its_tenant_only(self) -> None:
        """What is stored of a token is found by its prefix and listed by its agent, and not by another tenant."""
        with self._known() as (store, agent_id):
            times = (NOON, NOON - timedelta(microseconds=1))
            tokens = [
                backuplog.AgentToken(
                    prefix=f"{number:016x}",
                    tenant_id=store.tenant_id,
                    agent_id=agent_id,
                    digest=bytes([number]) * 32,
                    created_at=created_at,
                    expires_at=NOON if number else None,
                )
                for number, created_at in enumerate(times)
            ]
            for token in tokens:
                store.backend.add_token(token)
            listed = [list(store.backend.list_tokens(prefix=token.prefix)) for token in tokens]
            assert listed == [[token] for token in tokens]
            assert list(store.backend.list_tokens(agent_id=agent_id)) == tokens[::-1]
            assert list(store.backend.list_tokens()) == tokens[::-1]
            assert list(store.backend.list_tokens(agent_id=uuid4())) == []
            assert list(store.backend.list_tokens(prefix=tokens[0].prefix, agent_id=uuid4())) == []
            other = store.for_tenant(uuid4()).backend
            assert [*other.list_tokens(prefix=tokens[0].prefix), *other.list_tokens(agent_id=agent_id)] == []
            other.touch_token(tokens[0].prefix, NOON)
            assert not other.remove_token(tokens[0].prefix)
            assert list(store.backend.list_tokens(prefix=tokens[0].prefix)) == [tokens[0]]
            store.backend.touch_token(tokens[0].prefix, NOON)
            touched = attrs.evolve(tokens[0], last_used_at=NOON)
            assert list(store.backend.list_tokens(agent_id=agent_id)) == [tokens[1], touched]

    def test_a_token_that_is_stored_again_is_the_same(self) -> None:
        """A retry of storing a token, whose answer was lost, changes nothing and is no error."""
        with self._known() as (store, agent_id):
            token = backuplog.issue_agent_token(store, agent_id)
            stored = backuplog.verify_agent_token(store, token)
            store.backend.add_token(stored)
            assert backuplog.list_agent_tokens(store, agent_id) == [stored]
            assert backuplog.verify_agent_token(store, token) == stored

    def test_a_removed_token_stays_away(self) -> None:
        """A token is removed once, and noting its use does not bring it back."""
        with self._known() as (store, agent_id):
            token = backuplog.issue_agent_token(store, agent_id)
            prefix = backuplog.verify_agent_token(store, token).prefix
            assert (store.backend.remove_token(prefix), store.backend.remove_token(prefix)) == (True, False)
            store.backend.touch_token(prefix, NOON)
            assert list(store.backend.list_tokens(prefix=prefix)) == []
            with pytest.raises(backuplog.Unauthenticated):
                backuplog.verify_agent_token(store, token)

    def test_registering_again_keeps_what_is_known(self) -> None:
        """A second registration keeps the time, takes a new hostname, and never forgets one."""
        with self._known() as (store, agent_id):
            first = backuplog.get_agent(store, agent_id)
            assert backuplog.register_agent(store, agent_id) == first
            renamed = backuplog.register_agent(store, agent_id, hostname="db-02")
            assert renamed == attrs.evolve(first, hostname="db-02") == backuplog.get_agent(store, agent_id)

    def test_a_removed_agent_is_unknown(self) -> None:
        """An agent is removed once, of one tenant; its runs stay, and its results are refused."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            run_id = backuplog.ingest_task_result(store, agent_id, payload()).run_id
            assert (store.backend.remove_agent(agent_id), store.backend.remove_agent(agent_id)) == (True, False)
            assert backuplog.get_run(store, run_id).agent_id == agent_id
            with pytest.raises(backuplog.AgentNotFound):
                backuplog.ingest_task_result(store, agent_id, payload())
            assert backuplog.get_agent(other, agent_id).id == agent_id

    def test_agents_are_listed_all_or_some(self) -> None:
        """All agents of a tenant are listed, or those of some ids that there are, and none of another tenant's."""
        with self._known() as (store, agent_id):
            other = backuplog.register_agent(store, uuid4())
            backuplog.register_agent(store.for_tenant(uuid4()), uuid4())
            known = [backuplog.get_agent(store, agent_id), other]
            assert backuplog.list_agents(store) == known
            backend = store.backend
            assert sorted(agent.id for agent in backend.list_agents()) == sorted([agent_id, other.id])
            assert list(backend.list_agents([other.id, uuid4()])) == [other]
            assert list(backend.list_agents([])) == []

    def test_a_change_that_requires_no_agent_is_made_without_one(self) -> None:
        """A change whose agent the integrator knows is made without looking into the agents."""
        with self.fresh_store() as store:
            arriving = submission_of(store, uuid4(), backuplog.parse_task_result(payload()), NOON)
            assert isinstance(store.backend.submit([arriving])[0], AgentNotFound)
            answer = store.backend.submit([attrs.evolve(arriving, requires_agent=None)])[0]
            assert isinstance(answer, Receipt)
            assert answer.outcome is Outcome.CREATED

    def test_an_unknown_agent_is_refused(self) -> None:
        """An unknown agent can send, list and be found nothing."""
        with self.fresh_store() as store:
            sent = payload()
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(store, uuid4(), sent)
            with pytest.raises(AgentNotFound):
                backuplog.query_runs(store, RunQuery(agent_id=uuid4()))
            with pytest.raises(AgentNotFound):
                backuplog.get_agent(store, uuid4())
            with pytest.raises(RunNotFound):
                backuplog.get_run(store, sent["taskId"])

    def test_tenants_are_apart(self) -> None:
        """The same ids in two tenants are two agents, two runs and two logs."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            sent = payload(log="mine")
            backuplog.ingest_task_result(store, agent_id, sent)
            with pytest.raises(AgentNotFound):
                backuplog.ingest_task_result(other, agent_id, sent)
            backuplog.register_agent(other, agent_id)
            with pytest.raises(RunNotFound):
                backuplog.read_log(other, sent["taskId"])
            assert backuplog.query_runs(other).total == 0
            assert other.backend.find_chunk(UUID(sent["taskId"]), 1, 0) is None
            assert backuplog.ingest_task_result(other, agent_id, {**sent, "log": "yours"}).outcome is Outcome.CREATED
            assert backuplog.read_log(store, sent["taskId"]) == b"mine"
            assert backuplog.read_log(other, sent["taskId"]) == b"yours"
            assert [backuplog.query_runs(view).total for view in (store, other)] == [1, 1]
            assert backuplog.get_run(other, sent["taskId"]).tenant_id == other.tenant_id

    def test_a_replaced_log_is_replaced_in_its_tenant_only(self) -> None:
        """Replacing a run's log leaves the log of another tenant's run with the same id."""
        with self._known() as (store, agent_id):
            other = store.for_tenant(uuid4())
            backuplog.register_agent(other, agent_id)
            sent = payload()
            for view in (store, other):
                backuplog.ingest_task_result(view, agent_id, {**sent, "log": "first"})
            backuplog.ingest_task_result(other, agent_id, {**sent, "log": "second"})
            assert backuplog.read_log(store, sent["taskId"]) == b"first"
            assert backuplog.read_log(other, sent["taskId"]) == b"second"

    def test_closing_a_view_closes_nothing(self) -> None:
        """A tenant's view may be used as a context manager while the store goes on."""
        with self._known() as (store, agent_id):
            with store.for_tenant(uuid4()) as view:
                assert backuplog.query_runs(view).total == 0
            assert backuplog.get_agent(store, agent_id).id == agent_id

    def test_a_closed_store_says_so(self) -> None:
        """Every use of a store after it was closed is a StoreError, and closing it twice is none."""
        with self._known() as (store, agent_id):
            arriving = submission_of(store, agent_id, backuplog.parse_task_result(payload()), NOON)
            store.close()
            store.close()
            uses: list[Callable[[], object]] = [
                lambda: backuplog.register_agent(store, agent_id),
                lambda: store.backend.list_agents([agent_id]),
                lambda: store.backend.submit([arriving]),
                lambda: store.backend.find_run(arriving.run.id),
                lambda: store.backend.find_chunk(arriving.run.id, 1, 0),
                lambda: store.backend.list_runs(RunQuery(), after=None, limit=1),
                lambda: store.backend.count_runs(RunQuery()),
            ]
            for use in uses:
                with pytest.raises(StoreError):
                    use()
