"""A dense layer with an orthogonal matrix."""

from typing import Any

import keras
from keras import ops

from clustr_tf.layers.lipschitz_weights import cayley


@keras.saving.register_keras_serializable("clustr_tf")
class OrthogonalDense(keras.layers.Layer):
    """x Q + b with orthonormal columns of Q, or rows if there are fewer: 1-Lipschitz in l2.

    Q is the Cayley transform of the weights: an isometry if the output is as wide as the input,
    else a projection on as many directions. It is computed in float64, whose rounding does not
    grow with the weights to more than float32 can say, and rounded once.

    WARNING: 1-Lipschitz in real arithmetic. The rounding of float32 may exceed it by some 1e-7,
    that of bfloat16 and TensorFloat-32 by a few 1e-3; certificates rest on a float64 copy
    (`plain_network`).

    Args:
        units: width of the output.
        **kwargs: as in `keras.layers.Layer`.

    Input shape: `[batch, features]`. Output shape: `[batch, units]`.

    Raises:
        ValueError: if `units` is not positive.

    Example:
        >>> OrthogonalDense(128)(features).shape  # (batch, 128)

    Reference:
        Trockman and Kolter, arXiv 2104.07167.
    """

    def __init__(self, units: int, **kwargs: Any):
        super().__init__(**kwargs)
        if units < 1:
            raise ValueError(f"units must be at least 1. Received: {units}")
        self.units = units

    def build(self, input_shape: tuple[int, ...]) -> None:
        features = input_shape[-1]
        # The transform of such entries is far from the identity and well conditioned.
        spread = max(features, self.units) ** -0.5
        self.kernel = self.add_weight(
            name="kernel",
            shape=(features, self.units),
            initializer=keras.initializers.RandomNormal(stddev=spread),
            autocast=False,
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros")
        super().build(input_shape)

    def call(self, features: Any) -> Any:
        matrix = cayley(ops.cast(self.kernel, "float64"))
        return ops.matmul(features, ops.cast(matrix, features.dtype)) + self.bias

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (*input_shape[:-1], self.units)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "units": self.units}
