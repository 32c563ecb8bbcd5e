"""What comes in over HTTP: headers, query and body, read no further than a limit."""

import errno
import re
import sys
import zlib
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from io import SEEK_END, BytesIO
from types import MappingProxyType
from typing import Any, Final, Protocol, runtime_checkable
from urllib.parse import parse_qsl

import attrs

from backuplog.errors import (
    FieldError,
    InvalidQuery,
    InvalidTaskResult,
    PayloadTooLarge,
    Unauthenticated,
    UnsupportedMedia,
)

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_MAX_FIELDS: Final = 100
_RANGE: Final = re.compile(r"bytes=[ \t]*(?:(\d{1,19})-(\d{0,19})|-(\d{1,19}))[ \t]*", re.ASCII | re.IGNORECASE)
_CONTENT_RANGE: Final = re.compile(r"bytes[ \t]+(\d{1,18})-(\d{1,18})/(?:\*|(\d{1,18}))", re.ASCII | re.IGNORECASE)
MAX_OFFSET: Final = 10**18
_PIECE_BYTES: Final = 65_536
# https://www.rfc-editor.org/rfc/rfc9659: a decoder of content need not hold more than 8 MB.
_ZSTD_WINDOW_LOG: Final = 23
_GZIP_WINDOW_BITS: Final = 31
# A decompressor copies what is behind the end of a part: 3 MiB of empty zstd frames would take 126 s.
_MAX_PARTS: Final = 4_096

# What reading raises where the client has gone; a server that reads chunks itself (gunicorn) names no number then.
_BROKEN: Final = (None, errno.ECONNRESET, errno.ECONNABORTED, errno.EPIPE, errno.ETIMEDOUT)


@runtime_checkable
class Readable(Protocol):
    """A binary file, as ``wsgi.input`` is."""

    def read(self, size: int, /) -> bytes:
        """Read at most so many bytes, and none at the end."""
        ...


def _lower(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return headers by their names in lower case; the values of one that comes several times are joined (RFC 9110)."""
    joined: dict[str, str] = {}
    pairs: Any = headers.items() if isinstance(headers, Mapping) else headers  # pyright: ignore[reportUnknownVariableType]
    for name, value in pairs:
        key = name.lower()
        joined[key] = f"{joined[key]}, {value}" if key in joined else value
    return joined


@attrs.frozen(kw_only=True)
class Request:
    """The parts of an HTTP request.

    Attributes:
        method: The method. HEAD is answered as GET is, without the body; otherwise it makes no difference.
        headers: Names, in any case, and values: a mapping or pairs, as your framework provides them.
        query: What follows the ``?`` in the URL, as it was sent.
        body: The bytes, a binary file such as ``wsgi.input``, or an iterable of pieces. No more is read than the guard
            allows.
    """

    method: str = "GET"
    headers: Mapping[str, str] = attrs.field(default=MappingProxyType({}), converter=_lower, repr=False)
    query: str = ""
    body: bytes | Readable | Iterable[bytes] = attrs.field(default=b"", repr=False)


def bearer_token(request: Request) -> str:
    """Return the token that a request carries.

    Raises:
        Unauthenticated: It carries none.
    """
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated
    return token.strip()


def has_tag(header: str, tag: str | None, *, weakly: bool) -> bool:
    """Return whether the entity tags of ``If-Match`` or ``If-None-Match`` include one; ``*`` includes any.

    Args:
        header: The header.
        tag: The tag of what there is, which is a strong one; None if it has none.
        weakly: Whether a weak tag counts as its strong one, as it does in ``If-None-Match``.
    """
    tags = {text.strip() for text in header.split(",")}
    if weakly:
        tags = {text.removeprefix("W/") for text in tags}
    return "*" in tags or tag in tags


def media_type(request: Request, accepted: frozenset[str]) -> str:
    """Return the media type of a body, ``application/json`` where none is said, and refuse others.

    Raises:
        UnsupportedMedia: It is none of the accepted ones, or not in UTF-8.
    """
    media, *parameters = (part.strip().lower() for part in request.headers.get("content-type", "").split(";"))
    charsets = [text.strip('"') for name, _, text in (part.partition("=") for part in parameters) if name == "charset"]
    if (media or "application/json") not in accepted or not {"utf-8", "utf8"}.issuperset(charsets):
        raise UnsupportedMedia(f"the body must be {' or '.join(sorted(accepted))} in UTF-8")
    return media


def parse_query(query: str, known: Iterable[str], *, repeatable: Iterable[str] = ()) -> dict[str, Any]:
    """Read a query, and refuse what is not known, comes twice or is empty."""
    try:
        query.encode()  # A lone surrogate is refused as it is, too, and not only percent-encoded.
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:  # a UnicodeError is one
        raise InvalidQuery([FieldError("query", "must be percent-encoded UTF-8 of at most 100 fields")]) from None
    values: dict[str, Any] = {}
    errors: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            errors[name[:50] if name.isidentifier() else "query"] = "is not known here"
        elif not value:
            errors[name] = "must not be empty"
        elif name in repeatable:
            values.setdefault(name, []).append(value)
        elif name in values:
            errors[name] = "must come once"
        else:
            values[name] = value
    if errors:
        raise InvalidQuery([FieldError(name, message) for name, message in errors.items()])
    return values


def parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Read a ``Range`` of bytes as a half-open interval of something of ``size`` bytes.

    Returns:
        Start and stop; start is not before stop where no byte is asked for that there is. None for a header that is
        missing, malformed or asks for several ranges: RFC 9110 lets it be ignored.
    """
    match = _RANGE.fullmatch(header.strip())
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        return max(0, size - int(suffix)), (size if int(suffix) else 0)
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def content_offset(request: Request) -> tuple[int, int | None]:
    """Read from ``Content-Range``, or ``Upload-Offset`` where there is none, where the body of a PATCH belongs.

    Returns:
        The offset of its first byte, and of the one behind its last; None where it does not say.

    Raises:
        InvalidQuery: Both are missing or malformed.
    """
    header, offset = request.headers.get("content-range"), request.headers.get("upload-offset")
    if header is None and offset is None:
        raise InvalidQuery([FieldError("Content-Range", "is required, like bytes 0-1023/*, or an Upload-Offset")])
    said = None if offset is None else number_in(offset.strip())
    if offset is not None and (said is None or said > MAX_OFFSET):
        raise InvalidQuery([FieldError("Upload-Offset", "must be a number of bytes")])
    if header is None:
        return said or 0, None
    match = _CONTENT_RANGE.fullmatch(header.strip())
    first, last, length = (int(digits or MAX_OFFSET) for digits in match.groups()) if match else (1, 0, 0)
    if not first <= last < length:
        raise InvalidQuery([FieldError("Content-Range", "must be like bytes 0-1023/*")])
    if said not in (None, first):
        raise InvalidQuery([FieldError("Upload-Offset", "must be where Content-Range begins, or be left out")])
    return first, last + 1


def read_body(request: Request, *, max_bytes: int) -> bytes:
    """Read and decompress a body.

    Args:
        request: The request.
        max_bytes: The limit, before and after decompression. A ``Content-Length`` over it is refused unread.

    Returns:
        The decompressed bytes.

    Raises:
        PayloadTooLarge: It is over the limit.
        UnsupportedMedia: It is compressed with something else than gzip or zstd.
        InvalidTaskResult: It ends too early or cannot be decompressed.
    """
    headers = request.headers
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", "gzip", "x-gzip", "zstd"):
        raise UnsupportedMedia("the body may be compressed with gzip or zstd only")
    length = _length(headers)
    if length is not None and length > max_bytes:
        raise _too_large(max_bytes)
    pieces = _bounded(_pieces(headers, request.body, length), max_bytes)
    if encoding != "identity":
        pieces = _bounded(_decoded(pieces, encoding), max_bytes)
    whole = BytesIO(next(pieces, b""))  # Joining a list of them would hold all of it twice.
    whole.seek(0, SEEK_END)
    whole.writelines(pieces)
    return whole.getvalue()


async def collect_body(
    headers: Mapping[str, str] | Iterable[tuple[str, str]], pieces: AsyncIterable[bytes], *, max_bytes: int
) -> bytes:
    """Read a body in an async server. Reading stops just over the limit, and the endpoint then refuses the body.

    Args:
        headers: The request's headers. If ``Content-Length`` is over the limit, the body is not read.
        pieces: The pieces of the body, such as Starlette's ``request.stream()``.
        max_bytes: The limit, in bytes.

    Returns:
        The body, or as much of it as was read.
    """
    length = number_in(_lower(headers).get("content-length", ""))
    whole = BytesIO()
    if length is not None and length > max_bytes:
        return b""
    async for piece in pieces:
        whole.write(piece)
        if whole.tell() > max_bytes:
            break
    return whole.getvalue()


def _length(headers: Mapping[str, str]) -> int | None:
    text = headers.get("content-length", "").strip()
    if not text:
        return None
    length = number_in(text)
    if length is None:
        raise _invalid("has a Content-Length that is no number")
    return length


def number_in(text: str) -> int | None:
    """Return the number that decimal digits spell, or one that is as good as it where there are more than twenty."""
    return int(text.lstrip("0")[:20] or "0") if text.isascii() and text.isdecimal() else None


def _pieces(
    headers: Mapping[str, str], body: bytes | Readable | Iterable[bytes], length: int | None
) -> Iterator[bytes]:
    if isinstance(body, bytes):
        yield body
        return
    if not isinstance(body, Readable):
        yield from body
        return
    # Without a length only a body in chunks has an end: reading on would wait for the next request.
    if length is None and "transfer-encoding" not in headers:
        return
    missing = length
    while missing is None or missing > 0:
        try:
            piece = body.read(_PIECE_BYTES if missing is None else min(_PIECE_BYTES, missing))
        except OSError as error:
            if error.errno not in _BROKEN:
                raise
            raise _invalid("broke off") from error
        if not piece:
            break
        yield piece
        missing = None if missing is None else missing - len(piece)
    if missing:
        raise _invalid(f"ended {missing:,} bytes before its Content-Length")


def _bounded(pieces: Iterable[bytes], max_bytes: int) -> Iterator[bytes]:
    size = 0
    for piece in pieces:
        size += len(piece)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield piece


def _decoded(pieces: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    make = _zstd_decoder if encoding == "zstd" else _GzipDecoder
    decoder = make()
    parts = 1  # of gzip members or zstd frames, which may follow each other
    try:
        for piece in _slices(pieces):
            rest = piece
            while rest or not (decoder.eof or decoder.needs_input):
                if decoder.eof:
                    decoder = make()
                    parts += 1
                    if parts > _MAX_PARTS:
                        raise _invalid(f"has more than {_MAX_PARTS:,} gzip members or zstd frames")
                yield decoder.decompress(rest, _PIECE_BYTES)
                rest = decoder.unused_data
    except (zlib.error, zstd.ZstdError) as error:
        raise _invalid(f"cannot be decompressed: {error}") from error
    if not decoder.eof:
        raise _invalid("ends in the middle of what is compressed")


def _slices(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut long pieces: a decompressor copies what it has left of its input after each step."""
    for piece in pieces:
        for start in range(0, len(piece), _PIECE_BYTES):
            yield piece[start : start + _PIECE_BYTES]


class _GzipDecoder:
    """zlib's decompressor with the interface of zstd's."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self.needs_input = True

    def decompress(self, data: bytes, max_length: int) -> bytes:
        given = self._decoder.decompress(self._decoder.unconsumed_tail + data, max_length)
        self.needs_input = len(given) < max_length
        return given

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data


def _zstd_decoder() -> zstd.ZstdDecompressor:
    return zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG})


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"the body is larger than {max_bytes:,} bytes")


def _invalid(message: str) -> InvalidTaskResult:
    return InvalidTaskResult([FieldError("$", message)])
