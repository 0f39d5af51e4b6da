"""Layers without weights: max-min, saturation, projection onto the unit ball."""

from typing import Any

import keras
from keras import ops


class _SameShape(keras.layers.Layer):
    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


@keras.saving.register_keras_serializable("clustr_tf")
class MaxMin(_SameShape):
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


@keras.saving.register_keras_serializable("clustr_tf")
class Saturation(_SameShape):
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


@keras.saving.register_keras_serializable("clustr_tf")
class UnitBall(_SameShape):
    """x / max(1, |x|), the nearest point of the l2 unit ball.

    The log-scores of clusters share the term -|z|^2 / (2 sigma^2), which no comparison of classes
    sees: a network is free to let it fall until exp-scores underflow, and whoever attacks them is
    fooled by a gradient that is 0. Here |z| is at most 1 and it cannot fall. Beyond the ball, where
    the features of most networks are, this normalises. Unlike x / |x| it is 1-Lipschitz, as every
    projection onto a convex set, so that proofs pass through it.

    Input and output shape: `[batch, ..., dim]`, finite values.

    Example:
        >>> UnitBall()([[3.0, 4.0], [0.3, 0.4]])  # [[0.6, 0.8], [0.3, 0.4]]

    Reference:
        Pang et al., arXiv 2002.08619 (hypersphere embedding: normalised features in adversarial
        training of dense heads).
    """

    def call(self, embeddings: Any) -> Any:
        return embeddings / norm_beyond_unit(embeddings)


def norm_beyond_unit(points: Any) -> Any:
    """max(1, |x|), differentiable at 0: what `UnitBall` divides by.

    Args:
        points: `[batch, ..., dim]`.

    Returns:
        `[batch, ..., 1]`.

    Example:
        >>> norm_beyond_unit([[3.0, 4.0], [0.3, 0.4]])  # [[5.0], [1.0]]
    """
    squares = ops.sum(ops.square(points), axis=-1, keepdims=True)
    # The maximum before the root, whose gradient at 0 is infinite.
    return ops.sqrt(ops.maximum(squares, 1))
