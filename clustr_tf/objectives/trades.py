"""TRADES on a dense softmax layer."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.objectives.adversary import Adversary, build_adversary
from clustr_tf.objectives.consistency import kl_divergence
from clustr_tf.objectives.nominal import classification_losses
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings

_LAMBDA = 6.0
_STEP, _STEPS = 0.25, 10  # of eps: 2/255 where eps is 8/255


@dataclass(frozen=True)
class Trades:
    """CE(x) + weight * KL(p(x) || p(x')).

    Args:
        weight: beta of the paper, 1 / lambda.
        adversary: finds x' by ascending the KL divergence.
    """

    weight: float
    adversary: Adversary
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
        """Losses of the images and their companions; see `Objective.losses`."""
        clean = classifier.log_scores(classifier.embed(images, training=True))
        companions = self.adversary.perturb(
            classifier, classifier.log_scores, kl_divergence, images, clean, seed, progress
        )
        perturbed = classifier.log_scores(classifier.embed(companions, training=True))
        losses = classification_losses(clean, targets)
        return losses.plus("consistency", self.weight, kl_divergence(clean, perturbed))


def trades(config: ObjectiveSettings) -> Trades:
    """CE(x) + 6 * KL(p(x) || p(x')), x' after ten sign steps of eps / 4 from the image's side.

    The companion ascends the divergence from the training-mode answers for the image, which the
    loss has computed anyway; the authors' code pays one more pass for those in evaluation mode.

    Args:
        config: `consistency_lambda`, `step_size` and `steps` override the above.

    Returns:
        The objective.

    Reference:
        Zhang et al., arXiv 1901.08573, equation 5 and algorithm 1.
    """
    return Trades(
        _LAMBDA if config.consistency_lambda is None else config.consistency_lambda,
        build_adversary(config, _STEP, _STEPS, gaussian_start=True),
    )
