"""The figures of robustness.json, by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest

from clustr_tf.evaluate.results import Diagnostic, Measurements, Outcome, wilson_interval

LABELS = np.array([0, 0, 2, 2, 2])
PREDICTIONS = np.array([0, 0, 2, 0, 2])  # the fourth is wrong


def measurements(outcomes=(), **more):
    values = {"labels": LABELS, "predictions": PREDICTIONS, "outcomes": dict(outcomes)}
    nothing = {"settings": {}, "radii": [], "smallest_eps": {}, "diagnostics": []}
    return Measurements(**(values | nothing | more))


def breaking(*examples, **more):
    """An attack of one stage that breaks some of the five."""
    broken = {"stage": np.isin(np.arange(5), examples)}
    return Outcome(broken, **({"attacked": 4, "seconds": 1.0} | more))


def test_an_attack_is_counted_stage_by_stage():
    """4 of 5 correct; the first stage breaks one, the second another: 3/5, then 2/5."""
    broken = {"a": np.array([1, 0, 0, 0, 0], bool), "b": np.array([0, 1, 0, 0, 0], bool)}
    outcome = Outcome(broken, attacked=7, seconds=2.0)
    found = measurements({"x": outcome}, settings={"x": {"steps": 3}})
    figures = found.figures("xyz")["attacks"]["x"]
    assert figures["accuracy"] == pytest.approx(0.4)
    assert figures["after"] == {"a": pytest.approx(0.6), "b": pytest.approx(0.4)}
    assert (figures["attacked"], figures["seconds"], figures["steps"]) == (7, 2.0, 3)
    low, high = figures["interval_95"]
    # Wilson's interval of 2 out of 5 (z = 1.96), as tables give it.
    assert (low, high) == (pytest.approx(0.1176, abs=1e-4), pytest.approx(0.7693, abs=1e-4))


def test_classes_without_examples_are_left_out():
    found = measurements({"x": breaking(1, 2)}, settings={"x": {}})
    assert found.figures(("x", "y", "z"))["per_class"] == [
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
    found = measurements(smallest_eps={"pgd": smallest}, radii=[0.0, 0.1, 0.2])
    curve = found.figures("xyz")["curve"]
    assert curve["eps"] == [0.0, 0.1, 0.2]
    assert curve["attacks"]["pgd"]["accuracy"] == [0.75, 0.5, 0.25]
    assert len(curve["attacks"]["pgd"]["interval_95"]) == 3


def test_the_worst_case_is_what_all_attacks_together_leave():
    """One attack breaks example 0, the other 0 and 4: of the four correct two are left."""
    names = ("pgd_paper", "ensemble")
    outcomes = dict(zip(names, (breaking(0), breaking(4, 0)), strict=True))
    found = measurements(outcomes, settings={name: {} for name in names})
    np.testing.assert_array_equal(found.robust, [0, 1, 1, 0, 0])
    figures = found.figures("xyz")
    assert figures["clean_accuracy"] == pytest.approx(0.8)
    assert figures["worst_case_accuracy"] == pytest.approx(0.4)
    assert figures["worst_case_attack"] == "ensemble"
    assert figures["masking_gap"] == pytest.approx(0.6 - 0.4)
    np.testing.assert_array_equal(found.arrays()["broken_ensemble"], [1, 0, 0, 0, 1])


def test_of_equal_attacks_the_last_one_is_the_strongest():
    outcomes = {name: breaking(0) for name in ("pgd", "ensemble")}
    assert measurements(outcomes).strongest == "ensemble"


def test_without_an_attack_nothing_is_claimed():
    figures = measurements().figures("xyz")
    assert figures["clean_accuracy"] == pytest.approx(0.8)
    for name in ("worst_case_accuracy", "worst_case_interval_95", "worst_case_attack", "curve"):
        assert figures[name] is None


def test_a_diagnostic_passes_up_to_its_threshold():
    """0.1 + 0.2 rounds to more than 0.3."""
    found = [Diagnostic("gap", value, 0.3, "a gap") for value in (0.1 + 0.2, 0.3001)]
    figures = measurements(diagnostics=found).figures("xyz")["diagnostics"]
    assert [entry["passed"] for entry in figures] == [True, False]
    assert figures[1]["value"] == 0.3001


@pytest.mark.parametrize(("successes", "examples"), [(0, 10), (10, 10), (207, 360), (1, 1)])
def test_the_interval_is_that_of_scipy(successes, examples):
    expected = binomtest(successes, examples).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes / examples, examples)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
