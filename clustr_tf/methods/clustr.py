"""ClusTR: the magnet loss, alone, replayed, and with an adversarial companion."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.losses.classification import CONSISTENCIES, cross_entropy
from clustr_tf.methods.base import StepLosses
from clustr_tf.methods.fields import WithAdversary, WithMagnet, WithReplays
from clustr_tf.run.checks import check, check_at_least_0, check_one_of


@dataclass(frozen=True, kw_only=True)
class Clustr(WithMagnet):
    """Magnet loss + xent_lambda * cross-entropy of the log-scores.

    Args:
        alpha: see `WithMagnet`.
        epsilon: see `WithMagnet`.
        xent_lambda: weight of the cross-entropy, at least 0; 0 leaves it out.
        nearest: L of the log-scores inside the loss, at least 1; None for all clusters.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> Clustr(alpha=12.5)

    Reference:
        Alfarra et al., arXiv 2006.07682, section 3; xent_lambda: the official code.
    """

    xent_lambda: float = 0.0
    nearest: int | None = None

    centroids = "refreshed"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_0(self, "xent_lambda")
        check(
            self, "None or at least 1", lambda nearest: nearest is None or nearest >= 1, "nearest"
        )

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The losses of the batch's embeddings; see `Method.losses`."""
        del seed, progress
        return self._embedding_losses(classifier, classifier.embed(images, training=True), targets)

    def _embedding_losses(
        self, classifier: Classifier, embeddings: tf.Tensor, targets: tf.Tensor
    ) -> StepLosses:
        """What is remembered is the magnet loss."""
        magnet = self._magnet(embeddings, targets)
        losses = StepLosses(magnet, magnet, {"magnet": tf.reduce_mean(magnet)})
        if self.xent_lambda == 0:
            return losses
        scores = classifier.head.log_scores(embeddings, self.nearest)
        xent = cross_entropy(labels=targets[:, 0], logits=scores)
        return losses.plus("xent", self.xent_lambda, xent)


@dataclass(frozen=True, kw_only=True)
class ClustrFree(WithReplays, Clustr):
    """The losses of `Clustr` of perturbed images, each neighbourhood replayed.

    The sampler remembers the losses of the last replay; the published code pays one more pass for
    those after it. Its fields are those of `Clustr` and of `WithReplays`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> ClustrFree(replays=4, eps=8 / 255)

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; Shafahi et al., arXiv 1904.12843.
    """


@dataclass(frozen=True, kw_only=True)
class ClustrQTrades(WithAdversary, Clustr):
    """`Clustr` + 8 * CE(p(x), log-scores(x')), x' one sign step of 1.25 eps from a random start.

    The companions x' ascend the inconsistency itself, the answers for the images held constant;
    the descent goes through both. Log-scores use the clusters of the last refresh. The images and
    the companions pass separately through batch normalisation in training mode, and both move its
    averages; about the adversary's own passes see `Adversary`. Its other fields are those of
    `Clustr` and of `WithAdversary`.

    Args:
        consistency: measure of the inconsistency, a key of `CONSISTENCIES`: "cross_entropy", "kl"
            or "mse", which compares embeddings.
        consistency_lambda: its weight, at least 0.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> ClustrQTrades(consistency_lambda=8.0, eps=8 / 255)

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; the official code hands exp-scores to the
        cross-entropy, here they are log-scores.
    """

    consistency: str = "cross_entropy"
    consistency_lambda: float = 8.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of(self, sorted(CONSISTENCIES), "consistency")
        check_at_least_0(self, "consistency_lambda")

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the images and their companions; see `Method.losses`."""
        consistency = CONSISTENCIES[self.consistency]

        def answers(embeddings: tf.Tensor) -> tf.Tensor:
            if consistency.on_embeddings:
                return embeddings
            return classifier.head.log_scores(embeddings, self.nearest)

        embeddings = classifier.embed(images, training=True)
        clean = answers(embeddings)
        companions = self.adversary.perturb(
            classifier, answers, consistency.loss, images, clean, seed, progress
        )
        perturbed = answers(classifier.embed(companions, training=True))
        inconsistency = consistency.loss(labels=clean, logits=perturbed)
        losses = self._embedding_losses(classifier, embeddings, targets)
        return losses.plus("consistency", self.consistency_lambda, inconsistency)


@dataclass(frozen=True, kw_only=True)
class ClustrTrades(ClustrQTrades):
    """`Clustr` + 8 * KL(p(x) || p(x')), x' after ten sign steps of eps / 4 from a random start.

    The official code takes steps of 0.03 in standardised units instead: `step_size=0.03` with
    `standardised_steps=True`. Its fields are those of `ClustrQTrades`, with other defaults.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> ClustrTrades(steps=10, eps=8 / 255)

    Reference:
        Alfarra et al., arXiv 2006.07682 ("actual TRADES" of the official code); Zhang et al.,
        arXiv 1901.08573.
    """

    consistency: str = "kl"
    steps: int = 10

    relative_step = 0.25  # 2/255 where eps is 8/255
