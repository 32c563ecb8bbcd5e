"""What a terminal shows of a line, as HTML."""

import re
from html import unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backuplog.web.terminal import MOST_STYLES, show, show_written

SEQUENCES = [
    "\x1b[31m",
    "\x1b[0m",
    "\x1b[1;44m",
    "\x1b[K",
    "\x1b[2K",
    "\x1b[1K",
    "\x1b]8;;javascript:x\x07",
    "\x1b[3A",
    "\x1b[",
]
TEXTS = ["\r", "\b", "\t", "\x1b", "<b>", "&amp;", '"', "'", "ab", "\u202e", "\x9b31m", "\U000e0041", "\ud800", "\x00"]
PIECES = st.sampled_from(SEQUENCES + TEXTS)
LINES = st.lists(PIECES | st.text(max_size=4), max_size=40).map("".join)
TAG = re.compile(r'<span class="[a-z0-9 ]+">|</span>')


def text_of(html: str) -> str:
    """Return the text of HTML that holds no tags but our own."""
    text = TAG.sub("", html)
    assert "<" not in text
    assert ">" not in text
    return unescape(text)


@given(LINES, st.integers(1, 60))
def test_nothing_of_a_line_reaches_the_page_as_it_is(line: str, longest: int) -> None:
    """Whatever is in a line, its HTML has no tags but ours, each closed, and no character that is not seen."""
    for shown in (show(line, longest), show_written(line, longest)):
        assert shown.html.count("<span") == shown.html.count("</span>")
        text = text_of(shown.html)
        assert all(character == "\t" or character >= " " for character in text)
        assert not re.search("[\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]", text)
        assert len(text) <= longest * len("U+E0041")


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=50))
def test_plain_text_is_shown_as_it_is(line: str) -> None:
    """Text without controls is the same on the page, and all of it is shown."""
    shown = show(line, 50)
    assert text_of(shown.html) == line
    assert (shown.overwritten, shown.is_cut) == (0, False)


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ("10%\r100%", "100%"),
        ("100% done\r 50%", " 50% done"),
        ("100% done\r\x1b[2Kok", "ok"),
        ("100% done\r\x1b[Kok", "ok"),
        ("abc\b\bx", "axc"),
        ("abc\r", "abc"),
        ("ab\x1b[1Kc", "  c"),
        ("a\x1b[5;6Hb\x1b[?25lc", "abc"),
        ("\x1b]8;;https://example.org\x1b\\here\x1b]8;;\x1b\\", "here"),
        ("\x1b]0;a title that never ends", "^[]0;a title that never ends"),
        ("bell\a", "bell^G"),
        ("abc\u202edef", "abcU+202Edef"),
    ],
)
def test_what_a_terminal_leaves_of_a_line_is_shown(line: str, left: str) -> None:
    """Progress is folded to what a terminal would show at the end; links and titles do nothing."""
    assert text_of(show(line, 100).html) == left


def test_a_line_says_how_often_it_was_overwritten() -> None:
    """Only what began again over text counts: neither the end of a line of Windows nor a return at its beginning."""
    assert show("1%\r2%\r3%", 10).overwritten == 2
    assert show("\r\rabc\r", 10).overwritten == 0


@pytest.mark.parametrize(
    ("line", "html"),
    [
        ("\x1b[31mred\x1b[0m", '<span class="fg1">red</span>'),
        ("\x1b[1;92;44mx", '<span class="fg10 bg4 bold">x</span>'),
        ("\x1b[38;5;9mx\x1b[39my", '<span class="fg9">x</span>y'),
        ("\x1b[38;5;208mx", '<span class="fg11">x</span>'),
        ("\x1b[48;2;0;0;255mx", '<span class="bg12">x</span>'),
        ("\x1b[38:5:1mx", '<span class="fg1">x</span>'),
        ("\x1b[4;9;7;3;2mx\x1b[24;29;27;23;22my", '<span class="dim inverse italic struck underlined">x</span>y'),
        ("\x1b[38;5mx", "x"),
        ("\x1b[999999999999999999999;31mx", '<span class="fg1">x</span>'),
        ("a\x1b[8mhidden", "ahidden"),
    ],
)
def test_colours_become_classes(line: str, html: str) -> None:
    """Colours and styles become classes of the style file; text cannot hide."""
    assert show(line, 100).html == html


def test_a_line_of_styles_is_bounded() -> None:
    """Of a line with a style for each character, as many are kept as the page can take, and all of its text."""
    html = show("".join(f"\x1b[{30 + at % 8}mx" for at in range(5_000)), 2_048).html
    assert html.count("<span") <= MOST_STYLES
    assert text_of(html) == "x" * 2_048


def test_what_is_written_is_shown_as_written() -> None:
    """As written, nothing takes effect, and each control is seen."""
    assert text_of(show_written("1%\r\x1b[31m2%\x7f", 100).html) == "1%^M^[[31m2%^?"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("a" * 4_000 + "\x1b[1K" * 3_000 + "b", " " * 2_048),
        ("a" * 4_000 + "\x1b[2Kb" * 2_000, " " * 2_048),
        ("progress\x1b[2K\rdone", "done"),
        ("progress\x1b[1K", ""),
        ("ab \x1b[K", "ab "),
        ("ab\x1b[1K\rc", "c"),
    ],
)
def test_what_is_erased_is_gone(line: str, shown: str) -> None:
    """Erasing blanks what is before the cursor, or all, as often as it comes; blanks at the end are not shown."""
    assert show(line, 2_048).html == shown
