"""Robustness on held-out training images, watched for catastrophic overfitting."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks import PGD, RobustnessEvaluator, pgd_attacks
from clustr_tf.backbones import is_lipschitz
from clustr_tf.certify.images import certified_share
from clustr_tf.certify.l2.soft_score import soft_score_radius
from clustr_tf.certify.linf.interval import certified_linf
from clustr_tf.classifier import Classifier
from clustr_tf.data.image_store import Images
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.checks import check
from clustr_tf.train.callbacks.base import TrainerCallback

_BATCH = 250
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watch:
    """What is measured after every epoch on the held-out training images.

    Args:
        attack: weaker than that of an evaluation: it watches for a collapse.
        collapse: warns when PGD accuracy falls below this share of the best epoch's, in (0, 1).
        certified_radius: l2, in pixels; of 1-Lipschitz backbones only.
        certified_linf: l-infinity, in pixels; by interval bounds.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> Watch(PGD(eps=0.1, steps=10, losses=("margin",)))
    """

    attack: PGD
    collapse: float = 0.5
    certified_radius: float | None = None
    certified_linf: float | None = None

    def __post_init__(self) -> None:
        check(
            self,
            "None or at least 0",
            lambda radius: radius is None or 0 <= radius < float("inf"),
            "certified_radius",
            "certified_linf",
        )
        check(self, "between 0 and 1", lambda share: 0 < share < 1, "collapse")


def check_lipschitz(classifier: Classifier, wanted_by: str) -> None:
    """Refuses a classifier whose embedding may move further than the pixels do, or has no clusters.

    Args:
        classifier: to be trained.
        wanted_by: what asks for it, for the message.

    Raises:
        ValueError: if the head has no clusters, the backbone is not 1-Lipschitz by construction, or
            pixels are divided by deviations below 1.
    """
    if not isinstance(classifier.head, ClusteringHead):
        raise ValueError(
            f"{wanted_by} needs a ClusteringHead. Received: {type(classifier.head).__name__}"
        )
    if not is_lipschitz(classifier.backbone) or min(classifier.std) < 1:
        raise ValueError(
            f"{wanted_by} needs a backbone that is 1-Lipschitz by construction, such as "
            f"lipschitz_mlp, and std of at least 1. Received: {classifier.backbone.name!r} with "
            f"std={classifier.std}"
        )


class WatchRobustness(TrainerCallback):
    """Attacks, and certifies, held-out images after every epoch; compiled once.

    The logs get `val_accuracy`, `val_pgd_accuracy` and, where the watch has their radii,
    `val_certified_accuracy` and `val_certified_linf_accuracy`. The certified accuracy in l2 is
    that of a 1-Lipschitz backbone, whose bound is taken to be 1: the proof, with its rounding, is
    left to the certificates of the finished model. That in l-infinity is proved by interval
    bounds, of the soft scores.

    Args:
        classifier: the model in training.
        images: uint8, or floats in [0, 1], `[V, H, W, C]`; with V = 0 nothing is measured.
        labels: int64 `[V]`.
        watch: the attack and the radii.
        seed: of the random starts.
        jit_compile: whether XLA compiles it.

    Example:
        >>> watch = WatchRobustness(classifier, images, labels, Watch(PGD(eps=0.1)))
        >>> classifier.fit(..., callbacks=[watch])
    """

    def __init__(
        self,
        classifier: Classifier,
        images: Images,
        labels: np.ndarray,
        watch: Watch,
        seed: int = 0,
        jit_compile: bool = False,
    ):
        super().__init__()
        if watch.certified_radius is not None:
            check_lipschitz(classifier, f"certified_radius={watch.certified_radius}")
        self._images, self._labels, self._watch, self._seed = images, labels, watch, seed
        shape = classifier.image_shape
        attacks = pgd_attacks(classifier, shape, watch.attack, jit_compile)
        self._evaluate = RobustnessEvaluator(classifier, shape, attacks, _BATCH, jit_compile)

        def compiled(prove: Callable[[tf.Tensor], Any]) -> Callable[[tf.Tensor], Any]:
            return tf.function(
                prove,
                input_signature=[tf.TensorSpec([None, *shape], tf.float32)],
                jit_compile=jit_compile,
                autograph=False,
            )

        self._prove_l2 = compiled(
            lambda pixels: _class_inside_l2(classifier, pixels, watch.certified_radius)
        )
        self._prove_linf = compiled(
            lambda pixels: _class_inside_linf(classifier, pixels, watch.certified_linf)
        )

    def measure(self) -> dict[str, float]:
        """The figures of the model as it is now; none without images."""
        images, labels, watch = self._images, self._labels, self._watch
        if not len(labels):
            return {}
        result = self._evaluate(images, labels, watch.attack.eps, self._seed)
        figures = {
            "val_accuracy": result.clean_accuracy,
            "val_pgd_accuracy": result.robust_accuracy,
        }
        if watch.certified_radius is not None:
            figures["val_certified_accuracy"] = certified_share(self._prove_l2, images, labels)
        if watch.certified_linf is not None:
            share = certified_share(self._prove_linf, images, labels)
            figures["val_certified_linf_accuracy"] = share
        return figures

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        figures = self.measure()
        logs.update(figures)
        if figures and self.trainer.method.has_adversary:  # others have no robustness to lose
            rows = [*self.trainer.state.history, figures]  # which is not yet in the history
            measured = [row["val_pgd_accuracy"] for row in rows if "val_pgd_accuracy" in row]
            warn_of_collapse(measured, epoch + 1, self._watch.collapse)


def _class_inside_linf(classifier: Classifier, pixels: tf.Tensor, eps: Any) -> tuple[Any, Any]:
    found = certified_linf(classifier.embedder, classifier.head, pixels, eps)
    return found.class_id, found.certified


def _class_inside_l2(classifier: Classifier, pixels: tf.Tensor, radius: Any) -> tuple[Any, Any]:
    head = classifier.head
    predicted, radii = soft_score_radius(
        classifier.embed(pixels),
        head.centroids,
        head.variance,
        head.clusters_per_class,
        head.ranked_clusters,
    )
    return predicted, radii > radius


def warn_of_collapse(measured: Sequence[float], epoch: int, collapse: float) -> None:
    """Warns in the epoch in which the PGD accuracy collapses; it may stay down without a word.

    Args:
        measured: PGD accuracies of the finished epochs.
        epoch: the newest, from 1.
        collapse: the share of the best epoch's PGD accuracy below which it counts as collapsed.

    Reference:
        Wong et al., arXiv 2001.03994, section 5.4 ("catastrophic overfitting").
    """
    if _collapsed(measured, collapse) and not _collapsed(measured[:-1], collapse):
        _logger.warning(
            "PGD accuracy on held-out images collapsed to %.2f %% in epoch %d (best so far "
            "%.2f %%): catastrophic overfitting? config.training.checkpoint=best_pgd keeps the "
            "best epoch; an adversary of more and smaller steps in training prevents it",
            100 * measured[-1],
            epoch,
            100 * max(measured),
        )


def _collapsed(measured: Sequence[float], collapse: float) -> bool:
    return bool(measured) and measured[-1] < collapse * max(measured)
