"""Finding the backend of a URL."""

import importlib
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import sqlalchemy

import backuplog


def install(folder: Path, name: str, entry_point: str, group: str = "backuplog.backends") -> None:
    """Make it look as if a distribution with this entry point were installed."""
    metadata = folder / f"{name}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[{group}]\n{entry_point}\n")
    importlib.invalidate_caches()


def test_an_unknown_scheme_names_what_is_installed() -> None:
    """The error says which backends there are and how to get another."""
    with pytest.raises(backuplog.BackendNotFound, match=r"installed: .*sqlite.*pip install 'backuplog\[sqlite\]'"):
        backuplog.open_store("mysql://user:hunter2@db/backups")


@pytest.mark.parametrize("url", ["mysql://user:hunter2@db/x", "host=db password=hunter2", "hunter2"])
def test_no_error_shows_a_password(url: str) -> None:
    """Only the scheme of a URL is ever repeated."""
    with pytest.raises(backuplog.BackendNotFound) as caught:
        backuplog.open_store(url)
    assert "hunter2" not in str(caught.value)


def test_two_owners_of_a_scheme_are_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two distributions that serve one scheme are both named."""
    install(tmp_path, "one", "double = json:loads")
    install(tmp_path, "two", "double = json:dumps")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(backuplog.BackendNotFound, match="one and two both serve double:// URLs: uninstall one"):
        backuplog.open_store("double://")


def test_a_missing_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend whose driver is missing names it; one of ours names the extra that brings it, another's its owner."""
    (tmp_path / "backuplog_lacking.py").write_text("import a_driver_that_is_not_there\n")
    install(tmp_path, "lacking", "lacking = backuplog_lacking:open_backend")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(backuplog.BackendNotFound, match="pip install a_driver_that_is_not_there, or what lacking says"):
        backuplog.open_store("lacking://")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    for name in [name for name in sys.modules if name.startswith("backuplog_postgres")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(backuplog.BackendNotFound, match=r"psycopg is not installed, .*'backuplog\[postgres\]'"):
        backuplog.open_store("postgresql://")


def test_errors_have_stable_slugs_and_statuses() -> None:
    """Every error is a BackuplogError with a slug of its own, a status, and its docstring as default message."""
    errors = [
        value
        for name in backuplog.__all__
        if isinstance(value := getattr(backuplog, name), type) and issubclass(value, backuplog.BackuplogError)
    ]
    assert len({error.error_type for error in errors}) == len(errors)
    assert {error.error_type: error.http_status for error in errors} == {
        "backuplog_error": 500,
        "invalid_input": 400,
        "invalid_task_result": 400,
        "invalid_query": 400,
        "invalid_agent": 400,
        "agent_not_found": 404,
        "run_not_found": 404,
        "backend_not_found": 500,
        "run_conflict": 409,
        "unauthenticated": 401,
        "forbidden": 403,
        "payload_too_large": 413,
        "unsupported_media": 415,
        "rate_limited": 429,
        "store_error": 500,
        "store_unavailable": 503,
        "transaction_rolled_back": 503,
        "log_replaced": 503,
        "schema_outdated": 500,
        "corrupt_log": 500,
        "log_lost": 404,
        "log_closed": 409,
        "log_offset_mismatch": 409,
        "log_expired": 410,
    }
    assert str(backuplog.RunNotFound()) == "No such run."
    invalid = backuplog.InvalidQuery([backuplog.FieldError("limit", "is odd")])
    assert pickle.loads(pickle.dumps(invalid)).errors == invalid.errors  # noqa: S301


@pytest.mark.parametrize(
    "url", [Path("backups.db"), b"sqlite://", None, object()], ids=["Path", "bytes", "None", "object"]
)
def test_what_is_no_url_is_refused(url: Any) -> None:
    """The error says what was expected and what came."""
    with pytest.raises(backuplog.BackendNotFound, match=r"is opened by a URL, such as .*, and not by a "):
        backuplog.open_store(url)


def test_an_engine_is_told_apart_from_its_url(tmp_path: Path) -> None:
    """Who gives a SQLAlchemy engine hears which of its URLs has the password."""
    engine: Any = sqlalchemy.create_engine(f"sqlite:///{tmp_path / 'backups.db'}")
    with pytest.raises(backuplog.BackendNotFound, match=r"of type Engine: give engine\.url\.render_as_string"):
        backuplog.open_store(engine)
    backuplog.open_store(engine.url.render_as_string(hide_password=False)).close()


VERBS: list[Callable[[Any], object]] = [
    lambda store: backuplog.register_agent(store, uuid4()),
    lambda store: backuplog.get_agent(store, uuid4()),
    backuplog.list_agents,
    lambda store: backuplog.ingest_task_result(store, uuid4(), {}),
    lambda store: backuplog.ingest_task_results(store, []),
    backuplog.query_runs,
    backuplog.last_successes,
    lambda store: backuplog.get_run(store, uuid4()),
    lambda store: backuplog.read_log(store, uuid4()),
    lambda store: backuplog.tail_log(store, uuid4(), 1),
    lambda store: backuplog.iter_log(store, uuid4()),
    lambda store: backuplog.issue_agent_token(store, uuid4()),
    lambda store: backuplog.verify_agent_token(store, ""),
    lambda store: backuplog.revoke_agent_token(store, ""),
    lambda store: backuplog.list_agent_tokens(store, uuid4()),
]


@pytest.mark.parametrize("verb", VERBS)
def test_a_url_is_no_store(verb: Callable[[Any], object]) -> None:
    """Every verb says what it takes, and not what is in the URL."""
    with pytest.raises(
        TypeError, match=r"must be a Store, as backuplog\.open_store\(url\) returns it, and not of type str$"
    ):
        verb("postgresql://user:secret@host/backups")
