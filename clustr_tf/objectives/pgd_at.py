"""Adversarial training with projected gradient descent."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.attacks import cross_entropy
from clustr_tf.classifier import Classifier
from clustr_tf.objectives.adversary import Adversary, build_adversary
from clustr_tf.objectives.likelihood import with_likelihood
from clustr_tf.objectives.nominal import classification_losses
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings

_STEP, _STEPS = 0.25, 7  # of eps: 2/255 where eps is 8/255


@dataclass(frozen=True)
class AdversarialTraining:
    """Cross-entropy of adversarial images, found by ascending it.

    Args:
        adversary: finds them; about batch normalisation in its passes see there.
        centroids: None for a dense softmax layer; see `Objective`.
        likelihood_lambda: weight of the negative log-likelihood of the nearest cluster of the
            label; above 0 only with clusters.
    """

    adversary: Adversary
    centroids: str | None = None
    likelihood_lambda: float = 0.0
    free: FreeTraining | None = None

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """The cross-entropy of the adversarial batch; see `Objective.losses`."""
        adversarial = self.adversary.perturb(
            classifier, classifier.log_scores, cross_entropy, images, targets[:, 0], seed, progress
        )
        attacked = classifier.embed(adversarial, training=True)
        losses = classification_losses(classifier.log_scores(attacked), targets)
        return with_likelihood(
            losses, self.likelihood_lambda, classifier.head, attacked, targets[:, 0]
        )


def pgd_at(config: ObjectiveSettings) -> AdversarialTraining:
    """CE(x'), x' after seven sign steps of eps / 4 from a random start.

    Args:
        config: `step_size` and `steps` override the above.

    Returns:
        The objective.

    Reference:
        Madry et al., arXiv 1706.06083, equation 2.1 and section 5 (CIFAR-10).
    """
    return AdversarialTraining(build_adversary(config, _STEP, _STEPS))
