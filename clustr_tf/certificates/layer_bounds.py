"""Proved l2 gains of single layers, with what is needed to bound float32 rounding.

Every bound is an upper bound with a proof, computed in float64 from the layer's weights. A layer
without one raises: nothing is assumed to be 1.
"""

import math
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import keras
import numpy as np
from keras import layers

# Singular values from LAPACK are backward stable: their relative error is a small multiple of the
# dimension times 2^-53, far below this for any matrix met here.
_SVD_SLACK = 1 + 1e-9

_EXACT_LAYERS = (
    layers.Activation,
    layers.Dropout,
    layers.Flatten,
    layers.MaxPooling2D,
    layers.ReLU,
    layers.Reshape,
    layers.ZeroPadding2D,
)


@dataclass(frozen=True)
class LayerBound:
    """Bounds of one layer, an affine map or one that is 1-Lipschitz and exact in float32.

    Attributes:
        gain: Lipschitz constant at most this, in l2.
        absolute_gain: l2 norm of the map with the absolute values of its weights, at most this;
            0 for layers that do not round.
        terms: how many products an output sums up, plus the roundings of the weights themselves.
        offset: l2 norm of the output for input 0, at most this.
    """

    gain: float
    absolute_gain: float = 0.0
    terms: int = 0
    offset: float = 0.0


@singledispatch
def layer_bound(layer: keras.layers.Layer) -> LayerBound:
    """The bounds of a layer; register further layer types with `@layer_bound.register`.

    WARNING: they hold for inference with float32 weights, for these very weights, and not for
    training mode.

    Args:
        layer: built, used once in its model (its input shape must be known).

    Returns:
        The bounds.

    Raises:
        ValueError: if no proved bound is known for the layer or for its options.

    Example:
        >>> layer_bound(keras.layers.ReLU()).gain  # 1.0
    """
    raise ValueError(
        f"layer {layer.name!r} must be of a type with a proved Lipschitz bound. "
        f"Received: {type(layer).__name__}"
    )


def rounds(layer: keras.layers.Layer) -> bool:
    """Whether a layer can round in float32; the bounds of one that cannot have no terms."""
    return not isinstance(layer, _EXACT_LAYERS)


@layer_bound.register(layers.Flatten)
@layer_bound.register(layers.Reshape)
@layer_bound.register(layers.ReLU)
@layer_bound.register(layers.Dropout)
@layer_bound.register(layers.ZeroPadding2D)
def _exact(layer: keras.layers.Layer) -> LayerBound:
    """Rearrangements are isometries; |relu(a) - relu(b)| <= |a - b|; none of them rounds."""
    if isinstance(layer, layers.ReLU) and (layer.negative_slope or layer.threshold):
        raise ValueError(
            f"layer {layer.name!r} must be a plain ReLU: slope and threshold 0. Received: "
            f"negative_slope={layer.negative_slope}, threshold={layer.threshold}"
        )
    return LayerBound(gain=1.0)


@layer_bound.register(layers.Activation)
def _activation(layer: layers.Activation) -> LayerBound:
    _check_activation(layer, allowed=("linear", "relu"))
    return LayerBound(gain=1.0)


@layer_bound.register(layers.Dense)
def _dense(layer: layers.Dense) -> LayerBound:
    """The largest singular value of the kernel."""
    _check_activation(layer, allowed=("linear", "relu"))
    kernel = _float64(layer.kernel)
    return LayerBound(
        gain=_spectral_norm(kernel),
        absolute_gain=_spectral_norm(np.abs(kernel)),
        terms=kernel.shape[0],
        offset=float(np.linalg.norm(_float64(layer.bias))) if layer.use_bias else 0.0,
    )


@layer_bound.register(layers.Conv2D)
def _convolution(layer: layers.Conv2D) -> LayerBound:
    """The norm of the circular convolution on a torus that contains the padded image.

    Proof. Pad the image with zeros to a torus of size N >= H + k - 1 (a multiple of the stride).
    There no window of the real convolution wraps around, so that its outputs are some of the
    outputs of the circular convolution, for whichever padding: input and output are restricted,
    and a restriction of a linear map has at most its norm. The circular convolution with stride s
    is block-diagonalised by the discrete Fourier transform over the (N/s)^2 coarse positions once
    the input is split into its s^2 phases: its norm is the largest singular value of any of the
    [out, in * s^2] blocks (Sedghi et al., arXiv 1805.10408, for s = 1).
    """
    _check_activation(layer, allowed=("linear", "relu"))
    if set(layer.dilation_rate) != {1} or layer.groups != 1:
        raise ValueError(
            f"layer {layer.name!r} must have dilation 1 and one group to have a proved bound. "
            f"Received: dilation_rate={layer.dilation_rate}, groups={layer.groups}"
        )
    kernel = _float64(layer.kernel)
    input_size, output_size = layer.input.shape[1:3], layer.output.shape[1:3]
    positions = math.prod(output_size)
    bias = float(np.linalg.norm(_float64(layer.bias))) if layer.use_bias else 0.0
    return LayerBound(
        gain=convolution_norm(kernel, layer.strides, input_size),
        absolute_gain=_absolute_convolution_norm(kernel, layer.strides, input_size),
        terms=math.prod(kernel.shape[:3]),
        offset=math.sqrt(positions) * bias,
    )


@layer_bound.register(layers.BatchNormalization)
def _batch_normalisation(layer: layers.BatchNormalization) -> LayerBound:
    """With frozen statistics a diagonal map: the largest |gamma| / sqrt(variance + epsilon)."""
    if layer.axis not in (-1, len(layer.input.shape) - 1):
        raise ValueError(
            f"layer {layer.name!r} must normalise the last axis. Received: axis={layer.axis}"
        )
    scale = 1 / np.sqrt(_float64(layer.moving_variance) + layer.epsilon)
    if layer.scale:
        scale = scale * _float64(layer.gamma)
    mean = _float64(layer.moving_mean)
    beta = _float64(layer.beta) if layer.center else np.zeros_like(mean)
    positions = math.prod(layer.input.shape[1:-1])
    gain = float(np.max(np.abs(scale)))
    # The offset bounds every order of evaluation: (x - mean) * scale + beta or fused.
    offset = math.sqrt(positions) * float(np.linalg.norm(np.abs(mean * scale) + np.abs(beta)))
    # Scale and shift are themselves computed in float32: about eight roundings.
    return LayerBound(gain=gain, absolute_gain=gain, terms=8, offset=offset)


@layer_bound.register(layers.Normalization)
def _standardisation(layer: layers.Normalization) -> LayerBound:
    """(x - mean) / std: 1 / min std."""
    std = np.maximum(np.sqrt(_float64(layer.variance)), keras.backend.epsilon())
    mean = _float64(layer.mean)
    shape = layer.output.shape[1:]
    offset = float(np.linalg.norm(np.broadcast_to(mean / std, (1, *shape))))
    gain = float(1 / np.min(std))
    return LayerBound(gain=gain, absolute_gain=gain, terms=8, offset=offset)


@layer_bound.register(layers.MaxPooling2D)
def _max_pooling(layer: layers.MaxPooling2D) -> LayerBound:
    """The square root of how many windows an input can be in.

    Proof: |max a - max b|^2 <= max |a - b|^2 <= the sum over the window; summed over all windows
    each input counts as often as it is in a window.
    """
    return LayerBound(gain=math.sqrt(_windows_per_input(layer)))


@layer_bound.register(layers.AveragePooling2D)
def _average_pooling(layer: layers.AveragePooling2D) -> LayerBound:
    """Schur's test: norm^2 <= (largest row sum) (largest column sum) of the absolute matrix.

    With "valid" padding a row has k^2 entries of 1/k^2: sum 1. A column sums to (windows per
    input) / k^2. Zero padding is refused, as the number of averaged pixels then varies.
    """
    if layer.padding != "valid":
        raise ValueError(
            f'layer {layer.name!r} must have padding="valid". Received: {layer.padding!r}'
        )
    area = math.prod(layer.pool_size)
    gain = math.sqrt(_windows_per_input(layer) / area)
    return LayerBound(gain=gain, absolute_gain=gain, terms=area + 1)


@layer_bound.register(layers.GlobalAveragePooling2D)
def _global_average_pooling(layer: layers.GlobalAveragePooling2D) -> LayerBound:
    """One row of n entries 1/n for each channel: norm 1 / sqrt(n), exactly."""
    positions = math.prod(layer.input.shape[1:3])
    gain = 1 / math.sqrt(positions)
    return LayerBound(gain=gain, absolute_gain=gain, terms=positions + 1)


def convolution_norm(
    kernel: np.ndarray, strides: tuple[int, int], input_size: tuple[int, int]
) -> float:
    """Upper bound of the l2 norm of a zero-padded strided convolution; see `_convolution`.

    Args:
        kernel: `[height, width, in, out]`.
        strides: of rows and columns.
        input_size: (height, width) of the unpadded input.

    Returns:
        The largest singular value of the circular convolution on the containing torus.

    Example:
        >>> convolution_norm(np.ones((1, 1, 1, 1)), (1, 1), (8, 8))  # 1.0
    """
    phases = _phases_on_torus(kernel, strides, input_size)
    # A real kernel: frequencies come in conjugate pairs with the same singular values.
    blocks = np.fft.rfft2(phases, axes=(0, 1))
    return max(_spectral_norm(row) for row in blocks)


def _absolute_convolution_norm(
    kernel: np.ndarray, strides: tuple[int, int], input_size: tuple[int, int]
) -> float:
    """`convolution_norm` of the absolute values: no frequency exceeds the zero frequency's norm.

    Every block is entrywise at most the one at frequency 0 in absolute value, and the norm grows
    with the entries of non-negative matrices.
    """
    return _spectral_norm(_phases_on_torus(np.abs(kernel), strides, input_size).sum(axis=(0, 1)))


def _phases_on_torus(
    kernel: np.ndarray, strides: tuple[int, int], input_size: tuple[int, int]
) -> np.ndarray:
    """The kernel on the smallest torus that contains the padded image, split by phase.

    Returns:
        `[coarse rows, coarse columns, in * stride^2, out]`.
    """
    rows, columns, inputs, outputs = kernel.shape
    coarse = [
        math.ceil((size + taps - 1) / stride)
        for size, taps, stride in zip(input_size, (rows, columns), strides, strict=True)
    ]
    on_torus = np.zeros((coarse[0] * strides[0], coarse[1] * strides[1], inputs, outputs))
    on_torus[:rows, :columns] = kernel
    phases = on_torus.reshape(coarse[0], strides[0], coarse[1], strides[1], inputs, outputs)
    return phases.transpose(0, 2, 1, 3, 4, 5).reshape(*coarse, -1, outputs)


def _windows_per_input(layer: Any) -> int:
    """How many pooling windows an input can be in: ceil(k / s) in each direction."""
    return math.prod(
        math.ceil(size / stride)
        for size, stride in zip(layer.pool_size, layer.strides, strict=True)
    )


def _check_activation(layer: Any, allowed: tuple[str, ...]) -> None:
    name = keras.activations.serialize(layer.activation)
    if name not in allowed:
        raise ValueError(
            f"layer {layer.name!r} must have an activation out of {list(allowed)}. "
            f"Received: {name!r}"
        )


def _float64(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value).astype(np.float64)


def _spectral_norm(matrices: np.ndarray) -> float:
    """The largest singular value of any of the matrices `[..., rows, columns]`."""
    return float(np.linalg.svd(matrices, compute_uv=False).max()) * _SVD_SLACK
