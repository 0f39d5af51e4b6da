"""A complete run: read, train, evaluate briefly, record."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clustr_tf.classifier import Classifier
from clustr_tf.datasets import Dataset, load_dataset
from clustr_tf.evaluation.embedding_map import draw_embedding_map
from clustr_tf.evaluation.summary import BriefEvaluation, evaluate_briefly
from clustr_tf.experiment import Experiment, check_fits, read_experiment
from clustr_tf.files import write_json
from clustr_tf.layers import ClusteringHead
from clustr_tf.provenance import git_revision, versions
from clustr_tf.training.distribution import connect
from clustr_tf.training.progress import ProgressBars, Quiet
from clustr_tf.training.refresh import Embedder
from clustr_tf.training.tensorboard import TensorBoard
from clustr_tf.training.trainer import Trained, train
from clustr_tf.workdir import Workdir


def run_training(config: Mapping[str, Any], root: Path, begin: float) -> None:
    """Trains, evaluates briefly and completes the workdir; tells the terminal about it.

    Args:
        config: the resolved config file.
        root: the workdir.
        begin: `time.perf_counter()` when the command began; the seconds in summary.json count
            from there.

    Raises:
        InputError: if the config, the data or the workdir do not fit.
        RunError: if the run cannot go on, as on a full disk.
    """
    console, workdir = Console(), Workdir(root)
    experiment = read_experiment(config)
    # Before any other use of TensorFlow: later it refuses to connect workers.
    replicas = connect(experiment.training.strategy)
    dataset = load_dataset(experiment.dataset)
    check_fits(experiment, dataset)  # before the workdir is touched
    progress = ProgressBars(console) if replicas.is_chief else Quiet()
    with workdir.claimed(experiment, replicas.is_chief):
        try:
            trained = train(experiment, dataset, workdir, progress, replicas)
        finally:
            progress.close()
        if replicas.is_chief:
            summary = _complete(workdir, experiment, dataset, trained, begin)
            _print_summary(console, summary, experiment, dataset, workdir)


def _complete(
    workdir: Workdir, experiment: Experiment, dataset: Dataset, trained: Trained, begin: float
) -> dict[str, Any]:
    """Evaluates the trained model, adds pictures and summary.json to the workdir."""
    evaluation = evaluate_briefly(
        trained.classifier, dataset, experiment.evaluation, experiment.training.seed
    )
    summary = {
        "dataset": dataset.name,
        "objective": experiment.objective.name,
        **evaluation.figures(),
        "attack": experiment.evaluation.attack.describe(),
        "seed": experiment.training.seed,
        "epochs": experiment.training.epochs,
        # Over all sessions of the run; `seconds` is this command's own time.
        "training_seconds": sum(row.get("seconds", 0.0) for row in trained.history),
        "seconds": time.perf_counter() - begin,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    with workdir.writing():
        if evaluation.certification:
            workdir.store_bound(evaluation.certification.bound)
        _draw(workdir, experiment, dataset, trained.classifier, evaluation)
        write_json(workdir.summary, summary)
    return summary


def _draw(
    workdir: Workdir,
    experiment: Experiment,
    dataset: Dataset,
    classifier: Classifier,
    evaluation: BriefEvaluation,
) -> None:
    """The pictures: embedding.png, and TensorBoard's projector and histogram of radii."""
    labels = dataset.test_labels[: experiment.evaluation.examples]
    embeddings = Embedder(classifier)(dataset.test_images[: experiment.evaluation.examples])
    head = classifier.head
    draw_embedding_map(
        workdir.embedding_map,
        embeddings,
        labels,
        np.asarray(head.centroids) if isinstance(head, ClusteringHead) else None,
        dataset.class_names,
        title=f"{dataset.name}: test embeddings",
    )
    board = TensorBoard(workdir.tensorboard, experiment)
    board.write_projector(embeddings, labels, dataset.class_names)
    if evaluation.certification:
        board.log_radii(evaluation.certification.main.radius_l2, experiment.training.epochs)
    board.close()


def _print_summary(
    console: Console,
    summary: Mapping[str, Any],
    experiment: Experiment,
    dataset: Dataset,
    workdir: Workdir,
) -> None:
    attack = experiment.evaluation.attack
    console.print(f"{dataset.name}, {summary['examples']} test images")
    table = Table(show_header=False)
    table.add_row("clean accuracy", f"{summary['clean_accuracy']:.2%}")
    table.add_row("PGD accuracy", f"{summary['pgd_accuracy']:.2%} ({attack.describe()})")
    if "median_certified_radius_l2" in summary:
        table.add_row(
            "median certified radius",
            f"{summary['median_certified_radius_l2']:.3g} (l2, pixels; proved, with a Lipschitz "
            f"bound of {summary['lipschitz_bound']:.3g})",
        )
    table.add_row("seconds", f"{summary['seconds']:.0f}")
    console.print(table)
    root = workdir.root
    console.print(
        f"[bold]{root}[/] holds model.keras, metrics.csv, summary.json, embedding.png, "
        "checkpoints/ and tensorboard/. Next:",
        highlight=False,
    )
    commands = [f"python -m clustr_tf.evaluate --workdir={root}"]
    if "median_certified_radius_l2" in summary:
        commands += [
            f"python -m clustr_tf.certify --workdir={root}",
            f"python -m export.savedmodel --workdir={root} --output=models/clustr",
        ]
    for command in commands:
        console.print(f"  {command}", highlight=False, soft_wrap=True)
