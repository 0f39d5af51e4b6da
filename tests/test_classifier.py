"""The classifier: standardisation inside, one embedding for everything, saved without trouble."""

import keras
import numpy as np
import pytest
from scipy.special import logsumexp

from clustr_tf.backbones import build_backbone
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead

CENTROIDS = np.random.default_rng(0).normal(size=(6, 64))


@pytest.fixture
def classifier():
    keras.utils.set_random_seed(0)
    head = ClusteringHead(3, 2)
    model = Classifier(
        build_backbone("small_cnn", (8, 8, 2), width=4), head, mean=[0.2, 0.6], std=[0.5, 0.25]
    )
    head.set_clusters(CENTROIDS, 3.0)
    return model


@pytest.fixture
def images():
    return np.random.default_rng(1).uniform(size=(5, 8, 8, 2)).astype(np.float32)


def test_embeds_standardised_pixels(classifier, images):
    """(x - mean) / std per channel, then the backbone."""
    standardised = (images - [0.2, 0.6]) / [0.5, 0.25]
    expected = classifier.backbone(standardised.astype(np.float32))
    np.testing.assert_allclose(classifier.embed(images), expected, rtol=1e-5, atol=1e-6)


def test_log_scores_by_the_formula(classifier, images):
    embeddings = np.asarray(classifier.embed(images), np.float64)
    distances = ((embeddings[:, None] - CENTROIDS) ** 2).sum(axis=2)
    expected = logsumexp(-distances.reshape(5, 3, 2) / 6.0, axis=2)
    np.testing.assert_allclose(classifier(images), expected, rtol=1e-4)


def test_training_mode_moves_batch_statistics_and_evaluation_does_not(classifier, images):
    variables = classifier.non_trainable_variables
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in variables]
    classifier.embed(images, training=False)
    assert all(np.array_equal(a, b) for a, b in zip(before, variables, strict=True))
    classifier.embed(images, training=True)
    assert any(not np.array_equal(a, b) for a, b in zip(before, variables, strict=True))


def test_survives_saving(classifier, images, tmp_path):
    classifier.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), classifier(images))
    assert again.image_shape == (8, 8, 2)
    assert len(again.variables) == len(classifier.variables)


@pytest.mark.parametrize(("mean", "std"), [([0.5], [1.0, 1.0]), ([0.5, 0.5], [1.0, 0.0])])
def test_bad_statistics_are_refused(mean, std):
    with pytest.raises(ValueError, match="Received: mean="):
        Classifier(build_backbone("small_cnn", (8, 8, 2)), ClusteringHead(3, 2), mean, std)
