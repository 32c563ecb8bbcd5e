"""How long importing takes, each time in a fresh interpreter."""

import os
import subprocess
import sys
from pathlib import Path

from plan import Row
from session import Measured

_PROGRAM = "import time; start = time.perf_counter(); import {0}; print(time.perf_counter() - start)"


def measure_imports(*, before: Path | None, most: int) -> Measured:
    """Import backuplog, and what others must import for as much, in turns."""
    trees: dict[str, tuple[str, Path | None]] = {
        "backuplog": ("backuplog", None),
        **({"before": ("backuplog", before)} if before else {}),
        "SQLAlchemy": ("sqlalchemy.orm", None),
        "Django": ("django.db.models", None),
        "sqlite-utils": ("sqlite_utils", None),
        "Dagster": ("dagster", None),
    }
    measured = Measured(Row(group="imports", label="import", work="import", arguments={}))
    for turn in range(most + 1):
        for name, (module, tree) in trees.items():
            if name in measured.refused:
                continue
            environment = dict(os.environ)
            if tree:
                environment["PYTHONPATH"] = os.pathsep.join((str(tree), str(tree / "backends")))
            done = subprocess.run(
                [sys.executable, "-c", _PROGRAM.format(module)],
                check=False,
                capture_output=True,
                text=True,
                env=environment,
            )
            if done.returncode:
                measured.refused[name] = done.stderr.strip().splitlines()[-1]
            elif turn:
                measured.samples.setdefault(name, []).append(float(done.stdout))
    return measured
