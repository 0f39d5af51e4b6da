"""The clustering head's worst case over a box of embeddings, in closed form."""

from collections.abc import Callable
from typing import Any

from keras import ops

from clustr_tf.certify.l2.clusters import (
    checked_inputs,
    own_centroids,
    smallest_of_others,
)
from clustr_tf.certify.layer_rules import gamma
from clustr_tf.certify.linf.boxes import Box, rounding
from clustr_tf.layers.clustering_head import by_class, of_own_class, takes_all
from clustr_tf.layers.distances import squared_distances


def worst_differences(
    box: Box,
    centroids: Any,
    labels: Any,
    clusters_per_class: int,
    roundoff: float = 0.0,
    lower: Callable[[Any], Any] | None = None,
) -> Any:
    """Least |z - mu_j|^2 - |z - mu_i|^2 over the box, for every own cluster i and cluster j.

    The difference is 2 (mu_i - mu_j).z + |mu_j|^2 - |mu_i|^2, linear in z: around the centre c it
    moves by at most 2 |mu_i - mu_j|.r, r the radius, and attains that in a corner. The minimum is
    |c - mu_j|^2 - |c - mu_i|^2 - 2 |mu_i - mu_j|.r.

    Rounding, with `roundoff`: c and r err by at most 2 u max |z| in each entry, which enlarges r.
    Every squared distance errs by at most gamma_{dim+2} of itself, here and where the head that is
    served computes it at z; there it is at most 2 |c - mu|^2 + 2 |r|^2. gamma_{4 (dim+8)} of both
    squared distances, of 2 |mu_i - mu_j|.r and of 2 |r|^2 exceeds all of that.

    Args:
        box: of the embeddings, `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        labels: int `[batch]`, whose clusters i are the own ones.
        clusters_per_class: K.
        roundoff: unit roundoff u of the dtype, to be sound; 0 leaves rounding out.
        lower: further lower bounds of rows `[batch, rows, dim]` times z, `[batch, rows]`; the
            better is taken for each difference.

    Returns:
        `[batch, K, C*K]`, rounded downwards.

    Raises:
        ValueError: if the centroids are not as above.

    Example:
        >>> box = Box(ops.array([[0.0]]), ops.array([[1.0]]))
        >>> worst_differences(box, [[0.0], [4.0]], ops.array([0]), 1)  # [[[-0., 8.]]]
    """
    centre, centroids = checked_inputs(box.centre, centroids, clusters_per_class, 1.0)
    radius = box.radius + 2 * roundoff * box.magnitude
    distances = squared_distances(centre, centroids)
    to_own = of_own_class(distances, labels, clusters_per_class)
    own = own_centroids(centroids, labels, clusters_per_class)
    rate = gamma(4 * (centroids.shape[1] + 8), roundoff)

    def move(mu: Any) -> Any:
        """How far the differences of one own cluster fall below those at the centre."""
        rows = 2 * (ops.expand_dims(mu, 1) - centroids)
        moved = ops.sum(ops.abs(rows) * ops.expand_dims(radius, 1), axis=-1)
        if lower is None:
            return moved
        slack = rate * ops.sum(ops.abs(rows) * ops.expand_dims(box.magnitude, 1), axis=-1)
        at_centre = ops.sum(rows * ops.expand_dims(centre, 1), axis=-1)
        return ops.minimum(moved, at_centre - lower(rows) + slack)

    # One own cluster after the other, as all differences at once could fill the memory.
    moved = ops.stack([move(mu) for mu in ops.unstack(own, clusters_per_class, axis=1)], axis=1)
    to_own, to_any = ops.expand_dims(to_own, 2), ops.expand_dims(distances, 1)
    worst = to_any - to_own - moved
    if not roundoff:
        return worst
    spread = 2 * ops.reshape(ops.sum(ops.square(radius), axis=1), (-1, 1, 1))
    return worst - rate * (to_any + to_own + ops.abs(moved) + spread)


def nearest_cluster_margins(differences: Any, labels: Any, clusters_per_class: int) -> Any:
    """A lower bound over the box of how much nearer the nearest own cluster is than any other.

    min_j max_i of the worst differences, j in other classes. Proof: if it is positive, every
    competitor j has an own cluster i that is nearer wherever z is in the box, so the nearest of
    all clusters is always an own one.

    Args:
        differences: `[batch, K, C*K]`, of `worst_differences`.
        labels: int `[batch]`.
        clusters_per_class: K.

    Returns:
        `[batch]`, in squared units of the embedding; the class stays where it is positive.

    Example:
        >>> nearest_cluster_margins([[[0.0, 8.0]]], ops.array([0]), 1)  # [8.]
    """
    grouped = by_class(ops.max(differences, axis=1), clusters_per_class)
    return smallest_of_others(ops.min(grouped, axis=-1), labels)


def log_score_margins(differences: Any, variance: Any, clusters_per_class: int) -> Any:
    """Lower bounds over the box of the own log-score minus that of every class k.

    With a_j = -|z - mu_j|^2 / (2 sigma^2), A the own clusters, B_k those of k and d_ij the minimum
    of a_i - a_j over the box:

        LSE_A a - LSE_{B_k} a >= -LSE_{j in B_k} (-LSE_{i in A} d_ij).

    Proof: LSE_A a - a_j = LSE_{i in A} (a_i - a_j) >= LSE_{i in A} d_ij, as LSE never decreases in
    any argument; hence a_j - LSE_A a <= -LSE_{i in A} d_ij, and LSE over B_k keeps the order. For
    K = 1 the bound is attained. All clusters take part in the scores.

    Args:
        differences: `[batch, K, C*K]`, of `worst_differences`.
        variance: sigma^2 > 0, scalar.
        clusters_per_class: K.

    Returns:
        `[batch, C]`; that of the own class itself says nothing. Differentiable.

    Example:
        >>> log_score_margins([[[0.0, 8.0]]], 1.0, 1)  # [[0., 4.]]
    """
    to_clusters = ops.logsumexp(differences / (2 * variance), axis=1)
    return -ops.logsumexp(by_class(-to_clusters, clusters_per_class), axis=-1)


def soft_score_margins(
    differences: Any, labels: Any, variance: Any, clusters_per_class: int, nearest: int | None
) -> Any:
    """A lower bound over the box that proves, where positive, that the soft scores' class stays.

    All clusters take part: the smallest of `log_score_margins` over the other classes. Only the L
    nearest (scores may jump): for any own cluster i alone, min_k -LSE_{B_k} (-d_ij) bounds
    a_i - LSE_{B_k} a from below for every other class k; the largest over i is taken. If it is
    positive, cluster i outranks every other class's clusters together, hence is among the L
    nearest (or only own clusters are), and its class wins.

    Args:
        differences: `[batch, K, C*K]`, of `worst_differences`.
        labels: int `[batch]`.
        variance: sigma^2 > 0, scalar.
        clusters_per_class: K.
        nearest: L; None, or C*K and more, for all clusters.

    Returns:
        `[batch]`, differences of log-scores.

    Example:
        >>> soft_score_margins([[[0.0, 8.0]]], ops.array([0]), 1.0, 1, None)  # [4.]
    """
    differences = ops.convert_to_tensor(differences)
    if takes_all(nearest, differences.shape[2]):
        margins = log_score_margins(differences, variance, clusters_per_class)
        return smallest_of_others(margins, labels)
    exponents = by_class(-differences / (2 * variance), clusters_per_class)
    single = smallest_of_others(-ops.logsumexp(exponents, axis=-1), labels)
    return ops.max(single, axis=1)


def affine_margins(
    box: Box,
    kernel: Any,
    bias: Any,
    labels: Any,
    roundoff: float = 0.0,
    lower: Callable[[Any], Any] | None = None,
) -> Any:
    """Least l_c - l_k over the box, for the logits W z + b, the class c of the labels and every k.

    (w_c - w_k) . z is linear: around the centre it moves by at most |w_c - w_k| . r, r the radius,
    and attains that in a corner. The difference of the bounds of l_c and l_k would let z be in two
    corners at once.

    Rounding, with `roundoff`: that of either logit where the head computes it, by `affine_image`,
    whose terms leave room for the float64 arithmetic here. Where a logit may leave float32's range
    nothing is left.

    Args:
        box: of the embeddings, `[batch, dim]`.
        kernel: W, `[dim, classes]`.
        bias: b, `[classes]`.
        labels: int `[batch]`.
        roundoff: unit roundoff of the head's arithmetic, the box then being float64; 0 for none.
        lower: further lower bounds of rows times z, as in `worst_differences`.

    Returns:
        `[batch]`, the smallest over the other classes k. Differentiable.

    Example:
        >>> box = Box(ops.array([[0.0]]), ops.array([[1.0]]))
        >>> affine_margins(box, [[0.0, -1.0]], [0.0, -0.5], ops.array([0]))  # [0.5]
    """
    kernel, bias = (ops.cast(ops.convert_to_tensor(x), box.lower.dtype) for x in (kernel, bias))
    columns = ops.transpose(kernel)
    own = ops.take(columns, labels, axis=0)
    # One class after the other, as all differences at once could fill the memory.
    moved = ops.stack(
        [ops.sum(ops.abs(own - one) * box.radius, axis=1) for one in ops.unstack(columns)], axis=1
    )
    if lower is not None:
        rows = ops.expand_dims(own, 1) - columns
        at_centre = ops.sum(rows * ops.expand_dims(box.centre, 1), axis=-1)
        moved = ops.minimum(moved, at_centre - lower(rows))
    logits = ops.matmul(box.centre, kernel) + bias
    moved += ops.take_along_axis(-logits, ops.expand_dims(labels, 1), axis=1) + logits
    if roundoff:
        largest = ops.matmul(box.magnitude, ops.abs(kernel)) + ops.abs(bias)
        errors = rounding(largest, box.magnitude, kernel.shape[0], roundoff)
        moved += ops.take_along_axis(errors, ops.expand_dims(labels, 1), axis=1) + errors
    return smallest_of_others(-moved, labels)
