"""Registering and finding agents."""

from datetime import UTC, datetime
from uuid import UUID

from .errors import AgentNotFound, BackuplogError, InvalidAgent, StoreError
from .model import Agent
from .normalise import argument, as_uuid
from .store import Store, require_store


def register_agent(store: Store, agent_id: UUID | str, *, hostname: str | None = None) -> Agent:
    """Register an agent, so that its results are accepted. Registering it again changes only its hostname.

    Args:
        store: The store to use.
        agent_id: The agent's id.
        hostname: The agent's hostname, at most 253 characters. None keeps the hostname that is stored.

    Returns:
        The agent as it is stored.

    Raises:
        InvalidAgent: The id or the hostname is malformed.
        StoreError: The store failed.
    """
    require_store(store)
    agent = Agent(id=agent_id, tenant_id=store.tenant_id, hostname=hostname, registered_at=datetime.now(UTC))
    return store.call(store.backend.put_agent, agent)


def get_agent(store: Store, agent_id: UUID | str) -> Agent:
    """Get a registered agent.

    Args:
        store: The store to use.
        agent_id: The agent's id.

    Returns:
        The agent.

    Raises:
        InvalidAgent: The id is not a UUID.
        AgentNotFound: This tenant has no such agent.
        StoreError: The store failed.
    """
    require_store(store)
    found = store.call(store.backend.list_agents, [argument("id", as_uuid, agent_id, InvalidAgent)])
    if not found:
        raise AgentNotFound
    return found[0]


def list_agents(store: Store) -> list[Agent]:
    """List the registered agents.

    Args:
        store: The store to use.

    Returns:
        The tenant's agents, sorted by hostname, then by id. Agents without a hostname come last.

    Raises:
        StoreError: The store failed.
    """
    require_store(store)
    agents = store.call(store.backend.list_agents)
    return sorted(agents, key=lambda agent: (agent.hostname is None, agent.hostname or "", agent.id))


def require_agent(store: Store, agent_id: UUID) -> None:
    """Make sure that an agent exists, by the integrator's own answer where there is one.

    Raises:
        AgentNotFound: It does not.
    """
    is_known = ask_integrator(store, agent_id)
    if is_known is None:
        is_known = bool(store.call(store.backend.list_agents, [agent_id]))
    if not is_known:
        raise AgentNotFound


def ask_integrator(store: Store, agent_id: UUID) -> bool | None:
    """Ask the integrator's own function whether an agent exists.

    Returns:
        Its answer; None where there is no such function, and the store's own agents count.

    Raises:
        StoreError: It failed; its error is the cause.
    """
    if store.agent_exists is None:
        return None
    try:
        return store.agent_exists(agent_id)
    except BackuplogError:
        raise
    except Exception as error:
        raise StoreError(f"agent_exists failed ({type(error).__name__}): see the cause of this error") from error
