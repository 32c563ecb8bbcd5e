"""Models made without their converters, of values that are in their normal form already."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, TypeVar, cast

import attrs
import msgspec

from .model import RunStats
from .normalise import MAX_COUNT, MAX_DURATION_SECONDS, MAX_FAILED_ITEM_CHARACTERS, MAX_FAILED_ITEMS

_Model = TypeVar("_Model")

_STORABLE: Final = r"\A[^\0\ud800-\udfff]*\Z"


def normal_forms(*, is_storable: bool) -> Mapping[str, Any]:
    """Return how msgspec is told of the normal form of each of the ``RunStats``, by the name of its field.

    Args:
        is_storable: Whether text is known to hold no NUL and no lone surrogate, which takes time to see.
    """
    pattern = None if is_storable else _STORABLE
    count: Any = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
    # Zero may be negative, which is not its normal form.
    seconds: Any = Annotated[float, msgspec.Meta(gt=0, le=MAX_DURATION_SECONDS)]
    word: Any = Annotated[str, msgspec.Meta(min_length=1, max_length=50, pattern=pattern)]
    snapshot_id: Any = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=pattern)]
    name: Any = Annotated[str, msgspec.Meta(max_length=MAX_FAILED_ITEM_CHARACTERS, pattern=pattern)]
    return {
        **{field.name: count | None if field.type == int | None else field.type for field in attrs.fields(RunStats)},
        "duration": seconds | None,
        "failed_items": Annotated[tuple[name, ...], msgspec.Meta(max_length=MAX_FAILED_ITEMS)],
        "snapshot_id": snapshot_id | None,
        **dict.fromkeys(("tool", "tool_version", "format"), word | None),
    }


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
