"""Searching logs: across chunks and pages, and going on where a search has ended."""

from uuid import UUID

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import backuplog
from backuplog import RunQuery, Store

from .common import FEW, NOON, begin, end, payload, unmasked
from .contract import Contract


def in_steps(store: Store, text: str, query: RunQuery, most: int) -> list[backuplog.LogMatch]:
    """Search with a limit of matches, again and again, until all is searched."""
    matches: list[backuplog.LogMatch] = []
    cursor = query.cursor
    while True:
        search = backuplog.search_logs(store, text, attrs.evolve(query, cursor=cursor), max_matches=most)
        matches += search
        cursor = search.next_cursor
        if cursor is None:
            return matches


class SearchContract(Contract):
    """Searching logs: across chunks and pages, and going on where a search has ended."""

    @pytest.mark.parametrize("border", [1_048_576, 2_097_152])
    def test_a_match_at_a_chunks_border_is_found(self, border: int) -> None:
        """Wherever a text lies at the border of two chunks, it is found once, with its line and its number."""
        with self._known() as (store, agent_id):
            line = b"new /srv/photo.jpg, saved\n"
            filler = line * (border // len(line) + 3)
            for start in (border - 6, border - 3, border - 1, border, border + 1):
                log = filler[:start] + b"Fatal:" + filler[start:] + filler[: 1 << 18]
                run_id = backuplog.ingest_task_result(store, agent_id, payload(log=log)).run_id
                found = [match for match in backuplog.search_logs(store, "Fatal:") if match.run.id == run_id]
                number = log.count(b"\n", 0, start) + 1
                expected = (start, number, log.split(b"\n")[number - 1])
                assert [(match.offset, match.line_number, match.line) for match in found] == [expected]

    def test_a_log_in_any_pieces_is_searched(self) -> None:
        """However a log was cut while it came, its lines are found as in the log that is read."""
        with self._known() as (opened, agent_id):
            store = unmasked(opened)

            @FEW
            @given(st.lists(st.text("ab\n", min_size=1, max_size=5), min_size=1, max_size=6))
            def check(pieces: list[str]) -> None:
                run_id, offset = begin(store, agent_id), 0
                for piece in pieces:
                    offset = backuplog.append_log(store, agent_id, run_id, piece.encode(), offset=offset)
                query = RunQuery(policy_id=backuplog.get_run(store, run_id).policy_id)
                found = [(match.line_number, match.line) for match in backuplog.search_logs(store, "ab", query)]
                lines = backuplog.read_log(store, run_id).split(b"\n")
                assert found == [(number, line) for number, line in enumerate(lines, 1) if b"ab" in line]

            check()

    def test_a_log_whose_middle_is_missing_is_searched_as_it_is_read(self) -> None:
        """Lines on both sides of what was dropped have the numbers and offsets that they have in the log as it is."""
        with self._known() as (store, agent_id):
            run_id, offset = begin(store, agent_id), 0
            for number in range(40):
                line = f"line {number} {'x' * 500}\n".encode()
                offset = backuplog.append_log(store, agent_id, run_id, line, offset=offset, max_log_bytes=4096)
            for _ in range(2):  # while its task runs, and after
                log = backuplog.read_log(store, run_id)
                found = [(match.line_number, match.offset) for match in backuplog.search_logs(store, "xx")]
                lines = log.splitlines(keepends=True)
                starts = [sum(map(len, lines[:index])) for index in range(len(lines))]
                expected = [
                    (number, start + line.index(b"xx"))
                    for number, (start, line) in enumerate(zip(starts, lines, strict=True), 1)
                    if b"xx" in line
                ]
                assert len(log) < 40 * 500
                assert found == expected
                end(store, agent_id, run_id)

    @pytest.mark.parametrize("most", [1, 2, 3, 100])
    def test_a_search_goes_on_where_it_ended(self, most: int) -> None:
        """In steps of any number of matches, each match is given once: newest run first, and of runs that meet all."""
        with self._known() as (store, agent_id):
            for minute in range(6):
                log = "".join(f"line {number}: {minute}\n" for number in range(4)) if minute % 3 else None
                sent = payload(log=log, startTime=f"{NOON:%Y-%m-%dT%H}:0{minute}:00Z")
                backuplog.ingest_task_result(store, agent_id, sent)
            backuplog.ingest_task_result(store, agent_id, payload(log="line of another\n", status="failed"))
            found = in_steps(store, "line", RunQuery(status="success"), most)
            expected = [
                (b"line %d: %d" % (number, minute), number + 1) for minute in (5, 4, 2, 1) for number in range(4)
            ]
            assert [(match.line, match.line_number) for match in found] == expected

    def test_a_log_that_is_gone_meanwhile_is_said_and_passed_over(self) -> None:
        """A search goes on with the next run where the log in which it ended was replaced or has expired."""
        with self._known() as (store, agent_id):
            sent = [payload(log="a 1\na 2\n", startTime=f"2026-11-24T1{hour}:00:00Z") for hour in range(3)]
            old, replaced, expired = (backuplog.ingest_task_result(store, agent_id, each).run_id for each in sent)
            first = backuplog.search_logs(store, "a", max_matches=1)
            assert [match.run.id for match in first] == [expired]
            backuplog.expire_log(store, expired)
            second = backuplog.search_logs(store, "a", RunQuery(cursor=first.next_cursor), max_matches=1)
            assert [match.run.id for match in second] == [replaced]
            assert second.replaced == (expired,)
            backuplog.ingest_task_result(store, agent_id, {**sent[1], "log": "a 3\na 4\na 5\n", "durationSeconds": 9})
            third = backuplog.search_logs(store, "a", RunQuery(cursor=second.next_cursor))
            assert [(match.run.id, match.line) for match in third] == [(old, b"a 1"), (old, b"a 2")]
            assert (third.replaced, third.next_cursor) == ((replaced,), None)

    def test_nothing_of_others_is_found(self) -> None:
        """A search sees its tenant's logs, and with ``agent_id`` that agent's, whatever a cursor says."""
        with self._known() as (store, agent_id):
            backuplog.ingest_task_result(store, agent_id, payload(log="secret 1\nsecret 2\n"))
            mine = backuplog.register_agent(store, UUID(int=7)).id
            run_id = backuplog.ingest_task_result(store, mine, payload(log="mine: a secret\n")).run_id
            found = backuplog.search_logs(store, "secret", RunQuery(agent_id=mine))
            assert [match.run.id for match in found] == [run_id]
            other = store.for_tenant(UUID(int=9))
            assert list(backuplog.search_logs(other, "secret")) == []
            begun = backuplog.search_logs(store, "secret", max_matches=1)
            list(begun)
            assert list(backuplog.search_logs(other, "secret", RunQuery(cursor=begun.next_cursor))) == []
            with pytest.raises(backuplog.InvalidQuery, match="of a query with other filters"):
                backuplog.search_logs(store, "secret", RunQuery(agent_id=mine, cursor=begun.next_cursor))

    def test_one_log_is_searched_alone(self) -> None:
        """With ``run_id`` only that run's log is searched, in steps too, and its cursor is for that search only."""
        with self._known() as (store, agent_id):
            sent = [payload(log=f"a {hour}\nb\na {hour}{hour}\n") for hour in range(3)]
            runs = [backuplog.ingest_task_result(store, agent_id, each).run_id for each in sent]
            first = backuplog.search_logs(store, "a", run_id=runs[1], max_matches=1)
            assert [(match.run.id, match.line_number, match.line) for match in first] == [(runs[1], 1, b"a 1")]
            query = RunQuery(cursor=first.next_cursor)
            second = backuplog.search_logs(store, "a", query, run_id=str(runs[1]))
            assert [(match.run.id, match.line_number, match.line) for match in second] == [(runs[1], 3, b"a 11")]
            assert (second.runs_done, second.next_cursor) == (1, None)
            for other in (runs[0], None):
                with pytest.raises(backuplog.InvalidQuery, match="of a search for something else"):
                    backuplog.search_logs(store, "a", query, run_id=other)

    def test_one_log_that_is_replaced_meanwhile_is_said(self) -> None:
        """A search of one log says that it was replaced, even if its run began later than was said first."""
        with self._known() as (store, agent_id):
            old = payload(log="a 1\na 2\n", startTime="2026-11-24T10:00:00Z")
            run_id = backuplog.ingest_task_result(store, agent_id, old).run_id
            begun = backuplog.search_logs(store, "a", run_id=run_id, max_matches=1)
            assert len(list(begun)) == 1
            new = {**old, "log": "a 3\na 4\na 5\n", "startTime": "2026-11-24T11:00:00Z"}
            backuplog.ingest_task_result(store, agent_id, new)
            search = backuplog.search_logs(store, "a", RunQuery(cursor=begun.next_cursor), run_id=run_id)
            assert (list(search), search.replaced) == ([], (run_id,))

    def test_one_log_of_others_is_not_searched(self) -> None:
        """The log of another agent or tenant is not there to be searched."""
        with self._known() as (store, agent_id):
            run_id = backuplog.ingest_task_result(store, agent_id, payload(log="a secret\n")).run_id
            with pytest.raises(backuplog.RunNotFound):
                backuplog.search_logs(store, "a", RunQuery(agent_id=UUID(int=7)), run_id=run_id)
            with pytest.raises(backuplog.RunNotFound):
                backuplog.search_logs(store.for_tenant(UUID(int=9)), "a", run_id=run_id)
