"""Embeddings that cannot run away: the projection onto the unit ball."""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("clustr_tf")
class UnitBall(keras.layers.Layer):
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

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return input_shape


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
