"""Our attacks beside the verdicts of the official AutoAttack, image by image.

    python -m benchmarks.autoattack
    python -m benchmarks.autoattack --models=tests/golden/autoattack --only=digits

A folder holds models, one folder each: a SavedModel whose `log_scores` maps images to logits, and
`official.npz` with what the official code (fra31/auto-attack, commit a392200, standard budgets)
left of its 200 images; see `tests/golden/README.md`. Every attack runs alone, Square also with
`as_autoattack`, then all together as `standard`. Prints the numbers of robust images as Markdown,
on how many images the two disagree, and the CPU seconds of ours.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from absl import app, flags

from clustr_tf.attacks import PGD, RobustnessEvaluator, Square
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.suite import STANDARD, Target, attempts_of, build_stages

_MODELS = flags.DEFINE_string("models", "tests/golden/autoattack", "folder of models")
_ONLY = flags.DEFINE_string("only", None, "one of them")
_DRAWN_ALIKE = "square, as_autoattack"
_BALLS = {"linf": ("Linf", 0.1), "l2": ("L2", 0.5)}


class Comparison(NamedTuple):
    """One attack on one model: who is robust, bool `[N]`, and CPU seconds of ours."""

    norm: str
    attack: str
    ours: np.ndarray
    official: np.ndarray
    seconds: float


def compared(folder: Path, norm: str, seed: int = 0) -> Iterator[Comparison]:
    """Each attack that the official code was run with alone, then the standard version.

    Args:
        folder: of one model.
        norm: "linf" or "l2".
        seed: of ours.

    Yields:
        A comparison an attack; the last is `standard`.
    """
    model = tf.saved_model.load(str(folder))
    with np.load(folder / "official.npz", allow_pickle=False) as official:
        golden = dict(official)
    prefix, eps = _BALLS[norm]
    images, labels = golden["images"], golden["labels"].astype(np.int64)
    shape, classes = images.shape[1:], golden["log_scores"].shape[1]
    target = Target(model.log_scores, shape, classes, EvaluationPlan(PGD(eps, norm=norm)))
    drawn_alike = Square(model.log_scores, shape, norm, as_autoattack=True)
    attacks = build_stages(target) | {_DRAWN_ALIKE: attempts_of(drawn_alike)}
    evaluator = RobustnessEvaluator(model.log_scores, shape, attacks)
    correct = evaluator.predictions(images) == labels
    verdicts = {
        name: golden[key]
        for name in STANDARD
        if (key := f"{prefix}_{name.replace('_', '-')}") in golden
    }
    runs: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: ((name,), verdict) for name, verdict in verdicts.items()
    }
    if "square" in verdicts:
        runs[_DRAWN_ALIKE] = ((_DRAWN_ALIKE,), verdicts["square"])
    runs["standard"] = (STANDARD, np.all(list(verdicts.values()), axis=0))
    for name, (stages, verdict) in runs.items():
        begin = time.process_time()
        broken = evaluator.broken_in_turn(stages, images, labels, correct, eps, seed)
        left = correct & ~np.any(list(broken.values()), axis=0)
        yield Comparison(norm, name, left, verdict, time.process_time() - begin)


def main(arguments: list[str]) -> None:
    """Prints the table."""
    del arguments
    print("| model | norm, eps | attack | official | ours | disagree | CPU seconds, ours |")
    print("| --- " * 7 + "|")
    for folder in sorted(Path(_MODELS.value).iterdir()):
        if _ONLY.value not in (None, folder.name):
            continue
        for norm, (_, eps) in _BALLS.items():
            for row in compared(folder, norm):
                print(
                    f"| {folder.name} | {norm} {eps} | `{row.attack}` | {row.official.sum()} | "
                    f"{row.ours.sum()} | {(row.ours != row.official).sum()} | {row.seconds:.0f} |",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main)
