"""Random images: speed does not depend on what they show."""

import numpy as np

from clustr_tf.data.dataset import Dataset

_CLASSES, _HELD_OUT = 10, 250


def random_images(examples: int, test_examples: int = 250) -> Dataset:
    """A data set of the shape of CIFAR-10.

    Args:
        examples: training images.
        test_examples: test images; 250 of them are the validation images too.

    Returns:
        uint8 noise of 32x32x3.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, 32, 32, 3), np.uint8)
    few = rng.integers(0, 256, (test_examples, 32, 32, 3), np.uint8)
    labels = np.arange(examples) % _CLASSES
    return Dataset(
        name="random",
        train_images=images,
        train_labels=labels,
        validation_images=few[:_HELD_OUT],
        validation_labels=labels[:_HELD_OUT],
        test_images=few,
        test_labels=labels[:test_examples],
        class_names=tuple(str(label) for label in range(_CLASSES)),
        mean=(0.5, 0.5, 0.5),
        std=(0.29, 0.29, 0.29),
    )
