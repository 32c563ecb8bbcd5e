"""The direction of imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import backuplog
import backuplog.backend

ROOT = Path(__file__).parent.parent
ORDER = [
    "errors",
    "normalise",
    "model",
    "unchecked",
    "decode",
    "convert",
    "chunk",
    "redact",
    "change",
    "delivery",
    "merge",
    "prepare",
    "row",
    "backend",
    "observe",
    "parsers.tool",
    "parsers.borg",
    "parsers.dar",
    "parsers.duplicity",
    "parsers.kopia",
    "parsers.pgbackrest",
    "parsers.rclone",
    "parsers.rdiff_backup",
    "parsers.restic",
    "parsers.rsync",
    "parsers.tar",
    "parsers",
    "group",
    "store",
    "agent",
    "query",
    "report",
    "overdue",
    "anomaly",
    "reap",
    "retention",
    "log",
    "amend",
    "append",
    "check",
    "expire",
    "sweep",
    "pruning",
    "remove",
    "figures",
    "scan",
    "search",
    "copying",
    "follow",
    "close",
    "ingest",
    "token",
    "http.request",
    "http.response",
    "http.guard",
    "http.answering",
    "http.asynchronous",
    "http.following",
    "http.pages",
    "http.parameters",
    "http.reports",
    "http.searching",
    "http",
]
LIBRARIES = {"attrs", "cattrs", "backports", "compression", "msgspec", "tenacity", "cronsim"}


def imports(path: Path) -> list[tuple[str, list[str]]]:
    """List what a file imports: the absolute name of each module, and the names that are taken from it."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, list[str]()) for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            assert node.level <= 1
            module = ".".join(filter(None, (package, node.module))) if node.level else node.module or ""
            found.append((module, [alias.name for alias in node.names]))
    return found


def test_the_core_loads_no_driver_and_no_framework() -> None:
    """Importing backuplog loads neither a database nor a test library."""
    program = "import sys, backuplog; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    drivers, frameworks = {"sqlite3", "sqlite_utils", "psycopg"}, {"flask", "django", "fastapi", "starlette"}
    heavy = {*drivers, *frameworks, "pytest", "hypothesis", "cronsim", "tenacity", "asyncio"}
    assert heavy & set(loaded) == set()


BACKENDS = [
    *(ROOT / "backends").rglob("*.py"),
    *(ROOT / "examples" / "third_party_backend" / "backuplog_dict").glob("*"),
]


@pytest.mark.parametrize("path", sorted(path for path in BACKENDS if path.suffix == ".py"), ids=lambda path: path.name)
def test_a_backend_comes_in_by_its_own_door(path: Path) -> None:
    """A backend imports what ``backuplog.backend`` exports, nothing else of the core, and no other backend."""
    for module, names in imports(path):
        if module.startswith("backuplog"):
            assert module == "backuplog.backend"
            assert set(names) <= set(backuplog.backend.__all__)


@pytest.mark.parametrize("name", ORDER)
def test_the_core_imports_downwards(name: str) -> None:
    """A module of the core imports only those before it, a few libraries and the standard library."""
    path = ROOT / "backuplog" / name.replace(".", "/")
    allowed = {f"backuplog.{earlier}" for earlier in ORDER[: ORDER.index(name)]}
    for module, names in imports(path / "__init__.py" if path.is_dir() else path.with_suffix(".py")):
        if module.startswith("backuplog"):
            modules = {f"backuplog.{taken}" for taken in names} if module == "backuplog" else {module}
            assert modules <= allowed
        else:
            top = module.partition(".")[0]
            assert top in LIBRARIES or top in sys.stdlib_module_names


@pytest.mark.parametrize("module", [backuplog, backuplog.backend], ids=lambda module: module.__name__)
def test_what_is_exported_exists_and_is_sorted(module: object) -> None:
    """Every public name is there, documented, and in order."""
    names: list[str] = vars(module)["__all__"]
    assert all(hasattr(module, name) for name in names)
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))


def test_two_audiences_have_two_namespaces() -> None:
    """What only a backend's author needs is not among the integrator's names, of which there are not too many."""
    for_backends = {
        "Backend",
        "Change",
        "Chunk",
        "Decision",
        "StoredRun",
        "Submission",
        "Term",
        "decode",
        "query_terms",
    }
    assert for_backends <= set(backuplog.backend.__all__)
    assert for_backends.isdisjoint(backuplog.__all__)
    assert len(backuplog.__all__) <= 100


def test_the_protocol_stays_small() -> None:
    """A backend has fewer than 20 members to write."""
    members = [name for name in vars(backuplog.backend.Backend) if not name.startswith("_")]
    assert len(members) < 20
