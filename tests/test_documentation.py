"""The documentation names what there is, all of it and only that; that its code runs is seen to in /conftest.py."""

import ast
import enum
import inspect
import re
import typing
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

import attrs
import pytest
from psycopg_pool import ConnectionPool

import backuplog
import backuplog.testing
import backuplog_postgres
import backuplog_sqlite
from backuplog import http, limit, metrics, openapi

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / ".github").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")

# --- the reference -----------------------------------------------------------------------------------------------

PUBLIC: dict[str, Any] = {
    **{name: getattr(backuplog, name) for name in backuplog.__all__},
    **{f"backuplog.http.{name}": getattr(http, name) for name in http.__all__},
    "backuplog.limit.RateLimiter": limit.RateLimiter,
    "backuplog.metrics.LastSuccesses": metrics.LastSuccesses,
    "backuplog.metrics.PrometheusObserver": metrics.PrometheusObserver,
    "backuplog.openapi.document": openapi.document,
    **{f"backuplog_postgres.{name}": getattr(backuplog_postgres, name) for name in backuplog_postgres.__all__},
    **{f"backuplog_sqlite.{name}": getattr(backuplog_sqlite, name) for name in backuplog_sqlite.__all__},
    **{f"backuplog.testing.{name}": getattr(backuplog.testing, name) for name in backuplog.testing.__all__},
}


def declared(value: type[Any]) -> Iterator[tuple[str, Any, type[Any]]]:
    """Give what a class declares; of the kit, with the parts that it is put together from."""
    for owner in value.__mro__:
        is_of_kit = (
            owner.__module__.startswith("backuplog.testing.") and owner.__name__ not in backuplog.testing.__all__
        )
        if owner is value or (is_of_kit and value.__name__ == "StoreContract"):
            yield from ((member, item, owner) for member, item in vars(owner).items())


def members_of(name: str, value: object) -> Iterator[tuple[str, Any]]:
    """Give what a public class has besides its fields: properties and methods, of the kit only its hooks."""
    is_store = name in (
        "backuplog_postgres.PostgresStore",
        "backuplog_sqlite.SqliteStore",
    )  # It has the members of the protocol.
    if not isinstance(value, type) or issubclass(value, BaseException | enum.Enum) or is_store:
        return
    for member, item, owner in list(declared(value)):
        is_hook = "This is the hook." in (item.__doc__ or "") or member in inspect.get_annotations(owner)
        is_ours = is_hook if name.startswith("backuplog.testing.") else inspect.isroutine(item) or _is_property(item)
        if is_ours and not member.startswith("_"):
            yield f"{value.__name__}.{member}", item


def _is_property(value: object) -> bool:
    return isinstance(value, property)


MEMBERS = dict(member for name, value in PUBLIC.items() for member in members_of(name, value))
FUNCTIONS = {name: value for name, value in {**PUBLIC, **MEMBERS}.items() if inspect.isfunction(value)}
MODELS = {name: value for name, value in PUBLIC.items() if isinstance(value, type) and attrs.has(value)}
ENUMS = {name: value for name, value in PUBLIC.items() if isinstance(value, enum.EnumType)}
ERRORS = {name: v for name, v in PUBLIC.items() if isinstance(v, type) and issubclass(v, backuplog.BackuplogError)}


def sections(text: str, level: int) -> dict[str, str]:
    """Give the sections of the reference under the headings of a level, up to the next heading of any level."""
    parts = re.split(r"^(#+) (.+)\n", text, flags=re.MULTILINE)
    return {
        title: body
        for marks, title, body in zip(parts[1::3], parts[2::3], parts[3::3], strict=True)
        if len(marks) == level
    }


REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
NAMES, PARTS = sections(REFERENCE, 3), sections(REFERENCE, 4)
SECTIONS = {**NAMES, **PARTS}


def plain(text: str) -> str:
    """Give text without line breaks and backticks, to compare a docstring with a page."""
    return " ".join(text.replace("`", "").split())


def bullets(section: str) -> list[str]:
    """Give the names that a section lists under its attributes, or without a heading."""
    listed = re.split(r"^(?:Raises|Arguments):$", section, flags=re.MULTILINE)[0]
    return re.findall(r"^- `(\w+)`", listed, flags=re.MULTILINE)


def documented_signature(name: str) -> inspect.Signature:
    """Read the signature that the reference shows, by making a function that has it."""
    block = re.search(r"```text\n(.*?)\n```", SECTIONS[name], flags=re.DOTALL)
    assert block, f"{name} shows no signature"
    scope: dict[str, Any] = {name: getattr(backuplog, name) for name in backuplog.__all__}
    scope |= {"SqliteStore": backuplog_sqlite.SqliteStore, "PostgresStore": backuplog_postgres.PostgresStore}
    scope |= {"AsyncIterable": AsyncIterable} | vars(http) | vars(limit) | vars(metrics) | vars(openapi)
    scope |= {"ConnectionPool": ConnectionPool, "UUID": UUID, "datetime": datetime}
    scope |= {item.__name__: item for item in (Callable, Iterable, Iterator, Mapping, Sequence, AbstractContextManager)}
    scope |= {"Any": Any, "ClassVar": ClassVar, "Literal": Literal, "Self": Self}
    stub = ast.parse(f"def {block[1]}: ...")
    assert isinstance(stub.body[0], ast.FunctionDef)
    stub.body[0].name = "stub"
    exec(compile(stub, "reference.md", "exec"), scope)  # noqa: S102 - our own page, which is shorter than a parser
    return resolved(scope["stub"])


def resolved(function: Callable[..., object]) -> inspect.Signature:
    """Give a function's signature with its annotations as objects, without self."""
    signature = inspect.signature(function)
    hints = typing.get_type_hints(
        inspect.unwrap(function), localns=vars(backuplog) | vars(backuplog_sqlite) | vars(backuplog_postgres)
    )
    return signature.replace(
        parameters=[
            parameter.replace(annotation=hints.get(name, parameter.annotation))
            for name, parameter in signature.parameters.items()
            if name != "self"
        ],
        return_annotation=hints.get("return", signature.return_annotation),
    )


def test_the_reference_has_every_public_name_and_no_other() -> None:
    """Each name of the library, its backends and its kit has a heading, and no heading is of anything else."""
    assert sorted(NAMES) == sorted(PUBLIC)
    assert sorted(PARTS) == sorted(MEMBERS)


def test_what_is_public_has_a_docstring() -> None:
    """Every public class, function, method and property says what it promises."""
    documented = {name: item for name, item in {**PUBLIC, **MEMBERS}.items() if callable(item) or _is_property(item)}
    del documented["backuplog.http.Endpoint"]  # a type alias, which cannot have one
    assert [name for name, item in documented.items() if not inspect.cleandoc(item.__doc__ or "")] == []


@pytest.mark.parametrize("name", [name for name in SECTIONS if callable({**PUBLIC, **MEMBERS}.get(name))])
def test_the_reference_says_what_the_docstring_says(name: str) -> None:
    """Every paragraph of the docstring before its lists stands in the section."""
    prose = re.split(r"\n(?:Args|Returns|Raises|Attributes):\n", inspect.getdoc({**PUBLIC, **MEMBERS}[name]) or "")[0]
    for paragraph in prose.split("\n\n"):
        assert plain(paragraph) in plain(SECTIONS[name])


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_reference_shows_the_signature(name: str) -> None:
    """Parameters, annotations, defaults and the return type are those of the code."""
    assert documented_signature(name) == resolved(FUNCTIONS[name])


@pytest.mark.parametrize("name", ["TaskResult", "RunQuery", "Agent", "FieldError", "InvalidInput"])
def test_the_reference_shows_how_to_make_what_people_make(name: str) -> None:
    """The constructor's parameters, annotations and defaults are those of the code."""
    documented, actual = documented_signature(name), resolved(PUBLIC[name].__init__)
    assert list(documented.parameters.values()) == list(actual.parameters.values())


@pytest.mark.parametrize("name", MODELS)
def test_the_reference_names_every_field_of_a_model(name: str) -> None:
    """The fields listed are those of the class, in its order, in the reference and in the docstring."""
    fields = [field.name for field in attrs.fields(MODELS[name])]
    assert bullets(NAMES[name]) == fields
    assert re.findall(r"^    (\w+): ", inspect.getdoc(MODELS[name]) or "", flags=re.MULTILINE)[: len(fields)] == fields


@pytest.mark.parametrize("name", ENUMS)
def test_the_reference_names_every_member_of_an_enum(name: str) -> None:
    """The words listed are the members' values."""
    assert bullets(NAMES[name]) == [member.value for member in ENUMS[name]]


@pytest.mark.parametrize("name", ERRORS)
def test_the_reference_tells_an_errors_bases_and_status(name: str) -> None:
    """What to catch and what to answer with are those of the code."""
    error = ERRORS[name]
    assert f"`error_type` is `{error.error_type}`, `http_status` is {error.http_status}." in plain_code(NAMES[name])
    bases = " and a ".join(f"`{base.__name__}`" for base in error.__bases__ if base is not Exception)
    assert f"{bases}." in plain_code(NAMES[name])


def plain_code(text: str) -> str:
    """Give text without line breaks."""
    return " ".join(text.split())


# --- all pages ---------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """Give the anchors that a page's headings make."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that exists, and an anchor names a heading of it."""
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"^\[\w+\]: (\S+)$", text, flags=re.MULTILINE)
    for target in (target for target in targets if "://" not in target):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_a_page_begins_with_what_it_is_good_for(page: Path) -> None:
    """Each page opens with what the reader can do after it, and the README leads to it."""
    assert page.read_text(encoding="utf-8").split("\n\n")[1].startswith("After this page you ")
    assert f"(docs/{page.name})" in README


# --- commands ----------------------------------------------------------------------------------------------------


def test_the_readme_has_the_commands_that_ci_runs() -> None:
    """The README's two commands are one line each; CI runs the second as it finds it there, CONTRIBUTING repeats it."""
    commands = re.findall(r"^```sh\n(.+)\n```$", README, flags=re.MULTILINE)
    assert commands == [
        'python3 -m venv .venv && .venv/bin/pip install ".[sqlite]" && .venv/bin/python examples/quickstart.py',
        'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && .venv/bin/python -m pytest',
    ]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '([^']+)' README.md", ci)
    assert pattern
    assert re.findall(f"(?m){pattern[1]}.*$", README) == commands[1:]
    assert "examples/quickstart.py" in ci
    assert commands[1] in (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_readme_explains_every_file_of_the_core() -> None:
    """The tree in the README has a line for each module, and for nothing else in the package."""
    tree = README.split("## The tree\n")[1].split("backends/ ")[0]
    core = ROOT / "backuplog"
    modules = sorted([*(path.name for path in core.glob("*.py")), *(path.parent.name for path in core.glob("*/*.py"))])
    named = re.findall(r"^  (\w+\.py|\w+(?=/))", tree, flags=re.MULTILINE)
    assert sorted(named) == sorted(set(modules))
