"""Plain ClusTR: the magnet loss, no adversary."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.losses import magnet_loss
from clustr_tf.objectives.objective import StepLosses


@dataclass(frozen=True)
class Clustr:
    """Clustering loss only, as in section 3 of the paper.

    Args:
        alpha: cluster separation gap, >= 0; 12.5 for CIFAR-10 in the paper.
        epsilon: 0 for the log domain, 1e-8 for the published arithmetic.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3.
    """

    alpha: float
    epsilon: float

    def losses(self, classifier: Classifier, images: tf.Tensor, targets: tf.Tensor) -> StepLosses:
        """The magnet loss of the batch's embeddings; see `Objective.losses`."""
        embeddings = classifier.embed(images, training=True)
        magnet = magnet_loss(
            embeddings, targets[:, 0], targets[:, 1], alpha=self.alpha, epsilon=self.epsilon
        )
        return StepLosses(magnet, magnet, {"magnet": tf.reduce_mean(magnet)})
