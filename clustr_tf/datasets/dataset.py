"""A data set in memory."""

import zlib
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one data set, as stored: uint8, not augmented, not standardised.

    Attributes:
        name: what figures say they were measured on.
        train_images: uint8 `[N, H, W, C]`; the pixel is the value / 255.
        train_labels: int64 `[N]` in 0..classes-1.
        validation_images: uint8 `[V, H, W, C]`, held out of the training data, never trained on;
            V may be 0.
        validation_labels: int64 `[V]`.
        test_images: uint8 `[M, H, W, C]`.
        test_labels: int64 `[M]`.
        class_names: one name a class.
        mean: per-channel mean of the training pixels, in [0, 1]; of all training data, also of
            the part that is held out, so that it does not depend on the hold-out.
        std: per-channel standard deviation of the same pixels.
    """

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    validation_images: np.ndarray
    validation_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        height, width, channels = self.train_images.shape[1:]
        return height, width, channels

    @property
    def checksum(self) -> int:
        """CRC-32 of the training images and labels in their order."""
        labels = zlib.crc32(np.ascontiguousarray(self.train_labels).data)
        return zlib.crc32(np.ascontiguousarray(self.train_images).data, labels)


def to_pixels(images: np.ndarray) -> np.ndarray:
    """Stored uint8 images as float32 pixels in [0, 1].

    Args:
        images: uint8, any shape.

    Returns:
        float32 of the same shape, `images / 255`.

    Example:
        >>> to_pixels(np.array([0, 255], np.uint8))  # [0., 1.]
    """
    return images.astype(np.float32) / np.float32(255)
