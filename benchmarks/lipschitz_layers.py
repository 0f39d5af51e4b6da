"""Which 1-Lipschitz convolution certifies more, and how near to 1 the layers come.

    python -m benchmarks.lipschitz_layers --output=runs/lipschitz

Digits with configs/digits_certified.py but for the backbone: almost-orthogonal convolutions (AOL,
`lipschitz_cnn`) and residual ones (SLL, `lipschitz_resnet`), beside dense layers. Finished runs are
not repeated. Prints certified accuracy at l2 0.5 and, for fresh, random and trained weights, the
largest singular value of each kind of layer: by SVD of its Jacobian at random inputs.
"""

from collections import defaultdict
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.runs import FinishedRun, cell, finished_run, read_run
from clustr_tf.certify.images import certify_images
from clustr_tf.classifier import Classifier
from clustr_tf.layers import AOLConv2D, OrthogonalDense, SLLConv2D

_OUTPUT = flags.DEFINE_string("output", "runs/lipschitz", "folder of the workdirs")
_SEEDS = flags.DEFINE_integer("seeds", 3, "seeds of each backbone, from 0")
_BACKBONES = {"lipschitz_mlp": 256, "lipschitz_cnn": 32, "lipschitz_resnet": 32}
_RADIUS = 0.5
_KINDS = (AOLConv2D, SLLConv2D, OrthogonalDense)
_POINTS = 3


def main(arguments: list[str]) -> None:
    """Runs what is missing and prints both tables as Markdown."""
    del arguments
    print(f"| backbone | parameters | clean % | certified at {_RADIUS} % | seconds of training |")
    print("| --- " * 5 + "|")
    trained = {}
    for name, width in _BACKBONES.items():
        figures = []
        for seed in range(_SEEDS.value):
            root = Path(_OUTPUT.value) / f"{name}-{seed}"
            summary = finished_run(
                root,
                "--config=configs/digits_certified.py",
                f"--config.backbone.name={name}",
                f"--config.backbone.width={width}",
                f"--config.training.seed={seed}",
            )
            run = read_run(root)
            trained[name, seed] = run.classifier
            clean, certified = certified_accuracy(run)
            figures.append((clean, certified, summary["training_seconds"]))
        parameters = trained[name, 0].backbone.count_params()
        clean_cell, certified_cell, seconds = (
            cell(values, scale, 1)
            for values, scale in zip(zip(*figures, strict=True), (100, 100, 1), strict=True)
        )
        print(f"| `{name}` | {parameters:,} | {clean_cell} | {certified_cell} | {seconds} |")
    print("\n| layer | weights | layers | largest singular value, lowest to highest |")
    print("| --- " * 4 + "|")
    for (kind, weights), values in singular_values(list(trained.values())).items():
        print(
            f"| `{kind}` | {weights} | {len(values)} | {min(values):.7f} to {max(values):.7f} |",
            flush=True,
        )


def certified_accuracy(run: FinishedRun) -> tuple[float, float]:
    """Of the soft scores: clean, and certified at `_RADIUS`."""
    images, labels = run.dataset.test_images, run.dataset.test_labels
    found = certify_images(run.classifier, images, labels, search=None).best
    return float(np.mean(found.correct)), found.certified_accuracy(_RADIUS)


def singular_values(classifiers: list[Classifier]) -> dict[tuple[str, str], list[float]]:
    """The largest one of every layer of the backbones, by kind of layer and of weights."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for classifier in classifiers:
        for layer in classifier.backbone.layers:
            if not isinstance(layer, _KINDS):
                continue
            shape = layer.input.shape[1:]
            for weights, twin in (
                ("fresh", build_twin(layer, shape)),
                ("random", randomised(build_twin(layer, shape))),
                ("trained", layer),
            ):
                found[type(layer).__name__, weights].append(largest_singular_value(twin, shape))
    return dict(sorted(found.items()))


def build_twin(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.layers.Layer:
    """A layer of the same settings with the weights that training begins with."""
    twin = type(layer).from_config(layer.get_config())
    twin.build((None, *shape))
    return twin


def randomised(layer: keras.layers.Layer) -> keras.layers.Layer:
    """The layer, its weights drawn from a normal distribution."""
    rng = np.random.default_rng(0)
    for weight in layer.weights:
        weight.assign(rng.normal(size=weight.shape))
    return layer


def largest_singular_value(layer: keras.layers.Layer, shape: tuple[int, ...]) -> float:
    """Of the Jacobians at random inputs, the largest."""
    points = tf.random.stateless_normal((_POINTS, *shape), seed=(0, 0))
    with tf.GradientTape() as tape:
        tape.watch(points)
        outputs = layer(points)
    jacobians = tape.batch_jacobian(outputs, points).numpy().astype(np.float64)
    flat = jacobians.reshape(_POINTS, int(np.prod(outputs.shape[1:])), -1)
    return float(np.max(np.linalg.norm(flat, 2, axis=(1, 2))))


if __name__ == "__main__":
    app.run(main)
