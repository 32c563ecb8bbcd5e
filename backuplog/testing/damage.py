"""The tests of ``TransactionalStoreContract``, and those for damaged rows in the tables of ``backuplog.TABLES``."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from uuid import UUID

import attrs
import pytest

import backuplog
from backuplog import BackuplogError, CorruptLog, Receipt, RunQuery, Store, StoreError
from backuplog.backend import AGENT_COLUMNS, CHUNK_COLUMNS, STORED_RUN_COLUMNS, TOKEN_COLUMNS

from .common import payload
from .transactional import TransactionalStoreContract

# Whatever SQL can say for any type; a database takes for a column what it can.
NONSENSE = (
    "NULL", "''", "'odd'", "0", "-1", "2", "1.5", "9223372036854775807", "-9223372036854775808",
    "'infinity'", "'-infinity'", "'4714-11-24 00:00:00+00 BC'", "'294276-12-31 00:00:00+00'", "'NaN'", "9e999",
    f"'{'[' * 100_000}'", "'[]'", "'{\"files\": 1}'", "'{\"warnings\": -1}'", "'{\"failed_items\": 7}'", "'{'",
    "'00000000-0000-0000-0000-000000000001'", "true", "false",
    "x'00'", "'\\x00'", "x'ff'", "zeroblob(16)", "zeroblob(33)",
)  # fmt: skip


LOG = b"the log of a run"


@attrs.frozen(kw_only=True)
class _Known:
    """A store with one row in each table."""

    store: Store
    agent_id: UUID
    run_id: UUID
    token: str


class DamageContract(TransactionalStoreContract):
    """The tests of ``TransactionalStoreContract``, and those for damaged rows in the tables of ``backuplog.TABLES``."""

    prefix: ClassVar[str] = ""
    """What precedes a table's name in SQL, such as ``backuplog.`` if the tables are in a schema."""

    @pytest.mark.parametrize("column", STORED_RUN_COLUMNS)
    def test_a_run_that_holds_nonsense_is_a_run_or_a_store_error(self, column: str) -> None:
        """Whatever stands in a column of a run: reading it gives a run or an error of ours, in every verb."""
        for known in self._damaged("backup_runs", column):
            _ours(backuplog.query_runs, known.store)
            _ours(backuplog.last_successes, known.store)
            _ours(backuplog.latest_runs, known.store)
            _ours(backuplog.summarize_runs, known.store, group_by="day")
            _ours(backuplog.get_run, known.store, known.run_id)
            _ours(backuplog.read_log, known.store, known.run_id)
            _ours(backuplog.tail_log, known.store, known.run_id, 1)
            _ours(_lines_found, known.store)
            _ours(backuplog.check_logs, known.store)
            later = payload(taskId=str(known.run_id), status="failed")
            _ours(backuplog.ingest_task_result, known.store, known.agent_id, later)

    @pytest.mark.parametrize("column", ["log_version", *CHUNK_COLUMNS])
    def test_a_chunk_that_holds_nonsense_is_corrupt(self, column: str) -> None:
        """Whatever stands in a column of a chunk: reading its log is an error of ours, or right."""
        for known in self._damaged("backup_run_logs", column):
            assert _ours(backuplog.read_log, known.store, known.run_id) in (None, LOG)
            assert _ours(backuplog.read_log, known.store, known.run_id, start=-1) in (None, LOG[-1:])
            assert _ours(backuplog.tail_log, known.store, known.run_id, 1) in (None, LOG)
            assert _ours(_lines_found, known.store) in ([], [LOG])
            _ours(backuplog.check_logs, known.store)

    @pytest.mark.parametrize("column", AGENT_COLUMNS)
    def test_an_agent_that_holds_nonsense_is_an_agent_or_a_store_error(self, column: str) -> None:
        """Whatever stands in a column of an agent: reading it gives an agent or an error of ours."""
        for known in self._damaged("backup_agents", column):
            _ours(backuplog.list_agents, known.store)
            _ours(backuplog.get_agent, known.store, known.agent_id)
            _ours(backuplog.ingest_task_result, known.store, known.agent_id, payload())

    @pytest.mark.parametrize("column", TOKEN_COLUMNS)
    def test_a_token_that_holds_nonsense_lets_nobody_else_in(self, column: str) -> None:
        """Whatever stands in a column of a token: it lets its agent in or it is an error of ours; no other gets in."""
        for known in self._damaged("backup_agent_tokens", column):
            _ours(backuplog.list_agent_tokens, known.store, known.agent_id)
            _ours(backuplog.verify_agent_token, known.store, known.token)
            assert _ours(backuplog.verify_agent_token, known.store, f"{known.token[:-1]}~") is None

    def _damaged(self, table: str, column: str) -> Iterator[_Known]:
        """Write each kind of nonsense into a column of a table with one row, and take it back afterwards."""
        with self._bound() as (store, bound, connection, agent_id):
            token = backuplog.issue_agent_token(store, agent_id)
            sent = payload(log=LOG, snapshotId="s", endTime="2026-11-24T02:00:00Z", errorMessage="e")
            run_id = backuplog.ingest_task_result(store, agent_id, sent).run_id
            taken = 0
            for nonsense in NONSENSE:
                try:
                    connection.cursor().execute(f"UPDATE {self.prefix}{table} SET {column} = {nonsense}")
                except Exception:  # noqa: BLE001 - another driver has other errors; this value it does not take
                    connection.rollback()
                    continue
                taken += 1
                yield _Known(store=bound, agent_id=agent_id, run_id=run_id, token=token)
                connection.rollback()
            assert taken

    @pytest.mark.parametrize(
        ("column", "values"),
        [
            ("log_state", ["'odd'"]),
            ("start_time", ["'infinity'", "9223372036854775807"]),
            ("log_bytes", ["-1"]),
            ("dropped_bytes", ["-1"]),
            ("duration_seconds", ["'infinity'", "9e999"]),
            ("files_new", ["-1"]),
            ("stats_details", ["'[]'"]),
        ],
    )
    def test_one_damaged_run_costs_no_other(self, column: str, values: list[str]) -> None:
        """A run that cannot be read is named by a StoreError; the other results of a batch are stored and found."""
        with self._bound() as (store, _, connection, agent_id):
            damaged, sound = payload(log="a"), payload(log="b")
            for sent in (damaged, sound):
                backuplog.ingest_task_result(store, agent_id, sent)
            where = f"WHERE id = (SELECT id FROM {self.prefix}backup_runs WHERE status = 'success' ORDER BY id LIMIT 1)"
            if damaged["taskId"] > sound["taskId"]:
                damaged, sound = sound, damaged
            self._write(
                connection, [f"UPDATE {self.prefix}backup_runs SET {column} = {value} {where}" for value in values]
            )
            for verb in (backuplog.get_run, backuplog.read_log):
                with pytest.raises(StoreError, match=damaged["taskId"].replace("-", "-?")):
                    verb(store, damaged["taskId"])
            with pytest.raises(StoreError):
                backuplog.query_runs(store)
            new = payload()
            batch = [(agent_id, sent) for sent in (new, {**damaged, "status": "failed"}, {**sound, "log": "c"})]
            answers = backuplog.ingest_task_results(store, batch)
            assert [answer.outcome if isinstance(answer, Receipt) else type(answer) for answer in answers] == [
                "created",
                StoreError,
                "updated",
            ]
            assert backuplog.read_log(store, sound["taskId"]) == b"c"
            assert backuplog.query_runs(store, RunQuery(until="1999-01-01T00:00:00Z")).runs == ()

    @pytest.mark.parametrize("value", ["9223372036854775807", "-1", "0", "1048577"])
    def test_a_chunk_of_an_impossible_size_is_corrupt(self, value: str) -> None:
        """A size that no chunk can have is a CorruptLog, and nothing of it is decompressed."""
        with self._bound() as (store, _, connection, agent_id):
            sent = payload(log="log " * 100)
            backuplog.ingest_task_result(store, agent_id, sent)
            self._write(connection, [f"UPDATE {self.prefix}backup_run_logs SET size = {value}"])
            with pytest.raises(CorruptLog):
                backuplog.read_log(store, sent["taskId"])

    def test_chunks_swapped_between_two_runs_are_found(self) -> None:
        """A chunk that was put in the place of another run's is corrupt in both, though it is whole."""
        with self._bound() as (store, _, connection, agent_id):
            sent = [payload(log=letter * 500) for letter in "ab"]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result)
            table = f"{self.prefix}backup_run_logs"
            others = ", ".join(
                f"{column} = (SELECT {column} FROM kept WHERE kept.run_id <> backup_run_logs.run_id)"
                for column in ("checksum", "data")
            )
            connection.cursor().execute(f"CREATE TEMPORARY TABLE kept AS SELECT run_id, checksum, data FROM {table}")
            self._write(connection, [f"UPDATE {table} SET {others}"])
            for result in sent:
                with pytest.raises(CorruptLog, match="fails its checksum"):
                    backuplog.read_log(store, result["taskId"])

    def test_a_check_finds_what_was_done_by_hand(self) -> None:
        """What was changed is damage, and the chunks of a run that was deleted are a log that no run refers to."""
        with self._bound() as (store, _, connection, agent_id):
            sent = [payload(log=letter * 500) for letter in "abc"]
            for result in sent:
                backuplog.ingest_task_result(store, agent_id, result)
            damaged, deleted, _ = sorted(UUID(result["taskId"]) for result in sent)
            first = "(SELECT min(CAST({} AS text)) FROM {})"
            logs, runs = f"{self.prefix}backup_run_logs", f"{self.prefix}backup_runs"
            change = f"UPDATE {logs} SET checksum = checksum - 1 WHERE CAST(run_id AS text) = "
            self._write(connection, [change + first.format("run_id", logs)])
            remove = f"DELETE FROM {runs} WHERE CAST(id AS text) = "
            others = f"(SELECT min(CAST(id AS text)) FROM {runs} WHERE CAST(id AS text) > {first.format('id', runs)})"
            self._write(connection, [remove + others])
            report = backuplog.check_logs(store)
            assert (report.runs, report.logs, report.damaged_logs, [*report.damaged]) == (2, 1, 1, [damaged])
            assert (report.orphaned_logs, report.orphaned) == (1, ((deleted, 1),))

    def _write(self, connection: Any, statements: list[str]) -> None:
        """Execute and commit the first of several statements that the database takes; skip where it takes none."""
        for statement in statements:
            try:
                connection.cursor().execute(statement)
            except Exception:  # noqa: BLE001 - another driver has other errors
                connection.rollback()
            else:
                connection.commit()
                return
        pytest.skip("the database itself refuses what no row can hold")


def _lines_found(store: Store) -> list[bytes]:
    return [match.line for match in backuplog.search_logs(store, "log")]


def _ours(verb: Callable[..., object], *arguments: object, **keywords: object) -> object:
    """Return what a verb returns, or None where it raises an error of ours; any other is raised."""
    try:
        return verb(*arguments, **keywords)
    except BackuplogError:
        return None
