"""The replicas of a run: one device, several of one machine, or several machines."""

import json
import os
import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.run.errors import InputError, RunError

STRATEGIES: dict[str, Callable[[], tf.distribute.Strategy]] = {
    "default": tf.distribute.get_strategy,  # one device
    "mirrored": tf.distribute.MirroredStrategy,  # every GPU of this machine
    "multi_worker": tf.distribute.MultiWorkerMirroredStrategy,  # the machines of TF_CONFIG
}

# What a collective operation ends with when its peer is gone; the last one if it is back already.
_LOST_WORKER_ERRORS = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
    tf.errors.FailedPreconditionError,
)

_EXAMPLE = (
    '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
)


class LostWorkerError(RunError):
    """Another worker is gone; this one cannot go on alone."""


def connect(strategy: str) -> "Replicas":
    """Makes the strategy; with several workers this waits until all of them are there.

    Args:
        strategy: a name from `STRATEGIES`.

    Returns:
        The replicas.

    Raises:
        InputError: if the strategy is multi_worker and TF_CONFIG does not say which workers.
        RunError: if they cannot be connected.

    Example:
        >>> connect("default").count  # 1
    """
    if strategy == "multi_worker":
        _check_tf_config(os.environ.get("TF_CONFIG"))
    try:
        return Replicas(STRATEGIES[strategy]())
    except tf.errors.OpError as error:
        raise RunError(
            f"The workers of TF_CONFIG cannot be connected: {told_in_short(error)}. Start all of "
            "them with the same command; each needs a free port that the others can reach"
        ) from error


def told_in_short(error: tf.errors.OpError) -> str:
    """What happened, out of TensorFlow's many lines."""
    cause = re.search(r"aborted by: (.+)", error.message)
    return (cause[1] if cause else error.message.split("\n")[0])[:200]


def _check_tf_config(text: str | None) -> None:
    try:
        config = json.loads(text or "")
        cluster, task = config["cluster"], config["task"]
        fits = set(cluster) <= {"chief", "worker"} and 0 <= int(task["index"]) < len(
            cluster[task["type"]]
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        fits = False
    if not fits:
        raise InputError(
            "config.training.strategy=multi_worker needs the environment variable TF_CONFIG with "
            f"jobs chief and worker only, such as {_EXAMPLE}. Received: {text}"
        )


class Replicas:
    """All replicas of a run as one worker sees them.

    Every worker runs the same program with the same seeds. What has to be the same everywhere
    (batches, clusters, restored checkpoints) is computed everywhere or sent by the chief.

    Args:
        strategy: the strategy; `connect` makes it. That has to be at the start of the program, as
            TensorFlow refuses to connect workers later.

    Attributes:
        strategy: the strategy.
        count: replicas of all workers together.
        is_chief: whether this worker writes files. A lone worker is its own chief.

    Example:
        >>> replicas = Replicas(tf.distribute.MirroredStrategy(["GPU:0", "GPU:1"]))
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self.strategy = strategy
        self.count: int = strategy.num_replicas_in_sync
        resolver = strategy.cluster_resolver
        self._several_workers = bool(resolver) and bool(resolver.cluster_spec().as_dict())
        self.is_chief = not self._several_workers or _is_chief(resolver)
        self._gather_all = self._on_all(self.gather)
        self._sum_all = self._on_all(partial(_all_reduced, tf.distribute.ReduceOp.SUM))

    @property
    def has_several_workers(self) -> bool:
        """Whether other processes train along."""
        return self._several_workers

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
        return tf.distribute.get_replica_context().all_gather(_placed(value), axis=0)

    def mean(self, value: Any) -> Any:
        """The mean of all replicas' values, or of each in a list; called inside a replica."""
        if self.count == 1:
            return value
        return _all_reduced(tf.distribute.ReduceOp.MEAN, value)

    def broadcast(self, array: np.ndarray) -> np.ndarray:
        """The chief's array, on every worker.

        Args:
            array: of one dimension and everywhere of the same type; only the chief's counts.

        Returns:
            The chief's.
        """
        if not self._several_workers:
            return array
        # Collective operations know few types, so the bytes travel as whole numbers.
        data = array.tobytes()
        words = np.frombuffer(data + bytes(-len(data) % 8), np.int64)
        sizes = self.gathered(
            self.values(lambda _: tf.constant([[len(words), len(data)]], tf.int64))
        )
        if not sizes[0, 0]:
            return array[:0]  # TensorFlow crashes in summing what has no elements.
        others = np.zeros(sizes[0, 0], np.int64)
        values = self.values(lambda replica: tf.constant(others if replica else words))
        received = self.local(self._sum_all(values))[0].numpy()
        return np.frombuffer(received.tobytes()[: sizes[0, 1]], array.dtype)

    def gathered(self, values: Any) -> np.ndarray:
        """All replicas' values, one after another along axis 0."""
        if self.count == 1:
            return values.numpy()
        return self.local(self._gather_all(values))[0].numpy()

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """For each flag whether any worker raised it."""
        if not self._several_workers:
            return flags
        values = self.values(lambda _: tf.constant([flags], tf.int32))
        return tuple(bool(flag) for flag in np.max(self.gathered(values), axis=0))

    def _on_all(self, function: Callable[[tf.Tensor], tf.Tensor]) -> Callable[[Any], Any]:
        return tf.function(
            lambda values: self.strategy.run(function, args=(values,)),
            reduce_retracing=True,
            autograph=False,
        )


def _all_reduced(operation: tf.distribute.ReduceOp, value: Any) -> Any:
    return tf.distribute.get_replica_context().all_reduce(operation, _placed(value))


def _placed(value: Any) -> Any:
    """Tensors on the replica's device: arguments and variables' values are on none yet."""
    return tf.nest.map_structure(tf.identity, value)


def _is_chief(resolver: tf.distribute.cluster_resolver.ClusterResolver) -> bool:
    roles = resolver.cluster_spec().as_dict()
    return resolver.task_type == "chief" or (
        "chief" not in roles and resolver.task_type == "worker" and resolver.task_id == 0
    )
