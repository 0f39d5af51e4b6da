"""A proved Lipschitz bound of a network, and a bound of its float32 rounding."""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

from clustr_tf.certificates.graph import fold_layers
from clustr_tf.certificates.layer_bounds import layer_bound, rounds

_UNIT_ROUNDOFF = 2.0**-24
# Norms are measured in float32; their own rounding is far below one per cent.
_NORM_INFLATION = 1.01


@dataclass(frozen=True)
class LipschitzBound:
    """What certified radii rest on.

    Attributes:
        gain: the network is `gain`-Lipschitz from pixel l2 to embedding l2, in real arithmetic.
        growth: how fast the rounding error can grow with the l2 distance from the image.
        slack: `slack[0] + slack[1:] @ norms` bounds the sum of the rounding errors of the
            embeddings of an image and of one changed by r, up to `growth * r`; `norms` are those
            of `embed_with_norms`.
    """

    gain: float
    growth: float
    slack: tuple[float, ...]

    def rounding(self, norms: Any) -> Any:
        """The slack of a batch.

        Args:
            norms: float64 `[batch, layers]`, of `embed_with_norms`.

        Returns:
            float64 `[batch]`.
        """
        weights = ops.convert_to_tensor(self.slack[1:], dtype="float64")
        return self.slack[0] + ops.sum(norms * weights, axis=1)


@dataclass(frozen=True)
class _Bounds:
    """Bounds of one tensor; errors are linear forms (constant, one weight for each norm).

    Attributes:
        gain: Lipschitz constant from the pixels.
        error: of the float32 tensor against the exact one, for the image itself.
        changed_error: likewise for an image changed by r, without the part that grows with r.
        growth: that part, divided by r.
    """

    gain: float
    error: np.ndarray
    changed_error: np.ndarray
    growth: float


def lipschitz_bound(network: keras.Model) -> LipschitzBound:
    """Bounds the Lipschitz constant and the rounding of a functional network.

    Gains multiply along a path and add up where branches are added. Rounding: a layer that sums
    n products in float32 errs by at most gamma_n |W| |x|, gamma_n = n u / (1 - n u), u = 2^-24, in
    any order of summation (Higham, "Accuracy and Stability of Numerical Algorithms", section 3.1),
    where x is its float32 input; the error grows by the gains of the later layers. The norms of
    these inputs are measured for every image; for an image changed by r they are larger by at most
    the layer's gain times r and the errors themselves.

    WARNING: the bounds hold for inference, for these very weights and images in [0, 1], and the
    rounding for IEEE float32 sums of products without underflow: not for bfloat16, float16,
    TensorFloat-32 or Winograd convolutions. Switch those off where certificates are served.

    Args:
        network: a functional model of layers known to `layer_bound`, `keras.layers.Add` and nested
            functional models; images `[batch, H, W, C]` in [0, 1] -> `[batch, dim]`.

    Returns:
        The bounds. For ordinary (unconstrained) networks the gain is true and large, so that
        certified radii are tiny.

    Raises:
        ValueError: if a layer has no proved bound, does not compute in float32 or float64, or is
            used more than once.

    Example:
        >>> lipschitz_bound(classifier.embedder).gain
    """
    rounding_layers: list[str] = []

    def list_layer(layer: Any, _: list[None]) -> None:
        if rounds(layer):
            rounding_layers.append(layer.name)

    fold_layers(network, None, list_layer)
    no_error = np.zeros(1 + len(rounding_layers))
    measured = iter(_NORM_INFLATION * np.eye(1 + len(rounding_layers))[1:])

    def visit(layer: Any, inputs: list[_Bounds]) -> _Bounds:
        return _layer_output(layer, inputs, next(measured) if rounds(layer) else no_error)

    result = fold_layers(network, _Bounds(1.0, no_error, no_error, 0.0), visit)
    slack = result.error + result.changed_error
    return LipschitzBound(result.gain, result.growth, tuple(float(value) for value in slack))


def embed_with_norms(network: keras.Model, images: Any) -> tuple[Any, Any]:
    """Embeddings, and the norms that the rounding of exactly this forward pass is bounded with.

    Args:
        network: as for `lipschitz_bound`.
        images: float32 `[batch, H, W, C]`.

    Returns:
        Embeddings `[batch, dim]` and float64 `[batch, layers]`: the l2 norm of the input of every
        layer that rounds.

    Example:
        >>> embeddings, norms = embed_with_norms(classifier.embedder, images)
    """
    norms = []

    def visit(layer: Any, inputs: list[Any]) -> Any:
        if rounds(layer):
            squares = [ops.sum(ops.square(x), axis=range(1, len(x.shape))) for x in inputs]
            norms.append(ops.sqrt(sum(squares)))
        if isinstance(layer, keras.layers.Add):
            return layer(inputs)
        return layer(*inputs, training=False) if _has_modes(layer) else layer(*inputs)

    embeddings = fold_layers(network, images, visit)
    return embeddings, ops.cast(ops.stack(norms, axis=1), "float64")


def _has_modes(layer: Any) -> bool:
    return isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Dropout))


def _layer_output(layer: Any, inputs: list[_Bounds], norm: np.ndarray) -> _Bounds:
    if layer.compute_dtype not in ("float32", "float64"):
        raise ValueError(
            f"layer {layer.name!r} must compute in float32 or float64 to have a proved bound. "
            f"Received: {layer.compute_dtype}"
        )
    if isinstance(layer, keras.layers.Add):
        # |x| + |y| <= sqrt(2) |(x, y)|: the norm is measured over all summands together.
        gain, absolute_gain = 1.0, np.sqrt(len(inputs))
        terms, offset = len(inputs), 0.0
    else:
        found = layer_bound(layer)
        gain, absolute_gain = found.gain, found.absolute_gain
        terms, offset = found.terms, found.offset
    before = _Bounds(
        gain=sum(bounds.gain for bounds in inputs),
        error=np.sum([bounds.error for bounds in inputs], axis=0),
        changed_error=np.sum([bounds.changed_error for bounds in inputs], axis=0),
        growth=sum(bounds.growth for bounds in inputs),
    )
    gamma = _gamma(terms + 2) if terms else 0.0
    constant = np.eye(len(norm))[0] * offset
    changed_norm = norm + before.error + before.changed_error
    return _Bounds(
        gain=gain * before.gain,
        error=gain * before.error + gamma * (absolute_gain * norm + constant),
        changed_error=gain * before.changed_error
        + gamma * (absolute_gain * changed_norm + constant),
        growth=gain * before.growth + gamma * absolute_gain * (before.gain + before.growth),
    )


def _gamma(terms: int) -> float:
    """Relative error of a float32 sum of `terms` products, infinite beyond 2^24 terms."""
    error = terms * _UNIT_ROUNDOFF
    return error / (1 - error) if error < 1 else np.inf
