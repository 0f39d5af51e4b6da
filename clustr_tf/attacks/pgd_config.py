"""The settings of PGD."""

from dataclasses import dataclass

import numpy as np

from clustr_tf.attacks.losses import ATTACK_LOSSES
from clustr_tf.attacks.norms import norm_order


@dataclass(frozen=True)
class PGDConfig:
    """How PGD attacks.

    Raises:
        ValueError: if a number is out of range or a name unknown.
    """

    eps: float  # radius of the ball, in pixels
    step_size: float  # length of a step, in pixels
    steps: int  # gradient steps of a restart
    restarts: int = 1  # random starts of each loss
    norm: str = "linf"  # linf, l2
    losses: tuple[str, ...] = ("ce", "margin")  # an example is robust if every loss fails

    def __post_init__(self) -> None:
        for name in ("eps", "step_size"):
            if not 0 <= getattr(self, name) < np.inf:
                raise ValueError(f"{name} must be at least 0. Received: {getattr(self, name)}")
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1. Received: {getattr(self, name)}")
        norm_order(self.norm)
        if not self.losses or set(self.losses) - set(ATTACK_LOSSES):
            raise ValueError(
                f"losses must be out of {sorted(ATTACK_LOSSES)}. Received: {self.losses}"
            )

    @property
    def step_ratio(self) -> float:
        """Length of a step in radii; a quarter, which is usual, where eps 0 has no ratio."""
        return self.step_size / self.eps if self.eps else 0.25

    def describe(self) -> str:
        """The attack in a few words, for tables."""
        return (
            f"{self.norm} eps {self.eps:.4g}, {self.steps} steps of {self.step_size:.4g}, "
            f"{self.restarts} start{'s' if self.restarts > 1 else ''}, {' + '.join(self.losses)}"
        )
