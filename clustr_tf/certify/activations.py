"""Activations that proofs know: their Lipschitz constants, their boxes and their rounding."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

# Rounding of a product with a slope; and of GELU and SiLU, whose error functions and exponentials
# err by a few roundings of 1, hence of |x| in the product with x. Measured are at most 3.
_PRODUCT, _SMOOTH = 1, 32


class Activation(NamedTuple):
    """A function of each entry on its own, with f(0) = 0.

    Attributes:
        gain: its Lipschitz constant, at most this; so that |f(x)| <= gain |x|.
        terms: float arithmetic errs by at most gamma_terms gain |x|; 0 where it does not round.
        box: (lower, upper) -> the smallest and the largest value in between, in exact arithmetic.
    """

    gain: float
    terms: int
    box: Callable[[Any, Any], tuple[Any, Any]]


def activation_of(layer: Any) -> Activation:
    """The activation of a layer that has one as its attribute `activation`.

    Args:
        layer: `keras.layers.Activation`, or dense or convolutional.

    Returns:
        The activation.

    Raises:
        ValueError: if nothing is known of it.

    Example:
        >>> activation_of(keras.layers.Dense(2, activation="gelu")).gain  # 1.129
    """
    # The functions themselves: a name could be that of another function.
    for function, known in ACTIVATIONS.items():
        if layer.activation is function:
            return known
    names = ", ".join(function.__name__ for function in ACTIVATIONS)
    raise ValueError(
        f"layer {layer.name!r} must have one of the activations {names}. "
        f"Received: {getattr(layer.activation, '__name__', layer.activation)!r}"
    )


def rectifier(layer: Any) -> Activation:
    """The activation of a `keras.layers.ReLU` or `LeakyReLU`.

    Args:
        layer: of one of these types.

    Returns:
        The activation, with the constants that the layer computes with: float32 in any precision.

    Raises:
        ValueError: if it has a threshold, or a slope beside a largest value, or constants that are
            not finite.

    Example:
        >>> rectifier(keras.layers.LeakyReLU(0.3)).gain  # 1.0
    """
    slope, largest = layer.negative_slope, getattr(layer, "max_value", None)
    if getattr(layer, "threshold", 0) or (slope and largest is not None):
        raise ValueError(
            f"layer {layer.name!r} must be a ReLU with threshold 0, and with a negative slope or a "
            f"largest value, not both. Received: negative_slope={slope}, "
            f"threshold={layer.threshold}, max_value={largest}"
        )
    if not np.isfinite([slope, 0 if largest is None else largest]).all():
        raise ValueError(
            f"layer {layer.name!r} must have finite constants. "
            f"Received: negative_slope={slope}, max_value={largest}"
        )
    return _leaky(slope) if slope else _clipped(largest)


def _monotone(function: Callable[[Any], Any]) -> Callable[[Any, Any], tuple[Any, Any]]:
    return lambda lower, upper: (function(lower), function(upper))


def _leaky(slope: float) -> Activation:
    """X where x > 0, else slope * x."""
    slope = float(np.float32(slope))
    box = _monotone(lambda x: ops.relu(x) - slope * ops.relu(-x))
    return Activation(max(1.0, slope), _PRODUCT, box)


def _clipped(largest: float | None) -> Activation:
    """min(relu(x), largest)."""
    if largest is None:
        return Activation(1.0, 0, _monotone(ops.relu))
    largest = float(np.float32(largest))
    return Activation(1.0, 0, _monotone(lambda x: ops.clip(x, 0, largest)))


def _with_minimum(
    function: Callable[[Any], Any], minimiser: float
) -> Callable[[Any, Any], tuple[Any, Any]]:
    """Of a function that falls up to its minimiser and rises after it."""

    def box(lower: Any, upper: Any) -> tuple[Any, Any]:
        lowest = function(ops.minimum(ops.maximum(lower, minimiser), upper))
        return lowest, ops.maximum(function(lower), function(upper))

    return box


def _gelu(x: Any) -> Any:
    """X Phi(x), by the error function; its slope is largest at sqrt(2): 1.12890."""
    return 0.5 * x * (1 + ops.erf(x * 0.5**0.5))


def _silu(x: Any) -> Any:
    """X / (1 + exp(-x)); its slope is largest near 2.3994: 1.09984."""
    return x * ops.sigmoid(x)


# The functions with the arguments that Keras gives them by default: GELU is exact. An error of the
# minimiser in its last digit is squared in the minimum.
ACTIVATIONS: dict[Any, Activation] = {
    keras.activations.linear: Activation(1.0, 0, lambda lower, upper: (lower, upper)),
    keras.activations.relu: _clipped(None),
    keras.activations.relu6: _clipped(6.0),
    keras.activations.leaky_relu: _leaky(0.2),
    keras.activations.gelu: Activation(1.129, _SMOOTH, _with_minimum(_gelu, -0.7517915248)),
    keras.activations.silu: Activation(1.0999, _SMOOTH, _with_minimum(_silu, -1.2784645303)),
}
