"""What a training method is: a loss of every example of a batch."""

from typing import NamedTuple, Protocol

import tensorflow as tf

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


class Objective(Protocol):
    """A training method."""

    def losses(self, classifier: Classifier, images: tf.Tensor, targets: tf.Tensor) -> StepLosses:
        """Losses of one neighbourhood, traced inside the training step's gradient tape.

        Args:
            classifier: the model in training.
            images: `[batch, H, W, C]` in [0, 1], augmented.
            targets: int64 `[batch, 2]` = (class, cluster).

        Returns:
            The losses.
        """
