"""How an evaluation attacks, and what may stand in place of its plan."""

import pytest

from clustr_tf.attacks import PGD
from clustr_tf.evaluate.plan import EvaluationPlan

OWN = EvaluationPlan(attack=PGD(eps=0.1, step_size=0.02, steps=20), examples=100)


def test_the_step_keeps_its_ratio_to_the_radius():
    attack = OWN.replaced(eps=0.5, norm="l2").attack
    assert (attack.eps, attack.norm) == (0.5, "l2")
    assert attack.step_size == pytest.approx(0.1)


def test_what_is_not_asked_for_stays():
    assert OWN.replaced() == OWN
    assert OWN.replaced(norm="linf") == OWN
    assert OWN.replaced(examples=7).examples == 7
    assert OWN.replaced(search_precision="auto").search_precision == "auto"


def test_another_norm_needs_a_radius_of_its_own():
    """0.1 in l-infinity is another ball than 0.1 in l2."""
    with pytest.raises(ValueError, match=r"^norm=l2 needs eps=RADIUS: .* 0\.1 is a radius in linf"):
        OWN.replaced(norm="l2")


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"eps": -0.1}, "eps must be in .0, 1., as pixels are"),
        ({"eps": 0.1, "norm": "l1"}, "norm must be"),
        ({"examples": 0}, "examples must be at least 1. Received: 0"),
    ],
)
def test_values_out_of_range_are_named(values, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        OWN.replaced(**values)


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("square_queries", 0, "square_queries must be at least 1. Received: 0"),
        ("diagnostic_examples", -1, "diagnostic_examples must be at least 0. Received: -1"),
        ("search_precision", "half", r"search_precision must be one of .* Received: 'half'"),
        ("curve", (1.0, 0.0), r"curve must be numbers above 0. Received: \(1.0, 0.0\)"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(field, value, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        EvaluationPlan(OWN.attack, **{field: value})
