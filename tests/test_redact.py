"""Masking secrets in logs, whole and in pieces."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backuplog import redact
from backuplog.redact import NAMES, Redacted, SecretRedactor

REDACTOR = SecretRedactor()
ENDINGS = tuple(name.encode() for name in NAMES)
SPACE, QUOTES, LINE_ENDS = b" \t\n\r\v\f", b"'\"", b"\n\r"


def value_of(log: bytes, start: int) -> tuple[int, list[int]]:
    """Read the value that begins at ``start``, a byte at a time: where it ends, and which bytes of it are secret."""
    secret: list[int] = []
    quote, leading, at = 0, False, start
    while at < len(log):
        byte = log[at]
        if byte in (LINE_ENDS if quote else SPACE):
            break
        if quote:
            if byte == quote:
                quote = 0
                if leading:
                    leading = False
                    at += 1
                    continue
            elif quote == ord('"') and byte == ord("\\") and log[at + 1 : at + 2] not in {b"", b"\n", b"\r"}:
                secret.append(at)
                at += 1
        elif byte in QUOTES:
            quote = byte
            if at == start:
                leading = True
                at += 1
                continue
        secret.append(at)
        at += 1
    return at, secret


def oracle(log: bytes) -> tuple[bytes, int]:
    """Mask a log slowly and plainly."""
    in_values, secret, count, at = set[int](), set[int](), 0, 0
    while at < len(log):
        if log[at] == ord("=") and log[:at].endswith(ENDINGS):
            end, found = value_of(log, at + 1)
            in_values.update(range(at + 1, end))
            secret.update(found)
            count += bool(found)
            at = end
        else:
            at += 1
    for at in range(len(log)):
        if log[at : at + 3] == b"://":
            authority = bytes(itertools.takewhile(lambda byte: byte not in SPACE + QUOTES + b"/?#<>", log[at + 3 :]))
            user, _, rest = authority.partition(b":")
            password, found_it, _ = rest[:4097].rpartition(b"@")
            start = at + 3 + len(user) + 1
            if found_it and password and start - 1 not in in_values:
                secret.update(range(start, start + len(password)))
                count += 1
    return bytes(ord("*") if at in secret else byte for at, byte in enumerate(log)), count


def feed(pieces: Sequence[bytes], redactor: SecretRedactor = REDACTOR) -> list[Redacted]:
    """Feed a log in pieces, and see that no byte is shown that is not, or not yet, decided."""
    context, held, calls, fed, shown = b"", b"", list[Redacted](), b"", b""
    whole = bytes(redactor.redact(b"".join(pieces))[0])
    for number, piece in enumerate(pieces):
        call = redactor.feed(context, held, piece, is_last=number == len(pieces) - 1)
        calls.append(call)
        _, context, held, count = call
        fed += piece
        shown += call.shown
        assert count >= 0
        assert len(shown) + len(held) == len(fed)
        assert fed.endswith(held)
        assert whole.startswith(shown)
        assert len(context) <= 512
        assert len(held) <= 8192
    assert (shown, context if pieces else b"", held) == (whole, b"", b"")
    return calls


def cut(log: bytes, places: Sequence[int]) -> list[bytes]:
    """Cut a log at some places."""
    borders = [0, *sorted(min(place, len(log)) for place in places), len(log)]
    return [log[start:stop] for start, stop in itertools.pairwise(borders)]


EXAMPLES = {
    # What is masked, by what was there.
    b"RESTIC_PASSWORD=hunter2 restic backup\n": b"RESTIC_PASSWORD=******* restic backup\n",
    b"export AWS_SECRET_ACCESS_KEY=a/b+c=\n": b"export AWS_SECRET_ACCESS_KEY=******\n",
    b"PGPASSWORD=x\tPASSWORD=y\rBORG_PASSPHRASE=z\v": b"PGPASSWORD=*\tPASSWORD=*\rBORG_PASSPHRASE=*\v",
    b"--password=x db_password=y api_token=z": b"--password=* db_password=* api_token=*",
    b"Server=s;Password=x y": b"Server=s;Password=* y",
    b"MONKEY=x RESTIC_PASSWORD_FILE=/etc/x primary_key=5": None,
    b"PASSWORD = x PASSWORD= x PASSWORD=\nPASSWORD=": None,
    b"PASSWORD=\"\" PASSWORD='' PASSWORD=\"": None,
    b"PASSWORD=\"a b\" c PASSWORD='d e' f": b"PASSWORD=\"***\" c PASSWORD='***' f",
    b'PASSWORD="a b\nc PASSWORD=\'a b\rc': b'PASSWORD="***\nc PASSWORD=\'***\rc',
    b'PASSWORD="a \\" b" c': b'PASSWORD="******" c',
    b'PASSWORD="a \\\\" b': b'PASSWORD="****" b',
    b'PASSWORD="a \\\nb"': b'PASSWORD="***\nb"',
    b"PASSWORD=\"a'b\"c\" d'e f\" 'g\" h": b"PASSWORD=\"***\"********* 'g\" h",
    b"PASSWORD=\"\"'' x": b'PASSWORD=""** x',
    b"PASSWORD=a'b \\' c d": b"PASSWORD=****** c d",
    b"PASSWORD='a\\' b": b"PASSWORD='**' b",
    b'PASSWORD=a"b \\" c" d': b"PASSWORD=********* d",
    b"PASSWORD=PASSWORD=x y": b"PASSWORD=********** y",
    b"https://user:pass@host/path": b"https://user:****@host/path",
    b"rest:https://u:p@h:8000/ x@y": b"rest:https://u:*@h:8000/ x@y",
    b"redis://:p@h s3://a:p:q@r@h": b"redis://:*@h s3://a:*****@h",
    b"ssh://borg@host:22/x@y http://host:8080/@ http://h:80?@ http://h:80#@ http://h:80": None,
    b"<http://h:80> u@h 'http://h:80' u@h \"http://h:80\" u@h http://u:@h ://:@": None,
    b"://a:b@c": b"://a:*@c",
    b"RESTIC_PASSWORD=https://a:b@c d": b"RESTIC_PASSWORD=************* d",
    b"RESTIC_REPOSITORY=https://a:b@c d": b"RESTIC_REPOSITORY=https://a:*@c d",
    b"https://a:PASSWORD=b@c/d@e f": b"https://a:**************** f",
    b"https://a:PASSWORD=b/c@d e": b"https://a:PASSWORD=***** e",
    b"https://PASSWORD=a:b@c d": b"https://PASSWORD=***** d",
    b'https://a:b_TOKEN="c d"@e f': b'https://a:b_TOKEN="***"** f',
    b"://a:p@bPASSWORD=x/y@z": b"://a:*@bPASSWORD=*****",
    b'PASSWORD="a ://b:c@d"://e:f@g h': b'PASSWORD="**********"******** h',
    b"PASSWORD=\xff\x00\x80\xd0\x96 x": b"PASSWORD=***** x",
}  # fmt: skip


@pytest.mark.parametrize(("log", "masked"), EXAMPLES.items(), ids=repr)
def test_what_is_masked(log: bytes, masked: bytes | None) -> None:
    """Secrets are masked byte for byte, in bytes and in text, and what is none stays, in the very same object."""
    result, count = REDACTOR.redact(log)
    text = log.decode("utf-8", "replace")
    if masked is None:
        assert (result is log, count) == (True, 0)
        assert REDACTOR.redact(text)[0] is text
    else:
        assert result == masked
        assert (result, count) == oracle(log)
        assert REDACTOR.redact(text) == oracle(text.encode())


@pytest.mark.parametrize("log", EXAMPLES, ids=repr)
def test_cuts_change_nothing(log: bytes) -> None:
    """Wherever a log is cut once, twice, or at each byte, it is masked as the whole, and each secret counts once."""
    places = range(len(log) + 1)
    for cuts in [*itertools.combinations_with_replacement(places, 2), places]:
        assert sum(call.count for call in feed(cut(log, cuts))) == REDACTOR.redact(log)[1]


FRAGMENTS = st.sampled_from([
    *(b"PASSWORD", b"PASSWORD=", b"_TOKEN=", b"password=", b"_KEY", b"KEY=", b"=", b"*", b"x", b"ab", b"@", b":", b"/"),
    *(b"://", b"://u:", b"?", b"#", b"<", b" ", b"\n", b"\r", b"\t", b"'", b'"', b"\\", b"\\'", b'\\"', b"''", b'""'),
    *(b"\xd0\x96", b"\0", b"\xff", b"y" * 130, b"p" * 4095, b"p" * 4096, b"q" * 9000),
])  # fmt: skip
LOGS = st.lists(FRAGMENTS, max_size=14).map(b"".join) | st.lists(FRAGMENTS | st.binary(max_size=3)).map(b"".join)


@given(LOGS, st.lists(st.integers(0, 60) | st.integers(0, 9_000), max_size=6))
@example(b"://u:" + b"p" * 4095 + b"@@h", [4101])
@example(b"://" + b"u" * 600 + b"PASSWORD=x y", [610])
def test_any_log_in_any_pieces(log: bytes, places: list[int]) -> None:
    """Any log is masked as a slow and plain reading of the rules says, in whole and in pieces, and only once."""
    masked, count = oracle(log)
    assert REDACTOR.redact(log) == (masked, count)
    assert sum(call.count for call in feed(cut(log, places))) == count
    assert REDACTOR.redact(masked)[0] == masked


@given(st.lists(FRAGMENTS | st.binary(max_size=2), max_size=14).map(b"".join))
def test_any_log_byte_by_byte(log: bytes) -> None:
    """A log that comes a byte at a time is masked as the whole."""
    log = log[:300]
    assert sum(call.count for call in feed([log[at : at + 1] for at in range(len(log))])) == REDACTOR.redact(log)[1]


@given(st.text(alphabet="aЖ√😀\ud800 \n'\"@:/", max_size=40))
def test_text_is_masked_as_its_bytes_are(text: str) -> None:
    """Text becomes what its UTF-8 becomes: as many asterisks as a secret has bytes."""
    text = f"{text}PASSWORD={text}"
    masked, count = REDACTOR.redact(text)
    expected = REDACTOR.redact(text.encode("utf-8", "surrogatepass"))
    assert count == expected[1]
    assert (masked.encode("utf-8", "surrogatepass") if isinstance(masked, str) else masked) == expected[0]


@pytest.mark.parametrize("end", ["", " u@h ://"])
@pytest.mark.parametrize("secret", ["", "PASSWORD=é", "://u:√@h"])
def test_long_text(secret: str, end: str) -> None:
    """A long text is masked wherever the secret lies, and is the same object if it has none."""
    for size in (1_048_570, 1_048_576):
        text = "a=b " * (size // 4) + " " * (size % 4) + secret + end
        masked, count = REDACTOR.redact(text)
        if secret:
            assert (masked, count) == (text.encode().replace("é".encode(), b"**").replace("√".encode(), b"***"), 1)
        else:
            assert (masked is text, count) == (True, 0)


@pytest.mark.parametrize("log", [b"abc", b"RESTIC_PASSW", b"PASSWORD=", b'PASSWORD="a b', b"ssh://borg@host", b"://u:"])
def test_nothing_is_held_but_what_may_be_a_secret(log: bytes) -> None:
    """Names, quotes, values and users are shown at once; what follows the colon of a URL is, once no ``@`` can come."""
    assert REDACTOR.feed(b"", b"", log, is_last=False).held == b""
    assert REDACTOR.feed(b"", b"", b"http://h:8080", is_last=False).held == b"8080"
    assert REDACTOR.feed(b"", b"", b"http://h:8080/", is_last=False).held == b""


def test_a_context_holds_no_secret() -> None:
    """Between two calls, nothing is kept of a secret but that there is one, whose end has not come."""
    for secret in (b"s3cr3t", b'"s3cr3t', b"'s3cr3t", b'""s3cr3t', b"s3c'r3t", b's3c"r3t\\', b'"s3cr3t\\', b"'s3'cr3t"):
        context = REDACTOR.feed(b"", b"", b"MY_PASSWORD=" + secret, is_last=False).context
        assert not set(context.removeprefix(b"PASSWORD=")) & set(b"s3cr3t")
        assert b"*" in context
    context = REDACTOR.feed(b"", b"", b"MY_PASSWORD=s3cr3t http://a:s3cr3t@b", is_last=True).context
    assert context == b""


def test_rules_can_be_chosen() -> None:
    """A user names what is secret, and leaves URLs alone."""
    log = b"PIN=1 PASSWORD=2 ://a:b@c"
    assert SecretRedactor(names=("PIN",)).redact(log) == (b"PIN=* PASSWORD=2 ://a:*@c", 2)
    assert SecretRedactor(in_urls=False).redact(log) == (b"PIN=1 PASSWORD=* ://a:b@c", 1)
    assert SecretRedactor(names=(), in_urls=False).redact(log + b"==" * 40)[1] == 0
    assert feed(cut(log, range(99)), SecretRedactor(names=("PIN",), in_urls=False))[0].shown == b""


@pytest.mark.parametrize("name", ["", "A=", "*", "Ж", "a b", "x" * 129])
def test_names_that_cannot_be_names(name: str) -> None:
    """An ending that could match a mask, or no name at all, is refused."""
    with pytest.raises(ValueError, match="names"):
        SecretRedactor(names=("PASSWORD", name))


def test_real_logs_stay_as_they_are() -> None:
    """No byte changes in what tools really print, whole or in pieces."""
    paths = sorted((Path(__file__).parent / "data").rglob("*.log"))
    assert len(paths) > 50
    for path in paths:
        log = path.read_bytes()
        assert REDACTOR.redact(log)[0] is log
        pieces = [log[at : at + 100] for at in range(0, len(log), 100)]
        assert b"".join(call.shown for call in feed(pieces)) == log


def test_a_long_name_is_known_when_its_last_byte_comes() -> None:
    """A name of 128 bytes that comes byte by byte is that name."""
    name = "X" * 120 + "_SEALED_"
    log = f"{name}=secret\n".encode()
    calls = feed(cut(log, range(len(log))), SecretRedactor(names=(name,)))
    assert b"".join(call.shown for call in calls) == log.replace(b"secret", b"******")


def test_what_is_held_is_in_no_repr() -> None:
    """Whoever logs what was returned logs no secret."""
    assert "hunter2" not in repr(REDACTOR.feed(b"", b"", b"https://a:hunter2", is_last=False))


def test_a_redactor_that_loses_bytes_is_found_out() -> None:
    """One that returns fewer bytes than it got raises, before anything is stored at the wrong place."""

    class Short(SecretRedactor):
        def feed(self, context: bytes, held: bytes, data: bytes, *, is_last: bool) -> Redacted:  # noqa: ARG002
            return Redacted(data[1:], b"", b"", 0)

    with pytest.raises(TypeError, match="as many bytes"):
        redact.feed(Short(), b"", b"", b"log", is_last=False)


def test_one_name_is_no_list_of_letters() -> None:
    """A text in the place of several endings is refused: each of its letters would be one."""
    names: Any = "token"
    with pytest.raises(TypeError):
        SecretRedactor(names=names)


SHAPES = (
    *(b"=", b"D=", b"://", b"://a:", b"://a@", b"://a:b@", b"@", b"PASSWORD=x ", b"PASSWORD=", b"PASSWORD= ", b'"'),
    *(b"x", b"x:", b"x@", b'PASSWORD="" ', b"://a:PASSWORD=", b'PASSWORD="a b"c"d ', b"\\", b"'\"", b'"a'),
)  # fmt: skip


@pytest.mark.parametrize("start", [b"", b"PASSWORD=", b'PASSWORD="', b'PASSWORD=x"', b"://", b"://a:", b"://a:b@"])
@pytest.mark.parametrize("shape", SHAPES, ids=repr)
def test_hostile_logs(start: bytes, shape: bytes) -> None:
    """A long log of one shape is masked, in whole and in pieces, and takes no more than linear time to be."""
    log = start + shape * (262_144 // len(shape))
    context = held = shown = b""
    for at in range(0, len(log), 65_536):
        call = REDACTOR.feed(context, held, log[at : at + 65_536], is_last=at + 65_536 >= len(log))
        context, held, shown = call.context, call.held, shown + call.shown
    assert shown == REDACTOR.redact(log)[0]
    assert len(shown) == len(log)
