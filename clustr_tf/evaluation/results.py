"""The files of an evaluation: robustness.json and robustness.npz."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clustr_tf.evaluation.attacking import Outcome
from clustr_tf.evaluation.confidence import measured


def attack_figures(
    correct: np.ndarray, outcome: Outcome, settings: dict[str, Any]
) -> dict[str, Any]:
    """What one attack left.

    Args:
        correct: bool `[N]`.
        outcome: of the attack.
        settings: of the attack, such as its steps.

    Returns:
        Accuracy, interval, seconds, attacked images; with several stages what each of them left.
    """
    left, stages = correct.copy(), {}
    for stage, broken in outcome.broken.items():
        left &= ~broken
        stages[stage] = float(np.mean(left))
    figures = {
        **measured(float(np.mean(left)), len(left)),
        "seconds": outcome.seconds,
        "attacked": outcome.attacked,
        **settings,
    }
    return figures | ({"after": stages} if len(stages) > 1 else {})


def class_figures(
    labels: np.ndarray, correct: np.ndarray, robust: np.ndarray, names: Sequence[str]
) -> list[dict[str, Any]]:
    """Accuracies of each class that has examples.

    Args:
        labels: int64 `[N]`.
        correct: bool `[N]`.
        robust: bool `[N]`.
        names: one a class.

    Returns:
        One entry a class.
    """
    return [
        {
            "name": name,
            "examples": int(np.sum(labels == label)),
            "clean_accuracy": float(np.mean(correct[labels == label])),
            "worst_case_accuracy": float(np.mean(robust[labels == label])),
        }
        for label, name in enumerate(names)
        if np.any(labels == label)
    ]


def curve_figures(smallest_eps: Mapping[str, np.ndarray], radii: Sequence[float]) -> dict[str, Any]:
    """Accuracy against radius.

    Args:
        smallest_eps: attack -> `[N]` as from `Examples.smallest_eps`.
        radii: in pixels, ascending, the first one 0.

    Returns:
        `eps` and for each attack accuracies with intervals.
    """
    curves = {}
    for name, smallest in smallest_eps.items():
        # float32 as in the file, so that a radius is not above itself.
        left = [float(np.mean(smallest > np.float32(eps))) for eps in radii]
        entries = [measured(accuracy, len(smallest)) for accuracy in left]
        curves[name] = {key: [entry[key] for entry in entries] for key in entries[0]}
    return {"eps": list(radii), "attacks": curves}
