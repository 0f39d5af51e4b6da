"""Which share of a data set a proof covers."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.datasets import to_pixels

_BATCH = 250


def certified_share(
    prove: Callable[[tf.Tensor], tuple[Any, Any]], images: np.ndarray, labels: np.ndarray
) -> float:
    """Share of images that are classified correctly and whose class is proved to stay.

    Args:
        prove: float32 pixels `[batch, H, W, C]` -> classes `[batch]`, whether proved `[batch]`.
        images: uint8 `[N, H, W, C]`.
        labels: int64 `[N]`.

    Returns:
        The share.

    Example:
        >>> certified_share(lambda pixels: prove_all(pixels, eps=0.1), images, labels)
    """
    count = 0
    for start in range(0, len(images), _BATCH):
        part = slice(start, start + _BATCH)
        predicted, certified = prove(tf.constant(to_pixels(images[part])))
        count += int(np.sum(certified.numpy() & (predicted.numpy() == labels[part])))
    return count / len(images)
