"""NumPy files as data sets: what they hold comes back, everything else is one line."""

import numpy as np
import pytest

from clustr_tf.data import DATASETS
from clustr_tf.data.npz import npz
from clustr_tf.run.errors import InputError

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 4, 3, 1), np.uint8)
LABELS = np.arange(30) % 3
NAMES = np.array(["cat", "dog", "fox"])


def _file(tmp_path, **arrays):
    np.savez(tmp_path / "mine.npz", **arrays)
    return str(tmp_path / "mine.npz")


def test_images_labels_and_names_come_back(tmp_path):
    dataset = DATASETS["npz"](_file(tmp_path, images=IMAGES, labels=LABELS, class_names=NAMES))
    assert (dataset.name, dataset.class_names) == ("mine", ("cat", "dog", "fox"))
    assert np.bincount(dataset.train_labels).tolist() == [8] * 3
    assert np.bincount(dataset.test_labels).tolist() == [2] * 3
    every = np.concatenate([dataset.train_images, dataset.test_images])
    labels = [*dataset.train_labels, *dataset.test_labels]
    for image, label in zip(every, labels, strict=True):
        (number,) = np.flatnonzero((image == IMAGES).all(axis=(1, 2, 3)))
        assert label == number % 3
    pixels = dataset.train_images / 255
    np.testing.assert_allclose(dataset.mean, [pixels.mean()], rtol=1e-12)
    np.testing.assert_allclose(dataset.std, [pixels.std()], rtol=1e-12)


def test_grey_images_without_a_channel_and_chosen_test_images(tmp_path):
    path = _file(
        tmp_path,
        **{"images": IMAGES[..., 0], "labels": LABELS},
        **{"test_images": IMAGES[:5, ..., 0], "test_labels": LABELS[:5]},
    )
    dataset = npz(path)
    np.testing.assert_array_equal(dataset.train_images, IMAGES)
    np.testing.assert_array_equal(dataset.test_images, IMAGES[:5])
    assert dataset.class_names == ("0", "1", "2")
    with pytest.raises(ValueError, match=r"^test_split must be None"):
        npz(path, test_split=0.1)


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"images": IMAGES / 255}, "images must be uint8"),
        ({"images": IMAGES[:0]}, "images must be uint8"),
        ({"labels": LABELS / 1.0}, "labels must be whole numbers"),
        ({"labels": LABELS - 1}, "labels must be whole numbers"),
        ({"labels": LABELS[:5]}, "labels must be whole numbers"),
        ({"labels": 2 * LABELS}, "none of class 1"),
        ({"class_names": NAMES[:2]}, "class_names must be different names, one for each label"),
        ({"class_names": NAMES[[0, 0, 1]]}, "class_names must be different names"),
        ({"test_images": IMAGES[:, :2], "test_labels": LABELS}, "must be like images and labels"),
        ({"test_images": IMAGES}, "must have an array 'test_labels'"),
        ({"images": np.zeros_like(IMAGES)}, "more than one value in every channel"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, line):
    path = _file(tmp_path, **{"images": IMAGES, "labels": LABELS, **changes})
    with pytest.raises(InputError) as raised:
        npz(path)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


def test_other_files_are_refused(tmp_path):
    objects = _file(tmp_path, images=IMAGES, labels=LABELS, class_names=np.array([None]))
    (tmp_path / "text.npz").write_text("no file of NumPy")
    np.save(tmp_path / "one.npy", IMAGES)
    for path in (objects, tmp_path / "text.npz", tmp_path / "one.npy", tmp_path / "missing.npz"):
        with pytest.raises(InputError, match=r"^config\.dataset\.data_dir must be a \.npz file"):
            npz(str(path))
    with pytest.raises(ValueError, match=r"^data_dir must be the path"):
        npz()
