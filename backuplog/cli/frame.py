"""What the commands share: which store to use, errors in one line, and exit codes that scripts can use."""

import io
import logging
import os
import re
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from enum import IntEnum
from http import HTTPStatus
from typing import Any, Final, TypeVar
from uuid import UUID

import attrs
import click

from backuplog.display import visible
from backuplog.errors import AgentNotFound, BackendNotFound, BackuplogError, RunNotFound, SchemaOutdated
from backuplog.model import DEFAULT_TENANT
from backuplog.observe import Observer
from backuplog.store import Store, open_store

_PASSWORD: Final = re.compile(r"://[^@\s]*@")

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
    """The store failed, or the system did, as where a disk is full."""
    INTERRUPTED = 130
    """It was interrupted from the keyboard."""


# What the library says to programmers, as users of the command do it.
_SAID: Final[Mapping[str, str]] = {
    str(AgentNotFound()): "no such agent: see backuplog agents, or make it known with backuplog agents register",
    str(RunNotFound()): "no such run: see backuplog runs",
}


class Refusal(click.ClickException):
    """A command that cannot go on, in one line."""

    def __init__(self, message: str, exit_code: ExitCode) -> None:
        """Say what is wrong, what to do, and with which code to exit."""
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc] # click reads it of the instance

    @classmethod
    def of(cls, error: BackuplogError) -> "Refusal":
        """Return what to say of an error."""
        message = _SAID.get(str(error), str(error))
        if isinstance(error, SchemaOutdated):
            message = message.replace("open it once with migrate=True", "run backuplog migrate")
        if isinstance(error, SchemaOutdated) or error.http_status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            return cls(message, ExitCode.MISSING)
        is_failure = error.http_status >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(error, BackendNotFound)
        return cls(message, ExitCode.FAILED if is_failure else ExitCode.USAGE)

    def show(self, file: Any = None) -> None:
        """Print it to standard error."""
        click.echo(f"error: {_on_one_line(self.message)}", file=file, err=file is None)


def _on_one_line(text: str) -> str:
    return visible(" ".join(text.split()))


@attrs.frozen(kw_only=True)
class Target:
    """Which store a command works on.

    Attributes:
        url: Its URL.
        tenant: The tenant.
    """

    url: str = attrs.field(default=DEFAULT_URL, repr=False)  # It may hold a password.
    tenant: UUID = DEFAULT_TENANT

    def open(self, *, migrate: bool = False, observers: Sequence[Observer] = ()) -> Store:
        """Open the store. Without ``migrate`` nothing is made where there is none."""
        return open_store(self.url, tenant_id=self.tenant, migrate=migrate, observers=observers)


class _Told(logging.Handler):
    """Prints what the library warns of on standard error, such as that a call is tried again."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print a line."""
        click.echo(f"{record.levelname.lower()}: {_on_one_line(record.getMessage())}", err=True)


class Main(click.Group):
    """The group of all commands, which turns what goes wrong into one line and an exit code."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read what stands before the name of a command; this may print help."""
        with _in_one_line(ctx):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        logger, told = logging.getLogger("backuplog"), _Told(logging.WARNING)
        logger.addHandler(told)
        try:
            with _in_one_line(ctx):
                return super().invoke(ctx)
        finally:
            logger.removeHandler(told)


@contextmanager
def _in_one_line(ctx: click.Context) -> Generator[None]:
    """Turn what goes wrong into one line and an exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # where letters of other languages cannot be printed
            stream.reconfigure(errors="backslashreplace")
    try:
        yield
        sys.stdout.flush()
    except click.UsageError as error:
        if _PASSWORD.search(error.message):  # of a URL that stands where none belongs
            raise click.UsageError(_PASSWORD.sub("://…@", error.message), error.ctx) from None
        raise
    except BackuplogError as error:
        raise Refusal.of(error) from error
    except BrokenPipeError:  # Whoever read has seen enough.
        _leave_output()
        ctx.exit(ExitCode.DONE)
    except OSError as error:
        _leave_output()
        raise Refusal(f"the system says: {error.strerror or error}", ExitCode.FAILED) from error
    except KeyboardInterrupt:
        ctx.exit(ExitCode.INTERRUPTED)


def _leave_output() -> None:
    """Write no more to standard output: what is left in its buffer would fail once more at the end."""
    with suppress(OSError):  # Where it is no file, there is nothing to leave.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
