"""A clip that attacks see through."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("clustr_tf")
class Saturation(keras.layers.Layer):
    """Values clipped to [0, 1], exactly; its gradient is that of the identity.

    The gradient of a clip is 0 beyond either end, where a larger step may well matter: attacks and
    training with attacks would not see it, and a network would look more robust than it is. The
    identity's says in which direction to go.

    Input and output shape: `[batch, ...]`, finite values.

    Example:
        >>> Saturation()([-1.0, 0.25, 3.0])  # [0., 0.25, 1.]

    Reference:
        Athalye et al., arXiv 1802.00420, section 4.1.1 (straight-through estimators for attacks).
    """

    def call(self, values: Any) -> Any:
        # The difference is exactly 0: it carries the gradient alone.
        return ops.stop_gradient(ops.clip(values, 0, 1)) + (values - ops.stop_gradient(values))

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape
