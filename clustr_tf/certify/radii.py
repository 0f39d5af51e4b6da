"""Radii of a batch: which proofs a head admits, what they prove, and the best of them."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from clustr_tf.certify.graph import is_reparametrised, plain_network
from clustr_tf.certify.l2.clusters import (
    METHODS,
    MOST_CLUSTERS_FOR_EXACT,
    ClusterGeometry,
    cluster_geometry,
    largest,
    nearest_cluster_margin,
)
from clustr_tf.certify.l2.lipschitz import LipschitzBound, embed_with_norms
from clustr_tf.certify.l2.soft_score import soft_score_margin
from clustr_tf.certify.layer_rules import SMALLEST_NORMAL
from clustr_tf.certify.linf.interval import Bounds, has_interval_bounds, interval_radius
from clustr_tf.certify.linf.linear_relaxation import linear_bounds, linear_bounds_l2
from clustr_tf.certify.linf.search import BISECTION, FROM_KNOWN, RadiusSearch
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.layers.clustering_head import class_log_scores, takes_all
from clustr_tf.layers.distances import squared_distances

# More than a float32 rounding and a few float64 ones: the cast then never rounds upwards.
_TOWARDS_ZERO = 1 - 2.0**-22
# A network without a slope proves more than float32 can say.
_LARGEST = float(np.finfo(np.float32).max)

# Proofs of the served classifier, as files and tables name them.
LIPSCHITZ = "Lipschitz bound"
INTERVALS = "interval bounds"
RELAXATION = "linear relaxation"


class Radii(NamedTuple):
    """What a proof proves of a batch, in pixels; 0: nothing.

    Attributes:
        l2: float32 `[batch]`.
        linf: float32 `[batch]`.
    """

    l2: Any
    linf: Any


@dataclass(frozen=True)
class Proof:
    """A classifier and a way to prove its radius.

    Attributes:
        key: for names of arrays and entries of files.
        classifier: in words.
        method: in words.
        margin: (squared distances `[batch, C*K]`, geometry, sigma^2) -> class int64 `[batch]` and
            radius in embedding space `[batch]` >= 0.

    Example:
        >>> soft_score_proof(None).title  # "soft scores, all clusters"
    """

    key: str
    classifier: str
    method: str
    margin: Callable[[Any, ClusterGeometry, Any], tuple[Any, Any]]

    @property
    def title(self) -> str:
        """Classifier and method."""
        return f"{self.classifier}, {self.method}"


def nearest_cluster_proof(method: str) -> Proof:
    """The nearest-cluster classifier, proved by "nearest", "pairwise" or "exact"."""
    return Proof(
        f"nearest_cluster_{method}",
        "nearest cluster",
        method,
        lambda distances, geometry, _: nearest_cluster_margin(distances, geometry, method),
    )


def soft_score_proof(nearest: int | None) -> Proof:
    """The soft classifier with the L nearest clusters; None for all."""
    return Proof(
        "soft_scores_all" if nearest is None else f"soft_scores_{nearest}_nearest",
        "soft scores",
        "all clusters" if nearest is None else f"{nearest} nearest",
        lambda distances, geometry, variance: soft_score_margin(
            distances, geometry, variance, nearest
        ),
    )


def all_proofs(
    num_clusters: int, clusters_per_class: int, ranked: int | None, further: int | None = None
) -> tuple[list[Proof], list[str]]:
    """Every classifier and proof that a clustering head admits.

    Args:
        num_clusters: C * K.
        clusters_per_class: K.
        ranked: the head's own L; None for all clusters. Its proof comes first.
        further: another L.

    Returns:
        The proofs, and one line on each that was left out.

    Raises:
        ValueError: if `further` is not from 1 to C * K - 1.

    Example:
        >>> all_proofs(20, 2, ranked=None, further=5)[0][1].title  # "soft scores, 5 nearest"
    """
    if further is not None and not 1 <= further < num_clusters:
        raise ValueError(
            f"nearest must be from 1 to {num_clusters - 1}, one less than all clusters. "
            f"Received: {further}"
        )
    own = None if takes_all(ranked, num_clusters) else ranked
    soft = dict.fromkeys([own, None, *([] if further is None else [further])])
    proofs = [soft_score_proof(nearest) for nearest in soft]
    left_out = []
    if set(soft) == {None}:
        left_out.append("soft scores, L nearest: the head takes all clusters; --nearest=L asks")
    for method in METHODS:
        if method == "exact" and clusters_per_class > MOST_CLUSTERS_FOR_EXACT:
            left_out.append(
                f"nearest cluster, exact: {clusters_per_class} clusters a class, more than "
                f"{MOST_CLUSTERS_FOR_EXACT}; its time doubles with each"
            )
        else:
            proofs.append(nearest_cluster_proof(method))
    return proofs, left_out


def certified_classifier(classifier: Classifier) -> Classifier:
    """The classifier that certificates are about and that is served.

    A backbone with reparametrised layers becomes the `plain_network` in float64; any other
    classifier is what it is.

    Args:
        classifier: finished.

    Returns:
        A classifier with the same head.

    Raises:
        ValueError: if the head is no `ClusteringHead`.

    Example:
        >>> lipschitz_bound(certified_classifier(classifier).embedder)
    """
    if not isinstance(classifier.head, ClusteringHead):
        raise ValueError(
            "classifier must have a ClusteringHead: other heads have no certificates. "
            f"Received: {type(classifier.head).__name__}"
        )
    if not is_reparametrised(classifier.backbone):
        return classifier
    backbone = plain_network(classifier.backbone)
    return Classifier(backbone, classifier.head, classifier.mean, classifier.std, name="certified")


def head_geometry(head: ClusteringHead, method: str = "pairwise") -> ClusterGeometry:
    """What certificates need to know of a head's clusters: once for all images.

    WARNING: it is of the head's centroids as they are now; changed ones need a new one.

    Args:
        head: built.
        method: of the nearest-cluster radius; "exact" serves all.

    Returns:
        The geometry, in float64.

    Example:
        >>> certify_batch(classifier, images, bound, head_geometry(classifier.head))
    """
    return cluster_geometry(ops.cast(head.centroids, "float64"), head.clusters_per_class, method)


class Certificates(NamedTuple):
    """Certificates of a batch; radii are in pixels, 0 means "abstain".

    Attributes:
        class_id: int64 `[batch]`, the soft classifier's class.
        certified_radius_l2: float32 `[batch]`, inside which class_id provably stays, by the proof
            that proves most.
        certified_radius_linf: float32 `[batch]`, likewise.
        embedding_margin: float32 `[batch]`, the radius in embedding space, rounding subtracted.
        nearest_cluster: int64 `[batch]`.
        nearest_cluster_radius_l2: float32 `[batch]`, of the nearest-cluster classifier.
        runner_up_class_id: int64 `[batch]`, the class with the second highest log-score.
        squared_distances: float32 `[batch, C*K]`.
        log_scores: float32 `[batch, C]`.
        proved: by name, what each proof proves by itself.
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
    proved: dict[str, Radii]


def certify_batch(
    classifier: Classifier,
    images: Any,
    bound: LipschitzBound,
    geometry: ClusterGeometry,
    method: str = "pairwise",
    search: RadiusSearch | None = BISECTION,
    relaxation: bool = False,
) -> tuple[Any, Certificates]:
    """Embeds and certifies a batch by every proof that applies, and takes the largest radii.

    It is what the SavedModel serves and what all commands tell. The norms help each other: an l2
    ball of radius e lies in the l-infinity ball of radius e, an l-infinity ball of radius
    r / sqrt(H W C) in the l2 ball of radius r.

    WARNING: as for `certify_embeddings` and `certified_linf`.

    Args:
        classifier: with a clustering head; a `certified_classifier`.
        images: float32 `[batch, H, W, C]` in [0, 1].
        bound: `lipschitz_bound(classifier.embedder)`.
        geometry: `head_geometry(classifier.head)`.
        method: of the nearest-cluster radius.
        search: for the largest radius by interval bounds, where the network has them; None for
            the Lipschitz bound alone.
        relaxation: whether linear relaxation goes on from there, at a hundred times the cost.

    Returns:
        Embeddings `[batch, dim]` and their certificates.

    Example:
        >>> geometry = head_geometry(classifier.head)
        >>> embeddings, certificates = certify_batch(classifier, images, bound, geometry)
    """
    head = classifier.head
    embeddings, norms = embed_with_norms(classifier.embedder, images)
    certificates = certify_embeddings(
        embeddings,
        norms,
        geometry,
        head.variance,
        head.ranked_clusters,
        bound,
        math.prod(classifier.image_shape),
        method=method,
    )
    best, proved = with_boxes(
        certificates.proved, classifier.embedder, head, images, embeddings, search, relaxation
    )
    return embeddings, certificates._replace(
        certified_radius_l2=best.l2, certified_radius_linf=best.linf, proved=proved
    )


def with_boxes(
    proved: dict[str, Radii],
    network: keras.Model,
    head: Any,
    images: Any,
    embeddings: Any,
    search: RadiusSearch | None,
    relaxation: bool = False,
) -> tuple[Radii, dict[str, Radii]]:
    """Adds interval bounds and linear relaxation to the proofs of a batch.

    Args:
        proved: by name.
        network: as for `certified_linf`.
        head: likewise.
        images: likewise.
        embeddings: of the images.
        search: for the largest radius by intervals, where the network has them; None for neither.
        relaxation: whether linear relaxation goes on from what the others have proved.

    Returns:
        The largest radii, and what each proof proves; linear relaxation at least what others do.
    """
    if search is None or not has_interval_bounds(network):
        return _best(proved), proved
    radii = interval_radius(network, head, images, search, embeddings=embeddings)[1]
    radius = float32_below(radii)
    proved = {**proved, INTERVALS: Radii(radius, radius)}
    if not relaxation:
        return _best(proved), proved

    def beyond(known: Any, bounds: Bounds) -> Any:
        found = interval_radius(
            network,
            head,
            images,
            FROM_KNOWN,
            bounds=bounds,
            known=ops.cast(known, "float64"),
            embeddings=embeddings,
        )
        return float32_below(found[1])

    linf = beyond(_best(proved).linf, linear_bounds)
    proved[RELAXATION] = Radii(linf, linf)
    proved[RELAXATION] = Radii(beyond(_best(proved).l2, linear_bounds_l2), linf)
    return _best(proved), proved


def _best(proved: dict[str, Radii]) -> Radii:
    return Radii(
        *(functools.reduce(ops.maximum, radii) for radii in zip(*proved.values(), strict=True))
    )


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
    """Classes and certified radii of a batch of float32 embeddings, by the Lipschitz bound.

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
    if nearest == 1:  # one classifier: what is proved of the nearest cluster is proved of it
        soft_radius = ops.maximum(soft_radius, nearest_radius)
    slack = _slack(embeddings, norms, variance, bound)
    soft_margin = _certified(soft_radius, agreed, slack)
    nearest_margin = _certified(nearest_radius, agreed, slack)
    lipschitz = bound.gain + bound.growth
    log_scores = class_log_scores(distances, variance, geometry.clusters_per_class, nearest)
    radii = Radii(
        float32_below(soft_margin / lipschitz),
        float32_below(soft_margin / lipschitz / np.sqrt(num_pixels)),
    )
    return Certificates(
        class_id=class_id,
        certified_radius_l2=radii.l2,
        certified_radius_linf=radii.linf,
        embedding_margin=float32_below(soft_margin),
        nearest_cluster=largest(-distances),
        nearest_cluster_radius_l2=float32_below(nearest_margin / lipschitz),
        runner_up_class_id=ops.cast(ops.top_k(log_scores, 2)[1][:, 1], "int64"),
        squared_distances=ops.cast(distances, "float32"),
        log_scores=ops.cast(log_scores, "float32"),
        proved={LIPSCHITZ: radii},
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
    margin = _certified(radius, agreed, _slack(embeddings, norms, variance, bound))
    return class_id, float32_below(margin / (bound.gain + bound.growth))


def _slack(embeddings: Any, norms: Any, variance: Any, bound: LipschitzBound) -> Any:
    """What rounding may take of a radius in embedding space, `[batch]`.

    Infinite for overflows, and where sigma^2 may be flushed to 0.
    """
    finite = ops.all(ops.isfinite(embeddings), axis=1) & ops.all(ops.isfinite(norms), axis=1)
    finite &= (variance >= SMALLEST_NORMAL) & (variance < np.inf)
    return ops.where(finite, bound.rounding(ops.cast(norms, "float64")), np.inf)


def _certified(radius: Any, agreed: Any, slack: Any) -> Any:
    """What is left of a radius in embedding space, `[batch]`."""
    return ops.where(agreed & (slack < np.inf), ops.maximum(radius - slack, 0), 0)


def float32_below(values: Any) -> Any:
    """Radii as float32, rounded towards zero."""
    lowered = ops.minimum(values * _TOWARDS_ZERO, _LARGEST)
    return ops.cast(ops.where(lowered >= SMALLEST_NORMAL, lowered, 0), "float32")
