"""What an exported model costs beside its bare backbone, and what ONNX Runtime makes of it.

    python -m benchmarks.serving [--backbone=small_cnn]

10 classes of 2 clusters, dimension 512, random weights. Signatures of SavedModels loaded by
TensorFlow, in turn; medians, and medians of the ratios of neighbours.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tensorflow as tf
from absl import app, flags

from benchmarks.networks import DIM, INPUTS, free_bound, random_classifier
from benchmarks.timing import in_turn, ratio
from clustr_tf.classifier import Classifier
from clustr_tf.serve.onnx_model import write_onnx
from clustr_tf.serve.saving import export_savedmodel

_BACKBONE = flags.DEFINE_enum("backbone", "resnet18", list(INPUTS), f"of dimension {DIM}")
_ROUNDS = flags.DEFINE_integer("rounds", 15, "measurements that count, after two to warm up")
_CLASSES, _CLUSTERS = 10, 2
_BATCHES = (1, 64)


def main(arguments: list[str]) -> None:
    """Exports, measures and prints a line a batch size."""
    del arguments
    classifier = random_classifier(_BACKBONE.value, _CLASSES, _CLUSTERS)
    with tempfile.TemporaryDirectory() as folder:
        bare = export_bare(classifier, Path(folder) / "bare")
        version = export_savedmodel(classifier, Path(folder) / "served", free_bound(classifier))
        size = sum(path.stat().st_size for path in version.rglob("*") if path.is_file())
        begin = time.perf_counter()
        loaded = tf.saved_model.load(str(version))
        print(
            f"{_BACKBONE.value}: {size / 2**20:.1f} MiB on disk, loaded in "
            f"{time.perf_counter() - begin:.1f} s",
            flush=True,
        )
        served = loaded.signatures["serving_default"]
        backbone = tf.saved_model.load(str(bare)).signatures["serving_default"]
        engine = onnx_engine(version, Path(folder) / "model.onnx")
        for batch in _BATCHES:
            compare(classifier.image_shape, batch, backbone, served, engine)


def export_bare(classifier: Classifier, folder: Path) -> Path:
    """A SavedModel of the backbone and its standardisation alone."""
    module = tf.Module()
    module.network = classifier.embedder
    embed = tf.function(lambda images: {"embeddings": classifier.embedder(images)}, autograph=False)
    images = tf.TensorSpec((None, *classifier.image_shape), tf.float32, "images")
    tf.saved_model.save(module, str(folder), signatures=embed.get_concrete_function(images))
    return folder


def compare(
    shape: tuple[int, ...],
    batch: int,
    backbone: Callable[..., Any],
    served: Callable[..., Any],
    engine: Callable[[np.ndarray], dict[str, np.ndarray]],
) -> None:
    """Times one batch size and compares the outputs of the engines."""
    values = np.random.default_rng(batch).uniform(size=(batch, *shape)).astype(np.float32)
    images = tf.constant(values)
    runs = (
        partial(backbone, images=images),
        partial(served, images=images),
        partial(engine, values),
    )
    times = in_turn(runs, _ROUNDS.value, warm_up=2)
    names = ("bare", "serving_default", "ONNX Runtime")
    medians = ", ".join(
        f"{name} {1e3 * statistics.median(seconds) / batch:.2f} ms an image"
        for name, seconds in zip(names, times, strict=True)
    )
    print(f"batch {batch}: {medians}; serving_default / bare {ratio(times[1], times[0]):.3f}")
    largest = ", ".join(differences(served(images=images), engine(values)))
    print(f"largest differences of ONNX Runtime: {largest}", flush=True)


def differences(wanted: dict[str, tf.Tensor], found: dict[str, np.ndarray]) -> list[str]:
    """The largest difference of each output."""
    return [
        f"{name} {np.max(np.abs(found[name] - values.numpy())):.1e}"
        for name, values in wanted.items()
    ]


def onnx_engine(version: Path, path: Path) -> Callable[[np.ndarray], dict[str, np.ndarray]]:
    """serving_default in ONNX Runtime: images to outputs by name."""
    write_onnx(version, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]

    def engine(images: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {"images": images}), strict=True))

    return engine


if __name__ == "__main__":
    app.run(main)
