"""Certified radii of a data set."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from keras import ops

from clustr_tf.certificates import (
    Certificates,
    ClusterGeometry,
    LipschitzBound,
    Proof,
    certify_embeddings,
    cluster_geometry,
    embed_with_norms,
    lipschitz_bound,
    prove,
    soft_score_proof,
)
from clustr_tf.certification.served import certified_classifier
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import to_pixels
from clustr_tf.layers import ClusteringHead

_BATCH = 500


@dataclass(frozen=True)
class ProvedRadii:
    """What one proof says of a data set, one entry an image.

    Attributes:
        proof: which classifier, and how.
        labels: int64 `[N]`.
        predictions: int64 `[N]`, the classifier's classes.
        radius_l2: float32 `[N]`, certified l2 radius in pixels; 0: abstains.
        seconds: for all images, without the embedding.
    """

    proof: Proof
    labels: np.ndarray
    predictions: np.ndarray
    radius_l2: np.ndarray
    seconds: float

    @property
    def correct(self) -> np.ndarray:
        """Which images are classified correctly, bool `[N]`."""
        return self.predictions == self.labels

    def certified_accuracy(self, radius: float) -> float:
        """Share of images that are correct and certified at least up to an l2 radius in pixels."""
        # In float64: NumPy would round the radius asked for to float32, perhaps below what it is.
        proved = self.radius_l2.astype(np.float64)
        return float(np.mean(self.correct & (proved > 0) & (proved >= radius)))

    @property
    def abstentions(self) -> float:
        """Share of images without a positive radius."""
        return float(np.mean(self.radius_l2 == 0))


@dataclass(frozen=True)
class Certification:
    """Certified radii of a data set.

    Attributes:
        proved: one for each proof; the first is what the model serves.
        num_pixels: H * W * C.
        embedding_seconds: of the one pass that all of them rest on.
        bound: Lipschitz bound and rounding that the radii rest on.
    """

    proved: tuple[ProvedRadii, ...]
    num_pixels: int
    embedding_seconds: float
    bound: LipschitzBound

    @property
    def main(self) -> ProvedRadii:
        """What the model serves."""
        return self.proved[0]


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


def certify_images(
    classifier: Classifier,
    images: np.ndarray,
    labels: np.ndarray,
    proofs: Sequence[Proof] | None = None,
) -> Certification:
    """Certifies a data set; embeds it once, whatever the number of proofs.

    WARNING: the radii hold for l2 (and by norm equivalence l-infinity) changes of images in
    [0, 1], for these weights and for what is served: the network of `certified_classifier`
    (float32; float64 for backbones that are 1-Lipschitz by construction) and the float64 head. They
    say nothing about other norms, other inputs, changed weights, TensorFloat-32 or lower precision,
    nor of model.keras where it computes in less: see docs/certificates.md.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        proofs: of `all_proofs`; None for the soft scores with the head's own L alone.

    Returns:
        Radii and predictions, of the `certified_classifier`.

    Raises:
        ValueError: if the head has no certificate or the network has a layer without a proved
            bound.

    Example:
        >>> certify_images(classifier, dataset.test_images, dataset.test_labels).main.radius_l2
    """
    head = classifier.head
    if not isinstance(head, ClusteringHead):
        raise ValueError(
            "classifier must have a ClusteringHead: other heads have no certificates. "
            f"Received: {type(head).__name__}"
        )
    classifier = certified_classifier(classifier)
    bound = lipschitz_bound(classifier.embedder)
    proofs = proofs or [soft_score_proof(head.ranked_clusters)]
    begin = time.perf_counter()
    batches = [
        embed_with_norms(classifier.embedder, to_pixels(images[start : start + _BATCH]))
        for start in range(0, len(images), _BATCH)
    ]
    embeddings, norms = (ops.concatenate(parts) for parts in zip(*batches, strict=True))
    embedding_seconds = time.perf_counter() - begin
    exact = any(proof.method == "exact" for proof in proofs)
    geometry = head_geometry(head, "exact" if exact else "pairwise")
    proved = []
    for proof in proofs:
        shapes = [tf.TensorSpec((None, part.shape[1]), part.dtype) for part in (embeddings, norms)]
        apply = tf.function(_proving(proof, geometry, head, bound), shapes, autograph=False)
        # Tracing is no part of the time of an image.
        apply(embeddings[:1], norms[:1])
        begin = time.perf_counter()
        parts = [
            apply(embeddings[start : start + _BATCH], norms[start : start + _BATCH])
            for start in range(0, len(images), _BATCH)
        ]
        predictions, radii = (np.concatenate(column) for column in zip(*parts, strict=True))
        seconds = time.perf_counter() - begin
        proved.append(ProvedRadii(proof, labels, predictions, radii, seconds))
    return Certification(tuple(proved), math.prod(classifier.image_shape), embedding_seconds, bound)


def _proving(
    proof: Proof, geometry: ClusterGeometry, head: ClusteringHead, bound: LipschitzBound
) -> Callable[[Any, Any], tuple[Any, Any]]:
    def apply(embeddings: Any, norms: Any) -> tuple[Any, Any]:
        ranked, variance = head.ranked_clusters, head.variance
        return prove(proof, embeddings, norms, geometry, variance, ranked, bound)

    return apply


def certify_batch(
    classifier: Classifier,
    images: Any,
    bound: LipschitzBound,
    geometry: ClusterGeometry,
    method: str = "pairwise",
) -> tuple[Any, Certificates]:
    """Embeds and certifies a batch: what the SavedModel serves, and what commands compute.

    Args:
        classifier: with a clustering head; a `certified_classifier`.
        images: float32 `[batch, H, W, C]` in [0, 1].
        bound: `lipschitz_bound(classifier.embedder)`.
        geometry: `head_geometry(classifier.head)`.
        method: of the nearest-cluster radius.

    WARNING: as for `certify_embeddings`.

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
    return embeddings, certificates
