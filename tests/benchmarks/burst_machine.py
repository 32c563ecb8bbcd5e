"""What a burst costs: processor time, memory, and what the server counts and waits for, as ``burst.py`` shows it."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psycopg

TICK = os.sysconf("SC_CLK_TCK")


class Machine:
    """The server, the workers and the machine that they share, as /proc and the server's statistics show them."""

    def __init__(self, connection: psycopg.Connection[Any], workers: Sequence[int]) -> None:
        """Look for the server among the processes of this machine."""
        self.connection = connection
        self.workers = workers
        self.postmaster: int | None = None
        try:
            folder = self.one("SELECT setting FROM pg_settings WHERE name = 'data_directory'")
            self.postmaster = int((Path(folder) / "postmaster.pid").read_text().split()[0])
        except (TypeError, OSError):  # It runs elsewhere, or belongs to somebody else.
            pass
        self.waits: Counter[str] = Counter()
        self.samples = 0
        self.oldest = 0.0
        self.memory: list[list[int]] = []

    def one(self, statement: str) -> Any:
        """Give the one value that a statement finds."""
        found = self.connection.execute(statement.encode()).fetchone()
        return found[0] if found else None

    def server_cpu(self) -> dict[str, float]:
        """Give the seconds of processor time of each kind of the server's processes; nothing if it runs elsewhere."""
        seconds: dict[str, float] = defaultdict(float)
        if self.postmaster is None:
            return seconds
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                fields = (folder / "stat").read_text().rpartition(") ")[2].split()
                title = (folder / "cmdline").read_bytes().decode(errors="replace")
            except OSError:  # It has ended.
                continue
            user, system, ended_user, ended_system = (int(field) / TICK for field in fields[11:15])
            if int(folder.name) == self.postmaster:
                seconds["processes that have ended"] += ended_user + ended_system
                seconds["postmaster"] += user + system
            elif int(fields[1]) == self.postmaster:
                kind = title.removeprefix("postgres: ").split("\0")[0].strip()
                is_ours = not any(word in kind for word in ("writer", "checkpointer", "launcher", "worker", "logger"))
                seconds["connections" if is_ours else kind] += user + system
        return seconds

    _COUNTERS = """
        SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn, pg_total_relation_size('backuplog.backup_runs'),
            pg_total_relation_size('backuplog.backup_run_logs'), (SELECT wal_fpi FROM pg_stat_wal),
            deadlocks, xact_commit, xact_rollback,
            (SELECT sum(autovacuum_count) FROM pg_stat_all_tables WHERE schemaname IN ('backuplog', 'pg_toast'))
        FROM pg_stat_database WHERE datname = current_database()
    """
    _COUNTED = ("wal", "runs", "logs", "full pages in WAL", "deadlocks", "commits", "rollbacks", "autovacuums")

    def counters(self) -> dict[str, float]:
        """Give what only grows: bytes, what the server counts, and the machine's seconds of processor time."""
        spent = [int(ticks) / TICK for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        counted = self.connection.execute(self._COUNTERS.encode()).fetchone() or ()
        found = {name: float(value or 0) for name, value in zip(self._COUNTED, counted, strict=True)}
        return {**found, "machine": sum(spent) - spent[3] - spent[4]}  # less idle and waiting for a disk

    _CONNECTIONS = """
        SELECT coalesce(wait_event_type || ':' || wait_event, 'on a processor, or waiting for one'),
            coalesce(extract(epoch FROM clock_timestamp() - xact_start)::float8, 0)
        FROM pg_stat_activity WHERE backend_type = 'client backend' AND state <> 'idle' AND pid <> pg_backend_pid()
    """

    def sample(self) -> None:
        """Note what the server's connections wait for and how much memory the workers hold."""
        self.samples += 1
        for event, age in self.connection.execute(self._CONNECTIONS.encode()):
            self.waits[event] += 1
            self.oldest = max(self.oldest, age)
        self.memory.append([status_of(pid, "VmRSS") for pid in self.workers])


def status_of(pid: int, name: str) -> int:
    """Give a size from a process's status, in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)
