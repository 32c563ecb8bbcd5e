"""Print docs/reference.md, the page about every public name, from the signatures and docstrings in the code.

Run ``python docs/reference.py > docs/reference.md``. If something public is not described, or something described does
not exist, the program lists it on standard error and prints no page.
"""

import re
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

import griffe

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTH: Final = 120
SIGNATURE_WIDTH: Final = 100


class Section(NamedTuple):
    """A section of the page.

    Attributes:
        title: Its heading.
        intro: The text above its names.
        modules: The modules that its names are imported from, all of one package.
        places: Where in the package its names are defined, in the order of the page: modules or single names.
        has_members: Whether its classes are shown with their signatures and members.
    """

    title: str
    intro: str
    modules: Sequence[str]
    places: Sequence[str]
    has_members: bool = True


INTRO: Final = (
    "This page describes every public name: what it promises, takes and raises. Import a name from the module that "
    "stands before it, or from `backuplog` if none does. All other names may change in any release. The page is "
    "generated from the docstrings by [reference.py](reference.py)."
)
SECTIONS: Final = (
    Section(
        "Verbs",
        "The store, and the functions that register agents, take in results and logs, list runs and read logs.",
        ["backuplog"],
        [
            *("store.open_store", "store", "agent", "ingest", "append", "query", "log", "follow", "search", "scan"),
            *("check", "figures", "copying", "convert"),
        ],
    ),
    Section(
        "Reports",
        "[Look back](reports.md) shows what they are for.",
        ["backuplog"],
        ["report", "overdue", "anomaly", "reap"],
    ),
    Section(
        "Retention",
        "[Remove what is old](retention.md) shows what they are for.",
        ["backuplog"],
        ["pruning", "retention", "sweep", "remove", "expire"],
    ),
    Section(
        "Credentials",
        "Tokens for agents. If you authenticate agents yourself, you need none of this.",
        ["backuplog"],
        ["token"],
    ),
    Section(
        "Models and constants",
        "What goes in and comes out. Every class is frozen.",
        ["backuplog"],
        ["model", "chunk.CHUNK_BYTES", "chunk.MAX_LOG_BYTES", "row.TABLES"],
    ),
    Section(
        "Errors",
        "Catch `BackuplogError` to catch them all. No message contains a value that was sent, an SQL statement or a "
        "password.",
        ["backuplog"],
        ["errors"],
    ),
    Section(
        "Observers",
        "Observers are told what became of each result: for logs, metrics and anything else that watches.",
        ["backuplog"],
        ["observe"],
    ),
    Section(
        "Figures from logs",
        "[Let the log tell the figures](how-to.md#let-the-log-tell-the-figures) shows what they are for.",
        ["backuplog.parsers"],
        ["parsers", "parsers.tool"],
    ),
    Section(
        "Secrets in logs",
        "[Keep secrets out of logs](how-to.md#keep-secrets-out-of-logs) shows what they are for.",
        ["backuplog"],
        ["redact"],
    ),
    Section(
        "HTTP",
        "The endpoints as functions. [Serve it over HTTP](http.md) shows how to use them. `backuplog.http.limit` needs "
        "the `limits` extra.",
        ["backuplog.http", "backuplog.http.limit", "backuplog.http.openapi"],
        [
            *("http", "http.asynchronous", "http.following", "http.guard", "http.request", "http.response"),
            *("http.reports", "http.searching", "http.limit", "http.openapi"),
        ],
    ),
    Section(
        "The application and its page",
        "[Mount all of it](http.md#mount-all-of-it) and [the page](page.md) show how to use it. "
        "It needs the `web` extra.",
        ["backuplog.web"],
        ["web"],
    ),
    Section(
        "Metrics",
        "Metrics for Prometheus. They need the `prometheus` extra.",
        ["backuplog.metrics"],
        ["metrics"],
    ),
    Section(
        "For backends",
        "Applications need none of these. [Write a backend](write-a-backend.md) shows how they fit together.",
        ["backuplog.backend"],
        ["backend", "change", "delivery", "prepare", "chunk", "row", "normalise.option", "normalise.as_duration"],
    ),
    Section(
        "SQLite",
        "The class has the members of [`Backend`](#backuplogbackendbackend) and no others.",
        ["backuplog_sqlite"],
        ["backend"],
        has_members=False,
    ),
    Section(
        "PostgreSQL",
        "The class has the members of [`Backend`](#backuplogbackendbackend) and no others. "
        "[Use PostgreSQL](postgresql.md) shows how to use it.",
        ["backuplog_postgres"],
        ["backend"],
        has_members=False,
    ),
    Section(
        "The kit",
        "Tests that a backend inherits, and what it supplies to them. They need pytest and hypothesis, which the `dev` "
        "extra installs. [Write a backend](write-a-backend.md#join-the-kit) shows how to use them.",
        ["backuplog.testing"],
        ["testing.store", "testing.durable", "testing.transactional", "testing.damage", "testing.common"],
    ),
)


def wrapped(text: str, indent: str = "") -> str:
    """Wrap a paragraph or an item of a list."""
    text = text.replace("``", "`")
    return textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def link(title: str, text: str) -> str:
    """Link to a heading of this page."""
    return f"[{text}](#{re.sub(r'[^-_a-z0-9 ]', '', title.lower()).replace(' ', '-')})"


def bullets(entries: Mapping[str, str]) -> str:
    """List names and what is said about them."""
    return "\n".join(wrapped(f"- {label}: {text}", "  ") for label, text in entries.items())


def block(code: str) -> str:
    """Show code as it is."""
    return f"```text\n{code}\n```"


def signature(name: str, parameters: list[str], returns: str = "") -> str:
    """Show a signature on one line if it fits, or else with one parameter a line."""
    line = f"{name}({', '.join(parameters)}){returns}"
    if len(line) > SIGNATURE_WIDTH:
        line = f"{name}(\n" + "".join(f"    {parameter},\n" for parameter in parameters) + f"){returns}"
    return block(line)


def source(item: Any, expression: Any) -> str:
    """Write an expression of an item's module. A private name is written as what it stands for."""

    def meaning(private: re.Match[str]) -> str:
        value = str(item.module[private[0]].value)
        return private[0][1:] if value.startswith(("TypeVar(", "ParamSpec(")) else value

    return re.sub(r"\b_\w+", meaning, str(expression)).replace("'", '"')


def parameter(item: Any, name: str, annotation: Any, default: Any) -> str:
    """Write a parameter."""
    return f"{name}: {source(item, annotation)}" + (f" = {source(item, default)}" if default is not None else "")


def parameters_of(function: Any) -> list[Any]:
    """List the parameters that a caller passes."""
    return [each for each in function.parameters if each.name != "self"]


def function_parameters(function: Any) -> list[str]:
    """Write the parameters of a function."""
    written: list[str] = []
    for each in parameters_of(function):
        stars = {"variadic positional": "*", "variadic keyword": "**"}.get(each.kind.value, "")
        if each.kind.value == "keyword-only" and not any(before.startswith("*") for before in written):
            written.append("*")
        written.append(parameter(function, stars + each.name, each.annotation, None if stars else each.default))
    return written


class Reference:
    """The page, and the problems found while making it."""

    def __init__(self) -> None:
        """Read the code and collect what is public."""
        loader = griffe.GriffeLoader(search_paths=[ROOT, ROOT / "backends"], allow_inspection=False)
        self.code = loader.modules_collection
        self.problems: list[str] = []
        # By where they are defined, the headings of all public names; by module, those it exports for the second time.
        self.headings: dict[str, str] = {}
        self.exported_again: dict[str, list[str]] = {}
        modules = dict.fromkeys(module for section in SECTIONS for module in section.modules)
        for package in dict.fromkeys(module.partition(".")[0] for module in modules):
            loader.load(package)
        loader.resolve_aliases()
        for module in modules:
            for name in map(str, self.code[module].exports or ()):
                path = self.code[module][name].canonical_path
                if path in self.headings:
                    self.exported_again.setdefault(module, []).append(self.headings[path])
                else:
                    self.headings[path] = name if module == "backuplog" else f"{module}.{name}"

    def page(self) -> str:
        """Make the page."""
        contents = "\n".join(f"- {link(section.title, section.title)}" for section in SECTIONS)
        parts = ["# Reference", wrapped(INTRO), contents]
        left = dict(self.headings)
        for section in SECTIONS:
            parts += [f"## {section.title}", wrapped(section.intro)]
            for module in section.modules:
                if module in self.exported_again:
                    links = ", ".join(link(heading, f"`{heading}`") for heading in self.exported_again[module])
                    parts.append(wrapped(f"`{module}` also exports these names of `backuplog`: {links}."))
            package = section.modules[0].partition(".")[0]
            for place in (f"{package}.{place}" for place in section.places):
                items = [self.code[path] for path in left if place in (path, path.rpartition(".")[0])]
                if not items:
                    self.problems.append(f"{section.title}: nothing public is defined in {place}")
                for item in sorted(items, key=attrgetter("lineno")):
                    heading = left.pop(item.path)
                    parts += [f"### {heading}", *self.entry(heading, item, has_members=section.has_members)]
        self.problems += [f"{heading}: no section has a place for {path}" for path, heading in left.items()]
        return "\n\n".join(parts) + "\n"

    def entry(self, heading: str, item: Any, *, has_members: bool = True) -> Iterator[str]:
        """Describe a constant, a function, a class, or a member of a class."""
        if item.is_class and has_members:
            yield from self.members(heading, item)
        elif item.is_function:
            name = f"async {item.name}" if "async" in item.labels else item.name
            yield signature(name, function_parameters(item), f" -> {source(item, item.returns)}")
            yield from self.description(heading, {each.name: f"`{each.name}`" for each in parameters_of(item)}, item)
        else:
            if item.is_attribute:
                yield block(f"{item.name}: {item.annotation}" if "property" in item.labels else item.source)
            yield from self.description(heading, {}, item)

    def members(self, heading: str, item: Any) -> Iterator[str]:
        """Describe a class: how it is made, its fields, and the members that no other public class gave it."""
        known = {name for base in item.mro() if base.path in self.headings for name in base.all_members}
        members = {
            name: member
            for name, member in item.all_members.items()
            if name not in known and not name.startswith(("_", "test_"))
        }
        fields = {
            name: member for name, member in members.items() if member.is_attribute and "property" not in member.labels
        }
        init = item.members.get("__init__")
        types = {each.name: each.annotation for each in parameters_of(init)} if init else {}
        origins = [*(str(decorator.value) for decorator in item.decorators), *map(str, item.bases)]
        if any(origin.startswith(("attrs.", "NamedTuple")) for origin in origins):
            yield signature(item.name, self.model_parameters(item, fields))
        elif init:
            yield signature(item.name, function_parameters(init))
        labels = {name: f"`{name}`" for name in types} | {
            name: f"`{name}` (`{source(item, field.annotation or types[name])}`)"
            for name, field in fields.items()
            if not field.docstring
        }
        yield from self.description(heading, labels, item, init)
        documented = {f"`{field.source}`": field.docstring.value for field in fields.values() if field.docstring}
        if documented:
            yield bullets(documented)
        if "error_type" in item.all_members:
            bases = " and ".join(f"`{base}`" for base in item.bases)
            error_type, status = (source(item, item.all_members[name].value) for name in ("error_type", "http_status"))
            yield f"Extends {bases}. `error_type` is `{error_type}`, `http_status` is `{status}`."
        for name, member in members.items():
            if name not in fields:
                yield f"#### {item.name}.{name}"
                yield from self.entry(f"{heading}.{name}", member)

    def model_parameters(self, item: Any, fields: Mapping[str, Any]) -> list[str]:
        """Write the parameters that attrs makes of a model's fields. A field takes what its converter takes."""
        all_by_keyword = any("kw_only=True" in str(decorator.value) for decorator in item.decorators)
        by_position: list[str] = []
        by_keyword: list[str] = []
        for name, field in fields.items():
            annotation, options = field.annotation, {"default": field.value}
            if str(field.value).startswith("attrs.field("):
                options = {argument.name: argument.value for argument in field.value.arguments}
                if "converter" in options:
                    annotation = self.code[options["converter"].canonical_path].parameters[0].annotation
            parameters = by_keyword if all_by_keyword or "kw_only" in options else by_position
            parameters.append(parameter(item, name, annotation, options.get("default")))
        return [*by_position, *(["*"] if by_keyword else []), *by_keyword]

    def description(self, heading: str, labels: Mapping[str, str], item: Any, init: Any = None) -> Iterator[str]:
        """Show the docstring of an item, which must describe every label, and that of its ``__init__``."""
        if not item.docstring:
            self.problems.append(f"{heading}: has no docstring")
            return
        parsed = item.docstring.parse("google", returns_multiple_items=False)
        parsed += init.docstring.parse("google")[1:] if init else []  # Its summary says nothing new.
        described: list[str] = []
        for section in parsed:
            kind, content = section.kind.value, section.value
            if kind == "text":
                yield from map(wrapped, content.split("\n\n"))
            elif kind == "returns":
                # A word before a colon is taken for a name.
                yield wrapped(f"Returns: {': '.join(filter(None, (content[0].name, content[0].description)))}")
            elif kind == "raises":
                yield f"Raises:\n\n{bullets({f'`{each.annotation}`': each.description for each in content})}"
            elif kind in ("parameters", "attributes"):
                described += [each.name for each in content]
                entries = {labels.get(each.name, each.name): each.description for each in content}
                yield f"{'Arguments' if kind == 'parameters' else 'Attributes'}:\n\n{bullets(entries)}"
            else:
                self.problems.append(f"{heading}: the page cannot show a section of {kind}")
        self.problems += [f"{heading}: {name} is not described" for name in labels if name not in described]
        self.problems += [
            f"{heading}: {name} is described but does not exist" for name in described if name not in labels
        ]


def main() -> None:
    """Print the page, or else the problems."""
    reference = Reference()
    page = reference.page()
    if reference.problems:
        sys.exit("\n".join(reference.problems))
    print(page, end="")


if __name__ == "__main__":
    main()
