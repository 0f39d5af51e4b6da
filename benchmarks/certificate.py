"""What certifying an image costs beside its forward pass.

    python -m benchmarks.certificate [--backbone=small_cnn]

Compiled forward passes (images -> log-scores) and certifications (classes and both radii) of
C * K = 200 clusters of dimension 512, in turn; medians, and medians of the ratios of neighbours.
"""

import itertools
import statistics
from collections.abc import Callable
from functools import partial

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.networks import DIM, INPUTS, free_bound, random_classifier
from benchmarks.timing import in_turn, ratio
from clustr_tf.certify.radii import certify_batch, head_geometry
from clustr_tf.classifier import Classifier

_BACKBONE = flags.DEFINE_enum("backbone", "resnet18", list(INPUTS), f"of dimension {DIM}")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "measurements that count, after two to warm up")
_CLUSTERS = 200
_METHODS = ((1, "pairwise"), (2, "pairwise"), (2, "exact"), (4, "exact"))


def main(arguments: list[str]) -> None:
    """Measures and prints a line a case."""
    del arguments
    rng = np.random.default_rng(0)
    for (clusters, method), batch in itertools.product(_METHODS, (1, 64)):
        classifier = random_classifier(_BACKBONE.value, _CLUSTERS // clusters, clusters)
        images = tf.constant(rng.uniform(size=(batch, *classifier.image_shape)), tf.float32)
        forward = tf.function(classifier, autograph=False)
        certify = tf.function(certification(classifier, method), autograph=False)
        runs = [partial(run, images) for run in (forward, certify)]
        forward_s, certify_s = in_turn(runs, _ROUNDS.value, warm_up=2)
        print(
            f"{_BACKBONE.value}, K = {clusters}, {method}, batch {batch}: forward "
            f"{1e3 * statistics.median(forward_s) / batch:.2f} ms an image, certified "
            f"{1e3 * statistics.median(certify_s) / batch:.2f} ms, ratio "
            f"{ratio(certify_s, forward_s):.3f}",
            flush=True,
        )


def certification(
    classifier: Classifier, method: str
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Images to the class and both classifiers' radii."""
    bound = free_bound(classifier)
    geometry = head_geometry(classifier.head, method)

    def certify(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        found = certify_batch(classifier, images, bound, geometry, method, search=None)[1]
        return found.class_id, found.certified_radius_l2, found.nearest_cluster_radius_l2

    return certify


if __name__ == "__main__":
    app.run(main)
