"""One epoch against its steps, and peak memory.

    python -m benchmarks.epoch --width=16
    python -m benchmarks.epoch --width=64 --steps=10

An epoch of CIFAR-10's size (noise; 50,000 training and 10,000 test images, 208 steps of 240):
steps, embedding pass, k-means, accuracy of the training images, PGD on held-out images, checkpoint.
With fewer `--steps` the median step stands for those left out.
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import keras
from absl import app, flags

from benchmarks.data import random_images
from benchmarks.runs import overridden
from clustr_tf.classifier import Classifier, Embedder
from clustr_tf.configs import cifar10
from clustr_tf.data import Dataset, cluster_by_class
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.callbacks.refresh import accuracy
from clustr_tf.train.callbacks.watch import WatchRobustness
from clustr_tf.train.run import Plan, train

_STEPS_OF_AN_EPOCH = 208
_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_STEPS = flags.DEFINE_integer("steps", _STEPS_OF_AN_EPOCH, "steps that are run")
_METHOD = flags.DEFINE_string("method", "clustr", "training method")
_PRECISION = flags.DEFINE_string("precision", "float32", "or mixed_bfloat16")


class Stopwatch(keras.callbacks.Callback):
    """Times the second epoch, its steps and what follows the last one; the first one compiles."""

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.steps: list[float] = []
        self._last = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.steps.append(time.perf_counter() - self._last)
        self._last = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.rest = time.perf_counter() - self._last


def main(arguments: list[str]) -> None:
    """Trains two epochs and prints the second one's times."""
    del arguments
    overrides = {
        "backbone.width": _WIDTH.value,
        "method.name": _METHOD.value,
        "training.precision": _PRECISION.value,
        "training.epochs": 2,
        "training.steps_per_epoch": _STEPS.value,
    }
    config = cifar10.get_config("thin" if _WIDTH.value < 64 else "default")
    experiment = overridden(config, overrides)
    dataset = random_images(50_000, test_examples=10_000)
    plan, stopwatch = experiment.plan(dataset), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(Path(folder))
        trained = train(plan, dataset, workdir, experiment.values, callbacks=[stopwatch])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    steps = statistics.median(stopwatch.steps) * _STEPS_OF_AN_EPOCH
    print(
        f"{_METHOD.value}, ResNet-18 of width {_WIDTH.value}, "
        f"{'XLA' if plan.training.jit_compile else 'no XLA'}, {_PRECISION.value}"
    )
    print(f"208 steps {steps:.0f} s (median of {_STEPS.value}), the rest {stopwatch.rest:.1f} s")
    print(f"epoch / steps {(steps + stopwatch.rest) / steps:.3f}, peak memory {peak:.2f} GiB")
    if plan.method.needs_neighbourhoods:
        print_parts(trained.classifier, dataset, plan)


def print_parts(classifier: Classifier, dataset: Dataset, plan: Plan) -> None:
    """What the rest of an epoch consists of, each part timed alone and compiled before."""
    labels, jit_compile = dataset.train_labels, plan.training.jit_compile is True
    embed = Embedder(classifier, jit_compile=jit_compile)
    held_out = dataset.validation_images, dataset.validation_labels
    watch = WatchRobustness(classifier, *held_out, plan.watch, jit_compile=jit_compile)
    for _ in range(2):
        seconds = [time.perf_counter()]
        embeddings = embed(dataset.train_images)
        seconds.append(time.perf_counter())
        cluster_by_class(embeddings, labels, 2, max_iter=20)
        seconds.append(time.perf_counter())
        accuracy(classifier.head, embeddings, labels)
        seconds.append(time.perf_counter())
        watch.measure()
        seconds.append(time.perf_counter())
    names = ("embedding pass", "k-means", "train accuracy", "PGD of the watch")
    for name, begin, end in zip(names, seconds, seconds[1:], strict=False):
        print(f"{name}: {end - begin:.1f} s")


if __name__ == "__main__":
    app.run(main)
