"""Certified radius of an affine head: argmax of W z + b."""

from typing import Any

import numpy as np
from keras import ops

from clustr_tf.certify.l2.clusters import largest, smallest_of_others
from clustr_tf.certify.layer_rules import LARGEST_IN_RANGE, UNIT_ROUNDOFF, gamma, underflow

# For distances of float64 weights: far above their rounding.
_RAISED = 1 + 1e-9
_LARGEST = float(np.finfo(np.float64).max)


def affine_margin(embeddings: Any, kernel: Any, bias: Any, least: float = 0.0) -> tuple[Any, Any]:
    """Class of the largest logit and an l2 radius around the embedding in which it stays.

    l = W z + b, c the class of the largest: the difference of two logits is affine in z with the
    slope w_c - w_k, so the distance to where class k is as large is (l_c - l_k) / |w_c - w_k|, and

        radius = min_k (l_c - l_k - least) / |w_c - w_k|.

    Rounding: float32 logits err by at most e_k = gamma_{dim+4} (|w_k| |z| + |b_k|) + U (1 + |z|),
    U = `underflow(dim)`, wherever they are computed, with |z'| <= |z| + r at a point in the radius.
    e_c + e_k at z is subtracted from the difference and its growth with r added to the slope; the
    float64 arithmetic here is below the two terms more than gamma needs. All logits stay
    within float32's range in the radius.

    Args:
        embeddings: `[batch, dim]`, float32 or float64.
        kernel: W, `[dim, classes]`, at least two classes.
        bias: b, `[classes]`.
        least: how much larger than the others the logit of c must stay.

    Returns:
        Class int64 `[batch]` and radius float64 `[batch]` >= 0, 0 where nothing is proved; at most
        1.8e308, where all classes have the same weights.

    Raises:
        ValueError: if the shapes are not as above.

    Example:
        >>> affine_margin([[1.0]], [[0.0, 2.0]], [0.0, -1.0])  # [1], [0.5]
    """
    embeddings, kernel, bias = (
        ops.cast(ops.convert_to_tensor(x), "float64") for x in (embeddings, kernel, bias)
    )
    dim, classes = kernel.shape
    if embeddings.shape[1] != dim or tuple(bias.shape) != (classes,) or classes < 2:
        raise ValueError(
            "embeddings, kernel and bias must be [batch, dim], [dim, classes] and [classes], at "
            f"least two classes. Received: {embeddings.shape}, {kernel.shape} and {bias.shape}"
        )
    logits = ops.matmul(embeddings, kernel) + bias
    predicted = largest(logits)

    def of_pairs(values: Any) -> Any:
        """The class's own and that of each class, added up: `[..., classes]` of either."""
        own = ops.take_along_axis(values, ops.expand_dims(predicted, 1), axis=1)
        return own + values

    lengths = _RAISED * ops.sqrt(ops.sum(ops.square(kernel), axis=0, keepdims=True))
    norms = _RAISED * ops.sqrt(ops.sum(ops.square(embeddings), axis=1, keepdims=True))
    rate, lost = gamma(dim + 4, UNIT_ROUNDOFF["float32"]), underflow(dim)
    errors = rate * (lengths * norms + ops.abs(bias)) + lost * (1 + norms)
    growth = rate * lengths + lost + 0 * logits
    slopes = ops.take(_gaps(kernel), predicted, axis=0) + of_pairs(growth)
    own = ops.take_along_axis(logits, ops.expand_dims(predicted, 1), axis=1)
    margins = own - logits - of_pairs(errors) - least
    radius = smallest_of_others(margins / slopes, predicted)
    in_range = (LARGEST_IN_RANGE - ops.max(ops.abs(bias))) / ops.max(lengths) - norms[:, 0]
    radius = ops.minimum(ops.maximum(ops.minimum(radius, in_range), 0), _LARGEST)
    # Not-a-number could be lost on its way, in minima.
    finite = (
        ops.isfinite(norms[:, 0]) & ops.all(ops.isfinite(lengths)) & ops.all(ops.isfinite(bias))
    )
    return predicted, ops.where(finite, radius, 0)


def _gaps(kernel: Any) -> Any:
    """|w_c - w_k| of all pairs of classes, `[classes, classes]`; class by class."""
    columns = ops.transpose(kernel)
    rows = [ops.sum(ops.square(columns - one), axis=1) for one in ops.unstack(columns)]
    return _RAISED * ops.sqrt(ops.stack(rows))
