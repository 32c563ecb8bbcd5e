"""The documentation names what there is, all of it and only that; that its code runs is seen to in /conftest.py."""

import difflib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import backuplog.backend
import backuplog.http.limit
import backuplog.http.openapi
import backuplog.metrics
import backuplog.parsers
import backuplog.testing
import backuplog_postgres
import backuplog_sqlite

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "CHANGELOG.md", *sorted((ROOT / ".github").glob("*.md"))]
README = PAGES[0].read_text(encoding="utf-8")

# --- the reference -----------------------------------------------------------------------------------------------

REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
PUBLIC = [
    backuplog,
    backuplog.backend,
    backuplog.http,
    backuplog.http.limit,
    backuplog.http.openapi,
    backuplog.metrics,
    backuplog.parsers,
    backuplog.testing,
    backuplog_postgres,
    backuplog_sqlite,
]


def make_reference(tree: Path) -> subprocess.CompletedProcess[str]:
    """Run the script that makes the reference of a tree, from a folder outside of it."""
    script = tree / "docs" / "reference.py"
    return subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=tree.parent, check=False)


def test_the_reference_is_what_its_script_prints() -> None:
    """docs/reference.md is what ``python docs/reference.py`` prints."""
    made = make_reference(ROOT)
    assert made.returncode == 0, made.stderr
    difference = difflib.unified_diff(REFERENCE.splitlines(), made.stdout.splitlines(), "stored", "made", lineterm="")
    assert "\n".join(difference) == ""


@pytest.mark.parametrize("module", PUBLIC, ids=lambda module: module.__name__)
def test_the_reference_has_every_public_name(module: ModuleType) -> None:
    """Each name that a public module exports has a heading, or is named as one that the module exports again."""
    headings = set(re.findall(r"^### (.+)$", REFERENCE, flags=re.MULTILINE))
    again = re.search(rf"^`{module.__name__}` also exports ([^.]+)\.$", REFERENCE, flags=re.MULTILINE)
    links = re.findall(r"\[`(\w+)`\]", again[1]) if again else []
    prefix = "" if module is backuplog else f"{module.__name__}."
    assert [name for name in module.__all__ if f"{prefix}{name}" not in headings and name not in links] == []
    assert set(links) <= headings


def test_an_argument_that_is_not_described_makes_no_reference(tmp_path: Path) -> None:
    """Where a public docstring leaves an argument out, the script names both and prints no page."""
    for folder in ("backuplog", "backends", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    module = tmp_path / "backuplog" / "agent.py"
    text = module.read_text(encoding="utf-8")
    module.write_text(re.sub(r"\n        hostname: .+", "", text, count=1), encoding="utf-8")
    made = make_reference(tmp_path)
    assert (made.returncode, made.stdout) == (1, "")
    assert "register_agent: hostname is not described" in made.stderr.splitlines()


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
    """Each page opens with what it is for, and the README leads to it."""
    assert page.read_text(encoding="utf-8").split("\n\n")[1].startswith("This page ")
    assert f"(docs/{page.name})" in README


# --- commands ----------------------------------------------------------------------------------------------------


def test_the_readme_has_the_commands_that_ci_runs() -> None:
    """The README's commands are one line each; CI runs the last as it finds it there, CONTRIBUTING repeats it."""
    commands = re.findall(r"^```sh\n(.+)\n```$", README, flags=re.MULTILINE)
    pytest = ".venv/bin/python -m pytest -n auto --dist loadfile"
    assert commands == [
        'python3 -m venv .venv && .venv/bin/pip install ".[sqlite]" && .venv/bin/python examples/quickstart.py',
        '.venv/bin/pip install ".[cli,sqlite,web]" && .venv/bin/backuplog serve',
        f'python3 -m venv .venv && .venv/bin/pip install -e ".[dev]" && {pytest}',
    ]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"grep -m 1 -E '([^']+)' README.md", ci)
    assert pattern
    assert re.findall(f"(?m){pattern[1]}.*$", README) == commands[2:]
    assert "examples/quickstart.py" in ci
    assert commands[2] in (ROOT / ".github" / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_readme_explains_every_file_of_the_core() -> None:
    """The tree in the README has a line for each module and folder, and for all or none of the files in a folder."""
    tree = README.split("## The tree\n")[1].split("backends/ ")[0]
    core = ROOT / "backuplog"
    folders = {path.parent.name for path in core.glob("*/*.py")}
    named = re.findall(r"^  (\w+\.py|\w+(?=/))", tree, flags=re.MULTILINE)
    assert sorted(named) == sorted([*(path.name for path in core.glob("*.py")), *folders])
    for folder in folders:
        lines = re.search(rf"^  {folder}/.*\n((?:    .*\n)*)", tree, flags=re.MULTILINE)
        assert lines
        files = {path.name for path in (core / folder).glob("*.py")} - {"__init__.py"}
        assert set(re.findall(r"^    (\w+\.py)", lines[1], flags=re.MULTILINE)) in (files, set())
