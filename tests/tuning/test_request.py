"""A search is checked before anything is drawn."""

import pytest

from clustr_tf.errors import InputError
from clustr_tf.tuning.request import read_request
from configs import digits, digits_search


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
    request = read_request(_config({}), 7)
    assert request.settings.trials == 7
    assert "objective.name" in [field.name for field in request.fields]
    assert request.experiment.dataset.validation_examples == 337
    assert "search" not in request.config


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
            "config.search.space.backbone.width must be int. Received: 8.0",
        ),
        (
            {"search.space.backbone": {"width": {"low": 8, "high": 300.5}}},
            "config.search.space.backbone.width must be int. Received: 8.0",
        ),
        (
            {"search.space.backbone": {"width": {"choices": (8, "wide")}}},
            "config.search.space.backbone.width must be int. Received: 'wide'",
        ),
        (
            {"search.space.optimizer": {"milestones": {"choices": ((), (20, "x"))}}},
            "config.search.space.optimizer.milestones must be int. Received: 'x'",
        ),
        (
            {"search.space.objective.steps": {"choices": (1.5, None)}},
            "config.search.space.objective.steps must be int. Received: 1.5",
        ),
    ],
)
def test_mistakes_are_told_in_one_line(changes, line):
    with pytest.raises(InputError) as refusal:
        read_request(_config(changes), None)
    assert line in str(refusal.value)


def test_a_config_without_search_is_refused():
    with pytest.raises(InputError, match=r"config\.search is missing"):
        read_request(digits.get_config().to_dict(), None)
