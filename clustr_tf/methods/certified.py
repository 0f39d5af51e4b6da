"""ClusTR for proofs: losses on certified l2 radii and on interval bounds."""

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from clustr_tf.certify.l2.soft_score import signed_class_radii
from clustr_tf.certify.linf.boxes import Box
from clustr_tf.certify.linf.head import log_score_margins, worst_differences
from clustr_tf.certify.linf.interval import embed_with_box, image_box
from clustr_tf.classifier import Classifier
from clustr_tf.losses.certified_margin import certified_margin_loss
from clustr_tf.losses.classification import accuracy, cross_entropy
from clustr_tf.methods.base import StepLosses, warmed_up
from clustr_tf.methods.fields import WithLikelihood, WithMagnetTerm
from clustr_tf.run.checks import check_above_0, check_at_least_0, check_eps, check_shares


@dataclass(frozen=True, kw_only=True)
class _WithNeighbourhoods(WithMagnetTerm):
    """A magnet loss on the neighbourhoods of k-means clusters only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.magnet_lambda and self.centroids != "refreshed":
            raise ValueError(
                "magnet_lambda must be 0 unless centroids is 'refreshed': the magnet loss takes "
                f"neighbourhoods of k-means clusters. Received: {self.magnet_lambda}"
            )


@dataclass(frozen=True, kw_only=True)
class ClustrCertified(_WithNeighbourhoods):
    """Certified-margin loss + magnet_lambda * magnet loss, on a 1-Lipschitz backbone.

    The radii are those of the certificate of the soft scores. The embedding of a 1-Lipschitz
    backbone moves no further than the image does: margin and temperature are in pixels. With
    fixed centroids and K = 1 the head is a dense layer with orthonormal rows: their log-scores
    differ by differences of coordinates. Its other fields are those of `WithMagnetTerm`.

    Args:
        margin: l2 radius beyond which an image is no longer pulled, in pixels, at least 0.
        temperature: how sharply, in pixels, above 0.

    Raises:
        ValueError: if a field is out of range, or the magnet loss is to be taken with centroids
            other than refreshed ones.

    Example:
        >>> ClustrCertified(margin=0.5, centroids="fixed")

    Reference:
        Alfarra et al., arXiv 2006.07682, theorem 1 (the radius); Prach and Lampert,
        arXiv 2208.03160, section 4 (training with a margin).
    """

    margin: float = 0.5
    temperature: float = 0.1

    needs_lipschitz = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_0(self, "margin")
        check_above_0(self, "temperature")

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the batch's certified radii; see `Method.losses`."""
        del seed, progress
        embeddings, head = classifier.embed(images, training=True), classifier.head
        labels = targets[:, 0]
        radii = signed_class_radii(
            embeddings, head.centroids, head.variance, head.clusters_per_class, labels
        )
        certified = certified_margin_loss(radii, labels, self.margin, self.temperature)
        right = tf.reduce_min(radii, axis=1) >= 0  # that of the label itself is 0
        parts = {
            "certified": tf.reduce_mean(certified),
            "accuracy": tf.reduce_mean(tf.cast(right, tf.float32)),
        }
        losses = StepLosses(certified, certified, parts)
        return self._plus_magnet(losses, embeddings, targets)


@dataclass(frozen=True, kw_only=True)
class ClustrIBP(_WithNeighbourhoods, WithLikelihood):
    """(1 - w) cross-entropy + w worst-case cross-entropy + what holds embeddings near clusters.

    The worst case is an upper bound of the cross-entropy of every image in an l-infinity ball: the
    log-score differences of its box (see `log_score_margins`). Radius and w grow linearly from 0
    over the first part of the training, without which nothing is learned. To it come the magnet
    loss and the negative log-likelihood of the nearest cluster of the label, each with its weight.
    Its other fields are those of `WithMagnetTerm` and of `WithLikelihood`.

    Args:
        eps: radius at last, in pixels.
        interval_lambda: w at last, in [0, 1].
        warmup: share of the training over which both grow, in [0, 1].

    Raises:
        ValueError: if a field is out of range, or the magnet loss is to be taken with centroids
            other than refreshed ones.

    Example:
        >>> ClustrIBP(eps=0.1, interval_lambda=1.0, likelihood_lambda=0.003)

    Reference:
        Gowal et al., arXiv 1810.12715, equations 11 and 12, for dense heads.
    """

    suits_bfloat16: ClassVar[bool] = False  # its boxes are float32, around float32 embeddings

    eps: float = 8 / 255
    interval_lambda: float = 0.5
    warmup: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self, "eps")
        check_shares(self, "interval_lambda", "warmup")

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the batch's embeddings and of their boxes; see `Method.losses`."""
        del seed
        pixels = image_box(images, warmed_up(self.eps, self.warmup, progress))
        embeddings, box = embed_with_box(classifier.embedder, images, pixels)
        embeddings = tf.cast(embeddings, classifier.head.compute_dtype)
        labels = targets[:, 0]
        scores = classifier.head.log_scores(embeddings, nearest=None)
        clean = cross_entropy(labels=labels, logits=scores)
        worst = _worst_cross_entropy(classifier, box, labels)
        weight = warmed_up(self.interval_lambda, self.warmup, progress)
        total = (1 - weight) * clean + weight * worst
        parts = {
            "xent": tf.reduce_mean(clean),
            "worst_xent": tf.reduce_mean(worst),
            "accuracy": accuracy(labels, scores),
        }
        losses = StepLosses(total, total, parts)
        losses = self._plus_likelihood(losses, classifier, embeddings, targets)
        return self._plus_magnet(losses, embeddings, targets)


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
