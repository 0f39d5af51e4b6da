"""Training on images that stay on disk: the same bits as in memory, resumed and by workers too."""

import csv

import numpy as np
import pytest
from PIL import Image

from clustr_tf import load_model
from clustr_tf.classifier import Embedder
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import digits as config_of_digits
from clustr_tf.data import StoredImages
from clustr_tf.data.kmeans import cluster_by_class
from clustr_tf.run.errors import RunError
from clustr_tf.run.workdir import Workdir
from tests.train.runs import run


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """40 training and 10 test images a class, 3 classes, 8x8, told apart by a bright row."""
    rng, root = np.random.default_rng(5), tmp_path_factory.mktemp("folder") / "rows"
    for split, count in (("train", 40), ("test", 10)):
        for label in range(3):
            (root / split / str(label)).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 120, (8, 8), np.uint8)
                pixels[2 * label + 1] += 120
                Image.fromarray(pixels).save(root / split / str(label) / f"{number}.png")
    return root


def _experiment(folder, cache, in_memory, epochs=2):
    config = config_of_digits.get_config("plain").to_dict()
    config["dataset"] = {
        "name": "image_folder",
        "data_dir": str(folder),
        "in_memory": in_memory,
        "cache_dir": str(cache),
        "validation_examples": 12,
    }
    config["training"] |= {"epochs": epochs, "deterministic": True}
    config["clustering"] |= {"clusters_per_batch": 3, "examples_per_cluster": 4}
    config["watch"]["attack"]["steps"] = 1
    return read_experiment(config)


def _trained(folder, tmp_path, name, in_memory, epochs=2):
    experiment = _experiment(folder, tmp_path / "cache", in_memory, epochs)
    dataset = experiment.dataset.load()
    assert isinstance(dataset.train_images, np.ndarray) == in_memory
    return dataset, run(experiment, dataset, Workdir(tmp_path / name))


def test_the_same_bits_as_in_memory_and_after_a_resume(folder, tmp_path):
    """The first epoch of the second run has its images on disk, the second in memory."""
    in_memory, whole = _trained(folder, tmp_path, "whole", True)
    on_disk, first = _trained(folder, tmp_path, "parts", False, epochs=1)
    for split in ("train", "validation", "test"):
        images = getattr(on_disk, f"{split}_images")
        assert isinstance(images, StoredImages)
        np.testing.assert_array_equal(images, getattr(in_memory, f"{split}_images"))
    assert (on_disk.checksum, on_disk.mean) == (in_memory.checksum, in_memory.mean)
    assert first.history == whole.history[:1]
    _, resumed = _trained(folder, tmp_path, "parts", True)
    assert resumed.history == whole.history
    assert len(whole.history) == 2
    for ours, theirs in zip(resumed.classifier.variables, whole.classifier.variables, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fit_takes_them(folder, tmp_path):
    experiment = _experiment(folder, tmp_path, False)
    dataset, histories = experiment.dataset.load(), []
    for images in (dataset.train_images, np.asarray(dataset.train_images)):
        classifier = experiment.build_classifier(dataset)
        classifier.set_weights([np.ones_like(weight) / 10 for weight in classifier.get_weights()])
        classifier.compile(method=experiment.method)
        fitted = classifier.fit(images, dataset.train_labels, seed=0, validation_split=0.2)
        histories.append({k: v for k, v in fitted.history.items() if "second" not in k})
    assert histories[0] == histories[1]


def test_embeddings_of_many_images_are_in_a_file_and_the_same(folder, tmp_path, monkeypatch):
    experiment = _experiment(folder, tmp_path, False)
    dataset = experiment.dataset.load()
    embed = Embedder(experiment.build_classifier(dataset))
    usual = embed(dataset.train_images)
    monkeypatch.setattr("clustr_tf.classifier._MOST_EMBEDDINGS_BYTES", usual.nbytes - 1)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    large = embed(dataset.train_images)
    assert usual.base is None
    assert isinstance(large.base, np.memmap)
    np.testing.assert_array_equal(large, usual)
    for ours, theirs in zip(
        cluster_by_class(large, dataset.train_labels, 2),
        cluster_by_class(usual, dataset.train_labels, 2),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert {path.suffix for path in tmp_path.iterdir()} == {".images", ".npz", ".lock"}


def test_no_room_for_embeddings_is_told(folder, tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    experiment = _experiment(folder, tmp_path, False)
    dataset = experiment.dataset.load()
    monkeypatch.setattr("clustr_tf.classifier._MOST_EMBEDDINGS_BYTES", 0)
    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(RunError, match=r"No space left on device\): set TMPDIR"):
        Embedder(experiment.build_classifier(dataset))(dataset.train_images)


@pytest.mark.slow
def test_two_workers_share_one_file(start_workers, folder, tmp_path):
    """Both start at once: one decodes, the other waits for it."""
    workers = start_workers(
        lambda index: (
            *("clustr_tf.train", "--config=digits:plain", f"--workdir={tmp_path / str(index)}"),
            *("--config.dataset.name=image_folder", f"--config.dataset.data_dir={folder}"),
            *("--config.dataset.in_memory=False", "--config.dataset.validation_examples=12"),
            f"--config.dataset.cache_dir={tmp_path / 'cache'}",
            *("--config.training.strategy=multi_worker", "--config.training.epochs=1"),
            *("--config.clustering.examples_per_cluster=4", "--config.watch.attack.steps=1"),
            *("--config.clustering.clusters_per_batch=3", "--config.evaluation.attack.steps=1"),
        ),
        forked=False,
    )
    for worker in workers:
        _, errors = worker.communicate(timeout=300)
        assert worker.returncode == 0, errors
    assert len(list((tmp_path / "cache").glob("*.images"))) == 1
    with (tmp_path / "0" / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1
    assert load_model(tmp_path / "0").image_shape == (8, 8, 1)
