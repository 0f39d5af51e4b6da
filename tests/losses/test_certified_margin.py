"""The certified-margin loss by hand and by its bounds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustr_tf.losses import certified_margin_loss


def test_by_hand():
    """T log(1 + e^((1 - 1) / t)) = t log 2; t log(1 + e^((1 - 0) / t) + e^((1 + 1) / t))."""
    radii = np.array([[9.0, 1.0, np.inf], [0.0, -9.0, -1.0]])
    found = certified_margin_loss(radii, [0, 1], margin=1.0, temperature=0.5)
    expected = [0.5 * np.log(2), 0.5 * np.log(1 + np.exp(2) + np.exp(4))]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_radius_far_beyond_the_margin_pulls_no_longer():
    assert certified_margin_loss([[0.0, 50.0]], [0], margin=1.0, temperature=0.1)[0] == 0


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), temperature=st.floats(0.01, 2.0), margin=st.floats(0, 3))
def test_lies_between_the_largest_lack_and_a_little_more(seed, temperature, margin):
    rng = np.random.default_rng(seed)
    radii, labels = rng.normal(size=(6, 4)), rng.integers(4, size=6)
    found = np.array(certified_margin_loss(radii, labels, margin, temperature))
    others = np.where(np.eye(4, dtype=bool)[labels], np.inf, radii).min(axis=1)
    lack = np.maximum(margin - others, 0)
    assert (found >= lack - 1e-6).all()
    assert (found <= lack + temperature * np.log(4) + 1e-6).all()


@pytest.mark.parametrize(("margin", "temperature"), [(-0.1, 1.0), (1.0, 0.0), (1.0, np.nan)])
def test_refuses(margin, temperature):
    with pytest.raises(ValueError, match=r"^margin must be at least 0 and temperature above 0\. "):
        certified_margin_loss([[0.0, 1.0]], [0], margin, temperature)
