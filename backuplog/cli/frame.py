"""What the commands share: which store to use, errors in one line, and exit codes that scripts can use."""

import os
import sys
from collections.abc import Callable
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs
import click

from backuplog.display import cut
from backuplog.errors import BackuplogError, SchemaOutdated
from backuplog.model import DEFAULT_TENANT
from backuplog.store import Store, open_store

DEFAULT_URL: Final = "sqlite:///backups.db"
"""The store that is used if none is named."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class ExitCode(IntEnum):
    """What a script learns from a command."""

    DONE = 0
    """It is done, and there is nothing to look at."""
    FOUND = 1
    """It is done, and there is something to look at, such as damage, or what is overdue; or nothing was found."""
    USAGE = 2
    """It was not called as it must be, or what it was given is not valid."""
    MISSING = 3
    """What it was asked for is not there: a run, an agent, a log, or the database."""
    FAILED = 4
    """The store failed."""
    INTERRUPTED = 130
    """It was interrupted from the keyboard."""


class Refusal(click.ClickException):
    """A command that cannot go on, in one line."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        """Say what is wrong, what to do, and with which code to exit."""
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it of the instance

    @classmethod
    def of(cls, error: BackuplogError) -> "Refusal":
        """Return what to say of an error."""
        if isinstance(error, SchemaOutdated):
            message = str(error).replace("open it once with migrate=True", "run backuplog migrate")
            return cls(message, ExitCode.MISSING)
        if error.http_status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return cls(str(error), ExitCode.MISSING)
        is_failure = error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR
        return cls(str(error), ExitCode.FAILED if is_failure else ExitCode.USAGE)

    def show(self, file: Any = None) -> None:
        """Print it to standard error."""
        click.echo(f"error: {cut(' '.join(self.message.split()), 2_000)}", file=file, err=file is None)


@attrs.frozen(kw_only=True)
class Target:
    """Which store a command works on.

    Attributes:
        url: Its URL.
        tenant: The tenant.
    """

    url: str = attrs.field(default=DEFAULT_URL, repr=False)  # It may hold a password.
    tenant: UUID = DEFAULT_TENANT

    def open(self, *, migrate: bool = False) -> Store:
        """Open the store. Without ``migrate`` nothing is made where there is none."""
        return open_store(self.url, tenant_id=self.tenant, migrate=migrate)


class Main(click.Group):
    """The group of all commands, which turns what goes wrong into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            returned = super().invoke(ctx)
            sys.stdout.flush()
        except BackuplogError as error:
            raise Refusal.of(error) from error
        except BrokenPipeError:
            # Whoever read has seen enough. What is left in the buffer would fail once more at the end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(ExitCode.DONE)
        except KeyboardInterrupt:
            ctx.exit(ExitCode.INTERRUPTED)
        return returned


def store_options(command: _Decorated, *, envvar: str | None = None) -> _Decorated:
    """Add the options that say which store to use, which stand before the name of a command or after it."""

    def choose(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        target = ctx.obj or Target()
        ctx.obj = target if value is None else attrs.evolve(target, **{str(parameter.name): value})

    url = click.option(
        "--url",
        metavar="URL",
        envvar=envvar,
        expose_value=False,
        callback=choose,
        help=f"The store: sqlite:///file.db or postgresql://…  [env: BACKUPLOG_URL; default: {DEFAULT_URL}]",
    )
    tenant = click.option(
        "--tenant",
        type=click.UUID,
        expose_value=False,
        callback=choose,
        help="The tenant whose runs to work on, if there are several.",
    )
    return url(tenant(command))
