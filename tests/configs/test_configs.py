"""The config files: complete, commented, and full-size ones really build."""

import importlib
import re
from pathlib import Path

import keras
import ml_collections
import numpy as np
import pytest
import tensorflow as tf

from clustr_tf import configs
from clustr_tf.cli.config import check_fits, read_experiment, without_foreign_fields
from clustr_tf.cli.search import read_search
from clustr_tf.configs import cifar10_at, digits
from clustr_tf.data import Dataset
from clustr_tf.methods import METHODS, Clustr, ClustrAT
from clustr_tf.run.distribution import Replicas
from clustr_tf.train.settings import Milestones
from clustr_tf.train.step import build_step

FILES = sorted(Path(configs.__file__).parent.glob("[!_]*.py"))
MODULES = [importlib.import_module(f"clustr_tf.configs.{path.stem}") for path in FILES]
# "digits plain", "mnist_ibp": a file has variants if its table says so.
CONFIGS = {
    f"{path.stem} {variant}".strip(): module.get_config(*[variant] if variant else [])
    for path, module in zip(FILES, MODULES, strict=True)
    for variant in getattr(module, "_VARIANTS", [""])
}
SEARCHES = {name for name, config in CONFIGS.items() if "search" in config}


@pytest.mark.parametrize("name", sorted(CONFIGS.keys() - SEARCHES))
def test_every_config_is_an_experiment(name):
    config = CONFIGS[name]
    assert isinstance(config, ml_collections.ConfigDict)
    values = read_experiment(config.to_dict()).values
    assert values["method"]["name"] == config.method.name


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_every_field_has_a_comment_and_nothing_of_the_package_but_configs_is_imported(file):
    text = file.read_text()
    imported = re.findall(r"^\s*(?:import|from) ([\w.]+)", text, re.MULTILINE)
    assert set(imported) <= {"clustr_tf.configs", "ml_collections"}
    fields = [line for line in text.splitlines() if re.match(r'\s{8,}"\w+": [^{]', line)]
    assert [line.strip() for line in fields if "#" not in line] == []


@pytest.mark.parametrize(
    "name", ["digits at", "image_folder default", "mnist_at", "cifar10_at thin"]
)
def test_what_is_trained_under_attack_is_in_the_unit_ball(name):
    """docs/training.md recommends it; its own eps is what it is evaluated at, or a little more."""
    experiment = read_experiment(CONFIGS[name].to_dict())
    assert type(experiment.method) is ClustrAT
    assert experiment.backbone_fields["unit_ball"]
    assert 1 <= experiment.method.eps / experiment.evaluation.attack.eps <= 1.1


@pytest.mark.parametrize("name", sorted(METHODS.keys() - {"clustr_certified"}))
def test_every_method_takes_the_default_config(name):
    """Nothing else has to be set, eps goes on; `clustr_certified` needs another backbone."""
    config = digits.get_config()
    config.method.name = name
    experiment = read_experiment(without_foreign_fields(config.to_dict(), {"method.name": name}))
    check_fits(experiment, experiment.dataset.load())
    assert type(experiment.method) is METHODS[name]
    assert getattr(experiment.method, "eps", config.method.eps) == config.method.eps


def test_published_hyper_parameters():
    """Those of the paper and the official code for CIFAR-10."""
    experiment = read_experiment(CONFIGS["cifar10 published"].to_dict())
    clustering = experiment.clustering
    assert (experiment.head.clusters_per_class, experiment.head.nearest) == (2, 20)
    assert (clustering.clusters_per_batch, clustering.examples_per_cluster) == (12, 20)
    assert (clustering.kmeans_starts, clustering.kmeans_iterations) == (1, 20)
    assert experiment.method == Clustr(alpha=12.5, epsilon=1e-8, nearest=10)
    assert (experiment.optimizer["name"], experiment.optimizer["learning_rate"]) == ("adam", 1e-4)
    assert experiment.schedule == Milestones((30, 60), decay=0.1)
    assert (experiment.training.epochs, experiment.backbone_fields["width"]) == (90, 64)


@pytest.mark.parametrize("module", [one for one in MODULES if hasattr(one, "_VARIANTS")])
def test_an_unknown_variant_is_refused(module):
    with pytest.raises(ValueError, match=r"^variant must be .* Received: 'huge'$") as refused:
        module.get_config("huge")
    assert all(variant in str(refused.value) for variant in module._VARIANTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "batch"), [("cifar10 default", 24), ("cifar10_at default", 2), ("cifar10_at wide", 1)]
)
def test_a_full_size_config_trains_one_step(name, batch):
    """Without XLA, which takes longer to compile so much for a CPU than the step."""
    _train_one_step(CONFIGS[name], batch, jit_compile=False)


@pytest.mark.slow
def test_a_step_of_a_config_for_gpus_compiles_with_xla():
    """On a small network, which a CPU compiles in seconds."""
    config = cifar10_at.get_config()
    config.backbone.update(name="small_cnn", width=2)
    _train_one_step(config, batch=4, jit_compile=True)


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
        validation_images=images[:20],
        validation_labels=labels[:20],
        test_images=images,
        test_labels=labels,
        class_names=tuple("0123456789"),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
    )
    check_fits(experiment, dataset)
    classifier = experiment.build_classifier(dataset)
    classifier.head.set_clusters(rng.normal(size=classifier.head.centroids.shape), variance=1.0)
    optimizer = experiment.build_optimizer()
    optimizer.build(classifier.trainable_variables)
    step = build_step(
        classifier,
        experiment.method,
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


@pytest.mark.parametrize("name", sorted(SEARCHES))
def test_searches_have_a_space_whose_ends_and_choices_are_experiments(name):
    """Which reading a search tries out."""
    request = read_search(CONFIGS[name].to_dict())
    assert request.settings.objective.startswith("val_pgd_accuracy")
    assert len(request.fields) > 3
    (methods,) = [field for field in request.fields if field.name == "method.name"]
    eps = request.base["watch"]["attack"]["eps"]
    for method in methods.values:  # each is trained against what it is judged by
        assert request.resolved({"method.name": method})["method"].get("eps", eps) == eps
