"""The documentation names what there is, and only that."""

import re
from pathlib import Path

import pytest

import backuplog

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_public_name_is_in_the_reference() -> None:
    """Each name has a heading of its own, and no heading names what is not there."""
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "reference.md").read_text(), flags=re.MULTILINE)
    assert sorted(headings) == sorted(backuplog.__all__)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link names a file that exists."""
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES[1:], ids=lambda page: page.name)
def test_a_page_begins_with_what_it_is_good_for(page: Path) -> None:
    """Each page opens with what the reader can do after it."""
    assert page.read_text().split("\n\n")[1].startswith("After this page you ")
