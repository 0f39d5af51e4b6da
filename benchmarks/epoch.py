"""One epoch against its steps, and peak memory.

    python -m benchmarks.epoch --width=16
    python -m benchmarks.epoch --width=64 --steps=10

An epoch of CIFAR-10's size (noise; 50,000 training and 10,000 test images, 208 steps of 240):
steps, embedding pass, k-means, accuracy on 1,000 test images, PGD on held-out images, checkpoint.
With fewer `--steps` the median step stands for those left out.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from absl import app, flags

from benchmarks.data import random_images
from clustr_tf.classifier import Classifier
from clustr_tf.clustering import cluster_by_class
from clustr_tf.datasets import Dataset
from clustr_tf.experiment import Experiment, read_experiment
from clustr_tf.training.refresh import Embedder, accuracy
from clustr_tf.training.trainer import train
from clustr_tf.training.watch import Watch
from clustr_tf.workdir import Workdir
from configs import cifar10

_STEPS_OF_AN_EPOCH = 208
_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_STEPS = flags.DEFINE_integer("steps", _STEPS_OF_AN_EPOCH, "steps that are run")
_METHOD = flags.DEFINE_string("method", "clustr", "training method")
_PRECISION = flags.DEFINE_string("precision", "float32", "or mixed_bfloat16")


class Stopwatch:
    """A reporter that times the second epoch; the first one compiles."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int, done: int = 0) -> None:
        """Starts anew."""
        self.steps: list[float] = []
        self._last = time.perf_counter()

    def step_ends(self, loss: float) -> None:
        """Times a step."""
        self.steps.append(time.perf_counter() - self._last)
        self._last = time.perf_counter()

    def epoch_ends(self, row: Mapping[str, float]) -> None:
        """Times what followed the last step."""
        self.rest = time.perf_counter() - self._last


def main(arguments: list[str]) -> None:
    """Trains two epochs and prints the second one's times."""
    del arguments
    config = cifar10.get_config("thin" if _WIDTH.value < 64 else "default")
    config.backbone.width = _WIDTH.value
    config.objective.name = _METHOD.value
    config.training.precision = _PRECISION.value
    config.training.epochs = 2
    config.training.steps_per_epoch = _STEPS.value
    experiment = read_experiment(config.to_dict())
    dataset = random_images(50_000, test_examples=10_000, held_out=250)
    stopwatch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        trained = train(experiment, dataset, Workdir(Path(folder)), stopwatch)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    steps = statistics.median(stopwatch.steps) * _STEPS_OF_AN_EPOCH
    print(
        f"{_METHOD.value}, ResNet-18 of width {_WIDTH.value}, "
        f"{'XLA' if config.training.jit_compile else 'no XLA'}, {_PRECISION.value}"
    )
    print(f"208 steps {steps:.0f} s (median of {_STEPS.value}), the rest {stopwatch.rest:.1f} s")
    print(f"epoch / steps {(steps + stopwatch.rest) / steps:.3f}, peak memory {peak:.2f} GiB")
    if _METHOD.value.startswith("clustr"):
        print_parts(trained.classifier, dataset, experiment)


def print_parts(classifier: Classifier, dataset: Dataset, experiment: Experiment) -> None:
    """What the rest of an epoch consists of, each part timed alone and compiled before."""
    jit_compile, tested = experiment.training.jit_compile, slice(experiment.evaluation.examples)
    embed = Embedder(classifier, jit_compile=jit_compile)
    attack = Watch(classifier, experiment.watch, jit_compile)
    for _ in range(2):
        seconds = [time.perf_counter()]
        embeddings = embed(dataset.train_images)
        seconds.append(time.perf_counter())
        cluster_by_class(embeddings, dataset.train_labels, 2, max_iter=20)
        seconds.append(time.perf_counter())
        accuracy(classifier, embeddings, dataset.train_labels)
        seconds.append(time.perf_counter())
        accuracy(classifier, embed(dataset.test_images[tested]), dataset.test_labels[tested])
        seconds.append(time.perf_counter())
        attack(dataset.validation_images, dataset.validation_labels, seed=0)
        seconds.append(time.perf_counter())
    names = ("embedding pass", "k-means", "train accuracy", "test accuracy", "PGD of the watch")
    for name, begin, end in zip(names, seconds, seconds[1:], strict=False):
        print(f"{name}: {end - begin:.1f} s")


if __name__ == "__main__":
    app.run(main)
