"""Where batches come from: neighbourhoods, or shuffled examples for the dense baselines."""

import json
from typing import Protocol

import numpy as np


class Batches(Protocol):
    """A resumable source of batches; `NeighbourhoodSampler` is one."""

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Indices int64 `[batch]` of distinct examples, targets int64 `[batch, 2]`."""

    def update_losses(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Hears of the losses of a batch."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken."""


class ShuffledBatches:
    """Every example once in random order, then again in another order.

    What is left at the end of an order and does not fill a batch waits for another order.

    Args:
        labels: int `[N]`.
        batch_size: examples of a batch, 1 to N.
        seed: of the orders.

    Raises:
        ValueError: if the batch size is not as above.

    Example:
        >>> indices, targets = ShuffledBatches(labels, 256, seed=0).sample()
    """

    def __init__(self, labels: np.ndarray, batch_size: int, seed: int = 0):
        self._labels = np.asarray(labels, np.int64)
        if not 1 <= batch_size <= len(self._labels):
            raise ValueError(
                f"batch_size must be from 1 to {len(self._labels)}. Received: {batch_size}"
            )
        self._batch_size = batch_size
        self._random = np.random.default_rng(seed)
        self._order = self._random.permutation(len(self._labels))
        self._position = 0

    def sample(self) -> tuple[np.ndarray, np.ndarray]:
        """Draws the next batch.

        Returns:
            indices int64 `[batch]` and targets int64 `[batch, 2]` = (class, class): to methods
            without clusters every class is one.
        """
        if self._position + self._batch_size > len(self._order):
            self._order = self._random.permutation(len(self._labels))
            self._position = 0
        indices = self._order[self._position : self._position + self._batch_size]
        self._position += self._batch_size
        labels = self._labels[indices]
        return indices, np.stack([labels, labels], axis=1)

    def update_losses(self, indices: np.ndarray, losses: np.ndarray) -> None:
        """Losses do not change the order."""

    def state(self) -> dict[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""
        return {
            "order": self._order,
            "position": np.array(self._position),
            "random": np.array(json.dumps(self._random.bit_generator.state)),
        }

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken.

        Args:
            state: as given by `state()` of a source of the same data.

        Raises:
            ValueError: if it does not fit these data.
        """
        order = np.asarray(state["order"])
        if order.shape != self._labels.shape:
            raise ValueError(
                f"state must be of {len(self._labels)} examples. Received: {len(order)}"
            )
        self._order, self._position = order, int(state["position"])
        self._random.bit_generator.state = json.loads(str(state["random"]))
