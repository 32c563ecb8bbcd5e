"""Which partitions of logs are closed, because their time is over: found in PostgreSQL's catalog."""

from collections.abc import Iterable
from typing import Final

import attrs

from .connection import Cursor

# A date is written as the session says, and a function that somebody has made must not come before PostgreSQL's own.
_PLAINLY: Final = """
    SELECT set_config('search_path', 'pg_catalog, pg_temp', true), set_config('TimeZone', 'UTC', true),
    set_config('DateStyle', 'ISO, YMD', true)
"""
# Nothing is found unless this user may drop every partition and sees all tenants' rows. A transaction that began a day
# ago may still store something in the partition of that day. What is known behind a constraint is not known of another
# database that has its name, or of a server that was restored or began anew: those may have forgotten what was done.
_PARTITIONS: Final = """
    WITH parent AS (
        SELECT parent.oid FROM pg_class AS parent
        JOIN pg_partitioned_table AS kind ON kind.partrelid = parent.oid
        JOIN pg_attribute AS key ON key.attrelid = parent.oid AND key.attnum = kind.partattrs[0]
        WHERE parent.oid = to_regclass(%s || '.backup_run_logs') AND kind.partstrat = 'r' AND kind.partnatts = 1
        AND key.attname = 'stored_at' AND key.atttypid = 'timestamptz'::regtype
        AND pg_has_role(parent.relowner, 'USAGE') AND NOT row_security_active(parent.oid)
        AND NOT row_security_active(to_regclass(%s || '.backup_runs'))
        AND to_regclass('pg_catalog.pg_dist_partition') IS NULL
    ), child AS (
        SELECT child.*, quote_ident(space.nspname) || '.' || quote_ident(child.relname) AS name,
        pg_get_expr(child.relpartbound, child.oid) AS bound,
        child.relkind = 'r' AND NOT link.inhdetachpending AND pg_has_role(child.relowner, 'USAGE')
        AND NOT row_security_active(child.oid) AS is_ours
        FROM parent JOIN pg_inherits AS link ON link.inhparent = parent.oid
        JOIN pg_class AS child ON child.oid = link.inhrelid
        JOIN pg_namespace AS space ON space.oid = child.relnamespace
    ), range AS (
        SELECT child.oid::int8, name,
        pg_postmaster_start_time() || ' ' || (SELECT oid FROM pg_database WHERE datname = current_database())
        || ' ' || fence.oid AS fence,
        CASE WHEN bound LIKE '%%FROM (MINVALUE)%%' THEN '-infinity'
        ELSE substring(bound FROM $$FROM \\('([^']*)'\\)$$) END AS lower,
        substring(bound FROM $$TO \\('([^']*)'\\)$$) AS upper
        FROM child LEFT JOIN pg_constraint AS fence ON fence.conrelid = child.oid AND fence.conname = 'backuplog_closed'
        AND pg_get_expr(fence.conbin, fence.conrelid) = 'false' AND fence.coninhcount = 0
        AND coalesce(to_jsonb(fence) ->> 'conenforced', 'true') = 'true'
        WHERE (SELECT bool_and(is_ours) FROM child)
    ), known AS (
        SELECT *, lower IS NOT NULL AND coalesce(upper::timestamptz <= now() - interval '1 day', false) AS is_closed
        FROM range
    )
    SELECT oid, name, fence, is_closed, lower, upper FROM known WHERE is_closed OR fence IS NOT NULL
    ORDER BY is_closed, upper::timestamptz
"""


@attrs.frozen(kw_only=True)
class Partition:
    """A partition in which nothing new is stored: because its time is over, or because of a constraint by mistake.

    Attributes:
        oid: What PostgreSQL calls it.
        name: Its name with its schema, quoted.
        fence: The constraint that lets no row in any more: since when the server runs, and what it calls the database
            and the constraint. None if there is none yet.
        is_closed: Whether its time is over.
        lower: The time at which it begins, in UTC, or ``-infinity``; None in the default partition.
        upper: The time at which the next begins; None if none does.
    """

    oid: int
    name: str
    fence: str | None
    is_closed: bool
    lower: str | None
    upper: str | None


def find_partitions(cursor: Cursor, schema: str) -> list[Partition]:
    """Find the partitions of the table of logs that are closed, oldest first, behind others that let no row in.

    There are none if the table is not partitioned by ranges of ``stored_at``, if this user does not own it with all its
    partitions, or if row-level security hides the rows of other tenants from this user.

    Args:
        cursor: A cursor in a transaction of the library's own, whose settings this changes.
        schema: The schema that holds the tables, quoted.
    """
    cursor.execute(_PLAINLY)
    rows = cursor.execute(_PARTITIONS, [schema, schema]).fetchall()
    return [
        Partition(oid=oid, name=name, fence=fence, is_closed=is_closed, lower=lower, upper=upper)
        for oid, name, fence, is_closed, lower, upper in rows
    ]


def closed_stretch(partitions: Iterable[Partition]) -> tuple[str, str] | None:
    """Return from when until when all that was stored lies in closed partitions; None if there are none.

    It ends at the first gap, because what was stored in one lies in the default partition, which stays.

    Args:
        partitions: The partitions, oldest first.
    """
    stretch: tuple[str, str] | None = None
    for partition in partitions:
        if not partition.is_closed or partition.lower is None or partition.upper is None:
            continue
        if stretch is None:
            stretch = partition.lower, partition.upper
        elif partition.lower == stretch[1]:
            stretch = stretch[0], partition.upper
        else:
            break
    return stretch
