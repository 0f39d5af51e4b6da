"""Images and classes as models and attacks take them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def to_pixels(images: Any) -> Any:
    """Images as float32 pixels; stored uint8 images become multiples of 1/255 in [0, 1].

    Args:
        images: uint8, or floats that are pixels already, any shape; a tensor or what NumPy takes.

    Returns:
        float32 of the same shape: a tensor of a tensor, else an array.

    Example:
        >>> to_pixels(np.array([0, 255], np.uint8))  # [0., 1.]
    """
    if tf.is_tensor(images):
        pixels = tf.cast(images, tf.float32)
        return pixels / 255 if images.dtype == tf.uint8 else pixels
    images = np.asarray(images)
    pixels = images.astype(np.float32, copy=False)
    return pixels / np.float32(255) if images.dtype == np.uint8 else pixels


def checked_examples(
    images: Any, labels: Any, log_scores: Callable[[tf.Tensor], tf.Tensor]
) -> tuple[np.ndarray, np.ndarray]:
    """Images and classes as arrays that an attack takes.

    Args:
        images: `[N, H, W, C]` in [0, 1], or uint8, which stand for multiples of 1/255.
        labels: whole numbers `[N]` in 0..classes-1.
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.

    Returns:
        images float32 or uint8 `[N, H, W, C]` and labels int64 `[N]`.

    Raises:
        ValueError: if shapes differ, images are not finite in [0, 1], or labels no classes.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    if images.dtype != np.uint8:
        images = images.astype(np.float32, copy=False)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "images must be [N, H, W, C] and labels [N], N at least 1. "
            f"Received: shapes {images.shape} and {labels.shape}"
        )
    stored = images.dtype == np.uint8
    if not (stored or (np.isfinite(images).all() and images.min() >= 0 and images.max() <= 1)):
        raise ValueError(
            f"images must be finite in [0, 1]. Received: {images.min()} to {images.max()}"
        )
    most = log_scores(tf.constant(to_pixels(images[:1]))).shape[-1] - 1
    wrong = labels
    if labels.dtype.kind in "biuf":
        wrong = labels[~((labels == np.floor(labels)) & (labels >= 0) & (labels <= most))]
    if len(wrong):
        raise ValueError(
            f"labels must be whole numbers from 0 to {most}. Received: {wrong[:1].item()!r}"
        )
    return images, labels.astype(np.int64)
