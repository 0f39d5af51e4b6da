"""The data sets: shapes, splits, statistics, refusals."""

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from clustr_tf.datasets import DatasetConfig, load_dataset, to_pixels
from clustr_tf.errors import InputError


def test_digits_are_the_embedded_images_split_by_class():
    dataset = load_dataset(DatasetConfig("digits"))
    source = load_digits()
    assert dataset.image_shape == (8, 8, 1)
    assert (len(dataset.train_labels), len(dataset.test_labels)) == (1437, 360)
    assert dataset.train_images.dtype == np.uint8
    # Together the two splits are the source, and each class keeps its share of 360/1797.
    together = np.concatenate([dataset.train_images, dataset.test_images])[..., 0]
    restored = np.sort(np.round(together.reshape(1797, 64) * (16 / 255)).astype(int), axis=0)
    np.testing.assert_array_equal(restored, np.sort(source.data.astype(int), axis=0))
    shares = np.bincount(dataset.test_labels) / np.bincount(source.target)
    np.testing.assert_allclose(shares, 360 / 1797, atol=0.005)
    assert dataset.mean[0] == pytest.approx(dataset.train_images.mean() / 255, rel=1e-5)
    assert dataset.std[0] == pytest.approx(dataset.train_images.std() / 255, rel=1e-5)


def test_cifar10_comes_through_tensorflow_datasets(tmp_path):
    with tfds.testing.mock_data(num_examples=12):
        dataset = load_dataset(DatasetConfig("cifar10", data_dir=str(tmp_path)))
    assert dataset.image_shape == (32, 32, 3)
    assert dataset.train_images.shape == (12, 32, 32, 3)
    assert dataset.train_labels.dtype == np.int64
    assert dataset.num_classes == 10


def test_pixels_are_bytes_over_255():
    np.testing.assert_array_equal(
        to_pixels(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1])
    )


@pytest.mark.parametrize("values", [{"name": "imagenet"}, {"name": "digits", "augmentation": "x"}])
def test_unknown_names_are_refused(values):
    with pytest.raises(ValueError, match=r"must be one of .* Received"):
        DatasetConfig(**values)


def test_without_a_network_cifar10_says_what_to_do(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("no route to host\nmore")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    with pytest.raises(InputError, match=r"no route to host\).*config.dataset.data_dir") as raised:
        load_dataset(DatasetConfig("cifar10", data_dir=str(tmp_path)))
    assert "\n" not in str(raised.value)
