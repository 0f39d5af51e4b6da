"""Ranges end where their words say, and no NaN is in any."""

from math import inf, nan
from types import SimpleNamespace

import pytest

from clustr_tf.run import checks

CASES = {
    "at least 2": (lambda value: checks.check_at_least(value, 2, "field"), [2, 3], [1, nan]),
    "at least 2, or None": (
        lambda value: checks.check_at_least_or_none(value, 2, "field"),
        [2, None],
        [1, nan],
    ),
    "one of ['a', 'b']": (
        lambda value: checks.check_one_of(value, ("a", "b"), "field"),
        ["a", "b"],
        ["c", None, ""],
    ),
    "at least 0": (
        lambda value: checks.check_at_least_0(value, "field"),
        [0, 1.5],
        [-1e-9, inf, nan],
    ),
    "above 0": (lambda value: checks.check_above_0(value, "field"), [1e-9], [0, inf, nan]),
    "in [0, 1]": (lambda value: checks.check_shares(value, "field"), [0, 1], [-0.1, 1.1, nan]),
}


@pytest.mark.parametrize("allowed", CASES)
def test_what_is_in_range_passes_and_all_else_is_refused_by_name(allowed):
    check, good, bad = CASES[allowed]
    for value in good:
        check(SimpleNamespace(field=value))
    for value in bad:
        with pytest.raises(ValueError, match=r"^field must be ") as refused:
            check(SimpleNamespace(field=value))
        words = allowed.removesuffix(", or None")
        assert str(refused.value) == f"field must be {words}. Received: {value!r}"


def test_the_first_field_out_of_range_is_named():
    settings = SimpleNamespace(first=1, second=0, third=-1)
    with pytest.raises(ValueError, match=r"^second must be at least 1\. Received: 0$"):
        checks.check_at_least(settings, 1, "first", "second", "third")
