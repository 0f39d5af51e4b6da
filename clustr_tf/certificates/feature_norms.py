"""How large a feature map is: what bounds the rounding of the layer that reads it."""

from typing import Any

import keras
import numpy as np
from keras import ops


def norm_bounds(values: Any) -> Any:
    """Upper bounds of the l2 norms of feature maps, above them by rounding alone.

    float32 sums of so many squares could be too small. But to cast all of a feature map costs as
    much as a convolution: channels are summed as they are, and their sum is raised by its rounding,
    gamma_C for C channels and a few more for the root, and by what underflow may have taken.

    Args:
        values: float32 or float64 `[batch, ..., C]`.

    Returns:
        float64 `[batch]`.

    Example:
        >>> norm_bounds(np.array([[3.0, 4.0]], "float32"))  # [5.0]

    Reference:
        Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1.
    """
    if len(values.shape) == 2:
        return ops.sqrt(ops.sum(ops.square(ops.cast(values, "float64")), axis=1))
    channels = values.shape[-1]
    dtype = np.finfo(keras.backend.standardize_dtype(values.dtype))
    squares = ops.square(ops.cast(_norms(values), "float64")) + channels * float(dtype.tiny)
    raised = squares * (1 + (channels + 8) * float(dtype.eps))
    return ops.sqrt(ops.sum(raised, axis=tuple(range(1, len(raised.shape)))))


def _norms(values: Any) -> Any:
    """Norms along the last axis, without writing the squares to memory where that can be had."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.math.reduce_euclidean_norm(values, axis=-1)
    return ops.sqrt(ops.sum(ops.square(values), axis=-1))
