"""Images and classes as attacks take them."""

from typing import Any

import numpy as np


def checked_examples(images: Any, labels: Any) -> tuple[np.ndarray, np.ndarray]:
    """Images and classes as arrays that an attack takes.

    Args:
        images: `[N, H, W, C]` in [0, 1], or uint8, which stand for multiples of 1/255.
        labels: int `[N]`.

    Returns:
        images float32 or uint8 `[N, H, W, C]` and labels int64 `[N]`.

    Raises:
        ValueError: if shapes differ or images are not finite in [0, 1].
    """
    images, labels = np.asarray(images), np.asarray(labels, np.int64)
    if images.dtype != np.uint8:
        images = images.astype(np.float32, copy=False)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "images must be [N, H, W, C] and labels [N], N at least 1. "
            f"Received: shapes {images.shape} and {labels.shape}"
        )
    whole = images.dtype == np.uint8
    if not (whole or (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1)):
        raise ValueError(
            f"images must be finite in [0, 1]. Received: {images.min()} to {images.max()}"
        )
    return images, labels


def as_pixels(images: np.ndarray) -> np.ndarray:
    """Images as the model takes them.

    Args:
        images: float in [0, 1], or uint8 in 0 to 255.

    Returns:
        float32 in [0, 1].

    Example:
        >>> as_pixels(np.array([255], np.uint8))  # [1.]
    """
    if images.dtype == np.uint8:
        return images.astype(np.float32) / 255
    return images.astype(np.float32, copy=False)
