"""The geometry of clusters, and the certified radius of the nearest-cluster classifier."""

from dataclasses import dataclass
from itertools import combinations
from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.layers.clustering_head import by_class, of_own_class
from clustr_tf.layers.distances import squared_distances


def checked_inputs(
    embeddings: Any, centroids: Any, clusters_per_class: int, lipschitz: float
) -> tuple[Any, Any]:
    """Embeddings and centroids as tensors of one floating dtype, the wider of the two.

    Args:
        embeddings: `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        clusters_per_class: K.
        lipschitz: above 0 and finite.

    Returns:
        Both as tensors, float32 or float64.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> checked_inputs([[1.0]], [[0.0], [4.0]], clusters_per_class=1, lipschitz=1.0)
    """
    embeddings, centroids = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(centroids)
    if len(centroids.shape) != 2:
        raise ValueError(f"centroids must be [clusters, dim]. Received: shape {centroids.shape}")
    if len(embeddings.shape) != 2 or embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"embeddings must be [batch, {centroids.shape[1]}] like the centroids. "
            f"Received: shape {embeddings.shape}"
        )
    count = centroids.shape[0]
    if clusters_per_class < 1 or count % clusters_per_class or count < 2 * clusters_per_class:
        raise ValueError(
            f"clusters_per_class must divide the {count} centroids into at least 2 classes. "
            f"Received: {clusters_per_class}"
        )
    if not 0 < lipschitz < np.inf:
        raise ValueError(f"lipschitz must be above 0 and finite. Received: {lipschitz}")
    dtype = keras.backend.result_type(embeddings.dtype, centroids.dtype, "float32")
    return ops.cast(embeddings, dtype), ops.cast(centroids, dtype)


@dataclass(frozen=True)
class ActiveSet:
    """Some clusters of every class, as competitors see them: for the radius "exact".

    Attributes:
        members: which of a class's clusters, ascending.
        gram: Gram matrices of the unit normals to them, `[C, C*K, size, size]`.
        inverse: of the Gram matrices, `[C, C*K, size, size]`.
    """

    members: tuple[int, ...]
    gram: Any
    inverse: Any


@dataclass(frozen=True)
class ClusterGeometry:
    """What of the certificates depends on the clusters alone: computed once, not for every image.

    Attributes:
        centroids: `[C*K, dim]`.
        clusters_per_class: K.
        gaps: distances of each class's centroids to all, `[C, K, C*K]`; 0 where they coincide or
            are too close to tell how far apart they are. They may be None for soft scores of all
            clusters, where they save time.
        active_sets: those of two and more clusters; empty unless "exact" is asked for.
    """

    centroids: Any
    clusters_per_class: int
    gaps: Any
    active_sets: tuple[ActiveSet, ...] = ()


def cluster_gaps(centroids: Any, clusters_per_class: int) -> Any:
    """Distances from each class's centroids to all, `[C*K, dim]` -> `[C, K, C*K]`.

    Those whose squares could have lost digits to underflow count as 0. To take clusters for
    coinciding is always sound: their bisector then proves nothing.

    Class by class, as the coordinate differences of all pairs would take C*K times the memory of
    the centroids.
    """
    classes = centroids.shape[0] // clusters_per_class
    squared = ops.stack(
        [squared_distances(own, centroids) for own in ops.split(centroids, classes)]
    )
    dtype = np.finfo(keras.backend.standardize_dtype(centroids.dtype))
    return ops.sqrt(ops.where(squared > float(dtype.tiny / dtype.eps), squared, 0))


def machine_epsilon(values: Any) -> float:
    """Twice the unit roundoff of a tensor's dtype."""
    return float(np.finfo(keras.backend.standardize_dtype(values.dtype)).eps)


def own_centroids(centroids: Any, predicted: Any, clusters_per_class: int) -> Any:
    """The centroids of the predicted class, `[C*K, dim]` -> `[batch, K, dim]`."""
    grouped = ops.reshape(centroids, (-1, clusters_per_class, centroids.shape[1]))
    return ops.take(grouped, predicted, axis=0)


def largest(values: Any) -> Any:
    """Which entry is the largest, the first of several, `[batch, n]` -> int64 `[batch]`.

    Not ops.argmax, which tells -0 from 0 by looking at bits: several passes, and an operation
    that other engines lack.
    """
    return ops.cast(ops.top_k(values, 1)[1][:, 0], "int64")


def smallest_of_others(values: Any, predicted: Any) -> Any:
    """The smallest entry outside the predicted class, `[batch, ..., C]` -> `[batch, ...]`."""
    classes = ops.arange(values.shape[-1], dtype=predicted.dtype)
    own = ops.reshape(predicted, (-1,) + (1,) * (len(values.shape) - 1))
    return ops.min(ops.where(ops.equal(classes, own), np.inf, values), axis=-1)


METHODS = ("nearest", "pairwise", "exact")
MOST_CLUSTERS_FOR_EXACT = 8


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

    The rounding of the distances is subtracted, that of z and that of any point in the radius.

    WARNING: the radius holds for this classifier (not for the soft scores), for l2 changes, for
    these centroids and only if `lipschitz` is a proved upper bound for the map from the changed
    quantity to embeddings. It is computed in the dtype of the inputs: its last digit, in float32
    with more than 262,144 numbers in the centroids its last four, are not proved.

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
    geometry = cluster_geometry(centroids, clusters_per_class, method)
    predicted, radius = nearest_cluster_margin(
        squared_distances(embeddings, centroids), geometry, method
    )
    return predicted, radius / lipschitz


def cluster_geometry(
    centroids: Any, clusters_per_class: int, method: str = "pairwise"
) -> ClusterGeometry:
    """What a method needs to know of the clusters, whatever the images.

    Args:
        centroids: float tensor `[C*K, dim]`.
        clusters_per_class: K; at most 8 for "exact".
        method: "nearest", "pairwise" or "exact"; what "exact" needs serves the others too.

    Returns:
        The geometry, in the dtype of the centroids.

    Raises:
        ValueError: if the method is not one of them, or K too large for it.

    Example:
        >>> cluster_geometry(ops.convert_to_tensor([[0.0], [4.0]]), 1).gaps  # [[[0, 4]], [[4, 0]]]
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {list(METHODS)}. Received: {method!r}")
    if method == "exact" and clusters_per_class > MOST_CLUSTERS_FOR_EXACT:
        raise ValueError(
            f'clusters_per_class must be at most {MOST_CLUSTERS_FOR_EXACT} for method="exact"; '
            f'use "pairwise". Received: {clusters_per_class}'
        )
    gaps = cluster_gaps(centroids, clusters_per_class)
    active_sets = _active_sets(centroids, gaps) if method == "exact" else ()
    return ClusterGeometry(centroids, clusters_per_class, gaps, active_sets)


def nearest_cluster_margin(
    distances: Any, geometry: ClusterGeometry, method: str
) -> tuple[Any, Any]:
    """`nearest_cluster_radius` in embedding space, of distances that are known already.

    Args:
        distances: squared distances to the centroids, `[batch, C*K]`.
        geometry: `cluster_geometry` for this method or for "exact".
        method: "nearest", "pairwise" or "exact".

    Returns:
        Predicted class int64 `[batch]` and radius `[batch]` >= 0.
    """
    clusters_per_class = geometry.clusters_per_class
    nearest = largest(-distances)
    predicted = nearest // clusters_per_class
    bisectors = _bisector_distances(distances, geometry, predicted)
    if method == "nearest":
        row = ops.reshape(nearest % clusters_per_class, (-1, 1, 1))
        to_competitors = ops.take_along_axis(bisectors, row, axis=1)[:, 0]
    else:
        to_competitors = ops.max(bisectors, axis=1)
    if method == "exact":
        to_regions = _intersection_distances(bisectors, distances, geometry, predicted)
        to_competitors = ops.maximum(to_competitors, to_regions)
    to_classes = ops.min(by_class(to_competitors, clusters_per_class), axis=2)
    radius = smallest_of_others(to_classes, predicted)
    return predicted, ops.maximum(radius, 0)


def _bisector_distances(distances: Any, geometry: ClusterGeometry, predicted: Any) -> Any:
    """Lower bounds of the signed distances d_ij from z to the bisectors of own i and any j.

    With D the squared distances and g the gap, d_ij = (D_j - D_i) / (2 g). Computed D are off by
    at most gamma_{dim+2} D, whatever the order of summation: far from the centroids their
    difference cancels and may be all error. The same is true of a z' within the radius, whose
    class is decided by computed distances too. As d_ij <= (sqrt(D_i) + sqrt(D_j)) / 2 and a
    radius is at most sqrt(D_j), there D'_i + D'_j <= 6 (D_i + D_j). Hence 7 gamma (D_i + D_j) is
    to be subtracted from the difference; below it is 8 (dim + 8) roundoffs.

    Centroids in one place have no bisector: a point is as far from one as from the other, and the
    distance counts as 0.

    Args:
        distances: squared distances to the centroids, `[batch, J]`.
        geometry: with gaps `[C, K, J]`.
        predicted: `[batch]`.

    Returns:
        `[batch, K, J]`.

    Reference:
        Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1 (gamma).
    """
    gaps = ops.take(geometry.gaps, predicted, axis=0)
    to_own = ops.expand_dims(of_own_class(distances, predicted, gaps.shape[1]), 2)
    to_any = ops.expand_dims(distances, 1)
    rounding = 4 * (geometry.centroids.shape[1] + 8) * machine_epsilon(distances)
    differences = to_any - to_own - rounding * (to_any + to_own)
    return crossing_distances(differences, 2 * gaps)


def crossing_distances(margins: Any, slopes: Any) -> Any:
    """How far z can move before a margin is used up; 0 where the centroids coincide."""
    apart = slopes > 0
    return ops.where(apart, margins / ops.where(apart, slopes, 1), 0)


def _intersection_distances(
    bisectors: Any, distances: Any, geometry: ClusterGeometry, predicted: Any
) -> Any:
    """Distances to the regions that are closer to a competitor than to every own cluster.

    The region of competitor j is {z + x: u_i.x >= d_ij for all i in A}, u_i the unit normals.
    Any combination l >= 0 implies (sum_i l_i u_i).x >= l.d, hence |x| >= l.d / |sum_i l_i u_i|:
    the value is sound for whatever l, so that an inaccurate l can only make it smaller. By the
    Karush-Kuhn-Tucker conditions and Caratheodory's theorem the nearest point has an independent
    active set S with l = G_S^-1 d_S >= 0, G the Gram matrix of the normals: the largest value over
    all sets S is exact. Sets of one are the bisectors themselves.

    Args:
        bisectors: lower bounds of d_ij `[batch, K, J]`; a smaller d makes the value smaller.
        distances: squared distances to the centroids, `[batch, J]`.
        geometry: with the active sets.
        predicted: `[batch]`.

    Returns:
        `[batch, J]`, at least 0.
    """
    rounding = _gram_rounding(geometry.centroids)
    result = ops.zeros_like(distances)
    bisectors = ops.transpose(bisectors, (0, 2, 1))
    for active in geometry.active_sets:
        to_bisectors = ops.take(bisectors, list(active.members), axis=2)
        inverse = ops.take(active.inverse, predicted, axis=0)
        weights = ops.relu(ops.einsum("bjst,bjt->bjs", inverse, to_bisectors))
        own = ops.take(active.gram, predicted, axis=0)
        # Normals that nearly cancel must not make the divisor too small, the radius too large.
        squared_normal = ops.einsum("bjs,bjst,bjt->bj", weights, own, weights)
        squared_normal += rounding * ops.square(ops.sum(weights, axis=2))
        offset = _sum_from_below(weights * to_bisectors)
        usable = (offset > 0) & (squared_normal > 0)
        found = ops.where(usable, offset / ops.sqrt(ops.where(usable, squared_normal, 1)), 0)
        result = ops.maximum(result, found)
    # The competitor's own centroid lies in its region.
    return ops.minimum(result, ops.sqrt(distances))


def _sum_from_below(products: Any) -> Any:
    """The sum over the last axis less its rounding: distances of both signs may cancel."""
    rounding = products.shape[-1] * machine_epsilon(products)
    return ops.sum(products - rounding * ops.abs(products), axis=-1)


def _active_sets(centroids: Any, gaps: Any) -> tuple[ActiveSet, ...]:
    """All sets of two and more own clusters with the Gram matrices of their normals."""
    gram = _gram_matrices(centroids, gaps)
    clusters_per_class = gaps.shape[1]
    rounding = _gram_rounding(centroids)
    found = []
    for size in range(2, clusters_per_class + 1):
        for members in combinations(range(clusters_per_class), size):
            of_members = ops.take(ops.take(gram, list(members), axis=2), list(members), axis=3)
            # The shift exceeds the rounding of the Gram matrix: an inverse exists even for
            # dependent normals, whose set is never needed.
            shifted = of_members + size * rounding * ops.eye(size, dtype=gram.dtype)
            found.append(ActiveSet(members, of_members, ops.inv(shifted)))
    return tuple(found)


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
        apart = ops.expand_dims(lengths > 0, 2)
        lengths = ops.expand_dims(ops.where(lengths > 0, lengths, 1), 2)
        normals = ops.where(apart, differences / lengths, 0)
        grams.append(ops.einsum("ijd,kjd->jik", normals, normals))
    return ops.stack(grams)


def _gram_rounding(centroids: Any) -> float:
    """Upper bound of the rounding of a product of two unit normals, and of sums with its weights.

    In roundoffs: dim for the product, dim / 2 + 4 for either normal, 2 K + 2 for a weighted sum of
    K * K products.
    """
    return (centroids.shape[1] + 8 + 2 * MOST_CLUSTERS_FOR_EXACT) * machine_epsilon(centroids)
