"""Everything that can go wrong, under one root.

Each class carries a stable ``error_type`` slug (for metrics and API answers) and the ``http_status`` that a
web handler would answer with. A class's docstring is its default message.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, ClassVar

import attrs


class BackuplogError(Exception):
    """backuplog could not do what it was asked to do.

    Attributes:
        error_type: A short name that stays the same in every release, for metrics and API answers.
        http_status: The HTTP status that a web handler would answer with.
    """

    error_type: ClassVar[str] = "backuplog_error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str | None = None) -> None:
        """Make the error.

        Args:
            message: What is wrong and what to do; by default the first line of the class's docstring.
        """
        super().__init__(message or (type(self).__doc__ or "").partition("\n")[0])


@attrs.frozen
class FieldError:
    """One thing that is wrong with one field.

    Attributes:
        path: The field: a JSON path (``$.taskId``) in a payload, or a plain name (``limit``) for a Python argument.
        message: What is wrong and what is expected. It never repeats the value, which may be a secret.
    """

    path: str
    message: str


class InvalidInput(BackuplogError, ValueError):
    """The input is not valid.

    Attributes:
        errors: Every field that is wrong, not only the first.
    """

    error_type = "invalid_input"
    http_status = 400

    def __init__(self, errors: Iterable[FieldError]) -> None:
        """Make the error; its message lists all field errors."""
        self.errors: tuple[FieldError, ...] = tuple(errors)
        super().__init__("; ".join(f"{error.path}: {error.message}" for error in self.errors))

    def __reduce__(self) -> tuple[type["InvalidInput"], tuple[tuple[FieldError, ...]]]:
        """Pickle by the field errors, so that the error crosses a process border whole."""
        return type(self), (self.errors,)


class InvalidTaskResult(InvalidInput):
    """The task result is not valid: correct the fields it names and send it again."""

    error_type = "invalid_task_result"


class InvalidQuery(InvalidInput):
    """The query is not valid: an id, a filter, a limit or a cursor is malformed."""

    error_type = "invalid_query"


class InvalidAgent(InvalidInput):
    """The agent is not valid: its id or its hostname is malformed."""

    error_type = "invalid_agent"


class AgentNotFound(BackuplogError, LookupError):
    """No such agent: register it with register_agent() first."""

    error_type = "agent_not_found"
    http_status = 404


class RunNotFound(BackuplogError, LookupError):
    """No such run."""

    error_type = "run_not_found"
    http_status = 404


class Unauthenticated(BackuplogError):
    """No valid token came with the request: send one that is neither expired nor revoked."""

    error_type = "unauthenticated"
    http_status = 401


class Forbidden(BackuplogError):
    """The token speaks for another agent: an agent sends and reads its own results only."""

    error_type = "forbidden"
    http_status = 403


class PayloadTooLarge(BackuplogError):
    """What was sent is too large: send less, or have the limit raised."""

    error_type = "payload_too_large"
    http_status = 413


class UnsupportedMedia(BackuplogError):
    """What was sent is not JSON, or is encoded in a way that is not known here."""

    error_type = "unsupported_media"
    http_status = 415


class RateLimited(BackuplogError):
    """This agent sends too much: wait before sending again.

    Attributes:
        retry_after: Seconds to wait before sending again.
    """

    error_type = "rate_limited"
    http_status = 429

    def __init__(self, retry_after: float) -> None:
        """Make the error."""
        self.retry_after = retry_after
        super().__init__()

    def __reduce__(self) -> tuple[type["RateLimited"], tuple[float]]:
        """Pickle by the seconds, so that the error crosses a process border whole."""
        return type(self), (self.retry_after,)


class BackendNotFound(BackuplogError, LookupError):
    """No installed backend serves this URL."""

    error_type = "backend_not_found"


class RunConflict(BackuplogError):
    """The task id belongs to another agent: give every task an id of its own."""

    error_type = "run_conflict"
    http_status = 409


class LogOffsetMismatch(BackuplogError):
    """The log has another length or other bytes than was said: go on at the expected offset.

    Attributes:
        expected_offset: How many bytes of the log were received: the offset at which it goes on.
    """

    error_type = "log_offset_mismatch"
    http_status = 409

    def __init__(self, expected_offset: int) -> None:
        """Make the error."""
        self.expected_offset = expected_offset
        super().__init__(
            f"{expected_offset:,} bytes of the log were received, not what was said of it: go on at that offset, "
            "or send the whole log with the result"
        )

    def __reduce__(self) -> tuple[type["LogOffsetMismatch"], tuple[int]]:
        """Pickle by the offset, so that the error crosses a process border whole."""
        return type(self), (self.expected_offset,)


class LogClosed(BackuplogError):
    """The task has ended, and its log grows no more: send a result with the whole log if some is missing.

    Attributes:
        expected_offset: How many bytes of the log were received.
    """

    error_type = "log_closed"
    http_status = 409

    def __init__(self, expected_offset: int) -> None:
        """Make the error."""
        self.expected_offset = expected_offset
        super().__init__(
            f"the task has ended, and its log of {expected_offset:,} bytes grows no more: send a result with the "
            "whole log if some is missing"
        )

    def __reduce__(self) -> tuple[type["LogClosed"], tuple[int]]:
        """Pickle by the offset, so that the error crosses a process border whole."""
        return type(self), (self.expected_offset,)


class LogLost(BackuplogError):
    """The log could not be stored when it was received: have its agent send the result again."""

    error_type = "log_lost"
    http_status = 404


class LogExpired(BackuplogError):
    """The log was removed because of its age; the run still says how long it was."""

    error_type = "log_expired"
    http_status = 410


class LogReplaced(BackuplogError):
    """The log was replaced while it was being read: read it again from the start."""

    error_type = "log_replaced"
    http_status = 503


class StoreError(BackuplogError):
    """The store could not do what it was asked to do."""

    error_type = "store_error"


class StoreUnavailable(StoreError):
    """The store cannot be reached or is busy: try again later."""

    error_type = "store_unavailable"
    http_status = 503


class TransactionRolledBack(StoreUnavailable):
    """The database rolled back the caller's whole transaction: begin it again and repeat all of it."""

    error_type = "transaction_rolled_back"


class SchemaOutdated(StoreError):
    """The database's schema is not the one this version needs.

    Attributes:
        pending: The names of the migrations that bring it up to date, in order. Empty if a newer version wrote it, or
            if that is not known.
    """

    error_type = "schema_outdated"

    def __init__(self, message: str | None = None, *, pending: Iterable[str] = ()) -> None:
        """Make the error.

        Args:
            message: What is wrong and what to do; by default the first line of the class's docstring.
            pending: The names of the migrations that bring the schema up to date, in order.
        """
        self.pending: tuple[str, ...] = tuple(pending)
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle with the names, so that the error crosses a process border whole."""
        return partial(type(self), pending=self.pending), self.args


class CorruptLog(StoreError):
    """The stored log is not the one that was received."""

    error_type = "corrupt_log"
