"""At equal budgets our attacks leave no more than the Adversarial Robustness Toolbox's."""

import numpy as np
import pytest
import tensorflow as tf
from art.attacks.evasion import AutoProjectedGradientDescent, SquareAttack
from art.estimators.classification import TensorFlowV2Classifier
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from clustr_tf.attacks import APGD, Square

SHAPE = (16, 16, 1)  # their l2 Square needs more than 8x8
EPS = {"linf": 0.06, "l2": 0.7}


class Network(tf.Module):
    """An MLP that scikit-learn trained on the 8x8 digits, as logits of images of twice the size."""

    def __init__(self):
        super().__init__()
        digits = load_digits()
        pixels, labels = digits.data / 16, digits.target
        trained = MLPClassifier((64,), max_iter=60, random_state=0, early_stopping=True)
        trained.fit(pixels[:1400], labels[:1400])
        self._layers = [
            (tf.constant(weights, tf.float32), tf.constant(biases, tf.float32))
            for weights, biases in zip(trained.coefs_, trained.intercepts_, strict=True)
        ]
        images = pixels[1400:1600].reshape(-1, 8, 8, 1).astype(np.float32)
        images = images.repeat(2, axis=1).repeat(2, axis=2)
        right = np.argmax(self(tf.constant(images)), axis=1) == labels[1400:1600]
        self.images, self.labels = images[right], labels[1400:1600][right]

    def __call__(self, images, training=False):
        small = tf.nn.avg_pool2d(images, 2, 2, "VALID")
        hidden = tf.nn.relu(tf.reshape(small, [-1, 64]) @ self._layers[0][0] + self._layers[0][1])
        return hidden @ self._layers[1][0] + self._layers[1][1]

    def accuracy(self, images):
        return np.mean(np.argmax(self(tf.constant(images)), axis=1) == self.labels)


@pytest.fixture(scope="module")
def network():
    return Network()


@pytest.fixture(scope="module")
def estimator(network):
    return TensorFlowV2Classifier(
        network,
        nb_classes=10,
        input_shape=SHAPE,
        loss_object=tf.keras.losses.CategoricalCrossentropy(from_logits=True),
        clip_values=(0.0, 1.0),
    )


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    ("loss", "name"), [("ce", "cross_entropy"), ("dlr", "difference_logits_ratio")]
)
def test_apgd(network, estimator, norm, loss, name):
    """50 steps and one start each; theirs starts anywhere in the ball."""
    theirs = AutoProjectedGradientDescent(
        estimator,
        norm={"linf": np.inf, "l2": 2}[norm],
        eps=EPS[norm],
        eps_step=2 * EPS[norm],
        max_iter=50,
        nb_random_init=1,
        batch_size=200,
        loss_type=name,
        verbose=False,
    )
    left = network.accuracy(theirs.generate(network.images, network.labels))
    attack = APGD(network, SHAPE, norm, loss, steps=50)
    ours = network.accuracy(attack(network.images, network.labels, eps=EPS[norm]).numpy())
    assert 0 < ours < 0.9
    assert ours <= left + 0.01


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.* encountered in divide:RuntimeWarning")  # theirs
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square(network, estimator, norm):
    """500 queries each. Their l2 attack divides by 0 for some images: those it did not break."""
    theirs = SquareAttack(
        estimator,
        norm={"linf": np.inf, "l2": 2}[norm],
        eps=EPS[norm],
        max_iter=500,
        batch_size=200,
        verbose=False,
    )
    found = theirs.generate(network.images, network.labels)
    finite = np.isfinite(found).all(axis=(1, 2, 3), keepdims=True)
    assert finite.mean() > 0.5
    left = network.accuracy(np.where(finite, found, network.images))
    attack = Square(network, SHAPE, norm, queries=500)
    ours = network.accuracy(attack(network.images, network.labels, eps=EPS[norm]).numpy())
    assert 0 < ours < 0.95
    assert ours <= left + 0.01
