"""Random starts that belong to the example, not to its batch."""

import numpy as np
import tensorflow as tf


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
