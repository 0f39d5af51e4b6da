"""The watch over held-out images: what it measures and what it says."""

import logging

import keras
import numpy as np
import pytest

from clustr_tf.attacks import PGD
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.train.callbacks.record import is_best
from clustr_tf.train.callbacks.watch import Watch, WatchRobustness, warn_of_collapse


@pytest.mark.parametrize(
    ("accuracies", "warned"),
    [
        ((0.8, 0.39), True),  # below half of 0.8
        ((0.8, 0.4), False),  # just half
        ((0.3, 0.8, 0.5, 0.39), True),  # the best epoch counts, not the one before
        ((0.8, 0.1, 0.7), False),  # recovered
        ((0.8, 0.1, 0.2), False),  # said in the epoch before
        ((0.8, 0.1, 0.7, 0.1), True),  # a second time
        ((0.2,), False),
        ((0.0, 0.0), False),
        ((), False),
    ],
)
def test_warns_below_the_share_of_the_best_epoch(accuracies, warned, caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_collapse(accuracies, len(accuracies), collapse=0.5)
    assert len(caplog.records) == warned


def test_the_warning_names_epoch_figures_and_what_to_do(caplog):
    with caplog.at_level(logging.WARNING):
        warn_of_collapse([0.5, 0.8, 0.0625], 3, collapse=0.5)
    (record,) = caplog.records
    message = record.getMessage()
    assert "collapsed to 6.25 % in epoch 3 (best so far 80.00 %)" in message
    assert "config.training.checkpoint=best_pgd" in message


@pytest.mark.parametrize(
    ("accuracies", "best"),
    [
        ((0.1,), True),
        ((0.1, 0.2), True),
        ((0.2, 0.2), False),  # the first of equals stays
        ((0.3, 0.1, 0.2), False),
        ((0.1, 0.3, 0.4), True),
    ],
)
def test_only_an_epoch_above_all_before_is_the_best(accuracies, best):
    assert is_best(list(accuracies)) is best


@pytest.fixture
def watch():
    """Of a classifier with log-scores (0, 10 * pixel - 5): class 1 above a pixel of 1/2."""
    inputs = keras.Input((1, 1, 1))
    backbone = keras.Model(inputs, keras.layers.Flatten()(inputs))
    classifier = Classifier(backbone, keras.layers.Dense(2), mean=[0.0], std=[1.0])
    classifier.head.set_weights([np.array([[0.0, 10.0]]), np.array([0.0, -5.0])])
    watch = Watch(PGD(eps=0.1, step_size=0.1, steps=2, losses=("margin",)))
    return lambda images, labels: WatchRobustness(classifier, images, labels, watch).measure()


def test_measures_accuracy_with_and_without_the_attack(watch):
    """Pixels 0.2, 0.45, 0.55, 0.9 are right; within 0.1 the two in the middle can be turned."""
    images = np.array([51, 115, 140, 230], np.uint8).reshape(4, 1, 1, 1)
    figures = watch(images, np.array([0, 0, 1, 1]))
    assert figures == {"val_accuracy": 1.0, "val_pgd_accuracy": 0.5}
    figures = watch(images, np.array([1, 0, 1, 1]))
    assert figures == {"val_accuracy": 0.75, "val_pgd_accuracy": 0.25}


def test_measures_what_interval_bounds_prove():
    """Clusters at pixels 0 and 1: a pixel keeps its class within eps if eps < |pixel - 1/2|.

    With eps 0.1 the pixels 0.2 and 0.9 do, 0.45 does not, 0.95 is of the other class.
    """
    inputs = keras.Input((1, 1, 1))
    backbone = keras.Model(inputs, keras.layers.Flatten()(inputs))
    classifier = Classifier(backbone, ClusteringHead(2, 1), mean=[0.0], std=[1.0])
    classifier.head.set_clusters([[0.0], [1.0]], variance=0.5)
    attack = PGD(eps=0.1, step_size=0.1, steps=2, losses=("margin",))
    images = np.array([51, 115, 230, 242], np.uint8).reshape(4, 1, 1, 1)
    watch, labels = Watch(attack, certified_linf=0.1), np.array([0, 0, 1, 0])
    figures = WatchRobustness(classifier, images, labels, watch).measure()
    assert figures["val_certified_linf_accuracy"] == 0.5
    assert figures["val_pgd_accuracy"] == 0.5


def test_without_held_out_images_nothing_is_measured(watch):
    assert watch(np.zeros((0, 1, 1, 1), np.uint8), np.zeros(0, np.int64)) == {}
