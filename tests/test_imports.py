"""The direction of imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backuplog

ROOT = Path(__file__).parent.parent
ORDER = [
    "errors",
    "normalise",
    "model",
    "convert",
    "log",
    "delivery",
    "store",
    "observe",
    "opened",
    "open",
    "agent",
    "ingest",
    "query",
    "token",
    "request",
    "response",
    "http",
]


def imports(path: Path) -> list[tuple[int, str, list[str]]]:
    """List what a module imports: level, module, names."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name, []) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", [alias.name for alias in node.names]))
    return found


def test_the_core_loads_no_driver_and_no_framework() -> None:
    """Importing backuplog loads neither a database nor a test library."""
    program = "import sys, backuplog; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    heavy = {"sqlite3", "sqlite_utils", "psycopg", "pytest", "hypothesis", "flask", "django", "fastapi", "starlette"}
    assert heavy & set(loaded) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "backends").rglob("*.py")), ids=lambda path: path.name)
def test_a_backend_knows_public_names_only(path: Path) -> None:
    """A backend imports from backuplog itself what it exports, and from no other backend."""
    for level, module, names in imports(path):
        if level == 0 and module.partition(".")[0].startswith("backuplog"):
            assert module == "backuplog"
            assert set(names) <= set(backuplog.__all__)


@pytest.mark.parametrize("name", ORDER)
def test_the_core_imports_downwards(name: str) -> None:
    """A module of the core imports only those before it, attrs, cattrs, stamina, zstd and the standard library."""
    for level, module, names in imports(ROOT / "backuplog" / f"{name}.py"):
        if level == 1:
            assert set([module] if module else names) <= set(ORDER[: ORDER.index(name)])
        else:
            top = module.partition(".")[0]
            assert top in {"attrs", "cattrs", "backports", "compression", "stamina"} or top in sys.stdlib_module_names


def test_what_is_exported_exists_and_is_sorted() -> None:
    """Every public name is there, documented, and in order."""
    assert all(hasattr(backuplog, name) for name in backuplog.__all__)
    assert all(getattr(backuplog, name).__doc__ for name in backuplog.__all__)
