"""What a user is told when a SQLite database cannot be used."""

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

import backuplog

Payload = Callable[..., dict[str, Any]]
NOBODY = 65534
AGENT = UUID(int=1)


def url_of(path: Path) -> str:
    """Give the URL of a path."""
    return f"sqlite:///{path}"


def test_a_folder_is_refused(tmp_path: Path) -> None:
    """The path of a folder is refused by name, with what to do."""
    with pytest.raises(backuplog.StoreError, match=f"{tmp_path} is a folder: give the path of a file"):
        backuplog.open_store(url_of(tmp_path))


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    """A path in a folder that does not exist is refused, and nothing is made."""
    path = tmp_path / "missing" / "backups.db"
    with pytest.raises(backuplog.StoreError, match="its folder does not exist, make it first"):
        backuplog.open_store(url_of(path))
    assert not path.parent.exists()


def test_another_kind_of_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that is not a database is refused and not changed."""
    path = tmp_path / "notes.txt"
    path.write_bytes(b"dear diary, " * 500)
    with pytest.raises(backuplog.StoreError, match="is not a SQLite database"):
        backuplog.open_store(url_of(path))
    assert path.read_bytes() == b"dear diary, " * 500


def test_two_slashes_are_explained() -> None:
    """A URL with two slashes says how a path is written."""
    with pytest.raises(backuplog.StoreError, match=r"write sqlite:///backups\.db with three slashes"):
        backuplog.open_store("sqlite://backups.db")


def test_an_unknown_synchronous_is_refused() -> None:
    """Only the two documented settings of synchronous are taken."""
    with pytest.raises(backuplog.StoreError, match="'full' or 'normal'"):
        backuplog.open_store("sqlite://", synchronous="off; DROP TABLE backup_agents")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite:///", "names no file: write sqlite:///backups.db, or sqlite:// for a database in memory"),
        ("sqlite:///a\0b.db", "cannot be the path of a file"),
        (f"sqlite:////tmp/{'x' * 300}.db", "cannot be the path of a file"),
    ],
)
def test_what_cannot_be_a_path_is_refused(url: str, message: str) -> None:
    """No path, one with a NUL and one that is too long are errors of ours."""
    with pytest.raises(backuplog.StoreError, match=message):
        backuplog.open_store(url)


@pytest.mark.parametrize("seconds", [-5, float("nan"), float("inf"), "5", None, True])
def test_an_impossible_busy_timeout_is_refused(seconds: Any) -> None:
    """A time to wait is a number of seconds, 0 or more."""
    with pytest.raises(backuplog.StoreError, match=r"busy_timeout must be a (finite )?number of seconds"):
        backuplog.open_store("sqlite://", busy_timeout=seconds)


def test_a_relative_path_stays_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, payload: Payload) -> None:
    """After chdir() readers and writers go on with the same file, and make no other."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with backuplog.open_store("sqlite:///backups.db") as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        monkeypatch.chdir(tmp_path / "elsewhere")
        sent = payload(log="log")
        backuplog.ingest_task_result(store, agent_id, sent)
        assert backuplog.read_log(store, sent["taskId"]) == b"log"
        assert str(tmp_path / "backups.db") in repr(store)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("replaced", [False, True])
def test_nothing_is_acknowledged_into_a_file_that_is_gone(tmp_path: Path, payload: Payload, *, replaced: bool) -> None:
    """Where the file was deleted, or another took its place, writing and reading say so, and make no file."""
    path, other = tmp_path / "backups.db", tmp_path / "other.db"
    backuplog.open_store(url_of(other)).close()
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        path.unlink()
        if replaced:
            shutil.copy(other, path)
        with pytest.raises(backuplog.StoreError, match="was deleted or replaced while it was open: open the store"):
            backuplog.ingest_task_result(store, agent_id, payload())
        with pytest.raises(backuplog.StoreError):
            backuplog.query_runs(store)
        assert path.exists() == replaced
    with backuplog.open_store(url_of(path)) as store:
        assert backuplog.query_runs(store).total == 0


def limit_pages(store: backuplog.Store, *, beyond: int) -> None:
    """Let the database grow by so many pages and no more, as on a disk that is nearly full."""

    def limit(cursor: sqlite3.Cursor) -> None:
        pages = cursor.execute("PRAGMA page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {pages + beyond}")

    vars(store.backend)["_connections"].write(limit)


@pytest.fixture
def read_only() -> Iterator[Path]:
    """Give the path of a database that this process may not write."""
    if not hasattr(os, "geteuid"):
        pytest.fail("needs a system with user ids")
    folder = Path(tempfile.gettempdir()) / f"backuplog-{uuid4()}"  # nobody may enter tmp_path
    folder.mkdir()
    path = folder / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        backuplog.register_agent(store, AGENT, hostname="db-01")
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with as_anybody():
            yield path
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@contextmanager
def as_anybody() -> Iterator[None]:
    """Be somebody who may not write, which root always may."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@contextmanager
def as_owner(path: Path) -> Iterator[None]:
    """Be somebody who may write the file and its folder."""
    user = os.geteuid()
    if os.getuid() == 0:
        os.seteuid(0)
    path.chmod(0o644)
    path.parent.chmod(0o755)
    try:
        yield
    finally:
        path.chmod(0o444)
        path.parent.chmod(0o555)
        os.seteuid(user)


def test_a_read_only_database_is_refused(read_only: Path) -> None:
    """A database that this user may not write is refused by name."""
    with pytest.raises(backuplog.StoreError, match=r"cannot be written: check the permissions .* migrate=False"):
        backuplog.open_store(url_of(read_only))


def test_a_read_only_database_can_be_read(read_only: Path, payload: Payload) -> None:
    """With ``migrate=False`` it is read, closed or open elsewhere, and every write is refused by name."""
    with backuplog.open_store(url_of(read_only), migrate=False) as store:
        assert backuplog.get_agent(store, AGENT).hostname == "db-01"
        with pytest.raises(backuplog.StoreError, match="cannot be written"):
            backuplog.ingest_task_result(store, AGENT, payload())
        with as_owner(read_only), backuplog.open_store(url_of(read_only)) as owners:
            sent = payload(log="log")
            backuplog.ingest_task_result(owners, AGENT, sent)
            with as_anybody():
                assert backuplog.read_log(store, sent["taskId"]) == b"log"
        assert backuplog.read_log(store, sent["taskId"]) == b"log"
        assert "read-only" in repr(store)
    with pytest.raises(backuplog.StoreError, match="closed"):
        backuplog.get_agent(store, AGENT)


def test_a_read_of_a_file_that_is_written_meanwhile_says_nothing(read_only: Path, payload: Payload) -> None:
    """Where somebody begins to write during a read, it is repeated."""
    with backuplog.open_store(url_of(read_only), migrate=False, retry_timeout=0) as store:
        connections = vars(store.backend)["_connections"]

        def work(_: sqlite3.Cursor) -> None:
            with as_owner(read_only), backuplog.open_store(url_of(read_only)) as owners:
                backuplog.ingest_task_result(owners, AGENT, payload())

        with pytest.raises(backuplog.StoreUnavailable, match="was written while it was read"):
            connections.read(work)
        assert backuplog.query_runs(store).total == 1


def test_a_read_only_database_is_read_through_a_link(read_only: Path, payload: Payload) -> None:
    """What a writer has not yet brought into the file is read by way of a symbolic link too."""
    folder = Path(tempfile.gettempdir()) / f"backuplog-{uuid4()}"
    folder.mkdir()
    link = folder / "link.db"
    link.symlink_to(read_only)
    try:
        with as_owner(read_only), backuplog.open_store(url_of(read_only)) as owners:
            backuplog.ingest_task_result(owners, AGENT, payload())
            with as_anybody(), backuplog.open_store(url_of(link), migrate=False) as store:
                assert backuplog.query_runs(store).total == 1
    finally:
        shutil.rmtree(folder)


def test_a_read_that_fails_while_others_begin_and_end_is_repeated(read_only: Path, payload: Payload) -> None:
    """Where a WAL comes or goes during a read, its failure says nothing; an exception that is no failure passes."""
    with backuplog.open_store(url_of(read_only), migrate=False, retry_timeout=0) as store:
        connections = vars(store.backend)["_connections"]
        with as_owner(read_only):
            owners = backuplog.open_store(url_of(read_only))
            backuplog.ingest_task_result(owners, AGENT, payload())

        def work(_: sqlite3.Cursor) -> None:
            with as_owner(read_only):
                owners.close()
            raise sqlite3.OperationalError("attempt to write a readonly database")

        with pytest.raises(backuplog.StoreUnavailable, match="was written while it was read"):
            connections.read(work)

        def interrupted(_: sqlite3.Cursor) -> None:
            with as_owner(read_only), backuplog.open_store(url_of(read_only)) as owners:
                backuplog.ingest_task_result(owners, AGENT, payload())
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            connections.read(interrupted)


def test_a_wal_that_nobody_can_read_is_named(read_only: Path) -> None:
    """What a killed process left in its WAL needs somebody who may write; an empty WAL needs nobody."""
    wal = Path(f"{read_only}-wal")
    with as_owner(read_only):
        wal.write_bytes(b"")
    with backuplog.open_store(url_of(read_only), migrate=False) as store:
        assert backuplog.get_agent(store, AGENT).hostname == "db-01"
        with as_owner(read_only):
            wal.write_bytes(b"left")
        with pytest.raises(backuplog.StoreError, match="only a process that may write can bring into the file"):
            backuplog.get_agent(store, AGENT)


def test_a_folder_that_cannot_be_written_makes_a_file_read_only(read_only: Path) -> None:
    """SQLite has its own files beside the database: where it cannot make them, the database can only be read."""
    user = os.geteuid()
    os.seteuid(os.getuid())
    read_only.chmod(0o666)
    os.seteuid(user)
    with pytest.raises(backuplog.StoreError, match="migrate=False"):
        backuplog.open_store(url_of(read_only))
    with backuplog.open_store(url_of(read_only), migrate=False) as store:
        assert backuplog.get_agent(store, AGENT).hostname == "db-01"


def test_a_full_disk_keeps_the_run_and_says_that_the_log_is_lost(tmp_path: Path, payload: Payload) -> None:
    """Where only the log is too long for the disk, the run is stored without it, and the retry stores it."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        limit_pages(store, beyond=20)
        result = payload(log=os.urandom(200_000).hex())
        receipt = backuplog.ingest_task_result(store, agent_id, result)
        assert (receipt.outcome, receipt.log_state) == ("created", "lost")
        assert backuplog.get_run(store, result["taskId"]).log_state == "lost"
        with pytest.raises(backuplog.LogLost, match="have its agent send the result again"):
            backuplog.read_log(store, result["taskId"])
        limit_pages(store, beyond=10_000)
        again = backuplog.ingest_task_result(store, agent_id, result)
        assert (again.outcome, again.log_state) == ("updated", "complete")
        assert backuplog.read_log(store, result["taskId"]) == result["log"].encode()


def test_a_failing_log_write_alone_loses_the_log_only(tmp_path: Path, payload: Payload) -> None:
    """When each write to the table of logs fails, runs are kept, one by one and in batches."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        with sqlite3.connect(path) as connection:
            connection.execute(
                "CREATE TRIGGER broken BEFORE INSERT ON backup_run_logs BEGIN SELECT RAISE(ABORT, 'broken'); END"
            )
        connection.close()
        single = backuplog.ingest_task_result(store, agent_id, payload(log="a log"))
        assert single.log_state == "lost"
        batch = backuplog.ingest_task_results(store, [(agent_id, payload(log="a")), (agent_id, payload())])
        assert [answer.log_state for answer in batch if isinstance(answer, backuplog.Receipt)] == ["lost", "none"]
        assert backuplog.query_runs(store).total == 3


def test_a_disk_that_is_full_for_everything_is_named(tmp_path: Path, payload: Payload) -> None:
    """Where not even the run can be stored, the error says that the disk is full, and nothing is half-written."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        limit_pages(store, beyond=2)
        results = [(agent_id, payload(errorMessage="x" * 65_000)) for _ in range(3)]
        with pytest.raises(backuplog.StoreError, match="cannot grow: free space on its disk"):
            backuplog.ingest_task_result(store, *results[0])
        assert [str(answer) for answer in backuplog.ingest_task_results(store, results)] == [
            f"{path} cannot grow: free space on its disk"
        ] * 3
        assert backuplog.query_runs(store).total == 0


def test_a_full_disk_never_stores_half_of_a_callers_transaction(tmp_path: Path, payload: Payload) -> None:
    """Where SQLite rolls the caller's transaction back, nothing of it is begun anew behind the caller's back."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        connection = sqlite3.connect(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")
        bound = store.bound_to(connection)
        assert backuplog.ingest_task_result(bound, agent_id, payload()).outcome == "created"
        for _ in range(2):
            with pytest.raises(backuplog.TransactionRolledBack, match=r"begin it again.* and repeat all of it"):
                backuplog.ingest_task_result(bound, agent_id, payload(log=os.urandom(200_000).hex()))
        connection.commit()
        connection.close()
        assert backuplog.query_runs(store).total == 0


def test_a_batch_in_a_transaction_that_is_gone_fails(tmp_path: Path, payload: Payload) -> None:
    """Receipts of a batch whose first part SQLite has rolled back with the caller's transaction are never returned."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        connection = sqlite3.connect(path)
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 600}")
        batch = [(agent_id, payload(errorMessage="x" * 3_000)) for _ in range(1200)]
        with pytest.raises(backuplog.TransactionRolledBack) as caught:
            backuplog.ingest_task_results(store.bound_to(connection), batch)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        connection.commit()
        connection.close()
        assert backuplog.query_runs(store).total == 0


def test_no_error_speaks_sql(tmp_path: Path, payload: Payload) -> None:
    """A table that is gone is an outdated schema, and the message holds no statement and no value."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path)) as store:
        agent_id: UUID = backuplog.register_agent(store, uuid4()).id
        with sqlite3.connect(path) as connection:
            connection.execute("DROP TABLE backup_runs")
        connection.close()
        with pytest.raises(backuplog.SchemaOutdated) as caught:
            backuplog.ingest_task_result(store, agent_id, payload(snapshotId="a-secret"))
        assert "SELECT" not in str(caught.value)
        assert "a-secret" not in str(caught.value)
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """A store that was closed says so; closing it again does nothing."""
    store = backuplog.open_store(url_of(tmp_path / "backups.db"))
    store.close()
    store.close()
    with pytest.raises(backuplog.StoreError, match="is closed: open it again"):
        backuplog.query_runs(store)


def test_a_busy_database_is_unavailable(tmp_path: Path, payload: Payload) -> None:
    """Another process that holds the lock for longer than the time-out makes the store unavailable, for now."""
    path = tmp_path / "backups.db"
    with backuplog.open_store(url_of(path), busy_timeout=0.05, retry_timeout=0) as store:
        agent_id = backuplog.register_agent(store, uuid4()).id
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(backuplog.StoreUnavailable, match="is locked by another process"):
            backuplog.ingest_task_result(store, agent_id, payload(log="a log"))
        other.execute("ROLLBACK")
        other.close()
        assert backuplog.ingest_task_result(store, agent_id, payload(log="a log")).outcome == "created"
