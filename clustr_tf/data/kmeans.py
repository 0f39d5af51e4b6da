"""K-means inside each class."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

# A larger class is clustered by so many of its examples, drawn at random; the others are assigned.
_MOST_FITTED = 50_000
_PART = 2**16  # rows at once where all pass by


class Clusters(NamedTuple):
    """Clusters of a training set; cluster j belongs to class j // K.

    Attributes:
        centroids: `[C*K, dim]`, the embeddings' dtype.
        assignments: int64 `[N]`, every example's cluster.
        variance: sigma^2, `sum_n |z_n - mu_own(n)|^2 / (N - 1)`.
    """

    centroids: np.ndarray
    assignments: np.ndarray
    variance: float


def cluster_by_class(
    embeddings: np.ndarray,
    labels: np.ndarray,
    clusters_per_class: int,
    seed: int = 0,
    n_init: int = 1,
    max_iter: int = 20,
) -> Clusters:
    """K-means with k-means++ starts inside each class.

    Where a class has fewer than K distinct embeddings some of its clusters share a centroid and
    some of those stay empty; the sampler never draws an empty cluster.

    A class of more than 50,000 examples is clustered by 50,000 of them, drawn by the seed; then
    every example gets the nearest centroid of its class. So one class is in memory at a time, and
    no more of it than these, whatever N is.

    Args:
        embeddings: floating `[N, dim]`; they may be memory-mapped.
        labels: int `[N]`, every class of 0..C-1 at least K times.
        clusters_per_class: K.
        seed: of the k-means++ starts.
        n_init: starts per class; the best is kept. The paper: 1 for CIFAR-10, 10 for others.
        max_iter: Lloyd iterations at most. The paper: 20 for CIFAR-10, 40 for others.

    Returns:
        The clusters, ordered by class.

    Raises:
        ValueError: if an embedding is not a finite floating number, labels are not integers
            0..C-1, a class has fewer than K examples, all embeddings coincide with their
            centroid, or shapes do not match.

    Example:
        >>> centroids, assignments, variance = cluster_by_class(embeddings, labels, 2)

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3; Arthur and Vassilvitskii, "k-means++", 2007.
    """
    embeddings, labels = np.asarray(embeddings), np.asarray(labels)
    _check(embeddings, labels, clusters_per_class)
    num_classes = int(labels.max()) + 1
    centroids = np.empty((num_classes * clusters_per_class, embeddings.shape[1]), embeddings.dtype)
    assignments = np.empty(len(labels), np.int64)
    for label in range(num_classes):
        members = np.flatnonzero(labels == label)
        first = label * clusters_per_class
        kmeans = KMeans(clusters_per_class, n_init=n_init, max_iter=max_iter, random_state=seed)
        with warnings.catch_warnings():
            # Fewer distinct embeddings than clusters: see the docstring.
            warnings.simplefilter("ignore", ConvergenceWarning)
            assignments[members] = first + _fitted(kmeans, embeddings, members, seed)
        centroids[first : first + clusters_per_class] = kmeans.cluster_centers_
    squares = 0.0
    for rows in _parts(len(labels)):
        residuals = embeddings[rows] - centroids[assignments[rows]]
        squares += np.sum(np.square(residuals, dtype=np.float64))
    variance = float(squares / (len(labels) - 1))
    if variance == 0:
        raise ValueError(
            "embeddings must not all coincide with their centroids: sigma^2 would be 0. "
            f"Received: {len(embeddings)} collapsed embeddings"
        )
    return Clusters(centroids, assignments, variance)


def _fitted(kmeans: KMeans, embeddings: np.ndarray, members: np.ndarray, seed: int) -> np.ndarray:
    """The cluster of each member, from 0."""
    if len(members) <= _MOST_FITTED:
        return kmeans.fit_predict(embeddings[members])
    drawn = np.random.default_rng(seed).choice(members, _MOST_FITTED, replace=False)
    kmeans.fit(embeddings[np.sort(drawn)])
    parts = [kmeans.predict(embeddings[members[rows]]) for rows in _parts(len(members))]
    return np.concatenate(parts)


def _parts(count: int) -> list[slice]:
    return [slice(start, start + _PART) for start in range(0, count, _PART)]


def _check(embeddings: np.ndarray, labels: np.ndarray, clusters_per_class: int) -> None:
    if embeddings.ndim != 2 or labels.shape != embeddings.shape[:1] or len(labels) < 2:
        raise ValueError(
            "embeddings must be [N, dim] and labels [N] with N at least 2. "
            f"Received: shapes {embeddings.shape} and {labels.shape}"
        )
    if not np.issubdtype(embeddings.dtype, np.floating):
        # The centroids get this dtype: as integers they would be cut off.
        raise ValueError(f"embeddings must be floating. Received: {embeddings.dtype}")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be integers. Received: {labels.dtype}")
    if clusters_per_class < 1:
        raise ValueError(f"clusters_per_class must be at least 1. Received: {clusters_per_class}")
    if not all(np.isfinite(embeddings[rows]).all() for rows in _parts(len(labels))):
        raise ValueError("embeddings must be finite. Received: NaN or infinity among them")
    if labels.min() < 0:
        raise ValueError(f"labels must be at least 0. Received: {labels.min()}")
    sizes = np.bincount(labels)
    if sizes.min() < clusters_per_class:
        raise ValueError(
            f"every class needs at least clusters_per_class={clusters_per_class} examples. "
            f"Received: {sizes.min()} in class {sizes.argmin()}"
        )
