"""A proved Lipschitz bound of a network, and a bound of its float32 rounding."""

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from clustr_tf.certify.graph import call_layer, fold_layers
from clustr_tf.certify.l2.layer_bounds import is_measured, layer_bound
from clustr_tf.certify.layer_rules import (
    LARGEST_IN_RANGE,
    SMALLEST_NORMAL,
    UNIT_ROUNDOFF,
    check_range,
    gamma,
    underflow,
)
from clustr_tf.certify.linf.boxes import LAYER_BOXES, Box, layer_box

# Covers the rounding of the float64 arithmetic here, a small multiple of 1e-16 an operation.
_FLOAT64_SLACK = 1 + 1e-9


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

    def figures(self) -> dict[str, Any]:
        """The bound as JSON, under the names that every file has for it."""
        return {
            "lipschitz_bound": self.gain,
            "rounding_growth": self.growth,
            "rounding_slack": list(self.slack),
        }


@dataclass(frozen=True)
class _Bounds:
    """Bounds of one tensor.

    Norm and errors are linear forms: a constant and a weight for each norm that is measured.

    Attributes:
        shape: of the tensor.
        gain: Lipschitz constant from the pixels.
        norm: of the float32 tensor, for the image itself.
        error: of the float32 tensor against the exact one, for the image itself.
        changed_error: likewise for an image changed by r, without the part that grows with r.
        growth: that part, divided by r.
        largest: l2 norm of the float32 tensor, for all images in [0, 1].
        box: of the float32 tensor, likewise; one image.
    """

    shape: tuple[int, ...]
    gain: float
    norm: np.ndarray
    error: np.ndarray
    changed_error: np.ndarray
    growth: float
    largest: float
    box: Box


def lipschitz_bound(network: keras.Model) -> LipschitzBound:
    """Bounds the Lipschitz constant and the rounding of a functional network.

    Gains multiply along a path and add up where branches are added. Rounding: a layer that sums
    n products errs by at most gamma_{n+2} (|W| |x| + |b|), gamma_n = n u / (1 - n u), u = 2^-24
    in float32 and 2^-53 in float64, in any order of summation, where x is its rounded input; the
    error grows by the gains of the later layers. The norms of these inputs are measured for every
    image where many products are summed, and bounded by the layers before where not; for an image
    changed by r they are larger by at most the gain up to there times r and the errors themselves.
    Results below 2^-126 may be flushed to 0: see `underflow`. The range of all that is computed is
    bounded for all images in [0, 1], by boxes that are cut by norms, and must be float32's.

    WARNING: the bounds hold for inference and these very weights. The rounding is that of IEEE
    float32 or float64 products and sums, each layer evaluated as written: it does not cover
    TensorFloat-32 (`tf.config.experimental.enable_tensor_float_32_execution(False)` switches it
    off), bfloat16, float16, Winograd or Fourier convolutions, or weights folded into one another.

    Args:
        network: a functional model of layers known to `layer_bound` and of nested functional
            models; images `[batch, H, W, C]` -> `[batch, dim]`.

    Returns:
        The bounds. For ordinary (unconstrained) networks the gain is true and large, so that
        certified radii are tiny.

    Raises:
        ValueError: if the network is not of that form, or if a layer has no proved bound, does not
            compute in float32 or float64, may leave float32's range, is used more than once or in
            training mode.

    Example:
        >>> lipschitz_bound(classifier.embedder).gain

    Reference:
        Szegedy et al., arXiv 1312.6199, section 4.3 (gains); Higham, "Accuracy and Stability of
        Numerical Algorithms", section 3.1 (rounding).
    """
    measured_layers: list[str] = []
    dtypes: set[str] = set()

    def list_layer(layer: Any, _: list[None]) -> None:
        dtypes.add(getattr(layer, "compute_dtype", ""))  # what is no layer is refused below
        if is_measured(layer):
            measured_layers.append(layer.name)

    fold_layers(network, None, list_layer)
    shape = tuple(network.inputs[0].shape)
    if None in shape[1:]:
        raise ValueError(f"network must have a fixed input shape. Received: {shape}")
    forms = np.eye(1 + len(measured_layers))
    # Of all layers: one that computes nothing rounds all the same where it narrows its input.
    roundoff = UNIT_ROUNDOFF["float64" if dtypes == {"float64"} else "float32"]
    measured = iter(forms[1:])

    def visit(layer: Any, inputs: list[_Bounds]) -> _Bounds:
        return _output_bounds(
            layer, inputs, next(measured) if is_measured(layer) else None, roundoff
        )

    # What overflows is refused below.
    with np.errstate(over="ignore", invalid="ignore"):
        # Of pixels in [0, 1].
        largest = math.sqrt(math.prod(shape[1:]))
        box = Box(ops.zeros((1, *shape[1:]), "float64"), ops.ones((1, *shape[1:]), "float64"))
        # Of pixels that are flushed to 0.
        error = forms[0] * (SMALLEST_NORMAL * largest)
        image = _Bounds(shape, 1.0, forms[0] * largest, error, error, 0.0, largest, box)
        result = fold_layers(network, image, visit)
    slack = result.error + result.changed_error
    figures = [result.gain, result.growth, *slack]
    if not np.isfinite(figures).all():
        raise ValueError(
            f"network must have a finite Lipschitz bound and rounding. Received: {result.gain}, "
            f"{max(slack)}"
        )
    gain, growth, *slack = (float(figure) * _FLOAT64_SLACK for figure in figures)
    return LipschitzBound(gain, growth, tuple(slack))


def embed_with_norms(network: keras.Model, images: Any) -> tuple[Any, Any]:
    """Embeddings, and the norms that the rounding of exactly this forward pass is bounded with.

    Args:
        network: as for `lipschitz_bound`.
        images: float32 `[batch, H, W, C]`.

    Returns:
        Embeddings `[batch, dim]` and float64 `[batch, layers]`: the l2 norm of the input of every
        layer that sums many products, or a little more, never less.

    Example:
        >>> embeddings, norms = embed_with_norms(classifier.embedder, images)
    """
    # Of networks that sum nothing there are none.
    norms = [ops.zeros((ops.shape(images)[0], 0), "float64")]

    def visit(layer: Any, inputs: list[_Padded]) -> _Padded:
        if is_measured(layer):
            found = _norm_bounds(*(each.unpadded for each in inputs))
            norms.append(ops.expand_dims(found, 1))
        output = call_layer(layer, [each.values for each in inputs])
        if isinstance(layer, keras.layers.ZeroPadding2D):
            return _Padded(output, inputs[0].unpadded)
        return _Padded(output, output)

    embeddings = fold_layers(network, _Padded(images, images), visit).values
    return embeddings, ops.concatenate(norms, axis=1)


class _Padded(NamedTuple):
    """A feature map, and what it is without zeros around it: of the same norm.

    To read the padded one twice would keep TensorFlow from padding inside the convolution.
    """

    values: Any
    unpadded: Any


def _output_bounds(
    layer: Any, inputs: list[_Bounds], measured: np.ndarray | None, roundoff: float
) -> _Bounds:
    shapes = [bounds.shape for bounds in inputs]
    found = layer_bound(layer, *shapes)
    shape = tuple(layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0]))
    gain = sum(bounds.gain for bounds in inputs)
    error = np.sum([bounds.error for bounds in inputs], axis=0)
    changed_error = np.sum([bounds.changed_error for bounds in inputs], axis=0)
    growth = sum(bounds.growth for bounds in inputs)
    norm = np.sum([bounds.norm for bounds in inputs], axis=0) if measured is None else measured
    largest = sum(bounds.largest for bounds in inputs)
    constant = np.eye(len(norm))[0]
    # What is measured of an input is without what is flushed to 0.
    norm = norm + constant * SMALLEST_NORMAL * math.sqrt(math.prod(shapes[0][1:]))
    rate = gamma(found.terms + 2, roundoff) if found.terms else 0.0
    lost = 0.0
    if found.terms:
        farthest = max(float(ops.max(bounds.box.magnitude)) for bounds in inputs)
        reach = found.amplification * (1 + farthest)
        lost = underflow(found.terms) * reach * math.sqrt(math.prod(shape[1:]))
    offset = constant * found.offset
    rounding = rate * (found.absolute_gain * norm + offset) + constant * lost
    largest_rounding = rate * (found.absolute_gain * largest + found.offset) + lost
    largest = found.gain * largest + found.offset + largest_rounding
    box, largest = _range(layer, [bounds.box for bounds in inputs], shape, largest)
    return _Bounds(
        shape=shape,
        gain=found.gain * gain,
        norm=found.gain * norm + offset + rounding,
        error=found.gain * error + rounding,
        changed_error=found.gain * changed_error
        + rate * (found.absolute_gain * (norm + error + changed_error) + offset)
        + constant * lost,
        growth=found.gain * growth + rate * found.absolute_gain * (gain + growth),
        largest=largest,
        box=box,
    )


def _range(layer: Any, inputs: list[Box], shape: tuple[int, ...], norm: float) -> tuple[Box, float]:
    """The box of a layer's outputs for all images, cut by a bound of their l2 norm; and the norm.

    Boxes alone grow faster than norms in deep networks, norms alone know nothing of clips.
    """
    if type(layer) not in LAYER_BOXES:  # of a user's own, perhaps
        check_range(layer, norm <= LARGEST_IN_RANGE)
        return Box(*(ops.full((1, *shape[1:]), end, "float64") for end in (-norm, norm))), norm
    box = layer_box(layer, inputs, UNIT_ROUNDOFF["float32"])
    check_range(layer, bool(box.is_finite[0]))
    norm = min(norm, _FLOAT64_SLACK * float(np.linalg.norm(np.ravel(box.magnitude))))
    return Box(ops.maximum(box.lower, -norm), ops.minimum(box.upper, norm)), norm


def _norm_bounds(values: Any) -> Any:
    """Upper bounds of the l2 norms of feature maps, above them by rounding alone.

    float32 sums of so many squares could be too small. But to cast all of a feature map costs as
    much as a convolution: channels are summed as they are, and their sum is raised by its rounding,
    gamma_C for C channels and a few more for the root, and by what underflow may have taken.

    Args:
        values: float32 or float64 `[batch, ..., C]`.

    Returns:
        float64 `[batch]`.

    Example:
        >>> _norm_bounds(np.array([[3.0, 4.0]], "float32"))  # [5.0]

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
