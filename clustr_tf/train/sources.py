"""Where a step's images come from: arrays or files, drawn by index, or a stream."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import tensorflow as tf

from clustr_tf.data.batches import Batches
from clustr_tf.data.image_store import Images

Draw = tuple[np.ndarray, np.ndarray]


class Source(Protocol):
    """Gives the draws of a step, one for each replica, and their images.

    Attributes:
        dtype: of the images: uint8, which stand for multiples of 1/255, or float32 in [0, 1].
        steps: whole passes are so many steps; None if unknown or endless.
    """

    dtype: tf.DType
    steps: int | None

    def draw(self, replicas: int) -> list[Draw]:
        """A draw for each replica: (what tells its images, int64 targets `[batch, 2]`)."""

    def images(self, draw: Draw) -> np.ndarray:
        """The images of a draw, `[batch, H, W, C]`."""

    def remember(self, draws: list[Draw], losses: np.ndarray) -> None:
        """Hears of the losses of all replicas' draws, one after another."""

    def state(self) -> Mapping[str, np.ndarray]:
        """Everything the next draws depend on, as arrays that need no pickle."""

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Continues exactly where `state()` was taken."""


class ArraySource:
    """Images in memory or on disk, drawn by a source of indices.

    Args:
        images: uint8 or float32 `[N, H, W, C]`; of those on disk a step's are read ahead of it.
        batches: draws indices.
        batch: images of a draw.
        replicas: draws of a step.

    Example:
        >>> source = ArraySource(images, ShuffledBatches(labels, 32), batch=32, replicas=1)
        >>> source.images(*source.draw(1)).shape  # (32, H, W, C)
    """

    def __init__(self, images: Images, batches: Batches, batch: int, replicas: int):
        self._images, self._batches = images, batches
        self.dtype = tf.as_dtype(images.dtype)
        self.steps: int | None = max(len(images) // (batch * replicas), 1)

    def draw(self, replicas: int) -> list[Draw]:
        return [self._batches.sample() for _ in range(replicas)]

    def images(self, draw: Draw) -> np.ndarray:
        return self._images[draw[0]]

    def remember(self, draws: list[Draw], losses: np.ndarray) -> None:
        ends = np.cumsum([len(indices) for indices, _ in draws])
        for (indices, _), share in zip(draws, np.split(losses, ends[:-1]), strict=True):
            self._batches.update_losses(indices, share)

    def state(self) -> Mapping[str, np.ndarray]:
        return self._batches.state()

    def restore(self, state: dict[str, np.ndarray]) -> None:
        self._batches.restore(state)


class StreamSource:
    """Batches of a tf.data pipeline, which need not fit into memory; each is shared out.

    Neither losses nor the position in the pipeline are remembered. Several workers have to read
    the same batches in the same order.

    Args:
        dataset: batches (images, labels); it is begun again when it ends.
        image_shape: (H, W, C) that the classifier takes.
        classes: its classes.
        same_size: whether no batch may be larger than the first.

    Raises:
        ValueError: if the pipeline gives no such batches; by `draw`, if images are not uint8 or
            floats in [0, 1], labels are no classes, or a batch has the wrong number of images.

    Attributes:
        batch: images of the first batch.
    """

    def __init__(
        self,
        dataset: tf.data.Dataset,
        image_shape: tuple[int, int, int],
        classes: int,
        same_size: bool = False,
    ):
        spec = dataset.element_spec
        fits = (
            isinstance(spec, tuple)
            and len(spec) == 2
            and spec[0].shape.rank == 4
            and spec[1].shape.rank == 1
            and spec[0].shape[1:].is_compatible_with(image_shape)
        )
        if not fits:
            raise ValueError(
                f"a tf.data.Dataset must give batches (images [batch, {image_shape}], int labels "
                f"[batch]). Received: {spec}"
            )
        self.dtype = spec[0].dtype
        cardinality = int(dataset.cardinality())
        self.steps = cardinality if cardinality > 0 else None
        self.batch = spec[0].shape[0] or len(next(iter(dataset))[1])
        self._classes, self._same_size = classes, same_size
        self._pairs = _endless(dataset)

    def draw(self, replicas: int) -> list[Draw]:
        images, labels = next(self._pairs)
        most = self.batch if self._same_size else len(labels)
        if not replicas <= len(labels) <= most:
            raise ValueError(
                f"every batch must have {replicas} images or more, one a replica, and no more than "
                f"the first, {self.batch}, in free training. Received: {len(labels)}"
            )
        if images.dtype != np.uint8 and not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                "images must be uint8, or floats in [0, 1]: .map(lambda x, y: (x / 255, y)) makes "
                f"them so. Received: {images.min()} to {images.max()}"
            )
        if labels.dtype.kind not in "iu" or labels.min() < 0 or labels.max() >= self._classes:
            raise ValueError(
                f"labels must be whole numbers from 0 to {self._classes - 1}. "
                f"Received: {labels.dtype} from {labels.min()} to {labels.max()}"
            )
        targets = np.stack([labels, labels], axis=1).astype(np.int64)
        return list(
            zip(np.array_split(images, replicas), np.array_split(targets, replicas), strict=True)
        )

    def images(self, draw: Draw) -> np.ndarray:
        return draw[0]

    def remember(self, draws: list[Draw], losses: np.ndarray) -> None:
        """Nothing."""

    def state(self) -> Mapping[str, np.ndarray]:
        return {}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Begins anew."""


def _endless(dataset: tf.data.Dataset) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    while True:
        count = 0
        for images, labels in dataset.as_numpy_iterator():
            count += 1
            yield images, labels
        if not count:
            raise ValueError("the tf.data pipeline must have a batch or more. Received: none")
