"""The data sets: shapes, splits, statistics, refusals."""

import re

import numpy as np
import pytest
from absl import flags
from ml_collections import config_flags
from sklearn.datasets import load_digits

from clustr_tf.datasets import DatasetConfig, load_dataset, to_pixels
from clustr_tf.experiment import read_experiment
from configs import image_folder


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


def test_pixels_are_bytes_over_255():
    np.testing.assert_array_equal(
        to_pixels(np.array([0, 51, 255], np.uint8)), np.float32([0, 0.2, 1])
    )


@pytest.mark.parametrize("values", [{"name": "imagenet"}, {"name": "digits", "augmentation": "x"}])
def test_unknown_names_are_refused(values):
    with pytest.raises(ValueError, match=r"must be one of .* Received"):
        DatasetConfig(**values)


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"validation_examples": -1}, "validation_examples must be at least 0. Received: -1"),
        ({"validation_seed": -1}, "validation_seed must be in 0..2**32-1. Received: -1"),
        ({"validation_seed": 2**32}, "validation_seed must be in 0..2**32-1. Received: 4294967296"),
        ({"image_size": (8, 8)}, "image_size must be None for digits"),
        ({"name": "image_folder", "image_size": (8,)}, "image_size must be (height, width)"),
        ({"name": "image_folder", "image_size": (8, 0)}, "image_size must be (height, width)"),
    ],
)
def test_numbers_out_of_range_are_refused(values, line):
    with pytest.raises(ValueError, match=re.escape(line)):
        DatasetConfig(**{"name": "digits", **values})


def test_the_command_line_sets_an_image_size(monkeypatch):
    values = flags.FlagValues()
    arguments = ["test", "--config.dataset.image_size=4,6"]
    monkeypatch.setattr("sys.argv", arguments)
    config_flags.DEFINE_config_dict("config", image_folder.get_config(), flag_values=values)
    values(arguments)
    assert read_experiment(values.config.to_dict()).dataset.image_size == (4, 6)


def test_a_validation_split_is_held_out_of_the_training_data():
    whole = load_dataset(DatasetConfig("digits"))
    dataset = load_dataset(DatasetConfig("digits", validation_examples=137, validation_seed=3))
    assert (len(whole.validation_images), len(whole.validation_labels)) == (0, 0)
    assert (len(dataset.train_images), len(dataset.validation_images)) == (1300, 137)
    assert dataset.validation_images.shape == (137, 8, 8, 1)
    np.testing.assert_array_equal(dataset.test_images, whole.test_images)
    assert (dataset.mean, dataset.std) == (whole.mean, whole.std)
