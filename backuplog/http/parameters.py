"""What the reports are asked for: filters, which make a query for runs, and parameters of their own."""

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias, get_args
from uuid import UUID

from backuplog.errors import FieldError, InvalidQuery
from backuplog.model import RunQuery
from backuplog.report import GroupBy
from backuplog.scan import as_sought
from backuplog.store import Store

from .guard import Guard, admit_to_reports
from .request import Request, number_in, parse_query

RUN_FILTERS: Final = ("status", "policy_id", "task_type", "snapshot_id", "since", "until")
"""The filters of a list of runs; ``status`` any number of times."""
KIND_FILTERS: Final = ("policy_id", "task_type", "since", "until")
"""The filters of reports about the newest runs."""
PAGE: Final = ("limit", "cursor")
"""What a page can be asked for."""
MAX_SOUGHT_CHARACTERS: Final = 256
"""The longest text to search for, which is at most 1,024 bytes of UTF-8."""
MOST_RUNS: Final = 30
"""The most runs that a run is compared with."""

MAX_THRESHOLD: Final = 1_000_000
"""The greatest score to ask for."""

Reader: TypeAlias = Callable[[str | None], Any]
"""Turns the text of a parameter, or None where there is none, into its value, or raises a ``ValueError``."""

_NUMBER: Final = re.compile(r"\d{1,300}(\.\d{1,300})?([eE][+-]?\d{1,3})?", re.ASCII)


def runs_query(agent_id: UUID | None, filters: dict[str, Any]) -> RunQuery:
    """Make a query for runs of texts.

    Raises:
        InvalidQuery: Some are malformed; the error names each of them.
    """
    limit = filters.get("limit")
    if limit is not None:
        # What is no number is left as it is, so that its error stands among those of the other fields.
        number = number_in(limit)
        filters = {**filters, "limit": limit if number is None else number}
    return RunQuery(agent_id=agent_id, **filters)


def asked(
    store: Store, agent_id: str | None, request: Request, guard: Guard, known: Sequence[str], **readers: Reader
) -> tuple[RunQuery, dict[str, Any]]:
    """Let a request in, and read its query.

    Args:
        store: The store.
        agent_id: The agent in the path; None for all agents.
        request: The request.
        guard: Whom to let in.
        known: The fields of ``RunQuery`` that it may contain.
        readers: What reads each of the other parameters.

    Returns:
        The query for runs, and the values of the other parameters.

    Raises:
        InvalidQuery: Parameters are unknown or malformed; the error names each of them.
    """
    agent = admit_to_reports(store, agent_id, request, guard)
    given = parse_query(request.query, (*known, *readers), repeatable={"status"})
    own: dict[str, Any] = {}
    errors: list[FieldError] = []
    for name, read in readers.items():
        try:
            own[name] = read(given.pop(name, None))
        except ValueError as refusal:
            errors.append(FieldError(name, str(refusal)))
    try:
        query = runs_query(agent, given)
    except InvalidQuery as invalid:
        raise InvalidQuery([*errors, *invalid.errors]) from None
    if errors:
        raise InvalidQuery(errors)
    return query, own


def as_group_by(text: str | None) -> str:
    """Return what to group runs by."""
    if text is None or text not in get_args(GroupBy):
        raise ValueError(f"must be one of {', '.join(get_args(GroupBy))}")
    return text


def as_threshold(text: str | None) -> float:
    """Return a score of more than 0; 3.5 where none is given."""
    if text is None:
        return 3.5
    threshold = float(text) if _NUMBER.fullmatch(text) else 0
    if not 0 < threshold <= MAX_THRESHOLD:
        raise ValueError(f"must be a number of more than 0, and at most {MAX_THRESHOLD:,}")
    return threshold


def as_text(text: str | None) -> str:
    """Return the text to find."""
    if text is None:
        raise ValueError("is required: the text to find")
    if len(text) > MAX_SOUGHT_CHARACTERS:
        raise ValueError(f"must be at most {MAX_SOUGHT_CHARACTERS} characters")
    as_sought(text)
    return text


def as_flag(text: str | None) -> bool:
    """Return a boolean; False where none is given."""
    if text not in (None, "true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def whole_number(first: int, last: int, *, default: int) -> Reader:
    """Make a reader of whole numbers in a range."""

    def read(text: str | None) -> int:
        number = default if text is None else number_in(text)
        if number is None or not first <= number <= last:
            raise ValueError(f"must be a whole number from {first} to {last}")
        return number

    return read
