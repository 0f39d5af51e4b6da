"""Proved l2 gains of single layers, with what is needed to bound float32 rounding.

Every bound is an upper bound with a proof, computed in float64 from the layer's weights. A layer
without one raises: nothing is assumed to be 1.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import keras
import numpy as np
from keras import layers

from clustr_tf.certificates.convolution_norm import (
    absolute_convolution_norm,
    convolution_norm,
    spectral_norm,
)
from clustr_tf.certificates.layer_checks import (
    AFFINE_TERMS,
    check_activation,
    check_batch_normalisation,
    check_channels_last,
    check_convolution,
    check_relu,
    check_standardisation,
)
from clustr_tf.layers import (
    MaxMin,
    Saturation,
    ScaledAveragePooling2D,
    ScaledResidualConv2D,
    SpaceToDepth,
    UnitBall,
)

# What the two products, the factor and the difference of a residual add to the terms of its sums.
_RESIDUAL_TERMS = 6

# Rearrangements and comparisons.
_EXACT_LAYERS = (
    MaxMin,
    Saturation,
    SpaceToDepth,
    layers.Activation,
    layers.Dropout,
    layers.Flatten,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.Reshape,
    layers.ZeroPadding2D,
)

Shape = Sequence[int]


@dataclass(frozen=True)
class LayerBound:
    """Bounds of one layer: an affine map, then perhaps ReLU; or a map that does not round.

    Attributes:
        gain: Lipschitz constant at most this, in l2.
        absolute_gain: l2 norm of the linear map with the absolute values of its weights, at most
            this; 0 for layers that do not round.
        terms: how many products an output value sums up; 0 for layers that do not round.
        offset: l2 norm of the output for input 0, at most this; also that of the sum of the
            absolute values that it is computed from.
    """

    gain: float
    absolute_gain: float = 0.0
    terms: int = 0
    offset: float = 0.0


@singledispatch
def layer_bound(layer: keras.layers.Layer, input_shape: Shape) -> LayerBound:
    """The bounds of a layer; a further type of layer registers with `@layer_bound.register`.

    WARNING: they hold for inference, for these very weights, and for layers of exactly the
    registered types (`layer_bound.registry`): a subclass may compute something else.

    Args:
        layer: built.
        input_shape: `(batch, height, width, channels)` or `(batch, ..., features)`.

    Returns:
        The bounds.

    Raises:
        ValueError: if no proved bound is known for the layer or for its options.

    Example:
        >>> layer_bound(keras.layers.ReLU(), (None, 8)).gain  # 1.0
    """
    raise ValueError(
        f"layer {layer.name!r} must be of a type with a proved Lipschitz bound. "
        f"Received: {type(layer).__name__}"
    )


def is_measured(layer: keras.layers.Layer) -> bool:
    """Whether rounding is bounded with the measured norm of a layer's input.

    Not of layers that cannot round, nor of those that round a handful of terms, where the bound of
    the layers before does as well: to read a feature map once more would cost more than it gains.
    """
    return not isinstance(layer, (*_EXACT_LAYERS, layers.Add, layers.BatchNormalization))


@layer_bound.register(layers.Flatten)
@layer_bound.register(layers.Reshape)
@layer_bound.register(layers.Dropout)
@layer_bound.register(layers.ZeroPadding2D)
@layer_bound.register(SpaceToDepth)
@layer_bound.register(MaxMin)
def _rearrangement(layer: keras.layers.Layer, input_shape: Shape) -> LayerBound:
    """Norms stay, nothing is computed (dropout at inference).

    Max-min: |max(a, b) - max(c, d)|^2 + |min(a, b) - min(c, d)|^2 <= |a - c|^2 + |b - d|^2, as
    sorting two pairs cannot increase their distance.
    """
    return LayerBound(gain=1.0)


@layer_bound.register(Saturation)
def _saturation(layer: Saturation, input_shape: Shape) -> LayerBound:
    """|clip(a) - clip(b)| <= |a - b| and |clip(a)| <= |a|: 0 stays where it is."""
    return LayerBound(gain=1.0)


@layer_bound.register(layers.ReLU)
def _relu(layer: layers.ReLU, input_shape: Shape) -> LayerBound:
    """|relu(a) - relu(b)| <= |a - b| and |relu(a)| <= |a|, also with a `max_value`."""
    check_relu(layer)
    return LayerBound(gain=1.0)


@layer_bound.register(layers.Activation)
def _activation(layer: layers.Activation, input_shape: Shape) -> LayerBound:
    check_activation(layer)
    return LayerBound(gain=1.0)


@layer_bound.register(layers.Dense)
def _dense(layer: layers.Dense, input_shape: Shape) -> LayerBound:
    """The largest singular value of the kernel, which acts on every position on its own."""
    check_activation(layer)
    kernel = _weight(layer, "kernel")
    return LayerBound(
        gain=spectral_norm(kernel),
        absolute_gain=spectral_norm(np.abs(kernel)),
        terms=kernel.shape[0],
        offset=_bias_norm(layer, positions=math.prod(input_shape[1:-1])),
    )


@layer_bound.register(layers.Conv2D)
def _convolution(layer: layers.Conv2D, input_shape: Shape) -> LayerBound:
    """See `convolution_norm`."""
    check_convolution(layer)
    kernel = _weight(layer, "kernel")
    positions = math.prod(layer.compute_output_shape(input_shape)[1:3])
    return LayerBound(
        gain=convolution_norm(kernel, layer.strides, input_shape[1:3]),
        absolute_gain=absolute_convolution_norm(kernel, layer.strides),
        terms=math.prod(kernel.shape[:3]),
        offset=_bias_norm(layer, positions),
    )


@layer_bound.register(layers.BatchNormalization)
def _batch_normalisation(layer: layers.BatchNormalization, input_shape: Shape) -> LayerBound:
    """With frozen statistics a diagonal map: the largest |gamma| / sqrt(variance + epsilon)."""
    check_batch_normalisation(layer, len(input_shape))
    scale = 1 / np.sqrt(_weight(layer, "moving_variance") + layer.epsilon)
    if layer.scale:
        scale = scale * _weight(layer, "gamma")
    shift = np.abs(_weight(layer, "moving_mean") * scale)
    if layer.center:
        shift = shift + np.abs(_weight(layer, "beta"))
    gain = float(np.max(np.abs(scale)))
    offset = math.sqrt(math.prod(input_shape[1:-1])) * float(np.linalg.norm(shift))
    return LayerBound(gain=gain, absolute_gain=gain, terms=AFFINE_TERMS, offset=offset)


@layer_bound.register(layers.Normalization)
def _standardisation(layer: layers.Normalization, input_shape: Shape) -> LayerBound:
    """(x - mean) / std: 1 / min std."""
    check_standardisation(layer)
    # As the layer itself does, which is thus never divided by 0.
    std = np.maximum(np.sqrt(_weight(layer, "variance")), keras.backend.epsilon())
    shift = np.broadcast_to(_weight(layer, "mean") / std, (1, *input_shape[1:]))
    gain = float(1 / np.min(std))
    offset = float(np.linalg.norm(shift))
    return LayerBound(gain=gain, absolute_gain=gain, terms=AFFINE_TERMS, offset=offset)


@layer_bound.register(layers.MaxPooling2D)
def _max_pooling(layer: layers.MaxPooling2D, input_shape: Shape) -> LayerBound:
    """The square root of how many windows an input can be in.

    Proof: |max a - max b|^2 <= max |a - b|^2 <= the sum over the window; summed over all windows
    each input counts as often as it is in a window.
    """
    check_channels_last(layer)
    return LayerBound(gain=math.sqrt(_windows_per_input(layer)))


@layer_bound.register(layers.AveragePooling2D)
def _average_pooling(layer: layers.AveragePooling2D, input_shape: Shape) -> LayerBound:
    """Schur's test: norm^2 <= (largest row sum) (largest column sum) of the absolute matrix.

    With "valid" padding a row has k^2 entries of 1/k^2: sum 1. A column sums to (windows per
    input) / k^2. Zero padding is refused, as the number of averaged pixels then varies.
    """
    check_channels_last(layer)
    if layer.padding != "valid":
        raise ValueError(
            f'layer {layer.name!r} must have padding="valid". Received: {layer.padding!r}'
        )
    area = math.prod(layer.pool_size)
    gain = math.sqrt(_windows_per_input(layer) / area)
    return LayerBound(gain=gain, absolute_gain=gain, terms=area)


@layer_bound.register(layers.GlobalAveragePooling2D)
def _global_average_pooling(layer: layers.GlobalAveragePooling2D, input_shape: Shape) -> LayerBound:
    """One row of n entries 1/n for each channel: norm 1 / sqrt(n), exactly."""
    check_channels_last(layer)
    positions = math.prod(input_shape[1:3])
    gain = 1 / math.sqrt(positions)
    return LayerBound(gain=gain, absolute_gain=gain, terms=positions)


def _windows_per_input(layer: Any) -> int:
    """How many pooling windows an input can be in: ceil(k / s) in each direction."""
    return math.prod(
        math.ceil(size / stride)
        for size, stride in zip(layer.pool_size, layer.strides, strict=True)
    )


@layer_bound.register(ScaledAveragePooling2D)
def _scaled_average_pooling(layer: ScaledAveragePooling2D, input_shape: Shape) -> LayerBound:
    """A sum of n = size^2 values is at most sqrt(n) = size times their norm."""
    return LayerBound(gain=1.0, absolute_gain=1.0, terms=layer.size**2)


@layer_bound.register(UnitBall)
def _unit_ball(layer: UnitBall, input_shape: Shape) -> LayerBound:
    """A projection onto a convex set brings no two points further apart; 0 stays where it is.

    Rounding: the sum of squares, its root and the quotient err relatively, as a product would.
    """
    return LayerBound(gain=1.0, absolute_gain=1.0, terms=input_shape[-1] + AFFINE_TERMS)


@layer_bound.register(ScaledResidualConv2D)
def _scaled_residual(layer: ScaledResidualConv2D, input_shape: Shape) -> LayerBound:
    """I - W F S W^T with F the factors and S the slopes of ReLU, diagonal and in [0, 1].

    With B = W (F / 2)^(1/2) it is I - 2 B S B^T and B S B^T has its eigenvalues between 0 and
    |B|^2, so that the norm is at most max(1, 2 |B|^2 - 1). Rounding: that of the inner sums, of the
    factor, of the outer sums and of the difference, each in absolute values.
    """
    kernel, factors = _weight(layer, "kernel"), _weight(layer, "factors")
    if (factors < 0).any():
        raise ValueError(
            f"layer {layer.name!r} must have factors of at least 0. Received: {factors.min()}"
        )
    squared = convolution_norm(kernel * np.sqrt(factors / 2), (1, 1), input_shape[1:3]) ** 2
    inner, outer = (
        absolute_convolution_norm(weights, (1, 1)) for weights in (kernel, kernel * factors)
    )
    positions = math.prod(input_shape[1:3])
    bias_norm = math.sqrt(positions) * float(np.linalg.norm(_weight(layer, "bias")))
    taps = math.prod(kernel.shape[:2])
    return LayerBound(
        gain=max(1.0, 2 * squared - 1),
        absolute_gain=1 + outer * inner,
        terms=taps * sum(kernel.shape[2:]) + _RESIDUAL_TERMS,
        offset=outer * bias_norm,
    )


def _bias_norm(layer: Any, positions: int) -> float:
    if not layer.use_bias:
        return 0.0
    return math.sqrt(positions) * float(np.linalg.norm(_weight(layer, "bias")))


def _weight(layer: Any, name: str) -> np.ndarray:
    values = keras.ops.convert_to_numpy(getattr(layer, name)).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"layer {layer.name!r} must have finite weights. Received: NaN or infinity in {name!r}"
        )
    return values
