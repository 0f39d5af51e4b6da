"""Boxes: lower and upper bounds of every entry of a tensor, carried through single layers.

The box of a layer holds its output for all inputs of the given boxes, at inference. A layer that
nothing is known of raises.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from clustr_tf.certify.activations import Activation, activation_of, rectifier
from clustr_tf.certify.layer_rules import (
    AFFINE_TERMS,
    LARGEST_IN_RANGE,
    SMALLEST_VARIANCE,
    check_batch_normalisation,
    check_channels_last,
    check_convolution,
    check_precision,
    check_standardisation,
    check_sum,
    gamma,
    rule_for,
    underflow,
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
from clustr_tf.layers.activations import norm_beyond_unit

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

    @property
    def is_finite(self) -> Any:
        """Whether all entries are, bool `[batch]`."""
        # One sum tells: the widths are not negative, and infinities and NaN stay what they are.
        axes = tuple(range(1, len(self.lower.shape)))
        return ops.isfinite(ops.sum(self.upper - self.lower, axis=axes))

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
    amplification: Any = 1.0,
) -> Box:
    """The smallest box with W x + b for every x of a box, enlarged by the rounding of W x + b.

    In exact arithmetic the image of {c + d: |d| <= r} lies in W c + b +- |W| r, and every bound is
    attained. Arithmetic with unit roundoff u errs by at most gamma_{n+2} (|W| |x| + |b|) in any
    order of summation, where |x| is at most the box's magnitude m: the radius is enlarged by
    gamma_{n+4} (|W| m + |b|). The box is computed in float64: each of centre, radius, magnitude
    and the two ends errs by at most a small multiple of n 2^-53 (|W| m + |b|), as c and r do not
    exceed m. Together they stay below 2 u (|W| m + |b|) for u = 2^-24 and n < 2^24, which
    gamma_{n+4} has over gamma_{n+2}.

    Underflow takes at most `underflow(n)` a (1 + max m) more, a the amplification; overflow is
    excluded where |W| m + |b|, which no partial sum exceeds but for rounding, and a (1 + max m)
    are within float32's range. Elsewhere the bounds are infinite.

    Args:
        box: of x.
        product: x -> W x.
        absolute_product: x -> |W| x.
        offset: b, or 0.
        absolute_offset: sum of the absolute values that b is computed from.
        terms: n, how many products an output value sums up.
        roundoff: u of the arithmetic to be covered, the box then being float64; 0 for none.
        amplification: a; an intermediate result is at most a (1 + max |x|), and what it loses to
            underflow becomes a times as much at most. Broadcasts to the output.

    Returns:
        The box of the outputs.

    Example:
        >>> affine_image(Box(x - 1, x + 1), lambda x: -2 * x, lambda x: 2 * x, 0, 0, 1, 0.0)

    Reference:
        Gowal et al., arXiv 1810.12715, equation 6 (centre and radius); Higham, "Accuracy and
        Stability of Numerical Algorithms", sections 2.1 and 3.1 (underflow, rounding).
    """
    centre = product(box.centre) + offset
    radius = absolute_product(box.radius)
    if roundoff:
        largest = absolute_product(box.magnitude) + absolute_offset
        radius += rounding(largest, box.magnitude, terms, roundoff, amplification)
    return Box(centre - radius, centre + radius)


def rounding(
    largest: Any, magnitude: Any, terms: int, roundoff: float, amplification: Any = 1.0
) -> Any:
    """What float arithmetic may add to W x + b, as `affine_image` says.

    Args:
        largest: |W| |x| + |b|, at most this; `[batch, ...]`.
        magnitude: |x|, at most this; `[batch, ...]`.
        terms: as in `affine_image`.
        roundoff: likewise, above 0.
        amplification: likewise.

    Returns:
        Like `largest`; infinite where float32's range may be left.
    """
    farthest = ops.max(magnitude, axis=tuple(range(1, len(magnitude.shape))))
    farthest = ops.reshape(farthest, (-1,) + (1,) * (len(largest.shape) - 1))
    reach = amplification * (1 + farthest)
    error = gamma(terms + _FURTHER_TERMS, roundoff) * largest + underflow(terms) * reach
    in_range = largest + error + reach <= LARGEST_IN_RANGE
    return ops.where(in_range, error, math.inf)


def layer_box(layer: keras.layers.Layer, inputs: list[Box], roundoff: float) -> Box:
    """The box of a layer's outputs, by the rule of `LAYER_BOXES` for its type.

    Weights are cast to the dtype of the boxes. Differentiable. With a roundoff, an image whose
    values may leave float32's range has all numbers as its box, and so behind every later layer.

    WARNING: the box holds for inference, for these very weights, and for layers of exactly the
    types of the table: a subclass may compute something else.

    Args:
        layer: built.
        inputs: the boxes of its inputs, `[batch, ...]`; one but for a sum.
        roundoff: unit roundoff of the layer's arithmetic, the boxes then being float64; 0 for
            exact arithmetic, up to that of the boxes themselves.

    Returns:
        The box.

    Raises:
        ValueError: if the layer's type or its options are not known, or if, with a roundoff, it
            computes in less than float32.

    Example:
        >>> layer_box(keras.layers.ReLU(), [Box(x - 1, x + 1)], 0.0)
    """
    rule = rule_for(layer, LAYER_BOXES, "interval bounds")
    if not roundoff:
        return rule(layer, inputs, roundoff)
    check_precision(layer)
    box = rule(layer, inputs, roundoff)
    # Clips, maxima and quotients could make finite numbers of infinity and NaN.
    finite = functools.reduce(ops.logical_and, [each.is_finite for each in (*inputs, box)])
    finite = ops.reshape(finite, (-1,) + (1,) * (len(box.lower.shape) - 1))
    return Box(ops.where(finite, box.lower, -math.inf), ops.where(finite, box.upper, math.inf))


def _flattened(layer: layers.Flatten, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)  # Keras moves the channels of others before it flattens
    return _reshaped(layer, inputs, roundoff)


def _reshaped(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    shape = layer.compute_output_shape(tuple(box.lower.shape))
    return box.ascended(lambda x: ops.reshape(x, (-1, *shape[1:])))


def _unchanged(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return box


def _padded(layer: layers.ZeroPadding2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)
    (box,) = inputs
    return box.ascended(lambda x: ops.pad(x, ((0, 0), *layer.padding, (0, 0))))


def _rectified(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return _activated(rectifier(layer), box, roundoff)


def _cropped(layer: layers.Cropping2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)
    return _monotone(layer, inputs, roundoff)


def _saturation(layer: Saturation, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return box.ascended(lambda x: ops.clip(x, 0, 1))


def _unit_ball(layer: UnitBall, inputs: list[Box], roundoff: float) -> Box:
    """Every entry over the norm of the box's nearest or farthest point, whichever is worse.

    Squares that underflow are nothing beside the 1 that the sum of squares is compared with.
    """
    (box,) = inputs
    smallest = norm_beyond_unit(ops.relu(box.lower) + ops.relu(-box.upper))
    largest = norm_beyond_unit(box.magnitude)
    lower = box.lower / ops.where(box.lower < 0, smallest, largest)
    upper = box.upper / ops.where(box.upper > 0, smallest, largest)
    if roundoff:
        # The sum of squares, its root and the quotient; then those of this box, in float64.
        error = gamma(2 * (box.lower.shape[-1] + AFFINE_TERMS), roundoff)
        squares = ops.sum(ops.square(box.magnitude), axis=-1, keepdims=True)
        lost = ops.where(squares <= LARGEST_IN_RANGE, 0 * squares + underflow(1), math.inf)
        lower = lower - error * ops.abs(lower) - lost
        upper = upper + error * ops.abs(upper) + lost
    return Box(lower, upper)


def _monotone(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    """Of a layer that moves or compares values, and never decreases in any of them."""
    (box,) = inputs
    return box.ascended(layer.call)  # in the precision of the box


def _scaled_average_pooling(
    layer: ScaledAveragePooling2D, inputs: list[Box], roundoff: float
) -> Box:
    area = layer.size**2
    return _linear(inputs, layer.call, area, roundoff, largest_sum=area)


def _scaled_residual(layer: ScaledResidualConv2D, inputs: list[Box], roundoff: float) -> Box:
    """X - W diag(factors) relu(W^T x + b), the factors at least 0, as the sum of two boxes."""
    (box,) = inputs
    kernel, bias, factors = (_weight(x, inputs) for x in (layer.kernel, layer.bias, layer.factors))
    absolute_kernel = ops.abs(kernel)
    taps = math.prod(kernel.shape[:2])

    def forward(x: Any, kernel: Any) -> Any:
        return ops.conv(x, kernel, 1, "same", "channels_last")

    def backward(x: Any, kernel: Any) -> Any:
        return ops.conv_transpose(x * factors, kernel, 1, "same", None, "channels_last")

    inner = affine_image(
        box,
        lambda x: forward(x, kernel),
        lambda x: forward(x, absolute_kernel),
        bias,
        ops.abs(bias),
        taps * kernel.shape[2],
        roundoff,
    ).ascended(ops.relu)
    sums = ops.max(ops.sum(absolute_kernel, axis=(0, 1, 3)))
    change = affine_image(
        inner,
        lambda x: -backward(x, kernel),
        lambda x: backward(x, absolute_kernel),
        0.0,
        0.0,
        taps * kernel.shape[3] + 1,
        roundoff,
        (1 + sums) * (1 + ops.max(factors)),
    )
    return _added([box, change], roundoff)


def _activation(layer: layers.Activation, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return _activated(activation_of(layer), box, roundoff)


def _max_pooling(layer: layers.MaxPooling2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)
    (box,) = inputs
    return box.ascended(
        lambda x: ops.max_pool(x, layer.pool_size, layer.strides, layer.padding, "channels_last")
    )


def _global_max_pooling(
    layer: layers.GlobalMaxPooling2D, inputs: list[Box], roundoff: float
) -> Box:
    check_channels_last(layer)
    return _monotone(layer, inputs, roundoff)


def _average_pooling(layer: layers.AveragePooling2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)

    def average(x: Any) -> Any:
        return ops.average_pool(
            x, layer.pool_size, layer.strides, layer.padding, data_format="channels_last"
        )

    area = math.prod(layer.pool_size)
    return _linear(inputs, average, area, roundoff, largest_sum=area)


def _global_average_pooling(
    layer: layers.GlobalAveragePooling2D, inputs: list[Box], roundoff: float
) -> Box:
    check_channels_last(layer)
    positions = math.prod(inputs[0].lower.shape[1:3])

    def average(x: Any) -> Any:
        return ops.mean(x, axis=(1, 2), keepdims=layer.keepdims)

    return _linear(inputs, average, positions, roundoff, largest_sum=positions)


def _sum(layer: layers.Add, inputs: list[Box], roundoff: float) -> Box:
    check_sum(layer, [tuple(box.lower.shape[1:]) for box in inputs])
    return _added(inputs, roundoff)


def _added(inputs: list[Box], roundoff: float) -> Box:
    lower, upper = (ops.stack(ends, axis=1) for ends in zip(*inputs, strict=True))
    return _linear([Box(lower, upper)], lambda x: ops.sum(x, axis=1), len(inputs), roundoff)


def _dense(layer: layers.Dense, inputs: list[Box], roundoff: float) -> Box:
    kernel = _weight(layer.kernel, inputs)
    terms = kernel.shape[0]
    return _with_bias(layer, inputs, ops.matmul, kernel, terms, roundoff)


def _convolution(layer: layers.Conv2D, inputs: list[Box], roundoff: float) -> Box:
    check_convolution(layer)

    def convolved(x: Any, kernel: Any) -> Any:
        return ops.conv(x, kernel, layer.strides, layer.padding, data_format="channels_last")

    kernel = _weight(layer.kernel, inputs)
    terms = math.prod(kernel.shape[:3])
    return _with_bias(layer, inputs, convolved, kernel, terms, roundoff)


def _depthwise_convolution(
    layer: layers.DepthwiseConv2D, inputs: list[Box], roundoff: float
) -> Box:
    check_convolution(layer)

    def convolved(x: Any, kernel: Any) -> Any:
        return ops.depthwise_conv(x, kernel, layer.strides, layer.padding, "channels_last")

    kernel = _weight(layer.kernel, inputs)
    return _with_bias(layer, inputs, convolved, kernel, math.prod(kernel.shape[:2]), roundoff)


def _rescaled(layer: layers.Rescaling, inputs: list[Box], roundoff: float) -> Box:
    # As the layer itself casts them, which rounds Python's numbers to float32.
    scale, offset = (
        _weight(ops.cast(x, layer.compute_dtype), inputs) for x in (layer.scale, layer.offset)
    )
    (box,) = inputs
    return _scaled(box, scale, [offset], roundoff, 1 + ops.abs(scale))


def _batch_normalisation(
    layer: layers.BatchNormalization, inputs: list[Box], roundoff: float
) -> Box:
    (box,) = inputs
    mean, variance = (_weight(x, inputs) for x in (layer.moving_mean, layer.moving_variance))
    return normalised(layer, box, mean, variance, roundoff)


def _standardisation(layer: layers.Normalization, inputs: list[Box], roundoff: float) -> Box:
    check_standardisation(layer)
    (box,) = inputs
    # As the layer itself does, in its precision; it is thus never divided by 0.
    std = ops.maximum(ops.sqrt(ops.convert_to_tensor(layer.variance)), keras.backend.epsilon())
    mean, std = _weight(layer.mean, inputs), _weight(std, inputs)
    scale = 1 / ops.where(std >= SMALLEST_VARIANCE**0.5, std, math.nan)
    amplification = ops.maximum(scale, 1) * (1 + ops.abs(mean))
    return _scaled(box, scale, [-mean * scale], roundoff, amplification)


# (layer, boxes of its inputs, unit roundoff) -> box. A further type of layer is a line here.
LAYER_BOXES: dict[type, Callable[..., Box]] = {
    BatchNormalization: _batch_normalisation,
    MaxMin: _monotone,
    Saturation: _saturation,
    ScaledAveragePooling2D: _scaled_average_pooling,
    ScaledResidualConv2D: _scaled_residual,
    SpaceToDepth: _monotone,
    UnitBall: _unit_ball,
    layers.Activation: _activation,
    layers.Add: _sum,
    layers.AveragePooling2D: _average_pooling,
    layers.BatchNormalization: _batch_normalisation,
    layers.Conv2D: _convolution,
    layers.Cropping2D: _cropped,
    layers.Dense: _dense,
    layers.DepthwiseConv2D: _depthwise_convolution,
    layers.Dropout: _unchanged,
    layers.Flatten: _flattened,
    layers.GlobalAveragePooling2D: _global_average_pooling,
    layers.GlobalMaxPooling2D: _global_max_pooling,
    layers.LeakyReLU: _rectified,
    layers.MaxPooling2D: _max_pooling,
    layers.Normalization: _standardisation,
    layers.ReLU: _rectified,
    layers.Rescaling: _rescaled,
    layers.Reshape: _reshaped,
    layers.ZeroPadding2D: _padded,
}


def normalised(
    layer: layers.BatchNormalization, box: Box, mean: Any, variance: Any, roundoff: float
) -> Box:
    """The box behind batch normalisation with given statistics.

    Args:
        layer: built.
        box: `[batch, ..., channels]`.
        mean: `[channels]`: the moving averages at inference, those of a batch in training.
        variance: likewise.
        roundoff: as in `layer_box`.

    Returns:
        The box.

    Raises:
        ValueError: if the layer normalises another axis than the last.
    """
    check_batch_normalisation(layer, len(box.lower.shape))
    # float32 in its kernel, and in every arithmetic but float64.
    epsilon = layer.epsilon if layer.compute_dtype == "float64" else np.float32(layer.epsilon)
    variance = variance + float(epsilon)
    inverse = ops.rsqrt(ops.where(variance >= SMALLEST_VARIANCE, variance, math.nan))
    slope = _weight(layer.gamma, [box]) if layer.scale else ops.ones_like(mean)
    offsets = [-mean * inverse * slope]
    if layer.center:
        offsets.append(_weight(layer.beta, [box]))
    # In whatever order the factors are multiplied.
    amplification = ops.maximum(inverse, 1) * ops.maximum(ops.abs(slope), 1) * (1 + ops.abs(mean))
    return _scaled(box, inverse * slope, offsets, roundoff, amplification)


def _scaled(box: Box, scale: Any, offsets: list[Any], roundoff: float, amplification: Any) -> Box:
    absolute_scale = ops.abs(scale)
    return affine_image(
        box,
        lambda x: x * scale,
        lambda x: x * absolute_scale,
        sum(offsets),
        sum(map(ops.abs, offsets)),
        AFFINE_TERMS,
        roundoff,
        amplification,
    )


def _with_bias(
    layer: Any,
    inputs: list[Box],
    product: Callable[[Any, Any], Any],
    kernel: Any,
    terms: int,
    roundoff: float,
) -> Box:
    (box,) = inputs
    absolute_kernel = ops.abs(kernel)
    bias = _weight(layer.bias, inputs) if layer.use_bias else 0.0
    absolute_bias = ops.abs(bias) if layer.use_bias else 0.0
    image = affine_image(
        box,
        lambda x: product(x, kernel),
        lambda x: product(x, absolute_kernel),
        bias,
        absolute_bias,
        terms,
        roundoff,
    )
    return _activated(activation_of(layer), image, roundoff)


def _linear(
    inputs: list[Box],
    product: Callable[[Any], Any],
    terms: int,
    roundoff: float,
    largest_sum: int = 1,
) -> Box:
    """Of a map without negative weights; averages sum up before they divide."""
    (box,) = inputs
    return affine_image(box, product, product, 0.0, 0.0, terms, roundoff, largest_sum)


def _activated(activation: Activation, box: Box, roundoff: float) -> Box:
    lower, upper = activation.box(*box)
    if roundoff and activation.terms:
        largest = activation.gain * box.magnitude
        error = rounding(largest, box.magnitude, activation.terms, roundoff)
        lower, upper = lower - error, upper + error
    return Box(lower, upper)


def _weight(values: Any, inputs: list[Box]) -> Any:
    return ops.cast(ops.convert_to_tensor(values), inputs[0].lower.dtype)
