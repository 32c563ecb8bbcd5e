"""``backuplog migrate``: making the tables, or bringing them up to date."""

import click

from backuplog import SchemaOutdated

from .frame import Target, store_options
from .output import Form, form_options
from .tally import named, print_report


@click.command()
@form_options
@store_options
@click.pass_obj
def migrate(target: Target, /, form: Form) -> None:
    """Make the database and its tables, or bring them up to date.

    Back an older database up before. Commands that write do the same by themselves, those that only look never do.
    """
    pending = tuple[str, ...]()
    try:
        target.open().close()
    except SchemaOutdated as error:
        if not error.pending:
            raise
        pending = error.pending
        target.open(migrate=True).close()
    lines = named("applied", pending, len(pending)) or [("nothing to do", "the tables are up to date")]
    print_report(form, {"applied": pending}, lines)
