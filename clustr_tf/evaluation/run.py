"""A complete evaluation: attack a finished model, diagnose, write the figures and the report."""

import dataclasses
import hashlib
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clustr_tf.attacks import RobustnessEvaluator
from clustr_tf.classifier import Classifier
from clustr_tf.datasets import Dataset, load_dataset
from clustr_tf.evaluation.attacking import Examples, Outcome
from clustr_tf.evaluation.confidence import measured
from clustr_tf.evaluation.diagnostics import Diagnostic, diagnose, diagnostic_stages
from clustr_tf.evaluation.memory import Memory
from clustr_tf.evaluation.pictures import gallery, map_arrays
from clustr_tf.evaluation.progress import AttackProgress
from clustr_tf.evaluation.report import read_evaluation, write_report
from clustr_tf.evaluation.request import Request, attack_names, overridden
from clustr_tf.evaluation.results import (
    attack_figures,
    class_figures,
    curve_figures,
)
from clustr_tf.evaluation.settings import EvaluationConfig
from clustr_tf.evaluation.suite import (
    ATTACKS,
    PAPER_RADII,
    Target,
    build_stages,
    stages_of,
)
from clustr_tf.experiment import Experiment
from clustr_tf.files import write_arrays, write_json
from clustr_tf.layers import ClusteringHead
from clustr_tf.provenance import versions
from clustr_tf.sections import section_values
from clustr_tf.training.distribution import STRATEGIES
from clustr_tf.workdir import Workdir

_CURVES = ("pgd", "pgd_paper")


def run_evaluation(root: Path, request: Request) -> None:
    """Attacks the model of a workdir; writes robustness.json, robustness.npz and report.html.

    An interrupted evaluation goes on where it was when the same command is given again.

    Args:
        root: the workdir of a finished run.
        request: what to evaluate.

    Raises:
        InputError: if the workdir is incomplete, a value is not allowed or another process is
            using the workdir.
    """
    workdir, console = Workdir(root), Console()
    experiment = workdir.experiment()
    strategy = STRATEGIES[request.strategy]()
    with strategy.scope():
        classifier = workdir.load_classifier()
        source = Workdir(request.source).load_classifier() if request.source else None
    clustered = isinstance(classifier.head, ClusteringHead)
    names = attack_names(request, clustered, source, classifier)
    config = overridden(experiment.evaluation, request)
    dataset = load_dataset(experiment.dataset)
    images, labels = dataset.test_images[: config.examples], dataset.test_labels[: config.examples]
    shape, classes = classifier.image_shape, dataset.num_classes
    target = Target(classifier, shape, classes, config, source)
    stages = build_stages(target) | diagnostic_stages(target)
    evaluator = RobustnessEvaluator(classifier, shape, stages, config.batch_size, strategy=strategy)
    with workdir.claimed(experiment), workdir.writing():
        memory = Memory(root / "evaluation", _fingerprint(workdir, request, config, images, labels))
        with AttackProgress(console, len(labels)) as progress:
            seed = experiment.training.seed
            examples = Examples(evaluator, images, labels, seed, memory, progress)
            found = _measure(examples, target, names, request.protocol, clustered)
        figures = _figures(workdir, experiment, dataset, config, examples, found)
        arrays = _arrays(classifier, dataset, config, examples, found)
        write_arrays(root / "robustness.npz", arrays)
        write_json(root / "robustness.json", figures)
        write_report(root / "report.html", [read_evaluation(root)])
        memory.forget()
    _print(console, figures, root)


@dataclasses.dataclass(frozen=True)
class _Found:
    """All that was measured."""

    outcomes: Mapping[str, Outcome]
    radii: tuple[float, ...]
    smallest_eps: Mapping[str, np.ndarray]
    diagnostics: list[Diagnostic]

    def broken(self, examples: Examples) -> np.ndarray:
        """Which examples any attack broke, bool `[N]`."""
        found = [outcome.any_broken for outcome in self.outcomes.values()]
        return np.any([*found, np.zeros_like(examples.correct)], axis=0)

    def strongest(self) -> str | None:
        """The attack that broke most; the last one of equals, as ensembles come last."""
        counts = {name: int(found.any_broken.sum()) for name, found in self.outcomes.items()}
        return max(reversed(counts), key=lambda name: counts[name]) if counts else None


def _measure(
    examples: Examples, target: Target, names: tuple[str, ...], protocol: str, clustered: bool
) -> _Found:
    config, eps = target.config, target.config.attack.eps
    outcomes = {
        name: examples.attacked(name, stages_of(name, config), eps)
        for name in names
        if name != "clean"
    }
    further = PAPER_RADII if protocol == "paper" else tuple(eps * at for at in config.curve)
    radii = tuple(sorted({0.0, eps, *further}))
    smallest_eps = {
        name: examples.smallest_eps(name, stages_of(name, config), [r for r in radii if r > 0])
        for name in outcomes
        if name in _CURVES
    }
    diagnostics = []
    if protocol == "adaptive" and outcomes and config.diagnostic_examples:
        diagnostics = diagnose(target, examples, clustered)
    return _Found(outcomes, radii, smallest_eps, diagnostics)


def _figures(
    workdir: Workdir,
    experiment: Experiment,
    dataset: Dataset,
    config: EvaluationConfig,
    examples: Examples,
    found: _Found,
) -> dict[str, Any]:
    correct, count = examples.correct, len(examples.labels)
    robust = correct & ~found.broken(examples)
    attacks = {"clean": measured(float(np.mean(correct)), count)}
    for name, outcome in found.outcomes.items():
        attacks[name] = attack_figures(correct, outcome, ATTACKS[name].settings(config))
    worst_case = measured(float(np.mean(robust)), count)
    gap = None
    if {"pgd_paper", "ensemble"} <= set(attacks):
        gap = attacks["pgd_paper"]["accuracy"] - attacks["ensemble"]["accuracy"]
    return {
        "command": shlex.join(["python", "-m", "clustr_tf.evaluate", *sys.argv[1:]]),
        "model": str(workdir.model),
        "data": f"{dataset.name}, first {count} test images",
        "eps": config.attack.eps,
        "norm": config.attack.norm,
        "seed": examples.seed,
        "examples": count,
        "classes": list(dataset.class_names),
        "attacks": attacks,
        "clean_accuracy": attacks["clean"]["accuracy"],
        # Without an attack nothing is known of robustness; the clean accuracy is no bound of it.
        "worst_case_accuracy": worst_case["accuracy"] if found.outcomes else None,
        "worst_case_interval_95": worst_case["interval_95"] if found.outcomes else None,
        "worst_case_attack": found.strongest(),
        "masking_gap": gap,
        "per_class": class_figures(examples.labels, correct, robust, dataset.class_names),
        "curve": curve_figures(found.smallest_eps, found.radii) if found.smallest_eps else None,
        "diagnostics": [
            {**dataclasses.asdict(diagnostic), "passed": diagnostic.passed}
            for diagnostic in found.diagnostics
        ],
        "config": section_values(experiment),
        "versions": versions(),
    }


def _arrays(
    classifier: Classifier,
    dataset: Dataset,
    config: EvaluationConfig,
    examples: Examples,
    found: _Found,
) -> dict[str, np.ndarray]:
    arrays = {
        "labels": examples.labels,
        "clean_predictions": examples.predictions,
        "robust": examples.correct & ~found.broken(examples),
        **{f"broken_{name}": outcome.any_broken for name, outcome in found.outcomes.items()},
        **{f"smallest_eps_{name}": smallest for name, smallest in found.smallest_eps.items()},
        **map_arrays(classifier, examples.images, examples.labels, len(dataset.class_names)),
    }
    strongest = found.strongest()
    if strongest is None:
        return arrays
    return arrays | gallery(examples, found.outcomes[strongest], config.attack.eps)


def _fingerprint(
    workdir: Workdir,
    request: Request,
    config: EvaluationConfig,
    images: np.ndarray,
    labels: np.ndarray,
) -> dict[str, Any]:
    """All that the results depend on."""

    def digest(data: bytes) -> str:
        return hashlib.sha256(data).hexdigest()

    models = [workdir.model, *([Workdir(request.source).model] if request.source else [])]
    return {
        "models": [digest(path.read_bytes()) for path in models],
        "images": digest(np.ascontiguousarray(images).tobytes()),
        "labels": digest(np.ascontiguousarray(labels).tobytes()),
        "config": section_values(config),
        "replicas": request.strategy,
        "versions": versions(),
    }


def _print(console: Console, figures: dict[str, Any], root: Path) -> None:
    console.print(f"{figures['data']}, {figures['norm']} eps {figures['eps']:.4g}")
    table = Table()
    for column in ("attack", "accuracy", "95 % interval", "seconds"):
        table.add_column(column)
    for name, entry in figures["attacks"].items():
        low, high = entry["interval_95"]
        seconds = f"{entry['seconds']:.1f}" if "seconds" in entry else ""
        table.add_row(name, f"{entry['accuracy']:.2%}", f"{low:.2%} to {high:.2%}", seconds)
    console.print(table)
    for diagnostic in figures["diagnostics"]:
        if not diagnostic["passed"]:
            console.print(
                f"[bold]diagnostic failed[/] {diagnostic['name']}: {diagnostic['value']:.4g}, "
                f"at most {diagnostic['threshold']:.4g} passes ({diagnostic['meaning']})",
                highlight=False,
                soft_wrap=True,
            )
    worst_case = figures["worst_case_accuracy"]
    told = "unknown, nothing attacked"
    if worst_case is not None:
        told = f"{worst_case:.2%}, left by {figures['worst_case_attack']}"
    console.print(f"worst case: {told}; see {root}/report.html", soft_wrap=True)
