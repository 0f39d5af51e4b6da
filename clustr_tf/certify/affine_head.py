"""An affine head: what certificates need to know of it."""

from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers, ops

from clustr_tf.certify.layer_rules import check_precision

# float32 probabilities of two classes may be equal although their logits are not: exp(-d) is
# below 1 for every larger d, by many roundings of exponential, sum and quotient.
LEAST_OF_SOFTMAX = 2.0**-16


class AffineHead(NamedTuple):
    """Logits W z + b of the embedding z.

    Attributes:
        kernel: W, `[dim, classes]`.
        bias: b, `[classes]`.
        least: how much larger than all others a logit must be for its class to win for certain: 0,
            or more where a softmax follows, which makes ties of what differs by less.
    """

    kernel: Any
    bias: Any
    least: float = 0.0

    def logits(self, embeddings: Any) -> Any:
        """In float64, `[batch, dim]` -> `[batch, classes]`."""
        kernel, bias = (ops.cast(ops.convert_to_tensor(x), "float64") for x in self[:2])
        return ops.matmul(ops.cast(embeddings, "float64"), kernel) + bias


def affine_head(layer: Any) -> AffineHead | None:
    """The head that a layer is: dense, linear or with a softmax.

    Args:
        layer: any layer, built.

    Returns:
        The head; None if the layer is none, as a clustering head.

    Raises:
        ValueError: if it computes in less than float32.

    Example:
        >>> affine_head(classifier.head).kernel.shape  # (dim, classes)
    """
    if type(layer) is not layers.Dense or not layer.built:
        return None
    if layer.activation not in (keras.activations.linear, keras.activations.softmax):
        return None
    check_precision(layer)
    bias = layer.bias if layer.use_bias else np.zeros(layer.units)
    is_linear = layer.activation is keras.activations.linear
    return AffineHead(layer.kernel, bias, 0.0 if is_linear else LEAST_OF_SOFTMAX)
