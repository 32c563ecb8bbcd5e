"""How closed partitions of logs empty and go.

Nothing new is stored in a partition whose time is over. So a row of it that no run needs is never needed again, and a
walk over the partition that has seen every row may be made in small steps, without any lock, over hours.
"""

import logging
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import attrs
import psycopg

from backuplog.backend import CHUNK_COLUMNS, StoreError

from .connection import Cursor, PooledConnections
from .partitions import Partition, find_partitions

_ROWS: Final = 500
_MOST_NEEDED: Final = 0.1
_MOVED_BYTES: Final = 4 * 1024 * 1024
_LOCK_MILLISECONDS: Final = 50
_LONGEST_TRY_SECONDS: Final = 2.0
_logger: Final = logging.getLogger("backuplog")
# Somebody else uses the partition, or another process was faster.
_IN_USE: Final = (
    psycopg.errors.LockNotAvailable,
    psycopg.errors.DeadlockDetected,
    psycopg.errors.DuplicateObject,
    psycopg.errors.UndefinedObject,
    psycopg.errors.UndefinedTable,
)
# A view, a key, a trigger or a publication of the user's does not allow it, or no partition takes what is moved.
_FORBIDDEN: Final = (
    psycopg.errors.DependentObjectsStillExist,
    psycopg.errors.IntegrityError,
    psycopg.errors.RaiseException,
    psycopg.errors.ObjectNotInPrerequisiteState,
)

_Key = tuple[UUID, UUID, int, int]
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)
_LEAST: Final = -(2**63)

# What others have committed must be seen, and what is remembered must not be forgotten by a server that crashes.
_BEGIN: Final = f"""
    SET TRANSACTION ISOLATION LEVEL READ COMMITTED;
    SET LOCAL lock_timeout = '{_LOCK_MILLISECONDS}ms';
    SET LOCAL synchronous_commit = on
"""
# A transaction that wrote nothing does not wait until what it has seen of others is on the disk.
_FLUSH: Final = "SELECT pg_logical_emit_message(true, 'backuplog', '')"
# An expired log has another version than its chunks. What cannot be, such as a version of the future, is needed.
_WALK: Final = """
    SELECT tenant_id, run_id, log_version, byte_offset, EXISTS (
        SELECT FROM {schema}.backup_runs AS run
        WHERE run.tenant_id = chunk.tenant_id AND run.id = chunk.run_id
        AND run.log_version <= chunk.log_version AND run.log_state <> 'expired'
    ) FROM {partition} AS chunk
    WHERE (tenant_id, run_id, log_version, byte_offset) > (%b, %b, %b, %b) AND tenant_id <= %b
    ORDER BY tenant_id, run_id, log_version, byte_offset LIMIT %b
"""
_FENCE: Final = "ALTER TABLE {partition} ADD CONSTRAINT backuplog_closed CHECK (false) NOT VALID"
_UNFENCE: Final = "ALTER TABLE {partition} DROP CONSTRAINT backuplog_closed"
_LOCK_RUNS: Final = """
    SELECT id FROM {schema}.backup_runs WHERE tenant_id = %b AND id = ANY (%b) ORDER BY id FOR UPDATE SKIP LOCKED
"""
_COLUMNS: Final = f"tenant_id, run_id, log_version, {', '.join(CHUNK_COLUMNS)}"
_MOVE: Final = f"""
    WITH wanted AS (
        SELECT run_id, log_version, byte_offset,
        sum(size) OVER (ORDER BY run_id, log_version, byte_offset) - size AS before
        FROM unnest(%b::uuid[], %b::int8[], %b::int8[]) AS key (run_id, log_version, byte_offset)
        JOIN {{partition}} AS chunk USING (run_id, log_version, byte_offset) WHERE tenant_id = %b
    ), gone AS (
        DELETE FROM {{partition}} AS chunk USING wanted
        WHERE chunk.tenant_id = %b AND chunk.run_id = wanted.run_id AND chunk.log_version = wanted.log_version
        AND chunk.byte_offset = wanted.byte_offset AND before < %b RETURNING chunk.*
    )
    INSERT INTO {{schema}}.backup_run_logs ({_COLUMNS}) SELECT {_COLUMNS} FROM gone
    RETURNING tenant_id, run_id, log_version, byte_offset
"""
_NEXT_TRANSACTION: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text"
# Autovacuum reads no logs, and may take hours.
_SEES_OLDER: Final = """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND age(backend_xmin) > age(%s::xid8::xid)
        AND backend_type <> 'autovacuum worker'
    )
"""
_LOCK: Final = "LOCK TABLE ONLY {schema}.backup_run_logs, ONLY {partition} IN ACCESS EXCLUSIVE MODE"
_SIZE: Final = "SELECT pg_total_relation_size(%s::oid)"
_DETACH: Final = "ALTER TABLE {schema}.backup_run_logs DETACH PARTITION {partition}"
_DROP: Final = "DROP TABLE {partition}"


@attrs.define(kw_only=True)
class _Walk:
    """How far a partition is known to hold no row that is needed."""

    position: _Key = (_FIRST, _FIRST, _LEAST, _LEAST)
    seen: int = 0
    moved: int = 0
    seen_all_at: float | None = None
    horizon: str | None = None


@attrs.define(kw_only=True)
class _Known:
    """What is known of a partition.

    Attributes:
        walk: The walk over all of it, which all tenants go on with.
        own: The walk over the rows of one tenant, if the other came to rows that are needed and cannot be moved.
    """

    walk: _Walk
    own: _Walk | None


class Emptying:
    """Partitions that are walked over, emptied and dropped, one small step at a time.

    What is remembered between steps is bounded by the number of partitions. Where it is lost, the walk begins anew.
    """

    def __init__(self, schema: str) -> None:
        """Begin.

        Args:
            schema: The schema that holds the tables, quoted.
        """
        self._schema = schema
        self._walks: dict[str, _Walk] = {}  # by the fence: without it, or behind another, nothing is known
        self._own_walks: dict[str, _Walk] = {}
        self._left_alone: set[int] = set()

    def for_another_tenant(self) -> "Emptying":
        """Return one for another tenant, which goes on with the walks of this one."""
        other = Emptying(self._schema)
        other._walks = self._walks
        return other

    def step(self, connections: PooledConnections, tenant_id: UUID) -> int | None:
        """Take one step, in one transaction.

        Args:
            connections: The connections to use.
            tenant_id: The tenant whose rows may be moved to another partition.

        Returns:
            The size of the partition that was dropped, in bytes; None if there is more to do before one can be; 0 if
            none can be now.
        """
        partition = None
        try:
            with connections.transaction(tenant_id) as cursor:
                cursor.execute(_BEGIN)
                partition = self._next(cursor)
                if partition is None:
                    return 0
                known = self._known(partition)
                size = self._work(cursor, partition, known, tenant_id)
        except StoreError as error:
            if partition is None or not isinstance(error.__cause__, _IN_USE + _FORBIDDEN):
                raise
            if self._is_left(partition) and isinstance(error.__cause__, _FORBIDDEN):
                state = error.__cause__.sqlstate
                _logger.warning("prune leaves %s: PostgreSQL refuses to empty or drop it (%s)", partition.name, state)
            return None
        self._remember(partition, known)
        return size

    def _next(self, cursor: Cursor) -> Partition | None:
        """Find the oldest partition that is not left alone; once there is none, begin anew with the next call."""
        partitions = find_partitions(cursor, self._schema)
        fences = {partition.fence for partition in partitions}
        for walks in (self._walks, self._own_walks):
            for fence in walks.keys() - fences:
                walks.pop(fence, None)
        partition = next((found for found in partitions if found.oid not in self._left_alone), None)
        if partition is None:
            self._left_alone.clear()
        return partition

    def _known(self, partition: Partition) -> _Known:
        """Return a copy of what is known of a partition, which this step may change before it is committed."""
        walk, own = (walks.get(partition.fence or "") for walks in (self._walks, self._own_walks))
        return _Known(walk=attrs.evolve(walk) if walk else _Walk(), own=attrs.evolve(own) if own else None)

    def _remember(self, partition: Partition, known: _Known) -> None:
        """Keep what a step has found, now that it is committed."""
        if partition.fence is None:
            return
        self._walks[partition.fence] = known.walk
        if known.own is None:
            self._own_walks.pop(partition.fence, None)
        else:
            self._own_walks[partition.fence] = known.own

    def _work(self, cursor: Cursor, partition: Partition, known: _Known, tenant_id: UUID) -> int | None:
        if not partition.is_closed:  # Made like a closed one, or fenced while the clock was wrong: it loses logs.
            self._execute(cursor, _UNFENCE, partition)
            return None
        if partition.fence is None:
            self._execute(cursor, _FENCE, partition)
            return None
        cursor.execute(_FLUSH)
        if known.walk.seen_all_at is not None:
            return self._drop(cursor, partition, known.walk)
        if known.own is None:
            if not self._walk(cursor, partition, known.walk, tenant_id, _LAST):
                # Others will empty the rest: nothing of this tenant is to be in their way.
                known.own = _Walk(position=(tenant_id, _FIRST, _LEAST, _LEAST))
        elif not self._walk(cursor, partition, known.own, tenant_id, tenant_id) or known.own.seen_all_at is not None:
            self._left_alone.add(partition.oid)
            known.own = None
        return None

    def _walk(self, cursor: Cursor, partition: Partition, walk: _Walk, tenant_id: UUID, last: UUID) -> bool:
        """Look at a few rows, and move those that are needed.

        Returns:
            Whether the walk goes on. It does not if too many are needed, or if none of those can be moved, because
            another tenant needs them or somebody is changing their runs.
        """
        found = self._execute(cursor, _WALK, partition, (*walk.position, last, _ROWS))
        rows: list[tuple[_Key, bool]] = [((row[0], row[1], row[2], row[3]), row[4]) for row in found]
        needed = [key for key, is_needed in rows if is_needed]
        if walk.moved + len(needed) > _MOST_NEEDED * (walk.seen + len(rows)):
            return False
        moved = self._move(cursor, partition, tenant_id, needed)
        stop = next((index for index, (key, is_needed) in enumerate(rows) if is_needed and key not in moved), len(rows))
        if stop:
            walk.position = rows[stop - 1][0]
        walk.seen += stop
        walk.moved += len(moved)
        if stop == len(rows) < _ROWS:
            walk.seen_all_at = time.monotonic()
        return not needed or bool(moved)

    def _move(self, cursor: Cursor, partition: Partition, tenant_id: UUID, needed: Sequence[_Key]) -> set[_Key]:
        """Move rows to where new ones are stored, under a lock on their runs, as all who change rows have."""
        if not needed:
            return set()
        runs = self._execute(cursor, _LOCK_RUNS, partition, (tenant_id, sorted({key[1] for key in needed})))
        locked = {run_id for (run_id,) in runs}
        keys = [key[1:] for key in needed if key[1] in locked]
        if not keys:
            return set()
        columns = (list(column) for column in zip(*keys, strict=True))
        moved = self._execute(cursor, _MOVE, partition, (*columns, tenant_id, tenant_id, _MOVED_BYTES))
        return {(row[0], row[1], row[2], row[3]) for row in moved}

    def _drop(self, cursor: Cursor, partition: Partition, walk: _Walk) -> int | None:
        """Drop the partition, unless a transaction still sees the store as it was before the end of the walk."""
        if walk.horizon is None:
            walk.horizon = str(_only(cursor.execute(_NEXT_TRANSACTION)))
        if _only(cursor.execute(_SEES_OLDER, [walk.horizon])):
            self._is_left(partition)
            return None
        self._execute(cursor, _LOCK, partition)
        if partition not in find_partitions(cursor, self._schema):
            return None
        size = int(str(_only(cursor.execute(_SIZE, [partition.oid]))))
        self._execute(cursor, _DETACH, partition)
        self._execute(cursor, _DROP, partition)
        return size

    def _is_left(self, partition: Partition) -> bool:
        """Decide whether to leave a partition alone for now that others use; one that is empty, only after a while."""
        walk = self._walks.get(partition.fence or "")
        seen_all_at = walk.seen_all_at if walk else None
        if seen_all_at is not None and time.monotonic() <= seen_all_at + _LONGEST_TRY_SECONDS:
            return False
        self._left_alone.add(partition.oid)
        return True

    def _execute(
        self, cursor: Cursor, statement: str, partition: Partition, parameters: Sequence[object] = ()
    ) -> Cursor:
        schema, name = (quoted.replace("%", "%%") for quoted in (self._schema, partition.name))
        return cursor.execute(statement.format(schema=schema, partition=name).encode(), parameters, binary=True)


def _only(cursor: Cursor) -> object:
    row = cursor.fetchone()
    return row[0] if row else None
