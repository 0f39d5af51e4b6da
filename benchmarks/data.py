"""Random images: speed does not depend on what they show."""

import numpy as np

from clustr_tf.data.dataset import Dataset


def random_images(
    examples: int, classes: int = 10, test_examples: int = 250, held_out: int = 250
) -> Dataset:
    """A data set of the shape of CIFAR-10.

    Args:
        examples: training images.
        classes: how many classes, in turn.
        test_examples: test images.
        held_out: validation images.

    Returns:
        uint8 noise of 32x32x3.
    """
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, 32, 32, 3), np.uint8)
    few = rng.integers(0, 256, (test_examples, 32, 32, 3), np.uint8)
    labels = np.arange(examples) % classes
    return Dataset(
        name="random",
        train_images=images,
        train_labels=labels,
        validation_images=few[:held_out],
        validation_labels=labels[:held_out],
        test_images=few,
        test_labels=labels[:test_examples],
        class_names=tuple(str(label) for label in range(classes)),
        mean=(0.5, 0.5, 0.5),
        std=(0.29, 0.29, 0.29),
    )
