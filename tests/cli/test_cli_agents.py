"""Agents and their tokens."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

Call = Callable[..., Any]


def test_agents_are_registered_and_listed(url: str, call: Call, ask: Call) -> None:
    """A new agent gets an id, which is all that is printed; saying it again changes the hostname only."""
    agent_id = call("agents", "register", "--hostname", "web-01").stdout.strip()
    assert str(UUID(agent_id)) == agent_id
    given = uuid4()
    assert call("agents", "register", given).stdout == f"{given}\n"
    assert ask("agents", "register", agent_id, "--hostname", "web-02")["hostname"] == "web-02"
    rows = [line.split() for line in call("agents").stdout.splitlines()]
    assert rows[0] == ["hostname", "id", "registered"]
    assert [row[:2] for row in rows[1:3]] == [["—", str(given)], ["web-02", agent_id]]
    assert rows[3] == ["2", "agents"]
    with backuplog.open_store(url) as store:
        known = {str(agent.id): agent for agent in backuplog.list_agents(store)}
    for document in ask("agents")["agents"]:
        agent = known.pop(document["id"])
        assert document["hostname"] == agent.hostname
        assert datetime.fromisoformat(document["registered_at"]) == agent.registered_at
    assert known == {}


def test_a_token_is_issued_listed_and_revoked(url: str, call: Call, ask: Call) -> None:
    """A token lets its agent in until it is revoked, by itself or by its prefix; no list shows its secret."""
    agent_id = call("agents", "register").stdout.strip()
    tokens = [call("token", "issue", agent_id).stdout.strip() for _ in range(2)]
    with backuplog.open_store(url) as store:
        assert str(backuplog.verify_agent_token(store, tokens[0]).agent_id) == agent_id
        shown = call("token", "list", agent_id).stdout
        listed = ask("token", "list", agent_id)
        assert shown.splitlines()[-1] == "2 tokens"
        for token in tokens:
            _, prefix, secret = token.split("_", 2)
            assert prefix in shown
            assert secret not in f"{shown}{listed}"
        assert {each["prefix"] for each in listed["tokens"]} == {token.split("_")[1] for token in tokens}
        assert all("digest" not in each for each in listed["tokens"])
        assert call("token", "revoke", tokens[0]).stdout == "revoked\n"
        assert call("token", "revoke", tokens[1].split("_")[1]).stdout == "revoked\n"
        with pytest.raises(backuplog.Unauthenticated):
            backuplog.verify_agent_token(store, tokens[0])
    assert call("token", "list", agent_id).stdout == "0 tokens\n"
    call("token", "revoke", tokens[0], code=3)


def test_a_token_may_expire(url: str, call: Call) -> None:
    """``--expires-in 90d`` is valid for 90 days from now."""
    agent_id = call("agents", "register").stdout.strip()
    token = call("token", "issue", agent_id, "--expires-in", "90d").stdout.strip()
    with backuplog.open_store(url) as store:
        stored = backuplog.verify_agent_token(store, token)
        assert stored.expires_at
        left = stored.expires_at - datetime.now(UTC)
        assert timedelta(days=89, hours=23) < left <= timedelta(days=90)
    assert stored.expires_at.strftime("%Y-%m-%d") in call("token", "list", agent_id).stdout
