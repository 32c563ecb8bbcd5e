"""Tokens: what an agent shows to be let in. They are issued once, stored as a hash, and end when they are revoked."""

import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import attrs

from .agent import require_agent
from .errors import Forbidden, InvalidAgent, StoreError, Unauthenticated
from .model import AgentToken
from .normalise import argument, as_optional_time, as_time, as_uuid
from .store import Store, require_store

_logger: Final = logging.getLogger("backuplog")

_MARK: Final = "backuplog"
_PREFIX_BYTES: Final = 8
_SECRET_BYTES: Final = 32
_LONGEST: Final = 128
# A write for each request would cost as much as the result that it brings.
_USE_RESOLUTION: Final = timedelta(minutes=1)
# Compared with where no token is found, so that finding none takes as long as finding one.
_NOBODY: Final = AgentToken(
    prefix="",
    tenant_id=UUID(int=0),
    agent_id=UUID(int=0),
    digest=bytes(32),
    created_at=datetime(1970, 1, 1, tzinfo=UTC),
)


def issue_agent_token(store: Store, agent_id: UUID | str, *, expires_at: datetime | str | None = None) -> str:
    """Issue a token for an agent. An agent may have several tokens, so that you can replace one while it is in use.

    Args:
        store: The store to use.
        agent_id: The agent that the token speaks for.
        expires_at: When the token expires, with a time zone; None for never.

    Returns:
        The token, ``backuplog_<prefix>_<secret>``, with a secret of 256 random bits. It cannot be shown again, because
        only its hash is stored.

    Raises:
        InvalidAgent: The id is not a UUID, or the time has no time zone.
        AgentNotFound: This tenant has no such agent.
        StoreError: The store failed.
    """
    require_store(store)
    agent = argument("agent_id", as_uuid, agent_id, InvalidAgent)
    expires = argument("expires_at", as_optional_time, expires_at, InvalidAgent)
    require_agent(store, agent)
    prefix, secret = secrets.token_hex(_PREFIX_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    token = AgentToken(
        prefix=prefix,
        tenant_id=store.tenant_id,
        agent_id=agent,
        digest=_digest(secret),
        created_at=datetime.now(UTC),
        expires_at=expires,
    )
    store.call(store.backend.add_token, token)
    return f"{_MARK}_{prefix}_{secret}"


def verify_agent_token(
    store: Store, token: str, *, agent_id: UUID | str | None = None, now: datetime | None = None
) -> AgentToken:
    """Check a token that an agent presents, and return what is stored of it.

    This takes the same time whether the token is unknown, wrong or expired. It records the time of use, at most once a
    minute, unless the store cannot be written just then.

    Args:
        store: The store to use.
        token: The token to check.
        agent_id: The agent that the token must speak for; None for any.
        now: The time to check against; by default the current time.

    Returns:
        What is stored of the token.

    Raises:
        Unauthenticated: The token is unknown, wrong, expired or revoked; the error does not say which.
        Forbidden: The token is valid, but speaks for another agent.
        InvalidAgent: ``agent_id`` is not a UUID, or ``now`` has no time zone.
        StoreError: The store failed.
    """
    require_store(store)
    moment = datetime.now(UTC) if now is None else argument("now", as_time, now, InvalidAgent)
    mark, prefix, secret = ([*token[:_LONGEST].split("_", 2), "", ""])[:3]
    is_printable = prefix.isascii() and prefix.isalnum()  # the store is asked for nothing else
    found: Sequence[AgentToken] = store.call(store.backend.list_tokens, prefix=prefix) if is_printable else ()
    stored = found[0] if found else _NOBODY
    is_right = hmac.compare_digest(_digest(secret), stored.digest)
    is_current = stored.expires_at is None or moment < stored.expires_at
    if not (is_right and is_current and mark == _MARK and found):
        raise Unauthenticated
    if agent_id is not None and stored.agent_id != argument("agent_id", as_uuid, agent_id, InvalidAgent):
        raise Forbidden
    if stored.last_used_at is None or moment - stored.last_used_at >= _USE_RESOLUTION:
        return _note_use(store, stored, moment)
    return stored


def _note_use(store: Store, stored: AgentToken, moment: datetime) -> AgentToken:
    """Note the use of a token if that can be done at once: who may read need not wait until somebody can write."""
    try:
        store.backend.touch_token(stored.prefix, moment)
    except StoreError as error:
        _logger.debug("The use of a token was not noted: %s", error)
        return stored
    return attrs.evolve(stored, last_used_at=moment)


def revoke_agent_token(store: Store, token: str) -> bool:
    """Revoke a token, which is refused from then on.

    Args:
        store: The store to use.
        token: The token, or its prefix as ``list_agent_tokens`` shows it.

    Returns:
        Whether there was such a token.

    Raises:
        StoreError: The store failed.
    """
    require_store(store)
    prefix = ([*token.split("_", 2), ""])[1] or token
    if not (prefix.isascii() and prefix.isalnum()):
        return False
    # Looked up first: a removal whose answer was lost finds nothing when it is tried again.
    was_there = bool(store.call(store.backend.list_tokens, prefix=prefix))
    return store.call(store.backend.remove_token, prefix) or was_there


def list_agent_tokens(store: Store, agent_id: UUID | str) -> list[AgentToken]:
    """List an agent's tokens, with the times they were issued, expire and were last used.

    The tokens themselves cannot be listed, because only their hashes are stored.

    Args:
        store: The store to use.
        agent_id: The agent's id.

    Returns:
        The agent's tokens, oldest first; none for an unknown agent.

    Raises:
        InvalidAgent: The id is not a UUID.
        StoreError: The store failed.
    """
    require_store(store)
    agent = argument("agent_id", as_uuid, agent_id, InvalidAgent)
    return list(store.call(store.backend.list_tokens, agent_id=agent))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
