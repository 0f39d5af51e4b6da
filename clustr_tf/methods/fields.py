"""Groups of fields that several methods share, with their ranges and what they mean in a loss."""

from dataclasses import dataclass
from typing import ClassVar

import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.losses.classification import nearest_cluster_nll
from clustr_tf.losses.magnet import magnet_loss
from clustr_tf.methods.base import Adversary, FreeTraining, Method, StepLosses
from clustr_tf.run.checks import (
    check,
    check_at_least,
    check_at_least_0,
    check_eps,
    check_one_of,
    check_shares,
)


@dataclass(frozen=True, kw_only=True)
class WithAdversary(Method):
    """Methods whose step attacks its own images.

    Args:
        eps: radius of the adversary's l-infinity ball, in pixels.
        step_size: length of its steps, in pixels; None for `relative_step` times eps.
        standardised_steps: whether `step_size`, which must be given then, counts in standard
            deviations of each channel instead.
        steps: how many, at least 1.
        warmup: share of the training over which radius and steps grow from 0, in [0, 1].

    Raises:
        ValueError: if a field is out of range.
    """

    eps: float = 8 / 255
    step_size: float | None = None
    standardised_steps: bool = False
    steps: int = 1
    warmup: float = 0.0

    has_adversary: ClassVar[bool] = True
    relative_step: ClassVar[float] = 1.25  # step size as a multiple of eps
    gaussian_start: ClassVar[bool] = False  # see `Adversary`

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self, "eps")
        check_at_least(self, 1, "steps")
        check_shares(self, "warmup")
        if self.step_size is not None:
            check_at_least_0(self, "step_size")
        elif self.standardised_steps:
            raise ValueError("step_size must be given with standardised_steps. Received: None")

    @property
    def adversary(self) -> Adversary:
        """The adversary of these fields."""
        return Adversary(
            self.eps,
            self.relative_step * self.eps if self.step_size is None else self.step_size,
            self.steps,
            self.standardised_steps,
            self.gaussian_start,
            self.warmup,
        )


@dataclass(frozen=True, kw_only=True)
class WithReplays(Method):
    """Methods that train on every batch several times while one perturbation runs along.

    Args:
        replays: how often, at least 1.
        eps: radius of the perturbation and length of its steps, in pixels.
        warmup: share of the training over which they grow from 0, in [0, 1].

    Raises:
        ValueError: if a field is out of range.

    Reference:
        Shafahi et al., "Adversarial Training for Free!", arXiv 1904.12843, algorithm 1.
    """

    replays: int = 4
    eps: float = 8 / 255
    warmup: float = 0.0

    has_adversary: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_eps(self, "eps")
        check_at_least(self, 1, "replays")
        check_shares(self, "warmup")

    @property
    def free(self) -> FreeTraining:
        """The replays of these fields."""
        return FreeTraining(self.replays, self.eps, self.warmup)


@dataclass(frozen=True, kw_only=True)
class WithMagnet(Method):
    """Methods with a magnet loss.

    Args:
        alpha: cluster separation gap of the magnet loss, at least 0; 12.5 for CIFAR-10 in the
            paper.
        epsilon: 0 for its log domain, 1e-8 for the published arithmetic; in [0, 1).

    Raises:
        ValueError: if a field is out of range.
    """

    alpha: float = 12.5
    epsilon: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_0(self, "alpha")
        check(self, "in [0, 1)", lambda epsilon: 0 <= epsilon < 1, "epsilon")

    def _magnet(self, embeddings: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Magnet losses `[batch]` of embeddings `[batch, dim]` with their (class, cluster)."""
        classes, clusters = targets[:, 0], targets[:, 1]
        return magnet_loss(embeddings, classes, clusters, alpha=self.alpha, epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class WithCentroids(Method):
    """Methods that train on the log-scores of clusters, wherever their centroids come from.

    Args:
        centroids: "learned", "refreshed" or "fixed"; see `Method.centroids`.

    Raises:
        ValueError: if it is none of them.
    """

    centroids: str = "learned"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_one_of(self, ["fixed", "learned", "refreshed"], "centroids")


@dataclass(frozen=True, kw_only=True)
class WithMagnetTerm(WithMagnet, WithCentroids):
    """Methods that take the magnet loss as a further term.

    Args:
        magnet_lambda: its weight, at least 0; 0 leaves it out.

    Raises:
        ValueError: if it is negative.
    """

    magnet_lambda: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_0(self, "magnet_lambda")

    def _plus_magnet(
        self, losses: StepLosses, embeddings: tf.Tensor, targets: tf.Tensor
    ) -> StepLosses:
        if not self.magnet_lambda:
            return losses
        return losses.plus("magnet", self.magnet_lambda, self._magnet(embeddings, targets))


@dataclass(frozen=True, kw_only=True)
class WithLikelihood(WithCentroids):
    """Methods that hold embeddings near their clusters.

    Args:
        likelihood_lambda: weight of the negative log-likelihood of the nearest cluster of the
            label, see `nearest_cluster_nll`; at least 0, and 0 leaves it out.

    Raises:
        ValueError: if it is negative.

    Reference:
        Wan et al., arXiv 1803.02988, section 3.2 (likelihood regularisation).
    """

    likelihood_lambda: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least_0(self, "likelihood_lambda")

    def _plus_likelihood(
        self,
        losses: StepLosses,
        classifier: Classifier,
        embeddings: tf.Tensor,
        targets: tf.Tensor,
    ) -> StepLosses:
        if not self.likelihood_lambda:
            return losses
        nll = nearest_cluster_nll(classifier.head, embeddings, targets[:, 0])
        return losses.plus("likelihood", self.likelihood_lambda, nll)
