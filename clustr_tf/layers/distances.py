"""Squared Euclidean distances that stay accurate close to a centroid."""

from typing import Any

import keras
from keras import ops

# Above so many numbers in the centroids, float32 differences would fill the memory.
_MANY = 2**18


def squared_distances(points: Any, centroids: Any) -> Any:
    """Squared distances between every point and every centroid.

    The expanded form |z|^2 - 2 z.mu + |mu|^2 cancels when z is near mu; summing squared
    differences keeps the full relative precision of the dtype, which certificates rely on. Only
    for many float32 centroids, where `batch * clusters * dim` differences do not fit into memory,
    the expanded form is taken, in float64: products of float32 are exact there, and what cancels
    is below 1e-15 |z|^2.

    Args:
        points: `[batch, dim]`.
        centroids: `[clusters, dim]`, same dtype.

    Returns:
        `[batch, clusters]`, same dtype, non-negative.

    Example:
        >>> squared_distances([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])  # [[25., 1.]]
    """
    points, centroids = ops.convert_to_tensor(points), ops.convert_to_tensor(centroids)
    is_float32 = keras.backend.standardize_dtype(points.dtype) == "float32"
    if centroids.shape[0] * centroids.shape[1] > _MANY and is_float32:
        wide = ops.cast(points, "float64"), ops.cast(centroids, "float64")
        # JAX without its 64-bit mode has no float64 to cast to.
        if keras.backend.standardize_dtype(wide[0].dtype) == "float64":
            return ops.cast(_expanded(*wide), "float32")
    return _summed(points, centroids)


@ops.custom_gradient
def _summed(points: Any, centroids: Any) -> Any:
    """By differences; their gradient in one pass over them, where the backend's own takes four."""
    differences = ops.expand_dims(points, 1) - ops.expand_dims(centroids, 0)

    def gradient(*arguments: Any, upstream: Any = None) -> tuple[Any, Any]:
        weights = 2 * (arguments[0] if upstream is None else upstream)
        by_point = ops.einsum("bk,bkd->bd", weights, differences)
        return by_point, -ops.einsum("bk,bkd->kd", weights, differences)

    return ops.sum(ops.square(differences), axis=-1), gradient


def _expanded(points: Any, centroids: Any) -> Any:
    lengths = ops.sum(ops.square(points), axis=1, keepdims=True)
    products = ops.matmul(points, ops.transpose(centroids))
    distances = lengths - 2 * products + ops.sum(ops.square(centroids), axis=1)
    return ops.maximum(distances, 0)
