"""ClusTR on interval bounds: the head's worst case over a box of embeddings."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.attacks import cross_entropy
from clustr_tf.certificates import embed_with_box, image_box, log_score_margins, worst_differences
from clustr_tf.certificates.boxes import Box
from clustr_tf.classifier import Classifier
from clustr_tf.objectives.clustr import Clustr
from clustr_tf.objectives.likelihood import with_likelihood
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings
from clustr_tf.objectives.warmup import warmed_up


@dataclass(frozen=True)
class ClustrIbp:
    """(1 - w) cross-entropy + w worst-case cross-entropy + what keeps embeddings near clusters.

    The worst case is an upper bound of the cross-entropy of every image in an l-infinity ball: the
    log-score differences of its box (see `log_score_margins`). Radius and w grow linearly from 0
    over the first part of the training, without which nothing is learned. To it come the magnet
    loss and the negative log-likelihood of the nearest cluster of the label, each with its weight.

    Args:
        eps: radius at last, in pixels.
        interval_lambda: w at last, in [0, 1].
        warmup: share of the training over which both grow, in [0, 1].
        likelihood_lambda: weight of the likelihood.
        magnet_lambda: weight of the magnet loss; above 0 only with refreshed centroids.
        clustering: the magnet loss.
        centroids: "refreshed", "learned" or "fixed"; see `Objective`.
        free: how batches are replayed; None for once.

    Reference:
        Gowal et al., arXiv 1810.12715, equations 11 and 12, for dense heads.
    """

    eps: float
    interval_lambda: float
    warmup: float
    likelihood_lambda: float
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
        """Losses of the batch's embeddings and of their boxes; see `Objective.losses`."""
        del seed
        pixels = image_box(images, warmed_up(self.eps, self.warmup, progress))
        embeddings, box = embed_with_box(classifier.embedder, images, pixels)
        embeddings = tf.cast(embeddings, classifier.head.compute_dtype)
        labels = targets[:, 0]
        clean = cross_entropy(
            labels=labels, logits=classifier.head.log_scores(embeddings, nearest=None)
        )
        worst = _worst_cross_entropy(classifier, box, labels)
        weight = warmed_up(self.interval_lambda, self.warmup, progress)
        total = (1 - weight) * clean + weight * worst
        parts = {"xent": tf.reduce_mean(clean), "worst_xent": tf.reduce_mean(worst)}
        losses = with_likelihood(
            StepLosses(total, total, parts),
            self.likelihood_lambda,
            classifier.head,
            embeddings,
            labels,
        )
        if self.magnet_lambda == 0:
            return losses
        magnet = self.clustering.embedding_losses(classifier, embeddings, targets)
        return losses.plus("magnet", self.magnet_lambda, magnet.total)


def _worst_cross_entropy(classifier: Classifier, box: Box, labels: tf.Tensor) -> tf.Tensor:
    """log(1 + sum_{k != y} exp(-m_k)), m_k the margins over the box; `[batch]`."""
    head = classifier.head
    differences = worst_differences(
        box, tf.convert_to_tensor(head.centroids), labels, head.clusters_per_class
    )
    variance = tf.convert_to_tensor(head.variance)
    margins = log_score_margins(differences, variance, head.clusters_per_class)
    own = tf.one_hot(labels, margins.shape[1], on_value=True, off_value=False, dtype=tf.bool)
    return cross_entropy(labels=labels, logits=tf.where(own, 0.0, -margins))


def clustr_ibp(config: ObjectiveSettings) -> ClustrIbp:
    """Interval bounds, as configured; learned centroids unless it says otherwise."""
    return ClustrIbp(
        eps=config.eps,
        interval_lambda=0.5 if config.interval_lambda is None else config.interval_lambda,
        warmup=0.5 if config.warmup is None else config.warmup,
        likelihood_lambda=config.likelihood_lambda,
        magnet_lambda=config.magnet_lambda,
        clustering=Clustr(config.alpha, config.epsilon, 0.0, None),
        centroids=config.centroids or "learned",
    )
