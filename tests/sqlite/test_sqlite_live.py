"""A log that grows on one SQLite file while those who send and follow it are killed."""

from pathlib import Path

from live import live


def test_a_log_arrives_and_is_followed_across_kills(tmp_path: Path) -> None:
    """Sender and follower are killed again and again, and the log is stored and followed byte for byte."""
    live(f"sqlite:///{tmp_path / 'backups.db'}", tmp_path, ["send", "follow", "send"])
