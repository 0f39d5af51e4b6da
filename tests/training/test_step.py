"""One training step against a derivation by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.losses import MagnetLoss
from clustr_tf.objectives import ObjectiveConfig, build_objective
from clustr_tf.training.step import build_step

IMAGES = np.array([[0, 51], [102, 0], [255, 204], [153, 255]], np.uint8).reshape(4, 1, 2, 1)
TARGETS = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
RATE = 0.5


def _linear_classifier():
    """Embedding = W^T x of the two pixels, not standardised."""
    inputs = keras.Input((1, 2, 1))
    dense = keras.layers.Dense(2, use_bias=False, name="dense")
    backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.kernel.assign([[1.0, 0.5], [-0.5, 2.0]])
    return Classifier(backbone, ClusteringHead(2, 1), mean=[0.0], std=[1.0])


def _run_step(classifier, alpha, augment=lambda images, seed: images):
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(classifier.trainable_variables)
    step = build_step(
        classifier,
        build_objective(ObjectiveConfig("clustr", alpha=alpha)),
        optimizer,
        augment,
        tf.distribute.get_strategy(),
    )
    return step(tf.constant(IMAGES), tf.constant(TARGETS), tf.constant([0, 0]))


def test_descends_the_magnet_loss_of_the_pixels():
    """W <- W - rate * d(mean loss)/dW, the gradient by central differences in float64."""
    classifier = _linear_classifier()
    weights = keras.ops.convert_to_numpy(classifier.trainable_variables[0]).astype(np.float64)
    pixels = IMAGES.reshape(4, 2) / 255.0
    loss = MagnetLoss(alpha=30.0, dtype="float64")

    def value(candidate):
        return float(loss(TARGETS, pixels @ candidate))

    gradient = np.zeros_like(weights)
    for index in np.ndindex(weights.shape):
        offset = np.zeros_like(weights)
        offset[index] = 1e-6
        gradient[index] = (value(weights + offset) - value(weights - offset)) / 2e-6
    assert np.abs(gradient).max() > 1e-2

    remembered, parts = _run_step(classifier, alpha=30.0)
    after = keras.ops.convert_to_numpy(classifier.trainable_variables[0])
    np.testing.assert_allclose(after, weights - RATE * gradient, rtol=1e-4, atol=1e-5)
    assert float(parts["loss"]) == pytest.approx(value(weights), rel=1e-5)
    np.testing.assert_allclose(remembered.numpy().mean(), value(weights), rtol=1e-5)


def test_augments_the_pixels_in_the_unit_interval():
    seen = []

    def augment(images, seed):
        seen.append((images.dtype, seed.shape))
        return 1 - images

    classifier, mirrored = _linear_classifier(), _linear_classifier()
    # Embeddings of 1 - x are a point reflection of those of x: the magnet loss is the same.
    losses, _ = _run_step(classifier, alpha=30.0)
    augmented, _ = _run_step(mirrored, alpha=30.0, augment=augment)
    assert seen == [(tf.float32, (2,))]
    np.testing.assert_allclose(augmented, losses, rtol=1e-4)
