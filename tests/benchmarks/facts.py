"""What is worth knowing of the machine."""

import os
import platform
import sqlite3
import statistics
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from timing import timed

PACKAGES = (
    "backports.zstd", "psycopg", "sqlite-utils", "SQLAlchemy", "Django", "dagster", "attrs", "cattrs", "msgspec",
)  # fmt: skip


def machine(folder: Path) -> dict[str, Any]:
    """Describe the machine and what is installed on it."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu(),
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "packages": {name: installed(name) for name in PACKAGES},
        "fdatasync_ms": round(fdatasync(folder) * 1e3, 3),
        "load": [round(each, 2) for each in os.getloadavg()],
    }


@cache
def commit_of(file: str) -> str | None:
    """Give the commit of the tree that a file is in; None if it is in none."""
    command = ["git", "-C", str(Path(file).parent), "describe", "--always", "--dirty"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return done.stdout.strip() or None


def cpu() -> str:
    """Give the name of the processor."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def installed(name: str) -> str | None:
    """Give the version of a package; None if it is not installed."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def fdatasync(folder: Path) -> float:
    """Give the median seconds of writing 4 KiB over others and synchronising them."""
    file = os.open(folder / "fdatasync", os.O_RDWR | os.O_CREAT)

    def write() -> None:
        os.pwrite(file, bytes(4096), 0)
        os.fdatasync(file)

    write()
    seconds = statistics.median(timed(write) for _ in range(50))
    os.close(file)
    return seconds
