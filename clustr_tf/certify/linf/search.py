"""The largest radius that a proof proves, by halving for each image."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops


@dataclass(frozen=True)
class RadiusSearch:
    """Which radii are tested: the range of exponents from 2^-octaves to 1 is halved.

    The result is a radius that was tested and proved; the largest provable one is below
    `2 ** (octaves / 2 ** halvings)` times it.

    Attributes:
        octaves: of the range.
        halvings: tests an image.
        least_first: whether 2^-octaves is tested before; where it is proved of no image of a
            batch, nothing else is tested. For networks whose bounds may prove nothing at all.

    Example:
        >>> RadiusSearch(octaves=8, halvings=4)  # 1/256 to 1 in steps of sqrt(2), four tests
    """

    octaves: float
    halvings: int
    least_first: bool = False


BISECTION = RadiusSearch(octaves=12, halvings=14, least_first=True)  # to 0.05 %
GRID = RadiusSearch(octaves=8, halvings=4)
FROM_KNOWN = RadiusSearch(octaves=12, halvings=8)  # to 0.7 % where 0.15 is known
# What an export can be asked for; None: no proof that has to be searched for.
SEARCHES = {"bisection": BISECTION, "grid": GRID, "off": None}


def largest_proved(
    proved: Callable[[Any], Any], count: Any, search: RadiusSearch, known: Any = None
) -> Any:
    """The largest tested radius that is proved of each image.

    What is proved of a ball is proved of a smaller one. The radius itself was tested: it is sound
    whatever the search does.

    Args:
        proved: radii float64 `[batch]` in pixels -> bool `[batch]`.
        count: size of the batch.
        search: which radii.
        known: float64 `[batch]`, radii that are proved already, 0 for none: the search goes on
            above them, and never comes back with less.

    Returns:
        float64 `[batch]`; 0 where nothing was proved.

    Example:
        >>> largest_proved(lambda eps: eps < 0.3, 1, GRID)  # [0.25]
    """
    low = ops.full((count,), -search.octaves, dtype="float64")
    radius, begin = ops.zeros((count,), dtype="float64"), ops.convert_to_tensor(0)
    if known is not None:
        radius = known
        low = ops.where(known > 0, ops.log2(ops.where(known > 0, known, 1)), low)
    octaves = -low
    if search.least_first:
        least = _power(low)
        found = proved(least)
        radius = ops.where(found, least, radius)
        begin = ops.where(ops.any(found), 0, search.halvings)

    def halve(index: Any, low: Any, radius: Any) -> tuple[Any, Any, Any]:
        middle = low + octaves * _power(-ops.cast(index + 1, "float64"))
        eps = _power(middle)
        found = proved(eps)
        larger = ops.maximum(eps, radius)
        return index + 1, ops.where(found, middle, low), ops.where(found, larger, radius)

    def unfinished(index: Any, *_: Any) -> Any:
        return index < search.halvings

    return ops.while_loop(unfinished, halve, (begin, low, radius))[2]


def _power(exponent: Any) -> Any:
    """2^exponent; what Keras has for it takes float32 alone in graphs."""
    return ops.exp(exponent * math.log(2))
