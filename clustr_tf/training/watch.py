"""Robustness on held-out training images, watched for catastrophic overfitting."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.attacks import RobustnessEvaluator, pgd_attacks
from clustr_tf.certificates import soft_score_radius
from clustr_tf.classifier import Classifier
from clustr_tf.training.settings import WatchConfig

_BATCH = 250
_logger = logging.getLogger(__name__)


class Watch:
    """Attacks, and certifies, the held-out images after every epoch; compiled once.

    The certified accuracy is that of a 1-Lipschitz backbone, whose bound is taken to be 1: the
    proof, with its rounding, is left to the certificates of the finished model.

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
        self._radius = config.certified_radius
        self._certify = tf.function(
            lambda images: _predictions_and_radii(classifier, tf.cast(images, tf.float32) / 255),
            input_signature=[tf.TensorSpec([None, *shape], tf.uint8)],
            jit_compile=jit_compile,
            autograph=False,
        )

    def __call__(self, images: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
        """Measures.

        Args:
            images: uint8 `[V, H, W, C]`; with V = 0 nothing is measured.
            labels: int64 `[V]`.
            seed: of the random starts.

        Returns:
            `validation_accuracy`, `pgd_accuracy` and, where a radius is configured,
            `certified_accuracy`; or nothing.
        """
        if not len(labels):
            return {}
        result = self._evaluate(images, labels, self._eps, seed)
        row = {
            "validation_accuracy": result.clean_accuracy,
            "pgd_accuracy": result.robust_accuracy,
        }
        if self._radius is not None:
            row["certified_accuracy"] = self._certified_accuracy(images, labels, self._radius)
        return row

    def _certified_accuracy(self, images: np.ndarray, labels: np.ndarray, radius: float) -> float:
        certified = 0
        for start in range(0, len(images), _BATCH):
            predicted, radii = self._certify(tf.constant(images[start : start + _BATCH]))
            correct = predicted.numpy() == labels[start : start + _BATCH]
            certified += int(np.sum(correct & (radii.numpy() > radius)))
        return certified / len(images)


def _predictions_and_radii(classifier: Classifier, images: tf.Tensor) -> tuple[Any, Any]:
    head = classifier.head
    return soft_score_radius(
        classifier.embed(images),
        head.centroids,
        head.variance,
        head.clusters_per_class,
        head.ranked_clusters,
    )


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
