"""Searching the logs of many runs, or of one."""

import math
import re
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import attrs

from .change import READABLE_STATES
from .errors import CorruptLog, FieldError, InvalidQuery, LogReplaced
from .log import pieces_of
from .model import BackupRun, RunPage, RunQuery
from .normalise import as_optional_duration
from .query import (
    cursor_after,
    cursor_bytes,
    cursor_text,
    find_stored_run,
    position_of,
    query_runs,
    refuse_cursor,
    require_query,
)
from .scan import CONTEXT_BYTES, EXCERPT_BYTES, Find, LogMatch, as_sought, finder, line_start, match_of
from .store import Store

MAX_CONTEXT_LINES: Final = CONTEXT_BYTES // EXCERPT_BYTES
"""The most lines to give before and after a match."""

_MAX_UNREADABLE: Final = 1_000
_CURSOR_VERSION: Final = 1
# version, CRC-32 of what is searched for; in the log that is searched: CRC-32 of which log it is, offset, line number
_CURSOR: Final = struct.Struct(">BIIQQ")


class _Place(NamedTuple):
    """The beginning of a line in the log of a run: where a search goes on."""

    run_cursor: str
    run: tuple[datetime, UUID]
    log: int
    offset: int
    line_number: int


def search_logs(
    store: Store,
    text: str | bytes | re.Pattern[bytes],
    query: RunQuery | None = None,
    *,
    run_id: UUID | str | None = None,
    context_lines: int = 0,
    ignore_case: bool = False,
    max_matches: int | None = 1_000,
    max_bytes: int | None = 1_073_741_824,
    max_seconds: float | None = 30.0,
) -> "LogSearch":
    r"""Search the logs of runs, newest run first, line by line, and give each line that matches once.

    The matches come as they are found. A search takes a few MiB of memory, whatever the logs hold, and blocks nobody:
    it holds neither a lock nor a transaction. Where a limit ends it, the next one goes on after its last match:
    give it a query with the ``next_cursor`` of this one.

    What is stored is searched, so that masked secrets are not found. Logs of running tasks are searched as far as they
    have come; runs without a log, or whose log is lost or expired, are passed over. A line ends with ``\n``; one longer
    than 64 KiB counts as several of 64 KiB with the same number.

    Args:
        store: The store to use.
        text: What to find. Text is found as it is written, also where a long line is divided; text in ``str`` is
            encoded as UTF-8. A compiled pattern of bytes is searched for in each line by itself, without the line's
            end. A pattern can take forever, and nothing in Python can stop it: accept text from users, never patterns.
        query: Whose logs to search; by default all of the tenant's. Its ``cursor`` is that of a search to go on with,
            for the same text and the same filters. Its ``limit`` and ``with_total`` do not matter.
        run_id: The one run whose log to search; None for all that the query lists. Of the query only ``agent_id``,
            whose run it must be, and ``cursor`` matter then.
        context_lines: How many lines before and after each match to give with it, 0 to 16.
        ignore_case: Whether upper and lower case are the same: of ASCII letters only.
        max_matches: The most matches to give; None for any number.
        max_bytes: About how many bytes of log to read at most; None for any number. It is checked after each piece of
            at most 1 MiB.
        max_seconds: About how long to search, in seconds, with the time that you take for each match; None for any
            time. It is checked after each piece, and between runs.

    Returns:
        An iterator of the matches, which says at any time how far it has come. The first page of runs is looked up
        when you call this, so that a web handler can still answer that the query is not valid.

    Raises:
        InvalidQuery: The text is empty, longer than 1,024 bytes, or of several lines; a limit or the query is not
            valid; or the cursor is malformed or belongs to another search. The error names each of them.
        AgentNotFound: The query names an agent that this tenant does not have.
        RunNotFound: There is no such run, or it is another agent's.
        StoreError: The store failed, also while you iterate. The search's ``next_cursor`` then says where to go on.
    """
    checks: list[tuple[str, Callable[[Any], object], object]] = [
        ("text", as_sought, text),
        ("context_lines", _as_context_lines, context_lines),
        ("max_matches", _as_most, max_matches),
        ("max_bytes", _as_most, max_bytes),
        ("max_seconds", as_optional_duration, max_seconds),
    ]
    errors: list[FieldError] = []
    for name, normalise, value in checks:
        try:
            normalise(value)
        except ValueError as refusal:
            errors.append(FieldError(name, str(refusal)))
    if errors:
        raise InvalidQuery(errors)
    find, key = finder(text, ignore_case=ignore_case)
    query = require_query(query)
    only = None
    if run_id is not None:
        only = find_stored_run(store, run_id, query.agent_id).run
        query, key = RunQuery(agent_id=query.agent_id, cursor=query.cursor), zlib.crc32(only.id.bytes, key)
    query, place = _opened(query, key)
    return LogSearch(
        store=store,
        find=find,
        key=key,
        query=query,
        page=RunPage(runs=(only,), total=None, limit=1, next_cursor=None) if only else query_runs(store, query),
        place=place,
        context_lines=context_lines,
        max_matches=_as_most(max_matches),
        max_bytes=_as_most(max_bytes),
        deadline=math.inf if max_seconds is None else time.monotonic() + max_seconds,
    )


@attrs.define(eq=False, kw_only=True)
class LogSearch(Iterator[LogMatch]):
    """A search of logs, as ``search_logs`` begins it: an iterator of matches that says how far it has come.

    Attributes:
        runs_done: How many runs are done, with or without a log.
        bytes_read: How many bytes of log were read.
        matches: How many matches were given.
        damaged: The runs whose logs are damaged, and were not searched to their ends.
        replaced: The runs whose logs were replaced or removed while they were searched, and not searched to their ends.
        stopped_by: The limit that ended the search: of ``matches``, ``bytes`` or ``seconds``, or ``unreadable`` after
            1,000 logs that were damaged or replaced. None for a search that goes on or is complete.
    """

    runs_done: int = attrs.field(default=0, init=False)
    bytes_read: int = attrs.field(default=0, init=False)
    matches: int = attrs.field(default=0, init=False)
    damaged: tuple[UUID, ...] = attrs.field(default=(), init=False)
    replaced: tuple[UUID, ...] = attrs.field(default=(), init=False)
    stopped_by: Literal["matches", "bytes", "seconds", "unreadable"] | None = attrs.field(default=None, init=False)
    _store: Store = attrs.field(alias="store", repr=False)
    _find: Find = attrs.field(alias="find", repr=False)
    _key: int = attrs.field(alias="key", repr=False)
    _query: RunQuery = attrs.field(alias="query", repr=False)
    _page: RunPage = attrs.field(alias="page", repr=False)
    _place: _Place | None = attrs.field(alias="place", repr=False)
    _context_lines: int = attrs.field(alias="context_lines", repr=False)
    _max_matches: float = attrs.field(alias="max_matches", repr=False)
    _max_bytes: float = attrs.field(alias="max_bytes", repr=False)
    _deadline: float = attrs.field(alias="deadline", repr=False)
    _done: BackupRun | None = attrs.field(default=None, init=False, repr=False)
    _is_complete: bool = attrs.field(default=False, init=False, repr=False)
    _found: Iterator[LogMatch] = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Begin before the first run."""
        self._found = self._search()

    def __next__(self) -> LogMatch:
        """Search for the next match."""
        return next(self._found)

    @property
    def searched_back_to(self) -> datetime | None:
        """When the last run that is done started: those that started later are done too. None while none is."""
        return self._done.start_time if self._done else None

    @property
    def next_cursor(self) -> str | None:
        """The ``cursor`` of the query to go on with, after the last match; None once all is searched."""
        if self._is_complete:
            return None
        done = cursor_after(self._query, self._done) if self._done else self._query.cursor or ""
        within = self._place.run_cursor if self._place else ""
        place = self._place[2:] if self._place else (0, 0, 0)
        state = cursor_text(_CURSOR.pack(_CURSOR_VERSION, self._key, *place))
        return f"{done}.{within}.{state}"

    def _search(self) -> Iterator[LogMatch]:
        """Search run after run until all are done or a limit is reached."""
        for run in self._runs():
            if self._done and self._is_spent():
                return
            if self._place and run.id != self._place.run[1] and (run.start_time, run.id) > self._place.run:
                self._done = run  # It came after the search had passed its place.
                continue
            try:
                yield from self._search_run(run)
            except CorruptLog:
                self.damaged += (run.id,)
            except LogReplaced:
                self.replaced += (run.id,)
            if self.stopped_by:
                return
            self._done, self._place = run, None
            self.runs_done += 1
        self._is_complete = True

    def _runs(self) -> Iterator[BackupRun]:
        page = self._page
        while True:
            yield from page.runs
            if page.next_cursor is None:
                return
            page = query_runs(self._store, attrs.evolve(self._query, cursor=page.next_cursor))

    def _search_run(self, listed: BackupRun) -> Iterator[LogMatch]:
        """Search the log of one run, from where the search before has left it."""
        begun = self._place if self._place and self._place.run[1] == listed.id else None
        if listed.log_state not in READABLE_STATES and not begun:
            return
        stored = self._store.call(self._store.backend.find_run, listed.id)
        is_readable = stored is not None and stored.run.log_state in READABLE_STATES
        log = zlib.crc32(repr((stored.log_version, stored.log_gap)).encode()) if stored else 0
        if stored is None or not is_readable or (begun and begun.log != log):
            if begun:
                raise LogReplaced
            return
        run = stored.run
        first = _Place(cursor_after(self._query, listed), (listed.start_time, listed.id), log, 0, 1)
        self._place = place = begun or first
        base = max(0, place.offset - CONTEXT_BYTES)
        part = b""
        for piece in pieces_of(self._store, stored, base, run.log_bytes):
            self.bytes_read += len(piece)
            part += piece
            is_last = base + len(part) == run.log_bytes
            start = place.offset - base
            # Beyond each line that is searched there is room for its context, unless the log ends.
            stop = len(part) if is_last else line_start(part, start, max(start, len(part) - CONTEXT_BYTES))
            for found in self._find(part, start, stop):
                number = place.line_number + part.count(b"\n", place.offset - base, found.start)
                following = number + part.count(b"\n", found.start, found.stop)
                self._place = place = place._replace(offset=base + found.stop, line_number=following)
                self.matches += 1
                yield match_of(run, part, found, base=base, line_number=number, context_lines=self._context_lines)
                if self.matches >= self._max_matches:
                    self.stopped_by = "matches"
                    return
            number = place.line_number + part.count(b"\n", place.offset - base, stop)
            self._place = place = place._replace(offset=base + stop, line_number=number)
            if stop > start and not is_last and self._is_spent():
                return
            kept = max(0, stop - CONTEXT_BYTES)
            part, base = part[kept:], base + kept
            del piece

    def _is_spent(self) -> bool:
        """Return whether a limit is reached, and say which."""
        if self.bytes_read >= self._max_bytes:
            self.stopped_by = "bytes"
        elif time.monotonic() >= self._deadline:
            self.stopped_by = "seconds"
        elif len(self.damaged) + len(self.replaced) >= _MAX_UNREADABLE:
            self.stopped_by = "unreadable"
        return self.stopped_by is not None


def _as_context_lines(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_CONTEXT_LINES:
        raise ValueError(f"must be a whole number from 0 to {MAX_CONTEXT_LINES}")
    return value


def _as_most(value: int | None) -> float:
    """Return a limit of 1 or more; None is no limit."""
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError("must be a whole number, 1 or more, or None for no limit")
    return value


def _opened(query: RunQuery, key: int) -> tuple[RunQuery, _Place | None]:
    """Take a query apart into the one that lists the runs that are not done, and the place in the first of them."""
    listing = attrs.evolve(query, limit=100, with_total=False)
    if query.cursor is None or "." not in query.cursor:
        return listing, None
    try:
        done, within, text = query.cursor.split(".")
        version, given_key, log, offset, line_number = _CURSOR.unpack(cursor_bytes(text))
    except (ValueError, struct.error):
        refuse_cursor("is not the next_cursor of a search")
    if version != _CURSOR_VERSION:
        refuse_cursor("is of another version of backuplog: begin again without it")
    if given_key != key:
        refuse_cursor("is of a search for something else: begin again without it")
    listing = attrs.evolve(listing, cursor=done or None)
    run = position_of(attrs.evolve(listing, cursor=within or None))
    return listing, run and _Place(within, run, log, offset, line_number)
