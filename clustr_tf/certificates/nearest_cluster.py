"""Certified radius of the nearest-cluster classifier."""

from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.distances import squared_distances

METHODS = ("nearest", "pairwise", "exact")
_MOST_CLUSTERS_FOR_EXACT = 8


def nearest_cluster_radius(
    embeddings: Any,
    centroids: Any,
    clusters_per_class: int,
    method: str = "exact",
    lipschitz: float = 1.0,
) -> tuple[Any, Any]:
    """Class of the nearest centroid and an l2 radius in which it provably stays.

    With d_ij the signed distance from z to the bisector of the centroids i and j, A the clusters
    of the predicted class and j any other cluster:

    - "nearest": min_j d_ij for the nearest cluster i alone; for K = 1 the paper's theorem.
    - "pairwise": min_j max_{i in A} d_ij. To be closer to j than to every i in A, z must cross
      every bisector (i, j).
    - "exact": min_j of the distance to the intersection of the half-spaces
      {z': |z' - mu_j| <= |z' - mu_i|, i in A}; tight in embedding space.

    They never decrease in this order.

    WARNING: the radius holds for this classifier (not for the soft scores), for l2 changes and only
    if `lipschitz` is a proved upper bound for the map from the changed quantity to embeddings.

    Args:
        embeddings: `[batch, dim]`, floating.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        clusters_per_class: K; "exact" takes at most 8, as it visits all subsets of a class.
        method: one of the three above.
        lipschitz: Lipschitz bound; 1 gives radii in embedding space.

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0 of the embeddings' dtype.

    Raises:
        ValueError: if method, clusters_per_class or lipschitz are not as above.

    Example:
        >>> nearest_cluster_radius([[1.0]], [[0.0], [4.0]], clusters_per_class=1)  # [0], [1.]

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 ("nearest", K = 1); the others: docs.
    """
    embeddings, centroids = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(centroids)
    _check(centroids.shape[0], clusters_per_class, method, lipschitz)
    distances = squared_distances(embeddings, centroids)
    nearest = ops.argmin(distances, axis=1)
    predicted = nearest // clusters_per_class
    between = squared_distances(centroids, centroids)
    if method == "nearest":
        own = ops.expand_dims(nearest, 1)
    else:
        own = ops.expand_dims(predicted, 1) * clusters_per_class + ops.arange(
            clusters_per_class, dtype=predicted.dtype
        )
    bisectors = _bisector_distances(distances, between, own)
    to_competitors = ops.max(bisectors, axis=1)
    if method == "exact":
        to_competitors = ops.maximum(
            to_competitors,
            _intersection_distances(bisectors, distances, between, predicted, clusters_per_class),
        )
    competitor_class = ops.arange(centroids.shape[0], dtype=predicted.dtype) // clusters_per_class
    is_own = ops.equal(competitor_class, ops.expand_dims(predicted, 1))
    to_competitors = ops.where(is_own, np.inf, to_competitors)
    radius = ops.maximum(ops.min(to_competitors, axis=1), 0) / lipschitz
    return ops.cast(predicted, "int64"), radius


def _check(num_clusters: int, clusters_per_class: int, method: str, lipschitz: float) -> None:
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Received: {method!r}")
    if clusters_per_class < 1 or num_clusters % clusters_per_class:
        raise ValueError(
            f"clusters_per_class must divide the {num_clusters} centroids. "
            f"Received: {clusters_per_class}"
        )
    if num_clusters < 2 * clusters_per_class:
        raise ValueError(
            f"centroids must belong to at least 2 classes. Received: {num_clusters} of one class"
        )
    if method == "exact" and clusters_per_class > _MOST_CLUSTERS_FOR_EXACT:
        raise ValueError(
            f'clusters_per_class must be at most {_MOST_CLUSTERS_FOR_EXACT} for method="exact"; '
            f'use "pairwise". Received: {clusters_per_class}'
        )
    if not 0 < lipschitz < np.inf:
        raise ValueError(f"lipschitz must be above 0 and finite. Received: {lipschitz}")


def _bisector_distances(distances: Any, between: Any, own: Any) -> Any:
    """Signed distances d_ij to the bisectors of own cluster i and any cluster j.

    Two centroids in one place have no bisector: the distance is then 0.

    Args:
        distances: squared distances to the centroids, `[batch, J]`.
        between: squared distances between the centroids, `[J, J]`.
        own: ids of the own clusters, `[batch, I]`.

    Returns:
        `[batch, I, J]`.
    """
    to_own = ops.take_along_axis(distances, own, axis=1)
    gaps = ops.sqrt(ops.take(between, own, axis=0))
    differences = ops.expand_dims(distances, 1) - ops.expand_dims(to_own, 2)
    apart = gaps > 0
    return ops.where(apart, differences / (2 * ops.where(apart, gaps, 1)), 0)


def _intersection_distances(
    bisectors: Any, distances: Any, between: Any, predicted: Any, clusters_per_class: int
) -> Any:
    """Distances to the regions that are closer to a competitor than to every own cluster.

    The region of competitor j is an intersection of |A| half-spaces with unit normals u_i and
    distances d_ij. Any combination l >= 0 of them implies the half-space at distance
    l.d / |sum_i l_i u_i|, which bounds the region's distance from below: a wrong l can only give
    a smaller radius. At the optimum l solves G_S l = d_S for the Gram matrix G_S of an independent
    active set S, so that the maximum over all sets S is exact.

    Args:
        bisectors: d_ij `[batch, K, J]`.
        distances: squared distances to the centroids, `[batch, J]`.
        between: squared distances between the centroids, `[J, J]`.
        predicted: `[batch]`.
        clusters_per_class: K.

    Returns:
        `[batch, J]`, at least 0.
    """
    # The competitor's own centroid lies in its region.
    nearest_possible = ops.sqrt(distances)
    gram = _gram_matrices(between, clusters_per_class)
    result = ops.zeros_like(distances)
    bisectors = ops.transpose(bisectors, (0, 2, 1))
    for size in range(2, clusters_per_class + 1):
        for subset in combinations(range(clusters_per_class), size):
            rows = list(subset)
            sub_gram = ops.take(ops.take(gram, rows, axis=2), rows, axis=3)
            inverse = ops.take(_regularised_inverse(sub_gram), predicted, axis=0)
            sub_gram = ops.take(sub_gram, predicted, axis=0)
            to_bisectors = ops.take(bisectors, rows, axis=2)
            weights = ops.relu(ops.einsum("bjst,bjt->bjs", inverse, to_bisectors))
            offset = ops.sum(weights * to_bisectors, axis=2)
            squared_normal = ops.einsum("bjs,bjst,bjt->bj", weights, sub_gram, weights)
            defined = (offset > 0) & (squared_normal > 0)
            normal = ops.sqrt(ops.where(defined, squared_normal, 1))
            found = ops.where(defined, offset / normal, 0)
            result = ops.maximum(result, ops.minimum(found, nearest_possible))
    return result


def _gram_matrices(between: Any, clusters_per_class: int) -> Any:
    """Gram matrices of the unit normals (mu_j - mu_i) / |mu_j - mu_i|, i in a class.

    By the polarisation identity they need the squared distances alone.

    Args:
        between: `[J, J]`.
        clusters_per_class: K.

    Returns:
        `[C, J, K, K]` for every class and competitor. A normal of length 0 counts as orthogonal to
        all others, which can only lower the distances computed from it.
    """
    count = between.shape[0]
    own = np.arange(count).reshape(-1, clusters_per_class)
    squared = ops.take(between, own, axis=0)  # [C, K, J]
    squared = ops.transpose(squared, (0, 2, 1))  # [C, J, K]
    within = ops.stack([ops.take(ops.take(between, i, axis=0), i, axis=1) for i in own])
    products = (
        ops.expand_dims(squared, 3) + ops.expand_dims(squared, 2) - ops.expand_dims(within, 1)
    ) / 2
    lengths = ops.sqrt(squared)
    scale = ops.expand_dims(lengths, 3) * ops.expand_dims(lengths, 2)
    identity = ops.eye(clusters_per_class, dtype=between.dtype)
    return ops.where(scale > 0, products / ops.where(scale > 0, scale, 1), identity)


def _regularised_inverse(gram: Any) -> Any:
    """Inverses that exist even where normals are parallel; such sets are never needed."""
    epsilon = float(np.finfo(keras.backend.standardize_dtype(gram.dtype)).eps)
    ridge = 16 * epsilon * ops.eye(gram.shape[-1], dtype=gram.dtype)
    return ops.inv(gram + ridge)
