"""A complete evaluation: attack a finished model, write robustness.json and .npz."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from clustr_tf.attacks import PGDConfig, RobustnessResult, evaluate_robustness
from clustr_tf.datasets import load_dataset, to_pixels
from clustr_tf.errors import InputError
from clustr_tf.evaluation.settings import EvaluationConfig
from clustr_tf.evaluation.summary import wilson_interval
from clustr_tf.files import write_arrays, write_json
from clustr_tf.provenance import versions
from clustr_tf.workdir import Workdir

ATTACKS = ("clean", "pgd")


def run_evaluation(
    root: Path,
    attacks: tuple[str, ...] = ATTACKS,
    eps: float | None = None,
    norm: str | None = None,
    examples: int | None = None,
) -> None:
    """Attacks the model of a workdir and writes robustness.json and robustness.npz there.

    Args:
        root: the workdir of a finished run.
        attacks: names out of `ATTACKS`.
        eps: attack radius in pixels; None: the config's. The step size keeps its ratio to eps.
        norm: "linf" or "l2"; None: the config's.
        examples: how many test images; None: the config's number.

    Raises:
        InputError: if the workdir is incomplete or a value is not allowed.
    """
    unknown = sorted(set(attacks) - set(ATTACKS))
    if unknown or not attacks:
        raise InputError(f"--attacks must be out of {', '.join(ATTACKS)}. Received: {attacks}")
    workdir, console = Workdir(root), Console()
    experiment = workdir.experiment()
    config = _overridden(experiment.evaluation, eps, norm, examples)
    classifier = workdir.load_classifier()
    dataset = load_dataset(experiment.dataset)
    labels = dataset.test_labels[: config.examples]
    attack = config.attack if "pgd" in attacks else None
    begin = time.perf_counter()
    with console.status("attacking"):
        result = evaluate_robustness(
            classifier,
            to_pixels(dataset.test_images[: config.examples]),
            labels,
            attack,
            batch_size=config.batch_size,
            seed=experiment.training.seed,
        )
    seconds = time.perf_counter() - begin
    figures = {
        "model": str(workdir.model),
        "data": f"{dataset.name}, first {len(labels)} test images",
        "eps": config.attack.eps,
        "norm": config.attack.norm,
        "seed": experiment.training.seed,
        "examples": len(labels),
        **_accuracies(result, attack, seconds),
        "versions": versions(),
    }
    write_json(root / "robustness.json", figures)
    arrays = {
        "labels": labels,
        "clean_predictions": result.clean_predictions,
        "robust": result.robust,
    }
    write_arrays(root / "robustness.npz", arrays)
    _print(console, figures, root)


def _overridden(
    config: EvaluationConfig, eps: float | None, norm: str | None, examples: int | None
) -> EvaluationConfig:
    attack = config.attack
    try:
        if norm is not None:
            attack = dataclasses.replace(attack, norm=norm)
        if eps is not None:
            # A config with eps 0 has no ratio to keep; a quarter of eps is a usual step.
            ratio = attack.step_size / attack.eps if attack.eps else 0.25
            step_size = ratio * eps
            attack = dataclasses.replace(attack, eps=eps, step_size=step_size)
    except ValueError as error:
        raise InputError(f"--{error}") from error
    return dataclasses.replace(config, attack=attack, examples=examples or config.examples)


def _accuracies(
    result: RobustnessResult, attack: PGDConfig | None, seconds: float
) -> dict[str, Any]:
    examples = len(result.robust)

    def measured(accuracy: float) -> dict[str, Any]:
        return {"accuracy": accuracy, "interval_95": wilson_interval(accuracy, examples)}

    attacks: dict[str, Any] = {"clean": measured(result.clean_accuracy)}
    if attack is not None:
        attacks["pgd"] = {
            **measured(result.robust_accuracy),
            "seconds": seconds,
            "steps": attack.steps,
            "restarts": attack.restarts,
            "losses": list(attack.losses),
        }
    return {
        "attacks": attacks,
        "clean_accuracy": result.clean_accuracy,
        # Without an attack nothing is known of robustness; the clean accuracy is no bound of it.
        "worst_case_accuracy": result.robust_accuracy if attack else None,
    }


def _print(console: Console, figures: dict[str, Any], root: Path) -> None:
    console.print(f"{figures['data']}, {figures['norm']} eps {figures['eps']:.4g}")
    table = Table()
    for column in ("attack", "accuracy", "95 % interval"):
        table.add_column(column)
    for name, measured in figures["attacks"].items():
        low, high = measured["interval_95"]
        table.add_row(name, f"{measured['accuracy']:.2%}", f"{low:.2%} to {high:.2%}")
    console.print(table)
    worst_case = figures["worst_case_accuracy"]
    found = "unknown, nothing attacked" if worst_case is None else f"{worst_case:.2%}"
    console.print(f"worst case: {found}; see {root}/robustness.json")
