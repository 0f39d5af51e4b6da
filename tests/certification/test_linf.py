"""Certified l-infinity accuracy of a data set, counted by hand."""

import keras
import numpy as np

from clustr_tf.certification import certified_accuracy_linf
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead


def _classifier(layer):
    inputs = keras.Input((1, 1, 1))
    backbone = keras.Model(inputs, layer(keras.layers.Flatten()(inputs)))
    classifier = Classifier(backbone, ClusteringHead(2, 1), mean=[0.0], std=[1.0])
    classifier.head.set_clusters([[0.0], [1.0]], variance=0.5)
    return classifier


def test_counts_what_is_right_and_proved():
    """Clusters at pixels 0 and 1; eps 0.1: 0.2 and 0.9 stay, 0.45 turns, 0.95 is wrong.

    Eighty times over, so that there is more than one batch.
    """
    images = np.tile(np.array([51, 115, 230, 242], np.uint8), 80).reshape(-1, 1, 1, 1)
    labels = np.tile([0, 0, 1, 0], 80)
    classifier = _classifier(keras.layers.ReLU())
    assert certified_accuracy_linf(classifier, images, labels, 0.1) == 0.5
    assert certified_accuracy_linf(classifier, images, labels, 0.0) == 0.75


def test_an_unknown_layer_has_no_figure():
    images, labels = np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64)
    classifier = _classifier(keras.layers.UnitNormalization())
    assert certified_accuracy_linf(classifier, images, labels, 0.1) is None
