"""A log that grows behind a web server while the server and those who send and follow it are killed."""

from pathlib import Path

from live import live


def test_a_log_arrives_and_is_followed_across_kills(tmp_path: Path) -> None:
    """Server, sender and follower are killed, and the log is stored and followed byte for byte."""
    live(f"sqlite:///{tmp_path / 'backups.db'}", tmp_path, ["serve", "send", "follow", "serve"], over_http=True)
