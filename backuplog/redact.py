r"""Masks secrets in logs, byte for byte, while the logs stream by. Pure: nothing here reads or writes a store.

Secrets are what is assigned to a name such as ``RESTIC_PASSWORD``, and the password in ``https://user:password@host``.
Each byte of one becomes ``*``, so that a log keeps its length. Masking a masked log changes nothing.

A value runs to the next whitespace. Parts of it in quotes may hold spaces, and after a backslash the quote ``"``; a
quote that is not closed runs to the end of the line. The quotes that a value begins with are left; ``""`` is no secret.
The password in a URL runs from the first colon to the last ``@`` before whitespace, a quote or one of ``/?#<>``: 4,096
bytes at most.
"""

import functools
import re
from typing import Final, NamedTuple, Protocol, TypeAlias

import attrs
from attrs.validators import deep_iterable, instance_of, matches_re

from .chunk import CHUNK_BYTES, split

NAMES: Final = (
    *("PASSWORD", "PASSPHRASE", "_TOKEN", "_SECRET", "_KEY", "Password"),
    *("password", "passphrase", "_token", "_secret"),
)
"""The endings of names to which secrets are assigned. ``_key`` is none: what ``primary_key=5`` tells is no secret."""

MAX_URL_PASSWORD_BYTES: Final = 4_096
"""The longest password in a URL, and so the most bytes that are held back."""

_TAIL_BYTES: Final = 128
_Masked: TypeAlias = bytes | memoryview

# Repetitions are possessive, but for one of 4,096 bytes at most: no log takes more than linear time.
_DOUBLE: Final = rb'"([^"\\\n\r]*+(?:\\[^\n\r]?+[^"\\\n\r]*+)*+)'
_SINGLE: Final = rb"'([^'\n\r]*+)"
_PLAIN: Final = rb"[^\s'\"]"
_CLOSED: Final = rb"(?:%b\"|%b')%b*+" % (_DOUBLE.replace(b"([", b"(?:["), _SINGLE.replace(b"([", b"(?:["), _PLAIN)
_VALUE: Final = rb"(?:(%b++)(?!['\"])|(?:%b\"?|%b'?)?(%b*+(?:%b)*+)(?:%b|%b)?)" % (
    *(_PLAIN, _DOUBLE, _SINGLE, _PLAIN, _CLOSED, _DOUBLE, _SINGLE),
)
_AUTHORITY: Final = re.compile(rb"[^\s/?#'\"<>:]*+(:[^\s/?#'\"<>]{0,%d}+)?" % MAX_URL_PASSWORD_BYTES)
_URL: Final = re.compile(rb"://[^\s/?#'\"<>:]*+:([^\s/?#'\"<>]{1,%d})@" % MAX_URL_PASSWORD_BYTES)


class Redacted(NamedTuple):
    """What is known of a log after some more of it.

    Attributes:
        shown: The bytes that are decided now, masked.
        context: What the next call has to know of what has been shown: at most 512 bytes, and none of a secret.
        held: The bytes at the end that may yet turn out to be a secret, as they came: at most 8 KiB.
        count: How many secrets began to be masked.
    """

    shown: bytes
    context: bytes
    held: bytes
    count: int  # type: ignore[assignment] # a tuple has a method of this name

    def __repr__(self) -> str:
        """Show how much there is, because what is held may be a secret."""
        return f"<Redacted {len(self.shown):,} bytes shown, {len(self.held):,} held, {self.count:,} secrets>"


class Redactor(Protocol):
    """Masks secrets in logs. However a log is cut, what ``feed`` shows of it joins to what ``redact`` returns."""

    def redact(self, log: str | bytes) -> tuple[str | bytes, int]:
        """Mask the secrets in a whole log; return it, the same object if it has none, and how many it has.

        Args:
            log: The log.
        """
        ...

    def feed(self, context: bytes, held: bytes, data: bytes, *, is_last: bool) -> Redacted:
        """Mask the secrets in some more of a log.

        Args:
            context: The ``context`` that the last call returned; empty at first.
            held: The ``held`` that the last call returned; empty at first.
            data: What follows.
            is_last: Whether the log ends there.
        """
        ...


def feed(redactor: Redactor, context: bytes, held: bytes, data: bytes, *, is_last: bool) -> Redacted:
    """Let a redactor mask some more of a log.

    Raises:
        TypeError: It returned more bytes than it got, or fewer, and every offset behind them would be wrong.
    """
    redacted = redactor.feed(context, held, data, is_last=is_last)
    if len(redacted.shown) + len(redacted.held) != len(held) + len(data) or (is_last and redacted.held):
        raise TypeError("a redactor must return as many bytes as it gets, and hold none of the last")
    return redacted


class Unredacted:
    """Masks nothing."""

    def redact(self, log: str | bytes) -> tuple[str | bytes, int]:
        """Return the log as it is. See ``Redactor``."""
        return log, 0

    def feed(self, context: bytes, held: bytes, data: bytes, *, is_last: bool) -> Redacted:  # noqa: ARG002
        """Show everything. See ``Redactor``."""
        return Redacted(shown=held + data, context=b"", held=b"", count=0)


@attrs.frozen(kw_only=True)
class SecretRedactor:
    """Masks what is assigned to names of secrets, and passwords in URLs.

    Attributes:
        names: The endings of the names, upper and lower case as they are written: of letters, digits and ``_.-``.
        in_urls: Whether passwords in URLs are masked.
    """

    names: tuple[str, ...] = attrs.field(
        default=NAMES, validator=deep_iterable(matches_re("[A-Za-z0-9_.-]{1,128}"), instance_of(tuple))
    )
    in_urls: bool = True

    def redact(self, log: str | bytes) -> tuple[str | bytes, int]:
        """Mask the secrets in a whole log, as ``Redactor.redact`` says.

        Args:
            log: The log.
        """
        if isinstance(log, str):
            if "=" not in log and ("@" not in log or "://" not in log):
                return log, 0
            if len(log) > CHUNK_BYTES and not self._finds_any(log):
                return log, 0
            whole = self.feed(b"", b"", log.encode("utf-8", "surrogatepass"), is_last=True)
        elif b"=" not in log and (b"@" not in log or b"://" not in log):
            return log, 0
        else:
            whole = self.feed(b"", b"", log, is_last=True)
        return (whole.shown, whole.count) if whole.count else (log, 0)

    def _finds_any(self, log: str) -> bool:
        """Tell whether a long text has a secret, without encoding it whole."""
        context = held = b""
        for piece in split(log):
            _, context, held, count = self.feed(context, held, piece, is_last=False)
            if count:
                return True
        return self.feed(context, held, b"", is_last=True).count > 0

    def feed(self, context: bytes, held: bytes, data: bytes, *, is_last: bool) -> Redacted:
        """Mask the secrets in some more of a log, as ``Redactor.feed`` says.

        Args:
            context: The ``context`` that the last call returned; empty at first.
            held: The ``held`` that the last call returned; empty at first.
            data: What follows.
            is_last: Whether the log ends there.
        """
        text = context + held + data
        known, size = len(context), len(text)
        authority = _open_authority(text) if self.in_urls and not is_last else None
        stop = size if authority is None or authority[1] is None else authority.start(1) + 1
        # A context has "=" only while a value is open, and "*" only once some of that has been counted.
        masked, count, value = self._mask_values(text, stop, -1 if b"=" in context and b"*" in context else 0)
        if value is not None and isinstance(masked, memoryview) and value.end() == stop < size:
            # All of the authority lies in the value.
            masked[stop:] = b"*" * (size - stop)
            stop, value = size, value.re.match(text, value.start())
        if self.in_urls and b"@" in text:
            masked, count = _mask_urls(text, masked, stop, count)
        shown = text[known:stop] if isinstance(masked, bytes) else bytes(masked[known:stop])
        if is_last:
            context = b""
        elif value is not None and value.end() == size:
            context = self.names[0].encode() + b"=" + _unfinished(value)
        elif authority is None:  # What is left may be the beginning of a name or of "://".
            context = (context + shown[-_TAIL_BYTES:])[-_TAIL_BYTES:].rpartition(b"=")[2].rpartition(b"@")[2]
        else:
            context = b"://" + (authority[0][-_TAIL_BYTES:].rpartition(b"=")[2] if authority[1] is None else b":")
        return Redacted(shown, context, text[stop:], count)

    def _mask_values(self, text: bytes, stop: int, count: int) -> tuple[_Masked, int, re.Match[bytes] | None]:
        """Mask the values that are assigned before ``stop``, and count them; return the last of them, too."""
        endings, assignment = _compile(self.names)
        at, tries = text.find(b"="), len(text) // 1_024 + 8
        # Where "=" is rare, this takes a sixth of the time that the pattern takes: 0.1 ns a byte.
        while at >= 0 and tries and not text.endswith(endings, 0, at):
            at, tries = text.find(b"=", at + 1), tries - 1
        value = assignment.search(text, at, stop) if at >= 0 else None
        if value is None:
            return text, count, None
        masked, first = memoryview(bytearray(text)), value.start()
        for value in assignment.finditer(text, first, stop):
            start, end = value.span(1)
            if start < 0:  # It has quotes, or has not begun.
                quoted, closed = max(value.span(2), value.span(3))
                masked[quoted:closed] = b"*" * (closed - quoted)
                start, end = value.start(4), value.end()
                count -= start == end and quoted == closed
            masked[start:end] = b"*" * (end - start)
            count += 1
        return masked, count, value


@functools.lru_cache(maxsize=32)
def _compile(names: tuple[str, ...]) -> tuple[tuple[bytes, ...], re.Pattern[bytes]]:
    endings = tuple(map(str.encode, names))
    # To look at the last three letters first spares most other "=" the search for each name: 14 ns, not 127.
    depth = min(3, min(map(len, endings), default=0))
    last = [b"[%b]" % b"".join({re.escape(name[-at:][:1]) for name in endings}) for at in range(depth, 0, -1)]
    before = b"|".join(b"(?<=%b=)" % re.escape(name) for name in endings) or b"(?!)"
    return endings, re.compile(rb"=(?<=%b=)(?:%b)(?!\s)%b" % (b"".join(last), before, _VALUE))


def _mask_urls(text: bytes, masked: _Masked, stop: int, count: int) -> tuple[_Masked, int]:
    """Mask the passwords of the URLs that end before ``stop``, and count those that lie in no value."""
    before, at, tries = 0, text.find(b"@"), len(text) // 4_096 + 8
    while at >= 0 and tries:  # As for "=".
        slash = text.rfind(b"/", before, at)
        if slash > 1 and _URL.match(text, slash - 2, stop):
            break
        before, at, tries = at, text.find(b"@", at + 1), tries - 1
    for url in _URL.finditer(text, before, stop) if at >= 0 else ():
        start, end = url.span(1)
        if masked[start - 1] == text[start - 1]:  # Else the colon lies in a value.
            masked = memoryview(bytearray(text)) if isinstance(masked, bytes) else masked
            masked[start:end] = b"*" * (end - start)
            count += 1
    return masked, count


def _open_authority(text: bytes) -> re.Match[bytes] | None:
    """Return the authority that a text ends in, if a password may yet begin in it or end."""
    slash = text.rfind(b"/")
    return _AUTHORITY.fullmatch(text, slash + 1) if text.startswith(b"://", max(slash - 2, 0)) else None


def _unfinished(value: re.Match[bytes]) -> bytes:
    """Return the shortest value that goes on as one does that a text ends in. It says nothing of the secret."""
    plain, double, single, rest, last_double, last_single = value.groups()
    inside = double if last_double is None else last_double
    escape = b"\\" * ((len(inside) - len(inside.rstrip(b"\\"))) % 2) if inside else b""
    if last_double is not None or last_single is not None:
        return b"*'" if last_double is None else b'*"' + escape
    begun = b"*" if plain or rest or double or single else b""
    if plain or rest or value.end() > max(value.end(2), value.end(3), value.start() + 1):
        return begun or b'""'
    return b'"' + begun + escape if double is not None else b"'" + begun if single is not None else b""
