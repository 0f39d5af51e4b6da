"""What an evaluation takes as an attack, and PGD as one."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from clustr_tf.attacks.pgd import PGD, CompiledPGD

Find = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Attack(NamedTuple):
    """What breaks examples, in one or several attempts.

    Attributes:
        find: (images float32 `[batch, H, W, C]`, labels int64 `[batch]`, eps float32 scalar, seed
            int32 scalar, attempt int32 scalar, example ids int32 `[batch]`) -> adversarial images
            in the eps-ball and in [0, 1]. Called while a `tf.function` is traced. An example's
            result depends on its own row, not on its neighbours.
        attempts: how often it is tried on what is left, such as restarts or target classes.
        cost: of an attempt, in gradients of the network: what remains to be done is told by it.
    """

    find: Find
    attempts: int = 1
    cost: float = 1.0


def pgd_attack(
    pgd: CompiledPGD, step_of: Callable[[tf.Tensor], tf.Tensor], *, steps: int, restarts: int = 1
) -> Attack:
    """PGD from uniformly random points of the ball.

    Args:
        pgd: model, loss and norm; attacks that share it are traced once.
        step_of: radius -> length of a step, both in pixels.
        steps: gradient steps of a restart; 0 leaves the random points: noise.
        restarts: starts.

    Returns:
        The attack.

    Example:
        >>> compiled = CompiledPGD(model, (8, 8, 1), loss="margin")
        >>> pgd_attack(compiled, lambda eps: eps / 5, steps=20)
    """

    def find(
        images: tf.Tensor,
        labels: tf.Tensor,
        eps: tf.Tensor,
        seed: tf.Tensor,
        attempt: tf.Tensor,
        example_ids: tf.Tensor,
    ) -> tf.Tensor:
        del attempt  # the seed differs
        start = pgd.random_start(images, eps, seed, example_ids)
        return pgd(images, labels, start, eps=eps, step_size=step_of(eps), steps=steps)

    return Attack(find, restarts, steps + 1)


def pgd_attacks(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    image_shape: tuple[int, int, int],
    pgd: PGD,
    jit_compile: bool = False,
) -> dict[str, Attack]:
    """A PGD attack for each of its losses.

    The step keeps its ratio to the radius: at another eps than its own it is scaled.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        pgd: losses, steps, restarts, norm.
        jit_compile: whether XLA compiles the steps.

    Returns:
        Name of the loss -> attack.

    Example:
        >>> pgd_attacks(model, (8, 8, 1), PGD(eps=0.1)).keys()  # ce, margin
    """
    return {
        loss: pgd_attack(
            CompiledPGD(log_scores, image_shape, pgd.norm, loss, jit_compile),
            lambda eps: pgd.step_ratio * eps,
            steps=pgd.steps,
            restarts=pgd.restarts,
        )
        for loss in pgd.losses
    }
