"""The published failure in small: which attacks a clustering head fools, and which it does not.

    python -m clustr_tf.train --config=configs/digits.py:plain --workdir=runs/plain
    python -m benchmarks.masking --workdir=runs/plain
    python -m benchmarks.masking --workdir=runs/cifar_thin --examples=200

Attacks a finished ClusTR model as it is, and with sigma^2 divided by 300. That changes hardly any
prediction, but log-scores become so large that cross-entropy saturates, too. Prints a table of the
accuracies that the attacks leave.
"""

import dataclasses
import tempfile
from pathlib import Path

import keras
import numpy as np
from absl import app, flags

from benchmarks.runs import read_run
from clustr_tf.evaluate.suite import ENSEMBLE

_WORKDIR = flags.DEFINE_string("workdir", "runs/plain", "a finished run with a clustering head")
_EXAMPLES = flags.DEFINE_integer("examples", 360, "the first so many test images")
_DIVISORS = (1, 300)
_LOSSES = ("ce", "margin", "dlr")
_COLUMNS = {
    "paper's protocol": ("pgd_paper",),
    **{f"PGD, {loss}": (f"pgd_{loss}",) for loss in _LOSSES},
    "ensemble": ENSEMBLE,
}


def accuracies(workdir: str, divisor: float, folder: Path) -> list[float]:
    """Clean accuracy and what each attack leaves, with sigma^2 divided."""
    run = read_run(workdir)
    head, dataset, plan = run.classifier.head, run.dataset, run.experiment.evaluation
    centroids, variance = map(keras.ops.convert_to_numpy, (head.centroids, head.variance))
    head.set_clusters(centroids, variance / divisor)
    attack = dataclasses.replace(plan.attack, losses=_LOSSES)
    examples = run.attacked(
        dataset.test_images[: _EXAMPLES.value],
        dataset.test_labels[: _EXAMPLES.value],
        dataclasses.replace(plan, attack=attack),
        run.experiment.training.seed,
        folder,
    )
    found = [examples.attacked(name, names, attack.eps) for name, names in _COLUMNS.items()]
    left = [np.mean(examples.correct & ~outcome.any_broken) for outcome in found]
    return [float(np.mean(examples.correct)), *map(float, left)]


def main(arguments: list[str]) -> None:
    """Prints the table as Markdown."""
    del arguments
    print(f"| sigma^2 | clean | {' | '.join(_COLUMNS)} |")
    print("| --- " * (len(_COLUMNS) + 2) + "|")
    for divisor in _DIVISORS:
        with tempfile.TemporaryDirectory() as folder:
            shares = accuracies(_WORKDIR.value, divisor, Path(folder))
        cells = " | ".join(f"{100 * share:.1f} %" for share in shares)
        print(f"| {'as trained' if divisor == 1 else f'/ {divisor}'} | {cells} |", flush=True)


if __name__ == "__main__":
    app.run(main)
