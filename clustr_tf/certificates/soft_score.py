"""Certified radius of the soft classifier (argmax of the class log-scores)."""

from typing import Any

from keras import ops

from clustr_tf.certificates.clusters import (
    checked_inputs,
    of_own_class,
    smallest_of_others,
    squared_gaps,
)
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

    WARNING: the radius holds for l2 changes only, for these centroids and this variance, and only
    if `lipschitz` is a proved upper bound for the map from the changed quantity to embeddings. It
    is computed in the dtype of the inputs: in float32 its last digits are not proved.

    Args:
        embeddings: `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        variance: sigma^2 > 0, scalar.
        clusters_per_class: K.
        nearest: L; None, or C*K and more, for all clusters.
        lipschitz: Lipschitz bound; 1 gives radii in embedding space.

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0, float64 if an input is; 0 where
        nothing is proved.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> soft_score_radius([[1.0]], [[0.0], [4.0]], 1.0, clusters_per_class=1)  # [0], [1.]

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 (K = 1).
    """
    embeddings, centroids = checked_inputs(embeddings, centroids, clusters_per_class, lipschitz)
    if nearest is not None and nearest < 1:
        raise ValueError(f"nearest must be None or at least 1. Received: {nearest}")
    # Not ops.cast, which rounds a Python float to float32 on its way to float64.
    variance = ops.convert_to_tensor(variance, dtype=embeddings.dtype)
    if len(variance.shape):
        raise ValueError(f"variance must be a scalar. Received: shape {tuple(variance.shape)}")
    distances = squared_distances(embeddings, centroids)
    log_scores = class_log_scores(distances, variance, clusters_per_class, nearest)
    predicted = ops.argmax(log_scores, axis=1)
    if nearest is None or nearest >= centroids.shape[0]:
        radii = _tangent_radii(distances, centroids, variance, predicted, clusters_per_class)
        radius = smallest_of_others(radii, predicted)
    else:
        radius = _outranking_radius(distances, centroids, variance, predicted, clusters_per_class)
    return ops.cast(predicted, "int64"), ops.maximum(radius, 0) / lipschitz


def signed_class_radii(
    embeddings: Any, centroids: Any, variance: Any, clusters_per_class: int, labels: Any
) -> Any:
    """How far an embedding provably is from preferring each class to its label's: for training.

    The bounds whose minimum over the other classes is `soft_score_radius` with all clusters, for
    the label in place of the predicted class: positive where the label outscores the class, else
    negative. Differentiable.

    Args:
        embeddings: `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        variance: sigma^2 > 0, scalar.
        clusters_per_class: K.
        labels: int `[batch]`.

    Returns:
        `[batch, C]`, in units of the embedding; 0 for the label itself.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> signed_class_radii([[1.0]], [[0.0], [4.0]], 1.0, 1, [0])  # [[0., 1.]]
    """
    embeddings, centroids = checked_inputs(embeddings, centroids, clusters_per_class, 1.0)
    variance = ops.convert_to_tensor(variance, dtype=embeddings.dtype)
    distances = squared_distances(embeddings, centroids)
    labels = ops.convert_to_tensor(labels)
    radii = _tangent_radii(distances, centroids, variance, labels, clusters_per_class)
    classes = ops.arange(radii.shape[1], dtype=labels.dtype)
    return ops.where(ops.equal(classes, ops.expand_dims(labels, 1)), 0, radii)


def _tangent_radii(
    distances: Any, centroids: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> Any:
    """sigma^2 m_k / max_{j in B_k} |mubar - mu_j| of every class k, `[batch, C]`."""
    scores = class_log_scores(distances, variance, clusters_per_class)
    exponents = -of_own_class(distances, predicted, clusters_per_class) / (2 * variance)
    # Keras warns of a softmax over the one cluster of a class.
    weights = ops.exp(exponents - of_own_class(scores, predicted, 1))
    by_class = ops.reshape(centroids, (-1, clusters_per_class, centroids.shape[1]))
    mean = ops.sum(ops.expand_dims(weights, 2) * ops.take(by_class, predicted, axis=0), axis=1)
    gaps = _largest_by_class(squared_distances(mean, centroids), clusters_per_class)
    margins = variance * (of_own_class(scores, predicted, 1) - scores)
    return _crossing_distances(margins, gaps)


def _outranking_radius(
    distances: Any, centroids: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> Any:
    """max_{i in A} min_k sigma^2 (a_i - LSE_{B_k} a) / max_{j in B_k} |mu_i - mu_j|, `[batch]`."""
    scores = class_log_scores(distances, variance, clusters_per_class)
    exponents = -of_own_class(distances, predicted, clusters_per_class) / (2 * variance)
    gaps = _largest_by_class(squared_gaps(centroids, clusters_per_class), clusters_per_class)
    gaps = ops.take(gaps, predicted, axis=0)
    margins = variance * (ops.expand_dims(exponents, 2) - ops.expand_dims(scores, 1))
    return ops.max(smallest_of_others(_crossing_distances(margins, gaps), predicted), axis=1)


def _largest_by_class(squared: Any, clusters_per_class: int) -> Any:
    """The largest squared distance to each class's clusters, `[..., C*K]` -> `[..., C]`."""
    shape = (-1, *squared.shape[1:-1], squared.shape[-1] // clusters_per_class, clusters_per_class)
    return ops.max(ops.reshape(squared, shape), axis=-1)


def _crossing_distances(margins: Any, squared: Any) -> Any:
    """How far z can move before a margin is used up; 0 where the centroids coincide.

    The root of 0 has no gradient: it is never taken.
    """
    apart = squared > 0
    return ops.where(apart, margins / ops.sqrt(ops.where(apart, squared, 1)), 0)
