"""CIFAR-10, CIFAR-100 and SVHN through TensorFlow Datasets."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from google.protobuf.json_format import ParseError
from tensorflow_datasets.core.download import downloader
from tensorflow_datasets.core.download.download_manager import NonMatchingChecksumError
from tensorflow_datasets.core.download.extractor import ExtractError

from clustr_tf.data.dataset import Dataset
from clustr_tf.data.image_store import Images, keep
from clustr_tf.run.errors import InputError, first_line

_BATCH = 1000
_RETRIES = 3


class _Statistics(NamedTuple):
    """Per-channel mean and standard deviation of pixels in [0, 1]."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


# Those of the official ClusTR code, with which the published figures were measured. It gives
# CIFAR-100 the statistics of CIFAR-10.
_CIFAR = _Statistics(mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))
_SVHN = _Statistics(mean=(0.4378, 0.4439, 0.4729), std=(0.1980, 0.2011, 0.1971))


def cifar10(
    data_dir: str | None = None, in_memory: bool = True, cache_dir: str | None = None
) -> Dataset:
    """50,000 training and 10,000 test images of 32x32x3 pixels, 10 classes.

    Args:
        data_dir: where TensorFlow Datasets keeps its data; None for its default. A prepared
            directory, or one with the original archives in `downloads/manual`, needs no network.
        in_memory: whether images are held in memory or on disk, as of `image_folder`.
        cache_dir: where on disk.

    Returns:
        The data set, in the order TensorFlow Datasets stores it.

    Raises:
        InputError: if the data are neither prepared nor can be fetched, or are damaged.

    Example:
        >>> cifar10().image_shape  # (32, 32, 3)

    Reference:
        Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009. Statistics: the
        official code of Alfarra et al., arXiv 2006.07682.
    """
    return _load("cifar10", data_dir, in_memory, cache_dir, _CIFAR)


def cifar100(
    data_dir: str | None = None, in_memory: bool = True, cache_dir: str | None = None
) -> Dataset:
    """50,000 training and 10,000 test images of 32x32x3 pixels, 100 classes; else as `cifar10`."""
    return _load("cifar100", data_dir, in_memory, cache_dir, _CIFAR)


def svhn_cropped(
    data_dir: str | None = None, in_memory: bool = True, cache_dir: str | None = None
) -> Dataset:
    """73,257 training and 26,032 test images of 32x32x3 pixels, 10 classes; else as `cifar10`.

    Reference:
        Netzer et al., "Reading Digits in Natural Images with Unsupervised Feature Learning", 2011.
    """
    return _load("svhn_cropped", data_dir, in_memory, cache_dir, _SVHN)


def _load(
    name: str,
    data_dir: str | None,
    in_memory: bool,
    cache_dir: str | None,
    statistics: _Statistics,
) -> Dataset:
    try:
        builder = tfds.builder(name, data_dir=data_dir)
        with _few_retries():
            builder.download_and_prepare()
        (train_images, train_labels), (test_images, test_labels) = (
            _kept(builder, split, in_memory, cache_dir) for split in ("train", "test")
        )
    except (
        OSError,
        tfds.download.DownloadError,
        ExtractError,
        NonMatchingChecksumError,
        ParseError,
        tf.errors.OpError,
    ) as error:
        raise InputError(
            f"config.dataset.name={name} could not be loaded ({first_line(error)}). Without a "
            "network set config.dataset.data_dir to a directory where TensorFlow Datasets has "
            "prepared it, or put its archive into downloads/manual there. "
            f"Received: data_dir={data_dir!r}"
        ) from error
    return Dataset(
        name=name,
        train_images=train_images,
        train_labels=train_labels,
        validation_images=train_images[:0],
        validation_labels=train_labels[:0],
        test_images=test_images,
        test_labels=test_labels,
        class_names=tuple(builder.info.features["label"].names),
        mean=statistics.mean,
        std=statistics.std,
    )


@contextlib.contextmanager
def _few_retries() -> Iterator[None]:
    """Without a network, ten retries with doubling waits would take minutes and a warning each."""
    logger = logging.getLogger("urllib3.connectionpool")
    retries, level = downloader.MAX_RETRIES, logger.level
    downloader.MAX_RETRIES = _RETRIES
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        downloader.MAX_RETRIES = retries
        logger.setLevel(level)


def _kept(
    builder: tfds.core.DatasetBuilder, split: str, in_memory: bool, cache_dir: str | None
) -> tuple[Images, np.ndarray]:
    """Images uint8 and labels int64 of a split, in the stored order."""

    def read(append: Callable[[np.ndarray], Any]) -> dict[str, np.ndarray]:
        labels = []
        for batch in tfds.as_numpy(builder.as_dataset(split=split, batch_size=_BATCH)):
            labels.append(batch["label"])
            for image in batch["image"]:
                append(image)
        return {"labels": np.concatenate(labels).astype(np.int64)}

    name = f"{builder.name}-{split}"
    key = {"data": builder.info.full_name, "data_dir": str(builder.data_dir), "split": split}
    take, found = keep(read, in_memory, cache_dir, name, lambda: key)
    return take(np.arange(len(found["labels"]))), found["labels"]
