"""Rate limits: so many requests of an agent in any window of time. Needs the extra ``limits``."""

import time
from uuid import UUID

from .errors import RateLimited

try:
    from limits import parse
    from limits.storage import storage_from_string
    from limits.strategies import MovingWindowRateLimiter
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.limit needs {missing.name}: pip install 'backuplog[limits]'", name=missing.name
    ) from missing


class RateLimiter:
    """Lets each agent do so much in any window of time. One agent's requests never count for another."""

    def __init__(self, rate: str = "120/minute", *, storage: str = "memory://") -> None:
        """Take the rate and where requests are counted.

        Args:
            rate: ``120/minute``, ``5/second``, ``1000 per 12 hours``: as the library ``limits`` reads it.
            storage: ``memory://`` counts in this process; ``redis://...`` and others of ``limits`` for all processes.

        Raises:
            ValueError: The rate cannot be read.
        """
        self._rate = parse(rate)
        self._strategy = MovingWindowRateLimiter(storage_from_string(storage))

    def check(self, tenant_id: UUID, agent_id: UUID) -> None:
        """Count a request of an agent.

        Raises:
            RateLimited: It is one too many; it says when the next one may come.
        """
        key = str(tenant_id), str(agent_id)
        if not self._strategy.hit(self._rate, *key):
            reset = self._strategy.get_window_stats(self._rate, *key).reset_time
            raise RateLimited(max(0.0, reset - time.time()))
