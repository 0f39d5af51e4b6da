"""The steps of projected gradient descent, for evaluation and for training alike."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.utils import clip_eta

from clustr_tf.attacks.losses import AttackLoss


def ascend(
    outputs: Callable[[tf.Tensor], tf.Tensor],
    loss: AttackLoss,
    images: tf.Tensor,
    labels: tf.Tensor,
    start: tf.Tensor,
    *,
    eps: tf.Tensor | float,
    step_size: tf.Tensor | float,
    steps: tf.Tensor | int,
    norm: float = np.inf,
    jit_compile: bool = False,
) -> tf.Tensor:
    """Ascends a loss from `start`, staying in the eps-ball around `images` and in [0, 1].

    Each step is CleverHans' `fast_gradient_method` and projection, number for number the body of
    its `projected_gradient_descent`. Only gradients with respect to the images are taken. To be
    called while a `tf.function` is traced. A tensor of `steps` makes one loop in the graph, an int
    is unrolled: inside a loop that XLA compiles for a CPU, convolutions take five times as long.

    Args:
        outputs: images -> whatever the loss takes as its `logits`; one and the same object for
            all calls of an attack, as CleverHans compiles a gradient for each.
        loss: `(labels, logits)` -> `[batch]`.
        images: float32 `[batch, H, W, C]` in [0, 1], the centres of the balls.
        labels: what the loss takes.
        start: `[batch, H, W, C]`.
        eps: radius in pixels.
        step_size: length of a step in pixels; it may exceed eps. For l-infinity also `[C]`.
        steps: how many.
        norm: a value of `NORMS`.
        jit_compile: whether XLA compiles each step, with the loop around it left to TensorFlow.

    Returns:
        float32 `[batch, H, W, C]`, the last iterate.

    Example:
        >>> ascend(model, cross_entropy, x, y, x, eps=8 / 255, step_size=2 / 255, steps=10)

    Reference:
        Madry et al., arXiv 1706.06083; CleverHans 4.0.0.
    """

    def step(adversarial: tf.Tensor) -> tf.Tensor:
        moved = fast_gradient_method(
            outputs, adversarial, step_size, norm, loss, clip_min=0.0, clip_max=1.0, y=labels
        )
        perturbation = clip_eta(moved - images, norm, eps)
        return tf.clip_by_value(images + perturbation, 0.0, 1.0)

    if jit_compile:
        step = tf.function(step, jit_compile=True, autograph=False)
    if isinstance(steps, int):
        found = start
        for _ in range(steps):
            found = step(found)
        return found
    _, found = tf.while_loop(
        lambda done, _: done < steps,
        lambda done, adversarial: (done + 1, tf.ensure_shape(step(adversarial), images.shape)),
        (tf.constant(0), start),
    )
    return found
