"""The losses on scores of classes, by hand."""

import numpy as np
import tensorflow as tf

from clustr_tf.losses import (
    CONSISTENCIES,
    cross_entropy,
    kl_divergence,
    mean_squared_error,
    soft_cross_entropy,
)

# Log-scores of probabilities (1/2, 1/2) and (1/4, 3/4), each moved by a constant that changes none.
CLEAN = tf.math.log([[0.5, 0.5]]) + 3.0
MOVED = tf.math.log([[0.25, 0.75]]) - 5.0


def test_cross_entropy_is_minus_the_log_of_the_label_s_probability():
    found = cross_entropy(labels=tf.constant([0]), logits=MOVED)
    np.testing.assert_allclose(found, [np.log(4)], rtol=1e-6)


def test_soft_cross_entropy_and_divergence():
    """-(log 1/4 + log 3/4) / 2 = log(16/3) / 2; minus the entropy log 2 it is log(4/3) / 2."""
    np.testing.assert_allclose(soft_cross_entropy(CLEAN, MOVED), [np.log(16 / 3) / 2], rtol=1e-6)
    np.testing.assert_allclose(kl_divergence(CLEAN, MOVED), [np.log(4 / 3) / 2], rtol=1e-5)
    np.testing.assert_allclose(kl_divergence(CLEAN, CLEAN - 7.0), [0.0], atol=1e-6)


def test_mean_squared_error_averages_over_the_dimensions():
    found = mean_squared_error(tf.constant([[1.0, 2.0]]), tf.constant([[2.0, 5.0]]))
    np.testing.assert_allclose(found, [(1 + 9) / 2])


def test_only_the_squared_error_compares_embeddings():
    on_embeddings = {name: measure.on_embeddings for name, measure in CONSISTENCIES.items()}
    assert on_embeddings == {"cross_entropy": False, "kl": False, "mse": True}
