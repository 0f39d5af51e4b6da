"""What a layer must be for anything to be proved about it."""

from collections.abc import Container
from typing import Any

import keras

# Batch normalisation and standardisation multiply and add once per value; their scale and shift
# take at most six float32 operations, a reciprocal square root of up to 2 ulp among them.
AFFINE_TERMS = 8


def check_type(layer: Any, known: Container[type], what: str) -> None:
    """Refuses types that nothing is known of; a subclass may compute something else.

    Args:
        layer: any layer.
        known: the exact types.
        what: is known of them, such as "a proved Lipschitz bound".

    Raises:
        ValueError: if the layer's type is none of them.
    """
    if type(layer) not in known:
        raise ValueError(
            f"layer {layer.name!r} must be of a type with {what}. Received: {type(layer).__name__}"
        )


def check_precision(layer: Any) -> None:
    """Refuses layers that compute in less than float32."""
    if layer.compute_dtype not in ("float32", "float64") or layer.quantization_mode:
        raise ValueError(
            f"layer {layer.name!r} must compute in float32 or float64 to have a proved bound. "
            f"Received: {layer.quantization_mode or layer.compute_dtype}"
        )


def check_activation(layer: Any) -> None:
    """Refuses activations other than linear and ReLU."""
    # The functions themselves: a name could be that of another function.
    if layer.activation not in (keras.activations.linear, keras.activations.relu):
        raise ValueError(
            f"layer {layer.name!r} must have the activation 'linear' or 'relu'. "
            f"Received: {keras.activations.serialize(layer.activation)!r}"
        )


def check_channels_last(layer: Any) -> None:
    """Refuses `channels_first`."""
    if layer.data_format != "channels_last":
        raise ValueError(
            f"layer {layer.name!r} must have the channels last. Received: {layer.data_format!r}"
        )


def check_relu(layer: Any) -> None:
    """Refuses leaky and shifted ReLUs; a `max_value` is fine."""
    if layer.negative_slope or layer.threshold:
        raise ValueError(
            f"layer {layer.name!r} must be a ReLU with slope and threshold 0. Received: "
            f"negative_slope={layer.negative_slope}, threshold={layer.threshold}"
        )


def check_convolution(layer: Any) -> None:
    """Refuses dilated and grouped convolutions, and what the checks above refuse."""
    check_activation(layer)
    check_channels_last(layer)
    if set(layer.dilation_rate) != {1} or layer.groups != 1:
        raise ValueError(
            f"layer {layer.name!r} must have dilation 1 and one group to have a proved bound. "
            f"Received: dilation_rate={layer.dilation_rate}, groups={layer.groups}"
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
