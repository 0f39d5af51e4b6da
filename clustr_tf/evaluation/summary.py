"""The brief evaluation that ends a training run: attacked and certified."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from clustr_tf.attacks import RobustnessResult, evaluate_robustness
from clustr_tf.certification import Certification, certify_images
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import Dataset
from clustr_tf.evaluation.settings import EvaluationConfig
from clustr_tf.layers import ClusteringHead


@dataclass(frozen=True)
class BriefEvaluation:
    """Robustness and certificates of the first test images.

    Attributes:
        robustness: what the attack left.
        certification: what was proved; None for a dense head, which has no certificate.
    """

    robustness: RobustnessResult
    certification: Certification | None

    def figures(self) -> dict[str, Any]:
        """The figures of summary.json; radii in pixels, l2 unless the name says otherwise."""
        certification = self.certification
        found = {
            "examples": len(self.robustness.correct),
            "clean_accuracy": self.robustness.clean_accuracy,
            "pgd_accuracy": self.robustness.robust_accuracy,
        }
        if certification is None:
            return found
        return {
            **found,
            "median_certified_radius_l2": float(np.median(certification.main.radius_l2)),
            "abstentions": certification.main.abstentions,
            **certification.bound.figures(),
        }


def evaluate_briefly(
    classifier: Classifier, dataset: Dataset, config: EvaluationConfig, seed: int
) -> BriefEvaluation:
    """Attacks and certifies the first test images.

    Args:
        classifier: the finished model.
        dataset: its test images are used.
        config: the attack and how many images.
        seed: of the attack's random starts.

    Returns:
        The result.
    """
    images = dataset.test_images[: config.examples]
    labels = dataset.test_labels[: config.examples]
    robustness = evaluate_robustness(
        classifier,
        images,
        labels,
        config.attack,
        batch_size=config.batch_size,
        seed=seed,
    )
    if not isinstance(classifier.head, ClusteringHead):
        return BriefEvaluation(robustness, None)
    return BriefEvaluation(robustness, certify_images(classifier, images, labels))
