"""The files of an evaluation: robustness.json and robustness.npz."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from clustr_tf.evaluation.attacking import Outcome
from clustr_tf.evaluation.summary import wilson_interval


def measured(accuracy: float, examples: int) -> dict[str, Any]:
    """An accuracy with its 95 % interval.

    Args:
        accuracy: in [0, 1].
        examples: that it was measured on.

    Returns:
        `accuracy` and `interval_95`.
    """
    return {"accuracy": accuracy, "interval_95": list(wilson_interval(accuracy, examples))}


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


def certified_figures(root: Path, examples: int) -> dict[str, Any] | None:
    """The certified curve of the workdir's certificates, if there are any for this model.

    Args:
        root: the workdir.
        examples: at most so many of the first images are used.

    Returns:
        Certified accuracy of the soft scores against l2 radius; None where `certify` has not run
        since the model was written.
    """
    path = root / "certificates.npz"
    if not path.exists() or path.stat().st_mtime < (root / "model.keras").stat().st_mtime:
        return None
    with np.load(path, allow_pickle=False) as arrays:
        correct = (arrays["predictions"] == arrays["labels"])[:examples]
        radii = np.where(correct, arrays["radius_l2"][:examples], 0.0)
    grid = np.unique(np.concatenate([[0.0], np.quantile(radii, np.linspace(0, 1, 33))]))
    certified = [float(np.mean((radii >= radius) & (radii > 0))) for radius in grid]
    entries = [measured(accuracy, len(radii)) for accuracy in certified]
    return {
        "norm": "l2",
        "radius": grid.tolist(),
        "accuracy": [entry["accuracy"] for entry in entries],
        "interval_95": [entry["interval_95"] for entry in entries],
        "classifier": "soft scores",
    }
