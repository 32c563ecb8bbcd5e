"""Being told what became of each result: for logs, for metrics, for whatever an integrator watches with."""

import logging
import re
from collections.abc import Iterable
from typing import Final, Protocol
from uuid import UUID

import attrs

from .errors import BackuplogError, StoreError
from .model import LogState, Outcome

# C0 and C1, the separators of lines and paragraphs, and what turns the direction of a text.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_logger: Final = logging.getLogger("backuplog")


class _Unheard(logging.Handler):
    """Writes failures of the store to standard error where nobody has configured logging.

    Without a handler of ours Python would write warnings there too, and any agent can cause these.
    """

    def emit(self, record: logging.LogRecord) -> None:
        logger: logging.Logger | None = logging.getLogger(record.name)
        while logger:
            if any(handler is not self for handler in logger.handlers):
                return
            logger = logger.parent if logger.propagate else None
        if logging.lastResort:
            logging.lastResort.handle(record)


_logger.addHandler(_Unheard(logging.ERROR))


@attrs.frozen(kw_only=True)
class IngestEvent:
    """One result that was handed in, and what became of it.

    If the result was refused before it was parsed, ``task_id``, ``policy_id``, ``task_type``, ``status`` and
    ``duration_seconds`` are None.

    Attributes:
        tenant_id: The tenant that the result belongs to.
        agent_id: The agent that sent the result; None if the given id is not a UUID.
        task_id: The task's id.
        policy_id: The policy that was executed.
        task_type: The type of task, such as ``backup``, ``check`` or ``prune``: any word that the agent chose.
        status: The canonical status, or a word that the agent chose.
        duration_seconds: How long the task took, in seconds.
        log_bytes: The size of the log that came with the result, in bytes; None if none came.
        outcome: What was done with the result; None if it was refused or the store failed.
        log_state: What is now stored of the run's log; None if ``outcome`` is.
        error: Why the result was not taken in or, if there is an ``outcome``, why its log was lost.
        seconds: How long it took to take the result in; for a batch, the result's share.
    """

    tenant_id: UUID
    agent_id: UUID | None
    task_id: UUID | None = None
    policy_id: UUID | None = None
    task_type: str | None = None
    status: str | None = None
    duration_seconds: float | None = None
    log_bytes: int | None = None
    outcome: Outcome | None = None
    log_state: LogState | None = None
    error: BackuplogError | None = None
    seconds: float


class Observer(Protocol):
    """Anything that wants to be told about each result, in the thread that ingests and after the store is done."""

    def delivered(self, event: IngestEvent) -> None:
        """Handle an event. Be quick. An exception is logged and does not affect the result.

        Args:
            event: What became of a result.
        """
        ...


@attrs.frozen
class LoggingObserver:
    """Writes a log record for each result to a standard logger, with the event's fields as ``extra``.

    The level is INFO if the result was stored or ignored, WARNING if it was refused, and ERROR if the store failed
    or the log was lost. Control characters in the words of an agent are escaped. A record never contains a run's
    log, a token, an address or an SQL statement.

    Attributes:
        logger: The logger to write to; by default ``backuplog``. Until you configure logging, only its errors are seen,
            on standard error.
    """

    logger: logging.Logger = _logger

    def delivered(self, event: IngestEvent) -> None:
        """Write the log record.

        Args:
            event: What became of a result.
        """
        error = event.error
        level = logging.INFO if error is None else logging.ERROR if isinstance(error, StoreError) else logging.WARNING
        if not self.logger.isEnabledFor(level):
            return
        if event.outcome is None:
            message, done = "A result of agent %s was refused: %s", str(error)
        elif error is None:
            message, done = "A result of agent %s was taken in: %s", event.outcome.value
        else:
            message, done = "A result of agent %s was taken in, but its log was lost: %s", str(error)
        self.logger.log(level, message, event.agent_id, done, extra=_fields(event))


def on_one_line(text: str) -> str:
    """Write a word from outside so that it neither ends a line of a plain log nor moves a terminal's cursor."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _fields(event: IngestEvent) -> dict[str, object]:
    return {
        "tenant_id": str(event.tenant_id),
        "agent_id": None if event.agent_id is None else str(event.agent_id),
        "task_id": None if event.task_id is None else str(event.task_id),
        "policy_id": None if event.policy_id is None else str(event.policy_id),
        "task_type": event.task_type and on_one_line(event.task_type),
        "status": event.status and on_one_line(event.status),
        "duration_seconds": event.duration_seconds,
        "log_bytes": event.log_bytes,
        "outcome": None if event.outcome is None else event.outcome.value,
        "log_state": None if event.log_state is None else event.log_state.value,
        "error_type": None if event.error is None else event.error.error_type,
        "ingest_seconds": event.seconds,
    }


def notify(observers: Iterable[Observer], event: IngestEvent) -> None:
    """Tell every observer; one that fails is logged and keeps neither the others nor the result."""
    for observer in observers:
        try:
            observer.delivered(event)
        except Exception:
            _logger.exception("%s failed; the result is as it would have been without it", type(observer).__name__)
