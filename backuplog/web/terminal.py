r"""What a terminal shows of a line of log, as HTML: colours, and what is left where progress was overwritten. Pure.

Colours (SGR) become classes of the style file. ``\r``, ``\b`` and the erasing of a line take effect; links, titles and
movements of the cursor over other lines do not. What has no meaning here is made visible, never sent on.
"""

import re
from functools import lru_cache
from html import escape
from itertools import groupby
from typing import Final, NamedTuple

import attrs

MOST_STYLES: Final = 256
"""The most stretches of different style in a line; what follows them has none."""

_PARAMETERS: Final = 32
_BASIC: Final = 16
# A sequence of a terminal that is complete, or one character that moves within the line. The text between begins anew
# at each escape, so that however many are never ended, the line is read once.
_CONTROL: Final = re.compile(
    r"\x1b\[(?P<sgr>[0-9;:]*)m|\x1b\[(?P<erase>[0-2]?)K"
    r"|\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[PX^_][^\x1b]*\x1b\\|\x1b[ -/]*[0-OQ-WYZ\\`-~]"
    r"|(?P<move>[\r\b])"
)
# Controls but for tab; what turns the direction of text; what is not seen at all.
_UNSEEN: Final = re.compile(
    "[\0-\x08\x0a-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
_CONTROL_BIT: Final = 0x40
_DELETE: Final = 0x7F


@attrs.frozen
class Style:
    """How a stretch of text looks.

    Attributes:
        colour: The text's colour, 0 to 15 in the order of SGR; None for the page's.
        ground: The colour behind it, likewise.
        marks: What else it is: ``bold``, ``dim``, ``italic``, ``underlined``, ``struck`` or ``inverse``.
    """

    colour: int | None = None
    ground: int | None = None
    marks: frozenset[str] = frozenset()

    @property
    def classes(self) -> str:
        """The classes of the style file."""
        colours = [f"{kind}{each}" for kind, each in (("fg", self.colour), ("bg", self.ground)) if each is not None]
        return " ".join([*colours, *sorted(self.marks)])


class Shown(NamedTuple):
    """What is shown of a line.

    Attributes:
        html: The HTML, in which everything is escaped.
        overwritten: How many times the line was begun again at its left end, over what it said before.
        is_cut: Whether there is more of it.
    """

    html: str
    overwritten: int
    is_cut: bool


PLAIN: Final = Style()
_BLANK: Final = (" ", PLAIN)  # What is erased is this very pair, and no space that was written.

_ON: Final = {1: "bold", 2: "dim", 3: "italic", 4: "underlined", 7: "inverse", 9: "struck", 21: "underlined"}
_COLOURS: Final[dict[int, tuple[str, int | None]]] = {
    **{30 + colour: ("colour", colour) for colour in range(8)},
    **{40 + colour: ("ground", colour) for colour in range(8)},
    **{90 + colour: ("colour", 8 + colour) for colour in range(8)},
    **{100 + colour: ("ground", 8 + colour) for colour in range(8)},
    39: ("colour", None),
    49: ("ground", None),
}
_LEVELS: Final = (0, 95, 135, 175, 215, 255)  # of the cube of colours of xterm
_EXTENDED: Final = {38: "colour", 48: "ground"}
_OFF: Final = {22: {"bold", "dim"}, 23: {"italic"}, 24: {"underlined"}, 27: {"inverse"}, 29: {"struck"}}


def show(text: str, longest: int) -> Shown:
    """Show a line as a terminal leaves it.

    Args:
        text: The line, without its end.
        longest: The most characters to show.
    """
    text = text.removesuffix("\r")
    if text.isprintable():
        return Shown(escape(text[:longest], quote=False), 0, len(text) > longest)
    cells: list[tuple[str, Style]] = []
    style, column, overwritten, start, blank = PLAIN, 0, 0, 0, 0
    for control in [*_CONTROL.finditer(text), None]:
        stretch = text[start : control.start() if control else len(text)]
        if stretch:
            cells += [_BLANK] * (column - len(cells))
            cells[column : column + len(stretch)] = [(character, style) for character in stretch]
            blank = min(blank, column)
            column += len(stretch)
        if control is None:
            break
        start = control.end()
        if control["sgr"] is not None:
            style = restyled(style, control["sgr"])
        elif control["erase"] is not None:
            blank = _erase(cells, column, control["erase"], blank)
        elif control["move"] == "\r":
            overwritten += column > 0
            column = 0
        elif control["move"]:
            column = max(0, column - 1)
    while cells and cells[-1] is _BLANK:
        cells.pop()
    return Shown(_html(cells[:longest]), overwritten, len(cells) > longest)


def show_written(text: str, longest: int) -> Shown:
    """Show a line as it was written: each control character is made visible, and nothing takes effect.

    Args:
        text: The line, without its end.
        longest: The most characters to show.
    """
    return Shown(_visible(text[:longest]), 0, len(text) > longest)


@lru_cache(maxsize=1_024)
def restyled(style: Style, parameters: str) -> Style:
    """Return a style after a sequence of SGR. What it does not know it passes over.

    Args:
        style: The style before.
        parameters: Numbers between ``;`` or ``:``; an empty one is 0. Those after the first 32 are left out.
    """
    codes = [int(each[:4] or 0) for each in re.split("[;:]", parameters, maxsplit=_PARAMETERS)[:_PARAMETERS]]
    colours: dict[str, int | None] = {"colour": style.colour, "ground": style.ground}
    marks = style.marks
    while codes:
        code = codes.pop(0)
        if code == 0:
            colours["colour"] = colours["ground"] = None
            marks = PLAIN.marks
        elif code in _ON:
            marks |= {_ON[code]}
        elif code in _OFF:
            marks -= _OFF[code]
        elif code in _COLOURS:
            name, colour = _COLOURS[code]
            colours[name] = colour
        elif code in _EXTENDED:
            colours[_EXTENDED[code]], codes = _extended(codes)
    return Style(colours["colour"], colours["ground"], marks)


def _extended(codes: list[int]) -> tuple[int | None, list[int]]:
    """Read a colour of 256 or of 16 million; the page has 16, so the nearest of those is taken."""
    match codes:
        case [5, index, *rest]:
            if index < _BASIC:
                return index, rest
            if index < 232:  # noqa: PLR2004 - a cube of 6 x 6 x 6
                cube = index - _BASIC
                return _nearest([_LEVELS[cube // 36], _LEVELS[cube // 6 % 6], _LEVELS[cube % 6]]), rest
            return _nearest([10 * (min(index, 255) - 232) + 8] * 3), rest
        case [2, red, green, blue, *rest]:
            return _nearest([red, green, blue]), rest
        case _:
            return None, []


def _nearest(channels: list[int]) -> int:
    """Return the one of 16 colours that has the same channels lit, and is bright if they are."""
    brightest = max(channels)
    lit = sum(1 << bit for bit, each in enumerate(channels) if brightest > 64 and each > brightest // 2)  # noqa: PLR2004
    return lit + (8 if brightest > 212 or lit == 0 else 0)  # noqa: PLR2004 - between 170 and 255


def _erase(cells: list[tuple[str, Style]], column: int, mode: str, blank: int) -> int:
    """Erase the end of a line, its beginning, or both, and return up to where all is blank.

    What is blank already is not blanked again: a log of 3 MB that erases time and again would take 20 s.
    """
    if mode != "1":
        del cells[column:]
    if mode in ("1", "2"):
        end = min(column, len(cells))
        cells[blank:end] = [_BLANK] * (end - blank)
        return max(blank, end)
    return blank


def _html(cells: list[tuple[str, Style]]) -> str:
    parts: list[str] = []
    for style, stretch in groupby(cells, lambda cell: cell[1]):
        text = _visible("".join(character for character, _ in stretch))
        classes = style.classes if len(parts) < MOST_STYLES else ""
        parts.append(f'<span class="{classes}">{text}</span>' if classes else text)
    return "".join(parts)


def _visible(text: str) -> str:
    """Escape text, and write as a sign what is not seen or turns the direction of what is."""
    parts: list[str] = []
    start = 0
    for unseen in _UNSEEN.finditer(text):
        parts += [escape(text[start : unseen.start()], quote=False), f'<span class="unseen">{_sign(unseen[0])}</span>']
        start = unseen.end()
    return "".join([*parts, escape(text[start:], quote=False)])


def _sign(character: str) -> str:
    """Return a control character as ``cat -v`` writes it, and any other by its number."""
    code = ord(character)
    return f"^{chr(code ^ _CONTROL_BIT)}" if code < ord(" ") or code == _DELETE else f"U+{code:04X}"
