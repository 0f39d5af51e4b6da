"""Certified accuracy of a data set, counted by hand."""

import keras
import numpy as np

from clustr_tf.certify.images import ProvedRadii, certified_accuracy_linf
from clustr_tf.certify.radii import soft_score_proof


def test_l2_counts_what_is_right_and_proved_that_far():
    """float32(0.7) lies below 0.7 and does not reach it; 0 is no radius; the last one is wrong."""
    proved = ProvedRadii(
        proof=soft_score_proof(None),
        labels=np.array([0, 0, 0, 1]),
        predictions=np.zeros(4, np.int64),
        radius_l2=np.array([0.7, 0.75, 0.0, 0.9], np.float32),
        seconds=0.0,
    )
    assert proved.certified_accuracy(0.7) == 0.25
    assert proved.certified_accuracy(float(np.float32(0.7))) == 0.5
    assert proved.certified_accuracy(0.0) == 0.5
    assert proved.abstentions == 0.25


def test_linf_counts_what_is_right_and_proved(classifier_with, dataset):
    """Clusters at pixels 0 and 1; eps 0.1: 0.2 and 0.9 stay, 0.45 turns, 0.95 is wrong.

    Two hundred times over, so that there is more than one batch.
    """
    images, labels = np.tile(dataset.test_images, (200, 1, 1, 1)), np.tile(dataset.test_labels, 200)
    classifier = classifier_with(keras.layers.ReLU())
    assert certified_accuracy_linf(classifier, images, labels, 0.1) == 0.5
    assert certified_accuracy_linf(classifier, images, labels, 0.0) == 0.75


def test_an_unknown_layer_has_no_linf_figure(classifier_with, dataset):
    classifier = classifier_with(keras.layers.UnitNormalization())
    images, labels = dataset.test_images, dataset.test_labels
    assert certified_accuracy_linf(classifier, images, labels, 0.1) is None
