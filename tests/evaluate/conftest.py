"""A classifier of the digits that needs no training: its clusters are the means of the classes."""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

from clustr_tf.attacks import PGD
from clustr_tf.classifier import Classifier
from clustr_tf.data.dataset import Dataset
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.layers import ClusteringHead


@pytest.fixture(scope="session")
def digits():
    """1437 training images, 360 test images."""
    source = load_digits()
    images = np.round(source.images[..., None] * (255 / 16)).astype(np.uint8)
    labels = source.target.astype(np.int64)
    names = tuple(map(str, range(10)))
    empty = images[:0], labels[:0]
    train, test = (images[:1437], labels[:1437]), (images[1437:], labels[1437:])
    return Dataset("digits", *train, *empty, *test, names, mean=(0.0,), std=(1.0,))


@pytest.fixture(scope="session")
def classifier_with(digits):
    """Head -> a classifier whose embeddings are the pixels, its clusters the classes' means."""

    def build(head):
        inputs = keras.Input(digits.image_shape)
        backbone = keras.Model(inputs, keras.layers.Flatten()(inputs))
        classifier = Classifier(backbone, head, digits.mean, digits.std)
        if isinstance(head, ClusteringHead):
            pixels = digits.train_images.reshape(-1, 64) / 255
            means = [pixels[digits.train_labels == label].mean(axis=0) for label in range(10)]
            head.set_clusters(np.stack(means), 1.0)
        return classifier

    return build


@pytest.fixture(scope="session")
def classifier(classifier_with):
    """With a clustering head."""
    return classifier_with(ClusteringHead(10, 1))


@pytest.fixture(scope="session")
def plan():
    """Seconds of attacks."""
    return EvaluationPlan(
        PGD(eps=0.1, step_size=0.02, steps=10),
        examples=50,
        batch_size=20,
        apgd_steps=10,
        fab_steps=10,
        square_queries=50,
        paper_restarts=2,
        diagnostic_examples=20,
    )
