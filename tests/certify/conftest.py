"""A classifier of one pixel, whose certificates can be worked out by hand."""

import keras
import numpy as np
import pytest

from clustr_tf.classifier import Classifier
from clustr_tf.data import Dataset
from clustr_tf.layers import ClusteringHead


@pytest.fixture
def classifier_with():
    """Layer on the pixel, head -> classifier; without a head the clusters are at 0 and 1."""

    def build(layer, head=None):
        inputs = keras.Input((1, 1, 1))
        backbone = keras.Model(inputs, keras.layers.Flatten()(layer(inputs)))
        classifier = Classifier(backbone, head or ClusteringHead(2, 1), mean=[0.0], std=[1.0])
        if head is None:
            classifier.head.set_clusters([[0.0], [1.0]], variance=0.5)
        return classifier

    return build


@pytest.fixture
def dataset():
    """Pixels 0.2, 0.451, 0.902 and 0.949 of the classes 0, 0, 1 and 0."""
    images = np.array([51, 115, 230, 242], np.uint8).reshape(-1, 1, 1, 1)
    labels = np.array([0, 0, 1, 0])
    nothing = images[:0], labels[:0]
    return Dataset(
        "four pixels", *nothing, *nothing, images, labels, ("dark", "bright"), (0.0,), (1.0,)
    )
