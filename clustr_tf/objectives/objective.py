"""What a training method is: a loss of every example of a batch."""

from typing import NamedTuple, Protocol

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.objectives.warmup import warmed_up


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


class Objective(Protocol):
    """A training method.

    Attributes:
        centroids: what the head is. "refreshed": a `ClusteringHead` whose centroids k-means finds
            anew after every epoch; batches are neighbourhoods. "learned": one that k-means begins
            and gradients go on with; batches are shuffled, as in what follows. "fixed": one whose
            centroids are unit vectors. None: a dense softmax layer.
        free: how batches are replayed; None for once, unperturbed.
    """

    @property
    def centroids(self) -> str | None: ...

    @property
    def free(self) -> FreeTraining | None: ...

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
