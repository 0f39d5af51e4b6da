"""Constants that grow from 0 while the training warms up."""

import tensorflow as tf


def warmed_up(value: float, warmup: float, progress: tf.Tensor) -> tf.Tensor | float:
    """A constant, grown linearly from 0 over the first part of the training.

    With the whole radius of an adversary from the first step on, a large one teaches a network to
    answer the same for all images, out of which it may not find its way.

    Args:
        value: at last.
        warmup: share of the training over which it grows, in [0, 1].
        progress: float32 scalar, the share of the training that is done.

    Returns:
        float32 scalar; `value` itself without a warm-up.

    Example:
        >>> warmed_up(0.3, 0.5, tf.constant(0.25))  # 0.15
    """
    return value * tf.minimum(progress / warmup, 1.0) if warmup else value
