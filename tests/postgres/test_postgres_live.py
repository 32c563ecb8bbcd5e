"""A log that grows on PostgreSQL while those who send and follow it are killed."""

from pathlib import Path

from live import live


def test_a_log_arrives_and_is_followed_across_kills(url: str, tmp_path: Path) -> None:
    """Sender and follower are killed again and again, and the log is stored and followed byte for byte."""
    live(url, tmp_path, ["send", "follow", "send"])
