"""What goes out over HTTP: JSON, problems (RFC 9457) and logs in pieces."""

import codecs
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from itertools import chain, islice
from operator import attrgetter
from typing import Any, Final

import attrs
import msgspec

from backuplog.chunk import CHUNK_BYTES
from backuplog.convert import run_document
from backuplog.errors import (
    BackuplogError,
    InvalidInput,
    LogClosed,
    LogOffsetMismatch,
    LogReplaced,
    RateLimited,
    StoreError,
    StoreUnavailable,
    Unauthenticated,
    UnsupportedMedia,
)
from backuplog.model import BackupRun, Progress, Receipt, RunQuery, RunStats
from backuplog.query import cursor_after, query_runs
from backuplog.store import Store

MAX_LISTED_CHARACTERS: Final = 1_024
"""How much of an error message a list shows."""
MAX_PAGE_BYTES: Final = 8_388_608
"""The longest list of runs. A thousand runs with the longest messages and figures would make one of hundreds of MiB."""

LOG_HEADERS: Final = {"Content-Type": "text/plain; charset=utf-8", "X-Content-Type-Options": "nosniff"}
"""The headers of a log, which a browser is not to take for HTML."""

_LEAST_ALIKE: Final = 1e-4
_GREATEST_ALIKE: Final = 1e16
_RUNS_AT_ONCE: Final = 100
_RETRY_SECONDS: Final = 5


@attrs.frozen(kw_only=True)
class Response:
    """An HTTP response to send.

    Attributes:
        status: The status code.
        headers: Names and values; no name occurs twice.
        body: The bytes or, for a log of more than 1 MiB, an iterator of pieces. If the iterator raises, break the
            connection, so that the client does not take a part of the log for the whole.
        receipts: What became of each result that was taken in, in order, for your own use; it is not sent.
    """

    status: int
    headers: dict[str, str]
    body: bytes | Iterator[bytes] = attrs.field(repr=False)
    receipts: tuple[Receipt, ...] = ()

    def pieces(self) -> Iterator[bytes]:
        """Return the body in pieces, even if it is one."""
        return iter([self.body]) if isinstance(self.body, bytes) else self.body


def without_body(response: Response) -> Response:
    """Answer HEAD: what GET would say, and how long it would be."""
    headers = response.headers
    if not isinstance(response.body, bytes) and "Content-Length" not in headers:
        headers = {**headers, "Content-Length": str(sum(map(len, response.body)))}
    return attrs.evolve(response, headers=headers, body=b"")


def listed_run(run: BackupRun) -> dict[str, Any]:
    """Return a run as a list shows it, with no more of a long error message than its beginning."""
    document = run_document(run)
    message = run.error_message
    if message is not None and len(message) > MAX_LISTED_CHARACTERS:
        document |= {"error_message": message[:MAX_LISTED_CHARACTERS], "error_message_truncated": True}
    return document


def _reading(model: type[Any]) -> Callable[[Any], dict[str, Any]]:
    """Return what gives the fields of an instance by their names; the tenant is nobody's business."""
    names = [field.name for field in attrs.fields(model) if field.name != "tenant_id"]
    values = attrgetter(*names)
    return lambda instance: dict(zip(names, values(instance), strict=True))


_run_fields: Final = _reading(BackupRun)
_stats_fields: Final = _reading(RunStats)
_progress_fields: Final = _reading(Progress)


def listed_run_json(run: BackupRun) -> bytes:
    """Write a run as a list shows it: the bytes that ``to_json`` makes of ``listed_run``, in a third of the time."""
    stats, progress, message = run.stats, run.progress, run.error_message
    numbers = (
        run.duration_seconds,
        *(() if stats is None else (stats.duration,)),
        *(() if progress is None else (progress.percent, progress.seconds_remaining)),
    )
    # msgspec writes others otherwise: 0.00001 and 1e16, where Python has 1e-05 and 1e+16.
    is_alike = all(not number or _LEAST_ALIKE <= number < _GREATEST_ALIKE for number in numbers)
    if not is_alike or (message is not None and len(message) > MAX_LISTED_CHARACTERS):
        return to_json(listed_run(run))
    document = _run_fields(run)
    document["log_sha256"] = run.log_sha256 and run.log_sha256.hex()
    document["stats"] = stats and _stats_fields(stats)
    document["progress"] = progress and _progress_fields(progress)
    try:
        encoded = msgspec.json.encode(document)
    except TypeError:  # It takes no subclass of str, which a backend may give back as it came.
        return to_json(listed_run(run))
    return msgspec.json.format(encoded, indent=0)  # in one line, with a space after , and :


def page_response(store: Store, query: RunQuery) -> Response:
    """Answer with a page of runs, which ends before it is too long and says where to go on."""
    runs: list[bytes] = []
    size, last, next_cursor = 0, None, query.cursor
    total: int | None = None
    while True:
        limit = min(_RUNS_AT_ONCE, query.limit - len(runs))
        part = query_runs(store, attrs.evolve(query, cursor=next_cursor, limit=limit, with_total=not runs))
        total = part.total if total is None else total
        next_cursor = part.next_cursor
        for run in part.runs:
            encoded = listed_run_json(run)
            size += len(encoded)
            if last is not None and size > MAX_PAGE_BYTES:
                return list_response(
                    "runs", runs, total=total, limit=query.limit, next_cursor=cursor_after(query, last)
                )
            runs.append(encoded)
            last = run
        if next_cursor is None or len(runs) == query.limit:
            return list_response("runs", runs, total=total, limit=query.limit, next_cursor=next_cursor)


def fitting(documents: Iterable[dict[str, Any]], limit: int) -> list[bytes]:
    """Write the first documents, no more than a limit and no longer than a page; one at least, where there is one."""
    items: list[bytes] = []
    size = 0
    for document in islice(documents, limit):
        item = to_json(document)
        size += len(item)
        if items and size > MAX_PAGE_BYTES:
            break
        items.append(item)
    return items


def list_response(name: str, items: Sequence[bytes], **rest: object) -> Response:
    """Answer with a list of what is written already, and what else there is to say of it."""
    return encoded_response(b'{"' + name.encode() + b'": [' + b", ".join(items) + b"], " + to_json(rest)[1:])


def started(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Read the first piece now, while an error can still be answered."""
    return chain([next(pieces, b"")], pieces)


def whole_if_short(pieces: Iterator[bytes], size: int) -> bytes | Iterator[bytes]:
    """Join what is no longer than a chunk; a short answer then has no error after its headers."""
    return b"".join(pieces) if size <= CHUNK_BYTES else pieces


def json_with_log(document: dict[str, Any], pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Write a run's JSON around its log, which is held one piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    yield to_json(document)[:-1] + b', "log": "'
    for piece in pieces:
        yield to_json(decoder.decode(piece))[1:-1]
    yield to_json(decoder.decode(b"", final=True))[1:-1] + b'"}'


def batch_item(answer: Receipt | BackuplogError) -> dict[str, Any]:
    """Return what became of one result of a batch."""
    if isinstance(answer, Receipt):
        return {
            "status": "ok",
            "run_id": str(answer.run_id),
            "outcome": answer.outcome.value,
            "log_state": answer.log_state.value,
            "log_bytes": answer.log_bytes,
        }
    return {"status": "error", "error": problem_of(answer)}


def problem_response(error: BackuplogError, **members: object) -> Response:
    """Answer with what went wrong, and further members where there are any."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, UnsupportedMedia):
        headers["Accept-Encoding"] = "gzip, zstd"
    if isinstance(error, RateLimited):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, LogOffsetMismatch | LogClosed):
        headers["Upload-Offset"] = str(error.expected_offset)
    if isinstance(error, StoreUnavailable | LogReplaced):
        headers["Retry-After"] = str(_RETRY_SECONDS)
    return json_response({**problem_of(error), **members}, status=error.http_status, headers=headers)


def problem_of(error: BackuplogError) -> dict[str, Any]:
    """Describe an error to a client."""
    # What a store says is for the operator's log.
    detail = str(type(error)()) if isinstance(error, StoreError) else str(error)
    document = problem(error.http_status, error.error_type, detail)
    if isinstance(error, InvalidInput):
        document["errors"] = [{"path": item.path, "message": item.message} for item in error.errors]
    if isinstance(error, LogOffsetMismatch | LogClosed):
        document["expected_offset"] = error.expected_offset
    return document


def phrase(status: int) -> str:
    """Return a status in the words of RFC 9110, which CPython has from 3.13 on."""
    renamed = {413: "Content Too Large", 416: "Range Not Satisfiable"}
    return renamed.get(status) or HTTPStatus(status).phrase


def problem(status: int, error_type: str, detail: str) -> dict[str, Any]:
    """Make a problem of RFC 9457. Its type is its title's; ``error_type`` tells kinds apart and stays the same."""
    return {
        "type": "about:blank",
        "title": phrase(status),
        "status": status,
        "detail": detail,
        "error_type": error_type,
    }


def to_json(document: dict[str, Any] | str) -> bytes:
    """Write JSON in UTF-8: escaped, a character outside of ASCII would take up to twelve bytes."""
    if isinstance(document, str):
        return msgspec.json.encode(document)  # a fifth of the time, for the same bytes
    return json.dumps(document, ensure_ascii=False).encode()


def json_response(
    document: dict[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    receipts: tuple[Receipt, ...] = (),
) -> Response:
    """Answer with JSON, which nobody on the way keeps."""
    return encoded_response(to_json(document), status=status, headers=headers, receipts=receipts)


def encoded_response(
    body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None, receipts: tuple[Receipt, ...] = ()
) -> Response:
    """Answer with JSON that is written already."""
    media = "application/json" if status < HTTPStatus.BAD_REQUEST else "application/problem+json"
    given = {"Content-Type": media, "Cache-Control": "private, no-store", **(headers or {})}
    return attrs.evolve(bytes_response(status, given, body), receipts=receipts)


def bytes_response(status: int, headers: dict[str, str], body: bytes) -> Response:
    """Answer with bytes."""
    return Response(status=status, headers={**headers, "Content-Length": str(len(body))}, body=body)
