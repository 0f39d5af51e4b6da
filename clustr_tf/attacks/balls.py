"""Balls of a norm: random points in them, projections onto them, directions of steepest ascent."""

import numpy as np
import tensorflow as tf

NORMS: dict[str, float] = {"linf": np.inf, "l2": 2}
_AXES = [1, 2, 3]  # of an image


def norm_order(norm: str) -> float:
    """The order of a norm.

    Args:
        norm: a key of `NORMS`.

    Returns:
        `np.inf` or 2.

    Raises:
        ValueError: if it is no such key.

    Example:
        >>> norm_order("l2")  # 2
    """
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {sorted(NORMS)}. Received: {norm!r}")
    return NORMS[norm]


def direction(gradient: tf.Tensor, norm: float) -> tf.Tensor:
    """The step of length 1 that ascends most.

    Args:
        gradient: `[batch, H, W, C]`.
        norm: `np.inf` or 2.

    Returns:
        The sign of the gradient, or the gradient divided by its l2 norm, however small that is;
        0 where the gradient is.

    Example:
        >>> direction(tf.constant([[[[3e-30, 4e-30]]]]), 2)  # [[[[0.6, 0.8]]]]
    """
    if norm == np.inf:
        return tf.sign(gradient)
    # Squares of small numbers vanish, so the largest component becomes 1 first.
    largest = tf.reduce_max(tf.abs(gradient), axis=_AXES, keepdims=True)
    scaled = tf.math.divide_no_nan(gradient, largest)
    return tf.math.divide_no_nan(scaled, length(scaled))


def finite(gradient: tf.Tensor) -> tf.Tensor:
    """The gradient, 0 where it is infinite or NaN: there it leads nowhere."""
    return tf.where(tf.math.is_finite(gradient), gradient, tf.zeros_like(gradient))


def length(values: tf.Tensor) -> tf.Tensor:
    """The l2 norm of each example, `[batch, H, W, C]` -> `[batch, 1, 1, 1]`."""
    return tf.sqrt(tf.reduce_sum(tf.square(values), axis=_AXES, keepdims=True))


def projected(
    centres: tf.Tensor, perturbations: tf.Tensor, eps: tf.Tensor | float, norm: float
) -> tf.Tensor:
    """Images plus perturbations that are cut to the eps-ball, clipped to [0, 1].

    Bit for bit what CleverHans' `clip_eta` and clip give when called eagerly, except for l2 radii
    below 1e-6, which it makes smaller still. A graph does not round it otherwise: TensorFlow's
    rewriting leaves `divide_no_nan` alone.

    Args:
        centres: `[batch, H, W, C]` in [0, 1].
        perturbations: `[batch, H, W, C]`.
        eps: radius in pixels.
        norm: `np.inf` or 2.

    Returns:
        `[batch, H, W, C]`.

    Example:
        >>> projected(tf.constant([[[[0.5]]]]), tf.constant([[[[0.4]]]]), 0.1, np.inf)  # 0.6
    """
    if norm == np.inf:
        cut = tf.clip_by_value(perturbations, -eps, eps)
    else:
        size = length(perturbations)
        cut = perturbations * tf.where(size > eps, tf.math.divide_no_nan(eps, size), 1.0)
    return tf.clip_by_value(centres + cut, 0.0, 1.0)


def random_perturbations(
    example_ids: tf.Tensor,
    shape: tuple[int, ...],
    eps: tf.Tensor,
    seed: tf.Tensor,
    norm: float,
) -> tf.Tensor:
    """Perturbations drawn uniformly from the eps-ball, one for each example.

    The draw depends on (seed, example id) alone: the same whatever else is in the batch.

    Args:
        example_ids: int32 `[batch]`.
        shape: of one perturbation.
        eps: float scalar, radius in pixels.
        seed: int32 scalar.
        norm: `np.inf` or 2.

    Returns:
        float32 `[batch, *shape]`.

    Example:
        >>> random_perturbations(tf.range(4), (8, 8, 1), 0.1, 0, np.inf)

    Reference:
        For l2: Calafiore et al., "Uniform sample generation in lp balls", 1998.
    """

    def cube(example_id: tf.Tensor) -> tf.Tensor:
        return tf.random.stateless_uniform(shape, tf.stack([seed, example_id]), -1.0, 1.0)

    def ball(example_id: tf.Tensor) -> tf.Tensor:
        direction_seed, radius_seed = tf.unstack(
            tf.random.split(tf.stack([seed, example_id]), num=2)
        )
        direction = tf.random.stateless_normal(shape, direction_seed)
        radius = tf.random.stateless_uniform([], radius_seed) ** (1.0 / float(np.prod(shape)))
        return radius * direction / tf.norm(direction)

    draw = cube if norm == np.inf else ball
    return eps * tf.map_fn(draw, example_ids, fn_output_signature=tf.TensorSpec(shape, tf.float32))


def boundary_perturbations(
    example_ids: tf.Tensor,
    shape: tuple[int, ...],
    eps: tf.Tensor,
    seed: tf.Tensor,
    norm: float,
) -> tf.Tensor:
    """Random perturbations on the boundary of the eps-ball, one for each example.

    Args:
        example_ids: int32 `[batch]`.
        shape: of one perturbation.
        eps: float scalar, radius in pixels.
        seed: int32 scalar.
        norm: `np.inf` or 2.

    Returns:
        float32 `[batch, *shape]`, each of norm eps: in l-infinity uniform numbers divided by the
        largest, in l2 uniform on the sphere.

    Example:
        >>> boundary_perturbations(tf.range(4), (8, 8, 1), 0.1, 0, np.inf)

    Reference:
        The starts of `autopgd_base.py`, AutoAttack.
    """

    def draw(example_id: tf.Tensor) -> tf.Tensor:
        example_seed = tf.stack([seed, example_id])
        if norm == np.inf:
            numbers = tf.random.stateless_uniform(shape, example_seed, -1.0, 1.0)
            return numbers / tf.reduce_max(tf.abs(numbers))
        numbers = tf.random.stateless_normal(shape, example_seed)
        return numbers / tf.norm(numbers)

    return eps * tf.map_fn(draw, example_ids, fn_output_signature=tf.TensorSpec(shape, tf.float32))
