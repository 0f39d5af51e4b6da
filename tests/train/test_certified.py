"""Training for the certified radius on digits: what moves, what is logged, what is proved."""

import csv

import numpy as np
import pytest
import tensorflow as tf

from clustr_tf.attacks.pgd import CompiledPGD
from clustr_tf.certify.images import certify_images
from clustr_tf.certify.l2.lipschitz import lipschitz_bound
from clustr_tf.certify.radii import certified_classifier
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs import digits_certified
from clustr_tf.data.pixels import to_pixels
from clustr_tf.run.errors import InputError
from clustr_tf.run.workdir import Workdir
from clustr_tf.serve.saving import export_savedmodel
from tests.train.runs import run

EPOCHS = 6


def _config(**method):
    config = digits_certified.get_config()
    config.backbone.width = 64
    config.training.epochs = EPOCHS
    config.optimizer.learning_rate = 5e-3
    config.method.update(method)
    return config


def _train(config, root):
    experiment = read_experiment(config.to_dict())
    dataset = experiment.dataset.load()
    return run(experiment, dataset, Workdir(root)), dataset


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    root = tmp_path_factory.mktemp("learned")
    trained, dataset = _train(_config(), root)
    return trained.classifier, dataset, root


@pytest.fixture(scope="module")
def certification(learned):
    classifier, dataset, _ = learned
    return certify_images(classifier, dataset.test_images, dataset.test_labels)


def test_a_few_epochs_certify_what_an_ordinary_network_never_does(learned, certification):
    """The radius of a plain digits model is about 0.003 pixels (README)."""
    assert np.mean(certification.best.correct) > 0.85
    assert certification.best.certified_accuracy(0.25) > 0.6
    bound = certification.bound
    assert 0.5 < bound.gain <= 1 + 1e-7
    assert max(bound.slack) + bound.growth < 1e-9


def test_the_certified_accuracy_of_every_epoch_is_that_of_the_held_out_images(learned):
    classifier, dataset, root = learned
    with (root / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == EPOCHS
    held_out = certify_images(classifier, dataset.validation_images, dataset.validation_labels)
    # The watch takes the bound to be 1; the proved one is at most as large.
    assert float(rows[-1]["validation/certified_accuracy"]) == pytest.approx(
        held_out.best.certified_accuracy(0.5), abs=2 / 137
    )
    assert float(rows[-1]["learning_rate"]) == pytest.approx(5e-3 * (1 + np.cos(np.pi * 5 / 6)) / 2)


def test_no_attack_inside_a_certified_radius_changes_the_class(learned, certification):
    """l2 PGD on the margin of the certified classifier; three times as far it breaks images."""
    classifier, dataset, _ = learned
    served = certified_classifier(classifier)
    attack = CompiledPGD(served, dataset.image_shape, "l2", "margin")
    pixels = to_pixels(dataset.test_images)[:60]
    classes = certification.best.predictions[:60]
    broken = {1.0: 0, 3.0: 0}
    for factor in broken:
        for image, label, radius in zip(pixels, classes, certification.best.radii.l2, strict=False):
            # Pixels are rounded to float32: a thousandth keeps the change inside the ball.
            eps = 0.999 * factor * float(radius)
            found = attack(
                image[None], label[None], image[None], eps=eps, step_size=eps / 8, steps=40
            ).numpy()
            assert np.linalg.norm(found.astype(np.float64) - image) <= factor * radius
            broken[factor] += int(np.argmax(served(found), axis=1)[0] != label)
    assert broken[1.0] == 0
    assert broken[3.0] > 20


def test_the_served_model_is_the_certified_one(learned, certification, tmp_path):
    classifier, dataset, _ = learned
    served = certified_classifier(classifier)
    version = export_savedmodel(served, tmp_path / "models", lipschitz_bound(served.embedder))
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    answer = serve(images=tf.constant(to_pixels(dataset.test_images[:50])))
    np.testing.assert_array_equal(answer["class_id"], certification.best.predictions[:50])
    radii = answer["certified_radius_l2"].numpy()
    np.testing.assert_allclose(radii, certification.best.radii.l2[:50], rtol=1e-6)
    # The trained network in float32 says the same, but where two classes are as likely.
    np.testing.assert_array_equal(
        np.argmax(classifier(to_pixels(dataset.test_images[:50])), axis=1), answer["class_id"]
    )


def test_the_saved_model_has_the_learned_centroids(learned):
    classifier, dataset, root = learned
    loaded = Workdir(root).load_classifier()
    np.testing.assert_array_equal(loaded.head.centroids, classifier.head.centroids)
    # Learned: no longer the class means that k-means began with.
    embeddings = np.array(classifier.embed(to_pixels(dataset.train_images)))
    means = [embeddings[dataset.train_labels == c].mean(axis=0) for c in range(10)]
    assert np.abs(loaded.head.centroids.numpy() - means).max() > 0.1


@pytest.mark.parametrize(("centroids", "magnet_lambda"), [("refreshed", 0.1), ("fixed", 0.0)])
def test_other_centroids(centroids, magnet_lambda, tmp_path):
    config = _config(centroids=centroids, magnet_lambda=magnet_lambda)
    config.training.epochs = 2
    trained, dataset = _train(config, tmp_path)
    head = trained.classifier.head
    assert not head.learned
    if centroids == "fixed":
        np.testing.assert_array_equal(head.centroids, np.eye(10, 128))
        assert float(head.variance) == 1
    else:
        # The class means of the final embeddings: k-means with K = 1.
        embeddings = np.array(trained.classifier.embed(to_pixels(dataset.train_images)))
        means = [embeddings[dataset.train_labels == c].mean(axis=0) for c in range(10)]
        np.testing.assert_allclose(head.centroids, means, atol=1e-4)
    assert trained.history[-1]["val_accuracy"] > 0.5


def test_fixed_centroids_need_as_many_dimensions(tmp_path):
    config = _config(centroids="fixed")
    config.clustering.clusters_per_class = 20
    with pytest.raises(InputError, match=r"dimension 200, one for each cluster. Received: 128"):
        _train(config, tmp_path)


def test_only_lipschitz_backbones_have_a_margin_in_pixels():
    """Refused before anything is trained, when the network is known."""
    config = _config()
    config.backbone.name = "small_cnn"
    for reason in ("method.name=clustr_certified", "watch.certified_radius=0.5"):
        experiment = read_experiment(config.to_dict())
        with pytest.raises(InputError, match=rf"^config.backbone.name must be .* config.{reason}"):
            experiment.plan(experiment.dataset.load())
        config.method = {"name": "clustr"}
