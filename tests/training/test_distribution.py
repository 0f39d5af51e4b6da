"""Two replicas on two logical CPUs against one device."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import keras
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead
from clustr_tf.objectives import ObjectiveConfig, build_objective
from clustr_tf.training.refresh import Embedder
from clustr_tf.training.distribution import Replicas
from clustr_tf.training.step import build_step, no_perturbation

rng = np.random.default_rng(0)
batches = [rng.integers(0, 256, (6, 1, 3, 1), np.uint8) for _ in range(2)]
targets = tf.constant([[0, 0], [0, 0], [0, 0], [1, 1], [1, 1], [1, 1]], tf.int64)
start = rng.normal(size=(3, 2))
seed = tf.constant([0, 0], tf.int32)


def weights_after(strategy, *images):
    with strategy.scope():
        inputs = keras.Input((1, 3, 1))
        dense = keras.layers.Dense(2, use_bias=False)
        backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
        dense.kernel.assign(start)
        classifier = Classifier(backbone, ClusteringHead(2, 1), mean=[0.0], std=[1.0])
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(classifier.trainable_variables)
    objective = build_objective(ObjectiveConfig("clustr", alpha=30.0))
    replicas = Replicas(strategy)
    step = build_step(classifier, objective, optimizer, lambda x, seed: x, replicas)
    nothing = tf.constant(no_perturbation(objective, 6, (1, 3, 1)))
    values = replicas.values(
        lambda replica: (tf.constant(images[replica]), targets, seed, nothing)
    )
    losses, _, _ = step(*values)
    # Every replica hears of the losses of all examples.
    assert [len(local) for local in replicas.local(losses)] == [6 * len(images)] * len(images)
    weights = keras.ops.convert_to_numpy(dense.kernel)
    pixels = np.concatenate(batches)[:11]
    embeddings = Embedder(classifier, replicas)(pixels)
    expected = pixels.reshape(11, 3) / 255 @ weights.astype(np.float64)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)
    return weights


one = [weights_after(tf.distribute.get_strategy(), batch) for batch in batches]
mirrored = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
assert mirrored.num_replicas_in_sync == 2
two = weights_after(mirrored, *batches)
assert np.abs(one[0] - one[1]).max() > 1e-3
# SGD is linear in the gradient: the mean gradient moves to the mean of the two results.
np.testing.assert_allclose(two, (one[0] + one[1]) / 2, rtol=1e-5, atol=1e-6)
np.testing.assert_allclose(weights_after(mirrored, batches[0], batches[0]), one[0], atol=1e-6)
print("equal")
"""


def test_two_replicas_descend_the_mean_of_their_gradients():
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == "equal"
