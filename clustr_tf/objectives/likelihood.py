"""How likely an embedding is under the clusters of its class."""

import tensorflow as tf

from clustr_tf.distances import squared_distances
from clustr_tf.layers import ClusteringHead
from clustr_tf.objectives.objective import StepLosses


def with_likelihood(
    losses: StepLosses,
    weight: float,
    head: ClusteringHead,
    embeddings: tf.Tensor,
    labels: tf.Tensor,
) -> StepLosses:
    """Losses plus the weighted `nearest_cluster_nll`; as they are where the weight is 0.

    Args:
        losses: of the batch.
        weight: of the likelihood, at least 0.
        head: as for `nearest_cluster_nll`; of any kind where the weight is 0.
        embeddings: likewise.
        labels: likewise.

    Returns:
        The losses.

    Example:
        >>> losses = with_likelihood(losses, 0.003, classifier.head, embeddings, labels)
    """
    if not weight:
        return losses
    return losses.plus("likelihood", weight, nearest_cluster_nll(head, embeddings, labels))


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
    by_class = tf.reshape(distances, [-1, head.num_classes, head.clusters_per_class])
    own = tf.reduce_min(tf.gather(by_class, labels, batch_dims=1), axis=-1)
    return own / (2 * tf.convert_to_tensor(head.variance))
