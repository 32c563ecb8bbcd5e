"""Taking in what a command reads, in bounded batches, and counting what became of it."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple
from uuid import UUID

import attrs
import click

from backuplog import (
    Agent,
    AgentNotFound,
    BackuplogError,
    LogState,
    Store,
    StoreError,
    TaskResult,
    get_agent,
    ingest_task_results,
    register_agent,
)
from backuplog.display import number

from .output import said

# As many as one transaction takes, so that no more of them is in memory.
_BATCH_ITEMS: Final = 500
_BATCH_BYTES: Final = 8 * 1_048_576
_MOST_NAMED: Final = 1_000


class Item(NamedTuple):
    """Something to take in.

    Attributes:
        place: Where it stands: a line, or the path of a file.
        result: The result, as JSON or ready.
        size: How many bytes it has.
    """

    place: str
    result: bytes | TaskResult
    size: int


def known_agent(store: Store, agent_id: UUID, *, register: bool) -> Agent:
    """Return the agent that results are from, registering it if that is wanted.

    Raises:
        AgentNotFound: There is no such agent, and it is not to be registered.
    """
    if register:
        return register_agent(store, agent_id)
    try:
        return get_agent(store, agent_id)
    except AgentNotFound:
        raise AgentNotFound("no such agent: give --register to make it known") from None


def batches(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Put items together, 500 or 8 MiB of them at most; a longer one is alone."""
    batch, size = list[Item](), 0
    for item in items:
        if batch and (len(batch) == _BATCH_ITEMS or size + item.size > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += item.size
    if batch:
        yield batch


@attrs.define
class Intake:
    """What was taken in of what an agent has sent.

    Attributes:
        store: The store to use.
        agent_id: The agent.
        outcomes: How many results had each outcome.
        lost_logs: How many results were stored without their log. Sending them again stores it.
        refused: How many were refused or passed over.
        refusals: What was wrong with them, with the place; the first 1,000.
    """

    store: Store
    agent_id: UUID
    outcomes: Counter[str] = attrs.field(factory=Counter[str])
    lost_logs: int = 0
    refused: int = 0
    refusals: list[tuple[str, str]] = attrs.field(factory=list[tuple[str, str]])

    def take(self, batch: Sequence[Item]) -> None:
        """Take results in. What is wrong with one is said at once, and costs no other.

        Raises:
            StoreError: The store failed. What was taken in before is stored, and may be sent again.
        """
        answers = ingest_task_results(self.store, [(self.agent_id, item.result) for item in batch])
        for item, answer in zip(batch, answers, strict=True):
            if isinstance(answer, StoreError):
                raise answer
            if isinstance(answer, BackuplogError):
                self.refuse(item.place, str(answer))
            else:
                self.outcomes[answer.outcome] += 1
                self.lost_logs += answer.log_state is LogState.LOST

    def refuse(self, place: str, why: str) -> None:
        """Count something that is not taken in, and say why."""
        self.refused += 1
        with suppress(BrokenPipeError):  # Nobody reads why any more; the rest is taken in all the same.
            if self.refused <= _MOST_NAMED:
                self.refusals.append((place, why))
                click.echo(f"{said(place, 500)}: {said(why, 1_000)}", err=True)
            elif self.refused == _MOST_NAMED + 1:
                click.echo("and more, which are counted only", err=True)

    def document(self) -> dict[str, Any]:
        """Return all this as JSON shows it."""
        return {
            "outcomes": dict(self.outcomes),
            "lost_logs": self.lost_logs,
            "refused": self.refused,
            "refusals": [{"place": place, "message": why} for place, why in self.refusals],
        }

    def lines(self) -> list[tuple[str, str]]:
        """Return all this as people read it."""
        lines = [(outcome, number(count)) for outcome, count in sorted(self.outcomes.items())]
        if self.lost_logs:
            lines.append(("logs lost", f"{number(self.lost_logs)}: send them again"))
        return [*lines, ("refused", number(self.refused))]

    @property
    def is_whole(self) -> bool:
        """Whether everything was taken in."""
        return not (self.refused or self.lost_logs)
