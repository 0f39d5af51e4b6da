"""A proved Lipschitz bound of a network, and a bound of its float32 rounding."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from clustr_tf.certificates.layer_bounds import layer_bound

_UNIT_ROUNDOFF = 2.0**-24


@dataclass(frozen=True)
class LipschitzBound:
    """What certified radii rest on.

    Attributes:
        gain: the network is `gain`-Lipschitz from pixel l2 to embedding l2, in real arithmetic.
        rounding: a float32 embedding of an image in [0, 1] is within this l2 distance of the exact
            one.
    """

    gain: float
    rounding: float


@dataclass(frozen=True)
class _Bounds:
    """Bounds of one tensor, for all images in [0, 1].

    Attributes:
        gain: Lipschitz constant from the pixels.
        norm: l2 norm of the exact tensor.
        rounding: l2 norm of the difference between the float32 and the exact tensor.
    """

    gain: float
    norm: float
    rounding: float


def lipschitz_bound(network: keras.Model) -> LipschitzBound:
    """Bounds the Lipschitz constant and the rounding of a functional network.

    Gains multiply along a path and add up where branches are added. Rounding: a layer that sums
    n products in float32 errs by at most gamma_n |W| |x|, gamma_n = n u / (1 - n u), u = 2^-24, in
    any order of summation (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1);
    the error grows by the gains of the later layers.

    WARNING: the bounds hold for inference, for these very weights and images in [0, 1], and the
    rounding for IEEE float32 sums of products: not for bfloat16, float16, TensorFloat-32 or
    Winograd convolutions. Switch those off where certificates are served.

    Args:
        network: a functional model of layers known to `layer_bound`, `keras.layers.Add` and nested
            functional models; images `[batch, H, W, C]` in [0, 1] -> `[batch, dim]`.

    Returns:
        The bounds. For ordinary (unconstrained) networks the gain is true and large, so that
        certified radii are tiny.

    Raises:
        ValueError: if a layer has no proved bound, does not compute in float32 or float64, or is
            used more than once.

    Example:
        >>> lipschitz_bound(classifier.embedder).gain
    """
    # A pixel is at most 1, and exact.
    image_norm = math.sqrt(math.prod(network.input_shape[1:]))
    result = _propagate(network, _Bounds(gain=1.0, norm=image_norm, rounding=0.0))
    return LipschitzBound(gain=result.gain, rounding=result.rounding)


def _propagate(network: keras.Model, bounds: _Bounds) -> _Bounds:
    known = {id(network.inputs[0]): bounds}
    for layer in network.layers:
        if isinstance(layer, keras.layers.InputLayer):
            continue
        # layer.input of a nested model is its own input, not the tensor it was called on.
        nodes = layer._inbound_nodes
        if len(nodes) != 1:
            raise ValueError(
                f"layer {layer.name!r} must be used once to have a proved bound. "
                f"Received: {len(nodes)} uses"
            )
        inputs = [known[id(tensor)] for tensor in nodes[0].input_tensors]
        known[id(nodes[0].output_tensors[0])] = _layer_output(layer, inputs)
    return known[id(network.outputs[0])]


def _layer_output(layer: Any, inputs: list[_Bounds]) -> _Bounds:
    if layer.compute_dtype not in ("float32", "float64"):
        raise ValueError(
            f"layer {layer.name!r} must compute in float32 or float64 to have a proved bound. "
            f"Received: {layer.compute_dtype}"
        )
    if isinstance(layer, keras.layers.Add):
        return _sum(inputs)
    (bounds,) = inputs
    if isinstance(layer, keras.Model):
        return _propagate(layer, bounds)
    found = layer_bound(layer)
    computed = found.absolute_gain * (bounds.norm + bounds.rounding) + found.offset
    return _Bounds(
        gain=found.gain * bounds.gain,
        norm=found.gain * bounds.norm + found.offset,
        rounding=found.gain * bounds.rounding + _gamma(found.terms + 2) * computed
        if found.terms
        else found.gain * bounds.rounding,
    )


def _sum(inputs: list[_Bounds]) -> _Bounds:
    norm = sum(bounds.norm for bounds in inputs)
    rounding = sum(bounds.rounding for bounds in inputs)
    return _Bounds(
        gain=sum(bounds.gain for bounds in inputs),
        norm=norm,
        rounding=rounding + _gamma(len(inputs)) * (norm + rounding),
    )


def _gamma(terms: int) -> float:
    """Relative error of a float32 sum of `terms` products, infinite beyond 2^24 terms."""
    error = terms * _UNIT_ROUNDOFF
    return error / (1 - error) if error < 1 else np.inf
