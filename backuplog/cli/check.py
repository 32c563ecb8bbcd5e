"""``backuplog check``: seeing that every log can be read."""

from datetime import timedelta

import attrs
import click

from backuplog import RunQuery, check_logs
from backuplog.display import number, size

from .filters import LengthOfTime
from .frame import ExitCode, store_options
from .output import Form, form_options, progress
from .tally import named, print_report


@click.command(short_help="See that every log is whole.")
@click.option("--budget", type=LengthOfTime(), help="Stop after this time, such as 10m, and say where to go on.")
@click.option("--cursor", help="Go on behind an earlier check: the cursor that it ended with.")
@form_options
@store_options
@click.pass_context
def check(ctx: click.Context, /, form: Form, budget: timedelta | None, cursor: str | None) -> None:
    """Read every log to see that it is whole, and look for logs that no run refers to.

    Nothing is written, and nobody waits meanwhile. Exits with 1 if anything is damaged, or belongs to no run.
    """
    with ctx.obj.open() as store:
        total = store.call(store.backend.count_runs, RunQuery())  # To add up their bytes would read all of them.
        with progress("reading logs", total, in_bytes=False) as tell:
            report = check_logs(
                store,
                RunQuery(cursor=cursor),
                max_seconds=None if budget is None else budget.total_seconds(),
                on_progress=lambda so_far: tell(so_far.runs),
            )
    orphaned = [f"{run_id}, version {version} of its log" for run_id, version in report.orphaned]
    lines = [
        ("runs", number(report.runs)),
        ("whole logs", f"{number(report.logs)}, {size(report.log_bytes)}"),
        ("damaged logs", number(report.damaged_logs)),
        *named("", [f"{run_id}: {why}" for run_id, why in report.damaged.items()], report.damaged_logs),
        ("lost logs", number(report.lost_logs)),
        ("logs of no run", "not looked for" if report.orphaned_logs is None else number(report.orphaned_logs)),
        *named("", orphaned, report.orphaned_logs or 0),
    ]
    if report.unsettled_logs:
        lines.append(("changed meanwhile", f"{number(report.unsettled_logs)}: check again"))
    print_report(form, attrs.asdict(report), lines, next_cursor=report.next_cursor)
    if report.damaged_logs or report.orphaned_logs:
        ctx.exit(ExitCode.FOUND)
