"""Robust accuracy: survivors only, whatever the batch."""

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks import ATTACK_LOSSES, PGD, apgd, evaluate_robustness, square
from clustr_tf.attacks.losses import margin

SHAPE = (2, 2, 1)


def _threshold_model(images):
    """Class 1 if the mean pixel is above 0.5: an l-infinity change of |mean - 0.5| breaks it."""
    score = tf.reduce_mean(images, axis=[1, 2, 3]) - 0.5
    return 10 * tf.stack([-score, score], axis=1)


def _images(means):
    return np.ones((len(means), *SHAPE), np.float32) * np.reshape(means, (-1, 1, 1, 1))


MEANS = np.array([0.1, 0.35, 0.45, 0.48, 0.52, 0.55, 0.65, 0.9, 0.2], np.float32)
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1])  # the last is misclassified


@pytest.mark.parametrize("losses", [("ce",), ("margin",), ("ce", "margin")])
@pytest.mark.parametrize("eps", [0.04, 0.1])
def test_breaks_exactly_what_the_known_margin_allows(losses, eps):
    """The model is linear: inside the margin nothing breaks, outside everything does."""
    config = PGD(eps=eps, step_size=eps / 4, steps=10, losses=losses)
    result = evaluate_robustness(_threshold_model, _images(MEANS), LABELS, config)
    expected = (np.abs(MEANS - 0.5) > eps) & ((MEANS > 0.5) == LABELS)
    np.testing.assert_array_equal(result.robust, expected)
    assert result.clean_accuracy == pytest.approx(8 / 9)
    assert result.robust_accuracy == pytest.approx(expected.mean())


@pytest.mark.parametrize("batch_size", [1, 2, 4, 100])
def test_the_batch_size_does_not_matter(batch_size):
    config = PGD(eps=0.1, step_size=0.001, steps=3, restarts=4)
    reference = evaluate_robustness(_threshold_model, _images(MEANS), LABELS, config, 9, seed=2)
    result = evaluate_robustness(
        _threshold_model, _images(MEANS), LABELS, config, batch_size, seed=2
    )
    assert 0 < reference.robust.sum() < reference.correct.sum()
    for loss, broken in reference.broken.items():
        np.testing.assert_array_equal(result.broken[loss], broken)


def test_only_survivors_are_attacked(monkeypatch):
    attacked = []

    def loss(labels, logits):
        tf.py_function(lambda n: attacked.append(int(n)), [tf.shape(logits)[0]], [])
        return margin(labels, logits)

    monkeypatch.setitem(ATTACK_LOSSES, "counted", loss)
    config = PGD(eps=0.1, step_size=0.1, steps=1, restarts=2, losses=("counted",))
    evaluate_robustness(_threshold_model, _images(MEANS), LABELS, config)
    # 8 of 9 are correct; the first restart breaks the 4 within 0.1 of the threshold.
    assert attacked == [8, 4]


def test_a_constant_model_is_never_broken():
    """Always class 1: the 4 of 9 examples of that class are right and stay right."""

    def always_one(images):
        return tf.zeros([tf.shape(images)[0], 2]) * images[:, 0, 0] + [0.0, 1.0]

    config = PGD(eps=1.0, step_size=0.5, steps=3, restarts=2)
    result = evaluate_robustness(always_one, _images(MEANS), LABELS, config)
    np.testing.assert_array_equal(result.robust, LABELS == 1)


def test_tells_of_every_batch_the_images_and_the_survivors():
    """Eight are correct, in batches of 5 and 3; eps 0.1 breaks those with means 0.45 to 0.55."""
    told = []
    config = PGD(eps=0.1, step_size=0.1, steps=1, losses=("margin",))
    evaluate_robustness(
        _threshold_model, _images(MEANS), LABELS, config, 5, on_batch=lambda *x: told.append(x)
    )
    assert told == [(5, 5), (3, 4)]


def test_a_model_without_scores_is_refused():
    """NaN for bright images; argmax would call them class 0, so that the attack seems to fail."""

    def model(images):
        score = tf.reduce_mean(images, axis=[1, 2, 3])
        return tf.stack([tf.sqrt(0.5 - score), score - 0.5], axis=1)

    config = PGD(eps=0.1, step_size=0.1, steps=1)
    with pytest.raises(ValueError, match=r"^log_scores must .* Received: NaN"):
        evaluate_robustness(model, _images([0.45]), [0], config)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_impossible_batches_are_refused(batch_size):
    with pytest.raises(ValueError, match=f"^batch_size must .* Received: {batch_size}"):
        evaluate_robustness(_threshold_model, _images([0.2]), [0], None, batch_size)


def test_without_an_attack_it_classifies():
    result = evaluate_robustness(_threshold_model, _images(MEANS), LABELS, None)
    np.testing.assert_array_equal(result.clean_predictions, MEANS > 0.5)
    assert result.robust_accuracy == result.clean_accuracy


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (_images([0.5, 1.5]), [0, 1]),
        (_images([0.5, np.nan]), [0, 1]),
        (_images([0.5]), [0, 1]),
        (np.zeros((0, *SHAPE)), []),
        (np.zeros((2, 4)), [0, 1]),
    ],
)
def test_bad_images_are_refused(images, labels):
    with pytest.raises(ValueError, match=r"^images must be .* Received"):
        evaluate_robustness(_threshold_model, images, labels, None)


@pytest.mark.parametrize(
    ("label", "told"), [(0.7, "0.7"), (-1, "-1"), (np.nan, "nan"), (2, "2"), ("one", "'0'")]
)
@pytest.mark.parametrize("attack", [evaluate_robustness, apgd, square])
def test_labels_that_are_no_classes_are_refused(attack, label, told):
    """Two classes; cut off or wrapped around, 0.7 and -1 would be others; strings are none."""
    arguments = {"attack": None} if attack is evaluate_robustness else {"eps": 0.1}
    line = rf"^labels must be whole numbers from 0 to 1\. Received: {told}$"
    with pytest.raises(ValueError, match=line):
        attack(_threshold_model, _images([0.2, 0.8]), np.array([0, label]), **arguments)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, bool])
def test_whole_numbers_of_any_type_are_classes(dtype):
    result = evaluate_robustness(_threshold_model, _images(MEANS), LABELS.astype(dtype), None)
    assert result.clean_accuracy == pytest.approx(8 / 9)


def test_margin_by_hand():
    """Logits (3, 1, 2): label 0 -> 2 - 3 = -1; label 1 -> 3 - 1 = 2; label 2 -> 3 - 2 = 1."""
    logits = tf.constant([[3.0, 1.0, 2.0]] * 3)
    np.testing.assert_allclose(margin(tf.constant([0, 1, 2]), logits), [-1, 2, 1])
