"""What attacks cost.

    python -m benchmarks.attack iteration --width=16
    python -m benchmarks.attack survivors --workdir=runs/plain
    python -m benchmarks.attack ensemble --workdir=runs/plain --examples=1000

`iteration`: one PGD iteration against a bare compiled forward pass with the gradient of the
images, and against CleverHans called eagerly, in turn, medians of the ratios of neighbours.
`survivors`: the paper's protocol with and without attacking what is broken already. `ensemble`:
seconds and peak memory for so many digits (test images, then training images).
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import app, flags
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

from benchmarks.data import random_images
from benchmarks.timing import in_turn, ratio
from clustr_tf.attacks import PGD, Attack, RobustnessEvaluator, cross_entropy
from clustr_tf.attacks.examples import as_pixels
from clustr_tf.datasets import load_dataset
from clustr_tf.evaluation.attacking import Examples
from clustr_tf.evaluation.memory import Memory
from clustr_tf.evaluation.suite import ENSEMBLE, PAPER_RADII, Target, build_stages
from clustr_tf.experiment import read_experiment
from clustr_tf.training.building import build_classifier
from clustr_tf.workdir import Workdir
from configs import cifar10

_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_BATCH = flags.DEFINE_integer("batch", 64, "images of an iteration")
_PAIRS = flags.DEFINE_integer("pairs", 7, "measurements that count, after one to warm up")
_WORKDIR = flags.DEFINE_string("workdir", "runs/plain", "a finished run on digits")
_EXAMPLES = flags.DEFINE_integer("examples", 1000, "digits that are attacked")
_ITERATIONS, _EPS = 10, 8 / 255


def iteration() -> None:
    """Prints the ratios of one PGD iteration."""
    config = cifar10.get_config("thin")
    config.backbone.width = _WIDTH.value
    dataset = random_images(500)
    classifier = build_classifier(read_experiment(config.to_dict()), dataset)
    classifier.head.set_clusters(np.random.default_rng(0).normal(size=(20, 8 * _WIDTH.value)), 1.0)
    images = tf.constant(as_pixels(dataset.train_images[: _BATCH.value]))
    labels = tf.constant(dataset.train_labels[: _BATCH.value])
    attack = PGD(classifier, classifier.image_shape)
    step = _EPS / 4

    @tf.function(autograph=False)
    def bare(pixels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            loss = cross_entropy(labels, classifier(pixels))
        return tape.gradient(loss, pixels)

    def repeated_bare() -> None:
        for _ in range(_ITERATIONS):
            bare(images).numpy()

    def ours() -> None:
        attack(images, labels, images, eps=_EPS, step_size=step, steps=_ITERATIONS).numpy()

    def eager() -> None:
        projected_gradient_descent(
            classifier,
            images,
            _EPS,
            step,
            _ITERATIONS,
            np.inf,
            clip_min=0.0,
            clip_max=1.0,
            y=labels,
        )

    bare_s, ours_s, eager_s = in_turn((repeated_bare, ours, eager), _PAIRS.value)
    ours_ms, bare_ms, eager_ms = (
        1e3 / _ITERATIONS * statistics.median(times) for times in (ours_s, bare_s, eager_s)
    )
    print(
        f"width {_WIDTH.value}, batch {_BATCH.value}: PGD {ours_ms:.1f} ms an iteration, bare "
        f"{bare_ms:.1f} ms, CleverHans eagerly {eager_ms:.1f} ms; PGD / bare "
        f"{ratio(ours_s, bare_s):.3f}, CleverHans / PGD {ratio(eager_s, ours_s):.2f}"
    )


def survivors(folder: Path) -> None:
    """Prints the work that attacking survivors only saves in the paper's protocol."""
    examples = digits_examples(folder)
    evaluator, attack = examples.evaluator, examples.evaluator.attacks["pgd_paper"]
    restarts = [f"restart {restart}" for restart in range(attack.attempts)]
    one_by_one = RobustnessEvaluator(
        evaluator.log_scores,
        examples.images.shape[1:],
        {name: restarted(attack, restart) for restart, name in enumerate(restarts)},
    )
    attacked = whole = 0
    for eps in PAPER_RADII:
        only = examples.attacked("survivors", ("pgd_paper",), eps)
        every = [
            one_by_one.broken_by(name, examples.images, examples.labels, examples.correct, eps)
            for name in restarts
        ]
        equal = np.array_equal(only.any_broken, np.any(every, axis=0))
        attacked += only.attacked
        whole += attack.attempts * int(examples.correct.sum())
        print(
            f"eps {eps:.4f}: accuracy {np.mean(examples.correct & ~only.any_broken):.2%}, "
            f"{'the same' if equal else 'NOT the same'} without survivors only"
        )
    print(f"attacked {attacked} of {whole} images: {1 - attacked / whole:.0%} saved")


def restarted(attack: Attack, restart: int) -> Attack:
    """One restart of an attack as an attack of its own; for seed 0, whose restarts are 0, 1, ..."""
    return Attack(
        lambda images, labels, eps, seed, attempt, ids: attack.find(
            images, labels, eps, seed + restart, attempt, ids
        )
    )


def ensemble(folder: Path) -> None:
    """Prints seconds and peak memory of the ensemble."""
    examples = digits_examples(folder)
    begin = time.perf_counter()
    outcome = examples.attacked("ensemble", ENSEMBLE, 0.1)
    spent = time.perf_counter() - begin
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    left = np.mean(examples.correct & ~outcome.any_broken)
    print(
        f"{len(examples.labels)} digits: {spent:.0f} s, accuracy left {left:.2%}, "
        f"peak memory {peak:.2f} GiB"
    )


def digits_examples(folder: Path) -> Examples:
    """Test images, then training images, again and again if more are wanted."""
    workdir = Workdir(Path(_WORKDIR.value))
    experiment, classifier = workdir.experiment(), workdir.load_classifier()
    dataset = load_dataset(experiment.dataset)
    images = np.concatenate([dataset.test_images, dataset.train_images])
    labels = np.concatenate([dataset.test_labels, dataset.train_labels])
    rows = np.arange(_EXAMPLES.value) % len(labels)
    shape = classifier.image_shape
    stages = build_stages(Target(classifier, shape, dataset.num_classes, experiment.evaluation))
    evaluator = RobustnessEvaluator(classifier, shape, stages)
    return Examples(evaluator, images[rows], labels[rows], 0, Memory(folder, {}))


def main(arguments: list[str]) -> None:
    """Measures what the argument names."""
    if len(arguments) != 2 or arguments[1] not in ("iteration", "survivors", "ensemble"):
        raise app.UsageError("give one of: iteration, survivors, ensemble")
    if arguments[1] == "iteration":
        iteration()
        return
    with tempfile.TemporaryDirectory() as folder:
        {"survivors": survivors, "ensemble": ensemble}[arguments[1]](Path(folder))


if __name__ == "__main__":
    app.run(main)
