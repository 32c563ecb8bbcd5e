"""The dict store keeps the contract."""

from collections.abc import Iterator
from contextlib import contextmanager

import backuplog
from backuplog.testing import StoreContract


class TestDictStore(StoreContract):
    """All of the kit, on one hook."""

    @contextmanager
    def fresh_store(self) -> Iterator[backuplog.Store]:
        """Open an empty store."""
        with backuplog.open_store("dict://") as store:
            yield store
