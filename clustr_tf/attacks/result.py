"""What attacks left of a data set."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RobustnessResult:
    """What the attacks left, one entry an example.

    Attributes:
        clean_predictions: int64 `[N]`, predictions for the images as they are.
        correct: bool `[N]`, correctly classified.
        broken: name of the attack -> bool `[N]`, whether it broke the example. An example that an
            earlier attack broke is not attacked again.
    """

    clean_predictions: np.ndarray
    correct: np.ndarray
    broken: dict[str, np.ndarray]

    @property
    def robust(self) -> np.ndarray:
        """Which examples are correct and were broken by nothing, bool `[N]`."""
        return self.correct & ~np.any([*self.broken.values(), np.zeros_like(self.correct)], axis=0)

    @property
    def clean_accuracy(self) -> float:
        """Share of correctly classified examples."""
        return float(np.mean(self.correct))

    @property
    def robust_accuracy(self) -> float:
        """Share of examples that every attempt of every attack failed to break."""
        return float(np.mean(self.robust))
