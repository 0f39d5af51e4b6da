"""A complete run: read, train, evaluate briefly, record."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from clustr_tf.datasets import Dataset, load_dataset
from clustr_tf.evaluation.embedding_map import draw_embedding_map
from clustr_tf.evaluation.summary import evaluate_briefly
from clustr_tf.experiment import Experiment, read_experiment
from clustr_tf.files import write_json
from clustr_tf.provenance import git_revision, versions
from clustr_tf.training.metrics import seconds_per_epoch
from clustr_tf.training.progress import ProgressBars
from clustr_tf.training.refresh import Embedder
from clustr_tf.training.trainer import train
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
    """
    console, workdir = Console(), Workdir(root)
    experiment = read_experiment(config)
    dataset = load_dataset(experiment.dataset)
    progress = ProgressBars(console)
    try:
        classifier = train(experiment, dataset, workdir, progress)
    finally:
        progress.close()
    evaluation = evaluate_briefly(
        classifier, dataset, experiment.evaluation, experiment.training.seed
    )
    draw_embedding_map(
        workdir.embedding_map,
        Embedder(classifier)(dataset.test_images[: experiment.evaluation.examples]),
        dataset.test_labels[: experiment.evaluation.examples],
        np.asarray(classifier.head.centroids),
        dataset.class_names,
        title=f"{dataset.name}: test embeddings and centroids",
    )
    summary = {
        "dataset": dataset.name,
        **evaluation.figures(),
        "attack": experiment.evaluation.attack.describe(),
        "seed": experiment.training.seed,
        "epochs": experiment.training.epochs,
        # Over all sessions of the run; `seconds` is this command's own time.
        "training_seconds": sum(seconds_per_epoch(workdir.metrics)),
        "seconds": time.perf_counter() - begin,
        "versions": versions(),
        "git_revision": git_revision(),
    }
    write_json(workdir.summary, summary)
    _print_summary(console, summary, experiment, dataset, workdir)


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
    table.add_row(
        "median certified radius",
        f"{summary['median_certified_radius_l2']:.3g} (l2, pixels; proved, with a Lipschitz bound "
        f"of {summary['lipschitz_bound']:.3g}: tiny, as for every unconstrained network)",
    )
    table.add_row("seconds", f"{summary['seconds']:.0f}")
    console.print(table)
    root = workdir.root
    console.print(
        f"[bold]{root}[/] holds model.keras, metrics.csv, summary.json, embedding.png, "
        "checkpoints/ and tensorboard/. Next:",
        highlight=False,
    )
    for command in (
        f"python -m clustr_tf.evaluate --workdir={root}",
        f"python -m clustr_tf.certify --workdir={root}",
        f"python -m export.savedmodel --workdir={root} --output=models/clustr",
    ):
        console.print(f"  {command}", highlight=False, soft_wrap=True)
