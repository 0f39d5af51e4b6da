"""Certified l-infinity accuracy of a data set by interval bounds."""

import numpy as np
import tensorflow as tf

from clustr_tf.certificates import certified_linf, has_interval_bounds
from clustr_tf.certification.share import certified_share
from clustr_tf.classifier import Classifier


def certified_accuracy_linf(
    classifier: Classifier, images: np.ndarray, labels: np.ndarray, eps: float
) -> float | None:
    """Share of images that are correct and provably stay so in an l-infinity ball.

    WARNING: of the soft classifier, as `certified_linf` says.

    Args:
        classifier: with a clustering head.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        eps: in pixels.

    Returns:
        The share; None if the network has a layer without interval bounds.

    Example:
        >>> certified_accuracy_linf(classifier, dataset.test_images, dataset.test_labels, 0.1)
    """
    if not has_interval_bounds(classifier.embedder):
        return None
    prove = tf.function(
        lambda pixels: certified_linf(classifier.embedder, classifier.head, pixels, eps)[:2],
        input_signature=[tf.TensorSpec([None, *classifier.image_shape], tf.float32)],
        autograph=False,
    )
    return certified_share(prove, images, labels)
