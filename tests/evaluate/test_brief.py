"""The brief evaluation that ends a training run."""

import keras
import numpy as np
import pytest

from clustr_tf.evaluate.run import evaluate_briefly


def test_figures_name_the_split_that_they_are_of(classifier, digits, plan):
    """Nearest means by hand; in l2 the pixels' margin is proved: what they are sure of is right."""
    evaluation = evaluate_briefly(classifier, digits, plan, seed=0)
    figures = evaluation.figures()
    images, labels = digits.test_images[:50].reshape(50, 1, 64) / 255, digits.test_labels[:50]
    distances = np.linalg.norm(images - np.asarray(classifier.head.centroids), axis=2)
    assert figures["examples"] == 50
    assert figures["test/accuracy"] == np.mean(distances.argmin(axis=1) == labels)
    assert 0 < figures["test/pgd_accuracy"] < figures["test/accuracy"]
    best = evaluation.certification.best
    radii = best.radii.l2
    assert figures["test/median_certified_radius_l2"] == pytest.approx(np.median(radii))
    linf = best.radii.linf
    assert figures["test/median_certified_radius_linf"] == pytest.approx(np.median(linf))
    proved = np.mean(best.correct & (linf.astype(float) >= plan.attack.eps))
    assert figures["test/certified_accuracy_linf"] == proved
    assert figures["test/abstentions"] == np.mean(radii == 0)
    assert figures["lipschitz_bound"] == pytest.approx(1, rel=1e-3)


def test_a_head_without_a_proof_is_told_and_everything_else_too(classifier_with, digits, plan):
    classifier = classifier_with(keras.layers.Dense(10, activation="exponential"))
    evaluation = evaluate_briefly(classifier, digits, plan, seed=0)
    assert evaluation.certification is None
    figures = evaluation.figures()
    assert list(figures)[:3] == ["examples", "test/accuracy", "test/pgd_accuracy"]
    assert "to be an affine head. Received: Dense" in figures["not_certified"]


def test_a_dense_head_has_its_radii(classifier_with, digits, plan):
    figures = evaluate_briefly(classifier_with(keras.layers.Dense(10)), digits, plan, 0).figures()
    assert figures["test/median_certified_radius_l2"] > 0
    assert figures["test/median_certified_radius_linf"] > 0
