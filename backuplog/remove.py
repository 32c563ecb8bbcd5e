"""Removing all that is stored of an agent or a tenant."""

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from itertools import islice
from typing import Final
from uuid import UUID

from .errors import InvalidQuery
from .model import RunQuery
from .normalise import argument, as_uuid
from .query import all_runs
from .store import Store, require_store
from .sweep import Pause, PruneReport, Sweep, removal_of

_ROUND: Final = 1_000
_PASSES: Final = 10


def remove_agent(
    store: Store,
    agent_id: UUID | str,
    *,
    budget: timedelta | None = None,
    pause: Pause = time.sleep,
    on_progress: Callable[[PruneReport], object] | None = None,
) -> PruneReport:
    """Remove an agent with its tokens, its runs and their logs, in small transactions as ``prune`` does.

    The agent goes first: its tokens are refused and its results unknown from then on. If you keep agents in a table of
    your own, make your ``agent_exists`` deny it before. Call it again until ``is_finished``.

    Args:
        store: The store to use.
        agent_id: The agent's id. One that is not known, or no more, may have runs all the same.
        budget: As in ``prune``.
        pause: As in ``prune``.
        on_progress: As in ``prune``.

    Returns:
        What was removed, and whether all is.

    Raises:
        InvalidQuery: The id is not a UUID, or ``budget`` is negative.
        StoreError: The store failed. What was removed before stays removed.
    """
    require_store(store)
    agent = argument("agent_id", as_uuid, agent_id, InvalidQuery)
    sweep = Sweep(store, budget=budget, pause=pause, on_progress=on_progress)
    _remove_senders(store, [agent], agent_id=agent)
    return _remove_runs(store, RunQuery(agent_id=agent), sweep)


def remove_tenant(
    store: Store,
    tenant_id: UUID | str,
    *,
    budget: timedelta | None = None,
    pause: Pause = time.sleep,
    on_progress: Callable[[PruneReport], object] | None = None,
) -> PruneReport:
    """Remove all agents of a tenant with their tokens, their runs and their logs, as ``remove_agent`` does with one.

    Args:
        store: A store of the same database, of whatever tenant.
        tenant_id: The tenant's id.
        budget: As in ``prune``.
        pause: As in ``prune``.
        on_progress: As in ``prune``.

    Returns:
        What was removed, and whether all is.

    Raises:
        InvalidQuery: The id is not a UUID, or ``budget`` is negative.
        StoreError: The store failed. What was removed before stays removed.
    """
    require_store(store)
    view = store.for_tenant(argument("tenant_id", as_uuid, tenant_id, InvalidQuery))
    sweep = Sweep(view, budget=budget, pause=pause, on_progress=on_progress)
    _remove_senders(view, [agent.id for agent in view.call(view.backend.list_agents)], agent_id=None)
    return _remove_runs(view, RunQuery(), sweep)


def _remove_senders(store: Store, agents: list[UUID], *, agent_id: UUID | None) -> None:
    """Remove agents and tokens, so that nothing more comes."""
    for agent in agents:
        store.call(store.backend.remove_agent, agent)
    for token in store.call(store.backend.list_tokens, agent_id=agent_id):
        store.call(store.backend.remove_token, token.prefix)


def _remove_runs(store: Store, query: RunQuery, sweep: Sweep) -> PruneReport:
    """Remove all runs that match, also those that come, or that others are changing, meanwhile."""
    for _ in range(_PASSES):
        sweep.kept.clear()
        removed = 0
        removals = (removal_of(run, is_checked=False) for run in all_runs(store, query))
        while not sweep.is_over and (found := deque(islice(removals, _ROUND))):
            while found and not sweep.is_over:
                removed += sweep.remove(sweep.take(found))
        if not removed or sweep.is_over:
            break
    is_finished = not store.call(store.backend.list_runs, query, after=None, limit=1)
    sweep.give_all_back()
    return sweep.report(is_finished=is_finished)
