"""``backuplog ingest``: taking results in from a file or a pipe."""

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO
from uuid import UUID

import click

from backuplog import InvalidTaskResult

from .documents import MAX_DOCUMENT_BYTES, read_documents
from .frame import ExitCode, store_options
from .intake import Intake, Item, batches, known_agent
from .output import Form, form_options, progress
from .tally import print_report


@click.command(short_help="Take results in.")
@click.argument("file", type=click.File("rb"))
@click.option("--agent", "agent_id", type=click.UUID, required=True, help="The agent that the results are from.")
@click.option("--register", is_flag=True, help="Make the agent known first.")
@form_options
@store_options
@click.pass_context
def ingest(ctx: click.Context, /, form: Form, file: BinaryIO, agent_id: UUID, *, register: bool) -> None:
    """Take in task results from FILE, or from standard input where FILE is a dash.

    It holds one result as JSON, an array of them, or one on each line. Each counts once, however often it is taken in:
    so call it again after a failure. What is wrong with a result is printed with the number of its line; it exits
    with 1 then, and all other results are stored.
    """
    with ctx.obj.open(migrate=register) as store, progress("taking in", _size_of(file)) as tell:
        intake = Intake(store, known_agent(store, agent_id, register=register).id)
        done = 0
        for batch in batches(_items(file, intake)):
            intake.take(batch)
            done += sum(item.size for item in batch)
            tell(done)
    print_report(form, intake.document(), intake.lines())
    if not intake.is_whole:
        ctx.exit(ExitCode.FOUND)


def _size_of(file: BinaryIO) -> int | None:
    """Return how many bytes a file has; None if it is a pipe or a terminal."""
    try:
        found = os.fstat(file.fileno())
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _items(file: BinaryIO, intake: Intake) -> Iterator[Item]:
    try:
        for line, content in read_documents(file):
            if content is None:
                intake.refuse(f"line {line}", f"$: must not be longer than {MAX_DOCUMENT_BYTES:,} bytes")
            else:
                yield Item(f"line {line}", content, len(content))
    except InvalidTaskResult as error:
        intake.refuse("end", str(error))
