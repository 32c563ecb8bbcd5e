"""``backuplog import-logs``: making runs of log files."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

import click

from backuplog import TaskResult
from backuplog.display import number, size

from .files import Found, Skipped, find_files, read_file
from .frame import ExitCode, store_options
from .intake import Intake, Item, batches, known_agent
from .logs import result_of
from .output import Form, form_options, progress
from .tally import print_report


@click.command(short_help="Make runs of log files.")
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@click.option("--agent", "agent_id", type=click.UUID, required=True, help="The agent whose logs they are.")
@click.option("--register", is_flag=True, help="Make the agent known first.")
@click.option("--policy", "policy_id", type=click.UUID, help="The policy; by default one of this agent and task type.")
@click.option("--task-type", default="backup", show_default=True, help="The type of task.")
@click.option("--status", help="How all of them ended; by default what each log says, or unknown.")
@form_options
@store_options
@click.pass_context
def import_logs(
    ctx: click.Context,
    /,
    form: Form,
    *,
    paths: Sequence[str],
    agent_id: UUID,
    policy_id: UUID | None,
    task_type: str,
    status: str | None,
    register: bool,
) -> None:
    """Make a run of each log file, and of each file in the folders that are given.

    Figures, snapshot, duration and status are those that the log tells, if it is of restic, borg, rclone or another
    tool that is known; the time at which a run ended is that of its file. The same log of an agent is the same run,
    however often it is imported and whatever its file is called. What cannot be read is printed and passed over; it
    exits with 1 then.
    """
    total = sum(found.size for found in find_files(paths) if isinstance(found, Found))
    statuses, log_bytes = Counter[str](), 0
    with ctx.obj.open(migrate=register) as store, progress("importing", total) as tell:
        intake = Intake(store, known_agent(store, agent_id, register=register).id)
        make = partial(
            result_of,
            agent_id=agent_id,
            policy_id=policy_id,
            task_type=task_type,
            status=status,
            tools=store.parsers,
        )
        for batch in batches(_items(paths, intake, make)):
            intake.take(batch)
            statuses.update(item.result.status for item in batch if isinstance(item.result, TaskResult))
            log_bytes += sum(item.size for item in batch)
            tell(log_bytes)
    document = {**intake.document(), "statuses": dict(statuses), "log_bytes": log_bytes}
    lines = [
        ("logs", f"{number(statuses.total())}, {size(log_bytes)}"),
        *((f"  {word}", number(count)) for word, count in sorted(statuses.items())),
        *intake.lines(),
    ]
    print_report(form, document, lines)
    if not intake.is_whole:
        ctx.exit(ExitCode.FOUND)


def _items(paths: Sequence[str], intake: Intake, make: Callable[[bytes, datetime], TaskResult]) -> Iterator[Item]:
    for found in find_files(paths):
        file = read_file(found.path) if isinstance(found, Found) else found
        if isinstance(file, Skipped):
            intake.refuse(file.path, file.why)
        else:
            yield Item(found.path, make(file.content, file.modified_at), len(file.content))
