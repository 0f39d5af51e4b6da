"""A small classifier, exported once for all tests of this folder."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.backbones import build_backbone
from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.serve.saving import export_savedmodel
from tests.serve.double_client import Double

CLASSES, CLUSTERS = 3, 2


def draw_images(count, seed):
    """Images `[count, 8, 8, 1]` whose brightness goes through six levels."""
    noise = np.random.default_rng(seed).uniform(0.0, 0.3, (count, 8, 8, 1))
    levels = np.arange(count) % (CLASSES * CLUSTERS) / (CLASSES * CLUSTERS - 1)
    return (0.7 * levels[:, None, None, None] + noise).astype(np.float32)


@pytest.fixture(scope="session")
def images():
    return draw_images(64, seed=1)


@pytest.fixture(scope="session")
def classifier():
    """Random weights; each brightness level is a cluster."""
    keras.utils.set_random_seed(7)
    backbone = build_backbone("small_cnn", (8, 8, 1), width=4)
    head = ClusteringHead(CLASSES, CLUSTERS)
    model = Classifier(backbone, head, mean=[0.5], std=[0.25])
    embeddings = keras.ops.convert_to_numpy(model.embed(draw_images(60, seed=0)))
    by_cluster = embeddings.reshape(10, CLASSES * CLUSTERS, -1)
    centroids = by_cluster.mean(axis=0)
    variance = np.sum((by_cluster - centroids) ** 2, dtype=np.float64) / 59
    head.set_clusters(centroids, variance)
    return model


@pytest.fixture(scope="session")
def bound(classifier):
    return lipschitz_bound(classifier.embedder)


@pytest.fixture(scope="session")
def version(classifier, bound, tmp_path_factory):
    """The folder of the exported version."""
    return export_savedmodel(classifier, tmp_path_factory.mktemp("models") / "clustr", bound)


@pytest.fixture(scope="session")
def signatures(version):
    return tf.saved_model.load(str(version)).signatures


@pytest.fixture(scope="module")
def double(version):
    with Double(version) as running:
        yield running
