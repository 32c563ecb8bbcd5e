"""Removing a log and keeping its run."""

from uuid import UUID

import attrs

from .amend import amend
from .change import READABLE_STATES, Amendment, StoredRun
from .model import BackupRun, LogState
from .store import Store


def expire_log(store: Store, run_id: UUID | str) -> BackupRun:
    """Remove a run's log and keep the run, which still says how long the log was and what SHA-256 it had.

    Reading the log raises ``LogExpired`` from then on. Sending the same result again does not bring it back.

    Args:
        store: The store to use.
        run_id: The run's id.

    Returns:
        The run as it is now. One without a log is left as it is.

    Raises:
        InvalidQuery: The id is not a UUID.
        RunNotFound: There is no such run.
        StoreUnavailable: The store is busy or cannot be reached.
        StoreError: The store failed.
    """
    return amend(store, run_id, None, expiry).run


def expiry(stored: StoredRun) -> Amendment | None:
    """Return the amendment that removes the log of a run as it was read; None if it has none."""
    if stored.run.log_state not in READABLE_STATES:
        return None
    run = attrs.evolve(stored.run, log_state=LogState.EXPIRED)
    write = attrs.evolve(stored, run=run, log_version=stored.log_version + 1, log_context=b"", log_held=b"")
    return Amendment(read=stored, write=write, drop=0)
