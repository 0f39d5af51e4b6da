"""Losses on the scores of classes: of the labels, and between an image and its companion.

Each has the signature `(labels, logits)` -> `[batch]` that CleverHans' attacks expect, so that an
adversary can ascend what training descends.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from clustr_tf.layers import ClusteringHead
from clustr_tf.layers.clustering_head import of_own_class
from clustr_tf.layers.distances import squared_distances


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy. It saturates in float32 where logits are far apart.

    An attack that ascends it alone stands still there and makes such a network look robust.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.

    Returns:
        `[batch]`.

    Example:
        >>> cross_entropy(tf.constant([0]), tf.constant([[0.0, 0.0]]))  # [0.693]
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Share of rows whose largest logit is the label's.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.

    Returns:
        float32 scalar in [0, 1].

    Example:
        >>> accuracy(tf.constant([0, 0]), tf.constant([[3.0, 1.0], [1.0, 3.0]]))  # 0.5
    """
    right = tf.argmax(logits, axis=1, output_type=labels.dtype) == labels
    return tf.reduce_mean(tf.cast(right, tf.float32))


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


class Consistency(NamedTuple):
    """A measure of how far the answers for an image and for its companion lie apart.

    Attributes:
        on_embeddings: whether it compares embeddings; else it compares log-scores.
        loss: `(labels, logits)` -> `[batch]`: the answers for the images, those for their
            companions.
    """

    on_embeddings: bool
    loss: Callable[..., tf.Tensor]


CONSISTENCIES: dict[str, Consistency] = {
    "cross_entropy": Consistency(False, soft_cross_entropy),
    "kl": Consistency(False, kl_divergence),
    "mse": Consistency(True, mean_squared_error),
}


def nearest_cluster_nll(
    head: ClusteringHead, embeddings: tf.Tensor, labels: tf.Tensor
) -> tf.Tensor:
    """min_k |z - mu_yk|^2 / (2 sigma^2): minus the log-likelihood of the nearest, up to a constant.

    Log-scores of classes are compared with one another: cross-entropy does not mind all of them
    falling together, until their exponentials underflow. This minds.

    Args:
        head: with its clusters.
        embeddings: `[batch, dim]`.
        labels: int `[batch]`, the classes.

    Returns:
        float32 `[batch]`, at least 0.

    Example:
        >>> losses = nearest_cluster_nll(classifier.head, classifier.embed(images), labels)

    Reference:
        Wan et al., arXiv 1803.02988, section 3.2 (likelihood regularisation).
    """
    distances = squared_distances(tf.cast(embeddings, tf.float32), head.centroids)
    own = tf.reduce_min(of_own_class(distances, labels, head.clusters_per_class), axis=-1)
    return own / (2 * tf.convert_to_tensor(head.variance))
