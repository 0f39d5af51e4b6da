"""Batches of rows, shared out to the replicas of a machine."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


class SharedWork:
    """Gives every replica its share of a batch.

    Args:
        batch_size: rows at once, of all replicas together.
        fill: whether every batch has the full size, filled up with repeated rows; with several
            replicas it always has.
        strategy: whose replicas share the work; None for this device alone.

    Raises:
        ValueError: if batch_size is below the number of replicas.

    Example:
        >>> work = SharedWork(250, fill=False, strategy=None)
        >>> work.batches(np.arange(360), 360)  # [(rows 0 to 249, 250), (rows 250 to 359, 110)]
    """

    def __init__(self, batch_size: int, fill: bool, strategy: tf.distribute.Strategy | None):
        self._strategy = strategy or tf.distribute.get_strategy()
        self._replicas = self._strategy.num_replicas_in_sync
        if batch_size < self._replicas:
            raise ValueError(
                f"batch_size must be at least {self._replicas}. Received: {batch_size}"
            )
        self._batch_size = batch_size
        self._fill = fill or self._replicas > 1

    def batches(self, indices: np.ndarray, total: int) -> list[tuple[np.ndarray, int]]:
        """Row numbers of each batch, and how many of them count.

        Args:
            indices: int `[n]`, the rows.
            total: of the data set, which is no larger than a batch if that is small.

        Returns:
            One entry a batch.
        """
        size = min(self._batch_size, total)
        parts = [indices[i : i + size] for i in range(0, len(indices), size)]
        full = -(-size // self._replicas) * self._replicas
        return [(np.resize(part, full) if self._fill else part, len(part)) for part in parts]

    def compiled(self, function: Callable[..., tf.Tensor], signature: list[Any]) -> Any:
        """A function of one replica's rows, compiled to be called with `self`.

        Args:
            function: tensors -> `[batch]`.
            signature: of its tensors.

        Returns:
            What `__call__` takes.
        """
        if self._replicas == 1:
            return tf.function(function, input_signature=signature, autograph=False)
        # Values of several replicas have no signature; but all batches are then equally large.
        return tf.function(
            lambda *values: self._strategy.run(lambda *local: function(*local), args=values),
            reduce_retracing=True,
            autograph=False,
        )

    def __call__(
        self, function: Any, arrays: list[np.ndarray], scalars: list[tf.Tensor]
    ) -> np.ndarray:
        """Runs a compiled function on a batch.

        Args:
            function: of `compiled`.
            arrays: with the batch's rows, shared out.
            scalars: the same for all.

        Returns:
            `[batch]`.
        """
        shares = [np.split(array, self._replicas) for array in arrays]
        values = [self._per_replica(share) for share in shares]
        found = function(*values, *scalars)
        local = self._strategy.experimental_local_results(found)
        return np.concatenate([part.numpy() for part in local])

    def _per_replica(self, shares: list[np.ndarray]) -> Any:
        return self._strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(shares[context.replica_id_in_sync_group])
        )
