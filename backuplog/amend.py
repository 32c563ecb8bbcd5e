"""Changing a run on what was read of it, outside of any lock."""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from .change import Amendment, StoredRun
from .errors import LogReplaced, StoreUnavailable
from .query import find_stored_run
from .store import Store

_ATTEMPTS: Final = 100


def amend(
    store: Store, run_id: UUID | str, agent_id: UUID | str | None, change: Callable[[StoredRun], Amendment | None]
) -> StoredRun:
    """Read a run, decide about it and write it, and begin again if it was changed meanwhile.

    Args:
        store: The store to use.
        run_id: The run's id.
        agent_id: The agent whose run it must be; None for any agent.
        change: Decides what to write; None writes nothing. It may read of the log what it needs.

    Returns:
        The run as it is now stored.

    Raises:
        RunNotFound: As for ``get_run``.
        StoreUnavailable: The run was changed by others during each of 100 attempts.
        StoreError: The store failed.
    """
    for _ in range(_ATTEMPTS):
        stored = find_stored_run(store, run_id, agent_id)
        try:
            amendment = change(stored)
        except LogReplaced:
            continue
        if amendment is None:
            return stored
        if store.call(store.backend.submit, [amendment])[0]:
            return amendment.write
    raise StoreUnavailable(f"the run was changed by others during each of {_ATTEMPTS} attempts to change it")
