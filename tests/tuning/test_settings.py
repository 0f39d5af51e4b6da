"""What a search is told: objective, algorithm, numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustr_tf.tuning.settings import MEASURES, SearchConfig, parse_objective, score


@pytest.mark.parametrize(
    ("text", "weights"),
    [
        ("val_accuracy", {"val_accuracy": 1.0}),
        ("0.5*val_accuracy+val_pgd_accuracy", {"val_accuracy": 0.5, "val_pgd_accuracy": 1.0}),
        (
            " 1e-3 * val_accuracy + 2.5e+1*val_certified_accuracy ",
            {"val_accuracy": 0.001, "val_certified_accuracy": 25.0},
        ),
    ],
)
def test_objectives_are_sums_of_measures(text, weights):
    assert parse_objective(text) == weights


@given(
    st.dictionaries(
        st.sampled_from(sorted(MEASURES)),
        st.floats(1e-6, 1e6, allow_nan=False),
        min_size=1,
    )
)
def test_every_sum_with_weights_above_0_can_be_written(weights):
    text = " + ".join(f"{weight!r} * {measure}" for measure, weight in weights.items())
    assert parse_objective(text) == weights


@pytest.mark.parametrize(
    "text",
    [
        "",
        "test_accuracy",
        "val_accuracy +",
        "val_accuracy + val_accuracy",
        "0*val_accuracy",
        "-1*val_accuracy",
        "1e999*val_accuracy",
        "1.2.3*val_accuracy",
        "val_accuracy*2",
        "val_accuracy - val_pgd_accuracy",
    ],
)
def test_other_objectives_are_refused_with_what_is_allowed(text):
    with pytest.raises(ValueError, match=r"^objective must be one of .*val_pgd_accuracy.*Received"):
        parse_objective(text)


def test_a_score_is_the_weighted_sum():
    row = {"validation_accuracy": 0.5, "pgd_accuracy": 0.25, "loss": 3.0}
    assert score({"val_accuracy": 2.0, "val_pgd_accuracy": 4.0}, row) == 2.0


@pytest.mark.parametrize(
    ("field", "value"), [("algorithm", "grid"), ("trials", 0), ("seed", -1), ("factor", 1)]
)
def test_wrong_settings_are_named(field, value):
    settings = {"algorithm": "random", "objective": "val_accuracy", "trials": 3, field: value}
    with pytest.raises(ValueError, match=rf"^{field} must be .*Received: '?{value}"):
        SearchConfig(**settings)
