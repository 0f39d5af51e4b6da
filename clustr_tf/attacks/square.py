"""Square attack: random search with squares, without any gradient."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from clustr_tf.attacks.balls import length, norm_order, projected
from clustr_tf.attacks.losses import margin
from clustr_tf.data.pixels import checked_examples, to_pixels

_FIRST_SHARE = 0.8  # of the pixels that the first square covers
_SCHEDULE = 10_000  # queries of the published schedule
# Out of these: after so many the share is halved once more.
_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SMALLEST_L2_SIDE = 3
_FEW_CHANNELS = 4  # whose signs repeat


class _State(NamedTuple):
    """What is known after some queries; of every example but the last."""

    best: tf.Tensor
    highest: tf.Tensor  # margin, of `best`
    broken: tf.Tensor
    changed: tf.Tensor  # the query that made `best`; -1: the start
    tried: tf.Tensor  # of every move: the query that made it last, or -1


class Square:
    """Square attack inside an eps-ball around images in [0, 1], compiled once.

    Starts with random stripes (l-infinity) or a random tiling (l2). Each query changes one square
    and keeps the change where it lowers the margin. The places and signs of query q are drawn
    from (seed, q) and are the same for all examples; the starts belong to the example. So a
    result does not depend on the other examples in the batch. Broken examples stay as they are.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        norm: "linf" or "l2".
        queries: at most so many, at least 1.
        as_autoattack: draw as AutoAttack's code does, which is weaker, above all on small images:
            its squares never reach the last row and column, and their schedule does not stretch
            with the queries.

    Raises:
        ValueError: if the norm is unknown or queries is below 1.

    Example:
        >>> attack = Square(model, (32, 32, 3), norm="linf", queries=5000)
        >>> adversarial = attack(images, labels, eps=8 / 255)

    Reference:
        Andriushchenko et al., arXiv 1912.00049; `square.py` of AutoAttack.
    """

    def __init__(
        self,
        log_scores: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, int, int],
        norm: str = "linf",
        queries: int = 5000,
        as_autoattack: bool = False,
    ):
        norm_order(norm)
        if queries < 1:
            raise ValueError(f"queries must be at least 1. Received: {queries}")
        self._log_scores, self._shape, self._norm = log_scores, image_shape, norm
        self.queries, self._places = queries, 0 if as_autoattack else 1
        stretched = _SCHEDULE if as_autoattack else queries
        sides = [
            side_of(square_share(query, stretched), self._shape, norm) for query in range(queries)
        ]
        distinct = sorted(set(sides), reverse=True)
        self._sides = np.array(distinct, np.int32)
        self._phases = np.searchsorted(-self._sides, -np.array(sides)).astype(np.int32)
        height, width, channels = self._shape
        # Hills hardly ever repeat, nor do the signs of many channels: each query is its own move.
        self._repeats = norm == "linf" and channels <= _FEW_CHANNELS
        places = len(distinct) * height * width
        self._moves = places * 2**channels if self._repeats else queries
        self._compiled = tf.function(
            self._find,
            input_signature=[
                tf.TensorSpec([None, *image_shape], tf.float32),
                tf.TensorSpec([None], tf.int64),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([], tf.int32),
                tf.TensorSpec([None], tf.int32),
            ],
            autograph=False,
        )

    def __call__(
        self, images: Any, labels: Any, *, eps: Any, seed: Any = 0, example_ids: Any = None
    ) -> tf.Tensor:
        """Attacks.

        Args:
            images: `[batch, H, W, C]` in [0, 1], the centres of the balls.
            labels: int `[batch]`, the true classes.
            eps: radius in pixels.
            seed: of all draws.
            example_ids: int `[batch]`, default 0, 1, ...: an example's start depends on its id.

        Returns:
            float32 `[batch, H, W, C]` in the ball and in [0, 1]: what broke the example, else
            what lowered its margin most.
        """
        images = tf.convert_to_tensor(images, tf.float32)
        if example_ids is None:
            example_ids = tf.range(tf.shape(images)[0])
        return self._compiled(
            images,
            tf.cast(tf.convert_to_tensor(labels), tf.int64),
            tf.convert_to_tensor(eps, tf.float32),
            tf.convert_to_tensor(seed, tf.int32),
            tf.cast(tf.convert_to_tensor(example_ids), tf.int32),
        )

    def _find(
        self,
        images: tf.Tensor,
        labels: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        example_ids: tf.Tensor,
    ) -> tf.Tensor:
        linf = self._norm == "linf"
        draw = self._stripes if linf else self._tiling
        pattern = tf.map_fn(
            lambda example_id: draw(tf.stack([seed, example_id])),
            example_ids,
            fn_output_signature=tf.TensorSpec(self._shape, tf.float32),
        )
        best = tf.clip_by_value(images + _scaled(pattern, eps, linf), 0.0, 1.0)
        highest, broken = self._evaluate(best, labels)
        phases, sides = tf.constant(self._phases), tf.constant(self._sides)
        change = self._flipped_square if linf else self._moved_hills
        never = tf.fill(tf.shape(example_ids), -1)
        state = _State(best, highest, broken, never, tf.fill([self._moves], -1))

        def body(query: tf.Tensor, *parts: tf.Tensor) -> tuple[tf.Tensor, ...]:
            state, phase = _State(*parts), phases[query]
            query_seed = tf.stack([seed, query])
            tried = change(state.best, images, eps, query_seed, sides[phase], phase)
            move = self._move(query_seed, sides[phase], phase) if self._repeats else query
            differs = tf.reduce_any(tried != state.best, axis=[1, 2, 3])
            untried = state.tried[move] <= state.changed
            rows = tf.where(~state.broken & differs & untried)
            state = tf.cond(
                tf.size(rows) > 0,
                lambda: self._after(state, tried, labels, rows, query),
                lambda: state,
            )
            tried_at = tf.tensor_scatter_nd_update(state.tried, [[move]], [query])
            return query + 1, *state._replace(tried=tried_at)

        _, *parts = tf.while_loop(
            lambda query, *parts: (query < self.queries) & ~tf.reduce_all(_State(*parts).broken),
            body,
            (tf.constant(0), *state),
            shape_invariants=(
                tf.TensorShape([]),
                tf.TensorShape([None, *self._shape]),
                *[tf.TensorShape([None])] * 3,
                tf.TensorShape([self._moves]),
            ),
        )
        return _State(*parts).best

    def _after(
        self, state: _State, tried: tf.Tensor, labels: tf.Tensor, rows: tf.Tensor, query: tf.Tensor
    ) -> _State:
        """What becomes of the examples in `rows` `[n, 1]`; the others stay as they are."""
        images = tf.gather_nd(tried, rows)
        losses, wrong = self._evaluate(images, tf.gather_nd(labels, rows))
        kept = (losses > tf.gather_nd(state.highest, rows)) | wrong
        rows = tf.boolean_mask(rows, kept)
        number = tf.size(rows)
        return state._replace(
            best=tf.tensor_scatter_nd_update(state.best, rows, tf.boolean_mask(images, kept)),
            highest=tf.tensor_scatter_nd_update(state.highest, rows, tf.boolean_mask(losses, kept)),
            broken=tf.tensor_scatter_nd_update(state.broken, rows, tf.boolean_mask(wrong, kept)),
            changed=tf.tensor_scatter_nd_update(state.changed, rows, tf.fill([number], query)),
        )

    def _evaluate(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The margin, higher is closer to broken, and whether misclassified."""
        logits = self._log_scores(images)
        wrong = tf.argmax(logits, axis=1) != labels
        return tf.cast(margin(labels, logits), tf.float32), wrong

    def _stripes(self, example_seed: tf.Tensor) -> tf.Tensor:
        """One sign for each column and channel."""
        _, width, channels = self._shape
        return tf.broadcast_to(_signs([1, width, channels], example_seed), self._shape)

    def _tiling(self, example_seed: tf.Tensor) -> tf.Tensor:
        """Five by five hills and holes, each with a sign of its own in every channel."""
        height, width, channels = self._shape
        side = max(min(height, width) // 5, 1)
        rows, columns = height // side, width // side
        signs = _signs([rows, 1, columns, 1, channels], example_seed)
        tiles = signs * two_hills(side)[:, None, :, None]
        tiled = tf.reshape(tiles, [rows * side, columns * side, channels])
        above, left = (height - rows * side) // 2, (width - columns * side) // 2
        return tf.pad(
            tiled,
            [
                [above, height - rows * side - above],
                [left, width - columns * side - left],
                [0, 0],
            ],
        )

    def _flipped_square(
        self,
        best: tf.Tensor,
        centres: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        side: tf.Tensor,
        phase: tf.Tensor,
    ) -> tf.Tensor:
        """A square moved by twice eps up or down in each channel, and projected."""
        del phase
        place_seed, sign_seed = tf.unstack(tf.random.split(seed))
        window, _ = self._window(place_seed, side)
        signs = _signs([1, 1, self._shape[2]], sign_seed)
        moved = best + 2 * eps * window * signs
        return projected(centres, moved - centres, eps, np.inf)

    def _moved_hills(
        self,
        best: tf.Tensor,
        centres: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        side: tf.Tensor,
        phase: tf.Tensor,
    ) -> tf.Tensor:
        """What lies in one square, and what of the ball is unused, moved into another as hills."""
        seeds = tf.unstack(tf.random.split(seed, num=4))
        window, corner = self._window(seeds[0], side)
        emptied, _ = self._window(seeds[1], side)
        signs = _signs([1, 1, self._shape[2]], seeds[2])
        turned = tf.random.stateless_uniform([], seeds[3], 0, 2, tf.int32)
        hills = tf.roll(self._hills()[turned, phase], corner, axis=[0, 1])
        pattern = hills[:, :, None] * signs
        perturbation = best - centres
        here = perturbation * window
        both = perturbation * tf.maximum(window, emptied)
        fresh = pattern + tf.math.divide_no_nan(here, _channel_lengths(here))
        unused = tf.maximum(eps**2 - tf.square(length(perturbation)), 0.0) / self._shape[2]
        budget = tf.sqrt(unused + tf.square(_channel_lengths(both)))
        fresh = tf.math.divide_no_nan(fresh, _channel_lengths(fresh)) * budget
        moved = tf.where(window > 0, fresh, perturbation * (1 - emptied))
        return tf.clip_by_value(centres + _scaled(moved, eps, linf=False), 0.0, 1.0)

    def _move(self, seed: tf.Tensor, side: tf.Tensor, phase: tf.Tensor) -> tf.Tensor:
        """The number of what `_flipped_square` does: one for each side, place and signs."""
        height, width, channels = self._shape
        place_seed, sign_seed = tf.unstack(tf.random.split(seed))
        row, column = tf.unstack(self._window(place_seed, side)[1])
        up = tf.cast(_signs([1, 1, channels], sign_seed) > 0, tf.int32)
        signs = tf.reduce_sum(up * 2 ** np.arange(channels, dtype=np.int32))
        return ((phase * height + row) * width + column) * 2**channels + signs

    def _window(self, seed: tf.Tensor, side: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """1 inside a square at a random place, 0 outside, `[H, W, 1]`; its first row and column."""
        height, width, _ = self._shape
        row_seed, column_seed = tf.unstack(tf.random.split(seed))
        row, column = (
            tf.random.stateless_uniform(
                [], place_seed, 0, tf.maximum(size - side + self._places, 1), tf.int32
            )
            for size, place_seed in ((height, row_seed), (width, column_seed))
        )
        rows, columns = tf.range(height), tf.range(width)
        inside = ((rows >= row) & (rows < row + side))[:, None, None] & (
            (columns >= column) & (columns < column + side)
        )[None, :, None]
        return tf.cast(inside, tf.float32), tf.stack([row, column])

    def _hills(self) -> tf.Tensor:
        """The two hills of each side, upright and turned, in the first corner of an image.

        Returns:
            `[2, phases, H, W]`.
        """
        height, width, _ = self._shape
        table = np.zeros((2, len(self._sides), height, width), np.float32)
        for phase, side in enumerate(self._sides):
            hills = two_hills(side)
            table[0, phase, :side, :side] = hills
            table[1, phase, :side, :side] = hills.T
        return tf.constant(table)


def square(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    images: Any,
    labels: Any,
    *,
    eps: float,
    norm: str = "linf",
    queries: int = 5000,
    as_autoattack: bool = False,
    seed: int = 0,
    example_ids: Any = None,
) -> tf.Tensor:
    """Adversarial images by the Square attack; compiles anew at every call, `Square` compiles once.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        images: `[batch, H, W, C]` in [0, 1].
        labels: int `[batch]`.
        eps: radius in pixels.
        norm: "linf" or "l2".
        queries: at most so many.
        as_autoattack: as in `Square`.
        seed: of all draws.
        example_ids: as in `Square`.

    Returns:
        float32 `[batch, H, W, C]`.

    Raises:
        ValueError: if images are not finite in [0, 1], labels are not a class for each, or as
            `Square`.

    Example:
        >>> square(model, images, labels, eps=8 / 255)
    """
    images, labels = checked_examples(images, labels, log_scores)
    attack = Square(log_scores, images.shape[1:], norm, queries, as_autoattack)
    return attack(to_pixels(images), labels, eps=eps, seed=seed, example_ids=example_ids)


def _signs(shape: list[int], seed: tf.Tensor) -> tf.Tensor:
    """Random -1 and 1."""
    return tf.sign(tf.random.stateless_uniform(shape, seed) - 0.5 + 1e-9)


def _scaled(perturbation: tf.Tensor, eps: tf.Tensor, linf: bool) -> tf.Tensor:
    """Signs of length eps; in l2 each example's perturbation stretched to the norm eps."""
    if linf:
        return eps * perturbation
    return eps * tf.math.divide_no_nan(perturbation, length(perturbation))


def _channel_lengths(values: tf.Tensor) -> tf.Tensor:
    """The l2 norm of each channel, `[batch, H, W, C]` -> `[batch, 1, 1, C]`."""
    return tf.sqrt(tf.reduce_sum(tf.square(values), axis=[1, 2], keepdims=True))


def square_share(query: int, queries: int) -> float:
    """The share of the pixels that a square covers.

    Args:
        query: its number, counted from 0.
        queries: of the attack; the schedule is stretched to them.

    Returns:
        0.8, halved at nine fixed shares of the queries.

    Example:
        >>> square_share(0, 5000), square_share(6, 5000)  # (0.8, 0.4)

    Reference:
        Andriushchenko et al., arXiv 1912.00049, section 5; stretched as in the authors'
        first code.
    """
    at = int(query / queries * _SCHEDULE)
    return _FIRST_SHARE / 2 ** sum(at > bound for bound in _HALVINGS)


def side_of(share: float, image_shape: tuple[int, int, int], norm: str) -> int:
    """The side of a square that covers a share of the pixels.

    Args:
        share: of the pixels.
        image_shape: (H, W, C).
        norm: in "l2" sides are odd and at least 3.

    Returns:
        Pixels, at most the shorter side of the image.
    """
    height, width, _ = image_shape
    side = max(round(math.sqrt(share * height * width)), 1)
    if norm == "l2":
        side = max(side, _SMALLEST_L2_SIDE)
        side += side % 2 == 0
    return min(side, height, width)


def two_hills(side: int) -> np.ndarray:
    """A hill beside a hole, of l2 norm 1: what the l2 attack puts into a square.

    Args:
        side: of the square.

    Returns:
        float32 `[side, side]`, the hill in the upper half; of side 1 the hill alone.

    Reference:
        Andriushchenko et al., arXiv 1912.00049, equation 4.
    """
    if side == 1:
        return np.ones((1, 1), np.float32)
    upper, lower = side // 2, side - side // 2
    pattern = np.zeros((side, side))
    pattern[:upper] = _hill(upper, side)
    pattern[upper:] = -_hill(lower, side)
    return (pattern / np.linalg.norm(pattern)).astype(np.float32)


def _hill(height: int, width: int) -> np.ndarray:
    """Concentric rectangles, each 1 / n^2 higher than the one around it; l2 norm 1."""
    hill = np.zeros((height, width))
    middle = height // 2, width // 2
    for ring in range(max(middle) + 1):
        rows = slice(max(middle[0] - ring, 0), middle[0] + ring + 1)
        columns = slice(max(middle[1] - ring, 0), middle[1] + ring + 1)
        hill[rows, columns] += 1 / (ring + 1) ** 2
    norm = float(np.linalg.norm(hill))
    return hill / norm if norm else hill
