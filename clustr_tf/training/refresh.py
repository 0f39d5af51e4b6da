"""Once per epoch: one embedding pass serves the clusters, the variance and the accuracy."""

from functools import partial

import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.clustering import Clusters, cluster_by_class
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.settings import ClusteringConfig

_BATCH = 512


class Embedder:
    """Embeds uint8 images in evaluation mode, compiled once, split over the replicas.

    Args:
        classifier: whose embeddings are wanted.
        replicas: who shares the work; None for this device alone.
        jit_compile: whether XLA compiles the pass.

    Example:
        >>> Embedder(classifier)(dataset.test_images)  # float32 [N, dim]
    """

    def __init__(
        self,
        classifier: Classifier,
        replicas: Replicas | None = None,
        jit_compile: bool = False,
    ):
        self._replicas = replicas = replicas or Replicas(tf.distribute.get_strategy())
        embed = tf.function(
            lambda images: tf.cast(
                classifier.embed(tf.cast(images, tf.float32) / 255, training=False), tf.float32
            ),
            input_signature=[tf.TensorSpec([None, *classifier.image_shape], tf.uint8)],
            jit_compile=jit_compile,
            autograph=False,
        )
        # A function of several replicas' values has no signature: it is traced for each shape.
        self._embed = (
            embed
            if replicas.count == 1
            else tf.function(
                lambda images: replicas.strategy.run(
                    lambda share: replicas.gather(embed(share)), args=(images,)
                ),
                reduce_retracing=True,
                autograph=False,
            )
        )

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Embeds images.

        Args:
            images: uint8 `[N, H, W, C]`, N at least 1.

        Returns:
            float32 `[N, dim]`, on every worker all of them.
        """
        count = self._replicas.count
        share = -(-len(images) // count)
        # The last replica may have to embed an image twice: gathering takes equal shares.
        rows = np.minimum(np.arange(share * count), len(images) - 1).reshape(count, share)
        batches = []
        for start in range(0, share, _BATCH):
            part = images[rows[:, start : start + _BATCH]]
            values = self._replicas.values(partial(_tensor_of, part))
            gathered = self._replicas.local(self._embed(values))[0].numpy()
            batches.append(gathered.reshape(count, part.shape[1], -1))
        embeddings = np.concatenate(batches, axis=1)
        return embeddings.reshape(share * count, -1)[: len(images)]


def _tensor_of(shares: np.ndarray, replica: int) -> tf.Tensor:
    return tf.constant(shares[replica])


def cluster_embeddings(
    embeddings: np.ndarray,
    labels: np.ndarray,
    config: ClusteringConfig,
    seed: int,
    replicas: Replicas,
) -> Clusters:
    """Clusters of the training embeddings, the same on every worker.

    The embeddings come from one pass over un-augmented images in evaluation mode. The published
    code pays three, in training mode, over augmented images and the test set as well: its
    batch-norm statistics then have seen test images.

    Args:
        embeddings: `[N, dim]`.
        labels: int64 `[N]`.
        config: K, k-means starts and iterations.
        seed: of k-means.
        replicas: the chief's clusters are everybody's, as machines may round differently.

    Returns:
        The clusters.

    Raises:
        ValueError: if the embeddings cannot be clustered.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3 (cluster index of the magnet loss).
    """
    clusters = cluster_by_class(
        embeddings,
        labels,
        config.clusters_per_class,
        seed=seed,
        n_init=config.kmeans_starts,
        max_iter=config.kmeans_iterations,
    )
    centroids = replicas.broadcast(clusters.centroids.ravel())
    return Clusters(
        centroids.reshape(clusters.centroids.shape),
        replicas.broadcast(clusters.assignments),
        float(replicas.broadcast(np.array([clusters.variance]))[0]),
    )


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
