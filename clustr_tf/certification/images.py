"""Certified radii of a data set."""

from dataclasses import dataclass

import keras
import numpy as np

from clustr_tf.certificates import LipschitzBound, certify_embeddings, lipschitz_bound
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import to_pixels

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
        bound: Lipschitz bound and rounding slack that the radii rest on.
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
    [0, 1], for these weights, in float32. They say nothing about other changes.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        method: of the nearest-cluster radius: "nearest", "pairwise" or "exact".

    Returns:
        Radii and predictions.

    Raises:
        ValueError: if the network has a layer without a proved bound.

    Example:
        >>> certify_images(classifier, dataset.test_images, dataset.test_labels).radius_l2
    """
    bound = lipschitz_bound(classifier.embedder)
    head = classifier.head
    results = [
        certify_embeddings(
            classifier.embed(to_pixels(images[start : start + _BATCH])),
            head.centroids,
            head.variance,
            head.clusters_per_class,
            head.ranked_clusters,
            bound.gain,
            bound.rounding,
            int(np.prod(classifier.image_shape)),
            method=method,
        )
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
