"""The log of a run: where it opens, its lines, what is found in it, and the whole of it to download."""

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, TypeVar

import attrs
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from backuplog import http
from backuplog.change import READABLE_STATES, StoredRun
from backuplog.errors import FieldError, InvalidQuery
from backuplog.http.parameters import whole_number
from backuplog.http.request import has_tag, parse_query
from backuplog.log import retry_if_replaced
from backuplog.model import RunQuery
from backuplog.query import find_stored_run
from backuplog.scan import LogMatch
from backuplog.search import search_logs
from backuplog.store import Store

from .contract import request_of, response_of
from .index import Indexes, LineIndex, tag_of
from .lines import BLOCK, ShownLine, failing_line, read_lines, shown_line
from .page import HEADERS, Site, page_route
from .terminal import show

STEP_MATCHES: Final = 100
"""The most lines that one step of a search finds."""
STEP_BYTES: Final = 33_554_432
"""About how many bytes of log one step of a search reads."""
STEP_SECONDS: Final = 1.0
"""About how many seconds one step of a search takes."""

_BLOCKS: Final = 3  # on the page before any script asks for more
_MAX_NUMBER: Final = 2**53  # which scripts count to
_CONTINUING: Final = bytes(range(0x80, 0xC0))  # of a character of UTF-8 that was cut
_AROUND: Final = (96, 160)  # bytes of the line before and behind what was found

_Result = TypeVar("_Result")


@attrs.frozen(kw_only=True)
class LogWindow:
    """A part of a log on the page.

    Attributes:
        tag: What tells this log from any other.
        index: Where its lines begin.
        lines: The lines.
        target: The number of the line to look at; None for the end.
        is_failing: Whether it is that line because it is the last that tells of an error.
    """

    tag: str
    index: LineIndex
    lines: list[ShownLine]
    target: int | None
    is_failing: bool

    @property
    def earlier(self) -> int | None:
        """The line to look at for what comes before; None if nothing does."""
        return max(1, self.lines[0].number - BLOCK) if self.lines and self.lines[0].number > 1 else None

    @property
    def later(self) -> int | None:
        """The line to look at for what comes after; None if nothing does."""
        following = self.lines[-1].number + 1 if self.lines else 1
        return min(following + BLOCK, self.index.lines) if following <= self.index.lines else None


@attrs.frozen(kw_only=True)
class Found:
    """A line in which something was found.

    Attributes:
        number: Its number.
        before: What stands before it in the line, as HTML.
        match: What was found, as HTML.
        after: What stands behind it, as HTML.
    """

    number: int
    before: str
    match: str
    after: str


@attrs.frozen(kw_only=True)
class Findings:
    """What one step of a search found.

    Attributes:
        lines: The lines.
        bytes_read: How many bytes of log it read.
        stopped_at: The offset of the last line, if the search stopped there because these are enough; else None.
        next_cursor: Where to go on; None if all is searched.
        is_unreadable: Whether the log was damaged or replaced, and not searched to its end.
    """

    lines: list[Found]
    bytes_read: int
    stopped_at: int | None
    next_cursor: str | None
    is_unreadable: bool


def log_routes(site: Site, indexes: Indexes) -> list[Route]:
    """Return the routes of a run's log."""
    log = "/runs/{run_id}/log"
    return [
        page_route(log, view_log, site),
        page_route(f"{log}/index", partial(view_index, indexes), site),
        page_route(f"{log}/lines", partial(view_lines, indexes), site),
        page_route(f"{log}/search", view_search, site),
    ]


def view_log(site: Site, request: Request) -> Response:
    """Answer with the log itself, or a part of it, as the contract does; a browser saves it under the run's id."""
    store = site.store
    run = find_stored_run(store, request.path_params["run_id"], None).run
    given = http.get_backup_run_log(
        store, str(run.agent_id), str(run.id), request_of(request), guard=http.Guard(tokens=False)
    )
    if given.status < HTTPStatus.BAD_REQUEST:
        disposition = f'attachment; filename="backup-run-{run.id}.log"'
        given = attrs.evolve(given, headers={**given.headers, "Content-Disposition": disposition})
    return response_of(given)


def view_index(indexes: Indexes, site: Site, request: Request) -> Response:
    """Answer how many lines the log has by now, and which it is; who knows that is told so without reading the log."""
    store = site.store
    run_id = request.path_params["run_id"]
    stored = find_stored_run(store, run_id, None)
    headers = {**HEADERS, "Cache-Control": "private, no-cache", "ETag": _state_of(stored)}
    if has_tag(request.headers.get("if-none-match", ""), headers["ETag"], weakly=True):
        return Response(status_code=304, headers=headers)
    stored, index = _with_index(store, run_id, indexes, _nothing)[:2]
    document = {
        "tag": tag_of(stored),
        "lines": index.lines,
        "bytes": index.size,
        "active": stored.run.is_active,
    }
    return JSONResponse(document, headers={**headers, "ETag": _state_of(stored)})


def view_lines(indexes: Indexes, site: Site, request: Request) -> Response:
    """Answer with a few lines as HTML. The tag says of which log they are."""
    run_id = request.path_params["run_id"]
    given = parse_query(request.url.query, ("first", "count", "as"))
    first, count = _number(given, "first", _MAX_NUMBER), _number(given, "count", BLOCK)
    as_written = given.get("as") == "written"

    def read(stored: StoredRun, index: LineIndex) -> list[ShownLine]:
        return _shown(site.store, stored, index, first, count, as_written=as_written)

    stored, _, lines = _with_index(site.store, run_id, indexes, read)
    answer = site.render(request, "_lines.html", lines=lines, as_written=as_written)
    answer.headers["ETag"] = f'"{tag_of(stored)}"'
    return answer


def view_search(site: Site, request: Request) -> Response:
    """Answer with what one step of a search finds, as HTML."""
    given = parse_query(request.url.query, ("q", "cursor"))
    findings = find(site.store, request.path_params["run_id"], given.get("q", ""), given.get("cursor"))
    return site.render(request, "_found.html", findings=findings)


def find(store: Store, run_id: str, text: str, cursor: str | None) -> Findings:
    """Take one step of a search, without regard to the case of ASCII letters.

    Args:
        store: The store to use.
        run_id: The run whose log to search.
        text: What to find.
        cursor: Where to go on; None for the beginning.

    Raises:
        InvalidQuery: The text or the cursor is not valid.
        RunNotFound: There is no such run.
        StoreError: The store failed.
    """
    search = search_logs(
        store,
        text.encode("utf-8", "replace"),
        RunQuery(cursor=cursor or None),
        run_id=run_id,
        ignore_case=True,
        max_matches=STEP_MATCHES,
        max_bytes=STEP_BYTES,
        max_seconds=STEP_SECONDS,
    )
    matches = [*search]
    return Findings(
        lines=[_found(match) for match in matches],
        bytes_read=search.bytes_read,
        stopped_at=matches[-1].offset if search.stopped_by == "matches" else None,
        next_cursor=search.next_cursor,
        is_unreadable=bool(search.damaged or search.replaced),
    )


def open_window(
    store: Store, run_id: str, indexes: Indexes, asked: int | None, *, as_written: bool
) -> LogWindow | None:
    """Read the part of a log at which it opens: the line that is asked for, or its failing part, or its end.

    Args:
        store: The store to use.
        run_id: The run whose log it is.
        indexes: The indexes of logs that are known.
        asked: The line that is asked for; None if none is.
        as_written: Whether to show what was overwritten, and control characters, rather than what they do.

    Returns:
        The part; None if there is no log to read.

    Raises:
        LogReplaced: The log was replaced each time while it was read.
        CorruptLog: The log is damaged.
        StoreError: The store failed.
    """

    def read(stored: StoredRun, index: LineIndex) -> LogWindow | None:
        if stored.run.log_state not in READABLE_STATES:
            return None
        is_good = stored.run.status == "success" or stored.run.is_active
        failing = None if asked or is_good else failing_line(store, stored, index)
        target = max(1, min(asked, index.lines)) if asked else failing
        block = (max(1, target or index.lines) - 1) // BLOCK - 1
        block = max(0, min(block, (index.lines - 1) // BLOCK - _BLOCKS + 1))
        lines = _shown(store, stored, index, block * BLOCK + 1, _BLOCKS * BLOCK, as_written=as_written)
        return LogWindow(tag=tag_of(stored), index=index, lines=lines, target=target, is_failing=failing is not None)

    return _with_index(store, run_id, indexes, read)[2]


def _with_index(
    store: Store, run_id: str, indexes: Indexes, read: Callable[[StoredRun, LineIndex], _Result]
) -> tuple[StoredRun, LineIndex, _Result]:
    """Find a run, see where the lines of its log begin, and read some; again if the log was replaced meanwhile."""

    def attempt() -> tuple[StoredRun, LineIndex, _Result]:
        stored = find_stored_run(store, run_id, None)
        is_readable = stored.run.log_state in READABLE_STATES
        index = indexes.of(store, stored) if is_readable else LineIndex()
        return stored, index, read(stored, index)

    return retry_if_replaced(attempt)


def _nothing(_stored: StoredRun, _index: LineIndex) -> None:
    return None


def _shown(
    store: Store, stored: StoredRun, index: LineIndex, first: int, count: int, *, as_written: bool
) -> list[ShownLine]:
    return [shown_line(line, as_written=as_written) for line in read_lines(store, stored, index, first, count)]


def _found(match: LogMatch) -> Found:
    start = match.offset - match.line_offset
    stop = start + match.size
    first, last = max(0, start - _AROUND[0]), stop + _AROUND[1]
    parts = (match.line[first:start].lstrip(_CONTINUING) if first else match.line[:start], match.line[start:stop])
    before, found, after = (
        show(part.decode("utf-8", "replace"), last).html for part in (*parts, match.line[stop:last])
    )
    return Found(
        number=match.line_number,
        before=f"…{before}" if first else before,
        match=found,
        after=f"{after}…" if last < len(match.line) else after,
    )


def _state_of(stored: StoredRun) -> str:
    return f'"{tag_of(stored)}-{stored.run.log_bytes}-{stored.run.log_state}-{stored.run.is_active}"'


def _number(given: dict[str, Any], name: str, most: int) -> int:
    try:
        return int(whole_number(1, most, default=1)(given.get(name)))
    except ValueError as refusal:
        raise InvalidQuery([FieldError(name, str(refusal))]) from None
