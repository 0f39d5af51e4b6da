"""Everything that is proved about a batch of embeddings: for commands and for serving."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from clustr_tf.certificates.clusters import ClusterGeometry, largest
from clustr_tf.certificates.lipschitz import LipschitzBound
from clustr_tf.certificates.proofs import Proof, nearest_cluster_proof, soft_score_proof
from clustr_tf.distances import squared_distances
from clustr_tf.layers.clustering_head import class_log_scores

# More than a float32 rounding and a few float64 ones: the cast then never rounds upwards.
_TOWARDS_ZERO = 1 - 2.0**-22
# Below it float32 has fewer digits.
_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)
# A network without a slope proves more than float32 can say.
_LARGEST = float(np.finfo(np.float32).max)


class Certificates(NamedTuple):
    """Certificates of a batch; radii are l2 in pixels unless named otherwise, 0 means "abstain".

    Attributes:
        class_id: int64 `[batch]`, the soft classifier's class.
        certified_radius_l2: float32 `[batch]`, inside which class_id provably stays.
        certified_radius_linf: float32 `[batch]`, the largest l-infinity ball inside that l2 ball.
        embedding_margin: float32 `[batch]`, the radius in embedding space, rounding subtracted.
        nearest_cluster: int64 `[batch]`.
        nearest_cluster_radius_l2: float32 `[batch]`, of the nearest-cluster classifier.
        runner_up_class_id: int64 `[batch]`, the class with the second highest log-score.
        squared_distances: float32 `[batch, C*K]`.
        log_scores: float32 `[batch, C]`.
    """

    class_id: Any
    certified_radius_l2: Any
    certified_radius_linf: Any
    embedding_margin: Any
    nearest_cluster: Any
    nearest_cluster_radius_l2: Any
    runner_up_class_id: Any
    squared_distances: Any
    log_scores: Any


def certify_embeddings(
    embeddings: Any,
    norms: Any,
    geometry: ClusterGeometry,
    variance: Any,
    nearest: int | None,
    bound: LipschitzBound,
    num_pixels: int,
    method: str = "pairwise",
) -> Certificates:
    """Classes and certified radii of a batch of float32 embeddings.

    Scores and radii are computed in float64. The rounding errors of the float32 embeddings of the
    image and of one changed by r add up to at most slack + growth * r (see `LipschitzBound`): a
    margin m in embedding space gives the radius (m - slack) / (gain + growth), which is rounded
    towards zero. Where the soft and the nearest-cluster classifier disagree, or an embedding is
    not finite, the radii are 0.

    WARNING: the certified classifier computes its head in float64, as here and in the SavedModel;
    where two log-scores differ by less than their float32 rounding, the float32 head of a Keras
    model may decide otherwise.

    WARNING: the radii hold for l2 changes (and by |d|_2 <= sqrt(num_pixels) |d|_inf for
    l-infinity) that keep pixels in [0, 1], for the very weights that `bound` and `geometry` were
    computed from, in float32. They say nothing about other norms, inputs outside [0, 1], changed
    weights or centroids, TensorFloat-32, bfloat16 or float16: see docs/certificates.md.

    Args:
        embeddings: `[batch, dim]`, of `embed_with_norms`.
        norms: float64 `[batch, layers]`, likewise.
        geometry: `cluster_geometry` of the head's centroids in float64.
        variance: sigma^2, scalar.
        nearest: L; None for all clusters.
        bound: `lipschitz_bound` of the network.
        num_pixels: H * W * C.
        method: of the nearest-cluster radius: "nearest", "pairwise" or "exact".

    Returns:
        The certificates.

    Example:
        >>> embeddings, norms = embed_with_norms(network, images)
        >>> geometry = cluster_geometry(centroids, clusters_per_class=2)
        >>> certify_embeddings(embeddings, norms, geometry, variance, None, bound, 64)
    """
    distances = squared_distances(ops.cast(embeddings, "float64"), geometry.centroids)
    variance = ops.convert_to_tensor(variance, dtype="float64")
    class_id, soft_radius = soft_score_proof(nearest).margin(distances, geometry, variance)
    nearest_class, nearest_radius = nearest_cluster_proof(method).margin(
        distances, geometry, variance
    )
    agreed = ops.equal(class_id, nearest_class)
    slack = _slack(embeddings, norms, bound)
    soft_margin = _certified(soft_radius, agreed, slack)
    nearest_margin = _certified(nearest_radius, agreed, slack)
    lipschitz = bound.gain + bound.growth
    log_scores = class_log_scores(distances, variance, geometry.clusters_per_class, nearest)
    return Certificates(
        class_id=class_id,
        certified_radius_l2=_float32_below(soft_margin / lipschitz),
        certified_radius_linf=_float32_below(soft_margin / lipschitz / np.sqrt(num_pixels)),
        embedding_margin=_float32_below(soft_margin),
        nearest_cluster=largest(-distances),
        nearest_cluster_radius_l2=_float32_below(nearest_margin / lipschitz),
        runner_up_class_id=ops.cast(ops.top_k(log_scores, 2)[1][:, 1], "int64"),
        squared_distances=ops.cast(distances, "float32"),
        log_scores=ops.cast(log_scores, "float32"),
    )


def prove(
    proof: Proof,
    embeddings: Any,
    norms: Any,
    geometry: ClusterGeometry,
    variance: Any,
    nearest: int | None,
    bound: LipschitzBound,
) -> tuple[Any, Any]:
    """Classes and certified radii of a batch by one proof, as `certify_embeddings` finds them.

    WARNING: as for `certify_embeddings`.

    Args:
        proof: which classifier, and how.
        embeddings: as for `certify_embeddings`.
        norms: likewise.
        geometry: likewise; for "exact" with its active sets.
        variance: likewise.
        nearest: the head's own L: where the head, the nearest cluster and the proof's classifier
            do not all agree, the radius is 0.
        bound: as for `certify_embeddings`.

    Returns:
        Class int64 `[batch]`, and radius in pixels (l2) float32 `[batch]`; 0 means "abstain".

    Example:
        >>> prove(soft_score_proof(None), embeddings, norms, geometry, variance, None, bound)
    """
    distances = squared_distances(ops.cast(embeddings, "float64"), geometry.centroids)
    variance = ops.convert_to_tensor(variance, dtype="float64")
    class_id, radius = proof.margin(distances, geometry, variance)
    scores = class_log_scores(distances, variance, geometry.clusters_per_class, nearest)
    by_cluster = largest(-distances) // geometry.clusters_per_class
    agreed = ops.equal(class_id, largest(scores)) & ops.equal(class_id, by_cluster)
    margin = _certified(radius, agreed, _slack(embeddings, norms, bound))
    return class_id, _float32_below(margin / (bound.gain + bound.growth))


def _slack(embeddings: Any, norms: Any, bound: LipschitzBound) -> Any:
    """What rounding may take of a radius in embedding space, `[batch]`; infinite for overflows."""
    finite = ops.all(ops.isfinite(embeddings), axis=1) & ops.all(ops.isfinite(norms), axis=1)
    return ops.where(finite, bound.rounding(ops.cast(norms, "float64")), np.inf)


def _certified(radius: Any, agreed: Any, slack: Any) -> Any:
    """What is left of a radius in embedding space, `[batch]`."""
    return ops.where(agreed & (slack < np.inf), ops.maximum(radius - slack, 0), 0)


def _float32_below(values: Any) -> Any:
    """Radii as float32, rounded towards zero."""
    lowered = ops.minimum(values * _TOWARDS_ZERO, _LARGEST)
    return ops.cast(ops.where(lowered >= _SMALLEST_NORMAL, lowered, 0), "float32")
