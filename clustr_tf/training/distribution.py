"""The replicas of a run: one device, several of one machine, or several machines."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.errors import RunError

STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "default": tf.distribute.get_strategy,  # one device
    "mirrored": tf.distribute.MirroredStrategy,  # every GPU of this machine
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,  # the machines of TF_CONFIG
}

# What a collective operation ends with when its peer is gone.
_LOST_WORKER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class LostWorkerError(RunError):
    """Another worker is gone; this one cannot go on alone."""


class Replicas:
    """All replicas of a run as one worker sees them.

    Every worker runs the same program with the same seeds. What has to be the same everywhere
    (batches, clusters, restored checkpoints) is computed everywhere or sent by the chief.

    Args:
        strategy: made at the start of the program; TensorFlow refuses to connect workers later.

    Attributes:
        strategy: the strategy.
        count: replicas of all workers together.
        is_chief: whether this worker writes files. A lone worker is its own chief.

    Example:
        >>> replicas = Replicas(STRATEGIES["mirrored"]())
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.count: int = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        self._several_workers = bool(resolver) and bool(resolver.cluster_spec().as_dict())
        self.is_chief = not self._several_workers or _is_chief(resolver)
        self._gather_all = tf.function(
            lambda values: strategy.run(self.gather, args=(values,)), reduce_retracing=True
        )

    @property
    def lost_worker_errors(self) -> tuple[type[Exception], ...]:
        """The errors that mean a lost worker; none if there is only one worker."""
        return _LOST_WORKER_ERRORS if self._several_workers else ()

    def values(self, make: Callable[[int], Any]) -> Any:
        """A value for each replica of this worker.

        Args:
            make: replica number, counted over all workers -> its value.

        Returns:
            What `strategy.run` takes as an argument.
        """
        return self.strategy.experimental_distribute_values_from_function(
            lambda context: make(context.replica_id_in_sync_group)
        )

    def local(self, values: Any) -> tuple[Any, ...]:
        """The values of this worker's replicas."""
        return self.strategy.experimental_local_results(values)

    def gather(self, value: tf.Tensor) -> tf.Tensor:
        """All replicas' values, one after another along axis 0; called inside a replica."""
        if self.count == 1:
            return value
        return tf.distribute.get_replica_context().all_gather(value, axis=0)

    def mean(self, value: tf.Tensor) -> tf.Tensor:
        """The mean of all replicas' values; called inside a replica."""
        if self.count == 1:
            return value
        context = tf.distribute.get_replica_context()
        return context.all_reduce(tf.distribute.ReduceOp.MEAN, value)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The chief's array, on every worker.

        Args:
            array: of one dimension; only the chief's counts.

        Returns:
            The chief's.
        """
        if not self._several_workers:
            return array
        first = self.values(lambda replica: tf.constant(array if replica == 0 else array[:0]))
        return self.gathered(first)

    def gathered(self, values: Any) -> np.ndarray:
        """All replicas' values, one after another along axis 0."""
        if self.count == 1:
            return values.numpy()
        return self.local(self._gather_all(values))[0].numpy()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether any worker raised it."""
        if not self._several_workers:
            return flags
        values = self.values(lambda replica: tf.constant([flags]))
        return tuple(bool(flag) for flag in np.max(self.gathered(values), axis=0))


def _is_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    roles = resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (
        "chief" not in roles and resolver.task_type == "worker" and resolver.task_id == 0
    )
