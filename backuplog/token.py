"""Tokens: what an agent shows to be let in. They are issued once, stored as a hash, and end when they are revoked."""

import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import attrs

from .errors import AgentNotFound, FieldError, Forbidden, InvalidAgent, Unauthenticated
from .model import AgentToken
from .normalise import as_optional_time, as_uuid
from .store import Store

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
    """Issue a token for an agent. An agent may have several, so that one can take the place of another.

    Args:
        store: Where.
        agent_id: The agent that the token speaks for.
        expires_at: From when on it is refused, with a zone; None: never.

    Returns:
        The token, ``backuplog_<prefix>_<secret>``: 256 random bits. It is shown this once; only its hash is stored.

    Raises:
        InvalidAgent: The id is not a UUID, or the time has no zone.
        AgentNotFound: This tenant has no such agent.
        StoreError: The store failed.
    """
    agent = _agent(agent_id)
    try:
        expires = as_optional_time(expires_at)
    except ValueError as error:
        raise InvalidAgent([FieldError("expires_at", str(error))]) from None
    known = store.find_agent(agent) is not None if store.agent_exists is None else store.agent_exists(agent)
    if not known:
        raise AgentNotFound
    prefix, secret = secrets.token_hex(_PREFIX_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    store.add_token(
        AgentToken(
            prefix=prefix,
            tenant_id=store.tenant_id,
            agent_id=agent,
            digest=_digest(secret),
            created_at=datetime.now(UTC),
            expires_at=expires,
        )
    )
    return f"{_MARK}_{prefix}_{secret}"


def verify_agent_token(
    store: Store, token: str, *, agent_id: UUID | str | None = None, now: datetime | None = None
) -> AgentToken:
    """Let an agent in that shows a valid token of this tenant.

    It takes the same time whether the token is unknown, wrong or expired. When it was last used is noted once a minute.

    Args:
        store: Where.
        token: What was shown.
        agent_id: The agent that it must speak for; None for any.
        now: The time to judge by; the current one by default.

    Returns:
        What is stored of the token.

    Raises:
        Unauthenticated: It is unknown, wrong, expired or revoked; which of them is not told.
        Forbidden: It is valid, and speaks for another agent.
        StoreError: The store failed.
    """
    moment = datetime.now(UTC) if now is None else now
    mark, prefix, secret = ([*token[:_LONGEST].split("_", 2), "", ""])[:3]
    is_printable = prefix.isascii() and prefix.isalnum()  # the store is asked for nothing else
    found = store.find_token(prefix) if is_printable else None
    stored = _NOBODY if found is None else found
    is_right = hmac.compare_digest(_digest(secret), stored.digest)
    is_current = stored.expires_at is None or moment < stored.expires_at
    if not (is_right and is_current and mark == _MARK and found is not None):
        raise Unauthenticated
    if agent_id is not None and stored.agent_id != _agent(agent_id):
        raise Forbidden
    if stored.last_used_at is None or moment - stored.last_used_at >= _USE_RESOLUTION:
        store.note_token_use(prefix, moment)
        return attrs.evolve(stored, last_used_at=moment)
    return stored


def revoke_agent_token(store: Store, token: str) -> bool:
    """Refuse a token from now on.

    Args:
        store: Where.
        token: The token, or its prefix as ``list_agent_tokens`` shows it.

    Returns:
        Whether there was such a token.

    Raises:
        StoreError: The store failed.
    """
    prefix = ([*token.split("_", 2), ""])[1] or token
    return prefix.isascii() and prefix.isalnum() and store.remove_token(prefix)


def list_agent_tokens(store: Store, agent_id: UUID | str) -> list[AgentToken]:
    """List an agent's tokens: when they were issued, expire and were last used. None can be shown again.

    Args:
        store: Where.
        agent_id: The agent.

    Returns:
        Its tokens, oldest first; none for an agent that is not known.

    Raises:
        InvalidAgent: The id is not a UUID.
        StoreError: The store failed.
    """
    return list(store.list_tokens(_agent(agent_id)))


def _agent(agent_id: UUID | str) -> UUID:
    try:
        return as_uuid(agent_id)
    except ValueError as error:
        raise InvalidAgent([FieldError("agent_id", str(error))]) from None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
