"""A complete evaluation: attack a finished model, diagnose, write the figures and the report."""

import hashlib
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table

from clustr_tf.attacks import (
    PGD,
    Attack,
    RobustnessEvaluator,
    RobustnessResult,
    evaluate_robustness,
)
from clustr_tf.certify.images import Certification, certify_images
from clustr_tf.classifier import Classifier
from clustr_tf.data.dataset import Dataset
from clustr_tf.evaluate.attacking import Examples, Memory
from clustr_tf.evaluate.diagnostics import diagnose, diagnostic_stages
from clustr_tf.evaluate.kept import FOLDER, evaluation_name, show, shown
from clustr_tf.evaluate.pictures import gallery, map_arrays
from clustr_tf.evaluate.plan import EvaluationPlan
from clustr_tf.evaluate.progress import EvaluationProgress
from clustr_tf.evaluate.report import read_evaluation, write_report
from clustr_tf.evaluate.results import Measurements
from clustr_tf.evaluate.search_network import in_precision
from clustr_tf.evaluate.suite import (
    ATTACKS,
    PROTOCOLS,
    Protocol,
    Target,
    build_stages,
    chosen_attacks,
)
from clustr_tf.layers import ClusteringHead
from clustr_tf.run.errors import first_line
from clustr_tf.run.files import claimed, write_arrays, write_json
from clustr_tf.run.provenance import versions
from clustr_tf.run.workdir import Workdir

_CURVES = ("pgd", "pgd_paper")


def run_evaluation(
    workdir: Workdir,
    classifier: Classifier,
    dataset: Dataset,
    plan: EvaluationPlan,
    *,
    protocol: Protocol = PROTOCOLS["adaptive"],
    attacks: Sequence[str] | None = None,
    source: Classifier | None = None,
    seed: int = 0,
    strategy: tf.distribute.Strategy | None = None,
    config: Mapping[str, Any] | None = None,
    configured: PGD | None = None,
) -> None:
    """Attacks a model; writes robustness.json, robustness.npz and report.html.

    They lie in evaluations/NAME. At the top of the workdir stand those of the evaluation that says
    most, see `shown`: a weaker one never takes the place of a stronger.

    An interrupted evaluation goes on where it was when it is called again with the same values.

    Args:
        workdir: where the files go.
        classifier: the finished model.
        dataset: its first test images are attacked.
        plan: radius, norm, effort, number of images, precision of the search (resolved).
        protocol: what is measured.
        attacks: names out of "clean" and `ATTACKS`; None for those of the protocol.
        source: the model behind the attack `transfer`.
        seed: of all random draws.
        strategy: whose replicas share the work; the models must have been made in its scope. None
            for this device alone.
        config: of the run, for the reader of robustness.json.
        configured: the radius that the run asks for; None for the plan's.

    Raises:
        InputError: if an attack is unknown or does not fit the model, or another process uses the
            workdir.
        RunError: if the files cannot be written.

    Example:
        >>> run_evaluation(workdir, classifier, dataset, EvaluationPlan(PGD(0.1, 0.02, 20)))
    """
    console = Console()
    images, labels = dataset.test_images[: plan.examples], dataset.test_labels[: plan.examples]
    shape = classifier.image_shape
    clustered = isinstance(classifier.head, ClusteringHead)
    search = None
    if plan.search_precision == "mixed_bfloat16":
        with (strategy or tf.distribute.get_strategy()).scope():
            search = in_precision(classifier, plan.search_precision)
    target = Target(classifier, shape, dataset.num_classes, plan, source, clustered, search)
    names = chosen_attacks(target, protocol, attacks)
    weights = _digest(classifier)
    stages = build_stages(target) | diagnostic_stages(target)
    evaluator = RobustnessEvaluator(classifier, shape, stages, plan.batch_size, strategy=strategy)
    with claimed(workdir.root, "working"), workdir.writing():
        memory = Memory(
            workdir.root / "evaluation",
            {
                "models": [weights, *([_digest(source)] if source is not None else [])],
                "images": _digest(images),
                "labels": _digest(labels),
                "plan": asdict(plan),
                "replicas": strategy.num_replicas_in_sync if strategy else 1,
                "versions": versions(),
            },
        )
        work = planned(target, protocol, names, len(labels))
        with EvaluationProgress(console, work, len(labels)) as progress:
            examples = Examples(evaluator, images, labels, seed, memory, progress.told)
            measurements = measure(examples, target, protocol, names)
        figures = {
            "protocol": protocol.name,
            "weights": weights,
            "command": shlex.join(["python", "-m", "clustr_tf.evaluate", *sys.argv[1:]]),
            "model": str(workdir.model),
            "data": f"{dataset.name}, first {len(labels)} test images",
            "eps": plan.attack.eps,
            "norm": plan.attack.norm,
            "search_precision": plan.search_precision,
            "seed": seed,
            "examples": len(labels),
            "classes": list(dataset.class_names),
            **measurements.figures(dataset.class_names),
            "config": config,
            "versions": versions(),
        }
        arrays = measurements.arrays() | map_arrays(classifier, images, labels, dataset.num_classes)
        if strongest := measurements.strongest:
            arrays |= gallery(examples, measurements.outcomes[strongest], plan.attack.eps)
        folder = workdir.root / FOLDER / evaluation_name(figures)
        folder.mkdir(parents=True, exist_ok=True)
        write_arrays(folder / "robustness.npz", arrays)
        write_json(folder / "robustness.json", figures)
        write_report(folder / "report.html", [read_evaluation(folder, workdir.root)])
        best = shown(workdir.root, configured or plan.attack, weights) or folder
        show(best, workdir.root)
        memory.forget()
    _print(console, figures, workdir, folder, best)


def measure(
    examples: Examples, target: Target, protocol: Protocol, names: Sequence[str]
) -> Measurements:
    """Makes the attacks, then the curves, then the diagnostics.

    Args:
        examples: with the stages of `build_stages` and `diagnostic_stages`.
        target: what is attacked.
        protocol: further radii, and whether to diagnose.
        names: of the attacks, out of "clean" and `ATTACKS`.

    Returns:
        The measurements.
    """
    plan, eps = target.plan, target.plan.attack.eps
    attacks = {name: ATTACKS[name](target) for name in names if name != "clean"}
    stages = {name: tuple(attack.stages) for name, attack in attacks.items()}
    outcomes = {name: examples.attacked(name, stages[name], eps) for name in attacks}
    radii = _radii(plan, protocol)
    smallest_eps = {
        name: examples.smallest_eps(name, stages[name], radii[1:])
        for name in attacks
        if name in _CURVES
    }
    diagnostics = []
    if protocol.diagnosed and attacks and plan.diagnostic_examples:
        diagnostics = diagnose(target, examples)
    return Measurements(
        examples.labels,
        examples.predictions,
        outcomes,
        {name: attack.settings for name, attack in attacks.items()},
        radii,
        smallest_eps,
        diagnostics,
    )


def planned(
    target: Target, protocol: Protocol, names: Sequence[str], examples: int
) -> dict[str, float]:
    """How much work `measure` is at most, part by part.

    Args:
        target: what is attacked.
        protocol: as in `measure`.
        names: as in `measure`.
        examples: how many.

    Returns:
        Part, as `Examples` tells them -> images times attempts times what an attempt costs.
    """

    def work(stages: Mapping[str, Attack], count: int) -> float:
        return sum(count * attack.attempts * attack.cost for attack in stages.values())

    plan = target.plan
    parts = {
        name: work(ATTACKS[name](target).stages, examples) for name in names if name != "clean"
    }
    others = len(_radii(plan, protocol)) - 2  # without 0 and what the attacks themselves take
    curves = {f"{name} curve": others * parts[name] for name in parts if name in _CURVES}
    if not (protocol.diagnosed and parts):
        return parts | curves
    count = min(plan.diagnostic_examples, examples)
    return parts | curves | {"diagnostics": work(diagnostic_stages(target), count)}


def _radii(plan: EvaluationPlan, protocol: Protocol) -> list[float]:
    """Of the curves, in pixels, ascending from 0."""
    eps = plan.attack.eps
    return sorted({0.0, eps, *(protocol.radii or [eps * multiple for multiple in plan.curve])})


def _digest(content: np.ndarray | Classifier) -> str:
    """SHA-256 of an array, or of a model's structure and weights."""
    if isinstance(content, np.ndarray):
        return hashlib.sha256(content.tobytes()).hexdigest()
    parts = [content.to_json().encode(), *(array.tobytes() for array in content.get_weights())]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _print(
    console: Console, figures: Mapping[str, Any], workdir: Workdir, folder: Path, best: Path
) -> None:
    console.print(f"{figures['data']}, {figures['norm']} eps {figures['eps']:.4g}")
    table = Table("attack", "accuracy", "95 % interval", "seconds")
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
    told = "unknown, nothing attacked"
    if figures["worst_case_accuracy"] is not None:
        told = f"{figures['worst_case_accuracy']:.2%}, left by {figures['worst_case_attack']}"
    page = folder if best != folder else workdir.root
    console.print(f"worst case: {told}; see {page}/report.html", soft_wrap=True, markup=False)
    if best != folder:
        console.print(
            f"It does not replace {best.name}, which stays at the top of {workdir.root}: that is "
            "at the configured radius, on more images, or lower",
            soft_wrap=True,
            highlight=False,
            markup=False,
        )


@dataclass(frozen=True)
class BriefEvaluation:
    """Robustness and certificates of the first test images.

    Attributes:
        robustness: what the attack left.
        certification: what was proved; None for a model without a proof.
        attack: the attack, at whose radius certified accuracy is told.
        not_certified: why nothing was proved.
    """

    robustness: RobustnessResult
    certification: Certification | None
    attack: PGD
    not_certified: str | None = None

    def figures(self) -> dict[str, Any]:
        """The figures of summary.json; radii in pixels."""
        certification = self.certification
        found = {
            "examples": len(self.robustness.correct),
            "test/accuracy": self.robustness.clean_accuracy,
            "test/pgd_accuracy": self.robustness.robust_accuracy,
        }
        if certification is None:
            return {**found, "not_certified": self.not_certified}
        return {
            **found,
            "test/median_certified_radius_l2": float(np.median(certification.best.radii.l2)),
            "test/median_certified_radius_linf": float(np.median(certification.best.radii.linf)),
            f"test/certified_accuracy_{self.attack.norm}": certification.best.certified_accuracy(
                self.attack.eps, self.attack.norm
            ),
            "test/abstentions": certification.best.abstentions,
            **certification.bound.figures(),
        }


def evaluate_briefly(
    classifier: Classifier, dataset: Dataset, plan: EvaluationPlan, seed: int
) -> BriefEvaluation:
    """Attacks and certifies the first test images.

    Args:
        classifier: the finished model.
        dataset: its test images are used.
        plan: the attack and how many images.
        seed: of the attack's random starts.

    Returns:
        The result.
    """
    images = dataset.test_images[: plan.examples]
    labels = dataset.test_labels[: plan.examples]
    robustness = evaluate_robustness(
        classifier, images, labels, plan.attack, batch_size=plan.batch_size, seed=seed
    )
    try:
        certification = certify_images(classifier, images, labels)
    except ValueError as error:  # a layer without a proof: everything else is told all the same
        return BriefEvaluation(robustness, None, plan.attack, first_line(error))
    return BriefEvaluation(robustness, certification, plan.attack)
