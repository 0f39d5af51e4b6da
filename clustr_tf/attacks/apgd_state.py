"""What Auto-PGD remembers of every example, and how that decides the step lengths."""

from typing import NamedTuple

import tensorflow as tf

_ENOUGH_INCREASES = 0.75  # rho


def checkpoints(steps: int) -> tuple[int, ...]:
    """The steps after which the step length is reconsidered.

    The first interval is 22 % of all steps, each further one 3 % shorter, none below 6 %, all
    rounded down as in the official code.

    Args:
        steps: of the attack, at least 1.

    Returns:
        Numbers of finished steps, ascending.

    Example:
        >>> checkpoints(100)[:4]  # (22, 41, 57, 70)

    Reference:
        Croce and Hein, arXiv 2003.01690, section 3.2; `autopgd_base.py` of AutoAttack.
    """
    interval, shorter = max(22 * steps // 100, 1), max(3 * steps // 100, 1)
    shortest = max(6 * steps // 100, 1)
    found, at = [], interval
    while at <= steps:
        found.append(at)
        interval = max(interval - shorter, shortest)
        at += interval
    return tuple(found)


class State(NamedTuple):
    """Of every example: where it is, what was best, and what decides the step length."""

    images: tf.Tensor  # the iterate
    before: tf.Tensor  # the one before it
    gradient: tf.Tensor  # at the iterate
    loss: tf.Tensor  # of the newest iterate that was evaluated
    best: tf.Tensor
    best_gradient: tf.Tensor
    best_loss: tf.Tensor
    broken: tf.Tensor  # whether an iterate was misclassified
    adversarial: tf.Tensor  # the first that was
    step: tf.Tensor  # length
    increases: tf.Tensor  # of the loss since the last checkpoint
    checked_loss: tf.Tensor  # best loss at the last checkpoint
    was_halved: tf.Tensor  # whether the last checkpoint halved the step


def noted(state: State, losses: tf.Tensor, gradient: tf.Tensor, wrong: tf.Tensor) -> State:
    """What the newest iterate changes in the records."""
    better = losses > state.best_loss
    return state._replace(
        gradient=gradient,
        loss=losses,
        best=where(better, state.images, state.best),
        best_gradient=where(better, gradient, state.best_gradient),
        best_loss=tf.where(better, losses, state.best_loss),
        adversarial=where(wrong & ~state.broken, state.images, state.adversarial),
        broken=state.broken | wrong,
        increases=state.increases + tf.cast(losses > state.loss, tf.float32),
    )


def reconsidered(state: State, interval: tf.Tensor) -> State:
    """At a checkpoint: halves the step and goes back to the best point where that is due."""
    at_checkpoint = interval > 0
    few_increases = state.increases <= _ENOUGH_INCREASES * interval
    stuck = ~state.was_halved & (state.checked_loss >= state.best_loss)
    halved = at_checkpoint & (few_increases | stuck)
    return state._replace(
        step=tf.where(halved, state.step / 2, state.step),
        images=where(halved, state.best, state.images),
        gradient=where(halved, state.best_gradient, state.gradient),
        increases=tf.where(at_checkpoint, tf.zeros_like(state.increases), state.increases),
        checked_loss=tf.where(at_checkpoint, state.best_loss, state.checked_loss),
        was_halved=tf.where(at_checkpoint, halved, state.was_halved),
    )


def like_images(values: tf.Tensor) -> tf.Tensor:
    """`[batch]` -> `[batch, 1, 1, 1]`."""
    return values[:, None, None, None]


def where(condition: tf.Tensor, images: tf.Tensor, others: tf.Tensor) -> tf.Tensor:
    """`images` where the condition `[batch]` is true, else `others`."""
    return tf.where(like_images(condition), images, others)
