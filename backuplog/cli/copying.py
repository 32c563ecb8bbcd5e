"""``backuplog copy``: taking a history over to another store."""

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import attrs
import click

from backuplog import CopyReport, RunQuery, copy_store
from backuplog.display import number

from .frame import ExitCode, store_options
from .output import Form, form_options, progress
from .tally import named, print_report

_COUNTED: Final = ("agents", "tokens", "copied", "updated", "equal", "kept")
_NAMED: Final = {
    "damaged": "their logs are damaged in the source, and so in the target",
    "unsettled": "their logs grew meanwhile: copy again",
    "conflicting": "not copied, because the target has a run of another agent under the same id",
    "differing": "the target does not give them back as they are in the source",
}


@click.command(short_help="Copy a whole history to another store.")
@click.argument("source_url", metavar="SOURCE_URL")
@click.argument("target_url", metavar="TARGET_URL")
@click.option("--cursor", help="Go on behind an earlier copy: the cursor that it ended with.")
@form_options
@store_options
@click.pass_context
def copy(ctx: click.Context, /, form: Form, source_url: str, target_url: str, cursor: str | None) -> None:
    """Copy the agents, tokens, runs and logs of a tenant to another store.

    Both stores may be in use meanwhile. You may stop it at any time, even with kill -9: call it again, and what is in
    the target already is compared and not written again. Call it once more after you have switched all agents over.
    Exits with 1 if runs need your attention. A thousand of these end the call.
    """
    with (
        attrs.evolve(ctx.obj, url=source_url).open() as source,
        attrs.evolve(ctx.obj, url=target_url).open(migrate=True) as target,
    ):
        total = source.call(source.backend.count_runs, RunQuery())
        with progress("copying runs", total, in_bytes=False) as tell:
            report = copy_store(source, target, cursor=cursor, on_progress=lambda so_far: tell(_seen(so_far)))
    lines = [(name, number(getattr(report, name))) for name in _COUNTED]
    for name, what in _NAMED.items():
        runs: Sequence[UUID] = getattr(report, name)
        if runs:
            lines += [(name, f"{number(len(runs))}: {what}"), *named("", [*map(str, runs)], len(runs))]
    print_report(form, attrs.asdict(report), lines, next_cursor=report.next_cursor)
    if any(getattr(report, name) for name in _NAMED):
        ctx.exit(ExitCode.FOUND)


def _seen(report: CopyReport) -> int:
    """Return how many runs of the source have been dealt with."""
    return report.copied + report.updated + report.equal + report.kept + len(report.conflicting + report.unsettled)
