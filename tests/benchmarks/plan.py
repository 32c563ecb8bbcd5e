"""Which work is measured at which sizes, by which contenders, and for how long."""

from collections.abc import Iterator
from typing import Any

import attrs
from material import AGENT, SIZES

GROUPS = ("ingest", "batch", "replay", "reads", "threads", "appends", "memory", "lists", "imports")
ABOUT = {
    "sqlite": {
        "backuplog": "contenders.ours:Backuplog",
        "bare": "contenders.bare_sqlite:BareSqlite",
        "bare, checked": "contenders.bare_sqlite:checked",
        "write + fdatasync": "contenders.raw:RawWrite",
        "sqlite-utils": "contenders.sqlite_utils_tables:SqliteUtils",
        "SQLAlchemy": "contenders.sqlalchemy_orm:SqlAlchemy",
        "Django": "contenders.django_orm:Django",
        "Dagster": "contenders.dagster_events:Dagster",
    },
    "postgres": {
        "backuplog": "contenders.ours:Backuplog",
        "bare": "contenders.bare_postgres:BarePostgres",
        "bare, checked": "contenders.bare_postgres:checked",
        "write + fdatasync": "contenders.raw:RawWrite",
        "SQLAlchemy": "contenders.sqlalchemy_orm:SqlAlchemy",
        "Django": "contenders.django_orm:Django",
        "Dagster": "contenders.dagster_events:Dagster",
    },
}
"""The contenders on each database, each with the module and the name of what makes it."""

KIND_NAMES = {"restic": "restic text", "json": "JSON lines", "random": "incompressible"}
_SECONDS = {"2 KiB": 8.0, "64 KiB": 8.0, "1 MiB": 8.0, "8 MiB": 14.0, "64 MiB": 20.0}
_POLICY = "00000000-0000-0000-0000-000000000007"
_OF_AGENT = {"agent_id": str(AGENT)}
# Each with the share of all runs that it leaves.
_FILTERS: dict[str, tuple[dict[str, Any], float]] = {
    "all": ({}, 1.0),
    "an agent": (_OF_AGENT, 0.01),
    "an agent, success": ({**_OF_AGENT, "status": "success"}, 0.0089),
    "an agent, failed": ({**_OF_AGENT, "status": "failed"}, 0.001),
    "an agent, cancelled": ({**_OF_AGENT, "status": "cancelled"}, 0.00001),
    "an agent, a policy": ({**_OF_AGENT, "policy_id": _POLICY}, 1 / 700),
    "a policy": ({"policy_id": _POLICY}, 1 / 700),
    "success": ({"status": "success"}, 0.89),
    "failed": ({"status": "failed"}, 0.1),
    "cancelled": ({"status": "cancelled"}, 0.001),
    "a type": ({"task_type": "check"}, 0.02),
    "a snapshot": ({"snapshot_id": "00002710"}, 0.0),
    "a week": ({"since": "2026-01-01T12:00:00+00:00", "until": "2026-01-08T12:00:00+00:00"}, 0.0),
}


@attrs.frozen(kw_only=True)
class Row:
    """One row of the table.

    Attributes:
        group: What it belongs to, as ``--only`` takes it.
        label: What it is called.
        work: The work, by its name in works.py.
        arguments: What the work takes.
        needs: What a contender must do to take part; the work by default.
        seconds: How long to go on, all contenders together.
        most: The most turns.
        unit: ``s`` or ``bytes``.
        size: The size of a log, in bytes; None if it has no matter.
    """

    group: str
    label: str
    work: str
    arguments: dict[str, Any]
    needs: str = attrs.field(default=attrs.Factory(lambda self: self.work, takes_self=True))
    seconds: float = 10.0
    most: int = 200
    unit: str = "s"
    size: int | None = None


def rows(*, largest: int, runs: int, scale: float) -> Iterator[Row]:
    """Give the rows that one database is measured by.

    Args:
        largest: The longest log, in bytes.
        runs: How many runs the history for lists has.
        scale: What part of its time each row gets.
    """
    for row in (*_ingest(), *_reads(), *_threads(), *_large(largest), *_lists(runs)):
        if (row.size or 0) <= largest:
            yield attrs.evolve(row, seconds=row.seconds * scale)


def _calls(size: int) -> int:
    return 10 if size <= SIZES["64 KiB"] else 3 if size <= SIZES["1 MiB"] else 1


def _ingest() -> Iterator[Row]:
    for kind, kind_name in KIND_NAMES.items():
        for label, size in SIZES.items():
            if kind != "restic" and label not in ("1 MiB", "8 MiB"):
                continue
            yield Row(
                group="ingest",
                label=f"ingest {label}, {kind_name}",
                work="ingest",
                arguments={"size": size, "kind": kind, "calls": _calls(size)},
                seconds=_SECONDS[label],
                size=size,
            )
    for label, count in (("2 KiB", 1000), ("64 KiB", 100)):
        arguments = {"size": SIZES[label], "count": count}
        yield Row(
            group="batch",
            label=f"batch of {count:,} x {label}, each result",
            work="batch",
            arguments=arguments,
            seconds=12.0,
            size=SIZES[label],
        )
    for label in ("2 KiB", "1 MiB"):
        arguments = {"size": SIZES[label], "calls": _calls(SIZES[label])}
        yield Row(
            group="replay",
            label=f"replay {label}",
            work="replay",
            arguments=arguments,
            seconds=3.0,
            size=SIZES[label],
        )


def _reads() -> Iterator[Row]:
    for label, size in SIZES.items():
        arguments = {"size": size, "calls": _calls(size)}
        yield Row(group="reads", label=f"read whole {label}", work="read", arguments=arguments, seconds=5.0, size=size)
    size = SIZES["64 MiB"]
    parts = {"the last 1 KiB": (-1024, None), "1 MiB in the middle": (30_000_000, 30_000_000 + (1 << 20))}
    for label, (start, stop) in parts.items():
        yield Row(
            group="reads",
            label=f"read {label} of 64 MiB",
            work="part",
            arguments={"size": size, "start": start, "stop": stop, "calls": 5},
            seconds=3.0,
            size=size,
        )


def _threads() -> Iterator[Row]:
    for count in (1, 4, 8, 32):
        yield Row(
            group="threads",
            label=f"{count} threads of 2 KiB, each result" if count > 1 else "1 thread of 2 KiB, each result",
            work="threads",
            arguments={"size": SIZES["2 KiB"], "count": count, "calls": 160},
            seconds=8.0,
            size=SIZES["2 KiB"],
        )


def _large(largest: int) -> Iterator[Row]:
    size = min(largest, SIZES["64 MiB"])
    label = f"{size >> 20} MiB" if size >> 20 else f"{size:,} bytes"
    yield Row(
        group="appends",
        label=f"append 4 KiB, up to {label}",
        work="append",
        arguments={"size": size, "piece": 4096},
        seconds=3600.0,
        most=max(3, size // (4 << 20)),
        size=size,
    )
    memory = {
        "ingest": (f"memory above the body: ingest {label} of JSON", "memory"),
        "decoded": (f"memory above the log: ingest {label} as a TaskResult", "decoded"),
        "pieces": (f"memory above the log: read {label} piece by piece", "part"),
        "read": (f"memory above the log: read {label} whole", "memory"),
    }
    for what, (said, needs) in memory.items():
        yield Row(
            group="memory",
            label=said,
            work="memory",
            needs=needs,
            arguments={"size": size, "what": what},
            most=1,
            unit="bytes",
            size=size,
        )


def _lists(runs: int) -> Iterator[Row]:
    for name, (filters, share) in _FILTERS.items():
        for page in (1, 100, 1000):
            if page > 1 and page * 100 >= share * runs:
                continue
            for with_total in (False, True) if page == 1 else (False,):
                yield Row(
                    group="lists",
                    label=f"list {name}, page {page:,}{' and total' if with_total else ''}",
                    work="list",
                    needs="newest" if name == "an agent" and page == 1 else "list",
                    arguments={"filters": filters, "skipped": (page - 1) * 100, "with_total": with_total, "calls": 5},
                    seconds=2.0 if name in ("all", "an agent") else 1.0,
                )
