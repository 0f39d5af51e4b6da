"""A validation split from the training data."""

import dataclasses

import numpy as np
from sklearn.model_selection import train_test_split

from clustr_tf.datasets.dataset import Dataset
from clustr_tf.errors import InputError


def hold_out(dataset: Dataset, examples: int, seed: int) -> Dataset:
    """Moves training images into the validation split, each class in its share.

    The images that remain, and those held out, keep the order they had. Mean and standard
    deviation stay those of the whole training data.

    Args:
        dataset: the data, whose validation split is empty.
        examples: how many images to hold out; 0 for none.
        seed: decides which.

    Returns:
        The data with `examples` validation images.

    Raises:
        InputError: if the images are fewer than the classes, or leave a class none to train on.

    Example:
        >>> hold_out(digits(), examples=137, seed=0).validation_images.shape  # (137, 8, 8, 1)
    """
    if examples == 0:
        return dataset
    labels, classes = dataset.train_labels, dataset.num_classes
    splits = None
    if np.bincount(labels, minlength=classes).min() > 1 and (
        classes <= examples <= len(labels) - classes
    ):
        splits = train_test_split(
            np.arange(len(labels)), test_size=examples, stratify=labels, random_state=seed
        )
    # A class far smaller than the others can be held out whole.
    if splits is None or np.bincount(labels[splits[0]], minlength=classes).min() == 0:
        raise InputError(
            f"config.dataset.validation_examples must be 0, or at least {classes} (one a class) "
            f"and leave every class of the {len(labels)} training images at least one. "
            f"Received: {examples}"
        )
    kept, held = (np.sort(indices) for indices in splits)
    return dataclasses.replace(
        dataset,
        train_images=dataset.train_images[kept],
        train_labels=labels[kept],
        validation_images=dataset.train_images[held],
        validation_labels=labels[held],
    )
