"""What certifying an image costs beside its forward pass.

    python -m benchmarks.certificate [--backbone=small_cnn]

Compiled forward passes (images -> log-scores) and certifications (classes and both radii) of
C * K = 200 clusters of dimension 512, in turn; medians, and medians of the ratios of neighbours.
"""

import itertools
import statistics
import time
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from absl import app, flags

from clustr_tf.backbones import build_backbone
from clustr_tf.certificates import LipschitzBound, embed_with_norms
from clustr_tf.certification import certify_batch, head_geometry
from clustr_tf.classifier import Classifier
from clustr_tf.layers import ClusteringHead

_BACKBONE = flags.DEFINE_enum("backbone", "resnet18", ["resnet18", "small_cnn"], "of dimension 512")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "measurements that count, after two to warm up")
_CLUSTERS, _DIM = 200, 512
_METHODS = ((1, "pairwise"), (2, "pairwise"), (2, "exact"), (4, "exact"))
# Images and channels of the first stage that make embeddings of dimension 512.
_INPUTS = {"resnet18": ((32, 32, 3), 64), "small_cnn": ((8, 8, 1), 32)}


def main(arguments: list[str]) -> None:
    """Measures and prints a line a case."""
    del arguments
    rng = np.random.default_rng(0)
    shape, width = _INPUTS[_BACKBONE.value]
    backbone = build_backbone(_BACKBONE.value, shape, width=width)
    assert backbone.output_shape[-1] == _DIM, backbone.output_shape
    for (clusters, method), batch in itertools.product(_METHODS, (1, 64)):
        head = ClusteringHead(_CLUSTERS // clusters, clusters)
        classifier = Classifier(backbone, head, mean=[0.5] * shape[-1], std=[0.25] * shape[-1])
        head.set_clusters(rng.normal(size=(_CLUSTERS, _DIM)), 1.0)
        images = tf.constant(rng.uniform(size=(batch, *shape)), tf.float32)
        forward = tf.function(classifier, autograph=False)
        certify = tf.function(certification(classifier, method), autograph=False)
        rounds = [
            [seconds(run, images) for run in (forward, certify)] for _ in range(_ROUNDS.value + 2)
        ]
        forward_s, certify_s = zip(*rounds[2:], strict=True)
        ratio = statistics.median(b / a for a, b in rounds[2:])
        print(
            f"{_BACKBONE.value}, K = {clusters}, {method}, batch {batch}: forward "
            f"{1e3 * statistics.median(forward_s) / batch:.2f} ms an image, certified "
            f"{1e3 * statistics.median(certify_s) / batch:.2f} ms, ratio {ratio:.3f}",
            flush=True,
        )


def certification(
    classifier: Classifier, method: str
) -> Callable[[tf.Tensor], tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Images to the class and both classifiers' radii."""
    # Found once for all images, however long it takes; time does not depend on its figures.
    layers = embed_with_norms(
        classifier.embedder, np.zeros((1, *classifier.image_shape), "float32")
    )
    bound = LipschitzBound(1.0, 0.0, (0.0,) * (1 + layers[1].shape[1]))
    geometry = head_geometry(classifier.head, method)

    def certify(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        found = certify_batch(classifier, images, bound, geometry, method)[1]
        return found.class_id, found.certified_radius_l2, found.nearest_cluster_radius_l2

    return certify


def seconds(run: Callable[[tf.Tensor], object], images: tf.Tensor) -> float:
    """How long it takes."""
    begin = time.perf_counter()
    run(images)
    return time.perf_counter() - begin


if __name__ == "__main__":
    app.run(main)
