"""What the command does for agents: agents, token."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from click.testing import Result

import backuplog

Call = Callable[..., Result]


def test_an_agent_is_registered_and_gets_a_token(url: str, call: Call, ask: Callable[..., Any]) -> None:
    """From nothing: register, issue, list, revoke; the token lets its agent in until it is revoked."""
    agent_id = call("agents", "register", "--hostname", "db-01").stdout.strip()
    assert call("agents", "register", agent_id).stdout.strip() == agent_id
    assert "db-01" in call("agents").stdout
    [agent] = ask("agents")["agents"]
    assert (agent["id"], agent["hostname"]) == (agent_id, "db-01")
    token = call("token", "issue", agent_id, "--expires-in", "90d").stdout.strip()
    with backuplog.open_store(url) as store:
        assert str(backuplog.verify_agent_token(store, token).agent_id) == agent_id
    [listed] = ask("token", "list", agent_id)["tokens"]
    assert token.startswith(f"backuplog_{listed['prefix']}_")
    assert "digest" not in listed
    assert listed["prefix"] in call("token", "list", agent_id).stdout
    assert call("token", "revoke", listed["prefix"]).stdout == "revoked\n"
    assert "no such token" in call("token", "revoke", token, code=3).stderr
    assert ask("token", "list", agent_id)["total"] == 0


def test_an_agent_that_is_not_there_gets_no_token(call: Call) -> None:
    """Who is not registered is missing."""
    call("migrate")
    assert call("token", "issue", uuid4(), code=3).stderr.startswith("error: ")
