"""What a search is told, and that it is checked before anything is drawn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustr_tf.cli.search import read_search
from clustr_tf.configs import digits, digits_search
from clustr_tf.run.errors import InputError
from clustr_tf.tune.request import MEASURES, SearchSettings, parse_objective, score

MILESTONES = {"name": {"choices": ("milestones",)}}
WITH_STEPS = {"field": "method.name", "values": ("clustr_robust", "pgd_at", "trades")}


def _config(changes):
    config = digits_search.get_config()
    config.unlock()
    for name, value in changes.items():
        *path, last = name.split(".")
        section = config
        for part in path:
            section = section[part]
        section[last] = value
    return config.to_dict()


def test_a_search_is_an_experiment_and_a_space():
    request = read_search(_config({}), 7)
    assert request.settings.trials == 7
    assert "method.name" in [field.name for field in request.fields]
    assert request.base["dataset"]["validation_examples"] == 337
    assert "search" not in request.config


def test_a_trial_has_the_fields_of_the_method_that_was_drawn_for_it():
    """Of the config's method it takes eps, which it has too, and not alpha."""
    method = {"name": "clustr_free", "alpha": 7.0, "eps": 0.2}
    request = read_search(_config({"method": method}))
    assert request.base["method"] == method | {
        **{"epsilon": 0.0, "xent_lambda": 0.0, "nearest": None, "replays": 4, "warmup": 0.0},
    }
    assert request.resolved({"method.name": "pgd_at", "method.steps": 2})["method"] == {
        **{"name": "pgd_at", "eps": 0.2, "steps": 2, "step_size": None},
        **{"standardised_steps": False, "warmup": 0.0},
    }
    assert request.config["method"] == method


def test_a_group_can_be_chosen_as_a_whole():
    choices = ({"name": "constant"}, {"name": "milestones", "milestones": (10, 20)})
    request = read_search(_config({"search.space.optimizer": {"schedule": {"choices": choices}}}))
    (field,) = [field for field in request.fields if field.name == "optimizer.schedule"]
    schedules = [
        request.resolved({field.name: value})["optimizer"]["schedule"] for value in field.values
    ]
    assert schedules == [
        {"name": "constant"},
        {"name": "milestones", "milestones": [10, 20], "decay": 0.1},
    ]


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"dataset.validation_examples": 0, "training.checkpoint": "last"}, "judged on held-out"),
        ({"search.objective": "val_certified_accuracy"}, "config.watch.certified_radius must be"),
        ({"search.objective": "val_certified_linf_accuracy"}, "config.watch.certified_linf must"),
        ({"search.objective": "test_accuracy"}, "config.search.objective must be one of"),
        ({"search.trial": 3}, "config.search has no field 'trial'"),
        ({"search.trials": 0}, "config.search.trials must be at least 1"),
        ({"training.strategy": "multi_worker"}, "config.training.strategy must be default or"),
        (
            {
                "search.algorithm": "hyperband",
                "search.space.training": {"epochs": {"choices": [1]}},
            },
            "config.search.space.training.epochs must be left out",
        ),
        ({"training.epochs": 0}, "config.training.epochs must be at least 1"),
        (
            {"search.space.backbone": {"width": {"low": 8.0, "high": 300.0}}},
            "config.search.space.backbone.width: config.backbone.width must be int. Received: 8.0",
        ),
        (
            {"search.space.backbone": {"width": {"low": 8, "high": 300.5}}},
            "config.backbone.width must be int. Received: 8.0",
        ),
        (
            {"search.space.backbone": {"width": {"choices": (8, "wide", 16)}}},
            "config.backbone.width must be int. Received: 'wide'",
        ),
        (
            {"search.space.optimizer": {"learning_rate": {"low": 0.0, "high": 0.1}}},
            "config.optimizer.learning_rate must be above 0. Received: 0.0",
        ),
        (
            {"search.space.optimizer.schedule": MILESTONES | {"decay": {"low": 0.1, "high": 1.5}}},
            "space.optimizer.schedule.decay: config.optimizer.schedule.decay must be in (0, 1]. "
            "Received: 1.5 (with optimizer.schedule.name='milestones')",
        ),
        (
            {
                "search.space.optimizer.schedule": MILESTONES
                | {"milestones": {"choices": ((), (20, "x"))}}
            },
            "config.optimizer.schedule.milestones must be int. Received: 'x'",
        ),
        (
            {"search.space.method.steps": {"choices": (2, 1.5), "when": WITH_STEPS}},
            "config.search.space.method.steps: config.method.steps must be int. Received: 1.5 "
            "(with method.name='clustr_robust')",
        ),
        # The second name has no steps: those must be drawn where the first is alone.
        (
            {
                "search.space": {
                    "method": {
                        "name": {"choices": ("pgd_at", "clustr")},
                        "steps": {"low": 1, "high": 5},
                    }
                }
            },
            "config.search.space.method.steps: config.method has no field 'steps'; its fields: "
            "alpha, epsilon, xent_lambda, nearest. (with method.name='clustr')",
        ),
        (
            {"search.space": {"method": {"name": {"choices": ("clustr", "magic")}}}},
            "config.search.space.method.name: config.method.name must be one of ['clustr', ",
        ),
        (
            {"search.space.optimizer": {"rate": {"choices": (1,)}}},
            "config.search.space.optimizer.rate: config.optimizer has no field 'rate'; its fields",
        ),
        (
            {"search.space.optimiser": {"rate": {"choices": (1,)}}},
            "config.search.space.optimiser.rate: config has no field 'optimiser'; its fields: ",
        ),
        (
            {"search.space.backbone": {"width": {"least": {"choices": (1,)}}}},
            "config.search.space.backbone.width.least: config.backbone.width must be int. Received",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(changes, line):
    with pytest.raises(InputError) as refusal:
        read_search(_config(changes))
    assert line in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_config_without_search_is_refused():
    with pytest.raises(InputError, match=r"config\.search is missing"):
        read_search(digits.get_config().to_dict())


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
    row = {"validation/accuracy": 0.5, "validation/pgd_accuracy": 0.25, "train/loss": 3.0}
    assert score({"val_accuracy": 2.0, "val_pgd_accuracy": 4.0}, row) == 2.0


@pytest.mark.parametrize(
    ("field", "value"), [("algorithm", "grid"), ("trials", 0), ("seed", -1), ("factor", 1)]
)
def test_wrong_settings_are_named(field, value):
    settings = {"algorithm": "random", "objective": "val_accuracy", "trials": 3, field: value}
    with pytest.raises(ValueError, match=rf"^{field} must be .*Received: '?{value}"):
        SearchSettings(**settings)
