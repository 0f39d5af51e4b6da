"""An activation that preserves norms."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("clustr_tf")
class MaxMin(keras.layers.Layer):
    """The larger and the smaller of every pair of channels: exact, and it preserves norms.

    Channel i is paired with channel i + n/2.

    Input and output shape: `[batch, ..., channels]`, an even number of channels.

    Raises:
        ValueError: if the number of channels is odd.

    Example:
        >>> MaxMin()([[1.0, 2.0, 3.0, 0.0]])  # [[3., 2., 1., 0.]]

    Reference:
        Anil et al., arXiv 1811.05381, section 4 (GroupSort with groups of 2).
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        channels = input_shape[-1]
        if channels is None or channels % 2:
            raise ValueError(f"MaxMin needs an even number of channels. Received: {channels}")
        super().build(input_shape)

    def call(self, values: Any) -> Any:
        first, second = ops.split(values, 2, axis=-1)
        return ops.concatenate([ops.maximum(first, second), ops.minimum(first, second)], axis=-1)

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
