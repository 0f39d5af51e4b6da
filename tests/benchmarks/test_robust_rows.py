"""Rows of the comparison of robust training: equal passes, and settings that can run."""

import pytest

from benchmarks.robust_rows import ROWS
from benchmarks.runs import overridden
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import cifar10_at, mnist_at, mnist_ibp, robust


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("nominal", 1),
        ("clustr_qtrades", 3),  # images, companions, one step
        ("clustr_free", 4),  # replays
        ("fast_at", 2),  # one step, companions
        ("clustr_at", 2),  # one step, companions
        ("pgd_at", 8),  # seven steps, companions
        ("trades", 12),  # images, ten steps, companions
        ("clustr_robust", 5),  # images, three steps, companions
        ("trades_2", 4),
    ],
)
def test_passes_of_an_epoch(name, cost):
    assert ROWS[name].cost == cost


@pytest.mark.parametrize("passes", [60, 480])
def test_every_row_gets_the_same_passes(passes):
    for row in ROWS.values():
        assert passes - row.cost < row.epochs(passes) * row.cost <= passes


def test_a_run_has_one_epoch_at_least():
    assert ROWS["trades"].epochs(5) == 1


@pytest.mark.parametrize("variant", ["digits", "mnist", "cifar10"])
@pytest.mark.parametrize("name", ROWS)
def test_every_row_is_an_experiment(name, variant):
    """Eps is that of the data; steps of a shortened adversary reach 1.5 eps together."""
    config, row = robust.get_config(variant), ROWS[name]
    eps = config.watch.attack.eps
    experiment = overridden(config, row.settings(eps))
    assert experiment.method_name == row.method
    assert getattr(experiment.method, "eps", eps) == eps
    if row.steps is not None:
        adversary = experiment.method.adversary
        assert adversary.steps * adversary.step_size == pytest.approx(1.5 * eps, rel=1e-3)


@pytest.mark.parametrize(
    ("recommended", "data", "passes", "name", "options"),
    [
        (
            mnist_at.get_config(),
            "mnist",
            45,
            "clustr_at_ball_4",
            {"training.batch_size": 60, "method.warmup": 0.5, "method.eps": 0.33},
        ),
        (
            mnist_ibp.get_config(),
            "mnist",
            45,
            "ibp_slow",
            {"method.warmup": 0.5, "watch.certified_linf": 0.3},
        ),
        (
            cifar10_at.get_config("thin"),
            "cifar10",
            16,
            "clustr_at_ball_40_fast",
            {"clustering.temperature": 10.0},
        ),
    ],
    ids=["mnist_at", "mnist_ibp", "cifar10_at"],
)
def test_a_recommended_config_is_the_row_that_was_measured(
    recommended, data, passes, name, options
):
    """With the passes and the further flags that docs/results.md has."""
    config, row = robust.get_config(data), ROWS[name]
    settings = row.settings(config.method.eps) | options | {"training.epochs": row.epochs(passes)}
    assert read_experiment(recommended.to_dict()) == overridden(config, settings)
