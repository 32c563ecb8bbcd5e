"""How the page writes figures: the filters of its templates. Pure."""

from collections.abc import Callable, Mapping
from typing import Final

FILTERS: Final[Mapping[str, Callable[..., str]]] = {}
"""The filters by their names in templates."""
