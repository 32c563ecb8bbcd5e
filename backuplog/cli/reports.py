"""``backuplog latest``, ``summary`` and ``overdue``: what ran last, what runs come to, and what is missing."""

from collections.abc import Sized
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, get_args
from uuid import UUID

import click
from rich.text import Text

from backuplog.display import UNKNOWN, age, clock, duration, number, short, size
from backuplog.http.pages import entry_document
from backuplog.normalise import FAILED_STATUSES
from backuplog.overdue import find_overdue
from backuplog.report import GroupBy, latest_runs, summarize_runs

from .expectations import read_expectations
from .filters import kind_options, query_of, run_options
from .frame import ExitCode, Target, store_options
from .output import Form, cell, coloured, counted, form_options, legend, marked, new_table, print_all, screen
from .runs import hostnames_of

_EXPECTATIONS: Final = click.option(
    "--expectations",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    required=True,
    help="What you expect of policies: a file of TOML with tables [[expectation]].",
)


@click.command(short_help="Show what ran last, what fails first.")
@kind_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most lines to print.")
@form_options
@store_options
@click.pass_obj
def latest(target: Target, /, form: Form, limit: int, **filters: Any) -> None:
    """Show the last run and the last success of each policy, on each agent and for each type of task.

    What failed last comes first, then what has had no success for longest.
    """
    now = datetime.now(UTC)
    with target.open() as store:
        entries = latest_runs(store, query_of(**filters), now=now)
        entries.sort(key=lambda each: (not each.consecutive_failures, -(each.age_seconds or float("inf"))))
        hostnames = hostnames_of(store, (each.agent_id for each in entries[:limit]))
    if form != "table":
        print_all(form, "latest", map(entry_document, entries[:limit]), total=len(entries))
        return
    columns = ("agent", "policy", "task", "status", "last run", "last success", "failures")
    table = new_table(*columns, right=("failures",), flexible=("agent", "task", "status"))
    for each in entries[:limit]:
        table.add_row(
            marked(each.last_run.status),
            cell(hostnames.get(each.agent_id, short(each.agent_id))),
            short(each.policy_id),
            cell(each.task_type),
            coloured(each.last_run.status),
            age(each.last_run.began_at, now),
            age(each.last_success.ended_at, now) if each.last_success else "never",
            number(each.consecutive_failures) if each.consecutive_failures else "",
        )
    console = screen()
    if entries:
        console.print(table)
        console.print(legend(each.last_run.status for each in entries[:limit]))
    failing = sum(each.consecutive_failures > 0 for each in entries)
    console.print(f"{number(len(entries))} in all{_not_shown(entries, limit)}; {number(failing)} failing")


@click.command(short_help="Count runs and add up their bytes.")
@click.option("--group-by", type=click.Choice(get_args(GroupBy)), required=True, help="What to group runs by.")
@run_options
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most groups to print.")
@form_options
@store_options
@click.pass_obj
def summary(target: Target, /, form: Form, group_by: GroupBy, limit: int, **filters: Any) -> None:
    """Show what runs come to: how many there are, how many succeeded, how long they took, and their bytes.

    All runs that match are read: give --since if there are many.
    """
    with target.open() as store:
        groups = summarize_runs(store, query_of(**filters), group_by=group_by)
        shown = groups[:limit]
        agents = [each.key for each in shown if group_by == "agent" and isinstance(each.key, UUID)]
        hostnames = hostnames_of(store, agents) if agents else {}
    if form != "table":
        print_all(form, "groups", map(entry_document, shown), total=len(groups))
        return
    key, names = group_by.replace("_", " "), ("runs", "success", "failed", "took", "added", "processed", "logs")
    table = new_table(key, *names, right=names, flexible=(key,))
    for each in shown:
        name = hostnames.get(each.key, short(each.key)) if isinstance(each.key, UUID) else str(each.key)
        table.add_row(
            "",
            cell(name),
            number(each.runs),
            UNKNOWN if each.success_rate is None else f"{each.success_rate:.0%}",
            number(sum(each.by_status.get(status, 0) for status in FAILED_STATUSES)),
            clock(each.duration_seconds),
            size(each.data_added),
            size(each.total_bytes_processed),
            size(each.log_bytes),
        )
    console = screen()
    if groups:
        console.print(table)
    runs = counted(sum(each.runs for each in groups), "run")
    console.print(f"{runs} in {counted(len(groups), 'group')}{_not_shown(groups, limit)}")


@click.command(short_help="Show what is expected and missing.")
@_EXPECTATIONS
@form_options
@store_options
@click.pass_context
def overdue(ctx: click.Context, /, form: Form, expectations: Path) -> None:
    """Show what you expect and has not been reported, the worst first. Exits with 1 if there is anything."""
    now = datetime.now(UTC)
    expected = read_expectations(expectations)
    with ctx.obj.open() as store:
        found = find_overdue(store, expected, now=now)
        hostnames = hostnames_of(store, (each.expectation.agent_id for each in found if each.expectation.agent_id))
    if form == "table":
        columns = ("policy", "agent", "task", "expected", "late by", "last good run")
        table = new_table(*columns, flexible=("agent", "task"))
        for each in found:
            agent_id = each.expectation.agent_id
            table.add_row(
                Text("…" if each.is_running else "x", "blue" if each.is_running else "bold red"),
                short(each.expectation.policy_id),
                "any" if agent_id is None else cell(hostnames.get(agent_id, short(agent_id))),
                cell(each.expectation.task_type),
                age(each.expected_at, now) if each.expected_at else UNKNOWN,
                duration(each.late_seconds),
                age(each.last_reported.ended_at, now) if each.last_reported else "never",
            )
        console = screen()
        if found:
            console.print(table)
            console.print("x missing  … one is running now", style="dim")
        console.print(f"{number(len(found))} of {number(len(expected))} overdue")
    else:
        print_all(form, "overdue", map(entry_document, found), total=len(found))
    if found:
        ctx.exit(ExitCode.FOUND)


def _not_shown(entries: Sized, limit: int) -> str:
    more = len(entries) - limit
    return f", {number(more)} of them not shown" if more > 0 else ""
