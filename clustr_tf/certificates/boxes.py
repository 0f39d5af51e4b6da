"""Boxes: lower and upper bounds of every entry of a tensor."""

from collections.abc import Callable
from typing import Any, NamedTuple

from keras import ops

from clustr_tf.certificates.rounding import gamma

# Two for the rounding of the network, as in `lipschitz_bound`; two for that of the box itself.
_FURTHER_TERMS = 4


class Box(NamedTuple):
    """All tensors between two.

    Attributes:
        lower: `[batch, ...]`.
        upper: likewise, nowhere below.
    """

    lower: Any
    upper: Any

    @property
    def centre(self) -> Any:
        """Half way between lower and upper."""
        return (self.lower + self.upper) / 2

    @property
    def radius(self) -> Any:
        """Half the distance between lower and upper."""
        return (self.upper - self.lower) / 2

    @property
    def magnitude(self) -> Any:
        """The largest absolute value inside."""
        return ops.maximum(ops.abs(self.lower), ops.abs(self.upper))

    def ascended(self, function: Callable[[Any], Any]) -> "Box":
        """The box of a function that never decreases and does not round.

        Args:
            function: tensor -> tensor.

        Returns:
            Its values for all tensors inside lie between those at the ends.
        """
        return Box(function(self.lower), function(self.upper))


def affine_image(
    box: Box,
    product: Callable[[Any], Any],
    absolute_product: Callable[[Any], Any],
    offset: Any,
    absolute_offset: Any,
    terms: int,
    roundoff: float,
) -> Box:
    """The smallest box with W x + b for every x of a box, enlarged by the rounding of W x + b.

    In exact arithmetic the image of {c + d: |d| <= r} lies in W c + b +- |W| r, and every bound is
    attained. Arithmetic with unit roundoff u errs by at most gamma_{n+2} (|W| |x| + |b|) in any
    order of summation, where |x| is at most the box's magnitude m: the radius is enlarged by
    gamma_{n+4} (|W| m + |b|). The box is computed in float64: each of centre, radius, magnitude
    and the two ends errs by at most a small multiple of n 2^-53 (|W| m + |b|), as c and r do not
    exceed m. Together they stay below 2 u (|W| m + |b|) for u = 2^-24 and n < 2^24, which
    gamma_{n+4} has over gamma_{n+2}.

    Args:
        box: of x.
        product: x -> W x.
        absolute_product: x -> |W| x.
        offset: b, or 0.
        absolute_offset: sum of the absolute values that b is computed from.
        terms: n, how many products an output value sums up.
        roundoff: u of the arithmetic to be covered, the box then being float64; 0 for none.

    Returns:
        The box of the outputs.

    Example:
        >>> affine_image(Box(x - 1, x + 1), lambda x: -2 * x, lambda x: 2 * x, 0, 0, 1, 0.0)

    Reference:
        Gowal et al., arXiv 1810.12715, equation 6 (centre and radius); Higham, "Accuracy and
        Stability of Numerical Algorithms", section 3.1 (rounding).
    """
    centre = product(box.centre) + offset
    radius = absolute_product(box.radius)
    if roundoff:
        largest = absolute_product(box.magnitude) + absolute_offset
        radius += gamma(terms + _FURTHER_TERMS, roundoff) * largest
    return Box(centre - radius, centre + radius)
