"""Many agents at once on PostgreSQL."""

import backuplog
from soak import soak


def test_many_agents_end_as_the_model_says(store: backuplog.Store) -> None:
    """Whatever the order, doubles and concurrency, each task's last result stands with its log."""
    soak(store, agents=20, results=15)
