"""What an evaluation takes as an attack, and PGD as one."""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from clustr_tf.attacks.pgd import PGD
from clustr_tf.attacks.pgd_config import PGDConfig

Find = Callable[[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


class Attack(NamedTuple):
    """What breaks examples, in one or several attempts.

    Attributes:
        find: (images float32 `[batch, H, W, C]`, labels int64 `[batch]`, eps float32 scalar, seed
            int32 scalar, attempt int32 scalar, example ids int32 `[batch]`) -> adversarial images
            in the eps-ball and in [0, 1]. Called while a `tf.function` is traced. An example's
            result depends on its own row, not on its neighbours.
        attempts: how often it is tried on what is left, such as restarts or target classes.
    """

    find: Find
    attempts: int = 1


def pgd_attack(
    pgd: PGD, step_of: Callable[[tf.Tensor], tf.Tensor], *, steps: int, restarts: int = 1
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
        >>> pgd_attack(PGD(model, (8, 8, 1), loss="margin"), lambda eps: eps / 5, steps=20)
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

    return Attack(find, restarts)


def pgd_attacks(
    log_scores: Callable[[tf.Tensor], tf.Tensor],
    image_shape: tuple[int, int, int],
    config: PGDConfig,
    jit_compile: bool = False,
) -> dict[str, Attack]:
    """A PGD attack for each of a config's losses.

    The step keeps its ratio to the radius: at another eps than the config's it is scaled.

    Args:
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.
        image_shape: (H, W, C).
        config: losses, steps, restarts, norm.
        jit_compile: whether XLA compiles the steps.

    Returns:
        Name of the loss -> attack.

    Example:
        >>> pgd_attacks(model, (8, 8, 1), PGDConfig(0.1, 0.02, 20)).keys()  # ce, margin
    """
    return {
        loss: pgd_attack(
            PGD(log_scores, image_shape, config.norm, loss, jit_compile),
            lambda eps: config.step_ratio * eps,
            steps=config.steps,
            restarts=config.restarts,
        )
        for loss in config.losses
    }
