"""The training methods by name."""

from collections.abc import Callable
from dataclasses import dataclass

from clustr_tf.objectives.clustr import Clustr
from clustr_tf.objectives.objective import Objective


@dataclass(frozen=True)
class ObjectiveConfig:
    """Which training method and its constants.

    Raises:
        ValueError: if the name is not registered or a constant is out of range.
    """

    name: str  # a key of OBJECTIVES
    alpha: float = 12.5  # separation gap of the magnet loss
    epsilon: float = 0.0  # 1e-8: the published arithmetic of the magnet loss
    nearest: int | None = None  # L of the log-scores inside a loss that uses them; None: all

    def __post_init__(self) -> None:
        if self.name not in OBJECTIVES:
            raise ValueError(f"name must be one of {sorted(OBJECTIVES)}. Received: {self.name!r}")
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be at least 0. Received: {self.alpha}")
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon must be in [0, 1). Received: {self.epsilon}")
        if self.nearest is not None and self.nearest < 1:
            raise ValueError(f"nearest must be None or at least 1. Received: {self.nearest}")


OBJECTIVES: dict[str, Callable[[ObjectiveConfig], Objective]] = {
    "clustr": lambda config: Clustr(alpha=config.alpha, epsilon=config.epsilon),
}


def build_objective(config: ObjectiveConfig) -> Objective:
    """The configured training method.

    Args:
        config: its name and constants.

    Returns:
        The objective.

    Example:
        >>> build_objective(ObjectiveConfig(name="clustr", alpha=12.5))
    """
    return OBJECTIVES[config.name](config)
