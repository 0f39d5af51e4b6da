"""Directions of steepest ascent and projections, for both norms."""

import numpy as np
import tensorflow as tf

_AXES = [1, 2, 3]


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


def length(values: tf.Tensor) -> tf.Tensor:
    """The l2 norm of each example, `[batch, H, W, C]` -> `[batch, 1, 1, 1]`."""
    return tf.sqrt(tf.reduce_sum(tf.square(values), axis=_AXES, keepdims=True))


def projected(images: tf.Tensor, centres: tf.Tensor, eps: tf.Tensor, norm: float) -> tf.Tensor:
    """Images moved into the eps-ball around others and into [0, 1].

    Args:
        images: `[batch, H, W, C]`.
        centres: `[batch, H, W, C]` in [0, 1].
        eps: radius in pixels.
        norm: `np.inf` or 2.

    Returns:
        `[batch, H, W, C]`.

    Example:
        >>> projected(tf.constant([[[[0.9]]]]), tf.constant([[[[0.5]]]]), 0.1, np.inf)  # 0.6
    """
    perturbation = images - centres
    if norm == np.inf:
        perturbation = tf.clip_by_value(perturbation, -eps, eps)
    else:
        shrinking = tf.math.divide_no_nan(eps, length(perturbation))
        perturbation *= tf.where(length(perturbation) > eps, shrinking, 1.0)
    return tf.clip_by_value(centres + perturbation, 0.0, 1.0)
