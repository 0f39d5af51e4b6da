"""Clusters by adversarial training: losses on the log-scores of attacked images."""

from dataclasses import dataclass

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.methods.base import StepLosses
from clustr_tf.methods.baselines import FastAT, Trades
from clustr_tf.methods.fields import WithLikelihood, WithMagnetTerm


@dataclass(frozen=True, kw_only=True)
class ClustrAT(FastAT, WithLikelihood):
    """CE(x') + likelihood_lambda NLL(f(x')), x' one sign step of 1.25 eps from a random start.

    The cross-entropy is that of the log-scores, which the adversary ascends; NLL is that of the
    nearest cluster of the label. With one cluster a class and without NLL this is `FastAT` on a
    layer whose biases belong to its weights. Its fields are those of `WithAdversary` and
    `WithLikelihood`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> ClustrAT(eps=8 / 255, likelihood_lambda=0.003)

    Reference:
        Wong et al., arXiv 2001.03994, algorithm 3; Wan et al., arXiv 1803.02988, section 3.2
        (likelihood regularisation).
    """

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the adversarial batch; see `Method.losses`."""
        losses, attacked = self._attacked_losses(classifier, images, targets, seed, progress)
        return self._plus_likelihood(losses, classifier, attacked, targets)


@dataclass(frozen=True, kw_only=True)
class ClustrRobust(Trades, WithLikelihood, WithMagnetTerm):
    """CE(x) + 6 * KL(p(x) || p(x')) + likelihood_lambda * NLL(f(x')), and a magnet loss of f(x').

    The companion x' is found by three sign steps of eps / 2 from the image's side, which ascend
    the divergence. All of it is on log-scores, whose gradients neither underflow nor saturate
    together. NLL(z) = min_k |z - mu_yk|^2 / (2 sigma^2) over the clusters of the label holds the
    embeddings of attacked images near their clusters: cross-entropy and consistency know only
    differences of log-scores, under which all of them together may fall until their exponentials
    underflow. The magnet loss draws those embeddings together too; a shuffled batch has one
    cluster a class. Its fields are those of `Trades`, `WithLikelihood` and `WithMagnetTerm`.

    Raises:
        ValueError: if a field is out of range.

    Example:
        >>> ClustrRobust(eps=8 / 255, centroids="refreshed", magnet_lambda=1.0)

    Reference:
        Alfarra et al., arXiv 2006.07682, section 4.2; Zhang et al., arXiv 1901.08573, equation 5;
        Wan et al., arXiv 1803.02988, section 3.2 (likelihood regularisation).
    """

    steps: int = 3

    relative_step = 0.5

    def losses(
        self,
        classifier: Classifier,
        images: tf.Tensor,
        targets: tf.Tensor,
        seed: tf.Tensor,
        progress: tf.Tensor,
    ) -> StepLosses:
        """Losses of the images and their companions; see `Method.losses`."""
        losses, attacked = self._companion_losses(classifier, images, targets, seed, progress)
        losses = self._plus_likelihood(losses, classifier, attacked, targets)
        return self._plus_magnet(losses, attacked, targets)
