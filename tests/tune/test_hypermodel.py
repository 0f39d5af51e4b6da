"""The hyper-model in Keras-tuner's own tuners: real searches on tiny images."""

import keras
import keras_tuner
import numpy as np
import pytest

from clustr_tf.attacks import PGD
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import METHODS, ClustrAT
from clustr_tf.train.callbacks import Watch, WatchRobustness
from clustr_tf.tune.hypermodel import ClassifierHyperModel

EPS = 0.05
SMALL = {"image_shape": (4, 4, 1), "num_classes": 2, "eps": EPS}


@pytest.fixture(scope="module")
def data():
    """Two classes of 4x4 images: bright above, or bright below."""
    rng = np.random.default_rng(5)
    labels = np.arange(80) % 2
    images = rng.uniform(0, 0.4, (80, 4, 4, 1)).astype(np.float32)
    images[labels == 0, :2] += 0.5
    images[labels == 1, 2:] += 0.5
    return images, labels


def _hp(**values):
    hp = keras_tuner.HyperParameters()
    for name, value in values.items():
        hp.Fixed(name, value)
    return hp


def _searched(tuner, data):
    """What was drawn for each trial, and the best model, which is the one that was judged."""
    tuner.search(*data, epochs=1, validation_split=0.25, verbose=0)
    trials = tuner.oracle.trials.values()
    assert [trial.status for trial in trials] == ["COMPLETED"] * len(trials)
    best = tuner.get_best_models(1)[0]
    figures = best.evaluate(data[0][60:], data[1][60:], verbose=0, return_dict=True)
    assert figures["accuracy"] == pytest.approx(tuner.oracle.get_best_trials(1)[0].score)
    return [trial.hyperparameters.values for trial in trials], best


@pytest.mark.parametrize(
    ("tuner", "limits"),
    [
        (keras_tuner.RandomSearch, {"max_trials": 2}),
        (keras_tuner.BayesianOptimization, {"max_trials": 2, "num_initial_points": 1}),
        (keras_tuner.Hyperband, {"max_epochs": 2, "factor": 2}),
    ],
    ids=["random", "bayesian", "hyperband"],
)
def test_every_tuner_searches_and_gives_its_best_model(tuner, limits, data, tmp_path):
    search = tuner(
        ClassifierHyperModel(**SMALL, widths=(4, 8)),
        objective=keras_tuner.Objective("val_accuracy", "max"),
        seed=1,
        directory=tmp_path,
        **limits,
    )
    drawn, best = _searched(search, data)
    assert len(drawn) >= 2
    for values in drawn:
        assert values["method"] in ("clustr_at", "pgd_at")
        assert values["width"] in (4, 8)
        assert 3e-4 <= values["learning_rate"] <= 1e-2
    again = tmp_path / "best.keras"
    best.save(again)
    np.testing.assert_array_equal(
        keras.models.load_model(again).predict(data[0], verbose=0),
        best.predict(data[0], verbose=0),
    )


def test_trials_that_go_on_in_hyperband_begin_where_they_ended(data, tmp_path):
    """Of brackets of (1, 2) and (2) epochs with factor 2, some trial goes on from epoch 1."""
    search = keras_tuner.Hyperband(
        ClassifierHyperModel(**SMALL, methods=["clustr"], widths=(4,)),
        objective=keras_tuner.Objective("val_accuracy", "max"),
        max_epochs=2,
        factor=2,
        directory=tmp_path,
    )
    drawn, _ = _searched(search, data)
    going_on = [values for values in drawn if "tuner/trial_id" in values]
    assert going_on
    assert {(one["tuner/initial_epoch"], one["tuner/epochs"]) for one in going_on} == {(1, 2)}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_drawn(name):
    backbone = "lipschitz_mlp" if METHODS[name].needs_lipschitz else "small_cnn"
    space = ClassifierHyperModel(**SMALL, methods=[name], backbone=backbone, widths=(4,))
    hp = _hp(method=name, learning_rate=2e-3, clusters_per_class=4)
    classifier = space.build(hp)
    assert isinstance(classifier, Classifier)
    assert type(classifier.method) is METHODS[name]
    assert getattr(classifier.method, "eps", EPS) == EPS
    assert float(classifier.optimizer.learning_rate) == pytest.approx(2e-3)
    if classifier.method.centroids is None:
        assert isinstance(classifier.head, keras.layers.Dense)
    else:
        assert isinstance(classifier.head, ClusteringHead)
        assert classifier.head.clusters_per_class == 4
    assert classifier.predict(np.zeros((3, 4, 4, 1)), verbose=0).shape == (3, 2)


def test_pixels_are_standardised_as_asked():
    space = ClassifierHyperModel(**SMALL, mean=[0.25], std=[0.5])
    classifier = space.build(keras_tuner.HyperParameters())
    assert (classifier.mean, classifier.std) == ([0.25], [0.5])


def test_a_network_of_ones_own_draws_what_it_likes():
    def network(hp):
        units = hp.Int("units", 3, 9)
        return keras.Sequential(
            [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(units)]
        )

    hp = keras_tuner.HyperParameters()
    classifier = ClassifierHyperModel(**SMALL, backbone=network).build(hp)
    assert classifier.backbone.output_shape == (None, 3)
    assert {"units", "method", "learning_rate"} <= set(hp.values)
    assert "width" not in hp.values


def test_a_space_of_ones_own_judged_by_robust_accuracy(data, tmp_path):
    images, labels = data
    held_out = images[60:], labels[60:]

    class Mine(ClassifierHyperModel):
        def method(self, hp):
            likelihood = hp.Float("likelihood_lambda", 0.01, 0.1)
            return ClustrAT(eps=self.eps, likelihood_lambda=likelihood)

        def optimizer(self, hp):
            return keras.optimizers.SGD(0.05, momentum=hp.Choice("momentum", (0.0, 0.9)))

        def fit(self, hp, model, *args, callbacks=(), **kwargs):
            watch = WatchRobustness(model, *held_out, Watch(PGD(eps=self.eps, steps=2)))
            return super().fit(hp, model, *args, callbacks=[watch, *callbacks], **kwargs)

    tuner = keras_tuner.RandomSearch(
        Mine(**SMALL, widths=(4,)),
        objective=keras_tuner.Objective("val_pgd_accuracy", "max"),
        max_trials=2,
        seed=3,
        directory=tmp_path,
    )
    tuner.search(images[:60], labels[:60], epochs=1, verbose=0)
    trials = tuner.oracle.get_best_trials(2)
    assert len(trials) == 2
    best = tuner.get_best_models(1)[0]
    chosen = trials[0].hyperparameters.values
    assert best.method == ClustrAT(eps=EPS, likelihood_lambda=chosen["likelihood_lambda"])
    assert best.optimizer.momentum == chosen["momentum"]
    # The figure is that of the model that is loaded.
    watch = WatchRobustness(best, *held_out, Watch(PGD(eps=EPS, steps=2)))
    assert watch.measure()["val_pgd_accuracy"] == pytest.approx(trials[0].score)


@pytest.mark.parametrize("methods", [["clustr_at", "magic"], []])
def test_unknown_methods_are_refused(methods):
    with pytest.raises(ValueError, match=r"^methods must be out of \['clustr', .*Received: \["):
        ClassifierHyperModel(**SMALL, methods=methods)
