"""The settings of the training methods."""

from dataclasses import dataclass

from clustr_tf.objectives.consistency import CONSISTENCIES


@dataclass(frozen=True)
class ObjectiveSettings:
    """The constants of a training method; None is the method's own value.

    Raises:
        ValueError: if a constant is out of range.
    """

    name: str  # a key of OBJECTIVES
    alpha: float = 12.5  # separation gap of the magnet loss
    epsilon: float = 0.0  # 1e-8: the published arithmetic of the magnet loss
    nearest: int | None = None  # L of the log-scores inside a loss that uses them; None: all
    xent_lambda: float = 0.0  # weight of the cross-entropy of the log-scores (clustr*)
    consistency: str | None = None  # cross_entropy, kl, mse (clustr_qtrades, clustr_trades)
    consistency_lambda: float | None = None  # its weight
    eps: float = 8 / 255  # radius of the adversary's l-infinity ball, in pixels
    step_size: float | None = None  # of the adversary, in pixels
    standardised_steps: bool = False  # step_size in standard deviations of each channel instead
    steps: int | None = None  # of the adversary
    replays: int | None = None  # of each batch (clustr_free, free_at)
    margin: float | None = None  # l2 radius that is trained for, in pixels (clustr_certified)
    temperature: float | None = None  # how sharply, in pixels
    centroids: str | None = None  # learned, refreshed, fixed
    magnet_lambda: float = 0.0  # weight of the magnet loss
    likelihood_lambda: float = 0.0  # weight of the distance to the own cluster
    interval_lambda: float | None = None  # weight of the worst case at last (clustr_ibp)
    warmup: float | None = None  # share of the training over which eps (and interval_lambda) grow

    def __post_init__(self) -> None:
        if not 0 <= self.epsilon < 1:
            raise ValueError(f"epsilon must be in [0, 1). Received: {self.epsilon}")
        for name in (
            *("alpha", "xent_lambda", "consistency_lambda", "eps", "step_size", "margin"),
            *("magnet_lambda", "likelihood_lambda"),
        ):
            value = getattr(self, name)
            if value is not None and not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0. Received: {value}")
        for name in ("nearest", "steps", "replays"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be None or at least 1. Received: {value}")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0. Received: {self.temperature}")
        for name in ("interval_lambda", "warmup"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"{name} must be in [0, 1]. Received: {value}")
        if self.centroids not in (None, "learned", "refreshed", "fixed"):
            raise ValueError(
                "centroids must be None or one of ['fixed', 'learned', 'refreshed']. "
                f"Received: {self.centroids!r}"
            )
        if (
            self.magnet_lambda
            and self.centroids != "refreshed"
            and self.name in ("clustr_certified", "clustr_ibp")
        ):
            raise ValueError(
                "magnet_lambda must be 0 unless centroids is 'refreshed': the magnet loss takes "
                f"neighbourhoods of k-means clusters. Received: {self.magnet_lambda}"
            )
        if self.consistency not in (None, *CONSISTENCIES):
            raise ValueError(
                f"consistency must be None or one of {sorted(CONSISTENCIES)}. "
                f"Received: {self.consistency!r}"
            )
        if self.standardised_steps and self.step_size is None:
            raise ValueError("step_size must be given with standardised_steps. Received: None")
