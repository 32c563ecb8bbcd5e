"""Sizes as people write them, such as ``10GiB``."""

import re
from typing import Any, Final

import click

from backuplog.parsers.tool import as_size

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?) ?([A-Za-z]*)", re.ASCII)


class Size(click.ParamType[int]):
    """A size: a number, and a unit unless it is of bytes, such as 10GiB or 500MB."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        match = _SIZE.fullmatch(value)
        size = as_size(match[1].encode(), match[2].encode()) if match else None
        if size is None:
            self.fail("must be a size such as 10GiB, 500MB or a number of bytes", param, ctx)
        return size
