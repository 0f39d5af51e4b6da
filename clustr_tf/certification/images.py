"""Certified radii of a data set."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from clustr_tf.certificates import (
    Certificates,
    LipschitzBound,
    certify_embeddings,
    embed_with_norms,
    is_reparametrised,
    lipschitz_bound,
    plain_network,
)
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import to_pixels
from clustr_tf.layers import ClusteringHead

_BATCH = 500


@dataclass(frozen=True)
class Certification:
    """Certified radii of a data set, one entry an image.

    Attributes:
        labels: int64 `[N]`.
        predictions: int64 `[N]`, the soft classifier's classes.
        radius_l2: float32 `[N]`, certified l2 radius in pixels of the soft classifier; 0: abstains.
        radius_linf: float32 `[N]`, the same ball's largest l-infinity cube.
        nearest_cluster_radius_l2: float32 `[N]`, of the nearest-cluster classifier.
        bound: Lipschitz bound and rounding that the radii rest on.
    """

    labels: np.ndarray
    predictions: np.ndarray
    radius_l2: np.ndarray
    radius_linf: np.ndarray
    nearest_cluster_radius_l2: np.ndarray
    bound: LipschitzBound

    @property
    def correct(self) -> np.ndarray:
        """Which images are classified correctly, bool `[N]`."""
        return self.predictions == self.labels

    def certified_accuracy(self, radius: float) -> float:
        """Share of images that are correct and certified at least up to an l2 radius in pixels."""
        return float(np.mean(self.correct & (self.radius_l2 > 0) & (self.radius_l2 >= radius)))

    @property
    def abstentions(self) -> float:
        """Share of images without a positive radius."""
        return float(np.mean(self.radius_l2 == 0))


def certify_images(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, method: str = "pairwise"
) -> Certification:
    """Certifies a data set.

    WARNING: the radii hold for l2 (and by norm equivalence l-infinity) changes of images in
    [0, 1], for these weights, a float32 network and the float64 head that is served. They say
    nothing about other changes.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        method: of the nearest-cluster radius: "nearest", "pairwise" or "exact".

    Returns:
        Radii and predictions, of the `certified_classifier`.

    Raises:
        ValueError: if the head has no certificate or the network has a layer without a proved
            bound.

    Example:
        >>> certify_images(classifier, dataset.test_images, dataset.test_labels).radius_l2
    """
    if not isinstance(classifier.head, ClusteringHead):
        raise ValueError(
            "classifier must have a ClusteringHead: other heads have no certificates. "
            f"Received: {type(classifier.head).__name__}"
        )
    classifier = certified_classifier(classifier)
    bound = lipschitz_bound(classifier.embedder)
    results = [
        certify_batch(classifier, to_pixels(images[start : start + _BATCH]), bound, method)[1]
        for start in range(0, len(images), _BATCH)
    ]

    def joined(name: str) -> np.ndarray:
        return np.concatenate(
            [keras.ops.convert_to_numpy(getattr(result, name)) for result in results]
        )

    return Certification(
        labels=labels,
        predictions=joined("class_id"),
        radius_l2=joined("certified_radius_l2"),
        radius_linf=joined("certified_radius_linf"),
        nearest_cluster_radius_l2=joined("nearest_cluster_radius_l2"),
        bound=bound,
    )


def certified_classifier(classifier: Classifier) -> Classifier:
    """The classifier that certificates are about and that is served.

    A backbone with reparametrised layers becomes the `plain_network` in float64; any other
    classifier is what it is.

    Args:
        classifier: finished.

    Returns:
        A classifier with the same head.

    Example:
        >>> lipschitz_bound(certified_classifier(classifier).embedder)
    """
    if not is_reparametrised(classifier.backbone):
        return classifier
    backbone = plain_network(classifier.backbone)
    return Classifier(backbone, classifier.head, classifier.mean, classifier.std, name="certified")


def certify_batch(
    classifier: Classifier, images: Any, bound: LipschitzBound, method: str = "pairwise"
) -> tuple[Any, Certificates]:
    """Embeds and certifies a batch: what commands compute and what the SavedModel serves.

    Args:
        classifier: with a clustering head; a `certified_classifier`.
        images: float32 `[batch, H, W, C]` in [0, 1].
        bound: `lipschitz_bound(classifier.embedder)`.
        method: of the nearest-cluster radius.

    Returns:
        Embeddings `[batch, dim]` and their certificates.

    Example:
        >>> embeddings, certificates = certify_batch(classifier, images, bound)
    """
    head = classifier.head
    embeddings, norms = embed_with_norms(classifier.embedder, images)
    certificates = certify_embeddings(
        embeddings,
        norms,
        head.centroids,
        head.variance,
        head.clusters_per_class,
        head.ranked_clusters,
        bound,
        math.prod(classifier.image_shape),
        method=method,
    )
    return embeddings, certificates
