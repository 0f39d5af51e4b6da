"""The search for the largest radius, against the grid of radii that it can test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustr_tf.certify.linf.search import (
    BISECTION,
    FROM_KNOWN,
    GRID,
    RadiusSearch,
    largest_proved,
)


def test_the_grid_is_steps_of_the_root_of_two_below_one():
    """2^-7.5 to 2^-0.5: the largest below 0.3 is 0.25, and 0.0054 is below the smallest, 0.0055."""
    limits = np.array([0.3, 1.0, 0.0054, 0.0056])
    found = np.array(largest_proved(lambda eps: eps < limits, 4, GRID))
    np.testing.assert_allclose(found, [0.25, 2**-0.5, 0, 2**-7.5], rtol=1e-12)


@given(st.lists(st.floats(1e-3, 0.999), min_size=1, max_size=5))
def test_a_bisection_ends_less_than_a_twentieth_of_a_percent_below(limits):
    limits = np.array(limits)
    found = np.array(largest_proved(lambda eps: eps <= limits, len(limits), BISECTION))
    assert np.all(found <= limits)
    assert np.all(found * 2 ** (12 / 2**14) >= limits * (1 - 1e-12))


def test_the_search_goes_on_above_what_is_known_and_keeps_what_is_beyond_its_range():
    """From 0.2 to below 0.5: 2^(log2(5) / 2^8) is 1.0091; of 0, as without; 2.5 is above 1."""
    limits, known = np.array([0.5, 0.5, 0.1, 3.0]), np.array([0.2, 0.0, 0.2, 2.5])
    found = np.array(largest_proved(lambda eps: eps < limits, 4, FROM_KNOWN, known))
    assert np.all(found >= known)
    assert 0.5 / 1.0092 < found[0] < 0.5
    assert 0.5 / 2 ** (12 / 2**8) < found[1] < 0.5
    np.testing.assert_array_equal(found[2:], known[2:])


@pytest.mark.parametrize(
    ("proves", "tests"), [(False, 1), (True, 1 + 14)], ids=["nothing", "something"]
)
def test_where_the_least_radius_is_proved_of_no_image_nothing_else_is_tested(proves, tests):
    asked = []

    def proved(eps):
        asked.append(np.array(eps))
        return np.array([False, proves]) & (np.array(eps) < 0.1)

    found = np.array(largest_proved(proved, 2, BISECTION))
    assert len(asked) == tests
    np.testing.assert_allclose(asked[0], 2**-12)
    assert found[0] == 0
    assert (found[1] > 0.0999) == proves


def test_what_is_not_monotone_is_still_proved():
    """A proof may fail for a smaller radius by rounding: what comes out was itself tested."""
    search = RadiusSearch(octaves=4, halvings=6)

    def proved(eps):
        return (np.array(eps) * 37 % 1) < 0.5

    found = np.array(largest_proved(proved, 1, search))
    assert found[0] == 0 or proved(found)[0]
