"""What an evaluation measured, and its figures."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Outcome:
    """What an attack did, one entry an example.

    Attributes:
        broken: stage -> bool `[N]`; a stage attacks what the ones before it left.
        attacked: images that were attacked, counted once for each attempt.
        seconds: that it took, sessions before an interruption included.
    """

    broken: Mapping[str, np.ndarray]
    attacked: int
    seconds: float

    @property
    def any_broken(self) -> np.ndarray:
        """Which examples a stage broke, bool `[N]`."""
        return np.any(list(self.broken.values()), axis=0)


@dataclass(frozen=True)
class Diagnostic:
    """A sign that an attack failed; it speaks against the figures if its value is too large.

    Attributes:
        name: of the sign.
        value: measured.
        threshold: the largest value that passes.
        meaning: what the value is, in one sentence.
    """

    name: str
    value: float
    threshold: float
    meaning: str

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the figures."""
        return self.value <= self.threshold + _ROUNDING


@dataclass(frozen=True)
class Measurements:
    """All that one evaluation measured.

    Attributes:
        labels: int64 `[N]`.
        predictions: int64 `[N]`, of the images as they are.
        outcomes: attack -> what it did at the evaluation's radius.
        settings: attack -> what a reader has to know to repeat it.
        radii: of the curves, in pixels, ascending from 0.
        smallest_eps: attack -> `[N]` as from `Examples.smallest_eps`.
        diagnostics: signs of attacks that failed.
    """

    labels: np.ndarray
    predictions: np.ndarray
    outcomes: Mapping[str, Outcome]
    settings: Mapping[str, Mapping[str, Any]]
    radii: Sequence[float]
    smallest_eps: Mapping[str, np.ndarray]
    diagnostics: Sequence[Diagnostic]

    @property
    def correct(self) -> np.ndarray:
        """Which examples are classified correctly, bool `[N]`."""
        return self.predictions == self.labels

    @property
    def robust(self) -> np.ndarray:
        """Which examples are correct and no attack broke, bool `[N]`."""
        broken = [outcome.any_broken for outcome in self.outcomes.values()]
        return self.correct & ~np.any([*broken, np.zeros_like(self.correct)], axis=0)

    @property
    def strongest(self) -> str | None:
        """The attack that broke most; the last one of equals, as ensembles come last."""
        counts = {name: int(found.any_broken.sum()) for name, found in self.outcomes.items()}
        return max(reversed(counts), key=lambda name: counts[name]) if counts else None

    def figures(self, class_names: Sequence[str]) -> dict[str, Any]:
        """What robustness.json holds of the measurements.

        Args:
            class_names: one a class.

        Returns:
            Values that JSON takes.
        """
        attacks = {"clean": measured(self.correct)}
        attacks |= {name: self._attack_figures(name) for name in self.outcomes}
        # Without an attack nothing is known of robustness; clean accuracy is no bound of it.
        worst_case = measured(self.robust) if self.outcomes else dict.fromkeys(attacks["clean"])
        gap = None
        if {"pgd_paper", "ensemble"} <= set(attacks):
            gap = attacks["pgd_paper"]["accuracy"] - attacks["ensemble"]["accuracy"]
        return {
            "attacks": attacks,
            "clean_accuracy": attacks["clean"]["accuracy"],
            "worst_case_accuracy": worst_case["accuracy"],
            "worst_case_interval_95": worst_case["interval_95"],
            "worst_case_attack": self.strongest,
            "masking_gap": gap,
            "per_class": self._class_figures(class_names),
            "curve": self._curve_figures() if self.smallest_eps else None,
            "diagnostics": [
                {**asdict(diagnostic), "passed": diagnostic.passed}
                for diagnostic in self.diagnostics
            ],
        }

    def arrays(self) -> dict[str, np.ndarray]:
        """What robustness.npz holds of the measurements, one entry an example."""
        return {
            "labels": self.labels,
            "clean_predictions": self.predictions,
            "robust": self.robust,
            **{f"broken_{name}": outcome.any_broken for name, outcome in self.outcomes.items()},
            **{f"smallest_eps_{name}": smallest for name, smallest in self.smallest_eps.items()},
        }

    def _attack_figures(self, name: str) -> dict[str, Any]:
        """Accuracy and effort; with several stages what each of them left."""
        outcome, left, after = self.outcomes[name], self.correct, {}
        for stage, broken in outcome.broken.items():
            left = left & ~broken
            after[stage] = float(np.mean(left))
        return {
            **measured(left),
            "seconds": outcome.seconds,
            "attacked": outcome.attacked,
            **self.settings[name],
            **({"after": after} if len(after) > 1 else {}),
        }

    def _class_figures(self, names: Sequence[str]) -> list[dict[str, Any]]:
        """Accuracies of each class that has examples."""
        correct, robust = self.correct, self.robust
        rows = [(name, self.labels == label) for label, name in enumerate(names)]
        return [
            {
                "name": name,
                "examples": int(np.sum(mine)),
                "clean_accuracy": float(np.mean(correct[mine])),
                "worst_case_accuracy": float(np.mean(robust[mine])),
            }
            for name, mine in rows
            if np.any(mine)
        ]

    def _curve_figures(self) -> dict[str, Any]:
        """Accuracy against radius, of each attack with a curve."""
        curves = {}
        for name, smallest in self.smallest_eps.items():
            # float32 as in the file, so that a radius is not above itself.
            entries = [measured(smallest > np.float32(eps)) for eps in self.radii]
            curves[name] = {key: [entry[key] for entry in entries] for key in entries[0]}
        return {"eps": list(self.radii), "attacks": curves}


def measured(which: np.ndarray) -> dict[str, Any]:
    """A share of examples with its 95 % interval.

    Args:
        which: bool `[N]`.

    Returns:
        `accuracy` and `interval_95`.
    """
    share = float(np.mean(which))
    return {"accuracy": share, "interval_95": list(wilson_interval(share, len(which)))}


def wilson_interval(share: float, examples: int) -> tuple[float, float]:
    """The 95 % Wilson score interval of a share.

    Args:
        share: observed share in [0, 1].
        examples: how many examples it was observed on, at least 1.

    Returns:
        (low, high).

    Example:
        >>> wilson_interval(0.5, 100)  # (0.404, 0.596)

    Reference:
        Wilson, "Probable inference", JASA 22 (1927).
    """
    z = 1.959963984540054
    spread = z**2 / examples
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / examples + spread / 4 / examples)
    return centre - half, centre + half
