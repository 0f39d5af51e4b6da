"""What attacks cost.

    python -m benchmarks.attack iteration --width=16
    python -m benchmarks.attack survivors --workdir=runs/plain
    python -m benchmarks.attack ensemble --workdir=runs/plain --examples=1000

`iteration`: one PGD iteration against a bare compiled forward pass with the gradient of the
images, and against CleverHans called eagerly, in turn, medians of the ratios of neighbours.
`survivors`: the paper's protocol with and without attacking what is broken already. `ensemble`:
seconds and peak memory for so many digits (test images, then training images).
"""

import dataclasses
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
from benchmarks.runs import overridden, read_run
from benchmarks.timing import in_turn, ratio
from clustr_tf.attacks import Attack, CompiledPGD, RobustnessEvaluator
from clustr_tf.configs import cifar10
from clustr_tf.data.pixels import to_pixels
from clustr_tf.evaluate.attacking import Examples
from clustr_tf.evaluate.suite import ENSEMBLE, PAPER_RADII
from clustr_tf.losses import cross_entropy

_WIDTH = flags.DEFINE_integer("width", 16, "channels of ResNet-18's first stage; 64: the paper's")
_BATCH = flags.DEFINE_integer("batch", 64, "images of an iteration")
_PAIRS = flags.DEFINE_integer("pairs", 7, "measurements that count, after one to warm up")
_WORKDIR = flags.DEFINE_string("workdir", "runs/plain", "a finished run on digits")
_EXAMPLES = flags.DEFINE_integer("examples", 1000, "digits that are attacked")
_ITERATIONS, _EPS = 10, 8 / 255
_BATCH_SIZE = 250  # digits attacked at once


def iteration() -> None:
    """Prints the ratios of one PGD iteration."""
    dataset = random_images(500)
    experiment = overridden(cifar10.get_config("thin"), {"backbone.width": _WIDTH.value})
    classifier = experiment.build_classifier(dataset)
    classifier.head.set_clusters(np.random.default_rng(0).normal(size=(20, 8 * _WIDTH.value)), 1.0)
    images = tf.constant(to_pixels(dataset.train_images[: _BATCH.value]))
    labels = tf.constant(dataset.train_labels[: _BATCH.value])
    attack = CompiledPGD(classifier, classifier.image_shape)
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
    run = read_run(_WORKDIR.value)
    images = np.concatenate([run.dataset.test_images, run.dataset.train_images])
    labels = np.concatenate([run.dataset.test_labels, run.dataset.train_labels])
    rows = np.arange(_EXAMPLES.value) % len(labels)
    plan = dataclasses.replace(run.experiment.evaluation, batch_size=_BATCH_SIZE)
    return run.attacked(images[rows], labels[rows], plan, seed=0, memory=folder)


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
