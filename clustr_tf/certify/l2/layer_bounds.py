"""Proved l2 gains of single layers, with what is needed to bound float32 rounding.

Every bound is an upper bound with a proof, computed in float64 from the layer's weights. A layer
without one raises: nothing is assumed to be 1.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from clustr_tf.certify.activations import Activation, activation_of, rectifier
from clustr_tf.certify.layer_rules import (
    AFFINE_TERMS,
    SMALLEST_VARIANCE,
    UNIT_ROUNDOFF,
    check_batch_normalisation,
    check_channels_last,
    check_convolution,
    check_precision,
    check_range,
    check_standardisation,
    check_sum,
    rule_for,
)
from clustr_tf.layers import (
    BatchNormalization,
    MaxMin,
    Saturation,
    ScaledAveragePooling2D,
    ScaledResidualConv2D,
    SpaceToDepth,
    UnitBall,
)

# What the two products, the factor and the difference of a residual add to the terms of its sums.
_RESIDUAL_TERMS = 6

# LAPACK's eigenvalues and the Fourier transform are backward stable: the relative error of the
# largest value is a small multiple of the dimension times 2^-53, far below this.
_FLOAT64_SLACK = 1e-9

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
        amplification: an intermediate result is at most this times 1 + max |x|, and what it loses
            to underflow becomes this times as much at most.
    """

    gain: float
    absolute_gain: float = 0.0
    terms: int = 0
    offset: float = 0.0
    amplification: float = 1.0


def layer_bound(layer: keras.layers.Layer, *input_shapes: Shape) -> LayerBound:
    """The bounds of a layer, by the rule of `LAYER_BOUNDS` for its type.

    WARNING: they hold for inference, for these very weights, and for layers of exactly the types
    of the table: a subclass may compute something else.

    Args:
        layer: built.
        *input_shapes: `(batch, height, width, channels)` or `(batch, ..., features)`; one but for
            a sum, whose bounds are those of a map of the sum of its inputs.

    Returns:
        The bounds.

    Raises:
        ValueError: if no proved bound is known for the layer, its options or its precision.

    Example:
        >>> layer_bound(keras.layers.ReLU(), (None, 8)).gain  # 1.0
    """
    rule = rule_for(layer, LAYER_BOUNDS, "a proved Lipschitz bound")
    check_precision(layer)
    return rule(layer, *input_shapes)


def is_measured(layer: keras.layers.Layer) -> bool:
    """Whether rounding is bounded with the measured norm of a layer's input.

    Not of layers that cannot round, nor of those that round a handful of terms, where the bound of
    the layers before does as well: to read a feature map once more would cost more than it gains.
    """
    return not isinstance(layer, (*_EXACT, *_SHORT))


def _not_rounded(layer: keras.layers.Layer, input_shape: Shape) -> LayerBound:
    """Norms stay or shrink, nothing is computed (dropout at inference).

    Cropping and the largest of all pixels: a part of the entries, and |max a - max b| <= |a - b|.

    Max-min: |max(a, b) - max(c, d)|^2 + |min(a, b) - min(c, d)|^2 <= |a - c|^2 + |b - d|^2, as
    sorting two pairs cannot increase their distance. Saturation: |clip(a) - clip(b)| <= |a - b| and
    |clip(a)| <= |a|: 0 stays where it is.
    """
    return LayerBound(gain=1.0)


def _rectified(layer: Any, input_shape: Shape) -> LayerBound:
    return _of_activation(rectifier(layer))


def _activation(layer: layers.Activation, input_shape: Shape) -> LayerBound:
    return _of_activation(activation_of(layer))


def _of_activation(activation: Activation) -> LayerBound:
    """F of each entry: |f(a) - f(b)| <= gain |a - b|, and f(0) = 0."""
    gain, terms = activation.gain, activation.terms
    return LayerBound(gain, gain, terms) if terms else LayerBound(gain)


def _activated(layer: Any, found: LayerBound) -> LayerBound:
    """An affine map and the layer's activation, whose gain its rounding errors are raised by.

    |f(y)| <= gain |y| and |y| <= |W| |x| + |b|: the two gammas add up to at most that of the sum of
    their terms.
    """
    activation = activation_of(layer)
    raised = max(activation.gain, 1.0)
    return LayerBound(
        gain=activation.gain * found.gain,
        absolute_gain=raised * found.absolute_gain,
        terms=found.terms + activation.terms,
        offset=raised * found.offset,
        amplification=raised * found.amplification,
    )


def _dense(layer: layers.Dense, input_shape: Shape) -> LayerBound:
    """The largest singular value of the kernel, which acts on every position on its own."""
    kernel = _weight(layer, "kernel")
    found = LayerBound(
        gain=spectral_norm(kernel),
        absolute_gain=spectral_norm(np.abs(kernel)),
        terms=kernel.shape[0],
        offset=_bias_norm(layer, positions=math.prod(input_shape[1:-1])),
    )
    return _activated(layer, found)


def _convolution(layer: layers.Conv2D, input_shape: Shape) -> LayerBound:
    """See `convolution_norm`."""
    check_convolution(layer)
    kernel = _weight(layer, "kernel")
    positions = math.prod(layer.compute_output_shape(input_shape)[1:3])
    found = LayerBound(
        gain=convolution_norm(kernel, layer.strides, input_shape[1:3]),
        absolute_gain=absolute_convolution_norm(kernel, layer.strides),
        terms=math.prod(kernel.shape[:3]),
        offset=_bias_norm(layer, positions),
    )
    return _activated(layer, found)


def _depthwise_convolution(layer: layers.DepthwiseConv2D, input_shape: Shape) -> LayerBound:
    """Channels do not meet: the largest norm of any channel's own convolution."""
    check_convolution(layer)
    kernel = _weight(layer, "kernel")
    of_channels = [kernel[:, :, [channel]] for channel in range(kernel.shape[2])]
    positions = math.prod(layer.compute_output_shape(input_shape)[1:3])
    found = LayerBound(
        gain=max(convolution_norm(one, layer.strides, input_shape[1:3]) for one in of_channels),
        absolute_gain=max(absolute_convolution_norm(one, layer.strides) for one in of_channels),
        terms=math.prod(kernel.shape[:2]),
        offset=_bias_norm(layer, positions),
    )
    return _activated(layer, found)


def _rescaled(layer: layers.Rescaling, input_shape: Shape) -> LayerBound:
    """A diagonal map: the largest |scale|."""
    # As the layer itself casts them, which rounds Python's numbers to float32.
    scale, offset = (
        np.abs(_finite(layer, name, keras.ops.cast(getattr(layer, name), layer.compute_dtype)))
        for name in ("scale", "offset")
    )
    gain = float(np.max(scale))
    shift = float(np.linalg.norm(np.broadcast_to(offset, (1, *input_shape[1:]))))
    return LayerBound(gain, gain, AFFINE_TERMS, shift, 1 + gain)


def _batch_normalisation(layer: layers.BatchNormalization, input_shape: Shape) -> LayerBound:
    """With frozen statistics a diagonal map: the largest |gamma| / sqrt(variance + epsilon)."""
    check_batch_normalisation(layer, len(input_shape))
    # float32 in its kernel, and in every arithmetic but float64.
    epsilon = layer.epsilon if layer.compute_dtype == "float64" else np.float32(layer.epsilon)
    variance = _weight(layer, "moving_variance") + float(epsilon)
    check_range(layer, bool(np.all(variance >= SMALLEST_VARIANCE)))
    inverse, mean = 1 / np.sqrt(variance), np.abs(_weight(layer, "moving_mean"))
    slope = np.abs(_weight(layer, "gamma")) if layer.scale else np.ones_like(mean)
    shift = mean * inverse * slope
    if layer.center:
        shift = shift + np.abs(_weight(layer, "beta"))
    gain = float(np.max(inverse * slope))
    offset = math.sqrt(math.prod(input_shape[1:-1])) * float(np.linalg.norm(shift))
    amplification = np.max(np.maximum(inverse, 1) * np.maximum(slope, 1) * (1 + mean))
    return LayerBound(gain, gain, AFFINE_TERMS, offset, float(amplification))


def _standardisation(layer: layers.Normalization, input_shape: Shape) -> LayerBound:
    """(x - mean) / std: 1 / min std."""
    check_standardisation(layer)
    # As the layer itself does, in its precision; it is thus never divided by 0.
    std = keras.ops.maximum(keras.ops.sqrt(layer.variance), keras.backend.epsilon())
    std, mean = _finite(layer, "variance", std), np.abs(_weight(layer, "mean"))
    check_range(layer, bool(np.all(std >= math.sqrt(SMALLEST_VARIANCE))))
    shift = np.broadcast_to(mean / std, (1, *input_shape[1:]))
    gain = float(1 / np.min(std))
    amplification = float(np.max(np.maximum(1 / std, 1) * (1 + mean)))
    return LayerBound(gain, gain, AFFINE_TERMS, float(np.linalg.norm(shift)), amplification)


def _max_pooling(layer: layers.MaxPooling2D, input_shape: Shape) -> LayerBound:
    """The square root of how many windows an input can be in.

    Proof: |max a - max b|^2 <= max |a - b|^2 <= the sum over the window; summed over all windows
    each input counts as often as it is in a window.
    """
    check_channels_last(layer)
    return LayerBound(gain=math.sqrt(_windows_per_input(layer)))


def _average_pooling(layer: layers.AveragePooling2D, input_shape: Shape) -> LayerBound:
    """Schur's test: norm^2 <= (largest row sum) (largest column sum) of the absolute matrix.

    An output averages the n pixels of its window that are in the image: its row has n entries 1/n,
    sum 1. The column of a pixel sums up 1/n of all windows that it is in. Rows and columns of
    the image have their own windows, whose entries multiply.
    """
    check_channels_last(layer)
    area = math.prod(layer.pool_size)
    options = zip(input_shape[1:3], layer.pool_size, layer.strides, strict=True)
    gain = math.sqrt(math.prod(_column_sum(*each, layer.padding) for each in options))
    return LayerBound(gain=gain, absolute_gain=gain, terms=area, amplification=area)


def _column_sum(size: int, pool: int, stride: int, padding: str) -> float:
    """The largest sum of 1/n, n its number of pixels, over the windows that a pixel is in."""
    count = math.ceil((size if padding == "same" else size - pool + 1) / stride)
    before = max((count - 1) * stride + pool - size, 0) // 2 if padding == "same" else 0
    sums = np.zeros(size)
    for window in range(count):
        pixels = slice(max(window * stride - before, 0), window * stride - before + pool)
        sums[pixels] += 1 / len(sums[pixels])
    return float(sums.max())


def _global_average_pooling(layer: layers.GlobalAveragePooling2D, input_shape: Shape) -> LayerBound:
    """One row of n entries 1/n for each channel: norm 1 / sqrt(n), exactly."""
    check_channels_last(layer)
    positions = math.prod(input_shape[1:3])
    gain = 1 / math.sqrt(positions)
    return LayerBound(gain, gain, terms=positions, amplification=positions)


def _scaled_average_pooling(layer: ScaledAveragePooling2D, input_shape: Shape) -> LayerBound:
    """A sum of n = size^2 values is at most sqrt(n) = size times their norm."""
    area = layer.size**2
    return LayerBound(gain=1.0, absolute_gain=1.0, terms=area, amplification=area)


def _unit_ball(layer: UnitBall, input_shape: Shape) -> LayerBound:
    """A projection onto a convex set brings no two points further apart; 0 stays where it is.

    Rounding: the sum of squares, its root and the quotient err relatively, as a product would.
    """
    return LayerBound(gain=1.0, absolute_gain=1.0, terms=input_shape[-1] + AFFINE_TERMS)


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
        amplification=residual_amplification(kernel, _weight(layer, "bias"), factors),
    )


def _sum(layer: layers.Add, *input_shapes: Shape) -> LayerBound:
    """Gains, norms and errors of the summands are added up before they come here."""
    check_sum(layer, input_shapes)
    return LayerBound(gain=1.0, absolute_gain=1.0, terms=len(input_shapes))


# Rearrangements and comparisons: no float arithmetic, hence no rounding.
_EXACT: dict[type, Callable[..., LayerBound]] = {
    MaxMin: _not_rounded,
    Saturation: _not_rounded,
    SpaceToDepth: _not_rounded,
    layers.Cropping2D: _not_rounded,
    layers.Dropout: _not_rounded,
    layers.Flatten: _not_rounded,
    layers.GlobalMaxPooling2D: _not_rounded,
    layers.MaxPooling2D: _max_pooling,
    layers.Reshape: _not_rounded,
    layers.ZeroPadding2D: _not_rounded,
}
# A handful of operations on each value.
_SHORT: dict[type, Callable[..., LayerBound]] = {
    BatchNormalization: _batch_normalisation,
    layers.Activation: _activation,
    layers.Add: _sum,
    layers.BatchNormalization: _batch_normalisation,
    layers.LeakyReLU: _rectified,
    layers.ReLU: _rectified,
    layers.Rescaling: _rescaled,
}
# (layer, input shape) -> bounds. A further type of layer is a line here.
LAYER_BOUNDS: dict[type, Callable[..., LayerBound]] = (
    _EXACT
    | _SHORT
    | {
        ScaledAveragePooling2D: _scaled_average_pooling,
        ScaledResidualConv2D: _scaled_residual,
        UnitBall: _unit_ball,
        layers.AveragePooling2D: _average_pooling,
        layers.Conv2D: _convolution,
        layers.Dense: _dense,
        layers.DepthwiseConv2D: _depthwise_convolution,
        layers.GlobalAveragePooling2D: _global_average_pooling,
        layers.Normalization: _standardisation,
    }
)


def residual_amplification(kernel: np.ndarray, bias: np.ndarray, factors: np.ndarray) -> float:
    """What `ScaledResidualConv2D` makes of a number inside it: sums in absolute values, multiplied.

    Args:
        kernel: `[height, width, channels, inner]`.
        bias: `[inner]`.
        factors: `[inner]`, at least 0.

    Returns:
        The amplification of `LayerBound`.
    """
    absolute = np.abs(kernel)
    inner = 1 + np.max(absolute.sum(axis=(0, 1, 2)) + np.abs(bias))
    outer = 1 + np.max((absolute * (1 + factors)).sum(axis=(0, 1, 3)))
    return float(inner * outer * (1 + np.max(factors)))


def _windows_per_input(layer: Any) -> int:
    """How many pooling windows an input can be in: ceil(k / s) in each direction."""
    return math.prod(
        math.ceil(size / stride)
        for size, stride in zip(layer.pool_size, layer.strides, strict=True)
    )


def _bias_norm(layer: Any, positions: int) -> float:
    if not layer.use_bias:
        return 0.0
    return math.sqrt(positions) * float(np.linalg.norm(_weight(layer, "bias")))


def _weight(layer: Any, name: str) -> np.ndarray:
    return _finite(layer, name, getattr(layer, name))


def _finite(layer: Any, name: str, values: Any) -> np.ndarray:
    values = keras.ops.convert_to_numpy(values).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError(
            f"layer {layer.name!r} must have finite weights. Received: NaN or infinity in {name!r}"
        )
    return values


def spectral_norm(matrices: np.ndarray) -> float:
    """Upper bound of the largest singular value of any of the matrices.

    Args:
        matrices: `[..., rows, columns]`, real or complex.

    Returns:
        The largest singular value, raised by the slack for its own rounding.

    Example:
        >>> spectral_norm(np.diag([1.0, 2.0]))  # 2.000000002
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        matrices = matrices.swapaxes(-2, -1)
    # The largest eigenvalue of A A* is as accurate as the largest singular value, in half the time.
    gram = matrices @ matrices.conj().swapaxes(-2, -1)
    # For m x n the product errs by gamma_n |A|_F^2 <= m gamma_n |A|^2; the root halves that.
    slack = 1 + _FLOAT64_SLACK + math.prod(matrices.shape[-2:]) * UNIT_ROUNDOFF["float64"]
    return math.sqrt(max(np.linalg.eigvalsh(gram).max(), 0)) * slack


def convolution_norm(
    kernel: np.ndarray, strides: Sequence[int], input_size: Sequence[int]
) -> float:
    """Upper bound of the l2 norm of a convolution, whatever its padding: not a power iteration.

    Proof. Put the image on a torus of size N >= H + k - 1 (a multiple of the stride s), zero
    elsewhere. A window that begins in [-(k - 1), H - 1], as every window of "valid" and of "same"
    padding does, meets there the pixels and zeros that it meets in the padded image: the outputs
    of the convolution are some of those of the circular convolution on the torus. Restricting
    inputs and outputs cannot raise the norm of a linear map. Split by phase, input pixel s p + r
    becoming channel r of position p, the circular convolution has stride 1 on N/s positions, and
    the discrete Fourier transform, a unitary map, splits it into one [in * s^2, out] block for each
    frequency: its norm is the largest singular value of any block. Conjugate frequencies have
    conjugate blocks, as the kernel is real: half of them are enough.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.
        input_size: (height, width) of the unpadded input.

    Returns:
        The norm on the torus, raised by the slack for its own rounding.

    Example:
        >>> convolution_norm(np.ones((1, 1, 1, 1)), (1, 1), (8, 8))  # 1.000000001

    Reference:
        Sedghi et al., arXiv 1805.10408, theorem 6, for stride 1 on a torus.
    """
    blocks = np.fft.rfft2(_phases_on_torus(kernel, strides, input_size), axes=(0, 1))
    return max(spectral_norm(row) for row in blocks)


def absolute_convolution_norm(kernel: np.ndarray, strides: Sequence[int]) -> float:
    """Upper bound of the l2 norm of the convolution with the absolute values of the kernel.

    No block is entrywise above that of frequency 0, the sum of the kernel over the positions of a
    phase, and the norm of non-negative matrices grows with their entries.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.

    Returns:
        The norm, raised by the slack for its own rounding.

    Example:
        >>> absolute_convolution_norm(np.array([1.0, -2.0]).reshape(1, 2, 1, 1), (1, 1))  # 3
    """
    return spectral_norm(_phases_on_torus(np.abs(kernel), strides, (1, 1)).sum(axis=(0, 1)))


def _phases_on_torus(
    kernel: np.ndarray, strides: Sequence[int], input_size: Sequence[int]
) -> np.ndarray:
    """The kernel on the smallest torus that will do, `[rows, columns, in * stride^2, out]`."""
    height, width, inputs, outputs = kernel.shape
    rows, columns = (
        math.ceil((size + taps - 1) / stride)
        for size, taps, stride in zip(input_size, (height, width), strides, strict=True)
    )
    on_torus = np.zeros((rows * strides[0], columns * strides[1], inputs, outputs))
    on_torus[:height, :width] = kernel
    phases = on_torus.reshape(rows, strides[0], columns, strides[1], inputs, outputs)
    return phases.transpose(0, 2, 1, 3, 4, 5).reshape(rows, columns, -1, outputs)
