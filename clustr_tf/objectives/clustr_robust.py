"""ClusTR that stays standing: consistent log-scores, clusters of adversarial embeddings."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.objectives.adversary import Adversary, build_adversary
from clustr_tf.objectives.clustr import Clustr
from clustr_tf.objectives.consistency import kl_divergence
from clustr_tf.objectives.likelihood import with_likelihood
from clustr_tf.objectives.nominal import classification_losses
from clustr_tf.objectives.objective import FreeTraining, StepLosses
from clustr_tf.objectives.settings import ObjectiveSettings

_LAMBDA = 6.0
_STEP, _STEPS = 0.5, 3  # of eps


@dataclass(frozen=True)
class ClustrRobust:
    """CE(x) + weight * KL(p(x) || p(x')) + likelihood_lambda * NLL(f(x')), and a magnet loss.

    All of it on log-scores, whose gradients neither underflow nor saturate together.
    NLL(z) = min_k |z - mu_yk|^2 / (2 sigma^2) over the clusters of the label keeps the embeddings
    of attacked images near their clusters: cross-entropy and consistency know only differences of
    log-scores, under which all of them together may fall until their exponentials underflow. The
    magnet loss draws those embeddings together too; a shuffled batch has one cluster a class.

    Args:
        weight: of the consistency.
        likelihood_lambda: of the negative log-likelihood.
        magnet_lambda: of the magnet loss.
        clustering: the magnet loss.
        adversary: finds x' by ascending the KL divergence.
        centroids: "refreshed", "learned" or "fixed"; see `Objective`.

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; Zhang et al., arXiv 1901.08573, equation 5;
        Wan et al., arXiv 1803.02988, section 3.2 (likelihood regularisation).
    """

    weight: float
    likelihood_lambda: float
    magnet_lambda: float
    clustering: Clustr
    adversary: Adversary
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
        """Losses of the images and their companions; see `Objective.losses`."""
        clean = classifier.log_scores(classifier.embed(images, training=True))
        companions = self.adversary.perturb(
            classifier, classifier.log_scores, kl_divergence, images, clean, seed, progress
        )
        attacked = classifier.embed(companions, training=True)
        losses = classification_losses(clean, targets)
        inconsistency = kl_divergence(clean, classifier.log_scores(attacked))
        losses = losses.plus("consistency", self.weight, inconsistency)
        losses = with_likelihood(
            losses, self.likelihood_lambda, classifier.head, attacked, targets[:, 0]
        )
        if self.magnet_lambda:
            magnet = self.clustering.embedding_losses(classifier, attacked, targets)
            losses = losses.plus("magnet", self.magnet_lambda, magnet.total)
        return losses


def clustr_robust(config: ObjectiveSettings) -> ClustrRobust:
    """CE(x) + 6 KL(p(x) || p(x')), x' after three sign steps of eps / 2 from the image's side.

    Args:
        config: `consistency_lambda`, `likelihood_lambda`, `magnet_lambda`, `centroids` (learned
            unless it says otherwise), `step_size` and `steps` override the above.

    Returns:
        The objective.
    """
    return ClustrRobust(
        weight=_LAMBDA if config.consistency_lambda is None else config.consistency_lambda,
        likelihood_lambda=config.likelihood_lambda,
        magnet_lambda=config.magnet_lambda,
        clustering=Clustr(config.alpha, config.epsilon, 0.0, None),
        adversary=build_adversary(config, _STEP, _STEPS, gaussian_start=True),
        centroids=config.centroids or "learned",
    )
