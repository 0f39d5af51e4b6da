"""Losses that attacks ascend, with CleverHans' signature `(labels, logits) -> [batch]`."""

from collections.abc import Callable

import tensorflow as tf

AttackLoss = Callable[..., tf.Tensor]


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy. It saturates in float32 where logits are far apart: never use it alone.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`.

    Returns:
        `[batch]`.

    Example:
        >>> cross_entropy(tf.constant([0]), tf.constant([[0.0, 0.0]]))  # [0.693]
    """
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The best other class's logit minus the label's: positive where the example is broken.

    Its gradient does not vanish however large the logits are.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`, at least two classes.

    Returns:
        `[batch]`.

    Example:
        >>> margin(tf.constant([0]), tf.constant([[3.0, 1.0]]))  # [-2.]

    Reference:
        Carlini and Wagner, arXiv 1608.04644, loss f6.
    """
    is_label = tf.one_hot(
        labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool
    )
    others = tf.reduce_max(tf.where(is_label, logits.dtype.min, logits), axis=1)
    return others - tf.gather(logits, labels, axis=1, batch_dims=1)


ATTACK_LOSSES: dict[str, AttackLoss] = {"ce": cross_entropy, "margin": margin}
