"""The figures of robustness.json, by hand."""

import numpy as np
import pytest

from clustr_tf.evaluation.attacking import Outcome
from clustr_tf.evaluation.results import (
    attack_figures,
    class_figures,
    curve_figures,
)

CORRECT = np.array([1, 1, 1, 0, 1], bool)


def test_an_attack_is_counted_stage_by_stage():
    """4 of 5 correct; the first stage breaks one, the second another: 3/5, then 2/5."""
    broken = {"a": np.array([1, 0, 0, 0, 0], bool), "b": np.array([0, 1, 0, 0, 0], bool)}
    figures = attack_figures(CORRECT, Outcome(broken, attacked=7, seconds=2.0), {"steps": 3})
    assert figures["accuracy"] == pytest.approx(0.4)
    assert figures["after"] == {"a": pytest.approx(0.6), "b": pytest.approx(0.4)}
    assert (figures["attacked"], figures["seconds"], figures["steps"]) == (7, 2.0, 3)
    low, high = figures["interval_95"]
    # Wilson's interval of 2 out of 5 (z = 1.96), as tables give it.
    assert (low, high) == (pytest.approx(0.1176, abs=1e-4), pytest.approx(0.7693, abs=1e-4))


def test_classes_without_examples_are_left_out():
    labels = np.array([0, 0, 2, 2, 2])
    robust = np.array([1, 0, 0, 0, 1], bool)
    assert class_figures(labels, CORRECT, robust, ("x", "y", "z")) == [
        {"name": "x", "examples": 2, "clean_accuracy": 1.0, "worst_case_accuracy": 0.5},
        {
            "name": "z",
            "examples": 3,
            "clean_accuracy": pytest.approx(2 / 3),
            "worst_case_accuracy": pytest.approx(1 / 3),
        },
    ]


def test_a_curve_counts_what_is_left_at_each_radius():
    """Broken at 0 (misclassified), 0.1, 0.2, never: 3/4 at 0, 2/4 at 0.1, 1/4 at 0.2."""
    smallest = np.array([0, 0.1, 0.2, np.inf], np.float32)
    curve = curve_figures({"pgd": smallest}, [0.0, 0.1, 0.2])
    assert curve["eps"] == [0.0, 0.1, 0.2]
    assert curve["attacks"]["pgd"]["accuracy"] == [0.75, 0.5, 0.25]
    assert len(curve["attacks"]["pgd"]["interval_95"]) == 3
