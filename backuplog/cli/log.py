"""``backuplog log``: the bytes of a run's log, whole, its end, or while it grows."""

import codecs
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Final

import click

from backuplog.display import visible
from backuplog.follow import follow_log
from backuplog.log import iter_log, tail_log

from .frame import ExitCode, Refusal, Target, store_options
from .runs import find_run

# Colours and other looks of text (SGR) are all that a terminal is to obey.
_LOOKS: Final = re.compile(r"(\x1b\[[0-9;:]{0,64}m)", re.ASCII)
# An escape sequence may go on in the next piece, and so may the end of a line.
_BEGUN: Final = re.compile(r"(\x1b(\[[0-9;:]{0,64})?|\r)\Z", re.ASCII)


@click.command()
@click.argument("run")
@click.option("--tail", type=click.IntRange(min=1), metavar="N", help="Print only the last N lines.")
@click.option("-f", "--follow", is_flag=True, help="Wait for more until the task has ended.")
@click.option("--raw", is_flag=True, help="Print every byte as it is on a terminal, too, which obeys what it finds.")
@store_options
@click.pass_obj
def log(target: Target, /, run: str, tail: int | None, *, follow: bool, raw: bool) -> None:
    """Print the log of a run. RUN is its id, or the beginning of it.

    What goes into a file or a pipe is the log, byte for byte. On a terminal colours are shown, and everything else
    that a terminal would obey is made visible.
    """
    if follow and tail is not None:
        raise Refusal("--tail and --follow cannot be said together", ExitCode.USAGE)
    with target.open() as store:
        run_id = find_run(store, run).id
        pieces: Iterable[bytes]
        if tail is not None:
            pieces = [tail_log(store, run_id, tail)]
        else:
            pieces = follow_log(store, run_id) if follow else iter_log(store, run_id)
        is_shown = sys.stdout.isatty() and not raw
        try:
            for piece in harmless(pieces) if is_shown else pieces:
                _write(piece)
        finally:
            if is_shown:
                click.echo("\x1b[0m", nl=False)  # Its colours end with it, wherever it ends.


def _write(piece: bytes) -> None:
    """Write all of a piece at once; where Python does not buffer, a write may end after a part, as on a full disk."""
    rest = memoryview(piece)
    while rest:
        rest = rest[sys.stdout.buffer.write(rest) :]
    sys.stdout.buffer.flush()


def harmless(pieces: Iterable[bytes]) -> Iterator[bytes]:
    r"""Return what a terminal may show: colours stay, ``\r`` ends a line, all else that it would obey is visible."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rest = ""
    for piece in pieces:
        text = rest + decoder.decode(piece)
        begun = _BEGUN.search(text)
        text, rest = (text[: begun.start()], text[begun.start() :]) if begun else (text, "")
        yield _visible(text).encode()
    yield _visible(rest + decoder.decode(b"", final=True)).encode()


def _visible(text: str) -> str:
    # What was written over in place is seen as well, so that nothing hides what came before it.
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    # What is split off at odd places are looks.
    return "".join(part if at % 2 else visible(part) for at, part in enumerate(_LOOKS.split(lines)))
