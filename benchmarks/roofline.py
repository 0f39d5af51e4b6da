"""How far a training step is from what the machine can do.

    python -m benchmarks.roofline --width=64
    python -m benchmarks.roofline --width=64 --clock=cpu --precision=mixed_bfloat16

The roof is the machine's rate in products of large square matrices, in float32 and in bfloat16,
measured in turn with forward, backward and optimiser of ResNet-18 in one compiled function
(`benchmarks/bare_step.py`). Counted are the multiplications and additions of convolutions and dense
layers; all else, such as batch normalisation, is time without a count. `--clock=cpu` takes the
seconds of all cores together, for machines that do other work; the wall clock is for quiet ones
and for GPUs.
"""

import math
import statistics
import time
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.bare_step import Passes, build_bare_step
from benchmarks.data import random_images
from benchmarks.runs import overridden
from benchmarks.timing import in_turn, ratio
from clustr_tf.configs import cifar10
from clustr_tf.data.pixels import to_pixels

_ROOFS = {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16}
_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_PRECISION = flags.DEFINE_multi_enum(
    "precision", list(_ROOFS), list(_ROOFS), "of the backbone; given twice: both"
)
_BATCH = flags.DEFINE_integer("batch", 240, "images of a step")
_SIZE = flags.DEFINE_integer("size", 4096, "rows and columns of the matrices")
_ROUNDS = flags.DEFINE_integer("rounds", 5, "measurements that count, after one to warm up")
_CLOCK = flags.DEFINE_enum("clock", "wall", ["wall", "cpu"], "seconds that count")


def forward_flops(network: keras.Model) -> int:
    """Multiplications and additions of one image's forward pass.

    Args:
        network: whose convolutions and dense layers are counted, padding included.

    Returns:
        Two for each weight and each position at which it is applied.

    Example:
        >>> forward_flops(build_backbone("small_cnn", (8, 8, 1)))
    """
    return sum(
        2 * math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:-1])
        for layer in _products(network)
    )


def step_flops(network: keras.Model) -> int:
    """Those of one image's training step: forward, and backward to weights and to inputs.

    Nothing goes back to the image itself, the input of the first layer.
    """
    first = next(_products(network))
    to_image = 2 * math.prod(first.kernel.shape) * math.prod(first.output.shape[1:-1])
    return 3 * forward_flops(network) - to_image


def _products(network: keras.Model) -> Iterator[keras.layers.Layer]:
    """The layers that multiply by a kernel, in their order."""
    kinds = (keras.layers.Conv2D, keras.layers.Dense)
    return (layer for layer in network._flatten_layers() if isinstance(layer, kinds))


def product(size: int, dtype: tf.DType) -> Callable[[], object]:
    """A product of square matrices, in one compiled function."""
    left, right = (
        tf.cast(tf.random.stateless_normal([size, size], [seed, 0]), dtype) for seed in (1, 2)
    )
    multiply = tf.function(lambda: tf.reduce_sum(tf.matmul(left, right)), autograph=False)
    return lambda: multiply().numpy()


def measure(precision: str) -> list[tuple[str, ...]]:
    """Rows of the table: the roof and the step."""
    dataset = random_images(_BATCH.value)
    images = tf.constant(to_pixels(dataset.train_images))
    experiment = overridden(cifar10.get_config(), {"backbone.width": _WIDTH.value})
    classifier = experiment.build_classifier(dataset, precision)
    step = build_bare_step(classifier, Passes(descents=1, attack_steps=0), jit_compile=False)
    dtype = _ROOFS[precision]
    flops = 2 * _SIZE.value**3, _BATCH.value * step_flops(classifier.embedder)
    times = in_turn(
        (product(_SIZE.value, dtype), lambda: step(images).numpy()),
        _ROUNDS.value,
        clock=time.process_time if _CLOCK.value == "cpu" else time.perf_counter,
    )
    share = flops[1] / flops[0] * ratio(times[0], times[1])
    names, shares = (f"product, {dtype.name}", f"step, {precision}"), ("", f"{share:.0%}")
    return [
        (name, f"{count / 1e9:.1f}", f"{seconds:.3f}", f"{count / seconds / 1e9:.0f}", of_roof)
        for name, count, seconds, of_roof in zip(
            names, flops, map(statistics.median, times), shares, strict=True
        )
    ]


def main(arguments: list[str]) -> None:
    """Measures and prints the table."""
    del arguments
    table = Table(
        title=f"ResNet-18 of width {_WIDTH.value}, batch {_BATCH.value}, {_CLOCK.value} clock, "
        f"{_ROUNDS.value} rounds"
    )
    for column in ("", "GFLOP", "seconds", "GFLOP/s", "of the roof"):
        table.add_column(column)
    for precision in _PRECISION.value:
        for row in measure(precision):
            table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
