"""Certified radius of the soft classifier (argmax of the class log-scores)."""

from typing import Any

from keras import ops

from clustr_tf.certify.l2.clusters import (
    ClusterGeometry,
    checked_inputs,
    cluster_gaps,
    crossing_distances,
    largest,
    machine_epsilon,
    own_centroids,
    smallest_of_others,
)
from clustr_tf.layers.clustering_head import (
    by_class,
    class_log_scores,
    of_own_class,
    takes_all,
)
from clustr_tf.layers.distances import squared_distances


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

    The rounding of the scores is subtracted, at z and at any point in the radius.

    WARNING: the radius holds for l2 changes only, for these centroids and this variance, and only
    if `lipschitz` is a proved upper bound for the map from the changed quantity to embeddings. It
    is computed in the dtype of the inputs: its last digit, in float32 with more than 262,144
    numbers in the centroids its last four, are not proved.

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
    every = takes_all(nearest, centroids.shape[0])
    gaps = None if every else cluster_gaps(centroids, clusters_per_class)
    geometry = ClusterGeometry(centroids, clusters_per_class, gaps)
    distances = squared_distances(embeddings, centroids)
    predicted, radius = soft_score_margin(distances, geometry, variance, nearest)
    return predicted, radius / lipschitz


def soft_score_margin(
    distances: Any, geometry: ClusterGeometry, variance: Any, nearest: int | None
) -> tuple[Any, Any]:
    """`soft_score_radius` in embedding space, of distances that are known already.

    Args:
        distances: squared distances to the centroids, `[batch, C*K]`.
        geometry: of the clusters, same dtype.
        variance: sigma^2 > 0, scalar tensor, same dtype.
        nearest: L; None, or C*K and more, for all clusters.

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0.
    """
    centroids, gaps = geometry.centroids, geometry.gaps
    clusters_per_class = geometry.clusters_per_class
    log_scores = class_log_scores(distances, variance, clusters_per_class, nearest)
    predicted = largest(log_scores)
    per_square = (centroids.shape[1] + 12 * clusters_per_class + 32) * machine_epsilon(distances)
    if takes_all(nearest, centroids.shape[0]):
        margins, weights = _margins_and_weights(distances, variance, predicted, clusters_per_class)
        if gaps is None:
            slopes = _slopes(weights, centroids, predicted)
            slopes += _mean_rounding(centroids, predicted, clusters_per_class)
        else:
            slopes = _slopes_from_gaps(weights, gaps, predicted, centroids.shape[1])
        rounding = per_square * _squares_in_reach(distances, margins, slopes, variance)
        radius = smallest_of_others(crossing_distances(margins - rounding, slopes), predicted)
    else:
        margins = _outranking_margins(distances, variance, predicted, clusters_per_class)
        slopes = ops.take(_largest_by_class(gaps, clusters_per_class), predicted, axis=0)
        rounding = per_square * _squares_in_reach(distances, margins, slopes, variance)
        radii = smallest_of_others(crossing_distances(margins - rounding, slopes), predicted)
        radius = ops.max(radii, axis=1)
    return ops.cast(predicted, "int64"), ops.maximum(radius, 0)


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
    margins, weights = _margins_and_weights(distances, variance, labels, clusters_per_class)
    radii = crossing_distances(margins, _slopes(weights, centroids, labels))
    classes = ops.arange(radii.shape[1], dtype=labels.dtype)
    return ops.where(ops.equal(classes, ops.expand_dims(labels, 1)), 0, radii)


def _margins_and_weights(
    distances: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> tuple[Any, Any]:
    """sigma^2 m_k of every class k `[batch, C]`, and softmax_A(a) `[batch, K]`."""
    scores = class_log_scores(distances, variance, clusters_per_class)
    exponents = -of_own_class(distances, predicted, clusters_per_class) / (2 * variance)
    # Keras warns of a softmax over the one cluster of a class.
    weights = ops.exp(exponents - ops.max(exponents, axis=1, keepdims=True))
    weights /= ops.sum(weights, axis=1, keepdims=True)
    return variance * (of_own_class(scores, predicted, 1) - scores), weights


def _slopes(weights: Any, centroids: Any, predicted: Any) -> Any:
    """max_{j in B_k} |mubar - mu_j| of every class k, `[batch, C]`."""
    clusters_per_class = weights.shape[1]
    own = own_centroids(centroids, predicted, clusters_per_class)
    mean = ops.sum(ops.expand_dims(weights, 2) * own, axis=1)
    return _root(_largest_by_class(squared_distances(mean, centroids), clusters_per_class))


def _slopes_from_gaps(weights: Any, gaps: Any, predicted: Any, dim: int) -> Any:
    """Upper bounds of `_slopes` from the gaps g between centroids alone.

    For weights w that sum to 1, |mubar - mu_j|^2 = sum_i w_i g_ij^2 - sum_ik w_i w_k g_ik^2 / 2.
    As g_ik^2 <= 2 g_ij^2 + 2 g_kj^2, both terms and their rounding are at most a few times
    sum_i w_i g_ij^2, of which dim + K + 12 roundoffs a term and 2 (K + 2) for the weights' own sum
    are added.
    """
    clusters_per_class = weights.shape[1]
    squared = ops.square(ops.take(gaps, predicted, axis=0))
    to_any = ops.sum(ops.expand_dims(weights, 2) * squared, axis=1)
    own = ops.reshape(predicted, (-1, 1, 1, 1))
    among = ops.take_along_axis(by_class(squared, clusters_per_class), own, axis=2)[:, :, 0]
    spread = ops.sum(weights * ops.sum(among * ops.expand_dims(weights, 1), axis=2), axis=1) / 2
    rounding = (2 * dim + 8 * clusters_per_class + 40) * machine_epsilon(gaps)
    upper = ops.maximum(to_any - ops.expand_dims(spread, 1), 0) + rounding * to_any
    return _root(_largest_by_class(upper, clusters_per_class))


def _outranking_margins(
    distances: Any, variance: Any, predicted: Any, clusters_per_class: int
) -> Any:
    """sigma^2 (a_i - LSE_{B_k} a) of every own cluster i and class k, `[batch, K, C]`."""
    scores = class_log_scores(distances, variance, clusters_per_class)
    exponents = -of_own_class(distances, predicted, clusters_per_class) / (2 * variance)
    return variance * (ops.expand_dims(exponents, 2) - ops.expand_dims(scores, 1))


def _squares_in_reach(distances: Any, margins: Any, slopes: Any, variance: Any) -> Any:
    """What the rounding of a margin sigma^2 (score - score) is a multiple of; like the margins.

    In unit roundoffs, D the largest squared distance of the image: an exponent -D / (2 sigma^2)
    errs by (dim + 4) D / 2, a logsumexp over K of them by D + (5 K + 12) sigma^2 more, a margin
    of two by twice as much. At a point in the radius r the class is again decided by computed
    scores, with D' <= 2 D + 2 r^2. Weights that belong to slightly other exponents make a tangent
    that is lower by their relative entropy, at most (dim + 4) D + (K + 8) sigma^2. In all
    (dim + 6) (4 D + 2 r^2) + (21 K + 56) sigma^2, which (dim + 12 K + 32) machine epsilons of
    2 D + r^2 + sigma^2 exceed. r is at most the radius that rounding is not subtracted from.
    """
    farthest = ops.max(distances, axis=1)
    farthest = ops.reshape(farthest, (-1,) + (1,) * (len(margins.shape) - 1))
    reach = ops.maximum(crossing_distances(margins, slopes), 0)
    return 2 * farthest + ops.square(reach) + variance


def _mean_rounding(centroids: Any, predicted: Any, clusters_per_class: int) -> Any:
    """What the computed mean mubar of own centroids can be away from it, `[batch, 1]`."""
    own = own_centroids(centroids, predicted, clusters_per_class)
    longest = ops.sqrt(ops.max(ops.sum(ops.square(own), axis=2), axis=1, keepdims=True))
    return (clusters_per_class + 8) * machine_epsilon(centroids) * longest


def _largest_by_class(values: Any, clusters_per_class: int) -> Any:
    """The largest value of each class's clusters, `[..., C*K]` -> `[..., C]`."""
    return ops.max(by_class(values, clusters_per_class), axis=-1)


def _root(squared: Any) -> Any:
    """The square root; 0 has none with a gradient, and is never asked for one."""
    positive = squared > 0
    return ops.where(positive, ops.sqrt(ops.where(positive, squared, 1)), 0)
