"""One run: what went wrong, its figures, and its log."""

import logging
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backuplog.agent import get_agent
from backuplog.change import READABLE_STATES
from backuplog.display import duration, number, size
from backuplog.errors import AgentNotFound, CorruptLog, FieldError, InvalidQuery
from backuplog.model import BackupRun, LogState, RunStats
from backuplog.query import get_run

from .index import Indexes
from .log import find, log_routes, open_window
from .page import Site, page_route

SHOWN_ITEMS: Final = 5
"""How many failed items are shown at once; the others are folded away."""

_logger: Final = logging.getLogger("backuplog")

_NUMBER: Final = re.compile(r"[1-9]\d{0,15}", re.ASCII)
_SIZES: Final = ("total_bytes_processed", "data_added", "data_added_packed", "data_compressed")
_COUNTS: Final = tuple(f"{kind}_{change}" for kind in ("files", "dirs") for change in ("new", "changed", "unmodified"))
_LABELS: Final = {
    "total_bytes_processed": "Processed",
    "total_files_processed": "Files processed",
    "data_added": "Added to the repository",
    "data_added_packed": "Added, as stored",
    "data_compressed": "Processed, compressed",
    "dirs_new": "Folders new",
    "dirs_changed": "Folders changed",
    "dirs_unmodified": "Folders unmodified",
}


def run_routes(site: Site) -> list[Route]:
    """Return the routes of a run and of its log, which share what is known of where lines begin."""
    indexes = Indexes()
    return [page_route("/runs/{run_id}", partial(view_run, indexes), site), *log_routes(site, indexes)]


def view_run(indexes: Indexes, site: Site, request: Request) -> Response:
    """Show a run and its log, at the line that the address asks for, or with what it searches for."""
    store, given = site.store, request.query_params
    run = get_run(store, request.path_params["run_id"])
    asked = given.get("line")
    if asked and not _NUMBER.fullmatch(asked):
        raise InvalidQuery([FieldError("line", "must be the number of a line, 1 or more")])
    as_written = given.get("as") == "written"
    values: dict[str, Any] = {
        "run": run,
        "hostnames": {},
        "figures": list(figures(run.stats)) if run.stats else [],
        "shown_items": SHOWN_ITEMS,
        "now": datetime.now(UTC),
        "as_written": as_written,
        "window": None,
        "trouble": None,
        "sought": given.get("q", ""),
        "findings": None,
        "refusal": None,
    }
    try:
        agent = get_agent(store, run.agent_id)
        values["hostnames"] = {agent.id: agent.hostname} if agent.hostname else {}
    except AgentNotFound:  # It was removed, and the run is not yet.
        pass
    line = int(asked) if asked else None
    if values["sought"] and run.log_state in READABLE_STATES:
        try:
            values["findings"] = findings = find(store, str(run.id), values["sought"], given.get("cursor"))
            line = line or (findings.lines[0].number if findings.lines else None)
        except InvalidQuery as invalid:
            values["refusal"] = " ".join(f"The text {error.message}." for error in invalid.errors)
    try:
        values["window"] = open_window(store, str(run.id), indexes, line, as_written=as_written)
    except CorruptLog as damage:
        _logger.error("A log was not shown: %s", damage)  # noqa: TRY400 - where it was read is no news
        values["trouble"] = "The stored log is damaged. Restore the database from a backup of it."
    return site.render(request, "run.html", state=state_in_words(run), **values)


def figures(stats: RunStats) -> Iterator[tuple[str, str]]:
    """Return what is known of a run's figures: a label and a text of each."""
    about = "" if not stats.approximate else "about "
    for name in _SIZES:
        if (known := getattr(stats, name)) is not None:
            yield _LABELS[name], f"{about}{size(known)}"
    for name in ("total_files_processed", *_COUNTS):
        if (known := getattr(stats, name)) is not None:
            yield _LABELS.get(name) or name.replace("_", " ").capitalize(), number(known)
    if stats.duration is not None:
        yield "Took, says the tool", duration(stats.duration)
    if stats.dry_run:
        yield "Dry run", "yes: nothing was changed"
    if stats.has_snapshot is False and not stats.dry_run:
        yield "Snapshot saved", "no"


def state_in_words(run: BackupRun) -> str:
    """Return what is stored of a run's log, as a sentence."""
    length = size(run.log_bytes)
    match run.log_state:
        case LogState.NONE:
            return "The task has sent no log so far." if run.is_active else "The result came without a log."
        case LogState.OPEN:
            return "The task is still running, and its log grows."
        case LogState.COMPLETE:
            return f"{length}, complete." if run.log_bytes else "The log is empty."
        case LogState.TRUNCATED:
            return f"{length}: the log was too long, and {size(run.dropped_bytes)} of its middle are missing."
        case LogState.LOST:
            return f"The log of {length} came, but could not be stored. Have its agent send the result again."
        case LogState.EXPIRED:
            return f"The log of {length} was removed because of its age."
