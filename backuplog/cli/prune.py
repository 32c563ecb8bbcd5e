"""``backuplog prune``: removing what a policy does not keep."""

from datetime import timedelta

import attrs
import click

from backuplog import RetentionPolicy
from backuplog import prune as prune_store
from backuplog.display import number, size

from .filters import LengthOfTime, Size
from .frame import Target, store_options
from .output import Form, form_options, progress
from .tally import print_report


@click.command()
@click.option("--keep-runs", type=LengthOfTime(), help="Remove runs that are older, with their logs, such as 400d.")
@click.option("--keep-logs", type=LengthOfTime(), help="Remove logs that are older, such as 90d. Their runs stay.")
@click.option("--keep-failed-logs", type=LengthOfTime(), help="The same for runs that failed; else as --keep-logs.")
@click.option("--log-bytes", type=Size(), help="Keep the newest logs that fit into this, such as 10GiB.")
@click.option(
    "--keep-last",
    type=click.IntRange(0, 1_000),
    default=0,
    show_default=True,
    help="Keep so many of the newest runs of each agent, policy and task type, however old they are.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Remove nothing, and say what would be removed.")
@click.option("--budget", type=LengthOfTime(), help="Stop after this time, such as 10m. The next call goes on.")
@form_options
@store_options
@click.pass_obj
def prune(
    target: Target,
    /,
    form: Form,
    *,
    keep_runs: timedelta | None,
    keep_logs: timedelta | None,
    keep_failed_logs: timedelta | None,
    log_bytes: int | None,
    keep_last: int,
    dry_run: bool,
    budget: timedelta | None,
) -> None:
    """Remove runs and logs that are old.

    Nothing is asked: see first with --dry-run what would go. The last success of each agent, policy and task type
    stays, and so do tasks that are still running. Nobody waits meanwhile, and you may stop it at any time.
    """
    if all(rule is None for rule in (keep_runs, keep_logs, keep_failed_logs, log_bytes)):
        raise click.UsageError("give a rule: --keep-runs, --keep-logs, --keep-failed-logs or --log-bytes")
    policy = RetentionPolicy(
        runs=keep_runs, logs=keep_logs, failed_logs=keep_failed_logs, log_bytes=log_bytes, keep_last=keep_last
    )
    with target.open() as store, progress("pruning", None) as tell:
        report = prune_store(
            store,
            policy,
            dry_run=dry_run,
            budget=budget,
            on_progress=lambda so_far: tell(so_far.log_bytes_removed),
        )
    logs = f"{number(report.logs_removed)} logs of {size(report.log_bytes_removed)}"
    lines = [
        ("would remove" if dry_run else "removed", f"{number(report.runs_removed)} runs and {logs}"),
        ("given back", size(report.bytes_given_back)),
        *(("kept", f"{number(count)}, because of {reason}") for reason, count in report.kept.items()),
    ]
    if not report.is_finished:
        lines.append(("not finished", "call it again to go on"))
    print_report(form, attrs.asdict(report), lines)
