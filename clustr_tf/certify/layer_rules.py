"""What every proof about a layer shares: tables of rules, their conditions, and float rounding."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

UNIT_ROUNDOFF = {"float32": 2.0**-24, "float64": 2.0**-53}

# Batch normalisation and standardisation multiply and add once per value, or subtract the mean,
# multiply and add; their scale and shift take at most six float32 operations, a reciprocal square
# root of up to 2 ulp among them.
AFFINE_TERMS = 8

# Below it float32 results may be 0: TensorFlow flushes them, and takes smaller operands for 0.
SMALLEST_NORMAL = 2.0**-126
# Half of float32's largest number: the rounding of the bounds that are compared with it is less.
LARGEST_IN_RANGE = 2.0**127
# Of the variance that batch normalisation and standardisation divide by: what underflow may take
# of it is then below rounding.
SMALLEST_VARIANCE = 2.0**-100

Rule = TypeVar("Rule", bound=Callable[..., Any])


def gamma(terms: int, roundoff: float) -> float:
    """Relative error of a sum of `terms` products, in any order of summation.

    Args:
        terms: how many.
        roundoff: the unit roundoff u of the arithmetic.

    Returns:
        n u / (1 - n u); infinite where n u reaches 1, beyond 2^24 terms in float32.

    Example:
        >>> gamma(1, UNIT_ROUNDOFF["float32"])  # 5.96e-08

    Reference:
        Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1.
    """
    error = terms * roundoff
    return error / (1 - error) if error < 1 else math.inf


def underflow(terms: int) -> float:
    """Absolute error of a sum of `terms` products by underflow, for inputs of at most 0.

    Every product, sum and further operation may lose up to s = 2^-126, and a weight or a bias
    below s may count as 0, which loses s |x|; so may the output for whoever reads it. For inputs
    of at most m that is below `underflow(terms) * (1 + m)`.

    Args:
        terms: n.

    Returns:
        2 (n + 4) s.

    Example:
        >>> underflow(1) * (1 + 1.0)  # 2.35e-37, for a product with a number of at most 1
    """
    return 2 * (terms + 4) * SMALLEST_NORMAL


def check_range(layer: Any, in_range: bool) -> None:
    """Refuses layers that may leave float32's range: they compute infinities."""
    if not in_range:
        raise ValueError(
            f"layer {layer.name!r} must stay within float32's range for all images in [0, 1]. "
            f"Received: values that may reach {LARGEST_IN_RANGE:.3g}, or divisors near 0"
        )


def rule_for(layer: Any, rules: Mapping[type, Rule], what: str) -> Rule:
    """The rule of a layer's exact type; a subclass may compute something else and has none.

    Args:
        layer: any layer.
        rules: by type.
        what: the rules prove, such as "a proved Lipschitz bound".

    Returns:
        The rule.

    Raises:
        ValueError: if there is none.
    """
    if type(layer) not in rules:
        raise ValueError(
            f"layer {layer.name!r} must be of a type with {what}. Received: {type(layer).__name__}"
        )
    return rules[type(layer)]


def check_precision(layer: Any) -> None:
    """Refuses layers that compute in less than float32."""
    if layer.compute_dtype not in ("float32", "float64") or layer.quantization_mode:
        raise ValueError(
            f"layer {layer.name!r} must compute in float32 or float64 to have a proved bound. "
            f"Received: {layer.quantization_mode or layer.compute_dtype}"
        )


def check_channels_last(layer: Any) -> None:
    """Refuses `channels_first`."""
    if layer.data_format != "channels_last":
        raise ValueError(
            f"layer {layer.name!r} must have the channels last. Received: {layer.data_format!r}"
        )


def check_convolution(layer: Any) -> None:
    """Refuses dilated and grouped convolutions, and other orders of the axes."""
    check_channels_last(layer)
    groups = getattr(layer, "groups", 1)  # depthwise ones have as many as channels
    if set(layer.dilation_rate) != {1} or groups != 1:
        raise ValueError(
            f"layer {layer.name!r} must have dilation 1 and one group to have a proved bound. "
            f"Received: dilation_rate={layer.dilation_rate}, groups={groups}"
        )


def check_batch_normalisation(layer: Any, rank: int) -> None:
    """Refuses batch normalisation of another axis than the last of `rank`."""
    if layer.axis not in (-1, rank - 1):
        raise ValueError(
            f"layer {layer.name!r} must normalise the last axis. Received: axis={layer.axis}"
        )


def check_standardisation(layer: Any) -> None:
    """Refuses the inverse of a standardisation."""
    if layer.invert:
        raise ValueError(f"layer {layer.name!r} must standardise. Received: invert=True")


def check_sum(layer: Any, shapes: Sequence[Sequence[int | None]]) -> None:
    """Refuses sums that broadcast."""
    shapes = [tuple(shape) for shape in shapes]
    if len(set(shapes)) != 1:
        raise ValueError(f"layer {layer.name!r} must add tensors of one shape. Received: {shapes}")
