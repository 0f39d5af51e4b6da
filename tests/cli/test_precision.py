"""`training.precision=auto`: where it is bfloat16, and that a run keeps what it began with."""

import json
import time
from unittest import mock

import keras
import pytest

from clustr_tf.cli.config import read_experiment
from clustr_tf.cli.search import resolved
from clustr_tf.configs import digits
from clustr_tf.train.__main__ import run_training

UNIT = "clustr_tf.cli.config.bfloat16_unit"
WIDTHS = "clustr_tf.cli.config.BFLOAT16_WIDTHS"


def config_of(overrides=None):
    """ResNet-18 of width 16 on digits, a method without interval bounds."""
    config = digits.get_config("plain")
    values = {"backbone.name": "resnet18", "backbone.width": 16, "watch.attack.steps": 1}
    with config.unlocked():
        config.update_from_flattened_dict({**values, **(overrides or {})})
    return config.to_dict()


def precision_of(overrides=None, unit="AMX"):
    with mock.patch(UNIT, return_value=unit):
        return read_experiment(config_of(overrides)).resolved().training.precision


@pytest.mark.parametrize("name", ["resnet18", "wide_resnet28", "wide_resnet34"])
def test_resnets_that_are_wide_enough_train_in_bfloat16(name):
    assert precision_of({"backbone.name": name}) == "mixed_bfloat16"
    assert precision_of({"backbone.name": name, "backbone.width": 15}) == "float32"


@pytest.mark.parametrize(
    "overrides",
    [
        {"backbone.name": "small_cnn", "backbone.width": 64},
        {"backbone.name": "lipschitz_cnn"},
        {"method": {"name": "clustr_ibp"}},
        {"watch.certified_linf": 0.1},
        {"training.strategy": "multi_worker"},
        {"training.precision": "float32"},
    ],
    ids=str,
)
def test_others_train_in_float32(overrides):
    assert precision_of(overrides) == "float32"


def test_a_machine_without_a_unit_for_it_trains_in_float32_unless_asked():
    assert precision_of(unit=None) == "float32"
    assert precision_of({"training.precision": "mixed_bfloat16"}, unit=None) == "mixed_bfloat16"


@pytest.mark.parametrize(("width", "unit", "half"), [(16, "AMX", 1), (15, "AMX", 0), (16, None, 0)])
def test_attacks_search_in_what_training_would_take_if_that_is_asked_for(width, unit, half):
    experiment = read_experiment(config_of({"backbone.width": width}))
    with mock.patch(UNIT, return_value=unit):
        assert experiment.search_precision("auto") == ("mixed_bfloat16" if half else "float32")
        assert experiment.search_precision() == "float32"
        assert experiment.search_precision("mixed_bfloat16") == "mixed_bfloat16"


def test_a_plan_has_it_decided_and_builds_the_backbone_in_it():
    experiment = read_experiment(config_of())
    assert experiment.values["training"]["precision"] == "auto"
    with mock.patch(UNIT, return_value="AMX"):
        plan = experiment.plan(experiment.dataset.load())
    assert plan.training.precision == "mixed_bfloat16"
    computing = {layer.compute_dtype for layer in plan.build_classifier().backbone.layers}
    assert computing == {"bfloat16"}
    assert plan.build_classifier("float32").backbone.compute_dtype == "float32"


def test_a_trial_of_a_search_is_told_what_it_trains_in():
    with mock.patch(UNIT, return_value="AMX"):
        wide, thin = (resolved(config_of(), {"backbone.width": width}) for width in (16, 8))
    assert wide["training"]["precision"] == "mixed_bfloat16"
    assert thin["training"]["precision"] == "float32"


@pytest.mark.parametrize("begun", ["float32", "mixed_bfloat16"])
def test_a_run_that_goes_on_keeps_what_it_began_with(begun):
    with mock.patch(UNIT, return_value="AMX" if begun == "float32" else None):
        experiment = read_experiment(config_of()).resolved({"training": {"precision": begun}})
    assert experiment.training.precision == begun


def test_a_run_says_and_records_it(tmp_path, capsys):
    """Begun where bfloat16 is fast, it goes on where it is not; the model computes in float32."""
    for epochs, unit in [(1, "AMX"), (2, None)]:
        training = {"training.epochs": epochs, "training.steps_per_epoch": 2}
        config = config_of({**training, "backbone.name": "small_cnn", "evaluation.examples": 20})
        with mock.patch.dict(WIDTHS, {"small_cnn": 16}), mock.patch(UNIT, return_value=unit):
            run_training(read_experiment(config), tmp_path, time.perf_counter())
        assert capsys.readouterr().out.count("The backbone trains in bfloat16") == 1
        config = json.loads((tmp_path / "config.json").read_text())
        summary = json.loads((tmp_path / "summary.json").read_text())
        assert (config["training"]["precision"], summary["precision"]) == ("mixed_bfloat16",) * 2
        assert summary["epochs"] == epochs
    model = keras.models.load_model(tmp_path / "model.keras", compile=False)
    assert {layer.compute_dtype for layer in model.backbone.layers} == {"float32"}
