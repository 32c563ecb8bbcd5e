"""Registering and finding agents."""

from datetime import UTC, datetime
from uuid import UUID

from .errors import AgentNotFound, FieldError, InvalidAgent
from .model import Agent
from .normalise import as_uuid
from .store import Store


def register_agent(store: Store, agent_id: UUID | str, *, hostname: str | None = None) -> Agent:
    """Make an agent known, so that its results are accepted. Doing it again changes nothing but the hostname.

    Args:
        store: Where.
        agent_id: The agent.
        hostname: What people call it, at most 253 characters. None leaves a hostname that is stored as it is.

    Returns:
        The agent as it is stored.

    Raises:
        InvalidAgent: The id or the hostname is malformed.
        StoreError: The store failed.
    """
    agent = Agent(id=agent_id, tenant_id=store.tenant_id, hostname=hostname, registered_at=datetime.now(UTC))
    return store.add_agent(agent)


def get_agent(store: Store, agent_id: UUID | str) -> Agent:
    """Get an agent.

    Args:
        store: Where.
        agent_id: The agent.

    Raises:
        InvalidAgent: The id is not a UUID.
        AgentNotFound: This tenant has no such agent.
        StoreError: The store failed.
    """
    try:
        key = as_uuid(agent_id)
    except ValueError as error:
        raise InvalidAgent([FieldError("id", str(error))]) from None
    agent = store.find_agent(key)
    if agent is None:
        raise AgentNotFound
    return agent
