"""``backuplog search``: the lines of logs that hold a text."""

from typing import Any

import click
from rich.console import Console
from rich.text import Text

from backuplog.convert import converter
from backuplog.display import cut, short, size
from backuplog.http.searching import match_document
from backuplog.scan import LogMatch
from backuplog.search import search_logs

from .filters import query_of, run_options
from .frame import ExitCode, store_options
from .output import Form, counted, form_options, print_json, print_line, progress, screen


@click.command()
@click.argument("text")
@run_options
@click.option("-i", "--ignore-case", is_flag=True, help="Take upper and lower case of ASCII letters for the same.")
@click.option(
    "-C", "--context", "context_lines", type=click.IntRange(0, 16), default=0, help="Lines to print around each."
)
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The most lines to find.")
@click.option("--cursor", help="Go on behind an earlier search: the cursor that it ended with.")
@form_options
@store_options
@click.pass_context
def search(
    ctx: click.Context, /, form: Form, text: str, limit: int, *, ignore_case: bool, context_lines: int, **filters: Any
) -> None:
    """Print the lines of logs that hold TEXT, newest run first. Exits with 1 if there is none."""
    console = screen()
    # On one terminal the lines that are found stand above the bar, for which it has to be the same console.
    shown_on = console if console.is_terminal else None
    with ctx.obj.open() as store, progress("searching", None, console=shown_on) as show:
        found = search_logs(
            store,
            text,
            query_of(**filters),
            ignore_case=ignore_case,
            context_lines=context_lines,
            max_matches=limit,
            max_bytes=None,
            max_seconds=None,
        )
        documents: list[dict[str, Any]] = []
        for match in found:
            show(found.bytes_read)
            if form == "table":
                _print_match(console, match)
            elif form == "nl":
                print_line(match_document(match))
            else:
                documents.append(match_document(match))
    unread = (*found.damaged, *found.replaced)
    if form == "json":
        rest = {name: [str(run_id) for run_id in getattr(found, name)] for name in ("damaged", "replaced")}
        counts = {"runs_done": found.runs_done, "bytes_read": found.bytes_read, "next_cursor": found.next_cursor}
        searched_back_to = converter.unstructure(found.searched_back_to)
        print_json({"matches": documents, "searched_back_to": searched_back_to, **rest, **counts})
    click.echo(
        f"{counted(found.matches, 'line')} found in {counted(found.runs_done, 'run')}, {size(found.bytes_read)} read"
        + (f"; damaged or replaced: {counted(len(unread), 'log')}, run backuplog check" if unread else "")
        + (f"; more: --cursor {found.next_cursor}" if found.next_cursor else ""),
        err=True,
    )
    if not found.matches:
        ctx.exit(ExitCode.FOUND)


def _print_match(console: Console, match: LogMatch) -> None:
    place = f"{short(match.run.id)} {match.run.start_time:%Y-%m-%d %H:%M}"
    first = match.line_number - len(match.before)
    for line_number, line in enumerate((*match.before, match.line, *match.after), first):
        mark = ":" if line_number == match.line_number else "-"
        text = Text(f"{place} {line_number}{mark} ", "dim", end="")
        console.print(text, Text(cut(line.decode("utf-8", "replace"), 1_024)), sep="", soft_wrap=True)
