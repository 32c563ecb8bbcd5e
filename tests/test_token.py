"""Tokens let in whom they were issued for, for as long as they are valid."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_a_token_lets_its_agent_in(store: backuplog.Store, agent_id: UUID) -> None:
    """A token is verified as its agent's and its tenant's."""
    token = backuplog.issue_agent_token(store, agent_id)
    verified = backuplog.verify_agent_token(store, token, agent_id=agent_id)
    assert (verified.agent_id, verified.tenant_id) == (agent_id, store.tenant_id)


def test_a_token_speaks_for_one_agent_of_one_tenant(store: backuplog.Store, agent_id: UUID) -> None:
    """Another agent is forbidden, another tenant does not know it."""
    token = backuplog.issue_agent_token(store, agent_id)
    other = backuplog.register_agent(store, uuid4()).id
    with pytest.raises(backuplog.Forbidden):
        backuplog.verify_agent_token(store, token, agent_id=other)
    with pytest.raises(backuplog.Unauthenticated):
        backuplog.verify_agent_token(store.for_tenant(uuid4()), token, agent_id=agent_id)


@pytest.mark.parametrize(
    "change",
    [
        lambda token: token[:-1] + ("A" if token[-1] != "A" else "B"),
        lambda token: token.replace("backuplog", "backupl0g"),
        lambda token: token[:20] + ("0" if token[20] != "0" else "1") + token[21:],
        lambda token: token + "=",
        lambda token: token.rpartition("_")[0],
        lambda token: token.rpartition("_")[0] + "_",
        lambda token: token.upper(),
        lambda _: "",
        lambda _: "backuplog__",
        lambda _: "x" * 100_000,
        lambda _: "backuplog_\0_\ud800",
        lambda _: "backuplog_' OR 1=1 --_x",
    ],
)
def test_what_is_not_the_token_is_refused(store: backuplog.Store, agent_id: UUID, change: Callable[[str], str]) -> None:
    """Anything but the whole token is refused, without saying what is wrong with it."""
    token = backuplog.issue_agent_token(store, agent_id)
    with pytest.raises(backuplog.Unauthenticated) as caught:
        backuplog.verify_agent_token(store, change(token))
    assert token not in str(caught.value)


def test_a_token_expires(store: backuplog.Store, agent_id: UUID) -> None:
    """It is valid until just before the moment it expires at."""
    token = backuplog.issue_agent_token(store, agent_id, expires_at=NOON)
    backuplog.verify_agent_token(store, token, now=NOON - timedelta(microseconds=1))
    with pytest.raises(backuplog.Unauthenticated):
        backuplog.verify_agent_token(store, token, now=NOON)


def test_a_token_is_revoked_by_itself_or_by_its_prefix(store: backuplog.Store, agent_id: UUID) -> None:
    """Rotation: a second token is valid beside the first, and revoking one leaves the other."""
    tokens = [backuplog.issue_agent_token(store, agent_id) for _ in range(3)]
    listed = backuplog.list_agent_tokens(store, agent_id)
    assert len({token.prefix for token in listed}) == 3
    assert backuplog.revoke_agent_token(store, tokens[0])
    assert backuplog.revoke_agent_token(store, backuplog.verify_agent_token(store, tokens[1]).prefix)
    assert not backuplog.revoke_agent_token(store, tokens[0])
    assert not backuplog.revoke_agent_token(store, "'; --")
    for token in tokens[:2]:
        with pytest.raises(backuplog.Unauthenticated):
            backuplog.verify_agent_token(store, token)
    assert backuplog.verify_agent_token(store, tokens[2])
    assert len(backuplog.list_agent_tokens(store, agent_id)) == 1


def test_its_use_is_noted_once_a_minute(store: backuplog.Store, agent_id: UUID) -> None:
    """A request a second does not write a row a second."""
    token = backuplog.issue_agent_token(store, agent_id)
    for seconds, noted in ((0, 0), (59, 0), (60, 60), (61, 60)):
        backuplog.verify_agent_token(store, token, now=NOON + timedelta(seconds=seconds))
        assert backuplog.list_agent_tokens(store, agent_id)[0].last_used_at == NOON + timedelta(seconds=noted)


def test_nothing_stored_or_shown_lets_anybody_in(store: backuplog.Store, agent_id: UUID) -> None:
    """The secret part is neither in what is stored nor in what is printed."""
    secret = backuplog.issue_agent_token(store, agent_id).split("_", 2)[2]
    stored = backuplog.list_agent_tokens(store, agent_id)[0]
    assert secret not in str(vars(stored) if hasattr(stored, "__dict__") else [stored.digest, stored.prefix])
    assert stored.digest.hex() not in repr(stored)
    assert len(secret) == 43


def test_only_agents_that_are_known_get_one(store: backuplog.Store) -> None:
    """An unknown agent, a malformed id and a time without a zone are refused."""
    with pytest.raises(backuplog.AgentNotFound):
        backuplog.issue_agent_token(store, uuid4())
    with pytest.raises(backuplog.InvalidAgent, match="agent_id: must be a UUID"):
        backuplog.issue_agent_token(store, "x")
    with pytest.raises(backuplog.InvalidAgent, match="expires_at: must be an RFC 3339 time"):
        backuplog.issue_agent_token(store, uuid4(), expires_at="tomorrow")
    with backuplog.open_store("sqlite://", agent_exists=lambda _: True) as own:
        assert backuplog.verify_agent_token(own, backuplog.issue_agent_token(own, UUID(int=1)))


def test_a_right_prefix_takes_as_long_as_a_wrong_one(store: Any, agent_id: UUID) -> None:
    """The medians of 2,000 refusals each, in turns, differ by less than a quarter."""
    token = backuplog.issue_agent_token(store, agent_id)
    wrong_secret = token[:-4] + "AAAA"
    wrong_prefix = token[:12] + ("0000" if token[12:16] != "0000" else "1111") + token[16:]
    seconds: dict[str, list[float]] = {wrong_secret: [], wrong_prefix: []}
    for _ in range(2_000):
        for shown, taken in seconds.items():
            begun = time.perf_counter()
            with pytest.raises(backuplog.Unauthenticated):
                backuplog.verify_agent_token(store, shown)
            taken.append(time.perf_counter() - begun)
    one, other = (statistics.median(taken) for taken in seconds.values())
    assert 0.75 < one / other < 1.33


def test_a_time_without_a_zone_is_refused(store: backuplog.Store, agent_id: UUID) -> None:
    """A moment to judge by must have a zone."""
    token = backuplog.issue_agent_token(store, agent_id)
    with pytest.raises(backuplog.InvalidAgent, match="now: must be an RFC 3339 time with a zone"):
        backuplog.verify_agent_token(store, token, now=datetime(2026, 1, 1))  # noqa: DTZ001
