"""Training steps against their bare limit.

    python -m benchmarks.step --width=16 --jit_compile
    python -m benchmarks.step --width=64 --methods=clustr,clustr_qtrades --steps=5

A training step is all that the trainer does from one step to the next: drawing, augmentation,
loss, attack, gradients, optimiser, bookkeeping. Its limit is forward, backward and optimiser of the
same network in one compiled function (`benchmarks/bare_step.py`). Both run in turn in one process;
what counts is the median of the ratios of neighbours.
"""

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.bare_step import METHODS_ANYWHERE, build_bare_step, passes_of
from benchmarks.data import random_images
from benchmarks.runs import overridden
from benchmarks.timing import ratio
from clustr_tf.configs import cifar10
from clustr_tf.data.pixels import to_pixels
from clustr_tf.run.workdir import Workdir
from clustr_tf.train.run import train

_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_STEPS = flags.DEFINE_integer("steps", 10, "pairs that count, after two to warm up")
_JIT = flags.DEFINE_bool("jit_compile", False, "XLA")
_PRECISION = flags.DEFINE_string("precision", "auto", "or float32, mixed_bfloat16")
_METHODS = flags.DEFINE_list("methods", METHODS_ANYWHERE, "training methods")
_WARM_UP = 2


class EnoughPairsError(Exception):
    """Ends the training run that is measured."""


class Pairs(keras.callbacks.Callback):
    """Lets the bare step run after every training step and times both."""

    def __init__(self, bare: Callable[[tf.Tensor], tf.Tensor], images: tf.Tensor, count: int):
        super().__init__()
        self._bare, self._images, self._count = bare, images, count
        self.training: list[float] = []
        self.limits: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.training.append(time.perf_counter() - self._begin)
        begin = time.perf_counter()
        self._bare(self._images).numpy()
        self.limits.append(time.perf_counter() - begin)
        if len(self.limits) == self._count + _WARM_UP:
            raise EnoughPairsError
        self._begin = time.perf_counter()


def measure(
    method: str, width: int, jit_compile: bool, precision: str, steps: int
) -> tuple[float, float, float]:
    """Median seconds of a training step, of its limit, and the median of their ratios."""
    overrides = {
        "backbone.width": width,
        "method.name": method,
        "training.jit_compile": jit_compile,
        "training.precision": precision,
        "training.steps_per_epoch": steps + _WARM_UP + 1,
    }
    experiment = overridden(cifar10.get_config(), overrides)
    dataset = random_images(2400)
    plan = experiment.plan(dataset)
    bare = build_bare_step(plan.build_classifier(), passes_of(plan.method), jit_compile)
    pairs = Pairs(bare, tf.constant(to_pixels(dataset.train_images[:240])), steps)
    with tempfile.TemporaryDirectory() as folder, contextlib.suppress(EnoughPairsError):
        train(plan, dataset, Workdir(Path(folder)), experiment.values, callbacks=[pairs])
    training, limits = (times[_WARM_UP:] for times in (pairs.training, pairs.limits))
    return statistics.median(training), statistics.median(limits), ratio(training, limits)


def main(arguments: list[str]) -> None:
    """Measures the methods that the flags name and prints a table."""
    del arguments
    table = Table(
        title=f"ResNet-18 of width {_WIDTH.value}, batch 240, "
        f"{'XLA' if _JIT.value else 'no XLA'}, precision {_PRECISION.value}, {_STEPS.value} pairs"
    )
    for column in ("method", "training step", "bare limit", "ratio"):
        table.add_column(column)
    for method in _METHODS.value:
        step, limit, share = measure(
            method, _WIDTH.value, _JIT.value, _PRECISION.value, _STEPS.value
        )
        table.add_row(method, f"{step:.3f} s", f"{limit:.3f} s", f"{share:.3f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
