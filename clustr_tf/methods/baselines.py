"""Methods without clusters: cross-entropy on a dense softmax layer, with and without adversary."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.losses.classification import accuracy, cross_entropy, kl_divergence
from clustr_tf.methods.base import Method, StepLosses
from clustr_tf.methods.fields import WithAdversary, WithReplays
from clustr_tf.run.checks import check_at_least_0


def classification_losses(scores: tf.Tensor, targets: tf.Tensor) -> StepLosses:
    """Cross-entropies of a batch, as losses of a step.

    Args:
        scores: `[batch, classes]`, logits or log-scores.
        targets: int64 `[batch, 2]` = (class, cluster).

    Returns:
        The losses.

    Example:
        >>> classification_losses(classifier(images), targets).total  # [batch]
    """
    labels = targets[:, 0]
    xent = cross_entropy(labels=labels, logits=scores)
    parts = {"xent": tf.reduce_mean(xent), "accuracy": accuracy(labels, scores)}
    return StepLosses(xent, xent, parts)


@dataclass(frozen=True, kw_only=True)
class Nominal(Method):
    """Cross-entropy of the images, no adversary, no fields.

    Example:
        >>> Nominal()
    """

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The cross-entropy of the batch; see `Method.losses`."""
        del seed, progress
        scores = classifier.log_scores(classifier.embed(images, training=True))
        return classification_losses(scores, targets)


@dataclass(frozen=True, kw_only=True)
class FreeAT(WithReplays, Nominal):
    """Free adversarial training: the cross-entropy of perturbed images, each batch replayed.

    Its fields are those of `WithReplays`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> FreeAT(replays=4, eps=8 / 255)

    Reference:
        Shafahi et al., arXiv 1904.12843, algorithm 1.
    """


@dataclass(frozen=True, kw_only=True)
class PGDAT(WithAdversary):
    """CE(x'), x' after seven sign steps of eps / 4 from a random start, which ascend it.

    Its fields are those of `WithAdversary`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> PGDAT(eps=8 / 255, steps=7)

    Reference:
        Madry et al., arXiv 1706.06083, equation 2.1 and section 5 (CIFAR-10).
    """

    steps: int = 7

    relative_step = 0.25  # 2/255 where eps is 8/255

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The cross-entropy of the adversarial batch; see `Method.losses`."""
        return self._attacked_losses(classifier, images, targets, seed, progress)[0]

    def _attacked_losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[StepLosses, tf.Tensor]:
        """The losses and the embeddings `[batch, dim]` of the adversarial images."""
        adversarial = self.adversary.perturb(
            classifier, classifier.log_scores, cross_entropy, images, targets[:, 0], seed, progress
        )
        attacked = classifier.embed(adversarial, training=True)
        return classification_losses(classifier.log_scores(attacked), targets), attacked


@dataclass(frozen=True, kw_only=True)
class FastAT(PGDAT):
    """CE(x'), x' one sign step of 1.25 eps from a uniformly random start.

    One-step training can collapse within an epoch ("catastrophic overfitting"): the PGD accuracy
    of held-out images is watched while it runs. Its fields are those of `WithAdversary`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> FastAT(eps=8 / 255)

    Reference:
        Wong et al., "Fast is better than free", arXiv 2001.03994, algorithm 3.
    """

    steps: int = 1

    relative_step = 1.25  # 10/255 where eps is 8/255


@dataclass(frozen=True, kw_only=True)
class Trades(WithAdversary):
    """CE(x) + 6 * KL(p(x) || p(x')), x' after ten sign steps of eps / 4 from the image's side.

    The companion x' ascends the divergence from the training-mode answers for the image, which the
    loss has computed anyway; the authors' code pays one more pass for those in evaluation mode.
    Its other fields are those of `WithAdversary`.

    Args:
        consistency_lambda: weight of the divergence, at least 0; beta of the paper, 1 / lambda.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> Trades(consistency_lambda=6.0, eps=8 / 255)

    Reference:
        Zhang et al., arXiv 1901.08573, equation 5 and algorithm 1.
    """

    consistency_lambda: float = 6.0
    steps: int = 10

    relative_step = 0.25  # 2/255 where eps is 8/255
    gaussian_start = True

    def __post_init__(self) -> None:
        super().__post_init__()
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
        return self._companion_losses(classifier, images, targets, seed, progress)[0]

    def _companion_losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> tuple[StepLosses, tf.Tensor]:
        """The losses, and the embeddings `[batch, dim]` of the companions."""
        clean = classifier.log_scores(classifier.embed(images, training=True))
        companions = self.adversary.perturb(
            classifier, classifier.log_scores, kl_divergence, images, clean, seed, progress
        )
        attacked = classifier.embed(companions, training=True)
        inconsistency = kl_divergence(clean, classifier.log_scores(attacked))
        losses = classification_losses(clean, targets)
        return losses.plus("consistency", self.consistency_lambda, inconsistency), attacked
