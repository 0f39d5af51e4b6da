"""What a draw costs, whatever the number of examples.

    python -m benchmarks.sampler

A step's share of the sampler is one draw and one update of the losses. Both sizes run in turn in
one process; the ratio is the median of the ratios of neighbours.
"""

import statistics
from functools import partial

import numpy as np
from absl import app, flags
from rich.console import Console
from rich.table import Table

from benchmarks.timing import in_turn, ratio
from clustr_tf.data.batches import NeighbourhoodSampler

_SIZES = (50_000, 1_300_000)
_ROUNDS = flags.DEFINE_integer("rounds", 20, "rounds that count, after one to warm up")
_STEPS = 50


def build_sampler(examples: int) -> NeighbourhoodSampler:
    """A sampler of 10 classes with 2 clusters each, the published M and D."""
    labels = np.arange(examples) % 10
    assignments = 2 * labels + np.arange(examples) // 10 % 2
    centroids = np.random.default_rng(0).normal(size=(20, 512))
    return NeighbourhoodSampler(labels, assignments, centroids, 12, 20, seed=0)


def run_steps(sampler: NeighbourhoodSampler) -> None:
    """Draws, each with its update."""
    for _ in range(_STEPS):
        indices, _ = sampler.sample()
        sampler.update_losses(indices, np.ones(len(indices)))


def main(arguments: list[str]) -> None:
    """Measures both sizes in turn and prints a table."""
    del arguments
    small, large = in_turn(
        [partial(run_steps, build_sampler(size)) for size in _SIZES], _ROUNDS.value
    )
    table = Table(title=f"One draw and update, {_ROUNDS.value} rounds of {_STEPS} steps")
    for column in ("examples", "microseconds (median)"):
        table.add_column(column)
    for size, seconds in zip(_SIZES, (small, large), strict=True):
        table.add_row(f"{size:,}", f"{1e6 * statistics.median(seconds) / _STEPS:.0f}")
    table.add_row("ratio", f"{ratio(large, small):.2f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
