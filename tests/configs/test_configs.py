"""The config files: complete, commented, locked, and full-size ones really build."""

import re
from pathlib import Path

import keras
import ml_collections
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.datasets import Dataset
from clustr_tf.experiment import Experiment, check_fits, read_experiment
from clustr_tf.objectives import OBJECTIVES, build_objective
from clustr_tf.training.building import build_classifier
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.step import build_step
from clustr_tf.tuning.request import read_request
from clustr_tf.tuning.space import Range
from configs import (
    cifar10,
    cifar10_at,
    cifar10_certified,
    cifar10_search,
    cifar100,
    digits,
    digits_certified,
    digits_ibp,
    digits_search,
    image_folder,
    mnist_at,
    mnist_certified,
    mnist_ibp,
    robust,
    svhn_cropped,
)

CONFIGS = {
    **{f"digits {name}": digits.get_config(name) for name in ("default", "plain")},
    "digits_ibp": digits_ibp.get_config(),
    "mnist_at": mnist_at.get_config(),
    "mnist_ibp": mnist_ibp.get_config(),
    "cifar100": cifar100.get_config(),
    "svhn_cropped": svhn_cropped.get_config(),
    "image_folder": image_folder.get_config(),
    "cifar10_certified": cifar10_certified.get_config(),
    "digits_certified": digits_certified.get_config(),
    **{f"mnist {name}": mnist_certified.get_config(name) for name in ("large", "small")},
    **{f"robust {name}": robust.get_config(name) for name in ("digits", "mnist", "cifar10")},
    **{f"cifar10_at {name}": cifar10_at.get_config(name) for name in ("default", "wide", "thin")},
    **{variant: cifar10.get_config(variant) for variant in ("default", "published", "thin")},
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_every_config_is_an_experiment(config):
    assert isinstance(config, ml_collections.ConfigDict)
    assert isinstance(read_experiment(config.to_dict()), Experiment)


@pytest.mark.parametrize(
    "module",
    [
        *(digits, digits_ibp, mnist_at, mnist_ibp),
        *(cifar10, cifar10_at, cifar100, svhn_cropped, image_folder),
    ],
)
def test_every_field_has_a_comment_and_nothing_of_the_package_is_imported(module):
    text = Path(module.__file__).read_text()
    assert set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) <= {
        "configs",
        "ml_collections",
    }
    fields = [line for line in text.splitlines() if re.match(r'\s+"\w+": [^{]', line)]
    assert [line.strip() for line in fields if "#" not in line] == []


@pytest.mark.parametrize("name", ["digits default", "image_folder", "mnist_at", "cifar10_at thin"])
def test_what_stays_standing_is_the_default(name):
    """docs/training.md recommends it; its own eps is what it is evaluated at, or a little more."""
    experiment = read_experiment(CONFIGS[name].to_dict())
    assert experiment.objective.name == "clustr_at"
    assert experiment.backbone.unit_ball
    assert 1 <= experiment.objective.eps / experiment.evaluation.attack.eps <= 1.1


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"clustr_certified"}))
def test_every_method_takes_the_default_config(name):
    """No option of the default has to be unset; `clustr_certified` needs another backbone."""
    config = digits.get_config()
    config.objective.name = name
    assert read_experiment(config.to_dict()).objective.name == name


def test_published_hyper_parameters():
    """Those of the paper and the official code for CIFAR-10."""
    experiment = read_experiment(CONFIGS["published"].to_dict())
    clustering = experiment.clustering
    assert (clustering.clusters_per_class, clustering.clusters_per_batch) == (2, 12)
    assert (clustering.examples_per_cluster, clustering.nearest) == (20, 20)
    assert (clustering.kmeans_starts, clustering.kmeans_iterations) == (1, 20)
    assert (experiment.objective.alpha, experiment.objective.epsilon) == (12.5, 1e-8)
    assert experiment.objective.nearest == 10
    assert experiment.optimizer.learning_rate == 1e-4
    assert experiment.optimizer.milestones == (30, 60)
    assert (experiment.training.epochs, experiment.backbone.width) == (90, 64)


@pytest.mark.parametrize(
    ("module", "variants"),
    [
        (digits, "default, plain"),
        (cifar10, "default, published, thin"),
        (cifar10_at, "default, wide, thin"),
    ],
)
def test_an_unknown_variant_is_refused(module, variants):
    with pytest.raises(ValueError, match=variants):
        module.get_config("huge")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"), [("default", 24), ("cifar10_at default", 2), ("cifar10_at wide", 1)]
)
def test_a_full_size_config_trains_one_step(name, batch):
    """Without XLA, which takes longer to compile so much for a CPU than the step."""
    _train_one_step(CONFIGS[name], batch, jit_compile=False)


@pytest.mark.slow
def test_a_step_of_a_config_for_gpus_compiles_with_xla():
    """On a small network, which a CPU compiles in seconds."""
    config = cifar10_at.get_config()
    config.backbone.update(name="small_cnn", width=2)
    _train_one_step(config, batch=4, jit_compile=config.training.jit_compile)


def _train_one_step(config, batch, jit_compile):
    """On random images of CIFAR's shape: the losses are finite and weights move."""
    experiment = read_experiment(config.to_dict())
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (200, 32, 32, 3), np.uint8)
    labels = np.arange(200) % 10
    dataset = Dataset(
        name="random",
        train_images=images,
        train_labels=labels,
        validation_images=images[:0],
        validation_labels=labels[:0],
        test_images=images,
        test_labels=labels,
        class_names=tuple("0123456789"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    check_fits(experiment, dataset)
    classifier = build_classifier(experiment, dataset)
    classifier.head.set_clusters(rng.normal(size=classifier.head.centroids.shape), variance=1.0)
    optimizer = keras.optimizers.Adam(experiment.optimizer.learning_rate)
    optimizer.build(classifier.trainable_variables)
    step = build_step(
        classifier,
        build_objective(experiment.objective),
        optimizer,
        lambda batch, seed: batch,
        Replicas(tf.distribute.get_strategy()),
        jit_compile,
    )
    before = keras.ops.convert_to_numpy(classifier.trainable_variables[0]).copy()
    targets = np.stack([labels, 2 * labels + np.arange(200) // 10 % 2], axis=1)[:batch]
    losses, parts, _ = step(
        tf.constant(images[:batch]),
        tf.constant(targets),
        tf.constant([0, 0], tf.int32),
        tf.zeros([0, 32, 32, 3]),
        tf.constant(0.0),
    )
    assert losses.shape == (batch,)
    assert np.isfinite(losses).all()
    assert np.isfinite(float(parts["loss"]))
    assert not np.array_equal(before, classifier.trainable_variables[0])


@pytest.mark.parametrize("module", [digits_search, cifar10_search])
def test_searches_are_experiments_with_a_space(module):
    request = read_request(module.get_config().to_dict(), None)
    assert request.settings.objective.startswith("val_pgd_accuracy")
    assert len(request.fields) > 3


@pytest.mark.parametrize("module", [digits_search, cifar10_search])
def test_every_method_of_a_search_takes_what_is_drawn_with_it(module):
    """The most of every range and the last choice, where their conditions are met."""
    request = read_request(module.get_config().to_dict(), None)
    (methods,) = [field for field in request.fields if field.name == "objective.name"]
    for method in methods.values:
        drawn = {
            field.name: field.high if isinstance(field, Range) else field.values[-1]
            for field in request.fields
            if field.when is None or method in field.when.values
        }
        config = ml_collections.ConfigDict(request.config)
        config.update_from_flattened_dict(drawn | {"objective.name": method})
        assert read_experiment(config.to_dict()).objective.name == method
