"""Squared Euclidean distances that stay accurate close to a centroid."""

from typing import Any

from keras import ops


def squared_distances(points: Any, centroids: Any) -> Any:
    """Squared distances between every point and every centroid, in the difference form.

    The expanded form ||z||^2 - 2 z.mu + ||mu||^2 cancels when z is near mu; summing squared
    differences keeps the full relative precision of the dtype, which certificates rely on.

    Args:
        points: `[batch, dim]`.
        centroids: `[clusters, dim]`, same dtype.

    Returns:
        `[batch, clusters]`, same dtype, non-negative.

    Example:
        >>> squared_distances([[0.0, 0.0]], [[3.0, 4.0], [0.0, 1.0]])  # [[25., 1.]]
    """
    points, centroids = ops.convert_to_tensor(points), ops.convert_to_tensor(centroids)
    differences = ops.expand_dims(points, 1) - ops.expand_dims(centroids, 0)
    return ops.sum(ops.square(differences), axis=-1)
