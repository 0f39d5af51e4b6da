"""A data set, and a validation split from its training data."""

import dataclasses
import zlib
from dataclasses import dataclass

import numpy as np
from sklearn.model_selection import train_test_split

from clustr_tf.data.image_store import Images, in_parts, subset
from clustr_tf.run.errors import InputError


@dataclass(frozen=True)
class Dataset:
    """Images and labels of one data set, as stored: uint8, not augmented, not standardised.

    Images are arrays, or `StoredImages` on disk, whose parts are read by indices as an array's.

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
    train_images: Images
    train_labels: np.ndarray
    validation_images: Images
    validation_labels: np.ndarray
    test_images: Images
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
        checksum = zlib.crc32(np.ascontiguousarray(self.train_labels).data)
        for part in in_parts(self.train_images):
            checksum = zlib.crc32(np.ascontiguousarray(part).data, checksum)
        return checksum


def check_hold_out(examples: int, seed: int) -> None:
    """Refuses what `hold_out` refuses of any data.

    Raises:
        ValueError: if a number is out of its range.
    """
    if examples < 0:
        raise ValueError(f"validation_examples must be at least 0. Received: {examples}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"validation_seed must be in 0..2**32-1. Received: {seed}")


def stratified(
    labels: np.ndarray, classes: int, examples: int, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Sorted indices that stay, and `examples` others that every class gives its share of.

    None if a class would give none, or have none left.
    """
    splits = None
    if np.bincount(labels, minlength=classes).min() > 1 and (
        classes <= examples <= len(labels) - classes
    ):
        splits = train_test_split(
            np.arange(len(labels)), test_size=examples, stratify=labels, random_state=seed
        )
    # A class far smaller than the others can be held out whole.
    if splits is None or np.bincount(labels[splits[0]], minlength=classes).min() == 0:
        return None
    kept, held = (np.sort(indices) for indices in splits)
    return kept, held


def hold_out(dataset: Dataset, examples: int, seed: int) -> Dataset:
    """Moves training images into the validation split, each class in its share.

    The images that remain, and those held out, keep the order they had. Mean and standard
    deviation stay those of the whole training data.

    Args:
        dataset: the data, whose validation split is empty.
        examples: how many images to hold out, at least 0.
        seed: decides which; 0 to 2**32 - 1.

    Returns:
        The data with `examples` validation images.

    Raises:
        ValueError: if a number is out of its range.
        InputError: if the images are fewer than the classes, or leave a class none to train on.

    Example:
        >>> hold_out(digits(), examples=137, seed=0).validation_images.shape  # (137, 8, 8, 1)
    """
    check_hold_out(examples, seed)
    if examples == 0:
        return dataset
    labels, classes = dataset.train_labels, dataset.num_classes
    splits = stratified(labels, classes, examples, seed)
    if splits is None:
        raise InputError(
            f"config.dataset.validation_examples must be 0, or at least {classes} (one a class) "
            f"and leave every class of the {len(labels)} training images at least one. "
            f"Received: {examples}"
        )
    kept, held = splits
    return dataclasses.replace(
        dataset,
        train_images=subset(dataset.train_images, kept),
        train_labels=labels[kept],
        validation_images=subset(dataset.train_images, held),
        validation_labels=labels[held],
    )
