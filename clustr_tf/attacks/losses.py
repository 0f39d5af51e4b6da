"""Losses that attacks ascend, with CleverHans' signature `(labels, logits) -> [batch]`."""

from collections.abc import Callable

import tensorflow as tf

from clustr_tf.losses.classification import cross_entropy

AttackLoss = Callable[..., tf.Tensor]


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
    others = tf.reduce_max(of_others(labels, logits), axis=1)
    return others - tf.gather(logits, labels, axis=1, batch_dims=1)


def of_others(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The logits, the label's own lowered below any other; `[batch, classes]`."""
    is_label = tf.one_hot(
        labels, tf.shape(logits)[1], on_value=True, off_value=False, dtype=tf.bool
    )
    return tf.where(is_label, logits.dtype.min, logits)


def ranked_class(labels: tf.Tensor, logits: tf.Tensor, rank: tf.Tensor | int) -> tf.Tensor:
    """The class that is `rank`-th best of the others.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`, at least two classes.
        rank: 1 to classes - 1.

    Returns:
        int64 `[batch]`.

    Raises:
        ValueError: if rank, where it is an int, is not the rank of another class.

    Example:
        >>> ranked_class(tf.constant([0]), tf.constant([[4.0, 3.0, 1.0, 2.0]]), 2)  # [3]
    """
    others = logits.shape[1] - 1
    if isinstance(rank, int) and not 1 <= rank <= others:
        raise ValueError(f"target_rank must be 1 to {others}. Received: {rank}")
    ranked = tf.argsort(of_others(labels, logits), axis=1, direction="DESCENDING", stable=True)
    return tf.cast(tf.gather(ranked, rank - 1, axis=1), tf.int64)


def dlr(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Difference of logits ratio: the margin in units of the largest logit minus the third.

    Neither shift nor scale of the logits change it. With two classes the ratio would be constant,
    so it is the plain margin; where the largest three logits are equal, too.

    Args:
        labels: int `[batch]`.
        logits: `[batch, classes]`, at least two classes.

    Returns:
        `[batch]`, positive where the example is broken.

    Example:
        >>> dlr(tf.constant([0]), tf.constant([[4.0, 3.0, 2.0]]))  # [-0.5]

    Reference:
        Croce and Hein, arXiv 2003.01690, equation 5.
    """
    return _ratio(margin(labels, logits), logits, (2,))


def targeted_dlr(labels: tf.Tensor, targets: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The target's logit minus the label's, in units of the largest logits' differences.

    The unit is the largest logit minus the mean of the third and fourth; with three classes minus
    the third; with two classes there is no unit.

    Args:
        labels: int `[batch]`.
        targets: int `[batch]`, classes to reach.
        logits: `[batch, classes]`, at least two classes.

    Returns:
        `[batch]`.

    Example:
        >>> targeted_dlr(tf.constant([0]), tf.constant([3]), tf.constant([[4.0, 3.0, 2.0, 0.0]]))
        # (0 - 4) / (4 - (2 + 0) / 2) = [-1.333]

    Reference:
        Croce and Hein, arXiv 2003.01690, equation 6.
    """
    difference = tf.gather(logits, targets, axis=1, batch_dims=1) - tf.gather(
        logits, labels, axis=1, batch_dims=1
    )
    return _ratio(difference, logits, (2, 3))


def _ratio(difference: tf.Tensor, logits: tf.Tensor, ranks: tuple[int, ...]) -> tf.Tensor:
    """The difference in units of the largest logit minus the mean of those of the given ranks."""
    classes = logits.shape[1]
    present = [rank for rank in ranks if rank < classes]
    if not present:
        return difference
    largest = tf.math.top_k(logits, present[-1] + 1).values
    unit = largest[:, 0] - tf.reduce_mean(tf.gather(largest, present, axis=1), axis=1)
    return difference / tf.where(unit > 0, unit, tf.ones_like(unit))


ATTACK_LOSSES: dict[str, AttackLoss] = {"ce": cross_entropy, "margin": margin, "dlr": dlr}


def attack_loss(loss: str | AttackLoss) -> AttackLoss:
    """A loss by its name.

    Args:
        loss: a key of `ATTACK_LOSSES`, or a loss itself.

    Returns:
        The loss.

    Raises:
        ValueError: if the name is unknown.

    Example:
        >>> attack_loss("ce")  # cross_entropy
    """
    if not isinstance(loss, str):
        return loss
    if loss not in ATTACK_LOSSES:
        raise ValueError(f"loss must be one of {sorted(ATTACK_LOSSES)}. Received: {loss!r}")
    return ATTACK_LOSSES[loss]
