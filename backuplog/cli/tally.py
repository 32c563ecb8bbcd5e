"""How a command that does something says what became of it: a name and a figure on each line, or JSON."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from rich.table import Table

from backuplog.convert import converter
from backuplog.display import number

from .output import Form, print_document, said, screen

MOST_SHOWN: Final = 20
"""How many of many people are shown. Programs are given all that a report names."""


def print_report(
    form: Form, document: Any, lines: Iterable[tuple[str, str]], *, next_cursor: str | None = None
) -> None:
    """Print what became of something.

    Args:
        form: For whom.
        document: All of it, for programs.
        lines: What people are told: a name and a figure each. What others have said may be among it.
        next_cursor: With which ``--cursor`` to go on; None if there is nothing more.
    """
    if form != "table":
        print_document(form, converter.unstructure(document))
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in lines:
        table.add_row(name, said(value, 1_000))
    console = screen()
    console.print(table)
    if next_cursor is not None:
        console.print(f"more: --cursor {next_cursor}", style="dim", soft_wrap=True)


def named(name: str, things: Sequence[str], count: int) -> list[tuple[str, str]]:
    """Return lines that name the first of some things, and say how many more there are.

    Args:
        name: What they are.
        things: As many as are known by name.
        count: How many there are.
    """
    shown = list(things[:MOST_SHOWN])
    if count > len(shown):
        shown.append(f"and {number(count - len(shown))} more")
    return [(name if place == 0 else "", thing) for place, thing in enumerate(shown)]
