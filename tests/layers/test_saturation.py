"""A clip with the gradient of the identity."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clustr_tf.attacks import pgd
from clustr_tf.layers import Saturation

VALUES = arrays(
    np.float32, 20, elements=st.floats(-(2.0**99), 2.0**99, width=32, allow_subnormal=False)
)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(values=VALUES)
def test_values_are_clipped_exactly_and_gradients_pass(values):
    inputs = tf.constant(values)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = tf.function(Saturation())(inputs)
    np.testing.assert_array_equal(outputs, np.clip(values, 0, 1))
    np.testing.assert_array_equal(tape.gradient(outputs, inputs), np.ones_like(values))


def test_travels_with_a_model(tmp_path):
    model = keras.Sequential([keras.Input((3,)), Saturation()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(np.array([[-1.0, 0.25, 3.0]])), [[0.0, 0.25, 1.0]])


@pytest.mark.parametrize(
    ("clip", "attacked"),
    [(lambda x: tf.clip_by_value(x, 0.0, 1.0), 0.2), (Saturation(), 0.35)],
    ids=["clip", "saturation"],
)
def test_attacks_see_beyond_the_ends(clip, attacked):
    """A pixel of 0.2 seen as clip(10 x - 3, 0, 1): nothing moves up to 0.3, at 0.35 0.5 is seen.

    Class 1 scores twice what is seen, class 0 scores 0.5. A clip has no gradient at 0.2, and PGD
    stays there; three steps of 0.05 along the identity's lead to the end of the ball.
    """

    def scores(pixels):
        seen = clip(10 * tf.reshape(pixels, [-1, 1]) - 3)
        return tf.concat([0.5 * tf.ones_like(seen), 2 * seen], axis=1)

    images = np.full((2, 1, 1, 1), 0.2, np.float32)
    found = pgd(scores, images, [0, 0], eps=0.15, step_size=0.05, steps=3, start=images)
    np.testing.assert_allclose(np.ravel(found), attacked, atol=1e-6)
