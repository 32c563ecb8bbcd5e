"""Odd text: quotes, statements, wildcards, letters of every kind."""

from typing import Any, ClassVar
from uuid import uuid4

from hypothesis import given, settings
from hypothesis import strategies as st

import backuplog
from backuplog import RunQuery

from .common import FEW, HOSTILE, payload, unmasked
from .contract import Contract


class TextContract(Contract):
    """Odd text: quotes, statements, wildcards, letters of every kind."""

    texts: ClassVar[int] = 1_000
    """How many odd texts to try."""

    def test_text_that_looks_like_sql_is_text(self) -> None:
        """Quotes, statements and wildcards are stored and looked for as they are."""
        with self._known() as (store, agent_id):
            odd = "%'; DROP TABLE agents; -- \\ \" $1 ?"
            backuplog.ingest_task_result(store, agent_id, payload(taskType=odd, snapshotId=odd, status=odd))
            backuplog.ingest_task_result(store, agent_id, payload(snapshotId="other"))
            found = backuplog.query_runs(store, RunQuery(task_type=odd, snapshot_id=odd, status=odd))
            assert [run.snapshot_id for run in found.runs] == [odd]

    def test_any_text_comes_back_or_is_refused(self) -> None:
        """Whatever stands in a field or a filter comes back equal and is found, or is refused by name."""
        text = st.text(max_size=40) | st.sampled_from(HOSTILE)
        text |= st.tuples(st.text(max_size=9), st.sampled_from(HOSTILE)).map("".join)
        fields = ("taskType", "status", "snapshotId", "errorMessage", "log")
        with self._known() as (opened, agent_id):
            store = unmasked(opened)

            def check_result(sent: dict[str, Any]) -> None:
                try:
                    backuplog.ingest_task_result(store, agent_id, sent)
                except backuplog.InvalidTaskResult as error:
                    assert {item.path for item in error.errors} <= {f"$.{name}" for name in fields[:4]}  # noqa: PT017
                    return
                run = backuplog.get_run(store, sent["taskId"])
                assert run.task_type == sent["taskType"]
                assert (run.snapshot_id or "", run.error_message or "") == (sent["snapshotId"], sent["errorMessage"])
                assert backuplog.read_log(store, run.id) == sent["log"].encode("utf-8", "surrogatepass")
                query = RunQuery(
                    task_type=sent["taskType"], status=sent["status"], snapshot_id=run.snapshot_id, limit=1000
                )
                assert run in backuplog.query_runs(store, query).runs

            def check_agent(hostname: str) -> None:
                try:
                    agent = backuplog.register_agent(store, uuid4(), hostname=hostname)
                except backuplog.InvalidAgent:
                    return
                assert (backuplog.get_agent(store, agent.id).hostname or "") == hostname

            @settings(FEW, max_examples=-(-self.texts // 36))
            @given(st.lists(st.tuples(*[text] * 6), min_size=6, max_size=6))
            def check(batch: list[tuple[str, ...]]) -> None:
                for *texts, hostname in batch:
                    check_result(payload(**dict(zip(fields, texts, strict=True))))
                    check_agent(hostname)

            check()
            assert backuplog.get_agent(store, agent_id).hostname == "db-01"
