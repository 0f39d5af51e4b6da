"""The adversary inside a training step."""

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.attacks import ascend
from clustr_tf.attacks.losses import AttackLoss
from clustr_tf.classifier import Classifier
from clustr_tf.objectives.settings import ObjectiveSettings
from clustr_tf.objectives.warmup import warmed_up

# TRADES starts this close to the image: at the image itself the gradient of its KL is zero.
_GAUSSIAN_SCALE = 0.001


@dataclass(frozen=True)
class Adversary:
    """Sign steps inside an l-infinity ball, traced into the training step.

    Only gradients of the images are taken: nothing is added to those of the weights, as the
    published code does. Batch normalisation uses its moving averages (evaluation mode): the
    adversary attacks the network that will be deployed, and its passes do not move the averages.

    Args:
        eps: radius in pixels.
        step_size: length of a step in pixels.
        steps: how many.
        standardised_steps: whether `step_size` counts in standard deviations of each channel
            instead, as the published "actual TRADES" does.
        gaussian_start: start at the image plus noise of scale 0.001 (TRADES), not at a uniformly
            random point of the ball.
        warmup: share of the training over which radius and steps grow, in [0, 1].

    Example:
        >>> Adversary(eps=8 / 255, step_size=2 / 255, steps=10)
    """

    eps: float
    step_size: float
    steps: int
    standardised_steps: bool = False
    gaussian_start: bool = False
    warmup: float = 0.0

    def perturb(
        self,
        classifier: Classifier,
        outputs: Callable[[tf.Tensor], tf.Tensor],
        loss: AttackLoss,
        images: tf.Tensor,
        labels: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> tf.Tensor:
        """Adversarial companions of a batch; constants for the gradient of the weights.

        Args:
            classifier: the model in training.
            outputs: embeddings -> what the loss compares.
            loss: ascended; `(labels, logits)` -> `[batch]`.
            images: `[batch, H, W, C]` in [0, 1].
            labels: what the loss takes; held constant.
            seed: int32 `[2]`, of the start.
            progress: float32 scalar, the share of the training that is done.

        Returns:
            float32 `[batch, H, W, C]` in [0, 1].
        """
        eps = warmed_up(self.eps, self.warmup, progress)
        step_size = warmed_up(self.step_size, self.warmup, progress)
        if self.standardised_steps:
            step_size = tf.stack(
                [warmed_up(self.step_size * std, self.warmup, progress) for std in classifier.std]
            )
        found = ascend(
            lambda pixels: outputs(classifier.embed(pixels, training=False)),
            loss,
            images,
            tf.stop_gradient(labels),
            self._start(images, seed, eps),
            eps=eps,
            step_size=step_size,
            steps=self.steps,
        )
        return tf.stop_gradient(found)

    def _start(self, images: tf.Tensor, seed: tf.Tensor, eps: tf.Tensor | float) -> tf.Tensor:
        shape = tf.shape(images)
        if self.gaussian_start:
            noise = _GAUSSIAN_SCALE * tf.random.stateless_normal(shape, seed)
        else:
            noise = tf.random.stateless_uniform(shape, seed, -eps, eps)
        return tf.clip_by_value(images + noise, 0.0, 1.0)


def build_adversary(
    config: ObjectiveSettings, step: float, steps: int, gaussian_start: bool = False
) -> Adversary:
    """The adversary of a method, as configured.

    Args:
        config: `eps` and what overrides the following: `step_size`, `steps`,
            `standardised_steps`, `warmup`.
        step: the method's own step size, as a multiple of eps.
        steps: the method's own number of steps.
        gaussian_start: see `Adversary`.

    Returns:
        The adversary.

    Example:
        >>> build_adversary(ObjectiveSettings("pgd_at"), step=0.25, steps=7)
    """
    return Adversary(
        config.eps,
        step * config.eps if config.step_size is None else config.step_size,
        config.steps or steps,
        config.standardised_steps,
        gaussian_start,
        config.warmup or 0.0,
    )
