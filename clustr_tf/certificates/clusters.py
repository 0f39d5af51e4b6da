"""What the certificates of both classifiers need to know of the clusters."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.distances import squared_distances
from clustr_tf.layers.clustering_head import by_class


def checked_inputs(
    embeddings: Any, centroids: Any, clusters_per_class: int, lipschitz: float
) -> tuple[Any, Any]:
    """Embeddings and centroids as tensors of one floating dtype, the wider of the two.

    Args:
        embeddings: `[batch, dim]`.
        centroids: `[C*K, dim]`, cluster j of class j // K, at least two classes.
        clusters_per_class: K.
        lipschitz: above 0 and finite.

    Returns:
        Both as tensors, float32 or float64.

    Raises:
        ValueError: if an argument is not as above.

    Example:
        >>> checked_inputs([[1.0]], [[0.0], [4.0]], clusters_per_class=1, lipschitz=1.0)
    """
    embeddings, centroids = ops.convert_to_tensor(embeddings), ops.convert_to_tensor(centroids)
    if len(centroids.shape) != 2:
        raise ValueError(f"centroids must be [clusters, dim]. Received: shape {centroids.shape}")
    if len(embeddings.shape) != 2 or embeddings.shape[1] != centroids.shape[1]:
        raise ValueError(
            f"embeddings must be [batch, {centroids.shape[1]}] like the centroids. "
            f"Received: shape {embeddings.shape}"
        )
    count = centroids.shape[0]
    if clusters_per_class < 1 or count % clusters_per_class or count < 2 * clusters_per_class:
        raise ValueError(
            f"clusters_per_class must divide the {count} centroids into at least 2 classes. "
            f"Received: {clusters_per_class}"
        )
    if not 0 < lipschitz < np.inf:
        raise ValueError(f"lipschitz must be above 0 and finite. Received: {lipschitz}")
    dtype = keras.backend.result_type(embeddings.dtype, centroids.dtype, "float32")
    return ops.cast(embeddings, dtype), ops.cast(centroids, dtype)


@dataclass(frozen=True)
class ActiveSet:
    """Some clusters of every class, as competitors see them: for the radius "exact".

    Attributes:
        members: which of a class's clusters, ascending.
        gram: Gram matrices of the unit normals to them, `[C, C*K, size, size]`.
        inverse: of the Gram matrices, `[C, C*K, size, size]`.
    """

    members: tuple[int, ...]
    gram: Any
    inverse: Any


@dataclass(frozen=True)
class ClusterGeometry:
    """What of the certificates depends on the clusters alone: computed once, not for every image.

    Attributes:
        centroids: `[C*K, dim]`.
        clusters_per_class: K.
        gaps: distances of each class's centroids to all, `[C, K, C*K]`; 0 where they coincide or
            are too close to tell how far apart they are.
        active_sets: those of two and more clusters; empty unless "exact" is asked for.
    """

    centroids: Any
    clusters_per_class: int
    gaps: Any
    active_sets: tuple[ActiveSet, ...] = ()


def cluster_gaps(centroids: Any, clusters_per_class: int) -> Any:
    """Distances from each class's centroids to all, `[C*K, dim]` -> `[C, K, C*K]`.

    Those whose squares could have lost digits to underflow count as 0. To take clusters for
    coinciding is always sound: their bisector then proves nothing.

    Class by class, as the coordinate differences of all pairs would take C*K times the memory of
    the centroids.
    """
    classes = centroids.shape[0] // clusters_per_class
    squared = ops.stack(
        [squared_distances(own, centroids) for own in ops.split(centroids, classes)]
    )
    dtype = np.finfo(keras.backend.standardize_dtype(centroids.dtype))
    return ops.sqrt(ops.where(squared > float(dtype.tiny / dtype.eps), squared, 0))


def machine_epsilon(values: Any) -> float:
    """Twice the unit roundoff of a tensor's dtype."""
    return float(np.finfo(keras.backend.standardize_dtype(values.dtype)).eps)


def of_own_class(values: Any, predicted: Any, clusters_per_class: int) -> Any:
    """The entries of the predicted class's clusters, `[batch, C*K]` -> `[batch, K]`."""
    own = ops.reshape(predicted, (-1, 1, 1))
    return ops.take_along_axis(by_class(values, clusters_per_class), own, axis=1)[:, 0]


def largest(values: Any) -> Any:
    """Which entry is the largest, the first of several, `[batch, n]` -> int64 `[batch]`.

    Not ops.argmax, which tells -0 from 0 by looking at bits: several passes, and an operation
    that other engines lack.
    """
    return ops.cast(ops.top_k(values, 1)[1][:, 0], "int64")


def smallest_of_others(values: Any, predicted: Any) -> Any:
    """The smallest entry outside the predicted class, `[batch, ..., C]` -> `[batch, ...]`."""
    classes = ops.arange(values.shape[-1], dtype=predicted.dtype)
    own = ops.reshape(predicted, (-1,) + (1,) * (len(values.shape) - 1))
    return ops.min(ops.where(ops.equal(classes, own), np.inf, values), axis=-1)
