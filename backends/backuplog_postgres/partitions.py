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
# ago may still store something in the partition of that day.
_CLOSED: Final = """
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
        SELECT child.oid::int8, name, fence.oid::int8 AS fence,
        CASE WHEN bound LIKE '%%FROM (MINVALUE)%%' THEN '-infinity'
        ELSE substring(bound FROM $$FROM \\('([^']*)'\\)$$) END AS lower,
        substring(bound FROM $$TO \\('([^']*)'\\)$$) AS upper
        FROM child LEFT JOIN pg_constraint AS fence ON fence.conrelid = child.oid AND fence.conname = 'backuplog_closed'
        WHERE (SELECT bool_and(is_ours) FROM child)
    )
    SELECT oid, name, fence, lower, upper FROM range
    WHERE lower IS NOT NULL AND upper::timestamptz <= now() - interval '1 day' ORDER BY upper::timestamptz
"""


@attrs.frozen(kw_only=True)
class Partition:
    """A partition in which nothing new is stored, because its time is over.

    Attributes:
        oid: What PostgreSQL calls it.
        name: Its name with its schema, quoted.
        fence: What PostgreSQL calls the constraint that lets no row in any more; None if it has none yet.
        lower: The time at which it begins, in UTC, or ``-infinity``.
        upper: The time at which the next begins.
    """

    oid: int
    name: str
    fence: int | None
    lower: str
    upper: str


def closed_partitions(cursor: Cursor, schema: str) -> list[Partition]:
    """Find the closed partitions of the table of logs that this user may drop, oldest first.

    There are none if the table is not partitioned by ranges of ``stored_at``, if this user does not own it with all its
    partitions, or if row-level security hides the rows of other tenants from this user.

    Args:
        cursor: A cursor in a transaction of the library's own, whose settings this changes.
        schema: The schema that holds the tables, quoted.
    """
    cursor.execute(_PLAINLY)
    rows = cursor.execute(_CLOSED, [schema, schema]).fetchall()
    return [Partition(oid=row[0], name=row[1], fence=row[2], lower=row[3], upper=row[4]) for row in rows]


def closed_stretch(partitions: Iterable[Partition]) -> tuple[str, str] | None:
    """Return from when until when all that was stored lies in closed partitions; None if there are none.

    It ends at the first gap, because what was stored in one lies in the default partition, which stays.

    Args:
        partitions: The closed partitions, oldest first.
    """
    stretch: tuple[str, str] | None = None
    for partition in partitions:
        if stretch is None:
            stretch = partition.lower, partition.upper
        elif partition.lower == stretch[1]:
            stretch = stretch[0], partition.upper
        else:
            break
    return stretch
