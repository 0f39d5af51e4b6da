"""ClusTR with an adversarial companion: what clustr_qtrades and clustr_trades share."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.objectives.adversary import Adversary
from clustr_tf.objectives.clustr import Clustr
from clustr_tf.objectives.consistency import Consistency
from clustr_tf.objectives.objective import FreeTraining, StepLosses


@dataclass(frozen=True)
class ClustrConsistency:
    """ClusTR + weight * inconsistency between images and their adversarial companions.

    The companions ascend the inconsistency itself, the answers for the images held constant; the
    descent goes through both. Log-scores use the clusters of the last refresh. The images and the
    companions pass separately through batch normalisation in training mode, and both move its
    averages; about the adversary's own passes see `Adversary`.

    Args:
        clustering: the losses of the images.
        consistency: the measure of inconsistency.
        weight: lambda.
        adversary: finds the companions.
    """

    clustering: Clustr
    consistency: Consistency
    weight: float
    adversary: Adversary
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
        """Losses of the images and their companions; see `Objective.losses`."""

        def answers(embeddings: tf.Tensor) -> tf.Tensor:
            if self.consistency.on_embeddings:
                return embeddings
            return classifier.head.log_scores(embeddings, self.clustering.nearest)

        embeddings = classifier.embed(images, training=True)
        clean = answers(embeddings)
        companions = self.adversary.perturb(
            classifier, answers, self.consistency.loss, images, clean, seed, progress
        )
        perturbed = answers(classifier.embed(companions, training=True))
        inconsistency = self.consistency.loss(labels=clean, logits=perturbed)
        losses = self.clustering.embedding_losses(classifier, embeddings, targets)
        return losses.plus("consistency", self.weight, inconsistency)
