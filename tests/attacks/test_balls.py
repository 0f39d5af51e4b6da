"""The projection onto a ball against CleverHans and NumPy."""

import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta

from clustr_tf.attacks.balls import NORMS, projected

RNG = np.random.default_rng(0)
CENTRES = RNG.uniform(size=(50, 3, 4, 2)).astype(np.float32)
# Of every size from far inside the balls to far outside, and none at all.
SIZES = np.geomspace(1e-4, 10, 50).reshape(-1, 1, 1, 1) * (np.arange(50) > 0).reshape(-1, 1, 1, 1)
PERTURBATIONS = (SIZES * RNG.normal(size=CENTRES.shape)).astype(np.float32)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("eps", [0.0, 1e-3, 8 / 255, 0.5, 3.0])
@pytest.mark.parametrize("traced", [False, True])
def test_numbers_of_cleverhans_called_eagerly(norm, eps, traced):
    """Difference 0, also in a graph, where its own division would be rewritten."""
    centres, perturbations = tf.constant(CENTRES), tf.constant(PERTURBATIONS)
    cut = clip_eta(perturbations, NORMS[norm], tf.constant(eps))
    expected = tf.clip_by_value(centres + cut, 0.0, 1.0)
    project = tf.function(projected) if traced else projected
    found = project(centres, perturbations, tf.constant(eps), NORMS[norm])
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("eps", [1e-8, 1e-6, 0.1])
def test_l2_is_the_nearest_point_of_the_ball(eps):
    """By hand: what is longer ends on the sphere, also on the smallest; the rest stays."""
    perturbations = np.array([[0.3, 0.4], [0.6 * eps, 0.2 * eps], [0.0, 0.0]])
    expected = np.array([[0.6 * eps, 0.8 * eps], [0.6 * eps, 0.2 * eps], [0.0, 0.0]])
    images = tf.constant(perturbations.reshape(3, 1, 1, 2), tf.float32)
    found = projected(tf.zeros_like(images), images, eps, 2)
    np.testing.assert_allclose(found.numpy().reshape(3, 2), expected, rtol=1e-6, atol=0)
