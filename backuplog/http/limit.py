"""Rate limits: so many requests of an agent in a window of time. Needs the extra ``limits``."""

import time
from uuid import UUID

from backuplog.errors import RateLimited

__all__ = ["RateLimiter"]

try:
    from limits import parse
    from limits.storage import storage_from_string
    from limits.strategies import SlidingWindowCounterRateLimiter
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"backuplog.http.limit needs {missing.name}: pip install 'backuplog[limits]'", name=missing.name
    ) from missing


class RateLimiter:
    """Limits about how many requests each agent may send in a window of time. Each agent is counted separately.

    The window slides. What was sent in the window before counts by the part of it that is still in sight, rounded down.
    An agent that sends nothing for two windows is forgotten.
    """

    def __init__(self, rate: str = "120/minute", *, storage: str = "memory://") -> None:
        """Make a limiter.

        Args:
            rate: The limit, in the notation of the library ``limits``: ``120/minute``, ``5/second``, ``1000 per 12
                hours``.
            storage: Where to count requests: ``memory://`` counts those of this process; ``redis://...`` and other
                storages of ``limits`` count those of all processes.

        Raises:
            ValueError: The rate cannot be parsed.
        """
        self._rate = parse(rate)
        self._strategy = SlidingWindowCounterRateLimiter(storage_from_string(storage))

    def check(self, tenant_id: UUID, agent_id: UUID) -> None:
        """Count a request of an agent.

        Args:
            tenant_id: The agent's tenant.
            agent_id: The agent's id.

        Raises:
            RateLimited: The agent has sent too many; the error says when to try again.
        """
        key = str(tenant_id), str(agent_id)
        if not self._strategy.hit(self._rate, *key):
            reset = self._strategy.get_window_stats(self._rate, *key).reset_time
            raise RateLimited(max(1.0, reset - time.time()))

    def count(self, tenant_id: UUID, agent_id: UUID, results: int) -> None:
        """Count the other results of a batch, as far as the window has room for them.

        A batch is never refused for its size: it could be longer than any window, and would never get in.

        Args:
            tenant_id: The agent's tenant.
            agent_id: The agent's id.
            results: How many there are.
        """
        key = str(tenant_id), str(agent_id)
        while room := min(results, self._strategy.get_window_stats(self._rate, *key).remaining):
            if self._strategy.hit(self._rate, *key, cost=room):
                return
