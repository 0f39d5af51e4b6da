"""The best of all proofs for any Keras model, against radii worked out by hand."""

import keras
import numpy as np
import pytest
from keras import layers

import clustr_tf
from clustr_tf.certify import BISECTION, NO_PROOF

FACTOR = 2 ** (BISECTION.octaves / 2**BISECTION.halvings)


def two_pixels(activation=None):
    """Class 1 where x1 + x2 > 1: logits 0 and 3 (x1 + x2 - 1)."""
    dense = layers.Dense(2, activation=activation)
    model = keras.Sequential([keras.Input((1, 2, 1)), layers.Flatten(), dense])
    dense.set_weights([np.array([[0.0, 3.0], [0.0, 3.0]]), np.array([0.0, -3.0])])
    return model


@pytest.mark.parametrize("activation", [None, "softmax"])
def test_radii_of_a_plane_in_both_norms(activation):
    """|x1 + x2 - 1| is sqrt(2) times the l2 distance and twice the l-infinity distance."""
    images = np.random.default_rng(0).uniform(size=(50, 1, 2, 1)).astype("float32")
    found = clustr_tf.certified_radii(two_pixels(activation), images)
    sums = images.sum(axis=(1, 2, 3)).astype("float64") - 1
    np.testing.assert_array_equal(found.class_id, sums > 0)
    for radii, exact in ((found.l2, abs(sums) / np.sqrt(2)), (found.linf, abs(sums) / 2)):
        assert radii.dtype == np.float32
        assert np.all(radii < exact)
        np.testing.assert_allclose(radii, exact, rtol=1e-3, atol=1e-4)
    assert set(found.proof_l2) == {"Lipschitz bound"}
    assert np.all(found.linf <= found.l2)
    assert np.all(found.linf * np.sqrt(2) >= found.l2 * (1 - 1e-5))


def test_interval_bounds_help_l2_where_the_lipschitz_bound_is_loose():
    """Two layers that undo each other: 30 x then x / 30 by 30 equal units, turning at 0.5.

    The bound is their product, sqrt(30) * sqrt(30) times too large at most; boxes of one pixel are
    exact, and in one pixel l2 is l-infinity.
    """
    first, second = layers.Dense(30, activation="relu"), layers.Dense(2)
    model = keras.Sequential([keras.Input((1, 1, 1)), layers.Flatten(), first, second])
    first.set_weights([np.ones((1, 30)), np.linspace(0.0, 1.0, 30)])
    kernel = np.stack([np.zeros(30), np.full(30, 1 / 30)], axis=1)
    second.set_weights([kernel, np.array([0.0, -1.0])])  # the mean of x + b: turns at x = 0.5
    images = np.array([0.1, 0.4, 0.6, 0.9], "float32").reshape(-1, 1, 1, 1)
    found = clustr_tf.certified_radii(model, images)
    np.testing.assert_array_equal(found.class_id, [0, 0, 1, 1])
    exact = np.array([0.4, 0.1, 0.1, 0.4])
    for radii in (found.l2, found.linf):
        assert np.all(radii < exact + 1e-7)
        assert np.all(radii * FACTOR >= exact - 1e-4)


def test_8_bit_images_and_an_image_on_the_boundary():
    """51 / 255 + 204 / 255 = 1: nothing is proved of it, and it is said."""
    images = np.array([[51, 204], [0, 0]], np.uint8).reshape(2, 1, 2, 1)
    found = clustr_tf.certified_radii(two_pixels(), images)
    assert (found.l2[0], found.linf[0]) == (0, 0)
    assert (found.proof_l2[0], found.proof_linf[0]) == (NO_PROOF, NO_PROOF)
    np.testing.assert_allclose([found.l2[1], found.linf[1]], [0.5**0.5, 0.5], rtol=1e-3)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((0, 1, 2, 1)), r"images must be \[N, 1, 2, 1\], N at least 1"),
        (np.zeros((3, 2, 1, 1)), r"Received: shape \(3, 2, 1, 1\)"),
        (np.full((1, 1, 2, 1), 255.0), r"in \[0, 1\]. Received: 255.0 to 255.0"),
        (np.full((1, 1, 2, 1), np.nan), r"in \[0, 1\]. Received: nan to nan"),
    ],
)
def test_refuses_what_are_no_images(images, message):
    with pytest.raises(ValueError, match=message):
        clustr_tf.certified_radii(two_pixels(), images)


def test_an_unknown_layer_is_named():
    inputs = keras.Input((1, 2, 1))
    unknown = layers.UnitNormalization(name="strange")(layers.Flatten()(inputs))
    model = keras.Model(inputs, layers.Dense(2)(unknown))
    with pytest.raises(ValueError, match="'strange' must be of a type with a proved Lipschitz"):
        clustr_tf.certified_radii(model, np.zeros((1, 1, 2, 1)))
