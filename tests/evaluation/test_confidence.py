"""Confidence intervals against SciPy's."""

import pytest
from scipy.stats import binomtest

from clustr_tf.evaluation.confidence import wilson_interval


@pytest.mark.parametrize(("successes", "examples"), [(0, 10), (10, 10), (207, 360), (1, 1)])
def test_wilson_interval(successes, examples):
    expected = binomtest(successes, examples).proportion_ci(0.95, method="wilson")
    low, high = wilson_interval(successes / examples, examples)
    assert low == pytest.approx(expected.low, abs=1e-12)
    assert high == pytest.approx(expected.high, abs=1e-12)
