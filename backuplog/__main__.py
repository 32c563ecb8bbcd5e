"""``python -m backuplog`` is the command ``backuplog``."""

from backuplog.cli import main

main(prog_name="backuplog")
