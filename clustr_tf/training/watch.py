"""Robustness on held-out training images, watched for catastrophic overfitting."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks import RobustnessEvaluator, pgd_attacks
from clustr_tf.certificates import certified_linf, soft_score_radius
from clustr_tf.certification import certified_share
from clustr_tf.classifier import Classifier
from clustr_tf.training.settings import WatchConfig

_BATCH = 250
_logger = logging.getLogger(__name__)


class Watch:
    """Attacks, and certifies, the held-out images after every epoch; compiled once.

    The certified accuracy in l2 is that of a 1-Lipschitz backbone, whose bound is taken to be 1:
    the proof, with its rounding, is left to the certificates of the finished model. That in
    l-infinity is proved by interval bounds, of the soft scores.

    Args:
        classifier: the model in training.
        config: the attack.
        jit_compile: whether XLA compiles it.

    Example:
        >>> Watch(classifier, config)(images, labels, seed=0)["pgd_accuracy"]
    """

    def __init__(self, classifier: Classifier, config: WatchConfig, jit_compile: bool = False):
        shape = classifier.image_shape
        attacks = pgd_attacks(classifier, shape, config.attack, jit_compile)
        self._evaluate = RobustnessEvaluator(classifier, shape, attacks, _BATCH, jit_compile)
        self._eps = config.attack.eps
        self._radius, self._linf = config.certified_radius, config.certified_linf

        def compiled(prove: Callable[[tf.Tensor], Any]) -> Callable[[tf.Tensor], Any]:
            return tf.function(
                prove,
                input_signature=[tf.TensorSpec([None, *shape], tf.float32)],
                jit_compile=jit_compile,
                autograph=False,
            )

        self._prove_l2 = compiled(lambda pixels: _class_inside_l2(classifier, pixels, self._radius))
        self._prove_linf = compiled(
            lambda pixels: _class_inside_linf(classifier, pixels, self._linf)
        )

    def __call__(self, images: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
        """Measures.

        Args:
            images: uint8 `[V, H, W, C]`; with V = 0 nothing is measured.
            labels: int64 `[V]`.
            seed: of the random starts.

        Returns:
            `validation_accuracy`, `pgd_accuracy` and, where their radii are configured,
            `certified_accuracy` and `certified_linf_accuracy`; or nothing.
        """
        if not len(labels):
            return {}
        result = self._evaluate(images, labels, self._eps, seed)
        row = {
            "validation_accuracy": result.clean_accuracy,
            "pgd_accuracy": result.robust_accuracy,
        }
        if self._radius is not None:
            row["certified_accuracy"] = certified_share(self._prove_l2, images, labels)
        if self._linf is not None:
            row["certified_linf_accuracy"] = certified_share(self._prove_linf, images, labels)
        return row


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


def warn_of_collapse(history: Sequence[dict[str, float]], collapse: float) -> None:
    """Warns in the epoch in which the PGD accuracy collapses; it may stay down without a word.

    Args:
        history: the finished epochs' rows.
        collapse: the share of the best epoch's PGD accuracy below which it counts as collapsed.

    Reference:
        Wong et al., arXiv 2001.03994, section 5.4 ("catastrophic overfitting").
    """
    measured = [row["pgd_accuracy"] for row in history if "pgd_accuracy" in row]
    if _collapsed(measured, collapse) and not _collapsed(measured[:-1], collapse):
        _logger.warning(
            "PGD accuracy on held-out images collapsed to %.2f %% in epoch %d (best so far "
            "%.2f %%): catastrophic overfitting? config.training.checkpoint=best_pgd keeps the "
            "best epoch; an adversary of more and smaller steps in training prevents it",
            100 * measured[-1],
            int(history[-1]["epoch"]),
            100 * max(measured),
        )


def _collapsed(measured: Sequence[float], collapse: float) -> bool:
    return bool(measured) and measured[-1] < collapse * max(measured)


def is_best(history: Sequence[dict[str, float]]) -> bool:
    """Whether the newest epoch's PGD accuracy is above that of every epoch before."""
    measured = [row["pgd_accuracy"] for row in history]
    return all(measured[-1] > before for before in measured[:-1])
