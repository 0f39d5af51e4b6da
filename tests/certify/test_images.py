"""Certified accuracy of a data set, counted by hand."""

import keras
import numpy as np
from keras.initializers import Constant

from clustr_tf.certify.certifier import NO_PROOF
from clustr_tf.certify.images import ProvedRadii, certify_images
from clustr_tf.certify.linf.boxes import LAYER_BOXES
from clustr_tf.certify.radii import INTERVALS, LIPSCHITZ, Radii
from clustr_tf.layers import ScaledAveragePooling2D


def test_l2_counts_what_is_right_and_proved_that_far():
    """float32(0.7) lies below 0.7 and does not reach it; 0 is no radius; the last one is wrong."""
    proved = ProvedRadii(
        key="soft",
        title="soft scores",
        labels=np.array([0, 0, 0, 1]),
        predictions=np.zeros(4, np.int64),
        radii=Radii(
            l2=np.array([0.7, 0.75, 0.0, 0.9], np.float32),
            linf=np.array([0.3, 0.0, 0.0, 0.9], np.float32),
        ),
        seconds=0.0,
    )
    assert proved.certified_accuracy(0.7) == 0.25
    assert proved.certified_accuracy(float(np.float32(0.7))) == 0.5
    assert proved.certified_accuracy(0.0) == 0.5
    assert proved.certified_accuracy(0.25, "linf") == 0.25
    assert proved.abstentions == 0.25


def test_each_image_has_the_larger_radius_of_two_proofs(classifier_with, dataset):
    """Clusters at pixels 0 and 1, one network that halves what the head sees of a clipped pixel.

    The identity: both proofs find |x - 0.5| in one pixel, and the Lipschitz bound is told first.
    ReLU(10 x - 4.8) clipped to [0, 1] turns at x = 0.53; its Lipschitz bound of 10 proves
    |clip - 0.5| / 10 at most, boxes all of |x - 0.53|, in l2 too as it is one pixel.
    """
    images, labels = np.tile(dataset.test_images, (200, 1, 1, 1)), np.tile(dataset.test_labels, 200)
    pixels = images.reshape(-1) / 255
    identity = certify_images(classifier_with(keras.layers.ReLU()), images, labels)
    for norm in ("l2", "linf"):
        np.testing.assert_allclose(getattr(identity.best.radii, norm), abs(pixels - 0.5), atol=1e-4)
        assert set(identity.sources(norm)) == {LIPSCHITZ}
    steep = keras.layers.Dense(
        1, kernel_initializer=Constant(10.0), bias_initializer=Constant(-4.8)
    )
    clip = keras.layers.ReLU(max_value=1.0)
    found = certify_images(classifier_with(lambda pixel: clip(steep(pixel))), images, labels)
    lipschitz, boxes = found.proved
    assert (lipschitz.title, boxes.title) == (LIPSCHITZ, INTERVALS)
    slope = np.abs(np.clip(10 * pixels - 4.8, 0, 1) - 0.5) / 10
    np.testing.assert_allclose(lipschitz.radii.l2, slope, atol=1e-5)
    for norm in ("l2", "linf"):
        radii = getattr(found.best.radii, norm)
        np.testing.assert_allclose(radii, abs(pixels - 0.53), rtol=6e-4)
        assert np.all(radii < abs(pixels - 0.53))
        np.testing.assert_array_equal(radii, getattr(boxes.radii, norm))
        assert set(found.sources(norm)) == {INTERVALS}
    assert found.best.certified_accuracy(0.1, "linf") == np.mean(
        (abs(pixels - 0.53) > 0.1) & ((pixels > 0.53) == labels)
    )


def test_an_unknown_layer_leaves_the_lipschitz_bound(classifier_with, dataset, monkeypatch):
    monkeypatch.delitem(LAYER_BOXES, ScaledAveragePooling2D)
    classifier = classifier_with(ScaledAveragePooling2D(1))
    found = certify_images(classifier, dataset.test_images, dataset.test_labels)
    assert [proved.title for proved in found.proved] == [LIPSCHITZ]
    assert NO_PROOF not in found.sources("l2")
