"""CIFAR-10 through TensorFlow Datasets."""

import numpy as np
import tensorflow_datasets as tfds

from clustr_tf.datasets.dataset import Dataset
from clustr_tf.errors import InputError

# The statistics of the official ClusTR code, which are those of the 50,000 training images.
_MEAN = (0.4914, 0.4822, 0.4465)
_STD = (0.2023, 0.1994, 0.2010)
_BATCH = 1000


def cifar10(data_dir: str | None = None) -> Dataset:
    """CIFAR-10: 50,000 training and 10,000 test images of 32x32x3 pixels, 10 classes.

    Args:
        data_dir: where TensorFlow Datasets keeps its data; None for its default. A prepared
            directory needs no network.

    Returns:
        The data set.

    Raises:
        InputError: if the data are neither prepared nor can be fetched.

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009.
    """
    builder = tfds.builder("cifar10", data_dir=data_dir)
    try:
        builder.download_and_prepare()
    except (OSError, tfds.download.DownloadError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            f"config.dataset.name=cifar10 could not be fetched ({first_line}). Set "
            "config.dataset.data_dir to a directory where TensorFlow Datasets has prepared it. "
            f"Received: data_dir={data_dir!r}"
        ) from error
    train_images, train_labels = _in_memory(builder, "train")
    test_images, test_labels = _in_memory(builder, "test")
    return Dataset(
        name="cifar10",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(builder.info.features["label"].names),
        mean=_MEAN,
        std=_STD,
    )


def _in_memory(builder: tfds.core.DatasetBuilder, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Images uint8 and labels int64 of a split, in the stored order."""
    batches = list(tfds.as_numpy(builder.as_dataset(split=split, batch_size=_BATCH)))
    images = np.concatenate([batch["image"] for batch in batches])
    labels = np.concatenate([batch["label"] for batch in batches])
    return images, labels.astype(np.int64)
