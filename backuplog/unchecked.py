"""Models made without their converters, of values that are in their normal form already."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeAlias, TypeVar, cast

import attrs
import msgspec

from .model import RunStats
from .normalise import MAX_COUNT, MAX_DURATION_SECONDS

_Model = TypeVar("_Model")

_Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)] | None
_Seconds: TypeAlias = Annotated[float, msgspec.Meta(ge=0, le=MAX_DURATION_SECONDS)] | None
RANGES: Final[Mapping[Any, Any]] = {int | None: _Count, float | None: _Seconds}
"""How msgspec is told of the ranges of figures, by the type of their field in a model."""


def unchecked(model: type[_Model]) -> Callable[..., _Model]:
    """Return what makes an instance of a frozen class of all its fields in order, which are in their normal form.

    A frozen instance takes a call for each of its fields, and another to convert it. A subclass that is not frozen has
    the same layout: filling one and giving it the class of its base takes a third of the time for a run, and a fifth
    for its figures.

    Args:
        model: The class.
    """

    def become_model(draft: Any) -> None:
        draft.__class__ = model

    body = {
        "__setattr__": object.__setattr__,
        "__delattr__": object.__delattr__,
        "__attrs_post_init__": become_model,
    }
    draft = attrs.define(
        type(model.__name__, (model,), body),
        eq=False,
        field_transformer=lambda _, fields: [
            field.evolve(converter=None, default=attrs.NOTHING, kw_only=False) for field in fields
        ],
    )
    return cast("Callable[..., _Model]", draft)


unchecked_stats: Final = unchecked(RunStats)
"""Makes ``RunStats`` of its fields in order."""
