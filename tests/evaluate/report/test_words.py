"""Numbers and verdicts as a reader sees them."""

# ruff: noqa: RUF001
import pytest

from clustr_tf.evaluate.report.words import budget, masking_verdict, percent, radius

NARROW_SPACE = "\u202f"


@pytest.mark.parametrize(
    ("share", "expected"), [(0, "0.00 %"), (0.575, "57.50 %"), (1, "100.00 %"), (1 / 3, "33.33 %")]
)
def test_percent(share, expected):
    assert percent(share) == expected.replace(" ", NARROW_SPACE)


@pytest.mark.parametrize(
    ("eps", "expected"), [(8 / 255, "8/255"), (1.0, "255/255"), (0.1, "0.1"), (0.0, "0")]
)
def test_radius(eps, expected):
    assert radius(eps) == expected


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ({}, ""),
        (
            {"steps": 20, "restarts": 10, "losses": ["ce", "margin"]},
            "20 steps × 10 restarts; ce and margin",
        ),
        ({"queries": 5000, "restarts": 1}, "5,000 queries × 1 restart"),
        ({"stages": ["a", "b"]}, "a, then b"),
        (
            {"stages": ["a", "b"], "after": {"a": 0.5, "b": 0.25}},
            "50.00 % after a, 25.00 % after b",
        ),
    ],
)
def test_budget(attack, expected):
    assert budget(attack).replace(NARROW_SPACE, " ") == expected


def _figures(paper, ensemble, gap):
    accuracies = {"pgd_paper": {"accuracy": paper}, "ensemble": {"accuracy": ensemble}}
    return {"attacks": accuracies, "masking_gap": gap}


def test_a_gap_is_no_robustness():
    verdict = masking_verdict(_figures(0.78, 0.0, 0.78))
    assert f"78.00{NARROW_SPACE}%" in verdict
    assert "The 78.0 points between them are no robustness" in verdict


@pytest.mark.parametrize("gap", [0.02, 0.0, -0.1])
def test_a_small_or_negative_gap_hides_nothing(gap):
    assert "hides nothing" in masking_verdict(_figures(0.5 + gap, 0.5, gap))


@pytest.mark.parametrize("figures", [{"attacks": {}}, {"attacks": {}, "masking_gap": 0.1}])
def test_without_both_attacks_there_is_no_verdict(figures):
    assert masking_verdict(figures) is None
