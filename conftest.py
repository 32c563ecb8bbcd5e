"""Run the Python blocks of the README and of docs/ as tests, each page in a folder of its own."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_plugins = ["browsing", "postgres_server", "web_site"]

NEED_POSTGRES = ["postgresql.md"]
NEED_A_PROCESS = ["frameworks.md"]  # tests/test_stacks.py runs its blocks


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a page an empty working folder, so that what it makes stays out of the project."""
    before = Path.cwd()
    folder = tmp_path_factory.mktemp("page")
    os.chdir(folder)
    yield folder
    os.chdir(before)


def pages(patterns: list[str], excludes: list[str], fixtures: list[str]) -> Sybil:
    """Collect pages whose blocks may use what the fixtures give."""
    return Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()], patterns=patterns, excludes=excludes, fixtures=fixtures
    )


pytest_collect_file = (
    pages(["*.md"], ["tests/**", *(f"docs/{name}" for name in NEED_POSTGRES + NEED_A_PROCESS)], ["scratch"])
    + pages([f"docs/{name}" for name in NEED_POSTGRES], [], ["scratch", "database"])
).pytest()
