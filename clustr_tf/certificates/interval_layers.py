"""Boxes carried through single layers.

Every box holds the layer's output for all inputs of the given boxes, at inference. A layer that
nothing is known of raises.
"""

import math
from collections.abc import Callable
from functools import singledispatch
from typing import Any

import keras
from keras import layers, ops

from clustr_tf.certificates.boxes import Box, affine_image
from clustr_tf.certificates.layer_checks import (
    AFFINE_TERMS,
    check_activation,
    check_batch_normalisation,
    check_channels_last,
    check_convolution,
    check_relu,
    check_standardisation,
)
from clustr_tf.certificates.rounding import gamma
from clustr_tf.layers import Saturation, UnitBall
from clustr_tf.layers.unit_ball import norm_beyond_unit


@singledispatch
def interval_layer(layer: keras.layers.Layer, inputs: list[Box], roundoff: float) -> Box:
    """The box of a layer's outputs; a further type registers with `@interval_layer.register`.

    Weights are cast to the dtype of the boxes. Differentiable.

    WARNING: the box holds for inference, for these very weights, and for layers of exactly the
    registered types (`interval_layer.registry`): a subclass may compute something else.

    Args:
        layer: built.
        inputs: the boxes of its inputs, `[batch, ...]`; one but for a sum.
        roundoff: unit roundoff of the layer's arithmetic, the boxes then being float64; 0 for
            exact arithmetic, up to that of the boxes themselves.

    Returns:
        The box.

    Raises:
        ValueError: if the layer's type or its options are not known.

    Example:
        >>> interval_layer(keras.layers.ReLU(), [Box(x - 1, x + 1)], 0.0)
    """
    raise ValueError(
        f"layer {layer.name!r} must be of a type with interval bounds. "
        f"Received: {type(layer).__name__}"
    )


@interval_layer.register(layers.Flatten)
def _flattened(layer: layers.Flatten, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)  # Keras moves the channels of others before it flattens
    return _reshaped(layer, inputs, roundoff)


@interval_layer.register(layers.Reshape)
def _reshaped(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    shape = layer.compute_output_shape(tuple(box.lower.shape))
    return box.ascended(lambda x: ops.reshape(x, (-1, *shape[1:])))


@interval_layer.register(layers.Dropout)
def _unchanged(layer: Any, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return box


@interval_layer.register(layers.ZeroPadding2D)
def _padded(layer: layers.ZeroPadding2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)
    (box,) = inputs
    return box.ascended(lambda x: ops.pad(x, ((0, 0), *layer.padding, (0, 0))))


@interval_layer.register(layers.ReLU)
def _relu(layer: layers.ReLU, inputs: list[Box], roundoff: float) -> Box:
    check_relu(layer)
    (box,) = inputs
    if layer.max_value is None:
        return box.ascended(ops.relu)
    return box.ascended(lambda x: ops.clip(x, 0, layer.max_value))


@interval_layer.register(Saturation)
def _saturation(layer: Saturation, inputs: list[Box], roundoff: float) -> Box:
    (box,) = inputs
    return box.ascended(lambda x: ops.clip(x, 0, 1))


@interval_layer.register(UnitBall)
def _unit_ball(layer: UnitBall, inputs: list[Box], roundoff: float) -> Box:
    """Every entry over the norm of the box's nearest or farthest point, whichever is worse."""
    (box,) = inputs
    smallest = norm_beyond_unit(ops.relu(box.lower) + ops.relu(-box.upper))
    largest = norm_beyond_unit(box.magnitude)
    lower = box.lower / ops.where(box.lower < 0, smallest, largest)
    upper = box.upper / ops.where(box.upper > 0, smallest, largest)
    if roundoff:
        # The sum of squares, its root and the quotient; then those of this box, in float64.
        error = gamma(2 * (box.lower.shape[-1] + AFFINE_TERMS), roundoff)
        lower, upper = lower - error * ops.abs(lower), upper + error * ops.abs(upper)
    return Box(lower, upper)


@interval_layer.register(layers.Activation)
def _activation(layer: layers.Activation, inputs: list[Box], roundoff: float) -> Box:
    check_activation(layer)
    (box,) = inputs
    return _activated(layer, box)


@interval_layer.register(layers.MaxPooling2D)
def _max_pooling(layer: layers.MaxPooling2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)
    (box,) = inputs
    return box.ascended(
        lambda x: ops.max_pool(x, layer.pool_size, layer.strides, layer.padding, "channels_last")
    )


@interval_layer.register(layers.AveragePooling2D)
def _average_pooling(layer: layers.AveragePooling2D, inputs: list[Box], roundoff: float) -> Box:
    check_channels_last(layer)

    def average(x: Any) -> Any:
        return ops.average_pool(
            x, layer.pool_size, layer.strides, layer.padding, data_format="channels_last"
        )

    return _linear(inputs, average, math.prod(layer.pool_size), roundoff)


@interval_layer.register(layers.GlobalAveragePooling2D)
def _global_average_pooling(
    layer: layers.GlobalAveragePooling2D, inputs: list[Box], roundoff: float
) -> Box:
    check_channels_last(layer)
    positions = math.prod(inputs[0].lower.shape[1:3])

    def average(x: Any) -> Any:
        return ops.mean(x, axis=(1, 2), keepdims=layer.keepdims)

    return _linear(inputs, average, positions, roundoff)


@interval_layer.register(layers.Add)
def _sum(layer: layers.Add, inputs: list[Box], roundoff: float) -> Box:
    shapes = [tuple(box.lower.shape[1:]) for box in inputs]
    if len(set(shapes)) != 1:
        raise ValueError(f"layer {layer.name!r} must add tensors of one shape. Received: {shapes}")
    stacked = Box(
        ops.stack([box.lower for box in inputs]), ops.stack([box.upper for box in inputs])
    )
    return _linear([stacked], lambda x: ops.sum(x, axis=0), len(inputs), roundoff)


@interval_layer.register(layers.Dense)
def _dense(layer: layers.Dense, inputs: list[Box], roundoff: float) -> Box:
    check_activation(layer)
    kernel = _weight(layer.kernel, inputs)
    terms = kernel.shape[0]
    return _with_bias(layer, inputs, ops.matmul, kernel, terms, roundoff)


@interval_layer.register(layers.Conv2D)
def _convolution(layer: layers.Conv2D, inputs: list[Box], roundoff: float) -> Box:
    check_convolution(layer)

    def convolved(x: Any, kernel: Any) -> Any:
        return ops.conv(x, kernel, layer.strides, layer.padding, data_format="channels_last")

    kernel = _weight(layer.kernel, inputs)
    terms = math.prod(kernel.shape[:3])
    return _with_bias(layer, inputs, convolved, kernel, terms, roundoff)


@interval_layer.register(layers.BatchNormalization)
def _batch_normalisation(
    layer: layers.BatchNormalization, inputs: list[Box], roundoff: float
) -> Box:
    (box,) = inputs
    mean, variance = (_weight(x, inputs) for x in (layer.moving_mean, layer.moving_variance))
    return normalised(layer, box, mean, variance, roundoff)


@interval_layer.register(layers.Normalization)
def _standardisation(layer: layers.Normalization, inputs: list[Box], roundoff: float) -> Box:
    check_standardisation(layer)
    (box,) = inputs
    mean, variance = (_weight(x, inputs) for x in (layer.mean, layer.variance))
    # As the layer itself does, which is thus never divided by 0.
    scale = 1 / ops.maximum(ops.sqrt(variance), keras.backend.epsilon())
    return _scaled(box, scale, [-mean * scale], roundoff)


def normalised(
    layer: layers.BatchNormalization, box: Box, mean: Any, variance: Any, roundoff: float
) -> Box:
    """The box behind batch normalisation with given statistics.

    Args:
        layer: built.
        box: `[batch, ..., channels]`.
        mean: `[channels]`: the moving averages at inference, those of a batch in training.
        variance: likewise.
        roundoff: as in `interval_layer`.

    Returns:
        The box.

    Raises:
        ValueError: if the layer normalises another axis than the last.
    """
    check_batch_normalisation(layer, len(box.lower.shape))
    scale = ops.rsqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * _weight(layer.gamma, [box])
    offsets = [-mean * scale]
    if layer.center:
        offsets.append(_weight(layer.beta, [box]))
    return _scaled(box, scale, offsets, roundoff)


def _scaled(box: Box, scale: Any, offsets: list[Any], roundoff: float) -> Box:
    absolute_scale = ops.abs(scale)
    return affine_image(
        box,
        lambda x: x * scale,
        lambda x: x * absolute_scale,
        sum(offsets),
        sum(map(ops.abs, offsets)),
        AFFINE_TERMS,
        roundoff,
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
    return _activated(layer, image)


def _linear(inputs: list[Box], product: Callable[[Any], Any], terms: int, roundoff: float) -> Box:
    """Of a map without negative weights."""
    (box,) = inputs
    return affine_image(box, product, product, 0.0, 0.0, terms, roundoff)


def _activated(layer: Any, box: Box) -> Box:
    return box.ascended(ops.relu) if layer.activation is keras.activations.relu else box


def _weight(values: Any, inputs: list[Box]) -> Any:
    return ops.cast(ops.convert_to_tensor(values), inputs[0].lower.dtype)
