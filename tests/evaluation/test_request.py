"""What an evaluation was asked for."""

import pytest

from clustr_tf.attacks import PGDConfig
from clustr_tf.errors import InputError
from clustr_tf.evaluation.request import Request, overridden
from clustr_tf.evaluation.settings import EvaluationConfig

OWN = EvaluationConfig(attack=PGDConfig(eps=0.1, step_size=0.02, steps=20), examples=100)


def test_the_step_keeps_its_ratio_to_the_radius():
    attack = overridden(OWN, Request(eps=0.5, norm="l2")).attack
    assert (attack.eps, attack.norm) == (0.5, "l2")
    assert attack.step_size == pytest.approx(0.1)


def test_what_is_not_asked_for_stays():
    assert overridden(OWN, Request()) == OWN
    assert overridden(OWN, Request(norm="linf")) == OWN
    assert overridden(OWN, Request(examples=7)).examples == 7


def test_another_norm_needs_a_radius_of_its_own():
    """0.1 in l-infinity is another ball than 0.1 in l2."""
    with pytest.raises(
        InputError, match=r"--norm=l2 needs --eps=RADIUS: .* 0\.1 is a radius in linf"
    ):
        overridden(OWN, Request(norm="l2"))
    # The paper's protocol brings its own eps, of l-infinity.
    assert overridden(OWN, Request(protocol="paper")).attack.eps == pytest.approx(8 / 255)
