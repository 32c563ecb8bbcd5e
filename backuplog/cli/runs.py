"""``backuplog runs`` and ``backuplog show``: a list of runs, and all that is known of one."""

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import islice
from typing import Any, Final
from uuid import UUID

import attrs
import click
import humanize
from rich.table import Table
from rich.text import Text

from backuplog.convert import run_document
from backuplog.display import clock, cut, exact, number, short, size
from backuplog.errors import LogExpired, LogLost
from backuplog.http.response import listed_run
from backuplog.log import tail_log
from backuplog.model import BackupRun, RunQuery, RunStats
from backuplog.normalise import FAILED_STATUSES, as_uuid
from backuplog.query import all_runs, get_run, query_runs
from backuplog.store import Store

from .filters import query_of, run_options
from .frame import ExitCode, Refusal, Target, store_options
from .output import (
    Form,
    cell,
    coloured,
    counted,
    form_options,
    legend,
    marked,
    new_table,
    print_all,
    print_document,
    said,
    screen,
)

_PREFIX: Final = re.compile(r"[0-9a-fA-F-]{4,36}", re.ASCII)
_LOOKED_AT: Final = 1_000
_TAIL_LINES: Final = 10
_TAIL_BYTES: Final = 65_536
_MOST_ITEMS: Final = 10


@click.command()
@run_options
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="The most runs to list.")
@click.option("--cursor", help="Go on behind a list: the cursor that it ended with.")
@form_options
@store_options
@click.pass_obj
def runs(target: Target, /, form: Form, **filters: Any) -> None:
    """List runs, newest first."""
    with target.open() as store:
        page = query_runs(store, query_of(**filters))
        if form != "table":
            print_all(form, "runs", map(listed_run, page.runs), total=page.total, next_cursor=page.next_cursor)
            return
        hostnames = hostnames_of(store, (run.agent_id for run in page.runs))
    console = screen()
    if page.runs:
        console.print(runs_table(page.runs, hostnames))
        console.print(legend(run.status for run in page.runs))
    shown = f"{number(len(page.runs))} of " if page.next_cursor else ""
    console.print(f"{shown}{counted(page.total, 'run')}")
    if page.next_cursor:
        console.print(f"more: --cursor {page.next_cursor}", style="dim", soft_wrap=True)


@click.command()
@click.argument("run")
@form_options
@store_options
@click.pass_obj
def show(target: Target, /, run: str, form: Form) -> None:
    """Show all that is known of a run. RUN is its id, or the beginning of it."""
    with target.open() as store:
        found = find_run(store, run)
        if form != "table":
            print_document(form, run_document(found))
            return
        hostname = hostnames_of(store, [found.agent_id]).get(found.agent_id)
        lines = _end_of_log(store, found) if found.status in FAILED_STATUSES else []
    console = screen()
    console.print(fields_table(found, hostname))
    items = found.stats.failed_items if found.stats else ()
    if items:
        console.print("\nCould not be read:", style="bold")
    for item in items[:_MOST_ITEMS]:
        console.print(Text("  ").append_text(said(item, 500)), soft_wrap=True)
    if len(items) > _MOST_ITEMS:
        console.print(f"  and {number(len(items) - _MOST_ITEMS)} more: see --json")
    if lines:
        console.print("\nThe end of its log:", style="bold")
    for line in lines:
        console.print(Text(f"  | {cut(line, 500)}"), soft_wrap=True)


def _end_of_log(store: Store, run: BackupRun) -> list[str]:
    try:
        end = tail_log(store, run.id, _TAIL_LINES)
    except (LogExpired, LogLost):
        return []  # as its fields say
    return end[-_TAIL_BYTES:].decode("utf-8", "replace").rstrip().splitlines()[-_TAIL_LINES:]


def find_run(store: Store, text: str) -> BackupRun:
    """Find a run by its id, or by the beginning of the id of one of the newest 1,000 runs.

    Raises:
        Refusal: There is none, there are several, or the text is neither.
        StoreError: The store failed.
    """
    try:
        return get_run(store, as_uuid(text))
    except ValueError:
        pass
    if not _PREFIX.fullmatch(text):
        raise Refusal("RUN must be the id of a run, or at least its first 4 characters", ExitCode.USAGE)
    newest = islice(all_runs(store, RunQuery()), _LOOKED_AT)
    found = [run.id for run in newest if str(run.id).startswith(text.lower())]
    if not found:
        raise Refusal(
            f"none of the newest {number(_LOOKED_AT)} runs has an id that begins with {text}", ExitCode.MISSING
        )
    if len(found) > 1:
        raise Refusal(f"{len(found)} runs have an id that begins with {text}: give more of it", ExitCode.USAGE)
    return get_run(store, found[0])


def hostnames_of(store: Store, agent_ids: Iterable[UUID]) -> dict[UUID, str]:
    """Return the hostnames of agents, as far as they are known."""
    agents = store.call(store.backend.list_agents, set(agent_ids))
    return {agent.id: agent.hostname for agent in agents if agent.hostname is not None}


def runs_table(listed: Iterable[BackupRun], hostnames: Mapping[UUID, str]) -> Table:
    """Make the table of runs, which fits into 80 columns."""
    columns = ("started UTC", "agent", "task", "status", "took", "added", "id")
    table = new_table(*columns, right=("took", "added"), flexible=("agent", "task", "status"))
    for run in listed:
        table.add_row(
            marked(run.status),
            f"{run.start_time:%Y-%m-%d %H:%M}",
            cell(hostnames.get(run.agent_id, short(run.agent_id))),
            cell(run.task_type),
            coloured(run.status),
            clock(run.duration_seconds),
            size(run.stats.data_added if run.stats else None),
            short(run.id),
        )
    return table


def fields_table(run: BackupRun, hostname: str | None) -> Table:
    """Make a table of what is known of a run: a name and a value on each line."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in _fields(run, hostname):
        table.add_row(name, value)
    return table


def _fields(run: BackupRun, hostname: str | None) -> Iterator[tuple[str, Text | str]]:
    yield "run", str(run.id)
    yield "status", marked(run.status).append(" ").append_text(coloured(run.status))
    yield "task type", said(run.task_type)
    yield "agent", said(hostname).append(f" ({run.agent_id})") if hostname else str(run.agent_id)
    yield "policy", str(run.policy_id)
    yield "started", exact(run.start_time)
    if run.end_time:
        yield "ended", exact(run.end_time)
    yield "took", _length(run.duration_seconds)
    yield "received", exact(run.received_at)
    if run.error_message:
        yield "error", said(run.error_message, 1_000)
    if run.snapshot_id:
        yield "snapshot", said(run.snapshot_id, 255)
    if run.progress:
        yield "progress", said(", ".join(f"{name} {value}" for name, value in _known(run.progress)), 300)
    yield "log", f"{run.log_state.value}, {size(run.log_bytes)}"
    if run.dropped_bytes:
        yield "dropped", f"{size(run.dropped_bytes)} from the middle of the log"
    if run.redactions:
        yield "masked", f"{number(run.redactions)} secrets"
    for name, value in _known(run.stats or RunStats()):
        if name != "failed_items":
            yield name.replace("_", " "), _figure(name, value)


def _length(seconds: float) -> str:
    unit = "seconds" if seconds >= 1 else "milliseconds"
    return humanize.precisedelta(timedelta(seconds=seconds), minimum_unit=unit, format="%.1f")


def _known(model: attrs.AttrsInstance) -> Iterator[tuple[str, Any]]:
    """Return what is known: 0 is, and so is no; None is not."""
    values = ((field, getattr(model, field.name)) for field in attrs.fields(type(model)))
    return ((field.name, value) for field, value in values if value != field.default)


def _figure(name: str, value: Any) -> Text | str:
    if name in ("data_added", "total_bytes_processed", "data_added_packed", "data_compressed"):
        return f"{size(value)} ({number(value)} bytes)"
    if name == "duration":
        return _length(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int) else said(str(value), 255)
