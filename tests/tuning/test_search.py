"""Searches whose trials are a formula: direction, algorithms, failures, resumption, results."""

import importlib.util
import math
import signal
import socket

import pytest
import tensorflow as tf
from filelock import FileLock
from tensorboard.plugins.hparams import plugin_data_pb2

from clustr_tf.errors import InputError, RunError
from clustr_tf.experiment import read_experiment
from clustr_tf.workdir import Workdir
from tests.tuning.searches import (
    SPACE,
    config,
    rows,
    search_until_write,
    searched,
    take_part,
)
from tests.tuning.trained import trained


def _expected(row, epochs=9):
    """The formula in tests/tuning/trained.py, of the best epoch."""
    rate, width = float(row["optimizer.learning_rate"]), int(row["backbone.width"])
    return 0.9 - 0.2 * abs(math.log10(rate) + 3) - 0.01 * abs(width - 16) - 0.5 / epochs


def _best_config(root):
    spec = importlib.util.spec_from_file_location("best_config", root / "best_config.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()


def _drawn(table):
    return [(row["trial"], row["optimizer.learning_rate"], row["backbone.width"]) for row in table]


@pytest.mark.parametrize("algorithm", ["random", "bayesian"])
def test_the_best_trial_is_the_one_with_most_and_failed_ones_are_told(algorithm, tmp_path):
    table = searched(tmp_path, config(algorithm=algorithm, trials=12))
    assert [row["trial"] for row in table] == [f"{number:02}" for number in range(12)]
    failed = [row for row in table if row["backbone.width"] == "7"]
    assert failed
    for row in failed:
        assert row["objective"] == ""
        assert row["error"] == "The loss is NaN or infinite in step 3 (epoch 1)"
    succeeded = [row for row in table if row["backbone.width"] != "7"]
    for row in succeeded:
        assert float(row["objective"]) == pytest.approx(_expected(row), abs=1e-9)
        assert float(row["objective"]) == float(row["val_pgd_accuracy"])
        assert (row["seconds"], row["error"]) == ("18.0", "")
    winner = max(succeeded, key=_expected)
    best = _best_config(tmp_path)
    assert best.optimizer.learning_rate == float(winner["optimizer.learning_rate"])
    assert best.backbone.width == int(winner["backbone.width"])


def test_bayesian_optimisation_comes_closer_than_its_first_draws(tmp_path):
    space = {"optimizer": SPACE["optimizer"]}
    table = searched(tmp_path, config(algorithm="bayesian", trials=12, space=space))
    scores = [float(row["objective"]) for row in table]
    assert max(scores[4:]) > max(scores[:4])
    # 32 x 0.01 from the width of the config, 0.5 / 9 from the epochs: no rate gives more.
    assert max(scores) > 0.9 - 0.16 - 0.5 / 9 - 0.02


def test_more_is_better_of_every_measure(tmp_path):
    # The formula's clean accuracy is what its PGD accuracy lacks to 1.
    table = searched(tmp_path, config(objective="0.5*val_accuracy"))
    succeeded = [row for row in table if row["objective"]]
    winner = min(succeeded, key=_expected)
    assert _best_config(tmp_path).optimizer.learning_rate == float(
        winner["optimizer.learning_rate"]
    )
    assert float(winner["objective"]) == pytest.approx(0.5 * (1 - _expected(winner)), abs=1e-9)


def test_hyperband_trains_the_best_of_a_round_longer(tmp_path):
    space = {"optimizer": SPACE["optimizer"]}
    table = searched(tmp_path, config(algorithm="hyperband", trials=50, space=space))
    epochs = [int(row["training.epochs"]) for row in table]
    assert set(epochs) == {1, 3, 9}
    # The first bracket begins with nine trials of one epoch, of which three go on.
    first = [row for row, count in zip(table, epochs, strict=True) if count == 1][:9]
    rates = {row["optimizer.learning_rate"] for row in first}
    going_on = {
        row["optimizer.learning_rate"]
        for row, count in zip(table, epochs, strict=True)
        if count == 3 and row["optimizer.learning_rate"] in rates
    }
    first.sort(key=lambda row: abs(math.log10(float(row["optimizer.learning_rate"])) + 3))
    assert going_on == {row["optimizer.learning_rate"] for row in first[:3]}
    assert _best_config(tmp_path).training.epochs == 9


def test_the_same_seed_draws_the_same(tmp_path):
    tables = [
        _drawn(searched(tmp_path / name, config(seed=seed)))
        for name, seed in [("a", 0), ("b", 0), ("c", 1)]
    ]
    assert tables[0] == tables[1] != tables[2]


@pytest.mark.parametrize("algorithm", ["random", "hyperband"])
def test_an_interrupted_search_goes_on_with_the_trial_it_was_in(algorithm, tmp_path):
    space = {"optimizer": SPACE["optimizer"]}
    values = config(algorithm=algorithm, trials=14, space=space)
    straight = searched(tmp_path / "straight", values)
    begun = []

    def interrupted(root):
        begun.append(root.name)
        if len(begun) == 4:
            raise KeyboardInterrupt
        return trained(root)

    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "run", values, train=interrupted)
    searched(tmp_path / "run", values, train=interrupted)
    assert begun[:5] == ["00", "01", "02", "03", "03"]
    drawn = [{**row, "search_mebibytes": ""} for row in rows(tmp_path / "run")]
    assert drawn == [{**row, "search_mebibytes": ""} for row in straight]


@pytest.mark.parametrize("call", range(1, 12))
def test_a_search_killed_at_any_write_goes_on(call, context, tmp_path):
    values = config(trials=2, space={"optimizer": SPACE["optimizer"]})
    process = context.Process(target=search_until_write, args=(tmp_path / "run", values, call))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    table = searched(tmp_path / "run", values)
    assert [(row["trial"], row["error"]) for row in table] == [("0", ""), ("1", "")]
    assert len({row["optimizer.learning_rate"] for row in table}) == 2


def test_more_trials_can_be_asked_for_and_nothing_else(tmp_path):
    first = searched(tmp_path, config(), max_trials=3)
    more = searched(tmp_path, config(), max_trials=6)
    assert len(first) == 3
    assert len(more) == 6
    assert _drawn(more)[:3] == _drawn(first)
    other = {"optimizer": SPACE["optimizer"]}
    for changed in (config(seed=1), config(space=other), config(epochs=8)):
        with pytest.raises(InputError, match="holds another search"):
            searched(tmp_path, changed)
    assert len(rows(tmp_path)) == 6


def test_folders_in_use_and_of_training_runs_are_refused(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="is in use"):
        searched(tmp_path, config())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds a training run"):
        searched(tmp_path, config())


def test_combinations_that_are_no_experiment_fail_alone(tmp_path):
    space = {"clustering": {"temperature": {"choices": (-1.0, 1.0)}}}
    table = searched(tmp_path, config(space=space))
    errors = {float(row["clustering.temperature"]): row["error"] for row in table}
    assert errors[1.0] == ""
    assert errors[-1.0] == "config.clustering.temperature must be above 0. Received: -1.0"


def test_a_search_without_success_says_why(tmp_path):
    only_width_7 = {"backbone": {"width": {"choices": (7,)}}}
    with pytest.raises(RunError, match=r"None of 2 trials succeeded.*The loss is NaN"):
        searched(tmp_path, config(trials=2, space=SPACE | only_width_7))


def test_results_are_a_config_tensorboards_table_and_a_page(tmp_path):
    conditional = {
        "objective": {
            "name": {"choices": ("clustr", "trades")},
            "steps": {
                "low": 1,
                "high": 5,
                "when": {"field": "objective.name", "values": ("trades",)},
            },
        }
    }
    table = searched(tmp_path, config(space=SPACE | conditional))
    best = _best_config(tmp_path)
    winner = max((row for row in table if row["objective"]), key=_expected)
    trial = Workdir(tmp_path / "trials" / winner["trial"]).experiment()
    assert read_experiment(best.to_dict()) == trial
    assert best.is_type_safe
    best.training.steps_per_epoch = 3  # an empty field takes a value of its type
    with pytest.raises(TypeError):
        best.training.steps_per_epoch = "three"

    (file,) = (tmp_path / "trials").glob("events*")
    (content,) = [
        value.metadata.plugin_data.content
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    ]
    experiment = plugin_data_pb2.HParamsPluginData.FromString(content).experiment
    infos = {info.name: info for info in experiment.hparam_infos}
    assert infos["optimizer.learning_rate"].domain_interval.max_value == 0.1
    assert [value.number_value for value in infos["backbone.width"].domain_discrete.values] == [
        *(4.0, 7.0, 16.0)
    ]
    assert "validation/pgd_accuracy" in {info.name.tag for info in experiment.metric_infos}

    page = (tmp_path / "trials.html").read_text()
    assert "<script src" not in page  # it opens without a network
    chart = page[page.rindex("Plotly.newPlot") :]
    assert '"type":"parcoords"' in chart
    for name in ("optimizer.learning_rate", "objective.steps", "val_pgd_accuracy"):
        assert f'"label":"{name}"' in chart


@pytest.mark.slow
def test_two_workers_share_the_trials_of_a_chief(context, tmp_path):
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    barrier, values = context.Barrier(2), config(trials=6)
    processes = [
        context.Process(
            target=take_part,
            args=(tmp_path, values, address | {"KERASTUNER_TUNER_ID": name}, barrier),
        )
        for name in ("chief", "worker0", "worker1")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    table = rows(tmp_path)
    assert [row["trial"] for row in table] == [str(number) for number in range(6)]
    for row in table:
        assert row["error"] or float(row["objective"]) == pytest.approx(_expected(row), abs=1e-9)
    workers = {path.read_text() for path in tmp_path.glob("trials/*/worker")}
    assert workers == {"worker0", "worker1"}
    assert (tmp_path / "best_config.py").exists()
