"""A program with two replicas, for test_distribution.py: `two_replicas STRATEGY FOLDER`.

It checks one step against one device, then trains by several methods and leaves in FOLDER what
this process knows after each epoch. It is a program of its own because TensorFlow lets logical
devices and workers be configured at the start only.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.cli.config import read_experiment
from clustr_tf.configs.digits import get_config
from clustr_tf.layers import ClusteringHead
from clustr_tf.methods import Clustr, Nominal
from clustr_tf.run.distribution import Replicas, connect
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks.base import TrainerCallback
from clustr_tf.train.step import build_step, no_perturbation
from tests.train.runs import run

# Name of the method -> its settings, small.
METHODS = {"clustr": {}, "clustr_free": {"replays": 2}, "pgd_at": {"steps": 2}}

TARGETS = [[0, 0], [0, 0], [0, 0], [1, 1], [1, 1], [1, 1]]


def two_replicas(strategy):
    """Two logical CPUs of this process, or this process as one of two workers."""
    if strategy == "multi_worker":
        return connect(strategy)
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    return Replicas(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))


def weights_after(replicas, start, images):
    """The weights after one step of SGD, each replica on its own images `[6, 1, 3, 1]`."""
    with replicas.strategy.scope():
        inputs = keras.Input((1, 3, 1))
        dense = keras.layers.Dense(2, use_bias=False)
        backbone = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
        dense.kernel.assign(start)
        classifier = Classifier(backbone, ClusteringHead(2, 1), mean=[0.0], std=[1.0])
        optimizer = keras.optimizers.SGD(0.1)
        optimizer.build(classifier.trainable_variables)
    method = Clustr(alpha=30.0)
    step = build_step(classifier, method, optimizer, lambda pixels, seed: pixels, replicas)
    targets, seed = tf.constant(TARGETS, tf.int64), tf.constant([0, 0], tf.int32)
    rest = (targets, seed, tf.constant(no_perturbation(method, 6, (1, 3, 1))), tf.constant(0.0))
    values = replicas.values(lambda replica: (tf.constant(images[replica]), *rest))
    losses, _, _ = step(*values)
    # Every replica hears of the losses of all examples.
    for local in replicas.local(losses):
        assert len(local) == 6 * replicas.count
    weights = keras.ops.convert_to_numpy(dense.kernel)
    pixels = np.concatenate(images)[:5]
    embeddings = Embedder(classifier, replicas)(pixels)
    expected = pixels.reshape(5, 3) / 255 @ weights.astype(np.float64)
    np.testing.assert_allclose(embeddings, expected, rtol=1e-5, atol=1e-6)
    return weights


def check_one_step(replicas):
    """Two replicas move by the mean of the two gradients: SGD is linear in the gradient."""
    rng = np.random.default_rng(0)
    start = rng.normal(size=(3, 2))
    first, second = (rng.integers(0, 256, (6, 1, 3, 1), np.uint8) for _ in range(2))
    alone = Replicas(tf.distribute.get_strategy())
    after_first = weights_after(alone, start, [first])
    after_second = weights_after(alone, start, [second])
    assert np.abs(after_first - after_second).max() > 1e-3
    both = weights_after(replicas, start, [first, second])
    np.testing.assert_allclose(both, (after_first + after_second) / 2, rtol=1e-5, atol=1e-6)
    twice = weights_after(replicas, start, [first, first])
    np.testing.assert_allclose(twice, after_first, atol=1e-6)


def fitted(strategy):
    """The weights and losses after `Classifier.fit` of batches of 8, made in a strategy's scope."""
    rng = np.random.default_rng(5)
    images, labels = rng.uniform(size=(24, 1, 3, 1)).astype(np.float32), np.arange(24) % 2
    keras.utils.set_random_seed(1)
    with strategy.scope():
        inputs = keras.Input((1, 3, 1))
        dense = keras.layers.Dense(4, activation="tanh")(keras.layers.Flatten()(inputs))
        classifier = Classifier(keras.Model(inputs, dense), keras.layers.Dense(2))
        classifier.compile(keras.optimizers.SGD(0.5, momentum=0.9), Nominal())
    history = classifier.fit(
        images, labels, batch_size=8, epochs=3, validation_data=(images, labels), verbose=0, seed=2
    )
    return classifier.get_weights(), history.history


def check_fit(strategy):
    """Both halves of a batch, each on a device of its own, are the batch on one."""
    (ours, history), (theirs, expected) = fitted(strategy), fitted(tf.distribute.get_strategy())
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    for name in ("loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(history[name], expected[name], rtol=1e-4)
    assert len(set(history["loss"])) == 3  # the weights move


def check_sent(replicas):
    """What the chief sends arrives whole, whatever its type and length."""
    for array in (
        np.arange(5, dtype=np.uint8),
        np.array([0.1, -2.5]),
        np.arange(7) - 3,
        np.zeros(0, np.float32),
    ):
        mine = array if replicas.is_chief else array[:0]
        received = replicas.broadcast(mine)
        np.testing.assert_array_equal(received, array, strict=True)
    assert replicas.any(replicas.is_chief, False) == (True, False)


class _Noted(TrainerCallback):
    """The state after each epoch; every device has the same copy of every variable."""

    def __init__(self):
        super().__init__()
        self.states = []

    def on_epoch_end(self, epoch, logs=None):
        trainer = self.trainer
        for variable in [*trainer.classifier.variables, *trainer.optimizer.variables]:
            copies = trainer.replicas.local(variable.value)
            for copy in copies:
                np.testing.assert_array_equal(copy.numpy(), copies[0].numpy(), variable.path)
        self.states.append(trainer.complete_state().arrays())


def train_by(method, replicas, folder):
    """Trains tiny; gives the state after each epoch as this process has it."""
    config = get_config("plain").to_dict()
    config["method"] = {"name": method, **METHODS[method]}
    config["backbone"]["width"] = 2
    config["dataset"]["validation_examples"] = 0
    config["clustering"] |= {"clusters_per_batch": 3, "examples_per_cluster": 4}
    config["training"] |= {"epochs": 2, "steps_per_epoch": 2, "deterministic": True}
    experiment = read_experiment(config)
    noted = _Noted()
    dataset = experiment.dataset.load()
    trained = run(experiment, dataset, Workdir(folder / method), noted, replicas=replicas)
    finished = {f"final/{index}": w for index, w in enumerate(trained.classifier.get_weights())}
    epochs = {f"{epoch}/{name}": a for epoch, s in enumerate(noted.states) for name, a in s.items()}
    return {f"{method}/{name}": array for name, array in {**epochs, **finished}.items()}


def main(strategy, folder):
    replicas = two_replicas(strategy)
    assert replicas.count == 2
    check_one_step(replicas)
    if strategy == "mirrored":
        check_fit(replicas.strategy)
    check_sent(replicas)
    arrays = {}
    for method in METHODS:
        arrays |= train_by(method, replicas, folder / "run")
    np.savez(folder / "known.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
