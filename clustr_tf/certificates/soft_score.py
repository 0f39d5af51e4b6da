"""Certified radius of the soft classifier (argmax of the class log-scores)."""

from typing import Any

import numpy as np
from keras import ops

from clustr_tf.distances import squared_distances
from clustr_tf.layers.clustering_head import class_log_scores


def soft_score_radius(
    embeddings: Any,
    centroids: Any,
    variance: Any,
    clusters_per_class: int,
    nearest: int | None = None,
    lipschitz: float = 1.0,
) -> tuple[Any, Any]:
    """Class of the highest log-score and an l2 radius in which it provably stays.

    With a_j = -|z - mu_j|^2 / (2 sigma^2) the |z|^2 terms cancel in every difference: the a_j are
    linear in z up to a common term. c is the predicted class, A its clusters, B_k those of
    another class k, m_k = LSE_A a - LSE_{B_k} a.

    All clusters take part: the tangent of the convex LSE_A at z gives
        radius = min_k sigma^2 m_k / max_{j in B_k} |mubar - mu_j|,  mubar = softmax_A(a) . mu_A.
    Only the L nearest take part (scores may jump): for any i in A
        radius = max_i min_k sigma^2 (a_i - LSE_{B_k} a) / max_{j in B_k} |mu_i - mu_j|,
    inside which cluster i outranks every other class's clusters together, hence is among the L
    nearest (or only own clusters are) and its class wins.

    WARNING: the radius holds for l2 changes only, and only if `lipschitz` is a proved upper bound
    for the map from the changed quantity to embeddings.

    Args:
        embeddings: `[batch, dim]`, floating.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        variance: sigma^2 > 0, scalar.
        clusters_per_class: K.
        nearest: L, None for all clusters.
        lipschitz: Lipschitz bound; 1 gives radii in embedding space.

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0 of the embeddings' dtype; 0 where
        nothing is proved.

    Raises:
        ValueError: if clusters_per_class, nearest or lipschitz are not as above.

    Example:
        >>> soft_score_radius([[1.0]], [[0.0], [4.0]], 1.0, clusters_per_class=1)  # [0], [1.]

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 (K = 1); the rest: docs.
    """
    embeddings, centroids = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(centroids)
    count = centroids.shape[0]
    _check(count, clusters_per_class, nearest, lipschitz)
    ranked = None if nearest is None or nearest >= count else nearest
    variance = ops.cast(variance, embeddings.dtype)
    distances = squared_distances(embeddings, centroids)
    predicted = ops.argmax(
        class_log_scores(distances, variance, clusters_per_class, ranked), axis=1
    )
    find = _tangent_radius if ranked is None else _outranking_radius
    radius = find(distances, centroids, variance, predicted, clusters_per_class)
    return ops.cast(predicted, "int64"), ops.maximum(radius, 0) / lipschitz


def _check(count: int, clusters_per_class: int, nearest: int | None, lipschitz: float) -> None:
    if clusters_per_class < 1 or count % clusters_per_class or count < 2 * clusters_per_class:
        raise ValueError(
            f"clusters_per_class must divide the {count} centroids into at least 2 classes. "
            f"Received: {clusters_per_class}"
        )
    if nearest is not None and nearest < 1:
        raise ValueError(f"nearest must be None or at least 1. Received: {nearest}")
    if not 0 < lipschitz < np.inf:
        raise ValueError(f"lipschitz must be above 0 and finite. Received: {lipschitz}")


def _tangent_radius(
    distances: Any, centroids: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> Any:
    exponents = -distances / (2 * variance)
    scores = class_log_scores(distances, variance, clusters_per_class)
    own = _own_clusters(predicted, clusters_per_class)
    weights = ops.softmax(ops.take_along_axis(exponents, own, axis=1), axis=1)
    own_centroids = ops.take(centroids, own, axis=0)
    mean = ops.sum(ops.expand_dims(weights, 2) * own_centroids, axis=1)
    gaps = ops.sqrt(_largest_by_class(squared_distances(mean, centroids), clusters_per_class))
    own_score = ops.take_along_axis(scores, ops.expand_dims(predicted, 1), axis=1)
    return ops.min(_over_others(variance * (own_score - scores), gaps, predicted), axis=1)


def _outranking_radius(
    distances: Any, centroids: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> Any:
    exponents = -distances / (2 * variance)
    scores = class_log_scores(distances, variance, clusters_per_class)
    largest = _largest_by_class(squared_distances(centroids, centroids), clusters_per_class)
    radius = ops.zeros_like(distances[:, 0])
    own = _own_clusters(predicted, clusters_per_class)
    for position in range(clusters_per_class):
        cluster = own[:, position : position + 1]
        margins = variance * (ops.take_along_axis(exponents, cluster, axis=1) - scores)
        gaps = ops.sqrt(ops.take(largest, cluster[:, 0], axis=0))
        radius = ops.maximum(radius, ops.min(_over_others(margins, gaps, predicted), axis=1))
    return radius


def _own_clusters(predicted: Any, clusters_per_class: int) -> Any:
    """Ids of the predicted class's clusters, `[batch, K]`."""
    first = ops.expand_dims(predicted, 1) * clusters_per_class
    return first + ops.arange(clusters_per_class, dtype=predicted.dtype)


def _largest_by_class(squared: Any, clusters_per_class: int) -> Any:
    """The largest squared distance to each class's clusters, `[rows, C*K]` -> `[rows, C]`."""
    by_class = ops.reshape(squared, (ops.shape(squared)[0], -1, clusters_per_class))
    return ops.max(by_class, axis=2)


def _over_others(margins: Any, gaps: Any, predicted: Any) -> Any:
    """`margins / gaps` for every other class, infinite for the predicted one, `[batch, C]`.

    A gap of 0 leaves the margin unchanged whatever z does: no limit if it is positive, no proof
    if it is not.
    """
    positive = gaps > 0
    ratio = margins / ops.where(positive, gaps, 1)
    unlimited = ops.where(margins > 0, np.inf, 0)
    ratio = ops.where(positive, ratio, ops.cast(unlimited, ratio.dtype))
    classes = ops.arange(margins.shape[1], dtype=predicted.dtype)
    is_own = ops.equal(classes, ops.expand_dims(predicted, 1))
    return ops.where(is_own, np.inf, ratio)
