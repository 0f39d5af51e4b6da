"""How clusters are found, how rates fall, how long to train: objects that check their fields."""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import keras

from clustr_tf.run.checks import (
    check,
    check_above_0,
    check_at_least,
    check_at_least_or_none,
    check_one_of,
)

USUAL_CLUSTERS, USUAL_EXAMPLES = 12, 10  # M and D where nothing is said


@keras.saving.register_keras_serializable("clustr_tf")
@dataclass(frozen=True)
class Clustering:
    """How k-means finds clusters, and how neighbourhoods are drawn from them.

    Args:
        clusters_per_batch: M, the clusters of a neighbourhood, at least 2; None: 12, or as many as
            there can be: the seed and all clusters of other classes.
        examples_per_cluster: D, at least 2 (with 1 the variance of a batch, and so the magnet loss,
            is 0); None: 10, or the size of the smallest cluster if that is smaller, but not below
            2. A neighbourhood has M*D images.
        kmeans_starts: k-means++ starts of each class.
        kmeans_iterations: Lloyd iterations at most.
        temperature: factor of k-means' sigma^2 in the head.

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> classifier.compile(method=Clustr(), clustering=Clustering(examples_per_cluster=20))
    """

    clusters_per_batch: int | None = None
    examples_per_cluster: int | None = None
    kmeans_starts: int = 1
    kmeans_iterations: int = 20
    temperature: float = 1.0

    def __post_init__(self) -> None:
        check_at_least_or_none(self, 2, "clusters_per_batch", "examples_per_cluster")
        check_at_least(self, 1, "kmeans_starts", "kmeans_iterations")
        check_above_0(self, "temperature")

    def get_config(self) -> dict[str, Any]:
        """The fields, as Keras saves them."""
        return asdict(self)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Clustering":
        """The inverse of `get_config`."""
        return cls(**config)

    @property
    def usual_batch(self) -> int:
        """M*D, or 12 and 10 where they are left open."""
        per_batch = self.clusters_per_batch or USUAL_CLUSTERS
        return per_batch * (self.examples_per_cluster or USUAL_EXAMPLES)


@dataclass(frozen=True)
class Training:
    """How long, how seeded, and on what a run trains.

    Args:
        epochs: of the whole run.
        seed: of weights, batches, augmentation, adversaries and k-means.
        steps_per_epoch: None: one pass: whole batches of all replicas together.
        batch_size: images of a shuffled batch of one replica; None: as many as a neighbourhood.
        strategy: "default" (one device), "mirrored" (all GPUs of this machine) or "multi_worker"
            (the machines of TF_CONFIG).
        jit_compile: XLA: True, False, or "auto": for ResNets on GPUs, never on a CPU.
        precision: of the backbone while it trains: "float32", "mixed_bfloat16", or "auto": bfloat16
            where the machine is made for it and the run gains by it.
        deterministic: bit for bit the same again; slower, and no times are recorded.
        checkpoint: the epoch that becomes the model: "last", or "best_pgd" (held-out images).
        checkpoint_minutes: besides after every epoch, the state is saved so often.

    Raises:
        ValueError: if a number is out of range or a name unknown.

    Example:
        >>> Training(epochs=40, checkpoint="best_pgd")
    """

    epochs: int
    seed: int = 0
    steps_per_epoch: int | None = None
    batch_size: int | None = None
    strategy: str = "default"
    jit_compile: bool | str = "auto"
    precision: str = "auto"
    deterministic: bool = False
    checkpoint: str = "last"
    checkpoint_minutes: float = 10.0

    def __post_init__(self) -> None:
        check_at_least(self, 1, "epochs")
        check_at_least_or_none(self, 1, "steps_per_epoch", "batch_size")
        check(self, "from 0 to 2**31 - 1", lambda seed: 0 <= seed < 2**31, "seed")
        check_one_of(self, ("default", "mirrored", "multi_worker"), "strategy")
        check(self, "True, False or auto", lambda xla: xla in (True, False, "auto"), "jit_compile")
        check_one_of(self, ("auto", "float32", "mixed_bfloat16"), "precision")
        check_one_of(self, ("last", "best_pgd"), "checkpoint")
        check(self, "above 0", lambda minutes: minutes > 0, "checkpoint_minutes")


@dataclass(frozen=True)
class Constant:
    """The same rate in every epoch.

    Example:
        >>> Constant().factor(epoch=7, epochs=10)  # 1.0
    """

    def factor(self, epoch: int, epochs: int) -> float:
        """The share of the first rate in an epoch.

        Args:
            epoch: how many epochs are finished, from 0.
            epochs: of the whole training.
        """
        del epoch, epochs
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a period of a cosine, from the first rate down to 0.

    Example:
        >>> Cosine().factor(epoch=5, epochs=10)  # 0.5

    Reference:
        Loshchilov and Hutter, arXiv 1608.03983, equation 5.
    """

    def factor(self, epoch: int, epochs: int) -> float:
        """The share of the first rate in an epoch; see `Constant.factor`."""
        return (1 + math.cos(math.pi * epoch / epochs)) / 2


@dataclass(frozen=True)
class Milestones:
    """The rate drops after given epochs.

    Args:
        milestones: increasing epochs above 0, after which the rate is multiplied by the decay.
        decay: in (0, 1].

    Raises:
        ValueError: if a number is out of range.

    Example:
        >>> Milestones((30, 60)).factor(epoch=30, epochs=90)  # 0.1
    """

    milestones: tuple[int, ...] = ()
    decay: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.decay <= 1:
            raise ValueError(f"decay must be in (0, 1]. Received: {self.decay}")
        if any(b <= a for a, b in zip((0, *self.milestones), self.milestones, strict=False)):
            raise ValueError(
                f"milestones must be increasing epochs above 0. Received: {self.milestones}"
            )

    def factor(self, epoch: int, epochs: int) -> float:
        """The share of the first rate in an epoch; see `Constant.factor`."""
        del epochs
        return self.decay ** sum(epoch >= milestone for milestone in self.milestones)


Schedule = Constant | Cosine | Milestones

# Name in a config -> schedule; a further one is a class with `factor` and a line here.
SCHEDULES: dict[str, Callable[..., Any]] = {
    "constant": Constant,
    "cosine": Cosine,
    "milestones": Milestones,
}
