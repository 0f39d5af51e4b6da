"""Attack losses by hand."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks.losses import dlr, margin, targeted_dlr

LOGITS = np.array([[7.0, 1.0, 4.0, 3.0, -2.0]])


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (0, (4 - 7) / (7 - 3)),  # largest three: 7, 4, 3
        (2, (7 - 4) / (7 - 3)),
        (4, (7 + 2) / (7 - 3)),
    ],
)
def test_dlr(label, expected):
    np.testing.assert_allclose(dlr(tf.constant([label]), tf.constant(LOGITS)), [expected])


@pytest.mark.parametrize(
    ("label", "target", "expected"),
    [
        (0, 2, (4 - 7) / (7 - (3 + 1) / 2)),  # third and fourth: 3, 1
        (0, 4, (-2 - 7) / (7 - 2)),
        (3, 0, (7 - 3) / (7 - 2)),
    ],
)
def test_targeted_dlr(label, target, expected):
    found = targeted_dlr(tf.constant([label]), tf.constant([target]), tf.constant(LOGITS))
    np.testing.assert_allclose(found, [expected])


@pytest.mark.parametrize("scale", [1e-30, 1e-8, 1e8, 1e30])
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_neither_scale_nor_shift_matter(scale, shift):
    """Also of gradients, times the scale."""
    logits = tf.constant((LOGITS + shift) * scale, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        ratio = dlr(tf.constant([0]), logits)
    np.testing.assert_allclose(ratio, [-0.75], rtol=1e-4)
    # d/dz of (z2 - z0) / (z0 - z3) at 7, 4, 3: (-1/4 - 3 * -1/16..) by the quotient rule:
    # z0: (-1 * 4 - (-3) * 1) / 16, z2: 1/4, z3: (-3) * 1 / 16.
    expected = np.array([[-1 / 16, 0, 1 / 4, -3 / 16, 0]])
    np.testing.assert_allclose(tape.gradient(ratio, logits) * scale, expected, rtol=1e-3, atol=1e-6)


def test_three_classes_take_the_third_as_unit():
    logits = tf.constant([[4.0, 3.0, 2.0]])
    np.testing.assert_allclose(targeted_dlr(tf.constant([0]), tf.constant([2]), logits), [-1])


def test_two_classes_have_the_plain_margin():
    logits, labels = tf.constant([[4.0, 1.0]]), tf.constant([0])
    np.testing.assert_allclose(dlr(labels, logits), margin(labels, logits))
    np.testing.assert_allclose(targeted_dlr(labels, tf.constant([1]), logits), [-3])


def test_equal_logits_are_finite():
    logits = tf.constant([[2.0, 2.0, 2.0, 2.0, 1.0]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        ratio = dlr(tf.constant([4]), logits)
    np.testing.assert_allclose(ratio, [1.0])
    assert np.isfinite(tape.gradient(ratio, logits)).all()
