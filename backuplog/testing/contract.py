"""The hook of the kit, and what its tests do with a store."""

from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from uuid import UUID, uuid4

import backuplog
from backuplog import Store

from .common import NOON


class Contract:
    """What every part of the contract needs: a store."""

    def fresh_store(self) -> AbstractContextManager[Store]:
        """Return a context manager with an empty store. Every backend supplies this."""
        raise NotImplementedError("StoreContract needs fresh_store()")

    @contextmanager
    def _known(self) -> Generator[tuple[Store, UUID]]:
        with self.fresh_store() as store:
            yield store, backuplog.register_agent(store, uuid4(), hostname="db-01").id

    def _deliver(self, *payloads: Mapping[str, object]) -> tuple[list[str], backuplog.BackupRun, bytes]:
        """Send results of one task, a minute apart, and give the outcomes, the run and its log."""
        with self._known() as (store, agent_id):
            task = str(uuid4())
            outcomes = [
                str(
                    backuplog.ingest_task_result(
                        store, agent_id, {**sent, "taskId": task}, received_at=NOON + timedelta(minutes=minute)
                    ).outcome
                )
                for minute, sent in enumerate(payloads)
            ]
            return outcomes, backuplog.get_run(store, task), backuplog.read_log(store, task)
