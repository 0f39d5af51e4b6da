"""A program with two logical CPUs, for test_replicas.py: prints whether sharing changes anything.

It is a program of its own because TensorFlow lets logical devices be configured at the start only.
"""

import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.attacks import PGD, RobustnessEvaluator
from clustr_tf.classifier import Classifier
from clustr_tf.evaluate.attacking import Examples, Memory
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.suite import ENSEMBLE, Target, build_stages
from clustr_tf.layers import ClusteringHead

SHAPE = (4, 4, 1)
PLAN = EvaluationPlan(PGD(0.05, 0.01, 5), square_queries=50, apgd_steps=10)


def classifier_in(strategy):
    keras.utils.set_random_seed(1)
    with strategy.scope():
        inputs = keras.Input(SHAPE)
        backbone = keras.Model(
            inputs, keras.layers.Flatten()(keras.layers.Conv2D(4, 3, activation="relu")(inputs))
        )
        classifier = Classifier(backbone, ClusteringHead(3, 1), mean=[0.5], std=[0.2])
        classifier.head.set_clusters(np.random.default_rng(0).normal(size=(3, 16)), 1.0)
    return classifier


def outcomes(strategy, batch_size):
    """What each attack breaks, of 37 images: no multiple of two replicas or of a batch."""
    classifier = classifier_in(strategy)
    images = np.random.default_rng(2).integers(0, 256, (37, *SHAPE)).astype(np.uint8)
    labels = np.argmax(classifier(images.astype(np.float32) / 255), axis=1)
    stages = build_stages(Target(classifier, SHAPE, 3, PLAN))
    evaluator = RobustnessEvaluator(classifier, SHAPE, stages, batch_size, strategy=strategy)
    with tempfile.TemporaryDirectory() as folder:
        examples = Examples(evaluator, images, labels, 3, Memory(Path(folder), {}))
        found = {
            name: examples.attacked(name, stages, 0.05).any_broken
            for name, stages in [("pgd", ("pgd_ce", "pgd_margin")), ("ensemble", ENSEMBLE)]
        }
    return examples.predictions, found


def main():
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    alone, known = outcomes(tf.distribute.get_strategy(), 37)
    shared, found = outcomes(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]), 10)
    np.testing.assert_array_equal(shared, alone)
    for name, broken in known.items():
        assert 0 < broken.sum() < len(broken), name
        np.testing.assert_array_equal(found[name], broken, name)


main()
