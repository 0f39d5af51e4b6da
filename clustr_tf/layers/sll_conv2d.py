"""A 1-Lipschitz residual convolution."""

from typing import Any

import keras
from keras import ops

from clustr_tf.layers.lipschitz_weights import centred_isometry, sll_diagonal


@keras.saving.register_keras_serializable("clustr_tf")
class SLLConv2D(keras.layers.Layer):
    """x - 2 W T^-1 relu(W^T x + b): 1-Lipschitz in l2, whatever its weights.

    W^T is a convolution with zero padding, stride 1, W its exact transpose and T >= W^T W a
    diagonal in closed form. With S the slopes of ReLU between two points, in [0, 1], the layer
    changes by I - 2 B S B^T, B = W T^(-1/2), whose eigenvalues lie in [-1, 1] as B B^T <= I.
    T is computed in float32 also under mixed precision.

    WARNING: 1-Lipschitz in real arithmetic. The rounding of float32 may exceed it by a few 1e-7,
    that of bfloat16 and TensorFloat-32 by a few 1e-3; certificates rest on a float64 copy
    (`plain_network`).

    Args:
        kernel_size: height and width, odd.
        inner: inner channels; None for as many as the input has.
        **kwargs: as in `keras.layers.Layer`.

    Input and output shape: `[batch, H, W, channels]`.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> SLLConv2D(3)(images).shape  # that of the images

    Reference:
        Araujo et al., arXiv 2303.03169, theorem 2.
    """

    def __init__(self, kernel_size: int, inner: int | None = None, **kwargs: Any):
        super().__init__(**kwargs)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive. Received: {kernel_size}")
        if inner is not None and inner < 1:
            raise ValueError(f"inner must be None or at least 1. Received: {inner}")
        self.kernel_size = kernel_size
        self.inner = inner

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        inner = self.inner or channels
        self.kernel = self.add_weight(
            name="kernel",
            shape=(self.kernel_size, self.kernel_size, channels, inner),
            initializer=lambda shape, dtype: ops.cast(centred_isometry(shape), dtype),
            autocast=False,
        )
        self.logits = self.add_weight(
            name="logits", shape=(inner,), initializer="zeros", autocast=False
        )
        self.bias = self.add_weight(name="bias", shape=(inner,), initializer="zeros")
        super().build(input_shape)

    def factors(self) -> Any:
        """2 T^-1, `[inner]`; 0 for inner channels without weights."""
        kernel, logits = map(ops.convert_to_tensor, (self.kernel, self.logits))
        return sll_factors(kernel, logits)

    def call(self, images: Any) -> Any:
        factors = ops.cast(self.factors(), images.dtype)
        kernel = ops.cast(self.kernel, images.dtype)
        return residual(images, kernel, self.bias, factors)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "inner": self.inner,
        }


@keras.saving.register_keras_serializable("clustr_tf")
class ScaledResidualConv2D(keras.layers.Layer):
    """x - W diag(factors) relu(W^T x + b) with weights as they are: what `SLLConv2D` amounts to.

    WARNING: 1-Lipschitz only for the right factors; `layer_bound` computes the bound.

    Args:
        kernel_size: height and width, odd.
        inner: inner channels.
        **kwargs: as in `keras.layers.Layer`.

    Input and output shape: `[batch, H, W, channels]`.

    Example:
        >>> ScaledResidualConv2D(3, 16)(images).shape  # that of the images
    """

    def __init__(self, kernel_size: int, inner: int, **kwargs: Any):
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.inner = inner

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        shape = (self.kernel_size, self.kernel_size, input_shape[-1], self.inner)
        self.kernel = self.add_weight(name="kernel", shape=shape)
        self.bias = self.add_weight(name="bias", shape=(self.inner,), initializer="zeros")
        self.factors = self.add_weight(name="factors", shape=(self.inner,), initializer="zeros")
        super().build(input_shape)

    def call(self, images: Any) -> Any:
        return residual(images, ops.convert_to_tensor(self.kernel), self.bias, self.factors)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "kernel_size": self.kernel_size,
            "inner": self.inner,
        }


def sll_factors(kernel: Any, logits: Any) -> Any:
    """2 T^-1 of a kernel `[height, width, channels, inner]` and logits `[inner]`: `[inner]`.

    0 for inner channels without weights, which contribute nothing.
    """
    diagonal = sll_diagonal(kernel, logits)
    positive = diagonal > 0
    return ops.where(positive, 2 / ops.where(positive, diagonal, 1), 0)


def residual(images: Any, kernel: Any, bias: Any, factors: Any) -> Any:
    """The images less W diag(factors) relu(W^T x + b).

    Args:
        images: `[batch, H, W, channels]`.
        kernel: of W^T, `[height, width, channels, inner]`, height and width odd.
        bias: `[inner]`.
        factors: `[inner]`.

    Returns:
        `[batch, H, W, channels]`.
    """
    inner = ops.relu(ops.conv(images, kernel, 1, "same", "channels_last") + bias)
    return images - ops.conv_transpose(inner * factors, kernel, 1, "same", None, "channels_last")
