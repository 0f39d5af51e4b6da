"""The clustering head: log-scores of the classes from distances to centroids."""

from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.layers.distances import squared_distances

# A class without a cluster among the L nearest keeps its log-score over all of its clusters,
# lowered by this much: exp(-1000) is 0 even in float64, so probabilities are those of the paper,
# while order and gradients survive. A constant floor would hide such classes from an attack.
UNRANKED_GAP = 1000.0


@keras.saving.register_keras_serializable("clustr_tf")
class ClusteringHead(keras.layers.Layer):
    """Class log-scores from the distances of an embedding to every cluster's centroid.

    With a_j = -|z - mu_j|^2 / (2 sigma^2), the log-score of a class is the logsumexp of a_j over
    those of its clusters that are among the `nearest` nearest of all clusters. The exponential of
    the log-scores gives the published scores and their softmax the published probabilities; as
    logits the log-scores keep the gradient that the published exp-scores lose by underflow.

    Cluster j belongs to class `j // clusters_per_class`. A class without a cluster among the
    nearest ones gets a finite log-score below every class that has one (see `UNRANKED_GAP`).

    Args:
        num_classes: number of classes C, at least 2.
        clusters_per_class: clusters per class K, at least 1.
        nearest: L, how many nearest clusters take part, 1 to C*K; None for all.
        normalize: False ignores `nearest`, as the published code does.
        learned: whether gradients train the centroids.
        **kwargs: as in `keras.layers.Layer`.

    Input shape: `[batch, dim]` embeddings. Output shape: `[batch, num_classes]` log-scores.

    Raises:
        ValueError: if an argument is outside the ranges above.

    Example:
        >>> head = ClusteringHead(num_classes=2, clusters_per_class=1)
        >>> head.set_clusters([[0.0, 0.0], [2.0, 0.0]], variance=0.5)
        >>> head([[0.0, 0.0]])  # [[0., -4.]]

    Reference:
        Alfarra et al., arXiv 2006.07682, equation 2; Rippel et al., arXiv 1511.05939, equation 6.
    """

    def __init__(
        self,
        num_classes: int,
        clusters_per_class: int,
        nearest: int | None = None,
        normalize: bool = True,
        learned: bool = False,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        num_clusters = num_classes * clusters_per_class
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2. Received: {num_classes}")
        if clusters_per_class < 1:
            raise ValueError(
                f"clusters_per_class must be at least 1. Received: {clusters_per_class}"
            )
        if nearest is not None and not 1 <= nearest <= num_clusters:
            raise ValueError(
                f"nearest must be None or from 1 to num_classes * clusters_per_class = "
                f"{num_clusters}. Received: {nearest}"
            )
        self.num_classes = num_classes
        self.clusters_per_class = clusters_per_class
        self.nearest = nearest
        self.normalize = normalize
        self._learned = learned

    @property
    def learned(self) -> bool:
        """Whether gradients train the centroids; a training method sets it."""
        return self._learned

    @learned.setter
    def learned(self, value: bool) -> None:
        self._learned = value
        if self.built:
            self.centroids.trainable = value

    @property
    def has_clusters(self) -> bool:
        """Whether the centroids are others than the zeros of a new layer."""
        return self.built and bool(np.any(ops.convert_to_numpy(self.centroids)))

    @property
    def num_clusters(self) -> int:
        """Number of clusters, C*K."""
        return self.num_classes * self.clusters_per_class

    @property
    def ranked_clusters(self) -> int | None:
        """L as `class_log_scores` takes it: None for all clusters."""
        return self.nearest if self.normalize else None

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        self.centroids = self.add_weight(
            name="centroids",
            shape=(self.num_clusters, input_shape[-1]),
            initializer="zeros",
            trainable=self.learned,
        )
        self.variance = self.add_weight(
            name="variance", shape=(), initializer="ones", trainable=False
        )
        super().build(input_shape)

    def set_clusters(self, centroids: Any, variance: Any) -> None:
        """Replaces the clusters, building the layer for their dimension if need be.

        Args:
            centroids: `[C*K, dim]`, ordered by class; finite.
            variance: scalar sigma^2 > 0, finite.

        Raises:
            ValueError: if shape or values are not those above; the old clusters then stay.

        Example:
            >>> head.set_clusters([[0.0, 0.0], [2.0, 0.0]], variance=0.5)
        """
        centroids, variance = np.asarray(centroids), np.asarray(variance)
        if centroids.ndim != 2 or centroids.shape[0] != self.num_clusters:
            raise ValueError(
                f"centroids must have shape [{self.num_clusters}, dim]. "
                f"Received: shape {centroids.shape}"
            )
        if not np.isfinite(centroids).all():
            raise ValueError("centroids must be finite. Received: NaN or infinity among them")
        if variance.shape != () or not (np.isfinite(variance) and variance > 0):
            raise ValueError(f"variance must be one finite number above 0. Received: {variance}")
        if not self.built:
            self.build((None, centroids.shape[1]))
        self.centroids.assign(centroids)
        self.variance.assign(variance)

    def call(self, embeddings: Any) -> Any:
        return marked_log_scores(self.log_scores(embeddings, self.nearest))

    def log_scores(self, embeddings: Any, nearest: int | None) -> Any:
        """Log-scores with another L than the layer's own, as the published training has.

        Args:
            embeddings: `[batch, dim]`.
            nearest: L; None for all clusters. Ignored where `normalize` is off.

        Returns:
            `[batch, C]`.
        """
        return class_log_scores(
            squared_distances(embeddings, ops.cast(self.centroids, embeddings.dtype)),
            ops.cast(self.variance, embeddings.dtype),
            self.clusters_per_class,
            nearest if self.normalize else None,
        )

    def compute_output_shape(self, input_shape: tuple[int | None, ...]) -> tuple[int | None, ...]:
        return (input_shape[0], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "clusters_per_class": self.clusters_per_class,
            "nearest": self.nearest,
            "normalize": self.normalize,
            "learned": self.learned,
        }


# The attribute that marks log-scores; Keras marks masked tensors by one in the same way.
_MARK = "_clustr_tf_log_scores"


def marked_log_scores(scores: Any) -> Any:
    """The same tensor, marked as log-scores of classes, so that losses on embeddings refuse it.

    The mark is seen in eager code and while a graph is traced. What other operations make of the
    tensor has none.

    Args:
        scores: `[batch, C]` tensor.

    Returns:
        The very tensor.

    Example:
        >>> are_log_scores(marked_log_scores(scores))  # True
    """
    setattr(scores, _MARK, True)
    return scores


def are_log_scores(values: Any) -> bool:
    """Whether these are marked by `marked_log_scores`.

    Args:
        values: anything.

    Returns:
        True for the outputs of a `ClusteringHead` and of a `Classifier`.

    Example:
        >>> are_log_scores(head(embeddings))  # True
    """
    return getattr(values, _MARK, False)


def class_log_scores(
    distances: Any, variance: Any, clusters_per_class: int, nearest: int | None = None
) -> Any:
    """Class log-scores from squared distances: the one place where scores are defined.

    Args:
        distances: squared distances `[batch, C*K]`.
        variance: scalar sigma^2 of the same dtype.
        clusters_per_class: K.
        nearest: L; None, or C*K and more, for all clusters. Ties at the L-th place all take part.

    Returns:
        `[batch, C]` log-scores, finite.

    Example:
        >>> class_log_scores([[0.0, 4.0]], 0.5, clusters_per_class=1)  # [[0., -4.]]
    """
    distances = ops.convert_to_tensor(distances)
    exponents = -distances / (2 * variance)
    scores = ops.logsumexp(by_class(exponents, clusters_per_class), axis=-1)
    if takes_all(nearest, distances.shape[1]):
        return scores
    threshold = ops.top_k(exponents, nearest)[0][:, -1:]
    among_nearest = exponents >= threshold
    lowered = ops.where(among_nearest, exponents, exponents - 2 * UNRANKED_GAP)
    ranked = ops.logsumexp(by_class(lowered, clusters_per_class), axis=-1)
    has_rank = ops.any(by_class(among_nearest, clusters_per_class), axis=-1)
    return ops.where(has_rank, ranked, scores - UNRANKED_GAP)


def takes_all(nearest: int | None, num_clusters: int) -> bool:
    """Whether the L nearest of C*K clusters are all of them; None is all."""
    return nearest is None or nearest >= num_clusters


def by_class(values: Any, clusters_per_class: int) -> Any:
    """Sorts the values of clusters by class.

    Args:
        values: `[..., C*K]`; only the first dimension may be unknown.
        clusters_per_class: K.

    Returns:
        `[..., C, K]`; the number of classes stays known where the batch is not.

    Example:
        >>> by_class([[1.0, 2.0, 3.0, 4.0]], clusters_per_class=2)  # [[[1., 2.], [3., 4.]]]
    """
    values = ops.convert_to_tensor(values)
    classes = values.shape[-1] // clusters_per_class
    return ops.reshape(values, (-1, *values.shape[1:-1], classes, clusters_per_class))


def of_own_class(values: Any, predicted: Any, clusters_per_class: int) -> Any:
    """The entries of the predicted class's clusters, `[batch, C*K]` -> `[batch, K]`."""
    own = ops.reshape(predicted, (-1, 1, 1))
    return ops.take_along_axis(by_class(values, clusters_per_class), own, axis=1)[:, 0]
