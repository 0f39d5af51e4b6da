"""The projection onto the unit ball."""

import keras
import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clustr_tf.layers import UnitBall

VECTORS = arrays(np.float64, (2, 5), elements=st.floats(-1e3, 1e3))


def test_by_hand():
    """Norm 5 becomes 1, norm 0.5 and 0 stay."""
    points = np.array([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    expected = [[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]
    np.testing.assert_allclose(UnitBall(dtype="float64")(points), expected, rtol=1e-15)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(VECTORS)
def test_no_two_points_come_further_apart(vectors):
    """What makes it 1-Lipschitz; x / |x| is not: 1e-3 and -1e-3 would be 2 apart."""
    projected = UnitBall(dtype="float64")(vectors).numpy()
    before, after = (np.linalg.norm(pair[0] - pair[1]) for pair in (vectors, projected))
    assert after <= before * (1 + 1e-9) + 1e-12
    assert np.linalg.norm(projected, axis=1).max() <= 1 + 1e-12


def test_the_gradient_is_that_of_the_projection():
    """Of y1 at (3, 4): (1 - y1^2, -y1 y2) / 5 = (0.128, -0.096); at (0.3, 0.4) and 0 (1, 0)."""
    points = tf.constant([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(points)
        first = UnitBall(dtype="float64")(points)[:, 0]
    gradients = tape.gradient(first, points)
    np.testing.assert_allclose(gradients, [[0.128, -0.096], [1, 0], [1, 0]], rtol=1e-12)


def test_travels_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((2,)), UnitBall()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(np.array([[3.0, 4.0]])), [[0.6, 0.8]], rtol=1e-6)
