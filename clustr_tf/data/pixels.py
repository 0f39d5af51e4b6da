"""Images and classes as models and attacks take them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from clustr_tf.data.image_store import StoredImages, in_parts


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
) -> tuple[Any, np.ndarray]:
    """Images and classes as attacks and the training take them.

    Args:
        images: `[N, H, W, C]` in [0, 1], or uint8, which stand for multiples of 1/255; those on
            disk, `StoredImages` and memory-mapped arrays, stay there.
        labels: whole numbers `[N]` in 0..classes-1.
        log_scores: images `[batch, H, W, C]` -> logits `[batch, classes]`.

    Returns:
        images float32 or uint8 `[N, H, W, C]` and labels int64 `[N]`.

    Raises:
        ValueError: if shapes differ, images are not finite in [0, 1], or labels no classes.
    """
    labels = np.asarray(labels)
    if not isinstance(images, StoredImages):
        images = np.asarray(images)
        if images.dtype != np.uint8:
            images = images.astype(np.float32, copy=False)
    if images.ndim != 4 or labels.shape != images.shape[:1] or not len(labels):
        raise ValueError(
            "images must be [N, H, W, C] and labels [N], N at least 1. "
            f"Received: shapes {images.shape} and {labels.shape}"
        )
    if images.dtype != np.uint8:
        # Minimum and maximum are NaN where a value is.
        ends = [(part.min(), part.max()) for part in in_parts(images)]
        least, most = np.min(ends), np.max(ends)
        if not (least >= 0 and most <= 1):
            raise ValueError(f"images must be finite in [0, 1]. Received: {least} to {most}")
    most = log_scores(tf.constant(to_pixels(images[:1]))).shape[-1] - 1
    wrong = labels
    if labels.dtype.kind in "biuf":
        wrong = labels[~((labels == np.floor(labels)) & (labels >= 0) & (labels <= most))]
    if len(wrong):
        raise ValueError(
            f"labels must be whole numbers from 0 to {most}. Received: {wrong[:1].item()!r}"
        )
    return images, labels.astype(np.int64)
