"""Plain ClusTR: the magnet loss, no adversary."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.attacks import cross_entropy
from clustr_tf.classifier import Classifier
from clustr_tf.losses import magnet_loss
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings


@dataclass(frozen=True)
class Clustr:
    """Magnet loss + xent_lambda * cross-entropy of the log-scores.

    Args:
        alpha: cluster separation gap, >= 0; 12.5 for CIFAR-10 in the paper.
        epsilon: 0 for the log domain, 1e-8 for the published arithmetic.
        xent_lambda: weight of the cross-entropy; 0 leaves it out.
        nearest: L of the log-scores; None for all clusters.
        free: how batches are replayed; None for once.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3; xent_lambda: the official code.
    """

    alpha: float
    epsilon: float
    xent_lambda: float
    nearest: int | None
    free: FreeTraining | None = None
    centroids: str | None = "refreshed"

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The losses of the batch's embeddings; see `Objective.losses`."""
        del seed, progress
        return self.embedding_losses(classifier, classifier.embed(images, training=True), targets)

    def embedding_losses(
        self, classifier: Classifier, embeddings: tf.Tensor, targets: tf.Tensor
    ) -> StepLosses:
        """The losses of embeddings.

        Args:
            classifier: whose clusters score.
            embeddings: `[batch, dim]`.
            targets: int64 `[batch, 2]` = (class, cluster).

        Returns:
            The losses; remembered is the magnet loss.
        """
        classes, clusters = targets[:, 0], targets[:, 1]
        magnet = magnet_loss(embeddings, classes, clusters, alpha=self.alpha, epsilon=self.epsilon)
        losses = StepLosses(magnet, magnet, {"magnet": tf.reduce_mean(magnet)})
        if self.xent_lambda == 0:
            return losses
        scores = classifier.head.log_scores(embeddings, self.nearest)
        xent = cross_entropy(labels=classes, logits=scores)
        return losses.plus("xent", self.xent_lambda, xent)


def clustr(config: ObjectiveSettings) -> Clustr:
    """Plain ClusTR, as configured."""
    return Clustr(config.alpha, config.epsilon, config.xent_lambda, config.nearest)
