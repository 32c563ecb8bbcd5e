"""Many agents at once on one SQLite file."""

from pathlib import Path

import backuplog
from soak import soak


def test_many_agents_end_as_the_model_says(tmp_path: Path) -> None:
    """Whatever the order, doubles and concurrency, each task's last result stands with its log."""
    with backuplog.open_store(f"sqlite:///{tmp_path / 'backups.db'}") as store:
        soak(store, agents=20, results=15)
