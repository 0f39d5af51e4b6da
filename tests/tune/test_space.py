"""Which fields are drawn, and from what."""

import pytest
from keras_tuner.engine import hyperparameters as kt

from clustr_tf.run.errors import InputError
from clustr_tf.tune.space import (
    Choices,
    Condition,
    Range,
    drawn_values,
    hyperparameters,
    read_space,
)

STEPS = {"low": 1, "high": 5, "when": {"field": "method.name", "values": ["trades"]}}
NAMES = {"choices": ("clustr", "trades")}


def test_ranges_choices_and_conditions_are_read_with_what_others_need_first():
    space = read_space(
        {
            "method": {"steps": STEPS, "name": NAMES},
            "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "sampling": "log"}},
        }
    )
    assert space == (
        Choices("method.name", ("clustr", "trades")),
        Range("optimizer.learning_rate", 1e-4, 1e-2, "log"),
        Range("method.steps", 1, 5, "linear", Condition("method.name", ("trades",))),
    )


def test_keras_tuner_draws_whole_numbers_logarithms_and_conditions():
    space = hyperparameters(
        read_space(
            {
                "method": {"name": NAMES, "steps": STEPS},
                "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "sampling": "log"}},
            }
        )
    )
    name, rate, steps = space.space
    assert isinstance(name, kt.Choice) and name.values == ["clustr", "trades"]
    assert isinstance(rate, kt.Float) and isinstance(steps, kt.Int)
    # The middle of the logarithms.
    assert rate.prob_to_value(0.5) == pytest.approx(1e-3, rel=1e-6)
    assert {steps.prob_to_value(share) for share in (0.0, 0.5, 1.0)} == {1, 3, 5}
    assert "method.steps" not in space.values  # the first name is clustr, without steps


def test_values_that_keras_tuner_does_not_know_travel_as_text():
    choices = Choices("optimizer.clipnorms", ([], [10, 20], None))
    space = hyperparameters((choices,))
    drawn = [space.space[0].prob_to_value(share) for share in (0.0, 0.5, 1.0)]
    assert [choices.value(value) for value in drawn] == [[], [10, 20], None]


def test_a_condition_on_values_that_travel_as_text_is_met():
    space = hyperparameters(
        read_space(
            {
                "optimizer": {"clipnorms": {"choices": ((), (10, 20), None)}},
                "method": {
                    "steps": {
                        "low": 1,
                        "high": 5,
                        "when": {"field": "optimizer.clipnorms", "values": [(10, 20), None]},
                    }
                },
            }
        )
    )
    clipnorms, steps = space.space
    active = []
    for share in (0.0, 0.5, 1.0):
        space.values["optimizer.clipnorms"] = clipnorms.prob_to_value(share)
        active.append(space.is_active(steps))
    assert active == [False, True, True]


def test_a_trial_has_only_what_was_drawn_for_it():
    fields = read_space({"method": {"name": NAMES, "steps": STEPS}})
    values = drawn_values(fields, {"method.name": "clustr", "tuner/epochs": 3})
    assert values == {"method.name": "clustr"}


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (None, "config.search.space must be a group of fields. Received: None"),
        ({}, "at least one field. Received: none"),
        ({"optimizer": {}}, "at least one field. Received: none"),
        ({"backbone": {"width": {"lowest": 3}}}, "space.backbone.width.lowest must be a group"),
        ({"optimizer": 3}, "space.optimizer must be a group: low and high, or choices"),
        ({"backbone": {"width": {"low": 3}}}, "low and high (and sampling), or choices"),
        ({"backbone": {"width": {"low": 3, "high": 3}}}, "numbers low < high. Received: 3 and 3"),
        ({"backbone": {"width": {"low": "3", "high": 5}}}, "numbers low < high. Received: '3'"),
        (
            {"backbone": {"width": {"low": 0, "high": 5, "sampling": "log"}}},
            "sampling must be linear, or log with low above 0. Received: 'log' with low 0",
        ),
        ({"backbone": {"width": {"choices": ()}}}, "a list of at least one value. Received: ()"),
        ({"method": {"steps": STEPS}}, "when must name a field with choices in the space"),
        (
            {"method": {"name": {"choices": ("clustr",)}, "steps": STEPS}},
            "and some of them. Received: 'method.name', ('trades',)",
        ),
        (
            {"method": {"steps": {"choices": (1, 2), "when": "trades"}}},
            "when must have field and values. Received: 'trades'",
        ),
        (
            {
                "method": {
                    "name": NAMES,
                    "steps": STEPS | {"when": {"field": "method.name", "values": "trades"}},
                }
            },
            "steps.when.values must be a list of at least one value. Received: 'trades'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(space, line):
    with pytest.raises(InputError) as refusal:
        read_space(space)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)
