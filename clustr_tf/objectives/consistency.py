"""How far the answers for an image and for its adversarial companion lie apart."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf


class Consistency(NamedTuple):
    """A measure of inconsistency.

    Attributes:
        on_embeddings: whether it compares embeddings; else it compares log-scores.
        loss: `(labels, logits)` -> `[batch]`: the answers for the images, those for their
            companions. The signature is that of the attacks' losses, so that the adversary ascends
            what training descends.
    """

    on_embeddings: bool
    loss: Callable[..., tf.Tensor]


def soft_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy from the clean to the companion's probabilities.

    Args:
        labels: `[batch, classes]`, log-scores of the images; their softmax is the target.
        logits: `[batch, classes]`, log-scores of the companions.

    Returns:
        `[batch]`.

    Example:
        >>> soft_cross_entropy(tf.zeros([1, 2]), tf.zeros([1, 2]))  # [0.693]
    """
    return -tf.reduce_sum(tf.nn.softmax(labels) * tf.nn.log_softmax(logits), axis=1)


def kl_divergence(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Kullback-Leibler divergence of the companion's from the clean probabilities.

    Args:
        labels: `[batch, classes]`, log-scores of the images.
        logits: `[batch, classes]`, log-scores of the companions.

    Returns:
        `[batch]`, sums over the classes; at least 0 up to rounding.

    Example:
        >>> kl_divergence(tf.zeros([1, 2]), tf.zeros([1, 2]))  # [0.]

    Reference:
        Zhang et al., "TRADES", arXiv 1901.08573, equation 5.
    """
    return soft_cross_entropy(labels, logits) - soft_cross_entropy(labels, labels)


def mean_squared_error(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Mean squared difference; on embeddings it grows with their scale, which training is free in.

    Args:
        labels: `[batch, dim]`.
        logits: `[batch, dim]`.

    Returns:
        `[batch]`.

    Example:
        >>> mean_squared_error(tf.zeros([1, 2]), tf.ones([1, 2]))  # [1.]
    """
    return tf.reduce_mean(tf.square(labels - logits), axis=1)


CONSISTENCIES: dict[str, Consistency] = {
    "cross_entropy": Consistency(False, soft_cross_entropy),
    "kl": Consistency(False, kl_divergence),
    "mse": Consistency(True, mean_squared_error),
}
