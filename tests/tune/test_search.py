"""Searches whose trials are a formula: direction, algorithms, failures, resumption, results."""

import dataclasses
import importlib.util
import math
import signal
import socket
import sys
from pathlib import Path
from unittest import mock

import pytest
import tensorflow as tf
from absl import flags
from filelock import FileLock
from keras_tuner.src.distribute import oracle_client
from ml_collections import config_flags
from tensorboard.plugins.hparams import plugin_data_pb2

from clustr_tf.cli.config import experiment_of, read_experiment
from clustr_tf.cli.search import read_search
from clustr_tf.run.errors import InputError, RunError, TerminatedError
from clustr_tf.run.workdir import Workdir
from clustr_tf.tune.search import run_search
from tests.programs import context
from tests.tune.searches import (
    SPACE,
    config,
    rows,
    search_until_write,
    searched,
    take_part,
)
from tests.tune.trained import trained


def _expected(row, epochs=9):
    """The formula in tests/tune/trained.py, of the best epoch."""
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


@pytest.mark.parametrize("failing", [3, 7, 9])
def test_hyperband_takes_failed_trials_for_the_worst(failing, tmp_path):
    space = {"optimizer": SPACE["optimizer"]}
    begun = []

    def some_fail(root):
        begun.append(root.name)
        return ("it failed", 100.0) if len(begun) <= failing else trained(root)

    table = searched(
        tmp_path, config(algorithm="hyperband", trials=50, space=space), train=some_fail
    )
    epochs = [int(row["training.epochs"]) for row in table]
    # Nine trials of 1 epoch, of which three go on to 3 and one to 9, as far as so many succeeded;
    # then ceil(3 / 2 * 3) = 5 of 3 epochs, of which ceil(3 / 2) = 2 go on; then 3 of 9.
    longer, longest = {3: (3, 1), 7: (2, 1), 9: (0, 0)}[failing]
    rounds = [[1] * 9, [3] * longer, [9] * longest, [3] * 5, [9] * 2, [9] * 3]
    assert epochs == [count for part in rounds for count in part]
    failures = [row["error"] for row in table]
    assert failures == ["it failed"] * failing + [""] * (len(table) - failing)
    rates = [row["optimizer.learning_rate"] for row in table]
    succeeded = sorted(rates[failing:9], key=lambda rate: abs(math.log10(float(rate)) + 3))
    assert rates[9 : 9 + longer] == succeeded[:longer]


def test_a_search_says_that_it_takes_no_more_trials(tmp_path, capsys):
    values = config(epochs=1, algorithm="hyperband", space={"optimizer": SPACE["optimizer"]})
    searched(tmp_path, values, max_trials=1)  # one round of ceil(1 + log(1)) = 1 trial
    assert "over" not in capsys.readouterr().out
    assert len(searched(tmp_path, values, max_trials=4)) == 1
    assert (
        "The search is over after 1 of at most 4 trials, as Hyperband's rounds are complete: a "
        "larger --max_trials adds none." in " ".join(capsys.readouterr().out.split())
    )
    two = config(space={"backbone": {"width": {"choices": (4, 16)}}})
    assert len(searched(tmp_path / "two", two)) == 2
    said = " ".join(capsys.readouterr().out.split())
    assert "after 2 of at most 8 trials, as no other settings are left" in said


def test_lists_and_nothing_can_be_chosen_and_depended_on(tmp_path):
    when = {"field": "method.nearest", "values": [None]}
    space = {
        "optimizer": SPACE["optimizer"] | {"schedule": {"milestones": {"choices": ((), (20, 30))}}},
        "method": {
            "name": {"choices": ["clustr_trades"]},
            "nearest": {"choices": [None, 5]},
            "xent_lambda": {"low": 0.5, "high": 1.0, "when": when},
        },
    }
    values = config(space=space, trials=12)
    values["optimizer"]["schedule"] = {"name": "milestones"}
    table = searched(tmp_path, values)
    assert {row["optimizer.schedule.milestones"] for row in table} == {"[]", "[20, 30]"}
    assert {row["method.nearest"] for row in table} == {"", "5"}
    for row in table:
        assert bool(row["method.xent_lambda"]) == (row["method.nearest"] == "")
        experiment = experiment_of(Workdir(tmp_path / "trials" / row["trial"]))
        milestones = experiment.schedule.milestones
        assert str(list(milestones)) == row["optimizer.schedule.milestones"]
    for name in ("best_config.py", "trials.html"):
        assert (tmp_path / name).exists()


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
    assert [row["trial"] for row in rows(tmp_path / "run")] == ["00", "01", "02"]
    searched(tmp_path / "run", values, train=interrupted)
    assert begun[:5] == ["00", "01", "02", "03", "03"]
    drawn = [{**row, "search_mebibytes": ""} for row in rows(tmp_path / "run")]
    assert drawn == [{**row, "search_mebibytes": ""} for row in straight]


@pytest.mark.parametrize("call", range(1, 13))
def test_a_search_killed_at_any_write_goes_on(call, tmp_path):
    values = config(trials=2, space={"optimizer": SPACE["optimizer"]})
    process = context().Process(target=search_until_write, args=(tmp_path / "run", values, call))
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


def test_sigterm_ends_the_search_and_not_the_trial(tmp_path):
    def terminated(root):
        if root.name == "2":
            signal.raise_signal(signal.SIGTERM)
        return trained(root)

    values = config(space={"optimizer": SPACE["optimizer"]}, trials=4)
    with pytest.raises(TerminatedError, match="resumes"):
        searched(tmp_path, values, train=terminated)
    assert [row["trial"] for row in rows(tmp_path)] == ["0", "1"]
    table = searched(tmp_path, values)
    assert [(row["trial"], row["error"]) for row in table] == [(str(i), "") for i in range(4)]


def test_a_worker_with_another_search_is_refused_before_it_is_given_a_trial(tmp_path, monkeypatch):
    searched(tmp_path, config(), max_trials=2)
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "1")
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "worker0")
    oracle = mock.Mock(spec=["get_best_trials", "create_trial"])
    with mock.patch.object(oracle_client, "OracleClient", return_value=oracle):
        with pytest.raises(InputError, match="holds another search"):
            run_search(read_search(config(epochs=8)), tmp_path)
        with pytest.raises(InputError, match="holds no search: a worker needs the --workdir of"):
            run_search(read_search(config()), tmp_path / "other")
    oracle.create_trial.assert_not_called()


def test_a_folder_that_cannot_be_made_is_told_in_one_line():
    with pytest.raises(InputError, match=r"--workdir=/dev/null/x cannot be written: .*Not a direc"):
        run_search(read_search(config()), Path("/dev/null/x"))


def test_folders_in_use_and_of_training_runs_are_refused(tmp_path):
    with FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="is in use"):
        searched(tmp_path, config())
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="holds a training run"):
        searched(tmp_path, config())


def test_combinations_that_are_no_experiment_fail_alone(tmp_path):
    space = {
        "watch": {"certified_linf": {"choices": (None, 0.1)}},
        "training": {"precision": {"choices": ("float32", "mixed_bfloat16")}},
    }
    table = searched(tmp_path, config(space=space))
    errors = {
        (row["watch.certified_linf"], row["training.precision"]): row["error"] for row in table
    }
    contradiction = errors.pop(("0.1", "mixed_bfloat16"))
    assert contradiction == (
        "config.watch.certified_linf must be None unless config.training.precision is float32. "
        "Received: 0.1"
    )
    assert len(errors) == 3
    assert set(errors.values()) == {""}


def test_a_search_without_success_says_why(tmp_path):
    only_width_7 = {"backbone": {"width": {"choices": (7,)}}}
    with pytest.raises(RunError, match=r"None of 2 trials succeeded.*The loss is NaN"):
        searched(tmp_path, config(trials=2, space=SPACE | only_width_7))


def test_results_are_a_config_tensorboards_table_and_a_page(tmp_path):
    conditional = {
        "method": {
            "name": {"choices": ("clustr", "trades")},
            "steps": {
                "low": 1,
                "high": 5,
                "when": {"field": "method.name", "values": ("trades",)},
            },
        }
    }
    table = searched(tmp_path, config(space=SPACE | conditional))
    best = _best_config(tmp_path)
    winner = max((row for row in table if row["objective"]), key=_expected)
    trial = experiment_of(Workdir(tmp_path / "trials" / winner["trial"]))
    assert read_experiment(best.to_dict()) == trial
    with pytest.raises(TypeError):
        best.training.epochs = "three"
    # A field without a value takes one, and a list another one.
    command = ["train", "--config.training.steps_per_epoch=3", "--config.watch.attack.losses=ce"]
    parsed = flags.FlagValues()
    with mock.patch.object(sys, "argv", command):  # there ml_collections looks for overrides
        config_flags.DEFINE_config_dict("config", best, flag_values=parsed)
        parsed(command)
    changed = read_experiment(best.to_dict())
    assert changed.training == dataclasses.replace(trial.training, steps_per_epoch=3)
    assert changed.watch.attack.losses == ("ce",)

    # A session that was killed while it wrote has left half a file: the next writes it again.
    (file,) = (tmp_path / "trials").glob("events*")
    whole = file.read_bytes()
    file.write_bytes(whole[:50])
    searched(tmp_path, config(space=SPACE | conditional))
    assert [file] == list((tmp_path / "trials").glob("events*"))
    assert len(file.read_bytes()) == len(whole)
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
    for name in ("optimizer.learning_rate", "method.steps", "val_pgd_accuracy"):
        assert f'"label":"{name}"' in chart


@pytest.mark.slow
def test_two_workers_share_the_trials_of_a_chief(tmp_path):
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port = opened.getsockname()[1]
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": str(port)}
    barrier, values = context().Barrier(2), config(trials=6)
    processes = [
        context().Process(
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
