"""Augmentation: what it may and may not do to an image."""

import numpy as np
import tensorflow as tf

from clustr_tf.data.augmentation import crop_and_flip, unchanged

IMAGES = np.random.default_rng(0).uniform(size=(64, 6, 5, 3)).astype(np.float32)


def _all_crops(image, padding):
    padded = np.pad(image, [(padding, padding), (padding, padding), (0, 0)])
    for row in range(2 * padding + 1):
        for column in range(2 * padding + 1):
            crop = padded[row : row + 6, column : column + 5]
            yield (row, column, False), crop
            yield (row, column, True), crop[:, ::-1]


def test_every_result_is_one_of_the_possible_crops_and_all_kinds_occur():
    results = crop_and_flip(tf.constant(IMAGES), tf.constant([3, 4]), padding=2).numpy()
    assert results.shape == IMAGES.shape
    kinds = []
    for image, result in zip(IMAGES, results, strict=True):
        matching = [kind for kind, crop in _all_crops(image, 2) if np.array_equal(crop, result)]
        assert len(matching) == 1
        kinds += matching
    assert {kind[0] for kind in kinds} == {kind[1] for kind in kinds} == {0, 1, 2, 3, 4}
    assert 16 < sum(kind[2] for kind in kinds) < 48


def test_the_seed_decides():
    first, again, other = (
        crop_and_flip(tf.constant(IMAGES), tf.constant(seed)).numpy()
        for seed in ([0, 1], [0, 1], [0, 2])
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_unchanged_is_unchanged():
    np.testing.assert_array_equal(unchanged(tf.constant(IMAGES), tf.constant([0, 0])), IMAGES)
