"""Linear relaxation: every layer between two linear functions, carried back to the pixels (CROWN).

Interval bounds forget that the entries of a tensor depend on one another; here a linear function of
the embedding is traced back, layer by layer, to one of the pixels, whose minimum is closed form.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from clustr_tf.certify.graph import fold_layers
from clustr_tf.certify.layer_rules import UNIT_ROUNDOFF, check_precision, gamma, rule_for
from clustr_tf.certify.linf.boxes import LAYER_BOXES, Box, layer_box
from clustr_tf.certify.linf.interval import EmbeddingBounds, image_box
from clustr_tf.layers import (
    BatchNormalization,
    Saturation,
    ScaledAveragePooling2D,
    SpaceToDepth,
    UnitBall,
)
from clustr_tf.layers.activations import norm_beyond_unit

# W x + b with the W and b of the layer's box rule, but for an activation. A type with such a rule
# is a line here; any other type of `LAYER_BOXES` is relaxed below or taken as its box.
AFFINE_LAYERS: set[type] = {
    BatchNormalization,
    ScaledAveragePooling2D,
    SpaceToDepth,
    layers.Add,
    layers.AveragePooling2D,
    layers.BatchNormalization,
    layers.Conv2D,
    layers.Cropping2D,
    layers.Dense,
    layers.DepthwiseConv2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.Normalization,
    layers.Rescaling,
    layers.Reshape,
    layers.ZeroPadding2D,
}
# One entry in, one entry out: entries that are independent stay so, and boxes exact.
_SEPARATE: set[type] = {
    BatchNormalization,
    SpaceToDepth,
    layers.BatchNormalization,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.Normalization,
    layers.Rescaling,
    layers.Reshape,
    layers.ZeroPadding2D,
}

_KINKS: dict[Any, tuple[float, ...]] = {
    keras.activations.relu: (0.0,),
    keras.activations.relu6: (0.0, 6.0),
    keras.activations.leaky_relu: (0.0,),
}

# float64 rounding of one step: as many terms as any sum has, those of its tensors among them.
_MOST_ENTRIES = 2**23
_ROUNDING = gamma(2 * _MOST_ENTRIES, UNIT_ROUNDOFF["float64"])
# Far above what float64 underflow takes of one coefficient, and of one bound.
_UNDERFLOW, _UNDERFLOWS = 1e-300, 1e-200
_SQUARES = 1e-140  # of a norm
# Coefficients that are held at once: 32 MiB, and a few times that on the way; and for all images.
_SLICE, _SHARED = 2**22, 2**24


def linear_bounds(network: keras.Model, images: Any, eps: Any) -> EmbeddingBounds:
    """Boxes and linear lower bounds of the float32 embeddings of an l-infinity ball of images.

    Every layer's output lies between two linear functions of its input over the input's box:
    itself, widened by its float32 rounding, for an affine layer; for ReLU the chord above and x or
    0 below, whichever leaves less area; for what is not known better, the ends of its box. A
    linear function g.z of the embedding is then bounded by one of the layer before, with the lower
    function where its coefficient is positive and the upper where it is negative, and so on down to
    the pixels. The boxes of undecided neurons are tightened in the same way before they are used.
    Wherever the layers' boxes say more, they are taken: no bound is looser than `embedding_box`.

    Cost: each undecided neuron takes two backward passes, each row asked for one. Memory: a few
    times 32 MiB, or one row for each image, whichever is more, besides the boxes.

    WARNING: as `embedding_box`.

    Args:
        network: as for `embedding_box`.
        images: float64 `[batch, H, W, C]` in [0, 1].
        eps: in pixels; one number, or `[batch]`.

    Returns:
        The box of the embeddings and `lower`, rows `[batch, rows, dim]` -> `[batch, rows]`, the
        least that rows.z can be; float64 and rounded downwards.

    Raises:
        ValueError: as `embedding_box`, or if a tensor has more than 2^23 entries.

    Example:
        >>> certified_linf(classifier.embedder, classifier.head, images, 0.1, linear_bounds)

    Reference:
        Zhang et al., arXiv 1811.00866 (CROWN); Singh et al., "An abstract domain for certifying
        neural networks", POPL 2019 (max pooling).
    """
    return _bounds(network, _Pixels(image_box(images, eps, UNIT_ROUNDOFF["float64"])))


def linear_bounds_l2(network: keras.Model, images: Any, eps: Any) -> EmbeddingBounds:
    """`linear_bounds` for an l2 ball: g.(x + d) >= g.x - eps |g| for |d| <= eps.

    WARNING: as `embedding_box`.

    Args:
        network: likewise.
        images: likewise.
        eps: l2, in pixels; one number, or `[batch]`.

    Returns:
        As `linear_bounds`.

    Raises:
        ValueError: likewise.

    Example:
        >>> certified_linf(classifier.embedder, classifier.head, images, 0.5, linear_bounds_l2)
    """
    images = ops.convert_to_tensor(images)
    eps = ops.reshape(ops.convert_to_tensor(eps, dtype=images.dtype), (-1, 1))
    pixels = image_box(images, eps, UNIT_ROUNDOFF["float64"])
    return _bounds(network, _Pixels(pixels, images, eps))


@dataclass(frozen=True)
class _Pixels:
    """The images: all of a box, or those of it within l2 distance eps `[batch, 1]` of a centre."""

    box: Box
    centre: Any = None
    eps: Any = None

    def least(self, rows: Any) -> Any:
        """The least values of rows.x, `[batch, rows, ...]` -> `[batch, rows]`."""
        least = _least(rows, self.box)
        if self.centre is None:
            return least
        reach = self.eps * (tf.norm(_flat(rows, 2), axis=2) + _SQUARES)
        rounding = _ROUNDING * (_dot(tf.abs(rows), self.centre) + reach)
        return ops.maximum(least, _dot(rows, self.centre) - reach - rounding)


@dataclass
class _Node:
    """A tensor of the network.

    Attributes:
        index: its place in the order of computation.
        box: of its float32 values; may be tightened.
        inputs: the tensors that `back` leads to.
        back: rows `[batch, rows, ...]` -> rows for each input, and `[batch, rows]`: the least of
            rows.y is at least that of their products with the inputs, plus this. Rows of one image
            stand for those of all.
        mixed: how often entries have been mixed on the way here: up to once, the box is exact.
        is_affine: whether behind an affine layer.
        projection: of what `UnitBall` makes of a tensor x, the index of x and what makes of rows
            and lower bounds of rows.x those of rows.y; None for all others.
    """

    index: int
    box: Box
    inputs: list["_Node"]
    back: Callable[[Any], tuple[list[Any], Any]]
    mixed: int
    is_affine: bool
    projection: tuple[int, Callable[[Any, Any], Any]] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Without the batch."""
        return tuple(self.box.lower.shape[1:])

    @property
    def size(self) -> int:
        """How many entries."""
        return math.prod(self.shape)


# Rows by the index of their tensor, and constants `[batch, rows]`: a sum that is to be bounded.
_Sum = tuple[dict[int, Any], Any]


def _bounds(network: keras.Model, pixels: _Pixels) -> EmbeddingBounds:
    relaxed = _RelaxedNetwork(pixels)
    output = fold_layers(network, relaxed.nodes[0], relaxed.visit)

    def lower(rows: Any) -> Any:
        index, projected = output.projection or (output.index, lambda _, least: least)
        each = tf.broadcast_to(tf.range(tf.shape(rows)[1]), tf.shape(rows)[:2])
        least = relaxed.raised(
            index,
            tf.fill(tf.shape(each), tf.constant(-math.inf, rows.dtype)),
            each,
            lambda few: ({index: tf.gather(rows, few, batch_dims=1)}, _zeros(few)),
        )
        return projected(rows, least)

    return EmbeddingBounds(output.box, lower)


class _RelaxedNetwork:
    """A network's tensors in the order of computation, with the relaxations between them."""

    def __init__(self, pixels: _Pixels):
        # Of an l2 ball the box of the images is not exact itself.
        mixed = 0 if pixels.centre is None else 1
        images = _Node(0, pixels.box, [], lambda rows: ([], pixels.least(rows)), mixed, False)
        self.nodes = [images]

    def visit(self, layer: Any, inputs: list[_Node]) -> _Node:
        """A layer's output, for `fold_layers`."""
        check_precision(layer)
        rule = rule_for(layer, LAYER_BOXES, "interval bounds")
        activation = getattr(layer, "activation", keras.activations.linear)
        if type(layer) not in AFFINE_LAYERS:
            is_linear = type(layer) is layers.Activation and activation is keras.activations.linear
            return inputs[0] if is_linear else self._bent(layer, inputs)
        bare = _WithoutActivation(layer)
        boxes = [node.box for node in inputs]
        box = rule(bare, boxes, UNIT_ROUNDOFF["float32"])
        mixed = max(node.mixed for node in inputs) + (type(layer) not in _SEPARATE)
        node = self._added(layer, box, inputs, _affine(bare, rule, boxes), mixed, True)
        if activation is keras.activations.linear:
            return node
        named = layers.Activation(activation, dtype=layer.dtype_policy, name=layer.name)
        return self._bent(named, [node])

    def raised(self, index: int, bounds: Any, chosen: Any, sums_of: Callable[[Any], _Sum]) -> Any:
        """The larger of known and new lower bounds, as many at once as memory is meant to hold.

        Args:
            index: of the last tensor that takes part.
            bounds: known ones `[batch, n]`.
            chosen: `[batch, some]`, which of the n to work out.
            sums_of: some of them `[batch, few]` -> what is to be bounded.

        Returns:
            `[batch, n]`.
        """
        batch, count = tf.shape(chosen)[0], tf.shape(chosen)[1]
        step = tf.maximum(_SLICE // self._largest(index) // tf.maximum(batch, 1), 1)

        def body(start: Any, bounds: Any) -> tuple[Any, Any]:
            few = chosen[:, start : start + step]
            images = tf.broadcast_to(tf.range(batch)[:, None], tf.shape(few))
            places = tf.stack([images, few], axis=2)
            return start + step, tf.tensor_scatter_nd_max(bounds, places, self._least(sums_of(few)))

        return tf.while_loop(
            lambda start, _: start < count, body, (0, bounds), parallel_iterations=1
        )[1]

    def _least(self, sums: _Sum) -> Any:
        """The least that sums can be, `[batch, rows]`.

        Wherever all rows are those of a single tensor, its box gives a bound as well.
        """
        open_rows, constant = sums
        best = tf.fill(tf.shape(constant), tf.constant(-math.inf, constant.dtype))
        while open_rows:
            index = max(open_rows)
            if len(open_rows) == 1 and not self.nodes[index].is_affine:
                best = _larger(constant + _least(open_rows[index], self.nodes[index].box), best)
            open_rows, constant = self._one_back(open_rows, constant, index)
        return _larger(constant, best) - _UNDERFLOWS

    def _one_back(self, open_rows: dict[int, Any], constant: Any, index: int) -> _Sum:
        """The rows of one tensor carried back to its inputs."""
        node = self.nodes[index]
        further, offset = node.back(open_rows[index])
        rest = {other: rows for other, rows in open_rows.items() if other != index}
        for source, rows in zip(node.inputs, further, strict=True):
            rest[source.index] = rest[source.index] + rows if source.index in rest else rows
        return rest, constant + offset

    def _largest(self, index: int) -> int:
        return max(node.size for node in self.nodes[: index + 1])

    def _added(self, layer: Any, box: Box, inputs: list[_Node], back: Any, *of_node: Any) -> _Node:
        node = _Node(len(self.nodes), box, inputs, back, *of_node)
        if node.size > _MOST_ENTRIES:
            raise ValueError(
                f"layer {layer.name!r} must have at most {_MOST_ENTRIES} outputs to have linear "
                f"bounds. Received: shape {node.shape}"
            )
        if not tf.executing_eagerly():
            # Traced once, not once for every tensor behind it.
            rows = tf.TensorSpec((None, None, *node.shape), box.lower.dtype)
            node.back = tf.function(back, [rows], autograph=False).get_concrete_function()
        self.nodes.append(node)
        return node

    def _bent(self, layer: Any, inputs: list[_Node]) -> _Node:
        """Behind a layer that is not affine, the boxes of its inputs tightened before."""
        kinks = _kinks(layer)
        for node in inputs:
            self._tighten(node, kinks)
        boxes = [node.box for node in inputs]
        box = layer_box(layer, boxes, UNIT_ROUNDOFF["float32"])
        mixed = max(node.mixed for node in inputs)
        if kinks is not None:
            back = _piecewise(layer, boxes[0], box, kinks)
            return self._added(layer, box, inputs, back, mixed, False)
        if type(layer) is layers.MaxPooling2D:
            back = _max_pooled(layer, boxes[0], box)
            return self._added(layer, box, inputs, back, mixed + 1, False)
        node = self._added(layer, box, [], lambda rows: ([], _least(rows, box)), mixed + 1, False)
        if type(layer) is UnitBall:
            node.projection = inputs[0].index, _projection(layer, boxes[0], box)
        return node

    def _tighten(self, node: _Node, kinks: tuple[float, ...] | None) -> None:
        """Raises lower and lowers upper ends, where a layer bends (at `kinks`; None: anywhere)."""
        if node.mixed <= 1 or not node.is_affine:
            return
        lower, upper = _flat(node.box.lower), _flat(node.box.upper)
        bent = lower < upper
        if kinks is not None:
            bent = tf.reduce_any([(lower < kink) & (kink < upper) for kink in kinks], axis=0)
        # All of an image's ends that are bent, then others, as many as in the image with most.
        bent = tf.cast(tf.concat([bent, bent], axis=1), tf.int32)
        count = tf.reduce_max(tf.reduce_sum(bent, axis=1))
        chosen = tf.argsort(bent, axis=1, direction="DESCENDING")[:, :count]
        known = tf.concat([lower, -upper], axis=1)
        ends = self.raised(node.index, known, chosen, self._ends(node))
        lower, upper = tf.split(ends, 2, axis=1)
        node.box = Box(tf.reshape(lower, (-1, *node.shape)), tf.reshape(-upper, (-1, *node.shape)))

    def _ends(self, node: _Node) -> Callable[[Any], _Sum]:
        """Of ends y_1 ... y_n, -y_1 ... -y_n by their numbers `[batch, few]`, what they sum up.

        Through the affine layers just before, that is the same for all images: it is worked out
        once if memory is meant to hold it.
        """
        size, dtype = node.size, node.box.lower.dtype

        def rows_of(ends: Any) -> Any:
            signs = ops.where(ends < size, tf.constant(1.0, dtype), -1)
            rows = signs[..., None] * tf.one_hot(ends % size, size, dtype=dtype)
            return tf.reshape(rows, (*tf.unstack(tf.shape(ends)), *node.shape))

        if 2 * size * self._largest(node.index) > _SHARED:
            return lambda ends: ({node.index: rows_of(ends)}, _zeros(ends))
        every = tf.range(2 * size)[None]
        shared, constant = {node.index: rows_of(every)}, _zeros(every)
        while affine := [index for index in shared if self.nodes[index].is_affine]:
            shared, constant = self._one_back(shared, constant, max(affine))
        constant = constant + tf.zeros_like(_flat(node.box.lower)[:, :1])

        def sums_of(ends: Any) -> _Sum:
            rows = {index: tf.gather(rows[0], ends) for index, rows in shared.items()}
            return rows, tf.gather(constant, ends, batch_dims=1)

        return sums_of


def _projection(layer: UnitBall, box: Box, projected: Box) -> Callable[[Any, Any], Any]:
    """rows.x / max(1, |x|) is least where the norm is largest, or if negative smallest."""
    smallest = norm_beyond_unit(ops.relu(box.lower) + ops.relu(-box.upper))
    largest = norm_beyond_unit(box.magnitude)
    error = _widened(LAYER_BOXES[UnitBall](layer, [box], 0.0), projected)

    def bounds(rows: Any, least: Any) -> Any:
        least = least / ops.where(least < 0, smallest, largest)
        least = least - _dot(tf.abs(rows), error) - _ROUNDING * tf.abs(least)
        return _larger(least, tf.constant(-math.inf, least.dtype))

    return bounds


class _WithoutActivation:
    """A layer as its box rule sees it, but for its activation."""

    activation = staticmethod(keras.activations.linear)

    def __init__(self, layer: Any):
        self._layer = layer

    def __getattr__(self, name: str) -> Any:
        return getattr(self._layer, name)


class _Point(Box):
    """A box without width, for whose radius nothing is computed nor differentiated."""

    @property
    def centre(self) -> Any:
        return self.lower

    @property
    def radius(self) -> Any:
        return ops.zeros_like(self.lower)


def _affine(layer: Any, rule: Callable[..., Box], boxes: list[Box]) -> Any:
    """Rows times W, its transposed map being the gradient; offset and rounding are the rule's."""

    def image(points: list[Any]) -> Any:
        return rule(layer, [_Point(point, point) for point in points], 0.0).lower

    offset = image([tf.zeros_like(box.lower[:1]) for box in boxes])
    around = [Box(-box.magnitude, box.magnitude) for box in boxes]
    exact, rounded = (rule(layer, around, u) for u in (0.0, UNIT_ROUNDOFF["float32"]))
    error = _widened(exact, rounded)

    def back(rows: Any) -> tuple[list[Any], Any]:
        leading = tf.unstack(tf.shape(rows)[:2])
        rows_of_all = tf.reshape(rows, (-1, *rows.shape[2:]))
        points = [
            tf.zeros((leading[0] * leading[1], *box.lower.shape[1:]), rows.dtype) for box in boxes
        ]
        with tf.GradientTape() as tape:
            tape.watch(points)
            outputs = image(points)
        further = tape.gradient(outputs, points, rows_of_all)
        further = [tf.reshape(part, (*leading, *part.shape[1:])) for part in further]
        return further, _dot(rows, offset) - _dot(tf.abs(rows), error)

    return back


def _kinks(layer: Any) -> tuple[float, ...] | None:
    """Where a layer bends that is continuous and linear between one or two kinks; None: another."""
    if type(layer) in (layers.ReLU, layers.LeakyReLU):
        highest = getattr(layer, "max_value", None)
        return (0.0,) if highest is None else (0.0, float(np.float32(highest)))
    if type(layer) is layers.Activation:
        return _KINKS.get(layer.activation)
    return (0.0, 1.0) if type(layer) is Saturation else None


def _piecewise(layer: Any, box: Box, output: Box, kinks: tuple[float, ...]) -> Any:
    """Lines above and below a function f of single entries, linear between its kinks.

    Slopes are those of the chord from an end to the farther kink, or from there to the other end,
    whichever leaves less area where f is a clip. Whatever they are, the difference of f and a line
    is extreme at an end or a kink: offsets are taken there.
    """
    rule = LAYER_BOXES[type(layer)]
    (lower, upper), centre = box, box.centre
    lowest, highest = kinks[0], kinks[1] if len(kinks) > 1 else math.inf

    def function(x: Any) -> Any:
        return rule(layer, [_Point(x, x)], 0.0).lower

    def chord(left: Any, right: Any) -> Any:
        return tf.math.divide_no_nan(function(right) - function(left), ops.relu(right - left))

    above = ops.where(
        (upper > highest) & (centre >= highest),
        chord(ops.maximum(lower, highest), upper),
        chord(lower, ops.minimum(upper, highest)),
    )
    below = ops.where(
        (lower < lowest) & (centre <= lowest),
        chord(lower, ops.minimum(upper, lowest)),
        chord(ops.maximum(lower, lowest), upper),
    )
    ends = [lower, upper, *(ops.minimum(ops.maximum(kink, lower), upper) for kink in kinks)]
    steepest = ops.maximum(tf.abs(above), tf.abs(below))
    slack = _widened(rule(layer, [box], 0.0), output) + _ROUNDING * steepest * box.magnitude
    highest_above = tf.reduce_max([function(x) - above * x for x in ends], axis=0) + slack
    lowest_below = tf.reduce_min([function(x) - below * x for x in ends], axis=0) - slack

    def back(rows: Any) -> tuple[list[Any], Any]:
        positive, negative = _signs(rows)
        further = positive * below[:, None] + negative * above[:, None]
        return [further], _dot(positive, lowest_below) + _dot(negative, highest_above)

    return back


def _max_pooled(layer: layers.MaxPooling2D, box: Box, pooled: Box) -> Any:
    """At least the entry of the window with the largest lower end; if no other can exceed it, that.

    Otherwise at most the largest upper end.
    """
    sizes, strides, shape = layer.pool_size, layer.strides, pooled.lower.shape[1:3]
    spans = [
        (count - 1) * stride + size
        for count, stride, size in zip(shape, strides, sizes, strict=True)
    ]
    # As TensorFlow pads; what does not fill a window is cut off.
    missing = [max(span - n, 0) for span, n in zip(spans, box.lower.shape[1:3], strict=True)]
    padding = [(0, 0), *((n // 2, n - n // 2) for n in missing), (0, 0)]

    def windows(x: Any, filling: float) -> Any:
        """`[batch, H, W, C]` -> `[batch, rows, columns, C, entries of a window]`."""
        x = tf.pad(x, padding, constant_values=tf.constant(filling, x.dtype))
        starts = [
            [slice(i, i + span - size + 1, stride) for i in range(size)]
            for span, size, stride in zip(spans, sizes, strides, strict=True)
        ]
        return tf.stack([x[:, rows, columns] for rows, columns in product(*starts)], axis=-1)

    lower, upper = windows(box.lower, -math.inf), windows(box.upper, -math.inf)
    chosen = tf.argmax(lower, axis=-1)
    best = tf.reduce_max(lower, axis=-1)
    mask = tf.one_hot(chosen, lower.shape[-1], dtype=lower.dtype)
    alone = tf.reduce_all((mask > 0) | (upper <= best[..., None]), axis=-1)
    rounding = _ROUNDING * pooled.magnitude + _UNDERFLOW
    # A window of nothing but unbounded entries may have chosen its padding.
    lowest = ops.where(tf.math.is_finite(best), -rounding, -math.inf)
    highest = ops.where(alone, rounding, pooled.upper + rounding)
    alone = tf.cast(alone, lower.dtype)

    def back(rows: Any) -> tuple[list[Any], Any]:
        positive, negative = _signs(rows)
        kept = positive + negative * alone[:, None]
        weights = kept[..., None] * mask[:, None]
        leading = tf.unstack(tf.shape(rows)[:2])
        point = tf.zeros((leading[0] * leading[1], *box.lower.shape[1:]), rows.dtype)
        with tf.GradientTape() as tape:
            tape.watch(point)
            outputs = windows(point, 0.0)
        further = tape.gradient(outputs, point, tf.reshape(weights, (-1, *weights.shape[2:])))
        further = tf.reshape(further, (*leading, *further.shape[1:]))
        return [further], _dot(positive, lowest) + _dot(negative, highest)

    return back


def _widened(exact: Box, rounded: Box) -> Any:
    """What rounding adds to a box, whichever end it adds more to, with that of float64."""
    added = ops.maximum(exact.lower - rounded.lower, rounded.upper - exact.upper)
    return (1 + 2 * _ROUNDING) * added + _ROUNDING * exact.magnitude + _UNDERFLOW


def _least(rows: Any, box: Box) -> Any:
    """The least values of rows.x over a box, `[batch, rows, ...]` -> `[batch, rows]`."""
    positive, negative = _signs(rows)
    rounding = _ROUNDING * box.magnitude + _UNDERFLOW
    return _dot(positive, box.lower - rounding) + _dot(negative, box.upper + rounding)


def _signs(rows: Any) -> tuple[Any, Any]:
    """Positive and negative entries, zeros in place of the others."""
    return ops.maximum(rows, 0), ops.minimum(rows, 0)


def _zeros(chosen: Any) -> Any:
    """`[batch, rows]`, constants of sums that have none."""
    return tf.zeros(tf.shape(chosen), "float64")


def _larger(found: Any, known: Any) -> Any:
    """The larger of two bounds; infinity, of coefficients that overflow, and NaN are none."""
    return ops.where(tf.math.is_finite(found) & (found > known), found, known)


def _dot(rows: Any, values: Any) -> Any:
    """`[batch, rows, ...]` times `[batch, ...]`, or times `[1, ...]` -> `[batch, rows]`."""
    return tf.linalg.matvec(_flat(rows, 2), _flat(values))


def _flat(values: Any, kept: int = 1) -> Any:
    """All dimensions but the first ones become one."""
    leading = tf.unstack(tf.shape(values)[:kept])
    return tf.reshape(values, (*leading, math.prod(values.shape[kept:])))
