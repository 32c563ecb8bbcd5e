"""Being told what became of each result: for logs, for metrics, for whatever an integrator watches with."""

import logging
from collections.abc import Iterable
from typing import Final, Protocol
from uuid import UUID

import attrs

from .errors import BackuplogError, StoreError
from .model import LogState, Outcome

_logger: Final = logging.getLogger("backuplog")
# Without a handler of its own a library's warnings would go to the standard error of whoever configured nothing.
_logger.addHandler(logging.NullHandler())


@attrs.frozen(kw_only=True)
class Delivery:
    """One result that was handed in, and what became of it.

    Attributes:
        tenant_id: Whose it is.
        agent_id: The agent that it is said to come from; None where that is no UUID.
        task_id: Its task; this and the next four are None where the result was refused before it was understood.
        policy_id: The policy that was executed.
        task_type: ``backup``, ``check``, ``prune`` ...: a word of the agent's choice.
        status: The canonical word, or one of the agent's choice.
        duration_seconds: How long the task took.
        log_bytes: How long the log is that came with it, in bytes; None for a result without one.
        outcome: What was done; None where nothing was.
        log_state: What is now stored of the run's log; None where nothing was done.
        error: Why it was refused; or, beside an outcome, why its log was lost.
        seconds: How long it took to take it in; of a batch, its share.
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
    """Whoever wants to know of each delivery. It is called from the thread that ingests, after the store is done."""

    def delivered(self, delivery: Delivery) -> None:
        """Take note. It should be quick; what it raises is logged, and does not cost the result."""
        ...


@attrs.frozen
class LoggingObserver:
    """Writes a record for each delivery to a standard logger, with its fields as ``extra``.

    Level: INFO for what was stored or ignored, WARNING for what was refused, ERROR where the store failed or a log was
    lost. Never a log's content, a token, an address or a statement.

    Attributes:
        logger: Where to; ``backuplog`` by default, which says nothing until the application configures logging.
    """

    logger: logging.Logger = _logger

    def delivered(self, delivery: Delivery) -> None:
        """Write the record."""
        error = delivery.error
        level = logging.INFO if error is None else logging.ERROR if isinstance(error, StoreError) else logging.WARNING
        if not self.logger.isEnabledFor(level):
            return
        if delivery.outcome is None:
            message, done = "A result of agent %s was refused: %s", str(error)
        elif error is None:
            message, done = "A result of agent %s was taken in: %s", delivery.outcome.value
        else:
            message, done = "A result of agent %s was taken in, but its log was lost: %s", str(error)
        self.logger.log(level, message, delivery.agent_id, done, extra=_fields(delivery))


def _fields(delivery: Delivery) -> dict[str, object]:
    return {
        "tenant_id": str(delivery.tenant_id),
        "agent_id": None if delivery.agent_id is None else str(delivery.agent_id),
        "task_id": None if delivery.task_id is None else str(delivery.task_id),
        "policy_id": None if delivery.policy_id is None else str(delivery.policy_id),
        "task_type": delivery.task_type,
        "status": delivery.status,
        "duration_seconds": delivery.duration_seconds,
        "log_bytes": delivery.log_bytes,
        "outcome": None if delivery.outcome is None else delivery.outcome.value,
        "log_state": None if delivery.log_state is None else delivery.log_state.value,
        "error_type": None if delivery.error is None else delivery.error.error_type,
        "ingest_seconds": delivery.seconds,
    }


def notify(observers: Iterable[Observer], delivery: Delivery) -> None:
    """Tell every observer; one that fails is logged and keeps neither the others nor the result."""
    for observer in observers:
        try:
            observer.delivered(delivery)
        except Exception:
            _logger.exception("%s failed; the result is as it would have been without it", type(observer).__name__)
