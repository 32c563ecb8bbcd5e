"""From an arriving result to the change that it makes: times, log and digest, before any lock is taken."""

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import attrs

from .chunk import CHUNK_BYTES, MAX_LOG_BYTES, Log, as_bytes, prepare_log, sha256_of
from .convert import progress_text, stats_details
from .delivery import Claim, Submission, joined
from .errors import FieldError, InvalidTaskResult
from .model import FIGURES, BackupRun, LogState, RunStats, TaskResult
from .redact import Redactor, Unredacted, feed

_EARLIEST: Final = datetime.min.replace(tzinfo=UTC)


def prepare_submission(
    result: TaskResult,
    *,
    tenant_id: UUID,
    agent_id: UUID,
    received_at: datetime,
    requires_agent: UUID | None,
    max_log_bytes: int = MAX_LOG_BYTES,
    redactor: Redactor = Unredacted(),  # noqa: B008
    read: Callable[[str | bytes], RunStats | None] | None = None,
) -> Submission:
    """Prepare an arriving result for a backend: settle its times, prepare its log and compute its digest.

    Args:
        result: The result.
        tenant_id: The tenant that the run will belong to.
        agent_id: The agent that sent the result.
        received_at: When the result was received, in UTC.
        requires_agent: The agent that must be stored; None if it is known to exist.
        max_log_bytes: The longest log to keep whole, in bytes. Of a longer log, only the head and the tail are kept.
        redactor: What masks secrets in the log and in the error message.
        read: Reads the figures that the masked log tells; None reads none. Those that the agent sent win.

    Raises:
        InvalidTaskResult: The log is not as long as the result says, or does not have the SHA-256 that it says.
    """
    is_active = result.is_active
    taken = None if result.log is None else _take_log(result, result.log, redactor, max_log_bytes)
    log = taken.log if taken else None
    stats = joined(result.stats, read(taken.masked)) if taken and read else result.stats
    error_message = None
    if result.error_message is not None:
        masked, _ = redactor.redact(result.error_message)
        error_message = masked if isinstance(masked, str) else masked.decode()
    is_truncated = result.log_truncated and not (is_active and log is None)
    dropped_bytes = log.dropped_bytes if log else 0
    if is_truncated:
        dropped_bytes += max(0, (result.log_bytes or 0) - (log.received_bytes if log else 0))
    if is_truncated or dropped_bytes:
        log_state = LogState.TRUNCATED
    elif taken:
        log_state = LogState.OPEN if taken.held else LogState.COMPLETE
    else:
        log_state = LogState.NONE
    end_time = result.end_time or received_at
    try:
        start_time = result.start_time or end_time - timedelta(seconds=result.duration_seconds)
    except OverflowError:  # An agent whose clock is not set: no result is refused for that.
        start_time = _EARLIEST
    run = BackupRun(
        id=result.task_id,
        tenant_id=tenant_id,
        agent_id=agent_id,
        policy_id=result.policy_id,
        task_type=result.task_type,
        status=result.status,
        start_time=start_time,
        end_time=None if is_active else end_time,
        duration_seconds=result.duration_seconds,
        error_message=error_message,
        snapshot_id=result.snapshot_id or (stats.snapshot_id if stats else None),
        received_at=received_at,
        updated_at=received_at,
        log_state=log_state,
        log_bytes=log.size if log else 0,
        log_sha256=log.sha256 if log else None,
        dropped_bytes=dropped_bytes,
        stats=stats,
        redactions=taken.redactions if taken else 0,
        progress=result.progress if is_active else None,
    )
    return Submission(
        run=run,
        digest=_digest(result, taken.sha256 if taken else None),
        end_time_reported=result.end_time is not None and not is_active,
        log=log,
        log_context=taken.context if taken else b"",
        log_held=taken.held if taken else b"",
        claim=Claim(size=result.log_bytes, sha256=result.log_sha256, is_truncated=result.log_truncated),
        requires_agent=requires_agent,
    )


@attrs.frozen(kw_only=True)
class _TakenLog:
    """A log that came with a result.

    Attributes:
        log: What to store of it.
        masked: All of it, with its secrets masked.
        redactions: How many of those there are.
        sha256: The SHA-256 of what came, 32 bytes.
        context: What redaction has to know of its end, if it may go on.
        held: Its last bytes, which may yet turn out to be a secret, if it may go on.
    """

    log: Log
    masked: str | bytes = attrs.field(repr=False)
    redactions: int
    sha256: bytes
    context: bytes = attrs.field(repr=False)
    held: bytes = attrs.field(repr=False)


def _take_log(result: TaskResult, log: str | bytes, redactor: Redactor, max_log_bytes: int) -> _TakenLog:
    """Mask the secrets of a log, and see that it is what its agent says that it is."""
    masked: str | bytes
    context, held = b"", b""
    if isinstance(log, str) and len(log) <= CHUNK_BYTES:
        log = as_bytes(log)  # once for all that read it: at 1 MiB, each time takes a tenth of all the rest
    if result.is_active and not result.log_truncated:  # More may come, and a secret may have begun.
        masked, context, held, redactions = feed(redactor, b"", b"", as_bytes(log), is_last=False)
        prepared, sha256 = prepare_log(masked, max_bytes=max_log_bytes)
    else:
        masked, redactions = redactor.redact(log)
        prepared, sha256 = prepare_log(masked, max_bytes=max_log_bytes)
    if held and prepared.dropped_bytes:  # What follows begins anew: this is the end.
        masked, redactions = redactor.redact(log)
        prepared, _ = prepare_log(masked, max_bytes=max_log_bytes)
        context, held = b"", b""
    if masked is not log:
        sha256 = sha256_of(log)
    errors: list[FieldError] = []
    size = prepared.received_bytes + len(held)
    if not result.log_truncated and result.log_bytes not in (None, size):
        errors.append(FieldError("$.logBytes", f"must be the length of the log, which came with {size:,} bytes"))
    if not result.log_truncated and result.log_sha256 not in (None, sha256):
        errors.append(FieldError("$.logSha256", "must be the SHA-256 of the log: send it again as it is"))
    if errors:
        raise InvalidTaskResult(errors)
    return _TakenLog(log=prepared, masked=masked, redactions=redactions, sha256=sha256, context=context, held=held)


def _digest(result: TaskResult, log_sha256: bytes | None) -> bytes:
    """Digest every field. It is stored: another order or form would make every retry across an upgrade an update."""
    # No field can hold a NUL, so that two different results never join to the same text.
    fields = [
        result.policy_id.hex,
        result.task_type,
        result.status,
        repr(result.duration_seconds),
        result.snapshot_id or "",
        result.error_message or "",
        result.start_time.isoformat() if result.start_time else "",
        result.end_time.isoformat() if result.end_time else "",
        log_sha256.hex() if log_sha256 else "",
    ]
    if result.stats:
        fields += [*(repr(getattr(result.stats, name)) for name in FIGURES), stats_details(result.stats) or ""]
    if result.progress and result.is_active:
        fields.append(progress_text(result.progress))
    return hashlib.sha256("\0".join(fields).encode()).digest()
