"""What data sets of one's own share: test images drawn from the others, pixel statistics."""

import math

import numpy as np

from clustr_tf.data.dataset import stratified
from clustr_tf.run.errors import InputError

USUAL_TEST_SPLIT = 0.2


def check_test_split(test_split: float | None, test_seed: int) -> None:
    """Refuses shares and seeds out of range.

    Raises:
        ValueError: naming the field.
    """
    if test_split is not None and not 0 < test_split < 1:
        raise ValueError(f"test_split must be None or between 0 and 1. Received: {test_split}")
    if not 0 <= test_seed < 2**32:
        raise ValueError(f"test_seed must be in 0..2**32-1. Received: {test_seed}")


def drawn_test_images(
    source: str, labels: np.ndarray, classes: int, test_split: float | None, test_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sorted indices of training images that stay, and of those that become test images.

    Args:
        source: what messages call the data.
        labels: int64 `[N]`.
        classes: their number.
        test_split: share of the test images; None: `USUAL_TEST_SPLIT`.
        test_seed: decides which; each class gives its share.

    Raises:
        InputError: if a class is too small for that.
    """
    share = USUAL_TEST_SPLIT if test_split is None else test_split
    splits = stratified(labels, classes, round(share * len(labels)), test_seed)
    if splits is None:
        raise InputError(
            f"{source} has no test images, and config.dataset.test_split must give each of the "
            f"{classes} classes one and leave it one. Received: {share} of {len(labels)} images"
        )
    return splits


def pixel_sums(images: np.ndarray) -> np.ndarray:
    """Sums of the pixels of each channel and of their squares, int64 `[2, C]`.

    Args:
        images: uint8 `[..., C]`.
    """
    pixels = images.reshape(-1, images.shape[-1])
    squares = np.einsum("pc,pc->c", pixels, pixels, dtype=np.int64)
    return np.stack([pixels.sum(axis=0, dtype=np.int64), squares])


def pixel_statistics(
    source: str, sums: np.ndarray, pixels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation a channel, in [0, 1]: exact whole numbers, rounded once.

    Args:
        source: what messages call the data.
        sums: as of `pixel_sums`, of all training images.
        pixels: of all training images.

    Raises:
        InputError: if a channel has one value only.
    """
    totals, squares = sums.tolist()
    # Times (255 * pixels)^2.
    variances = [pixels * square - total**2 for total, square in zip(totals, squares, strict=True)]
    if min(variances) == 0:
        raise InputError(f"{source} must have more than one value in every channel of train/")
    unit = 255 * pixels
    means = tuple(total / unit for total in totals)
    return means, tuple(math.sqrt(variance) / unit for variance in variances)
