"""What a training method is, and the adversary inside its step."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from clustr_tf.attacks import ascend
from clustr_tf.attacks.losses import AttackLoss
from clustr_tf.classifier import Classifier


class StepLosses(NamedTuple):
    """Losses of one batch.

    Attributes:
        total: `[batch]`; its mean is what the optimiser descends.
        remembered: `[batch]`; what the sampler remembers of each example.
        parts: named scalars for the logs.
    """

    total: tf.Tensor
    remembered: tf.Tensor
    parts: dict[str, tf.Tensor]

    def plus(self, name: str, weight: float, losses: tf.Tensor) -> "StepLosses":
        """These losses plus a further weighted one.

        Args:
            name: of its mean in the logs.
            weight: its factor in the total.
            losses: `[batch]`.

        Returns:
            The sum; what is remembered stays.
        """
        parts = {**self.parts, name: tf.reduce_mean(losses)}
        return StepLosses(self.total + weight * losses, self.remembered, parts)


class FreeTraining(NamedTuple):
    """Every batch is trained on several times while one perturbation runs along.

    Attributes:
        replays: how often a batch is trained on.
        eps: radius of the perturbation and length of its steps, in pixels.
        warmup: share of the training over which it grows, in [0, 1].

    Reference:
        Shafahi et al., "Adversarial Training for Free!", arXiv 1904.12843, algorithm 1.
    """

    replays: int
    eps: float
    warmup: float = 0.0

    def radius(self, progress: tf.Tensor) -> tf.Tensor | float:
        """The radius at a share of the training, in pixels; float32 scalar."""
        return warmed_up(self.eps, self.warmup, progress)


class Method(ABC):
    """A training method: a frozen dataclass that owns, validates and documents its constants.

    A method of one's own is one class, and one line to name it in configs.

    Attributes:
        has_adversary: whether it trains on attacked images, once or replayed.
        needs_lipschitz: whether its losses hold on 1-Lipschitz backbones only.
        suits_bfloat16: whether it trains as well on a backbone that computes in bfloat16.

    Example:
        >>> @dataclass(frozen=True)
        ... class Mine(Method):
        ...     power: float = 2.0  # of the cross-entropy
        ...
        ...     def losses(self, classifier, images, targets, seed, progress):
        ...         scores = classifier.log_scores(classifier.embed(images, training=True))
        ...         losses = cross_entropy(labels=targets[:, 0], logits=scores) ** self.power
        ...         return StepLosses(losses, losses, {})
        >>> METHODS["mine"] = Mine
    """

    has_adversary: ClassVar[bool] = False
    needs_lipschitz: ClassVar[bool] = False
    suits_bfloat16: ClassVar[bool] = True

    @property
    def centroids(self) -> str | None:
        """What the head is; a class attribute or a field overrides it.

        "refreshed": a `ClusteringHead` whose centroids k-means finds anew after every epoch;
        batches are neighbourhoods. "learned": one that k-means begins and gradients go on with;
        batches are shuffled, as in what follows. "fixed": one whose centroids are unit vectors.
        None: a dense softmax layer.
        """
        return None

    @property
    def needs_neighbourhoods(self) -> bool:
        """Whether batches are neighbourhoods of clusters that k-means finds after every epoch."""
        return self.centroids == "refreshed"

    @property
    def free(self) -> FreeTraining | None:
        """How batches are replayed; None for once, unperturbed."""
        return None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # A model that is saved compiled names its method, one's own by the package it is from.
        keras.saving.register_keras_serializable(cls.__module__.split(".")[0])(cls)

    def get_config(self) -> dict[str, Any]:
        """The fields, as Keras saves them."""
        return {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Method":
        """The inverse of `get_config`; JSON knows no tuples."""
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in config.items()})

    def __post_init__(self) -> None:  # noqa: B027
        """Validates the fields; a subclass calls it before its own checks."""

    @abstractmethod
    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of one batch, traced inside the training step's gradient tape.

        Args:
            classifier: the model in training.
            images: `[batch, H, W, C]` in [0, 1], augmented; with `free`, perturbed as well.
            targets: int64 `[batch, 2]` = (class, cluster).
            seed: int32 `[2]`, of every random draw.
            progress: float32 scalar, the share of the training that is done, in [0, 1).

        Returns:
            The losses.
        """


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
