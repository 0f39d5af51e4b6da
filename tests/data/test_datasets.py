"""The data sets by name, the embedded digits, and images as pixels."""

import inspect
import typing

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from clustr_tf.data import DATASETS, Dataset, hold_out, to_pixels
from clustr_tf.data.digits import digits


def test_digits_are_the_embedded_images_split_by_class():
    dataset = digits()
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


@pytest.mark.parametrize("kind", [np.asarray, tf.constant])
def test_pixels_are_bytes_over_255(kind):
    """51 is a fifth of 255. Floats are pixels already, whatever their precision."""
    pixels = to_pixels(kind(np.array([0, 51, 255], np.uint8)))
    assert pixels.dtype == np.float32
    np.testing.assert_array_equal(pixels, np.float32([0, 0.2, 1]))
    for dtype in (np.float16, np.float32, np.float64):
        pixels = to_pixels(kind(np.array([0, 0.5, 1], dtype)))
        assert pixels.dtype == np.float32
        np.testing.assert_array_equal(pixels, np.float32([0, 0.5, 1]))


def test_bytes_are_divided_in_float32():
    stored = np.arange(256, dtype=np.uint8)
    expected = np.array([np.float32(value) / np.float32(255) for value in range(256)])
    np.testing.assert_array_equal(to_pixels(stored), expected)
    np.testing.assert_array_equal(to_pixels(tf.constant(stored)), expected)


def test_a_validation_split_is_held_out_of_the_training_data():
    whole = digits()
    dataset = hold_out(whole, examples=137, seed=3)
    assert (len(whole.validation_images), len(whole.validation_labels)) == (0, 0)
    assert (len(dataset.train_images), len(dataset.validation_images)) == (1300, 137)
    assert dataset.validation_images.shape == (137, 8, 8, 1)
    np.testing.assert_array_equal(dataset.test_images, whole.test_images)
    assert (dataset.mean, dataset.std) == (whole.mean, whole.std)


PLACES = {"data_dir": str | None, "in_memory": bool, "cache_dir": str | None}
FIELDS = {
    "cifar10": PLACES,
    "cifar100": PLACES,
    "digits": {},
    "image_folder": {
        **PLACES,
        "image_size": tuple[int, int] | None,
        "resize": str,
        "color_mode": str | None,
        "on_bad_image": str,
        "test_split": float | None,
        "test_seed": int,
    },
    "npz": {"data_dir": str | None, "test_split": float | None, "test_seed": int},
    "svhn_cropped": PLACES,
}


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_parameters_say_their_types_and_have_defaults(name):
    """What a config may set of each; all is optional."""
    parameters = inspect.signature(DATASETS[name]).parameters
    hints = typing.get_type_hints(DATASETS[name])
    assert hints.pop("return") is Dataset
    assert {field: hints[field] for field in parameters} == FIELDS[name]
    assert all(parameter.default is not parameter.empty for parameter in parameters.values())
