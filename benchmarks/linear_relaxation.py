"""What linear relaxation proves in l-infinity beyond interval bounds, and at what cost.

    python -m benchmarks.linear_relaxation --workdir=runs/digits_ibp --radii=0.1,0.15

Certified accuracy at each radius, the median radius by bisection (over all images, 0 where nothing
is proved) and the CPU seconds of an image at the first radius, for the soft scores' class.
"""

import time
from typing import Any

import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.runs import read_run
from clustr_tf.certify.linf.interval import certified_linf, interval_bounds
from clustr_tf.certify.linf.linear_relaxation import linear_bounds
from clustr_tf.data.pixels import to_pixels

_WORKDIR = flags.DEFINE_string("workdir", "runs/digits_ibp", "a finished run")
_EXAMPLES = flags.DEFINE_integer("examples", 100, "test images")
_BATCH = flags.DEFINE_integer("batch", 25, "images proved at once")
_RADII = flags.DEFINE_list("radii", ["0.1"], "in pixels")
_LARGEST = flags.DEFINE_float("largest", 0.25, "radius below which the bisection seeks")
_HALVINGS = flags.DEFINE_integer("halvings", 6, "radii that it tests")


def main(arguments: list[str]) -> None:
    """Measures and prints a line a kind of bounds."""
    del arguments
    _, classifier, dataset = read_run(_WORKDIR.value)
    count = _EXAMPLES.value // _BATCH.value * _BATCH.value
    images, labels = to_pixels(dataset.test_images[:count]), dataset.test_labels[:count]
    batches = np.split(images, len(images) // _BATCH.value)
    shape = [_BATCH.value, *classifier.image_shape]
    for name, bounds in [("intervals", interval_bounds), ("linear relaxation", linear_bounds)]:

        def proved(pixels: Any, eps: Any, bounds: Any = bounds) -> Any:
            found = certified_linf(classifier.embedder, classifier.head, pixels, eps, bounds)
            return found.class_id, found.certified

        signature = [tf.TensorSpec(shape), tf.TensorSpec([_BATCH.value], "float64")]
        prove = tf.function(proved, signature, autograph=False)
        zero = np.zeros(len(images))
        prove(batches[0], zero[: _BATCH.value])  # compiled before anything is measured

        def all_proved(radii: np.ndarray, prove: Any = prove) -> tuple[np.ndarray, np.ndarray]:
            parts = map(prove, batches, np.split(radii, len(batches)))
            class_id, certified = (np.concatenate(part) for part in zip(*parts, strict=True))
            return class_id, certified

        line, seconds = [], []
        for eps in map(float, _RADII.value):
            begin = time.process_time()
            class_id, certified = all_proved(zero + eps)
            seconds.append((time.process_time() - begin) / len(images))
            line.append(f"{np.mean(certified & (class_id == labels)):.2%} at {eps:g}")
        radius, step = zero, _LARGEST.value
        for _ in range(_HALVINGS.value):
            step /= 2
            radius = np.where(all_proved(radius + step)[1], radius + step, radius)
        print(
            f"{name}: {', '.join(line)}; median radius {np.median(radius):.4f}; "
            f"{seconds[0]:.4f} CPU seconds an image",
            flush=True,
        )


if __name__ == "__main__":
    app.run(main)
