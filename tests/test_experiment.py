"""Settings checked together and against the data, in one line that names the field."""

import dataclasses

import numpy as np
import pytest

from clustr_tf.datasets import load_dataset
from clustr_tf.errors import InputError
from clustr_tf.experiment import changed_fields, check_fits, read_experiment
from configs import digits


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
        ("objective.nearest", 21, "must be at most 20, the number of clusters"),
        # The smallest digit class has 174 images: 35 are test images, 13 of the others held out.
        ("clustering.clusters_per_class", 127, "must be at most 126, the size of the smallest"),
        ("dataset.name", "imagenet", "must be one of ['cifar10', 'cifar100', 'digits', 'image"),
        ("backbone.name", "vgg", "must be one of ['lipschitz_cnn', 'lipschitz_mlp', 'lip"),
        ("objective.name", "magic", "must be one of ['clustr', 'clustr_at', 'clustr_c"),
        ("evaluation.attack.norm", "l1", "must be one of ['l2', 'linf']"),
        ("training.strategy", "tpu", "must be one of ['default', 'mirrored', 'multi_worker']"),
    ],
)
def test_impossible_settings_are_refused_by_name(field, value, line):
    with pytest.raises(InputError) as raised:
        experiment = read_experiment(_config(field, value))
        check_fits(experiment, load_dataset(experiment.dataset))
    assert str(raised.value).startswith(f"config.{field} {line}")
    assert f"Received: {value!r}" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("objective.name", "nominal", "with config.objective.name=nominal, which has no clusters"),
        ("training.precision", "mixed_bfloat16", "unless config.training.precision is float32"),
    ],
)
def test_intervals_are_certified_of_float32_networks_with_clusters_only(field, value, reason):
    config = _config(field, value)
    config["watch"]["certified_linf"] = 0.1
    with pytest.raises(InputError) as raised:
        read_experiment(config)
    assert str(raised.value) == (
        f"config.watch.certified_linf must be None {reason}. Received: 0.1"
    )


def test_the_largest_possible_settings_fit():
    experiment = read_experiment(_config("clustering.clusters_per_batch", 19))
    check_fits(experiment, load_dataset(experiment.dataset))


def test_only_the_images_left_to_train_on_count_for_k():
    """Of the 139 training images of digit 8, the smallest class, none are held out."""
    config = _config("dataset.validation_examples", 0)
    config["clustering"]["clusters_per_class"] = 140
    experiment = read_experiment(config)
    with pytest.raises(InputError, match=r"clusters_per_class must be at most 139, the size"):
        check_fits(experiment, load_dataset(experiment.dataset))


@pytest.mark.parametrize("field", ["training.batch_size", "clustering.examples_per_cluster"])
def test_shuffled_batches_larger_than_the_training_data_are_refused(field):
    """1,300 images are left to train on; without a batch size it is M * D, here M = 13."""
    largest = 1300 if field == "training.batch_size" else 100
    experiments = []
    for value in (largest, largest + 1):
        config = _config(field, value)
        config["clustering"]["clusters_per_batch"] = 13
        config["objective"]["name"] = "nominal"
        experiments.append(read_experiment(config))
    fitting, large = experiments
    dataset = load_dataset(fitting.dataset)
    check_fits(fitting, dataset)
    assert fitting.batch_size == 1300
    line = rf"^config\.training\.batch_size must be at most 1300, .* {large.batch_size}$"
    with pytest.raises(InputError, match=line):
        check_fits(large, dataset)


def test_one_class_is_refused():
    experiment = read_experiment(digits.get_config("plain").to_dict())
    dataset = load_dataset(experiment.dataset)
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
    with pytest.raises(InputError, match=r"^config\.dataset\.validation_examples must be above 0"):
        read_experiment(values)


def test_changed_fields_are_named():
    old = read_experiment(digits.get_config("plain").to_dict())
    new = dataclasses.replace(
        old,
        training=dataclasses.replace(old.training, seed=1, epochs=2),
        objective=dataclasses.replace(old.objective, alpha=1.0),
        watch=dataclasses.replace(old.watch, attack=dataclasses.replace(old.watch.attack, steps=3)),
    )
    assert changed_fields(old, old) == []
    assert changed_fields(old, new) == [
        "objective.alpha",
        "training.epochs",
        "training.seed",
        "watch.attack.steps",
    ]
