"""One training step against a derivation by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.losses import MagnetLoss
from clustr_tf.methods import Clustr, FreeAT
from clustr_tf.run.distribution import Replicas
from clustr_tf.train.step import build_step, no_perturbation

IMAGES = np.array([[0, 51], [102, 0], [255, 204], [153, 255]], np.uint8).reshape(4, 1, 2, 1)
TARGETS = np.array([[0, 0], [0, 0], [1, 1], [1, 1]])
RATE = 0.5


def _linear_classifier(head=None):
    """Embedding = W^T x of the two pixels, not standardised."""
    inputs = keras.Input((1, 2, 1))
    dense = keras.layers.Dense(2, use_bias=False, name="dense")
    backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    dense.kernel.assign([[1.0, 0.5], [-0.5, 2.0]])
    return Classifier(backbone, head or ClusteringHead(2, 1), mean=[0.0], std=[1.0])


def _run_step(classifier, alpha, augment=lambda images, seed: images):
    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(classifier.trainable_variables)
    method = Clustr(alpha=alpha)
    replicas = Replicas(tf.distribute.get_strategy())
    step = build_step(classifier, method, optimizer, augment, replicas)
    perturbation = no_perturbation(method, len(IMAGES), (1, 2, 1))
    assert perturbation.shape == (0, 1, 2, 1)
    remembered, parts, _ = step(
        tf.constant(IMAGES),
        tf.constant(TARGETS),
        tf.constant([0, 0]),
        tf.constant(perturbation),
        tf.constant(0.0),
    )
    return remembered, parts


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


@pytest.mark.parametrize(("warmup", "share"), [(0.0, 1.0), (0.5, 0.4), (0.1, 1.0)])
def test_free_training_replays_with_a_running_perturbation(warmup, share):
    """Two replays in NumPy: weights descend and the perturbation ascends by the same gradients.

    Cross-entropy of a dense layer V on z = W^T (x + delta): with p = softmax(V^T z) and the
    one-hot label y, dCE/dz = V (p - y). The perturbation of the batch's rows moves by eps*sign,
    stays in the eps-ball and keeps the pixels in [0, 1]; the fifth row waits for larger batches.
    A fifth of the training is done: of a warm-up over half of it two fifths.
    """
    eps, progress = 0.15, 0.2
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(2, 2)).astype(np.float32).astype(np.float64)
    start = rng.uniform(-eps, eps, size=(5, 2)).astype(np.float32).astype(np.float64)
    classifier = _linear_classifier(keras.layers.Dense(2))
    classifier.head.kernel.assign(dense)
    weights = keras.ops.convert_to_numpy(classifier.trainable_variables[0]).astype(np.float64)
    bias = np.zeros(2)
    pixels, labels = IMAGES.reshape(4, 2) / 255.0, np.eye(2)[TARGETS[:, 0]]

    delta = start.copy()
    for _ in range(2):
        inside = np.clip(delta[:4], -pixels, 1 - pixels)
        embeddings = (pixels + inside) @ weights
        scores = np.exp(embeddings @ dense + bias)
        wrong = (scores / scores.sum(axis=1, keepdims=True) - labels) / 4
        ascent = wrong @ dense.T @ weights.T
        assert np.abs(ascent).min() > 1e-6
        steps = (pixels + inside).T @ wrong @ dense.T, embeddings.T @ wrong, wrong.sum(axis=0)
        weights, dense, bias = (
            weights - RATE * steps[0],
            dense - RATE * steps[1],
            bias - RATE * steps[2],
        )
        moved = np.clip(inside + share * eps * np.sign(ascent), -share * eps, share * eps)
        delta[:4] = np.clip(moved, -pixels, 1 - pixels)

    optimizer = keras.optimizers.SGD(RATE)
    optimizer.build(classifier.trainable_variables)
    method = FreeAT(eps=eps, replays=2, warmup=warmup)
    replicas = Replicas(tf.distribute.get_strategy())
    step = build_step(classifier, method, optimizer, lambda images, seed: images, replicas)
    assert no_perturbation(method, 5, (1, 2, 1)).shape == (5, 1, 2, 1)
    _, _, perturbation = step(
        tf.constant(IMAGES),
        tf.constant(TARGETS),
        tf.constant([0, 0]),
        tf.constant(start.reshape(5, 1, 2, 1), tf.float32),
        tf.constant(progress),
    )
    np.testing.assert_allclose(perturbation.numpy().reshape(5, 2), delta, atol=1e-6)
    trained = [keras.ops.convert_to_numpy(v) for v in classifier.trainable_variables]
    for ours, expected in zip(trained, (weights, dense, bias), strict=True):
        np.testing.assert_allclose(ours, expected, atol=1e-5)
