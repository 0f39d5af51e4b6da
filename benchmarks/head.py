"""Time and memory of a clustering head with many clusters.

    python -m benchmarks.head --clusters=10000

Log-scores of a batch and their gradient for the embeddings. Memory is the peak of the process
above what it held before.
"""

import resource
import statistics
import time

import numpy as np
import tensorflow as tf
from absl import app, flags

from clustr_tf.layers import ClusteringHead

_CLUSTERS = flags.DEFINE_integer("clusters", 10_000, "clusters, one a class")
_BATCH = flags.DEFINE_integer("batch", 240, "embeddings")
_DIM = flags.DEFINE_integer("dim", 512, "of an embedding")
_ROUNDS = 5


def main(arguments: list[str]) -> None:
    """Measures and prints one line."""
    del arguments
    rng = np.random.default_rng(0)
    head = ClusteringHead(_CLUSTERS.value, 1)
    head.set_clusters(rng.normal(size=(_CLUSTERS.value, _DIM.value)), 1.0)
    embeddings = tf.constant(rng.normal(size=(_BATCH.value, _DIM.value)), tf.float32)

    @tf.function
    def scores_and_gradient(points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(points)
            scores = head(points)
        return scores, tape.gradient(scores, points)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds = []
    for _ in range(_ROUNDS + 1):
        begin = time.perf_counter()
        scores_and_gradient(embeddings)
        seconds.append(time.perf_counter() - begin)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        f"{_CLUSTERS.value:,} clusters of dimension {_DIM.value}, batch {_BATCH.value}: "
        f"{statistics.median(seconds[1:]):.3f} s, {peak / 2**20:.2f} GiB"
    )


if __name__ == "__main__":
    app.run(main)
