"""New clusters after every epoch."""

import copy
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from clustr_tf.data.batches import NeighbourhoodSampler
from clustr_tf.data.image_store import Images
from clustr_tf.data.kmeans import Clusters, cluster_by_class
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.distribution import Replicas
from clustr_tf.run.errors import TrainingDivergedError
from clustr_tf.train.settings import Clustering


class RefreshClusters(keras.callbacks.Callback):
    """K-means of the training embeddings: once at the start, and after every epoch.

    One pass over un-augmented images in evaluation mode serves the clusters, sigma^2 and the
    accuracy. The published code pays three, in training mode, over augmented images and the test
    set as well: its batch-norm statistics then have seen test images.

    `Classifier.fit` makes its own. For a plain Keras model that trains with `MagnetLoss` on
    embeddings, give it to `keras.Model.fit`.

    Args:
        images: `[N, H, W, C]`, as the model takes them; in memory or, with `embed`, on disk.
        labels: int `[N]`, every class of 0..C-1.
        clustering: starts, iterations and temperature of k-means.
        head: gets the clusters; None for none.
        clusters_per_class: K; None: the head's.
        sampler: gets the clusters; None for none.
        embed: images -> embeddings `[N, dim]`; None: the model's `predict`.
        seed: of k-means; epoch e, from 0, uses seed + e + 1.
        replicas: the chief's clusters are everybody's, as machines may round differently.

    Raises:
        TrainingDivergedError: if the embeddings cannot be clustered.

    Example:
        >>> refresh = RefreshClusters(images, labels, clusters_per_class=2, sampler=sampler)
        >>> embedder.fit(neighbourhoods, steps_per_epoch=20, epochs=10, callbacks=[refresh])

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3 (cluster index of the magnet loss).
    """

    def __init__(
        self,
        images: Images,
        labels: np.ndarray,
        clustering: Clustering | None = None,
        *,
        head: ClusteringHead | None = None,
        clusters_per_class: int | None = None,
        sampler: NeighbourhoodSampler | None = None,
        embed: Callable[[Images], np.ndarray] | None = None,
        seed: int = 0,
        replicas: Replicas | None = None,
    ):
        super().__init__()
        if clusters_per_class is None:
            if head is None:
                raise ValueError("clusters_per_class must be given without a head. Received: None")
            clusters_per_class = head.clusters_per_class
        self._images, self._labels = images, np.asarray(labels)
        self._clustering = clustering or Clustering()
        self._head, self.sampler = head, sampler
        self._clusters_per_class = clusters_per_class
        self._embed, self._seed, self._replicas = embed, seed, replicas
        self.sizes: np.ndarray | None = None  # int `[C*K]`, of the newest clusters

    def find(self, seed: int) -> Clusters:
        """Clusters of the training embeddings as they are now; head and sampler get them.

        Args:
            seed: of k-means.

        Returns:
            The clusters, the same on every worker.

        Raises:
            TrainingDivergedError: if the embeddings cannot be clustered.
        """
        return self._found(self._embedded(), seed)

    def _found(self, embeddings: np.ndarray, seed: int) -> Clusters:
        try:
            clusters = self._shared(
                cluster_by_class(
                    embeddings,
                    self._labels,
                    self._clusters_per_class,
                    seed=seed,
                    n_init=self._clustering.kmeans_starts,
                    max_iter=self._clustering.kmeans_iterations,
                )
            )
        except ValueError as error:
            raise TrainingDivergedError(f"The training set cannot be clustered: {error}") from error
        if self._head is not None:
            variance = self._clustering.temperature * clusters.variance
            self._head.set_clusters(clusters.centroids, variance)
        if self.sampler is not None:
            self.sampler.set_clusters(clusters.assignments, clusters.centroids)
        self.sizes = np.bincount(clusters.assignments, minlength=len(clusters.centroids))
        return clusters

    def of(
        self,
        classifier: Any,
        embed: Callable[[Images], np.ndarray],
        replicas: Replicas | None = None,
    ) -> "RefreshClusters":
        """The same for another classifier, or other weights, without a sampler.

        Args:
            classifier: whose head gets the clusters.
            embed: images -> its embeddings.
            replicas: who shares the clusters; None: this process alone.
        """
        other = copy.copy(self)
        other._head, other._embed, other._replicas = classifier.head, embed, replicas
        other.sampler = None
        return other

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        embeddings = self._embedded()
        self._found(embeddings, self._seed + epoch + 1)
        if self._head is not None and logs is not None:
            logs["accuracy"] = accuracy(self._head, embeddings, self._labels)

    def _embedded(self) -> np.ndarray:
        if self._embed is not None:
            return self._embed(self._images)
        return np.asarray(self.model.predict(self._images, verbose=0))

    def _shared(self, clusters: Clusters) -> Clusters:
        if self._replicas is None:
            return clusters
        broadcast = self._replicas.broadcast
        return Clusters(
            broadcast(clusters.centroids.ravel()).reshape(clusters.centroids.shape),
            broadcast(clusters.assignments),
            float(broadcast(np.array([clusters.variance]))[0]),
        )


def accuracy(head: ClusteringHead, embeddings: np.ndarray, labels: np.ndarray) -> float:
    """Share of embeddings that the head gives to their label.

    Args:
        head: with clusters.
        embeddings: `[N, dim]`.
        labels: int `[N]`.
    """
    batch = 512
    predictions = [
        np.argmax(head(embeddings[start : start + batch]), axis=1)
        for start in range(0, len(embeddings), batch)
    ]
    return float(np.mean(np.concatenate(predictions) == labels))
