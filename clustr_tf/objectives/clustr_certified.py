"""ClusTR for the certified radius: radii of 1-Lipschitz networks, pushed beyond a margin."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.certificates import signed_class_radii
from clustr_tf.classifier import Classifier
from clustr_tf.losses import certified_margin_loss
from clustr_tf.objectives.clustr import Clustr
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings


@dataclass(frozen=True)
class ClustrCertified:
    """Certified-margin loss + magnet_lambda * magnet loss, on a 1-Lipschitz backbone.

    The radii are those of the certificate of the soft scores. The embedding of a 1-Lipschitz
    backbone moves no further than the image does: margin and temperature are in pixels.

    Args:
        margin: l2 radius beyond which an image is no longer pulled.
        temperature: how sharply.
        magnet_lambda: weight of the magnet loss; above 0 only with refreshed centroids.
        clustering: the magnet loss.
        centroids: "refreshed", "learned" or "fixed"; see `Objective`. With fixed centroids and
            K = 1 the head is a dense layer with orthonormal rows: their log-scores differ by
            differences of coordinates.
        free: how batches are replayed; None for once.

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 (the radius); Prach and Lampert,
        arXiv 2208.03160, section 4 (training with a margin).
    """

    margin: float
    temperature: float
    magnet_lambda: float
    clustering: Clustr
    centroids: str | None
    free: FreeTraining | None = None

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the batch's certified radii; see `Objective.losses`."""
        del seed, progress
        embeddings, head = classifier.embed(images, training=True), classifier.head
        labels = targets[:, 0]
        radii = signed_class_radii(
            embeddings, head.centroids, head.variance, head.clusters_per_class, labels
        )
        certified = certified_margin_loss(radii, labels, self.margin, self.temperature)
        losses = StepLosses(certified, certified, {"certified": tf.reduce_mean(certified)})
        if self.magnet_lambda == 0:
            return losses
        magnet = self.clustering.embedding_losses(classifier, embeddings, targets)
        return losses.plus("magnet", self.magnet_lambda, magnet.total)


def clustr_certified(config: ObjectiveSettings) -> ClustrCertified:
    """The certified-margin loss, as configured; learned centroids unless it says otherwise."""
    return ClustrCertified(
        margin=0.5 if config.margin is None else config.margin,
        temperature=0.1 if config.temperature is None else config.temperature,
        magnet_lambda=config.magnet_lambda,
        clustering=Clustr(config.alpha, config.epsilon, 0.0, None),
        centroids=config.centroids or "learned",
    )
