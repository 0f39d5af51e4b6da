"""The settings of a training run, validated where they are defined."""

from dataclasses import dataclass

from clustr_tf.attacks import PGDConfig


@dataclass(frozen=True)
class ClusteringConfig:
    """Clusters, neighbourhoods and the head that scores by them.

    Raises:
        ValueError: if a number is out of range.
    """

    clusters_per_class: int  # K
    clusters_per_batch: int  # M
    examples_per_cluster: int  # D, at least 2; the batch has M*D examples
    nearest: int | None = None  # L of the finished model's scores; None: all clusters
    normalize: bool = True  # False ignores L
    kmeans_starts: int = 1  # k-means++ starts per class and refresh
    kmeans_iterations: int = 20  # Lloyd iterations at most
    temperature: float = 1.0  # factor of k-means' sigma^2 in the head

    def __post_init__(self) -> None:
        for name, least in [
            ("clusters_per_class", 1),
            ("clusters_per_batch", 2),
            ("examples_per_cluster", 2),  # with 1 the batch variance, and so the loss, is 0
            ("kmeans_starts", 1),
            ("kmeans_iterations", 1),
        ]:
            _at_least(self, name, least)
        if self.nearest is not None:
            _at_least(self, "nearest", 1)
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0. Received: {self.temperature}")


@dataclass(frozen=True)
class OptimizerConfig:
    """Adam with a learning rate that falls from epoch to epoch.

    Raises:
        ValueError: if a number is out of range, the schedule unknown, or the milestones do not
            increase or are given with another schedule.
    """

    learning_rate: float  # of the first epoch
    schedule: str = "milestones"  # or cosine: half a period, down to 0
    milestones: tuple[int, ...] = ()  # epochs after which the rate is multiplied by decay
    decay: float = 0.1  # factor at each milestone

    def __post_init__(self) -> None:
        if not 0 < self.learning_rate < float("inf"):
            raise ValueError(f"learning_rate must be above 0. Received: {self.learning_rate}")
        if self.schedule not in ("milestones", "cosine"):
            raise ValueError(
                f"schedule must be one of ['milestones', 'cosine']. Received: {self.schedule!r}"
            )
        if self.schedule == "cosine" and self.milestones:
            raise ValueError(
                f"milestones must be () with schedule='cosine'. Received: {self.milestones}"
            )
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1]. Received: {self.decay}")
        if any(b <= a for a, b in zip((0, *self.milestones), self.milestones, strict=False)):
            raise ValueError(
                f"milestones must be increasing epochs above 0. Received: {self.milestones}"
            )


@dataclass(frozen=True)
class TrainingConfig:
    """How long, how seeded, and on what to train.

    Raises:
        ValueError: if a number is out of range or a name unknown.
    """

    epochs: int  # k-means' clusters are refreshed after each
    seed: int = 0  # of weights, batches, augmentation, adversaries and k-means
    steps_per_epoch: int | None = None  # None: one pass: whole batches of all replicas together
    batch_size: int | None = None  # of shuffled batches; None: M*D, as in neighbourhoods
    strategy: str = "default"  # default, mirrored, multi_worker
    jit_compile: bool = False  # XLA; worth it for ResNets, not for tiny networks
    precision: str = "float32"  # or mixed_bfloat16: the backbone's arithmetic while it trains
    deterministic: bool = False  # bit for bit the same again; slower, and records no times
    checkpoint: str = (
        "last"  # the epoch that becomes the model: last, or best_pgd (held-out images)
    )
    checkpoint_minutes: float = 10.0  # besides after every epoch, the state is saved so often

    def __post_init__(self) -> None:
        _at_least(self, "epochs", 1)
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed must be from 0 to 2**31 - 1. Received: {self.seed}")
        for name in ("steps_per_epoch", "batch_size"):
            if getattr(self, name) is not None:
                _at_least(self, name, 1)
        for name, allowed in [
            ("strategy", ("default", "mirrored", "multi_worker")),
            ("precision", ("float32", "mixed_bfloat16")),
            ("checkpoint", ("last", "best_pgd")),
        ]:
            if getattr(self, name) not in allowed:
                raise ValueError(
                    f"{name} must be one of {list(allowed)}. Received: {getattr(self, name)!r}"
                )
        if not self.checkpoint_minutes > 0:
            raise ValueError(
                f"checkpoint_minutes must be above 0. Received: {self.checkpoint_minutes}"
            )


@dataclass(frozen=True)
class WatchConfig:
    """What is measured after every epoch on the held-out training images.

    Raises:
        ValueError: if a number is out of range.
    """

    attack: PGDConfig  # weaker than that of an evaluation: it watches for a collapse
    collapse: float = 0.5  # warns when PGD accuracy falls below this share of the best epoch's
    certified_radius: float | None = None  # l2, in pixels; of 1-Lipschitz backbones only
    certified_linf: float | None = None  # l-infinity, in pixels; by interval bounds

    def __post_init__(self) -> None:
        for name in ("certified_radius", "certified_linf"):
            radius = getattr(self, name)
            if radius is not None and not 0 <= radius < float("inf"):
                raise ValueError(f"{name} must be None or at least 0. Received: {radius}")
        if not 0 < self.collapse < 1:
            raise ValueError(f"collapse must be between 0 and 1. Received: {self.collapse}")


def _at_least(section: object, name: str, least: int) -> None:
    value = getattr(section, name)
    if value < least:
        raise ValueError(f"{name} must be at least {least}. Received: {value}")
