"""Where batches come from: neighbourhoods of clusters, or shuffled examples."""

import json
import logging
from typing import Protocol

import numpy as np

_logger = logging.getLogger(__name__)


class Batches(Protocol):
    """A resumable source of batches; `NeighbourhoodSampler` is one."""

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 `[batch]` of distinct examples, targets int64 `[batch, 2]`."""

    def update_losses(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Hears of the losses of a batch."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken."""


def most_clusters(clusters_per_class: int, num_classes: int) -> int:
    """The most clusters that a neighbourhood can have: the seed and all of other classes."""
    return clusters_per_class * (num_classes - 1) + 1


class NeighbourhoodSampler:
    """Draws batches of M neighbouring clusters with D examples each.

    The seed cluster is drawn with probability proportional to its mean recent loss (uniformly
    until a loss is known), then come the M-1 clusters of other classes whose centroids are nearest
    to the seed's. A cluster without any known loss counts with the mean of the known ones; the
    published code gives it probability 0, so that it can starve. Empty clusters are never drawn.

    The cost of a draw or an update does not grow with the number of examples.

    Args:
        labels: int `[N]`, every class of 0..C-1 occurs.
        assignments: int `[N]`, the example's cluster, of class `cluster // K`.
        centroids: `[C*K, dim]`.
        clusters_per_batch: M, 2 to K*(C-1) + 1.
        examples_per_cluster: D, at least 1. A smaller cluster gives all it has; this is said once.
        seed: of all draws.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> sampler = NeighbourhoodSampler(labels, assignments, centroids, 12, 20, seed=0)
        >>> indices, targets = sampler.sample()  # [240], [240, 2] = (class, cluster)
        >>> sampler.update_losses(indices, losses)

    Reference:
        Rippel et al., arXiv 1511.05939, section 3.2 (neighbourhood sampling).
    """

    def __init__(
        self,
        labels: np.ndarray,
        assignments: np.ndarray,
        centroids: np.ndarray,
        clusters_per_batch: int,
        examples_per_cluster: int,
        seed: int = 0,
    ):
        self._labels = np.asarray(labels, np.int64)
        if self._labels.ndim != 1 or not len(self._labels) or self._labels.min() < 0:
            raise ValueError(
                "labels must be [N] in 0..C-1 with N at least 1. "
                f"Received: shape {self._labels.shape}"
            )
        num_classes = int(self._labels.max()) + 1
        self._num_clusters = len(centroids)
        if not self._num_clusters or self._num_clusters % num_classes:
            raise ValueError(
                f"centroids must be [C*K, dim], C={num_classes}. "
                f"Received: {self._num_clusters} rows"
            )
        self.clusters_per_class = self._num_clusters // num_classes
        largest = most_clusters(self.clusters_per_class, num_classes)
        if not 2 <= clusters_per_batch <= largest:
            raise ValueError(
                f"clusters_per_batch must be from 2 to {largest}: one seed and clusters of other "
                f"classes. Received: {clusters_per_batch}"
            )
        if examples_per_cluster < 1:
            raise ValueError(
                f"examples_per_cluster must be at least 1. Received: {examples_per_cluster}"
            )
        self.clusters_per_batch = clusters_per_batch
        self.examples_per_cluster = examples_per_cluster
        self._random = np.random.default_rng(seed)
        self._losses = np.full(len(self._labels), np.nan)
        self._warned = False
        self.set_clusters(assignments, centroids)

    def set_clusters(self, assignments: np.ndarray, centroids: np.ndarray) -> None:
        """Replaces the clusters after a refresh; the examples keep their losses.

        Args:
            assignments: int `[N]`.
            centroids: `[C*K, dim]`, as many as before.

        Raises:
            ValueError: if an example is assigned to a cluster of another class, or centroids are
                not finite or not as many as before.
        """
        assignments, centroids = np.asarray(assignments, np.int64), np.asarray(centroids)
        if centroids.ndim != 2 or len(centroids) != self._num_clusters:
            raise ValueError(
                f"centroids must be [{self._num_clusters}, dim]. Received: shape {centroids.shape}"
            )
        if not np.isfinite(centroids).all():
            raise ValueError("centroids must be finite. Received: NaN or infinity among them")
        if assignments.shape != self._labels.shape:
            raise ValueError(
                f"assignments must have shape {self._labels.shape}. Received: {assignments.shape}"
            )
        if not np.array_equal(assignments // self.clusters_per_class, self._labels):
            raise ValueError(
                "assignments must give every example a cluster of its own class, cluster // "
                f"{self.clusters_per_class} = label. Received: another"
            )
        self._assignments, self._centroids = assignments, centroids
        sizes = np.bincount(assignments, minlength=self._num_clusters)
        order = np.argsort(assignments, kind="stable")
        self._members = np.split(order, np.cumsum(sizes)[:-1])
        self._occupied = sizes > 0
        self._impostors: dict[int, np.ndarray] = {}
        known = np.isfinite(self._losses)
        nonzero = known & (self._losses != 0)
        self._known_counts = np.bincount(assignments[known], minlength=self._num_clusters)
        self._nonzero_counts = np.bincount(assignments[nonzero], minlength=self._num_clusters)
        self._loss_sums = np.zeros(self._num_clusters)
        np.add.at(self._loss_sums, assignments[known], self._losses[known])

    @property
    def cluster_losses(self) -> np.ndarray:
        """Mean known loss of each cluster's examples, float64 `[C*K]`; NaN where none is known."""
        means = np.full(self._num_clusters, np.nan)
        np.divide(self._loss_sums, self._known_counts, out=means, where=self._known_counts > 0)
        return means

    @property
    def seed_probabilities(self) -> np.ndarray:
        """Probability of each cluster to be the next seed, float64 `[C*K]`."""
        losses = self.cluster_losses
        known = np.isfinite(losses)
        usual = losses[known].mean() if known.any() else 1.0
        weights = np.where(known, losses, usual) * self._occupied
        # Incremental sums may leave a rounding error below zero.
        weights = np.maximum(weights, 0.0)
        if weights.sum() == 0:
            weights = self._occupied.astype(np.float64)
        return weights / weights.sum()

    def impostors(self, seed_cluster: int) -> np.ndarray:
        """The M-1 clusters of other classes that are nearest to a cluster.

        Args:
            seed_cluster: its id.

        Returns:
            int64 ids, the nearest first; fewer where clusters are empty.

        Raises:
            ValueError: if there is no such cluster.
        """
        if not 0 <= seed_cluster < self._num_clusters:
            raise ValueError(
                f"seed_cluster must be from 0 to {self._num_clusters - 1}. Received: {seed_cluster}"
            )
        if seed_cluster not in self._impostors:
            classes = np.arange(self._num_clusters) // self.clusters_per_class
            eligible = (classes != classes[seed_cluster]) & self._occupied
            candidates = np.flatnonzero(eligible)
            differences = self._centroids[candidates] - self._centroids[seed_cluster]
            distances = np.sum(np.square(differences, dtype=np.float64), axis=1)
            nearest = np.argsort(distances, kind="stable")[: self.clusters_per_batch - 1]
            self._impostors[seed_cluster] = candidates[nearest]
        return self._impostors[seed_cluster]

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws one neighbourhood.

        Returns:
            indices int64 `[batch]` of distinct examples, grouped by cluster with the seed's first,
            and targets int64 `[batch, 2]` = (class, cluster). The batch is M*D unless clusters
            are smaller than D.
        """
        seed_cluster = int(self._random.choice(self._num_clusters, p=self.seed_probabilities))
        clusters = [seed_cluster, *self.impostors(seed_cluster)]
        indices = np.concatenate([self._draw(cluster) for cluster in clusters])
        targets = np.stack([self._labels[indices], self._assignments[indices]], axis=1)
        return indices, targets

    def update_losses(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Remembers the losses of a batch.

        Args:
            indices: int `[batch]`, distinct.
            losses: `[batch]`, finite.

        Raises:
            ValueError: if shapes differ, an index is unknown or repeated, or a loss is not finite;
                nothing is remembered then.
        """
        indices, losses = np.asarray(indices), np.asarray(losses, np.float64)
        if indices.shape != losses.shape or indices.ndim != 1:
            raise ValueError(
                "indices and losses must both be [batch]. "
                f"Received: shapes {indices.shape} and {losses.shape}"
            )
        if not np.isfinite(losses).all():
            raise ValueError("losses must be finite. Received: NaN or infinity among them")
        if np.any((indices < 0) | (indices >= len(self._losses))):
            raise ValueError(
                f"indices must be from 0 to {len(self._losses) - 1}. "
                f"Received: {indices.min()} to {indices.max()}"
            )
        if len(np.unique(indices)) < len(indices):
            raise ValueError("indices must be distinct. Received: an example more than once")
        clusters, was_known = self._assignments[indices], np.isfinite(self._losses[indices])
        old = np.where(was_known, self._losses[indices], 0.0)
        np.add.at(self._loss_sums, clusters, losses - old)
        np.add.at(self._known_counts, clusters, ~was_known)
        np.add.at(self._nonzero_counts, clusters, (losses != 0).astype(int) - (old != 0))
        # What rounding leaves of a sum of zeros would decide every draw once all losses are 0.
        self._loss_sums[clusters[self._nonzero_counts[clusters] == 0]] = 0.0
        self._losses[indices] = losses

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""
        return {
            "losses": self._losses.copy(),
            "assignments": self._assignments,
            "centroids": self._centroids,
            "loss_sums": self._loss_sums.copy(),
            "random": np.array(json.dumps(self._random.bit_generator.state)),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken.

        Args:
            state: as given by `state()` of a sampler of the same data.

        Raises:
            ValueError: if it does not fit these data.
        """
        losses, loss_sums = np.array(state["losses"]), np.array(state["loss_sums"])
        if losses.shape != self._labels.shape or loss_sums.shape != (self._num_clusters,):
            raise ValueError(
                f"state must be of {len(self._labels)} examples in {self._num_clusters} clusters. "
                f"Received: losses {losses.shape}, loss_sums {loss_sums.shape}"
            )
        self._losses = losses
        self.set_clusters(state["assignments"], state["centroids"])
        self._loss_sums = loss_sums
        self._random.bit_generator.state = json.loads(str(state["random"]))

    def _draw(self, cluster: int) -> np.ndarray:
        members = self._members[cluster]
        if len(members) < self.examples_per_cluster and not self._warned:
            self._warned = True
            _logger.warning(
                "cluster %d has %d examples, fewer than examples_per_cluster=%d: batches that "
                "draw it are smaller (said once)",
                cluster,
                len(members),
                self.examples_per_cluster,
            )
        count = min(self.examples_per_cluster, len(members))
        chosen = self._random.choice(len(members), size=count, replace=False, shuffle=False)
        return members[chosen]


class ShuffledBatches:
    """Every example once in random order, then again in another order.

    What is left at the end of an order and does not fill a batch waits for another order.

    Args:
        labels: int `[N]`.
        batch_size: examples of a batch, 1 to N.
        seed: of the orders.

    Raises:
        ValueError: if the batch size is not as above.

    Example:
        >>> indices, targets = ShuffledBatches(labels, 256, seed=0).sample()
    """

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int = 0):
        self._labels = np.asarray(labels, np.int64)
        if not 1 <= batch_size <= len(self._labels):
            raise ValueError(
                f"batch_size must be from 1 to {len(self._labels)}. Received: {batch_size}"
            )
        self._batch_size = batch_size
        self._random = np.random.default_rng(seed)
        self._order = self._random.permutation(len(self._labels))
        self._position = 0

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws the next batch.

        Returns:
            indices int64 `[batch]` and targets int64 `[batch, 2]` = (class, class): to methods
            without clusters every class is one.
        """
        if self._position + self._batch_size > len(self._order):
            self._order = self._random.permutation(len(self._labels))
            self._position = 0
        indices = self._order[self._position : self._position + self._batch_size]
        self._position += self._batch_size
        labels = self._labels[indices]
        return indices, np.stack([labels, labels], axis=1)

    def update_losses(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Losses do not change the order."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""
        return {
            "order": self._order,
            "position": np.array(self._position),
            "random": np.array(json.dumps(self._random.bit_generator.state)),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken.

        Args:
            state: as given by `state()` of a source of the same data.

        Raises:
            ValueError: if it does not fit these data.
        """
        order = np.asarray(state["order"])
        if order.shape != self._labels.shape:
            raise ValueError(
                f"state must be of {len(self._labels)} examples. Received: {len(order)}"
            )
        self._order, self._position = order, int(state["position"])
        self._random.bit_generator.state = json.loads(str(state["random"]))
