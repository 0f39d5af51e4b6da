"""An almost-orthogonal 1-Lipschitz convolution."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from clustr_tf.layers.lipschitz_weights import aol_kernel, centred_isometry


@keras.saving.register_keras_serializable("clustr_tf")
class AOLConv2D(keras.layers.Layer):
    """Convolution with a rescaled kernel: 1-Lipschitz in l2, whatever its weights.

    The kernel is rescaled in float32 also under mixed precision, by input channels or, if those are
    fewer, by output channels (`aol_kernel`).

    WARNING: 1-Lipschitz in real arithmetic. The rounding of float32 may exceed it by a few 1e-7,
    that of bfloat16 and TensorFloat-32 by a few 1e-3; certificates rest on a float64 copy
    (`plain_network`).

    Args:
        filters: channels out.
        kernel_size: height and width, one number or two.
        strides: of rows and columns, one number or two, at most the kernel's size.
        padding: "same" (zeros) or "valid".
        use_bias: whether a bias is added.
        **kwargs: as in `keras.layers.Layer`.

    Input shape: `[batch, H, W, channels]`. Output shape: as of `keras.layers.Conv2D`.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> AOLConv2D(16, 3)(images).shape  # (batch, H, W, 16)

    Reference:
        Prach and Lampert, arXiv 2208.03160.
    """

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "same",
        use_bias: bool = True,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = _pair(kernel_size)
        self.strides = _pair(strides)
        self.padding = padding
        self.use_bias = use_bias
        if filters < 1:
            raise ValueError(f"filters must be at least 1. Received: {filters}")
        if padding not in ("same", "valid"):
            raise ValueError(f"padding must be 'same' or 'valid'. Received: {padding!r}")
        if not all(1 <= s <= size for s, size in zip(self.strides, self.kernel_size, strict=True)):
            raise ValueError(
                f"strides must be from 1 to the kernel's size {self.kernel_size}. "
                f"Received: {self.strides}"
            )

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, input_shape[-1], self.filters),
            initializer=lambda shape, dtype: ops.cast(centred_isometry(shape, self.strides), dtype),
            autocast=False,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")
        super().build(input_shape)

    def call(self, images: Any) -> Any:
        kernel = ops.cast(
            aol_kernel(ops.convert_to_tensor(self.kernel), self.strides), images.dtype
        )
        outputs = ops.conv(images, kernel, self.strides, self.padding, "channels_last")
        return outputs + self.bias if self.use_bias else outputs

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (
            input_shape[0],
            *(
                None if size is None else -(-(size - lost) // stride)
                for size, lost, stride in zip(
                    input_shape[1:3], self._lost(), self.strides, strict=True
                )
            ),
            self.filters,
        )

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
        }

    def _lost(self) -> tuple[int, ...]:
        """Positions at which no whole window begins."""
        return tuple(0 if self.padding == "same" else size - 1 for size in self.kernel_size)


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    first, second = (value, value) if isinstance(value, int) else value
    return int(first), int(second)
