"""`training.jit_compile=auto`: XLA for wide ResNets on GPUs; a run keeps what it began with."""

from unittest import mock

import pytest

from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import cifar10, cifar10_at, digits
from clustr_tf.run.errors import InputError


def decided(config, jit_compile=None, gpus=("GPU:0",), begun=None, **backbone):
    with config.unlocked():
        config.backbone.update(backbone)
        if jit_compile is not None:
            config.training.jit_compile = jit_compile
    experiment = read_experiment(config.to_dict())
    with (
        mock.patch("clustr_tf.cli.config.bfloat16_unit", return_value=None),
        mock.patch("tensorflow.config.list_physical_devices", return_value=list(gpus)),
    ):
        training = experiment.resolved(begun).training
    assert read_experiment(experiment.values).training == experiment.training
    return training.jit_compile


@pytest.mark.parametrize("config", [cifar10.get_config, cifar10_at.get_config])
def test_resnets_are_compiled_on_gpus_and_nothing_is_on_a_cpu(config):
    assert decided(config()) is True
    assert decided(config(), width=15) is False
    assert decided(config(), gpus=()) is False
    assert decided(digits.get_config()) is False


def test_who_asks_gets_it():
    assert decided(cifar10.get_config(), jit_compile=True, gpus=()) is True
    assert decided(cifar10.get_config(), jit_compile=False) is False


@pytest.mark.parametrize("begun", [{"jit_compile": True}, {"jit_compile": False}, {}])
def test_a_run_that_goes_on_keeps_what_it_began_with(begun):
    gpus = () if begun.get("jit_compile") else ("GPU:0",)
    kept = decided(cifar10.get_config(), gpus=gpus, begun={"training": begun})
    assert kept is begun.get("jit_compile", False)


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_other_values_are_refused(value):
    config = cifar10.get_config().to_dict()
    config["training"]["jit_compile"] = value
    with pytest.raises(InputError, match=r"^config\.training\.jit_compile must be"):
        read_experiment(config)
