"""Settings checked together and against the data, in one line that names the field."""

import dataclasses
import json
import sys
from unittest import mock

import keras
import numpy as np
import pytest

from clustr_tf.cli.config import (
    check_fits,
    experiment_of,
    read_experiment,
    without_foreign_fields,
)
from clustr_tf.configs import digits
from clustr_tf.methods import METHODS, PGDAT
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir


def _config(field, value):
    config = digits.get_config("plain")
    with config.unlocked():
        *sections, name = field.split(".")
        section = config
        for part in sections:
            section = section[part]
        section[name] = value
    return config.to_dict()


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        # 10 classes with 2 clusters each: one seed and the 18 clusters of the other classes.
        ("clustering.clusters_per_batch", 20, "must be at most 19: one seed and the 18 clusters"),
        ("clustering.nearest", 21, "must be at most 20, the number of clusters"),
        ("method.nearest", 21, "must be at most 20, the number of clusters"),
        # The smallest digit class has 174 images: 35 are test images, 13 of the others held out.
        ("clustering.clusters_per_class", 127, "must be at most 126, the size of the smallest"),
        ("dataset.name", "imagenet", "must be one of ['cifar10', 'cifar100', 'digits', 'image"),
        ("backbone.name", "vgg", "must be one of ['lipschitz_cnn', 'lipschitz_mlp', 'lip"),
        ("method.name", "magic", "must be one of ['clustr', 'clustr_at', 'clustr_c"),
        ("evaluation.attack.norm", "l1", "must be one of ['l2', 'linf']"),
        ("training.strategy", "tpu", "must be one of ['default', 'mirrored', 'multi_worker']"),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value, line):
    with pytest.raises(InputError) as raised:
        experiment = read_experiment(_config(field, value))
        check_fits(experiment, experiment.dataset.load())
    assert str(raised.value).startswith(f"config.{field} {line}")
    assert f"Received: {value!r}" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("field", "value", "watched", "reason"),
    [
        ("method.name", "nominal", "certified_radius", "with config.method.name=nominal, which"),
        ("training.precision", "mixed_bfloat16", "certified_linf", "unless config.training."),
    ],
)
def test_what_is_certified_needs_its_parts(field, value, watched, reason):
    """l2 radii of an epoch need clusters, interval bounds float32."""
    config = _config(field, value)
    config["method"].pop("alpha")
    config["watch"][watched] = 0.1
    with pytest.raises(InputError, match=rf"^config\.watch\.{watched} must be None {reason}"):
        read_experiment(config)


def test_the_largest_possible_settings_fit():
    experiment = read_experiment(_config("clustering.clusters_per_batch", 19))
    check_fits(experiment, experiment.dataset.load())


def test_only_the_images_left_to_train_on_count_for_k():
    """Of the 139 training images of digit 8, the smallest class, none are held out."""
    config = _config("dataset.validation_examples", 0)
    config["clustering"]["clusters_per_class"] = 140
    experiment = read_experiment(config)
    with pytest.raises(InputError, match=r"clusters_per_class must be at most 139, the size"):
        check_fits(experiment, experiment.dataset.load())


@pytest.mark.parametrize("field", ["training.batch_size", "clustering.examples_per_cluster"])
def test_shuffled_batches_larger_than_the_training_data_are_refused(field):
    """1,300 images are left to train on; without a batch size it is M * D, here M = 13."""
    largest = 1300 if field == "training.batch_size" else 100
    experiments = []
    for value in (largest, largest + 1):
        config = _config(field, value)
        config["clustering"]["clusters_per_batch"] = 13
        config["method"] = {"name": "nominal"}
        experiments.append(read_experiment(config))
    fitting, large = experiments
    received = 1301 if field == "training.batch_size" else 13 * 101
    dataset = fitting.dataset.load()
    check_fits(fitting, dataset)
    line = rf"^config\.training\.batch_size must be at most 1300, .* {received}$"
    with pytest.raises(InputError, match=line):
        check_fits(large, dataset)


def test_one_class_is_refused():
    experiment = read_experiment(digits.get_config("plain").to_dict())
    dataset = experiment.dataset.load()
    one_class = dataclasses.replace(
        dataset, class_names=("0",), train_labels=np.zeros_like(dataset.train_labels)
    )
    with pytest.raises(InputError, match="must be data of two classes or more") as raised:
        check_fits(experiment, one_class)
    assert "\n" not in str(raised.value)


def test_the_best_epoch_needs_held_out_images():
    values = _config("training.checkpoint", "best_pgd")
    read_experiment(values)
    values["dataset"]["validation_examples"] = 0
    experiment = read_experiment(values)
    with pytest.raises(InputError, match=r"^config\.dataset\.validation_examples must be above 0"):
        check_fits(experiment, experiment.dataset.load())


def test_a_share_may_be_held_out_instead_of_a_number():
    """A tenth of 1,437 digits, rounded; not both at once."""
    values = _config("dataset.validation_examples", 0)
    values["dataset"]["validation_split"] = 0.1
    assert len(read_experiment(values).dataset.load().validation_labels) == 144
    for wrong, examples in ((1.0, 0), (-0.1, 0), (0.1, 5)):
        values["dataset"] |= {"validation_split": wrong, "validation_examples": examples}
        with pytest.raises(InputError, match=r"^config\.dataset\.validation_split must be in"):
            read_experiment(values)


def test_the_values_are_read_back():
    for variant in ("default", "plain"):
        experiment = read_experiment(digits.get_config(variant).to_dict())
        values = experiment.values
        assert json.loads(json.dumps(values)) == values
        assert read_experiment(values) == experiment
        assert values["method"]["name"] == {"default": "clustr_ibp", "plain": "clustr"}[variant]


def test_a_method_of_another_name_takes_what_both_have():
    """Eps of the file goes on; alpha, which pgd_at does not have, is left out."""
    config = digits.get_config().to_dict()
    config["method"] = {"name": "pgd_at", "eps": 0.2, "likelihood_lambda": 0.1, "steps": 5}
    overrides = {"method.name": "pgd_at", "method.steps": 5}
    values = without_foreign_fields(config, overrides)
    assert values["method"] == {"name": "pgd_at", "eps": 0.2, "steps": 5}
    method = read_experiment(values).method
    assert (type(method), method.eps, method.steps) == (PGDAT, 0.2, 5)
    # What the command line says itself is not left out in silence.
    values = without_foreign_fields(config, {**overrides, "method.likelihood_lambda": 0.1})
    with pytest.raises(InputError, match=r"^config\.method has no field 'likelihood_lambda'"):
        read_experiment(values)


def test_a_schedule_of_another_name_drops_the_fields_of_the_old_one():
    config = digits.get_config("plain").to_dict()
    config["optimizer"]["schedule"]["name"] = "cosine"  # the milestones of the file are still there
    values = without_foreign_fields(config, {"optimizer.schedule.name": "cosine"})
    assert values["optimizer"]["schedule"] == {"name": "cosine"}
    assert config["optimizer"]["schedule"]["milestones"] == (30,)
    overrides = {"optimizer.schedule.name": "cosine", "optimizer.schedule.decay": 0.1}
    with pytest.raises(InputError, match=r"^config\.optimizer\.schedule has no field 'decay'"):
        read_experiment(without_foreign_fields(config, overrides))


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("method", "clustr"),
        ("method", {"name": ["clustr"]}),
        ("optimizer", 3),
        ("optimizer", {"schedule": "cosine"}),
        ("backbone", None),
        ("training", "long"),
    ],
)
def test_what_is_no_group_is_told_in_one_line(section, value):
    config = digits.get_config("plain").to_dict()
    config[section] = value
    with pytest.raises(InputError, match=rf"^config\.{section}.* must be a group") as raised:
        read_experiment(without_foreign_fields(config, {"method.name": "clustr"}))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("optimizer", "expected"),
    [
        ({"name": "adamw", "learning_rate": "1/500", "weight_decay": 0.01}, keras.optimizers.AdamW),
        ({"name": "sgd", "momentum": 0.9, "nesterov": True}, keras.optimizers.SGD),
        ({"use_ema": True, "ema_momentum": 0.9, "global_clipnorm": 1.0}, keras.optimizers.Adam),
    ],
)
def test_any_keras_optimizer_with_its_own_fields(optimizer, expected):
    config = _config("optimizer", optimizer)
    built = read_experiment(config).build_optimizer()
    assert type(built) is expected
    for name, value in optimizer.items():
        if name not in ("name", "learning_rate"):
            assert getattr(built, name) == value


@pytest.mark.parametrize(
    ("optimizer", "line"),
    [
        ({"name": "magic"}, "config.optimizer.name must be one of ['adadelta', "),
        ({"name": "sgd", "beta_1": 0.5}, "config.optimizer has no field 'beta_1'; its fields: "),
        ({"learning_rate": 0.0}, "config.optimizer.learning_rate must be above 0. Received: 0.0"),
        ({"learning_rate": "fast"}, "config.optimizer.learning_rate must be a number or a"),
        ({"clipnorm": 1.0, "clipvalue": 1.0}, "config.optimizer."),
        ({"schedule": {"name": "linear"}}, "config.optimizer.schedule.name must be one of ['const"),
        (
            {"schedule": {"name": "milestones", "decay": 2.0}},
            "config.optimizer.schedule.decay must",
        ),
    ],
)
def test_wrong_optimizers_are_told_in_one_line(optimizer, line):
    with pytest.raises(InputError) as raised:
        experiment = read_experiment(_config("optimizer", optimizer))
        experiment.plan(experiment.dataset.load())
    assert str(raised.value).startswith(line)
    assert "\n" not in str(raised.value)


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A module that brings a method; it cannot be imported when the test is over."""
    (tmp_path / "brings_mine.py").write_text(
        "from dataclasses import dataclass\n"
        "from clustr_tf.methods import METHODS, Nominal\n"
        "@dataclass(frozen=True)\n"
        "class Mine(Nominal):\n"
        "    power: float = 2.0\n"
        "METHODS['mine'] = Mine\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with mock.patch.dict(METHODS), mock.patch.dict(sys.modules):
        yield "brings_mine"


def test_plugins_are_imported_before_anything_is_read(plugin, tmp_path):
    config = digits.get_config().to_dict()
    config |= {"method": {"name": "mine", "power": 3.0}, "plugins": (plugin,)}
    experiment = read_experiment(config)
    assert experiment.method.power == 3.0
    assert experiment.values["plugins"] == [plugin]
    workdir = Workdir(tmp_path / "run")
    with workdir.claimed(experiment.values):
        pass
    with pytest.raises(
        InputError, match=r"plugins=\['brings_mine'\]: it runs only with --trust_pl"
    ):
        experiment_of(workdir)
    assert experiment_of(workdir, trust_plugins=True) == experiment


def test_a_plugin_that_is_not_there_is_told_in_one_line(tmp_path, monkeypatch):
    config = digits.get_config().to_dict()
    with pytest.raises(InputError, match=r"^config\.plugins must be importable .*'not_there'$"):
        read_experiment({**config, "plugins": ["not_there"]})
    (tmp_path / "lacks.py").write_text("import what_it_lacks\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="what_it_lacks"):
        read_experiment({**config, "plugins": ["lacks"]})
