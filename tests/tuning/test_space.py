"""Which fields are drawn, and from what."""

import pytest
from keras_tuner.engine import hyperparameters as kt

from clustr_tf.errors import InputError
from clustr_tf.tuning.space import (
    Choices,
    Condition,
    Range,
    drawn_values,
    hyperparameters,
    read_space,
    with_values,
)

CONFIG = {
    "backbone": {"name": "small_cnn", "width": 32},
    "optimizer": {"learning_rate": 1e-3, "milestones": [30]},
    "objective": {"name": "clustr", "steps": None},
}
STEPS = {"low": 1, "high": 5, "when": {"field": "objective.name", "values": ["trades"]}}
NAMES = {"choices": ("clustr", "trades")}


def test_ranges_choices_and_conditions_are_read_with_what_others_need_first():
    space = read_space(
        {
            "objective": {"steps": STEPS, "name": NAMES},
            "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "sampling": "log"}},
        },
        CONFIG,
    )
    assert space == (
        Choices("objective.name", ("clustr", "trades"), None),
        Range("optimizer.learning_rate", 1e-4, 1e-2, "log", None),
        Range("objective.steps", 1, 5, "linear", Condition("objective.name", ("trades",))),
    )


def test_keras_tuner_draws_whole_numbers_logarithms_and_conditions():
    space = hyperparameters(
        read_space(
            {
                "objective": {"name": NAMES, "steps": STEPS},
                "optimizer": {"learning_rate": {"low": 1e-4, "high": 1e-2, "sampling": "log"}},
            },
            CONFIG,
        )
    )
    name, rate, steps = space.space
    assert isinstance(name, kt.Choice) and name.values == ["clustr", "trades"]
    assert isinstance(rate, kt.Float) and isinstance(steps, kt.Int)
    # The middle of the logarithms.
    assert rate.prob_to_value(0.5) == pytest.approx(1e-3, rel=1e-6)
    assert {steps.prob_to_value(share) for share in (0.0, 0.5, 1.0)} == {1, 3, 5}
    assert "objective.steps" not in space.values  # the first name is clustr, without steps


def test_values_that_keras_tuner_does_not_know_travel_as_text():
    choices = Choices("optimizer.milestones", ([], [10, 20], None), None)
    space = hyperparameters((choices,))
    drawn = [space.space[0].prob_to_value(share) for share in (0.0, 0.5, 1.0)]
    assert [choices.value(value) for value in drawn] == [[], [10, 20], None]


def test_a_condition_on_values_that_travel_as_text_is_met():
    space = hyperparameters(
        read_space(
            {
                "optimizer": {"milestones": {"choices": ((), (10, 20), None)}},
                "objective": {
                    "steps": {
                        "low": 1,
                        "high": 5,
                        "when": {"field": "optimizer.milestones", "values": [(10, 20), None]},
                    }
                },
            },
            CONFIG,
        )
    )
    milestones, steps = space.space
    active = []
    for share in (0.0, 0.5, 1.0):
        space.values["optimizer.milestones"] = milestones.prob_to_value(share)
        active.append(space.is_active(steps))
    assert active == [False, True, True]


def test_only_what_a_trial_has_replaces_the_config():
    fields = read_space({"objective": {"name": NAMES, "steps": STEPS}}, CONFIG)
    values = drawn_values(fields, {"objective.name": "clustr", "tuner/epochs": 3})
    assert values == {"objective.name": "clustr"}
    changed = with_values(CONFIG, {"objective.name": "trades", "optimizer.learning_rate": 0.5})
    assert changed["objective"] == {"name": "trades", "steps": None}
    assert changed["optimizer"] == {"learning_rate": 0.5, "milestones": [30]}
    assert CONFIG["objective"]["name"] == "clustr"
    assert CONFIG["optimizer"]["learning_rate"] == 1e-3


@pytest.mark.parametrize(
    ("space", "line"),
    [
        (None, "config.search.space must be a group of fields. Received: None"),
        ({}, "at least one field. Received: none"),
        ({"optimiser": {}}, "space.optimiser: the config has no such field; it has backbone"),
        ({"optimizer": {"rate": {"choices": (1,)}}}, "space.optimizer.rate: the config has no"),
        ({"optimizer": 3}, "space.optimizer must be a group: low and high, or choices"),
        ({"backbone": {"width": {"low": 3}}}, "low and high (and sampling), or choices"),
        ({"backbone": {"width": {"low": 3, "high": 3}}}, "numbers low < high. Received: 3 and 3"),
        ({"backbone": {"width": {"low": "3", "high": 5}}}, "numbers low < high. Received: '3'"),
        (
            {"backbone": {"width": {"low": 0, "high": 5, "sampling": "log"}}},
            "sampling must be linear, or log with low above 0. Received: 'log' with low 0",
        ),
        ({"backbone": {"width": {"choices": ()}}}, "a list of at least one value. Received: ()"),
        ({"objective": {"steps": STEPS}}, "when must name a field with choices in the space"),
        (
            {"objective": {"name": {"choices": ("clustr",)}, "steps": STEPS}},
            "and some of them. Received: 'objective.name', ('trades',)",
        ),
        (
            {"objective": {"steps": {"choices": (1, 2), "when": "trades"}}},
            "when must have field and values. Received: 'trades'",
        ),
        (
            {
                "objective": {
                    "name": NAMES,
                    "steps": STEPS | {"when": {"field": "objective.name", "values": "trades"}},
                }
            },
            "steps.when.values must be a list of at least one value. Received: 'trades'",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(space, line):
    with pytest.raises(InputError) as refusal:
        read_space(space, CONFIG)
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)
