"""What a search looks for, and how; validated where it is defined."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

# What a trial is judged by, always on the held-out training images: name in the config, column
# of metrics.csv.
MEASURES = {
    "val_accuracy": "validation_accuracy",
    "val_pgd_accuracy": "pgd_accuracy",
    "val_certified_accuracy": "certified_accuracy",
    "val_certified_linf_accuracy": "certified_linf_accuracy",
}
ALGORITHMS = ("random", "bayesian", "hyperband")

_TERM = re.compile(r"(?:(?P<weight>[0-9.eE+-]+)\*)?(?P<measure>\w+)")


@dataclass(frozen=True)
class SearchConfig:
    """How to search; what over is `config.search.space`.

    Raises:
        ValueError: if a number is out of range or a name unknown.
    """

    algorithm: str  # random, bayesian, hyperband
    objective: str  # a measure, or a trade-off such as 0.5*val_accuracy + 0.5*val_pgd_accuracy
    trials: int  # at most; hyperband may end before
    seed: int = 0  # of the drawn settings; training has its own
    factor: int = 3  # hyperband: keeps one trial in so many, and trains it so many times as long

    def __post_init__(self) -> None:
        if self.algorithm not in ALGORITHMS:
            raise ValueError(
                f"algorithm must be one of {list(ALGORITHMS)}. Received: {self.algorithm!r}"
            )
        for name, least in (("trials", 1), ("seed", 0), ("factor", 2)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name} must be at least {least}. Received: {getattr(self, name)}"
                )
        parse_objective(self.objective)


def parse_objective(text: str) -> dict[str, float]:
    """The weight of every measure; the objective is their sum, and more of it is better.

    Args:
        text: one measure, or terms `weight*measure` joined by "+".

    Returns:
        Weights above 0 by measure.

    Raises:
        ValueError: if a measure is unknown or named twice, or a weight is no number above 0.

    Example:
        >>> parse_objective("val_accuracy + 2*val_pgd_accuracy")
        {'val_accuracy': 1.0, 'val_pgd_accuracy': 2.0}
    """
    weights: dict[str, float] = {}
    for term in re.split(r"(?<![eE*])\+", re.sub(r"\s", "", text)):
        match = _TERM.fullmatch(term)
        measure = match["measure"] if match else ""
        weight = _number((match and match["weight"]) or "1")
        if measure not in MEASURES or measure in weights or weight is None:
            raise ValueError(
                f"objective must be one of {list(MEASURES)}, or a sum of some of them with weights "
                f"above 0 such as 0.5*val_accuracy + 0.5*val_pgd_accuracy. Received: {text!r}"
            )
        weights[measure] = weight
    return weights


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < float("inf") else None


def score(weights: Mapping[str, float], row: Mapping[str, float]) -> float:
    """The objective of a trained model.

    Args:
        weights: of `parse_objective`.
        row: of metrics.csv, of the epoch that became the model.

    Returns:
        The weighted sum.

    Example:
        >>> score({"val_accuracy": 2.0}, {"validation_accuracy": 0.5})  # 1.0
    """
    return sum(weight * row[MEASURES[measure]] for measure, weight in weights.items())
