"""Certified radius of the nearest-cluster classifier."""

from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.certificates.clusters import (
    checked_inputs,
    of_own_class,
    smallest_of_others,
    squared_gaps,
)
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
    of the predicted class and j any cluster of another class:

    - "nearest": min_j d_ij for the nearest cluster i alone; for K = 1 the paper's theorem.
    - "pairwise": min_j max_{i in A} d_ij. To be closer to j than to every i in A, z must cross
      every bisector (i, j).
    - "exact": min_j of the distance to the intersection of the half-spaces
      {z': |z' - mu_j| <= |z' - mu_i|, i in A}; tight in embedding space.

    They never decrease in this order. The time of "exact" doubles with each cluster of a class.

    WARNING: the radius holds for this classifier (not for the soft scores), for l2 changes and only
    if `lipschitz` is a proved upper bound for the map from the changed quantity to embeddings. It
    is computed in the dtype of the inputs: in float32 its last digits are not proved.

    Args:
        embeddings: `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        clusters_per_class: K; at most 8 for "exact".
        method: one of the three above.
        lipschitz: Lipschitz bound; 1 gives radii in embedding space.

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0, float64 if an input is.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> nearest_cluster_radius([[1.0]], [[0.0], [4.0]], clusters_per_class=1)  # [0], [1.]

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 ("nearest", K = 1).
    """
    embeddings, centroids = checked_inputs(embeddings, centroids, clusters_per_class, lipschitz)
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Received: {method!r}")
    if method == "exact" and clusters_per_class > _MOST_CLUSTERS_FOR_EXACT:
        raise ValueError(
            f'clusters_per_class must be at most {_MOST_CLUSTERS_FOR_EXACT} for method="exact"; '
            f'use "pairwise". Received: {clusters_per_class}'
        )
    distances = squared_distances(embeddings, centroids)
    nearest = ops.argmin(distances, axis=1)
    predicted = nearest // clusters_per_class
    gaps = ops.sqrt(squared_gaps(centroids, clusters_per_class))
    bisectors = _bisector_distances(distances, gaps, predicted)
    if method == "nearest":
        row = ops.reshape(nearest % clusters_per_class, (-1, 1, 1))
        to_competitors = ops.take_along_axis(bisectors, row, axis=1)[:, 0]
    else:
        to_competitors = ops.max(bisectors, axis=1)
    if method == "exact":
        to_regions = _intersection_distances(bisectors, distances, centroids, gaps, predicted)
        to_competitors = ops.maximum(to_competitors, to_regions)
    by_class = ops.reshape(
        to_competitors, (-1, centroids.shape[0] // clusters_per_class, clusters_per_class)
    )
    radius = smallest_of_others(ops.min(by_class, axis=2), predicted)
    return ops.cast(predicted, "int64"), ops.maximum(radius, 0) / lipschitz


def _bisector_distances(distances: Any, gaps: Any, predicted: Any) -> Any:
    """Signed distances d_ij from z to the bisectors of the own clusters i and any cluster j.

    Centroids in one place have no bisector: a point is as far from one as from the other, and the
    distance counts as 0.

    Args:
        distances: squared distances to the centroids, `[batch, J]`.
        gaps: distances between the centroids, `[C, K, J]`.
        predicted: `[batch]`.

    Returns:
        `[batch, K, J]`.
    """
    gaps = ops.take(gaps, predicted, axis=0)
    to_own = ops.expand_dims(of_own_class(distances, predicted, gaps.shape[1]), 2)
    apart = gaps > 0
    differences = ops.expand_dims(distances, 1) - to_own
    return ops.where(apart, differences / (2 * ops.where(apart, gaps, 1)), 0)


def _intersection_distances(
    bisectors: Any, distances: Any, centroids: Any, gaps: Any, predicted: Any
) -> Any:
    """Distances to the regions that are closer to a competitor than to every own cluster.

    The region of competitor j is {z + x: u_i.x >= d_ij for all i in A}, u_i the unit normals.
    Any combination l >= 0 implies (sum_i l_i u_i).x >= l.d, hence |x| >= l.d / |sum_i l_i u_i|:
    the value is sound for whatever l, so that an inaccurate l can only make it smaller. By the
    Karush-Kuhn-Tucker conditions and Caratheodory's theorem the nearest point has an independent
    active set S with l = G_S^-1 d_S >= 0, G the Gram matrix of the normals: the largest value over
    all sets S is exact. Sets of one are the bisectors themselves.

    Args:
        bisectors: d_ij `[batch, K, J]`.
        distances: squared distances to the centroids, `[batch, J]`.
        centroids: `[J, dim]`.
        gaps: distances between the centroids, `[C, K, J]`.
        predicted: `[batch]`.

    Returns:
        `[batch, J]`, at least 0.
    """
    gram = _gram_matrices(centroids, gaps)
    clusters_per_class = gaps.shape[1]
    rounding = _gram_rounding(centroids)
    result = ops.zeros_like(distances)
    bisectors = ops.transpose(bisectors, (0, 2, 1))
    for size in range(2, clusters_per_class + 1):
        for subset in map(list, combinations(range(clusters_per_class), size)):
            of_classes = ops.take(ops.take(gram, subset, axis=2), subset, axis=3)
            # The shift exceeds the rounding of the Gram matrix: an inverse exists even for
            # dependent normals, whose set is never needed.
            shifted = of_classes + size * rounding * ops.eye(size, dtype=gram.dtype)
            inverse = ops.take(ops.inv(shifted), predicted, axis=0)
            to_bisectors = ops.take(bisectors, subset, axis=2)
            weights = ops.relu(ops.einsum("bjst,bjt->bjs", inverse, to_bisectors))
            own = ops.take(of_classes, predicted, axis=0)
            # Normals that nearly cancel must not make the divisor too small, the radius too large.
            squared_normal = ops.einsum("bjs,bjst,bjt->bj", weights, own, weights)
            squared_normal += rounding * ops.square(ops.sum(weights, axis=2))
            offset = ops.sum(weights * to_bisectors, axis=2)
            usable = (offset > 0) & (squared_normal > 0)
            found = ops.where(usable, offset / ops.sqrt(ops.where(usable, squared_normal, 1)), 0)
            result = ops.maximum(result, found)
    # The competitor's own centroid lies in its region.
    return ops.minimum(result, ops.sqrt(distances))


def _gram_matrices(centroids: Any, gaps: Any) -> Any:
    """Gram matrices of the unit normals (mu_j - mu_i) / |mu_j - mu_i|, i in a class.

    Args:
        centroids: `[J, dim]`.
        gaps: distances between the centroids, `[C, K, J]`.

    Returns:
        `[C, J, K, K]` for every class and competitor; a normal of length 0 stays 0.
    """
    grams = []
    for own, lengths in zip(ops.split(centroids, gaps.shape[0]), ops.unstack(gaps), strict=True):
        differences = ops.expand_dims(centroids, 0) - ops.expand_dims(own, 1)
        normals = differences / ops.expand_dims(ops.where(lengths > 0, lengths, 1), 2)
        grams.append(ops.einsum("ijd,kjd->jik", normals, normals))
    return ops.stack(grams)


def _gram_rounding(centroids: Any) -> float:
    """Upper bound of the rounding of a product of two unit normals."""
    epsilon = float(np.finfo(keras.backend.standardize_dtype(centroids.dtype)).eps)
    return (centroids.shape[1] + 8) * epsilon
