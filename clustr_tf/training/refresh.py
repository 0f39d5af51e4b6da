"""Once per epoch: one embedding pass serves the clusters, the variance and the accuracy."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.clustering import Clusters, cluster_by_class
from clustr_tf.datasets import to_pixels
from clustr_tf.layers import ClusteringHead
from clustr_tf.training.settings import ClusteringConfig

_BATCH = 512


class Embedder:
    """Embeds uint8 images in evaluation mode, compiled once.

    Args:
        classifier: whose embeddings are wanted.
        jit_compile: whether XLA compiles the pass.

    Example:
        >>> Embedder(classifier)(dataset.test_images)  # float32 [N, dim]
    """

    def __init__(self, classifier: Classifier, jit_compile: bool = False):
        self._embed = tf.function(
            lambda images: tf.cast(classifier.embed(images, training=False), tf.float32),
            input_signature=[tf.TensorSpec([None, *classifier.image_shape], tf.float32)],
            jit_compile=jit_compile,
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        batches = [
            self._embed(to_pixels(images[start : start + _BATCH])).numpy()
            for start in range(0, len(images), _BATCH)
        ]
        return np.concatenate(batches)


class Refresh(NamedTuple):
    """What one refresh found: the clusters and the training accuracy before augmentation."""

    clusters: Clusters
    train_accuracy: float


def refresh_clusters(
    classifier: Classifier,
    embed: Callable[[np.ndarray], np.ndarray],
    images: np.ndarray,
    labels: np.ndarray,
    config: ClusteringConfig,
    seed: int,
) -> Refresh:
    """Clusters the training embeddings inside each class and gives them to the head.

    One pass over un-augmented images in evaluation mode. The published code pays three, in
    training mode, over augmented images and the test set as well: its batch-norm statistics then
    have seen test images.

    Args:
        classifier: its head receives the centroids and the variance.
        embed: uint8 images -> embeddings `[N, dim]`.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.
        config: K, k-means starts and iterations.
        seed: of k-means.

    Returns:
        The clusters and the accuracy of the refreshed classifier on the training images.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3 (cluster index of the magnet loss).
    """
    embeddings = embed(images)
    clusters = cluster_by_class(
        embeddings,
        labels,
        config.clusters_per_class,
        seed=seed,
        n_init=config.kmeans_starts,
        max_iter=config.kmeans_iterations,
    )
    head: ClusteringHead = classifier.head
    head.set_clusters(clusters.centroids, clusters.variance)
    return Refresh(clusters, accuracy(classifier, embeddings, labels))


def accuracy(classifier: Classifier, embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Share of embeddings that the head gives to their label.

    Args:
        classifier: whose head decides.
        embeddings: `[N, dim]`.
        labels: int64 `[N]`.

    Returns:
        Accuracy in [0, 1].
    """
    predictions = [
        np.argmax(classifier.log_scores(embeddings[start : start + _BATCH]), axis=1)
        for start in range(0, len(embeddings), _BATCH)
    ]
    return float(np.mean(np.concatenate(predictions) == labels))
