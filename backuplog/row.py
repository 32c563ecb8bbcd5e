"""What SQL backends have in common: tables, columns and their order, rows to models, and queries to terms.

A driver keeps two conversions of its own, for ids and for times, and whatever its planner needs to be told.
"""

import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import date, datetime
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import attrs
import msgspec

from .change import StoredRun
from .chunk import Chunk
from .convert import progress_from, progress_text, stats_details, stats_from
from .errors import StoreError
from .model import FIGURES, Agent, AgentToken, BackupRun, LogState, RunQuery, RunStats, as_progress, as_stats
from .unchecked import normal_forms, unchecked, unchecked_stats

TABLES: Final = ("backup_agents", "backup_runs", "backup_run_logs", "backup_agent_tokens", "backup_migrations")
"""The tables that backuplog creates in a database. Tell Alembic and other migration tools to leave them alone."""

RUN_COLUMNS: Final[Mapping[str, type]] = {
    "id": UUID,
    "agent_id": UUID,
    "policy_id": UUID,
    "task_type": str,
    "status": str,
    "start_time": datetime,
    "end_time": datetime,
    "duration_seconds": float,
    "error_message": str,
    "snapshot_id": str,
    "received_at": datetime,
    "updated_at": datetime,
    "log_state": str,
    "log_bytes": int,
    "log_sha256": bytes,
    "dropped_bytes": int,
    **dict.fromkeys(FIGURES, int),
    "stats_details": str,
    "redactions": int,
    "progress": str,
}
"""The columns of a run as lists show it, in order, with their types. ``FIGURES`` are the first nine fields of
``RunStats``, and ``stats_details`` holds the others as JSON, as ``progress`` does those of ``Progress``.
"""

STORED_RUN_COLUMNS: Final[Mapping[str, type]] = {
    **RUN_COLUMNS,
    "log_gap_start": int,
    "log_gap_stop": int,
    "log_context": bytes,
    "log_held": bytes,
    "digest": bytes,
    "superseded": bytes,
    "end_time_reported": bool,
    "log_version": int,
}
"""The columns of a run with everything stored beside it. The tenant's id is not among them, because a view knows it."""

CHUNK_COLUMNS: Final[Mapping[str, type]] = {
    "byte_offset": int,
    "size": int,
    "codec": str,
    "checksum": int,
    "data": bytes,
}
"""The columns of a chunk, in order. In its key, tenant, run and version come before them."""

AGENT_COLUMNS: Final[Mapping[str, type]] = {"id": UUID, "hostname": str, "registered_at": datetime}
"""The columns of an agent, in order."""

TOKEN_COLUMNS: Final[Mapping[str, type]] = {
    "prefix": str,
    "agent_id": UUID,
    "digest": bytes,
    "created_at": datetime,
    "expires_at": datetime,
    "last_used_at": datetime,
}
"""The columns of a token, in order."""

NULLABLE_COLUMNS: Final = frozenset(
    {"end_time", "error_message", "snapshot_id", "log_sha256", *FIGURES, "stats_details", "progress"}
    | {"hostname", "expires_at", "last_used_at"}
)
"""The columns that may hold NULL."""

_DIGEST_BYTES: Final = 32
_ID_BYTES: Final = 16
_MAX_VERSION: Final = 2**62
_DAY_0: Final = date(1970, 1, 1).toordinal()
_MAX_OFFSET: Final = 2**62
_LOG_STATES: Final = {state.value: state for state in LogState}
_FLAGS: Final = {0: False, 1: True}  # which False and True are keys of
_NO_STATS: Final = (None,) * (len(FIGURES) + 1)
_NO_DETAILS: Final = tuple(field.default for field in attrs.fields(RunStats))[len(FIGURES) :]
# What a value of the wrong kind or out of range makes the conversions raise.
_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

Row: TypeAlias = tuple[Any, ...]
"""A row as a driver takes and returns it."""

GroupColumn: TypeAlias = Literal["policy_id", "agent_id", "task_type", "status"]
"""A column that the runs of a group may have in common."""
GROUP_COLUMNS: Final[tuple[GroupColumn, ...]] = ("policy_id", "agent_id", "task_type")
"""Those columns, in the order of the index that finds the newest runs of each group."""

SummaryColumn: TypeAlias = Literal["agent_id", "policy_id", "task_type", "status", "day"]
"""What the runs of a group have in common in a summary; ``day`` is the day in UTC on which they started."""


@attrs.frozen(kw_only=True)
class Tally:
    """How many runs a group has of one status, and their figures added up.

    Attributes:
        key: What they have in common.
        status: Their status.
        runs: How many there are.
        duration_seconds: How long they took together, in seconds.
        data_added: Bytes that they added to repositories; None if none of them says.
        total_bytes_processed: Bytes that they processed; None if none of them says.
        log_bytes: Bytes of their logs that are stored.
    """

    key: UUID | str | date
    status: str
    runs: int
    duration_seconds: float
    data_added: int | None
    total_bytes_processed: int | None
    log_bytes: int


class Term(NamedTuple):
    """One condition that a run must match.

    Attributes:
        column: A column of the table, or ``start_time, id`` for both, compared as a row.
        operator: How to compare; ``in`` compares with each of several values.
        value: What to compare with.
    """

    column: str
    operator: Literal["=", "in", ">=", "<"]
    value: Any


def query_terms(tenant_id: UUID, query: RunQuery, after: tuple[datetime, UUID] | None = None) -> list[Term]:
    """Turn a query into conditions that must all hold. The first is always the tenant's.

    Args:
        tenant_id: The tenant whose runs to find.
        query: The filters. Its ``cursor``, ``limit`` and ``with_total`` make no condition.
        after: Find only runs that come after this start time and id, both descending.
    """
    terms = [Term("tenant_id", "=", tenant_id)]
    for column in ("agent_id", "policy_id", "task_type", "snapshot_id"):
        value = getattr(query, column)
        if value is not None:
            terms.append(Term(column, "=", value))
    if query.status:
        (status, *others) = query.status
        terms.append(Term("status", "in", query.status) if others else Term("status", "=", status))
    if query.since is not None:
        terms.append(Term("start_time", ">=", query.since))
    if after is not None:
        terms.append(Term("start_time, id", "<", after))
    elif query.until is not None:  # What comes after a run of the page before is before its end already.
        terms.append(Term("start_time", "<", query.until))
    return terms


_as_run: Final = unchecked(BackupRun)


_NUL: Final = r"\u0000"
_FORMS: Final = normal_forms(is_storable=True)  # JSON in UTF-8 holds no lone surrogate, and _NUL is looked for
# The figures that are no columns: like this they take a sixth of the time of json and RunStats.
_Details: Final = msgspec.defstruct(
    "Details",
    [(field.name, _FORMS[field.name], field.default) for field in attrs.fields(RunStats)[len(FIGURES) :]],
    forbid_unknown_fields=True,
    omit_defaults=True,
)
_decode_details: Final = msgspec.json.Decoder(_Details).decode
_encode_details: Final = msgspec.json.Encoder().encode
_values_of: Final = attrgetter(*(field.name for field in attrs.fields(RunStats)))


def _stats(figures: Row, details: str | None) -> RunStats | None:
    for figure in figures:
        if figure is not None and (type(figure) is not int or figure < 0):
            break
    else:
        if details is None:
            return unchecked_stats(*figures, *_NO_DETAILS)
        with suppress(msgspec.MsgspecError):
            read = msgspec.structs.astuple(_decode_details(details))
            if _NUL not in details:
                return as_stats(unchecked_stats(*figures, *read))
    return as_stats(stats_from(figures, details))  # which says what is wrong


def _stats_columns(stats: RunStats) -> Row:
    values = _values_of(stats)
    figures = values[: len(FIGURES)]
    try:
        details = _encode_details(_Details(*values[len(FIGURES) :]))
    except TypeError:  # It takes no subclass of str or int.
        return (*figures, stats_details(stats))
    return (*figures, None if details == b"{}" else details.decode())


def stored_run_row(stored: StoredRun, from_id: Callable[[UUID], Any], from_moment: Callable[[datetime], Any]) -> Row:
    """Turn a run into a row with the values of ``STORED_RUN_COLUMNS``.

    Args:
        stored: The run.
        from_id: Converts a UUID to what the driver takes.
        from_moment: Converts a datetime to what the driver takes.
    """
    run, stats = stored.run, stored.run.stats
    return (
        from_id(run.id),
        from_id(run.agent_id),
        from_id(run.policy_id),
        run.task_type,
        run.status,
        from_moment(run.start_time),
        None if run.end_time is None else from_moment(run.end_time),
        run.duration_seconds,
        run.error_message,
        run.snapshot_id,
        from_moment(run.received_at),
        from_moment(run.updated_at),
        run.log_state.value,
        run.log_bytes,
        run.log_sha256,
        run.dropped_bytes,
        *(_NO_STATS if stats is None else _stats_columns(stats)),
        run.redactions,
        None if run.progress is None else progress_text(run.progress),
        *stored.log_gap,
        stored.log_context,
        stored.log_held,
        stored.digest,
        b"".join(stored.superseded),
        stored.end_time_reported,
        stored.log_version,
    )


def read_run(
    tenant_id: UUID, row: Row, id_of: Callable[[Any], UUID], moment_of: Callable[[Any], datetime]
) -> BackupRun:
    """Turn a row into a run.

    Args:
        tenant_id: The tenant that the run belongs to.
        row: The values of ``RUN_COLUMNS``; more may follow.
        id_of: Converts what the driver returns to a UUID.
        moment_of: Converts what the driver returns to a datetime in UTC.

    Raises:
        StoreError: The row holds a value that no run can have.
    """
    try:
        if not (row[13] >= 0 and row[15] >= 0 and row[26] >= 0 and 0 <= row[7] < math.inf):
            raise ValueError("a size or a duration is out of range")
        received_at = moment_of(row[10])
        return _as_run(
            id_of(row[0]),
            tenant_id,
            id_of(row[1]),
            id_of(row[2]),
            row[3],  # task_type
            row[4],  # status
            moment_of(row[5]),
            None if row[6] is None else moment_of(row[6]),
            row[7],  # duration_seconds
            row[8],  # error_message
            row[9],  # snapshot_id
            received_at,
            received_at if row[11] == row[10] else moment_of(row[11]),
            _LOG_STATES[row[12]],
            row[13],  # log_bytes
            row[14],  # log_sha256
            row[15],  # dropped_bytes
            None if row[16:26] == _NO_STATS else _stats(row[16:25], row[25]),
            row[26],  # redactions
            None if row[27] is None else as_progress(progress_from(row[27])),
        )
    except _UNREADABLE as error:
        raise damaged_row("run", row[0], error) from error


def read_stored_run(
    tenant_id: UUID, row: Row, id_of: Callable[[Any], UUID], moment_of: Callable[[Any], datetime]
) -> StoredRun:
    """Turn a row into a run with everything stored beside it.

    Args:
        tenant_id: The tenant that the run belongs to.
        row: The values of ``STORED_RUN_COLUMNS``.
        id_of: Converts what the driver returns to a UUID.
        moment_of: Converts what the driver returns to a datetime in UTC.

    Raises:
        StoreError: The row holds a value that no run can have.
    """
    run = read_run(tenant_id, row, id_of, moment_of)
    gap_start, gap_stop, context, held, digest, superseded, end_time_reported, log_version = row[-8:]
    try:
        if len(digest) != _DIGEST_BYTES or len(superseded) % _DIGEST_BYTES:
            raise ValueError("a digest does not have 32 bytes")
        if not 0 < log_version < _MAX_VERSION:
            raise ValueError("its log version is out of range")
        if not 0 <= gap_start <= gap_stop < _MAX_OFFSET:
            raise ValueError("the gap in its log is out of range")
        return StoredRun(
            run=run,
            digest=digest,
            superseded=tuple(
                superseded[start : start + _DIGEST_BYTES] for start in range(0, len(superseded), _DIGEST_BYTES)
            ),
            end_time_reported=_FLAGS[end_time_reported],
            log_version=log_version,
            log_gap=(gap_start, gap_stop),
            log_context=context,
            log_held=held,
        )
    except _UNREADABLE as error:
        raise damaged_row("run", row[0], error) from error


def read_tally(by: SummaryColumn, row: Row, id_of: Callable[[Any], UUID]) -> Tally:
    """Turn a row of a summary into a tally.

    Args:
        by: What the runs of a group have in common.
        row: The values of a ``Tally`` in order; its key as the driver returns it, a day as days since 1970.
        id_of: Converts what the driver returns to a UUID.

    Raises:
        StoreError: The row holds a value that no run can have.
    """
    key, status, runs, duration_seconds, data_added, total_bytes_processed, log_bytes = row
    try:
        if by == "day":
            key = date.fromordinal(_DAY_0 + key)
        elif by in ("agent_id", "policy_id"):
            key = id_of(key)
        elif not isinstance(key, str):
            raise ValueError(f"its {by} is of another type")
        if not (isinstance(status, str) and 0 <= duration_seconds < math.inf):
            raise ValueError("a status or a duration is out of range")
        return Tally(
            key=key,
            status=status,
            runs=runs,
            duration_seconds=float(duration_seconds),
            data_added=data_added,
            total_bytes_processed=total_bytes_processed,
            log_bytes=log_bytes,
        )
    except _UNREADABLE as error:
        raise damaged_row("runs of", key, error) from error


def read_chunk(row: Row) -> Chunk:
    """Turn a row into a chunk. Its contents are checked when it is decoded.

    Args:
        row: The values of ``CHUNK_COLUMNS``.
    """
    offset, size, codec, checksum, data = row
    return Chunk(offset=offset, size=size, codec=codec, checksum=checksum, data=data)


def read_agent(tenant_id: UUID, row: Row, id_of: Callable[[Any], UUID], moment_of: Callable[[Any], datetime]) -> Agent:
    """Turn a row into an agent.

    Args:
        tenant_id: The tenant that the agent belongs to.
        row: The values of ``AGENT_COLUMNS``.
        id_of: Converts what the driver returns to a UUID.
        moment_of: Converts what the driver returns to a datetime in UTC.

    Raises:
        StoreError: The row holds a value that no agent can have.
    """
    agent_id, hostname, registered_at = row
    try:
        return Agent(id=id_of(agent_id), tenant_id=tenant_id, hostname=hostname, registered_at=moment_of(registered_at))
    except _UNREADABLE as error:
        raise damaged_row("agent", agent_id, error) from error


def read_token(
    tenant_id: UUID, row: Row, id_of: Callable[[Any], UUID], moment_of: Callable[[Any], datetime]
) -> AgentToken:
    """Turn a row into a token.

    Args:
        tenant_id: The tenant that the token belongs to.
        row: The values of ``TOKEN_COLUMNS``.
        id_of: Converts what the driver returns to a UUID.
        moment_of: Converts what the driver returns to a datetime in UTC.

    Raises:
        StoreError: The row holds a value that no token can have.
    """
    prefix, agent_id, digest, created_at, expires_at, last_used_at = row
    try:
        if len(digest) != _DIGEST_BYTES:
            raise ValueError("a digest does not have 32 bytes")
        return AgentToken(
            prefix=prefix,
            tenant_id=tenant_id,
            agent_id=id_of(agent_id),
            digest=digest,
            created_at=moment_of(created_at),
            expires_at=None if expires_at is None else moment_of(expires_at),
            last_used_at=None if last_used_at is None else moment_of(last_used_at),
        )
    except _UNREADABLE as error:
        raise damaged_row("token", prefix, error) from error


def damaged_row(what: str, key: object, why: object) -> StoreError:
    """Return the error for a row that holds an impossible value.

    Args:
        what: What the row describes, such as ``run`` or ``agent``.
        key: The key by which the row can be found.
        why: What is wrong with the row.
    """
    if isinstance(key, bytes):
        key = UUID(bytes=key) if len(key) == _ID_BYTES else key.hex()
    return StoreError(
        f"the row of {what} {key} is damaged ({why}): restore it from a backup, or remove it, and with a run its chunks"
    )
