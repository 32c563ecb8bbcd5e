"""What GNU tar prints on its standard error.

The format is that of https://www.gnu.org/software/tar/manual/html_section/verbose.html, in English. Messages that it
translated are not recognised.
"""

import re
from functools import partial
from typing import Any, Final

from .tool import LineParser, Tool, any_line

_TAR: Final = rb"(?:tar: |/bin/tar: |/usr/bin/tar: |gtar: )"
_LINES: Final = any_line(
    rb"Total bytes written: (?P<written>\d+) \(",
    _TAR
    + rb"(?:(?P<failed>[^\n]+?): (?:Warning: )?Cannot (?:open|stat|read)\b|(?P<fatal>Error is not recoverable): "
    + rb"|(?!Removing leading |Substituting |Exiting with failure status )(?P<message>[^\n])(?=[^\n]*(?:\n|: )))",
)


def _figures(said: LineParser) -> dict[str, Any]:
    times = said.times
    return {
        "data_added": said.count("written"),
        "warnings": times["failed"] + times["fatal"] + times["message"],
        # What could not be opened may be the archive, and was if that ended it all.
        **({"failed_items": None} if times["fatal"] else {}),
    }


TAR: Final = Tool(
    name="tar",
    mark=re.compile(
        rb"\n(?:Total bytes written: \d+ \(|"
        + _TAR
        + rb"(?:Removing leading |Exiting with failure status |Error is not recoverable: |[^\n]+: (?:(?:Warning: )?"
        + rb"Cannot |file changed as|File (?:removed before|shrank by)|Directory (?:is new|has been)|socket ignored)))"
    ),
    beginning=rb"Total bytes |g?tar: |/(?:usr/)?bin/tar: ",
    parser=partial(LineParser, _LINES, _figures),
)
"""tar.

``data_added`` is the archive's size before compression, with headers. tar does not say which of its messages are
errors: each counts as a warning, except that it removes slashes and how it exits.
"""
