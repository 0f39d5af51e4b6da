"""Nominal training: cross-entropy on a dense softmax layer, no adversary."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.attacks import cross_entropy
from clustr_tf.classifier import Classifier
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings


@dataclass(frozen=True)
class Nominal:
    """Cross-entropy of the images.

    Args:
        free: how batches are replayed; None for once.
    """

    free: FreeTraining | None = None
    centroids: str | None = None

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The cross-entropy of the batch; see `Objective.losses`."""
        del seed, progress
        scores = classifier.log_scores(classifier.embed(images, training=True))
        return classification_losses(scores, targets)


def classification_losses(scores: tf.Tensor, targets: tf.Tensor) -> StepLosses:
    """Cross-entropies of a batch, as losses of a step.

    Args:
        scores: `[batch, classes]`, logits or log-scores.
        targets: int64 `[batch, 2]` = (class, cluster).

    Returns:
        The losses.
    """
    xent = cross_entropy(labels=targets[:, 0], logits=scores)
    return StepLosses(xent, xent, {"xent": tf.reduce_mean(xent)})


def nominal(config: ObjectiveSettings) -> Nominal:
    """Nominal training; there is nothing to configure."""
    del config
    return Nominal()
