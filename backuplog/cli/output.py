"""How a command says what it has found: tables for people, JSON for programs, and progress while it takes long."""

import json
from collections.abc import Callable, Collection, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, Final, Literal, TypeAlias, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from backuplog.display import MARKS, cut, mark, number, tone

Form: TypeAlias = Literal["table", "json", "nl"]
"""For people, as one JSON document, or as a JSON document on each line."""

STYLES: Final[Mapping[str, str]] = {
    "success": "green",
    "warning": "yellow",
    "failed": "bold red",
    "cancelled": "dim",
    "running": "blue",
    "other": "magenta",
}
"""The colour of each tone of ``backuplog.display``."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def form_options(command: _Decorated) -> _Decorated:
    """Add the options that choose how the result is printed."""
    as_json = click.option("--json", "form", flag_value="json", help="Print one JSON document.")
    as_lines = click.option("--nl", "form", flag_value="nl", help="Print a JSON document on each line.")
    return as_json(as_lines(click.option("--table", "form", flag_value="table", default=True, hidden=True)(command)))


class _Screen(Console):
    def on_broken_pipe(self) -> None:
        """Leave it to the frame, for which it is no error: rich would exit with 1."""
        raise BrokenPipeError


def screen() -> Console:
    """Return the console for people: colours only on a terminal, and nothing in a text is taken for markup."""
    return _Screen(highlight=False, markup=False, emoji=False)


def print_json(document: Any) -> None:
    """Print one JSON document, in ASCII: no terminal obeys anything in it, and every encoding can hold it."""
    click.echo(json.dumps(document, indent=2))


def print_line(document: Any) -> None:
    """Print a JSON document on a line of its own."""
    click.echo(json.dumps(document))


def print_document(form: Form, document: Any) -> None:
    """Print one document in the form of JSON that is asked for."""
    (print_json if form == "json" else print_line)(document)


def print_all(form: Form, name: str, documents: Iterable[Mapping[str, Any]], **rest: Any) -> None:
    """Print entries as JSON: with what else there is to say in one document, or each on a line."""
    if form == "nl":
        for document in documents:
            print_line(document)
    else:
        print_json({name: list(documents), **rest})


def new_table(*columns: str, right: Collection[str] = (), flexible: Collection[str] = ()) -> Table:
    """Make a table with one line for each row; its first column is for marks.

    Args:
        columns: The headings of the other columns.
        right: Those that are aligned on the right.
        flexible: Those that become narrower where there is too little room, the widest first. They are for cells.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in ("", *columns):
        justify: Literal["left", "right"] = "right" if name in right else "left"
        table.add_column(name, justify=justify, no_wrap=name not in flexible, overflow="ellipsis")
    return table


def marked(status: str) -> Text:
    """Return the mark of a status."""
    return Text(mark(status), STYLES[tone(status)])


def coloured(status: str) -> Text:
    """Return a status in its colour."""
    return Text(cut(status, 20), STYLES[tone(status)], no_wrap=True, overflow="ellipsis")


def cell(text: str, longest: int = 30) -> Text:
    """Return what somebody else has said for a flexible column of a table."""
    return Text(cut(" ".join(text.split()), longest), no_wrap=True, overflow="ellipsis")


def said(text: str | None, longest: int = 60) -> Text:
    """Return what somebody else has said on one line, without anything that a terminal would obey."""
    return Text("" if text is None else cut(" ".join(text.split()), longest))


def legend(statuses: Iterable[str]) -> Text:
    """Return what the marks of some statuses mean."""
    tones = {tone(status) for status in statuses}
    names = {"failed": "failed or lost", "running": "running or pending", "other": "another status"}
    return Text("  ".join(f"{MARKS[each]} {names.get(each, each)}" for each in MARKS if each in tones), "dim")


def counted(count: int | None, noun: str) -> str:
    """Return a number of things, as in 1 run or 1,234 runs."""
    return f"{number(count)} {noun if count == 1 else f'{noun}s'}"


@contextmanager
def progress(
    what: str, total: float | None, *, in_bytes: bool = True, console: Console | None = None
) -> Generator[Callable[[float], None]]:
    """Show how far something has come, on a terminal, and never in what a program reads.

    Args:
        what: What is done.
        total: How much there is to do; None if that is unknown.
        in_bytes: Whether it is counted in bytes.
        console: The terminal that is printed on meanwhile, whose lines then stand above the bar.

    Yields:
        A function that takes how much is done by now.
    """
    console = console or Console(stderr=True)
    amount = (DownloadColumn(binary_units=True), TransferSpeedColumn()) if in_bytes else (MofNCompleteColumn(),)
    columns = (TextColumn("{task.description}"), BarColumn(), *amount, TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)
