"""The magnet loss on a neighbourhood of clusters."""

from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.layers.clustering_head import are_log_scores


def magnet_loss(
    embeddings: Any, classes: Any, clusters: Any, *, alpha: float = 12.5, epsilon: float = 0.0
) -> Any:
    """Magnet loss of every example of one neighbourhood (a batch of a few clusters).

    With m_n the batch mean of example n's cluster and s2 the batch variance,

        loss_n = relu(alpha + |z_n - m_n|^2 / (2 s2) + logsumexp_j(-|z_n - m_j|^2 / (2 s2)))

    where j runs over the batch's clusters of other classes. Gradients flow through the means and
    through s2. The loss is invariant to the scale and the origin of the embeddings.

    Args:
        embeddings: `[batch, dim]`, floating.
        classes: int `[batch]`, the class of each example.
        clusters: int `[batch]`, the cluster of each example (any ids; a cluster has one class).
        alpha: separation gap that the loss asks for between clusters of different classes.
        epsilon: 0 for the log-domain form above. A positive value gives the arithmetic of the
            published code, `relu(-log(num / (den + epsilon) + epsilon))`, whose 1e-8 caps the
            loss at 18.42 and stops the gradient of the examples beyond.

    Returns:
        `[batch]` losses, 0 for examples without a cluster of another class in the batch.

    Example:
        >>> magnet_loss([[0.0], [2.0], [10.0], [12.0]], [0, 0, 1, 1], [0, 0, 1, 1], alpha=30.0)

    Reference:
        Rippel et al., arXiv 1511.05939, equation 4; Alfarra et al., arXiv 2006.07682, section 3.
    """
    embeddings = ops.convert_to_tensor(embeddings)
    same_class = _equal_pairs(classes)
    same_cluster = ops.cast(_equal_pairs(clusters), embeddings.dtype)
    cluster_size = ops.sum(same_cluster, axis=1)
    # The common origin cancels in every distance; without it the expanded form below is accurate.
    embeddings = embeddings - ops.mean(embeddings, axis=0, keepdims=True)
    means = ops.matmul(same_cluster, embeddings) / ops.expand_dims(cluster_size, 1)
    to_own = ops.sum(ops.square(embeddings - means), axis=1)
    variance = _batch_variance(to_own)

    own = _over_twice(to_own, variance)
    to_others = _over_twice(_squared_distances(embeddings, means), variance)
    if epsilon:
        # Each cluster stands in the sum once per member, hence the division by its size.
        terms = ops.exp(-to_others) / cluster_size
        denominator = ops.sum(ops.where(same_class, ops.zeros_like(terms), terms), axis=1)
        numerator = ops.exp(-own - alpha)
        return ops.relu(-ops.log(numerator / (denominator + epsilon) + epsilon))
    exponents = -to_others - ops.log(cluster_size)
    excluded = ops.full_like(exponents, -float(_limits(embeddings).max) / 8)
    exponents = ops.where(same_class, excluded, exponents)
    return ops.relu(alpha + own + ops.logsumexp(exponents, axis=1))


@keras.saving.register_keras_serializable("clustr_tf")
class MagnetLoss(keras.losses.Loss):
    """Magnet loss on a neighbourhood: pulls clusters together, pushes other classes away.

    Formula: see `magnet_loss`. `y_true` is int `[batch, 2]` = (class, cluster), `y_pred` the
    embeddings `[batch, dim]`; `call` gives `[batch]`, calling the loss itself gives their mean.

    Args:
        alpha: separation gap, >= 0. The paper uses 12.5 for CIFAR-10.
        epsilon: >= 0; 1e-8 reproduces the published arithmetic with its cap and dead gradients.
        reduction: as in `keras.losses.Loss`; the default is the mean.
        name: name of the loss.
        dtype: dtype of the computation.

    Raises:
        ValueError: if `alpha` or `epsilon` is negative, the shapes are not those above, or `y_pred`
            are the log-scores of a `ClusteringHead` or a `Classifier`, whose clusters cannot form.

    Example:
        >>> loss = MagnetLoss(alpha=12.5)
        >>> loss([[0, 0], [0, 0], [1, 2], [1, 2]], [[0.0], [2.0], [10.0], [12.0]])
        >>> classifier.embedder.compile("adam", loss=loss)  # fit it on images, (class, cluster)

    Reference:
        Rippel et al., arXiv 1511.05939; Alfarra et al., arXiv 2006.07682.
    """

    def __init__(
        self,
        alpha: float = 12.5,
        epsilon: float = 0.0,
        reduction: str = "sum_over_batch_size",
        name: str = "magnet_loss",
        dtype: Any = None,
    ):
        super().__init__(name=name, reduction=reduction, dtype=dtype)
        if not alpha >= 0:
            raise ValueError(f"alpha must be at least 0. Received: alpha={alpha}")
        if not 0 <= epsilon < 1:
            raise ValueError(f"epsilon must be in [0, 1). Received: epsilon={epsilon}")
        self.alpha = alpha
        self.epsilon = epsilon

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        _refuse_log_scores(y_pred)  # before the cast to the loss's dtype, which loses the mark
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        _check(y_true, y_pred)
        return magnet_loss(
            y_pred, y_true[:, 0], y_true[:, 1], alpha=self.alpha, epsilon=self.epsilon
        )

    @staticmethod
    def variance_of(y_true: Any, y_pred: Any) -> Any:
        """The batch's variance s2: mean squared distance to the own cluster's batch mean.

        Args:
            y_true: int `[batch, 2]` = (class, cluster).
            y_pred: embeddings `[batch, dim]`.

        Returns:
            Scalar, `sum_n |z_n - m_n|^2 / (batch - 1)`.

        Example:
            >>> MagnetLoss.variance_of([[0, 0], [0, 0]], [[0.0], [2.0]])  # (1 + 1) / 1 = 2
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        _check(y_true, y_pred)
        same_cluster = ops.cast(_equal_pairs(y_true[:, 1]), y_pred.dtype)
        means = ops.matmul(same_cluster, y_pred) / ops.sum(same_cluster, axis=1, keepdims=True)
        return _batch_variance(ops.sum(ops.square(y_pred - means), axis=1))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "alpha": self.alpha, "epsilon": self.epsilon}


def _refuse_log_scores(y_pred: Any) -> None:
    if are_log_scores(y_pred):
        raise ValueError(
            "y_pred must be embeddings [batch, dim], such as a Classifier's embedder gives. "
            "Received: log-scores of the classes"
        )


def _check(y_true: Any, y_pred: Any) -> None:
    _refuse_log_scores(y_pred)
    true_shape, pred_shape = tuple(y_true.shape), tuple(y_pred.shape)
    if len(true_shape) != 2 or true_shape[1] != 2 or len(pred_shape) != 2:
        raise ValueError(
            "MagnetLoss expects y_true int [batch, 2] = (class, cluster) and y_pred [batch, dim]. "
            f"Received: y_true of shape {true_shape}, y_pred of shape {pred_shape}"
        )


def _equal_pairs(ids: Any) -> Any:
    ids = ops.convert_to_tensor(ids)
    return ops.equal(ops.expand_dims(ids, 1), ops.expand_dims(ids, 0))


def _batch_variance(to_own: Any) -> Any:
    batch = ops.cast(ops.shape(to_own)[0], to_own.dtype)
    return ops.sum(to_own) / ops.maximum(batch - 1, 1)


def _squared_distances(points: Any, means: Any) -> Any:
    """All pairs through one matrix product: `[batch, batch, dim]` would not fit for a ResNet."""
    squared = (
        ops.sum(ops.square(points), axis=1, keepdims=True)
        - 2 * ops.matmul(points, ops.transpose(means))
        + ops.expand_dims(ops.sum(ops.square(means), axis=1), 0)
    )
    return ops.relu(squared)


def _over_twice(squared_distances: Any, variance: Any) -> Any:
    """`squared_distances / (2 variance)`, finite even when a collapsed batch has variance 0."""
    limits = _limits(squared_distances)
    ratio = squared_distances / ops.maximum(2 * variance, float(limits.tiny))
    return ops.minimum(ratio, float(limits.max) / 8)


def _limits(x: Any) -> np.finfo:
    return np.finfo(keras.backend.standardize_dtype(x.dtype))
