"""The digits that scikit-learn ships: real, embedded, offline."""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.pixels import to_pixels

_TEST_EXAMPLES = 360


def digits() -> Dataset:
    """1,797 handwritten digits of 8x8 pixels with 17 grey levels, 10 classes.

    The test split is fixed: 360 images, stratified by class. The grey levels 0..16 become uint8
    (16 -> 255).

    Returns:
        The data set; 1,437 training and 360 test images of shape 8x8x1.

    Example:
        >>> digits().image_shape  # (8, 8, 1)

    Reference:
        UCI ML repository, "Optical Recognition of Handwritten Digits" (test part).
    """
    source = load_digits()
    images = np.round(source.images[..., None] * (255 / 16)).astype(np.uint8)
    train_images, test_images, train_labels, test_labels = train_test_split(
        images,
        source.target.astype(np.int64),
        test_size=_TEST_EXAMPLES,
        stratify=source.target,
        random_state=0,
    )
    pixels = to_pixels(train_images)
    return Dataset(
        name="digits",
        train_images=train_images,
        train_labels=train_labels,
        validation_images=train_images[:0],
        validation_labels=train_labels[:0],
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(str(name) for name in source.target_names),
        mean=(float(pixels.mean()),),
        std=(float(pixels.std()),),
    )
